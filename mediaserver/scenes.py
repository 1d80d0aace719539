"""What one viewer watches: personal manifests, final from the first second, and segments bound when requested."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from aiohttp import web

from encoder import manifest
from encoder.model import Slot
from mediaserver.cmcd import deadline_s, patience_s
from mediaserver.errors import NotFound, SessionGone, SlotUnknown
from mediaserver.library import PRIVATE, Edition, Manifest
from mediaserver.ranges import MIME, Representation
from mediaserver.replies import Slice, fields, send_manifest, send_slice
from mediaserver.sessions import Session, Sessions
from mediaserver.settings import Settings

SESSION = web.RequestKey("session", Session)


class Scenes:
    """The addresses below /s/<capability>/<chapter>/."""

    def __init__(self, sessions: Sessions, settings: Settings) -> None:
        self._sessions, self._settings = sessions, settings

    def routes(self) -> list[web.RouteDef]:
        chapter = "/s/{capability}/{chapter}"
        return [
            web.get(f"{chapter}/stream.mpd", self.dash),
            web.get(f"{chapter}/master.m3u8", self.hls),
            web.get(chapter + r"/{slot:[a-z0-9][a-z0-9_-]{0,31}}.mp4", self.finished),
            web.get(chapter + r"/{version}/{rendition}.m3u8", self.playlist),
            web.get(chapter + r"/{version}/{rendition}/{number:[0-9]{1,6}}.m4s", self.segment),
        ]

    async def dash(self, request: web.Request) -> web.StreamResponse:
        return await send_manifest(request, own_manifest(self._asked(request), "stream.mpd"))

    async def hls(self, request: web.Request) -> web.StreamResponse:
        return await send_manifest(request, own_manifest(self._asked(request), "master.m3u8"))

    async def playlist(self, request: web.Request) -> web.StreamResponse:
        name = f"{request.match_info['rendition']}.m3u8"
        return await send_manifest(request, own_manifest(self._asked(request), name, of_version=True))

    async def finished(self, request: web.Request) -> web.StreamResponse:
        """Send a slot as one file with Content Credentials."""
        session, edition = request[SESSION], self._edition(request)
        slot = edition.presentation.slot(request.match_info["slot"])
        if slot is None:
            raise SlotUnknown(edition.presentation.chapter, request.match_info["slot"])
        path = await self._sessions.finished(session, edition, slot)
        status = path.stat()
        file = Representation(status.st_size, MIME[".mp4"], PRIVATE, f"{status.st_mtime_ns:x}")
        return await send_slice(request, Slice(path, 0, status.st_size), file, {})

    async def segment(self, request: web.Request) -> web.StreamResponse:
        """Send the insert's fragment if it is there in time, else the chapter's own."""
        session, edition = request[SESSION], self._edition(request)
        rendition, number = request.match_info["rendition"], int(request.match_info["number"])
        slot, own = _chapters_own(edition, rendition, number)
        settings = self._settings
        deadline = deadline_s(request.query, fields(request))
        insert = session.inserts.get((edition.presentation.chapter, slot.id))
        if insert is not None:
            self._sessions.ask_segment(insert, (rendition, number), deadline)
        patience = patience_s(deadline, settings.deadline_s, settings.deadline_max_s)
        began_s = monotonic()
        personal = await self._bound(session, edition, slot, (rendition, number), patience)
        return await _send(request, personal or own, "personal" if personal else "chapter", monotonic() - began_s)

    def _edition(self, request: web.Request) -> Edition:
        names = request.match_info
        return self._sessions.edition(request[SESSION], names["chapter"], names.get("version"))

    def _asked(self, request: web.Request) -> Edition:
        edition = self._edition(request)
        self._sessions.ask(request[SESSION], edition)
        return edition

    async def _bound(
        self, session: Session, edition: Edition, slot: Slot, name: tuple[str, int], patience: float
    ) -> Slice | None:
        """Wait for the insert's fragment while one is being made; raises SessionGone."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while True:
            if session.ended:
                raise SessionGone
            change = session.pulse.next()
            insert = session.inserts.get((edition.presentation.chapter, slot.id))
            if insert is None or insert.version != edition.presentation.version:
                return None
            if fragment := self._sessions.fragment(insert, name):
                return Slice(fragment.path, 0, fragment.size)
            left = until - loop.time()
            if left <= 0 or not self._sessions.admission.queued(insert):
                return None
            try:
                await asyncio.wait_for(change.wait(), left)
            except TimeoutError:
                continue


def own_manifest(edition: Edition, name: str, *, of_version: bool = False) -> Manifest:
    """Return a personal manifest: stream.mpd and master.m3u8, or the playlists of a version; raises NotFound.

    It names nobody: what is personal lies below the address under which it is asked for.
    """
    p, rendition = edition.presentation, name.removesuffix(".m3u8")
    found = p.rendition(rendition)
    write: dict[str, Callable[[], str]] = {
        "stream.mpd": lambda: manifest.dash(p, personal=True),
        "master.m3u8": lambda: manifest.hls_multivariant(p, personal=True),
    }
    if not of_version and name in write:
        return edition.manifest(f"s/{name}", PRIVATE, write[name])
    if not of_version or rendition == name or found is None or found.mime == "video/webm":
        raise NotFound(name[:200])
    return edition.manifest(f"s/of version/{name}", PRIVATE, lambda: manifest.hls_media(p, rendition, personal=True))


def _chapters_own(edition: Edition, rendition: str, number: int) -> tuple[Slot, Slice]:
    """Return the slot that a segment belongs to and the chapter's bytes of it; raises NotFound outside all slots."""
    p = edition.presentation
    found, slot = p.rendition(rendition), p.slot_at(number)
    if found is None or not found.picture or slot is None or number >= len(found.segments):
        raise NotFound(f"{rendition}/{number}.m4s")
    if found.file not in edition.files:
        raise NotFound(found.file)
    segment = found.segments[number]
    return slot, Slice(edition.files[found.file].path, segment.offset, segment.size)


async def _send(request: web.Request, piece: Slice, scene: str, waited_s: float) -> web.StreamResponse:
    representation = Representation(piece.size, MIME[".m4s"], PRIVATE)
    # a wait for a render must not look like a slow line to whoever measures it
    timing = f"wait;dur={waited_s * 1000:.1f}"
    return await send_slice(request, piece, representation, {"X-Scene": scene, "Server-Timing": timing})
