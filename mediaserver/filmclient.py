"""POST /add-video and GET /video/<uuid>.mp4: the client that an existing film already has; off by default.

It knows no sessions: its own random UUID is the secret, and it asks for consent by itself, which the operator has to
state in the settings before this is switched on.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from encoder.model import Slot
from mediaserver.allowance import Allowance
from mediaserver.consent import ConsentText
from mediaserver.errors import BadRequest, NotFound, ServerError, SlotUnknown
from mediaserver.library import PRIVATE, Edition, Library
from mediaserver.proxies import Proxies
from mediaserver.ranges import MIME, Representation
from mediaserver.replies import Slice, send_slice
from mediaserver.sessions import Session, Sessions
from mediaserver.settings import Settings
from mediaserver.upload import read_named_photo
from mediaserver.wording import stamp_for

# A random UUID (RFC 9562, 5.4); others could be guessed.
_UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_FILE_NAME = re.compile(rf"({_UUID4})\.png", re.IGNORECASE)
PATIENCE_S = 10.0
RETRY_S = 2


class AlreadyThere(ServerError):
    code = "already_there"
    status = 409
    hint = "Begin again with a new random UUID."

    def __init__(self) -> None:
        super().__init__("A photo was sent under this name before; the first one counts.")


class NotYet(ServerError):
    code = "not_yet"
    status = 404
    hint = "Ask again in a moment."
    retry_s = RETRY_S

    def __init__(self) -> None:
        super().__init__("The video is not finished yet.")


class FilmClient:
    """Makes one slot, that of the settings or the first that is published, for every photo."""

    def __init__(self, sessions: Sessions, library: Library, settings: Settings) -> None:
        self._sessions, self._library, self._settings = sessions, library, settings
        self._consent = ConsentText.of(settings)
        self._allowance = Allowance(settings.visits_per_minute, time.monotonic)
        self._proxies = Proxies(settings.trusted_proxies)

    def routes(self) -> list[web.RouteDef]:
        if not self._settings.film_client.strip():
            return []
        video = rf"/video/{{uuid:(?i:{_UUID4})}}.mp4"
        return [web.post("/add-video", self.add), web.get(video, self.video), web.delete(video, self.end)]

    async def add(self, request: web.Request) -> web.StreamResponse:
        """Take a photo whose file name is a random UUID; the first one of a name counts."""
        self._allowance.take(self._proxies.client(request.remote or "", request.headers.get("X-Forwarded-For")))
        edition, slot = self._slot()
        with self._sessions.admission.place():
            name, photo = await read_named_photo(request, self._settings.photo_max_bytes)
            found = _FILE_NAME.fullmatch(name)
            if found is None:
                raise BadRequest("The name of the file is no random UUID (version 4) followed by .png.")
            uuid = found[1].lower()
            session = self._sessions.begin_named(uuid, self._consent, self._settings.film_client)
            if session is None:
                raise AlreadyThere
            session.stamp = stamp_for(self._settings, request.headers.get("Accept-Language", ""))
            try:
                await self._sessions.take_photo(session, photo, only=(edition, slot))
            except BaseException:
                await self._sessions.end(session)
                raise
        return web.json_response({"video": f"video/{uuid}.mp4"}, headers={"Cache-Control": PRIVATE})

    async def video(self, request: web.Request) -> web.StreamResponse:
        """Send the finished video; while it is being made, wait a little, then say that it is not there yet."""
        session = await self._sessions.find_named(request.match_info["uuid"].lower())
        path = await self._finished(session)
        status = path.stat()
        file = Representation(status.st_size, MIME[".mp4"], PRIVATE, f"{status.st_mtime_ns:x}")
        return await send_slice(request, Slice(path, 0, status.st_size), file, {})

    async def end(self, request: web.Request) -> web.StreamResponse:
        await self._sessions.end(await self._sessions.find_named(request.match_info["uuid"].lower()))
        return web.Response(status=204, headers={"Cache-Control": PRIVATE})

    async def _finished(self, session: Session) -> Path:
        (pin,) = session.pins.values()
        edition = self._library.edition(pin.chapter, pin.version)
        until = asyncio.get_running_loop().time() + PATIENCE_S
        while not session.ended:
            change, states = session.pulse.next(), {view.state for view in session.slots}
            if path := self._sessions.finished_before(session, edition):
                return path
            if states == {"ready"}:
                (view,) = session.slots
                slot = edition.presentation.slot(view.slot)
                assert slot is not None
                return await self._sessions.finished(session, edition, slot)
            left = until - asyncio.get_running_loop().time()
            if states & {"failed"} or not states:
                break
            if left <= 0:
                raise NotYet
            with suppress(TimeoutError):
                await asyncio.wait_for(change.wait(), left)
        raise NotFound("this video")

    def _slot(self) -> tuple[Edition, Slot]:
        """Return the slot that is made; raises SlotUnknown, ChapterUnknown."""
        chapter, _, name = self._settings.film_slot.partition("/")
        editions = [self._library.current(chapter)] if chapter else self._library.chapters()
        for edition in editions:
            for slot in edition.presentation.slots_in_order:
                if not name or slot.id == name:
                    return edition, slot
        raise SlotUnknown(chapter or "any chapter", name or "at all")
