"""A viewer's own addresses: consent, photo, state, events and the end."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from typing import Any

from aiohttp import web

from mediaserver.allowance import Allowance
from mediaserver.consent import ConsentText
from mediaserver.errors import BadRequest
from mediaserver.problems import Handler
from mediaserver.proxies import Proxies
from mediaserver.scenes import SESSION
from mediaserver.sessions import Session, Sessions
from mediaserver.settings import Settings
from mediaserver.upload import read_photo
from mediaserver.wording import stamp_for

HEARTBEAT_S = 15.0
_FRESH = {"Cache-Control": "private, no-store"}


class Viewer:
    """GET /consent, POST /sessions, and everything of /s/<capability> but its streams."""

    def __init__(self, sessions: Sessions, settings: Settings) -> None:
        self._sessions, self._settings = sessions, settings
        self._consent = ConsentText.of(settings)
        self._allowance = Allowance(settings.visits_per_minute, time.monotonic)
        self._proxies = Proxies(settings.trusted_proxies)
        self._closing = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        own = "/s/{capability}"
        return [
            web.get("/consent", self.consent),
            web.post("/sessions", self.begin),
            web.get(own, self.state),
            web.get(own + "/", self.state),
            web.delete(own, self.end),
            web.delete(own + "/", self.end),
            web.put(own + "/photo", self.photo),
            web.get(own + "/events", self.events, allow_head=False),
        ]

    def recogniser(self) -> Any:
        """Return the middleware that lets nothing below /s/ be reached without a living session."""

        @web.middleware
        async def recognise(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path.startswith("/s/"):
                request[SESSION] = await self._sessions.find(request.path.split("/")[2])
            return await handler(request)

        return recognise

    async def close(self, _app: web.Application) -> None:
        """Let the open event streams end."""
        self._closing.set()

    async def consent(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._consent.to_json(), headers={"Cache-Control": "no-cache"})

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """Open a session for whoever agrees to the text as it is now."""
        self._allowance.take(self._address(request))
        answer = await _json(request)
        self._consent.require(answer)
        stamp = stamp_for(self._settings, _language(request, answer))
        capability, session, receipt = self._sessions.begin(self._consent, stamp)
        body = {"session": f"/s/{capability}/", **self._status(session), "receipt": receipt}
        return web.json_response(body, status=201, headers=_FRESH | {"Location": f"s/{capability}/"})

    async def state(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._status(request[SESSION]), headers=_FRESH)

    async def end(self, request: web.Request) -> web.StreamResponse:
        await self._sessions.end(request[SESSION])
        return web.Response(status=204, headers=_FRESH)

    async def photo(self, request: web.Request) -> web.StreamResponse:
        """Take a photo; the answer is the verdict, not the scene."""
        session = request[SESSION]
        self._allowance.take(self._address(request))
        with self._sessions.admission.place():
            photo = await read_photo(request, self._settings.photo_max_bytes)
            await self._sessions.take_photo(session, photo)
        return web.json_response({"verdict": "ok", **self._status(session)}, status=202, headers=_FRESH)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Send the state whenever it changes (server-sent events), and a comment when nothing does."""
        session = request[SESSION]
        headers = _FRESH | {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        stream = web.StreamResponse(headers=headers)
        await stream.prepare(request)
        told = ""
        with suppress(ConnectionError):
            while not (session.ended or self._closing.is_set()):
                change, state = session.pulse.next(), json.dumps(self._status(session))
                await stream.write(b": still here\n\n" if state == told else f"data: {state}\n\n".encode())
                told = state
                await self._wait(change)
            if session.ended:
                await stream.write(b"event: gone\ndata: {}\n\n")
            await stream.write_eof()
        return stream

    async def _wait(self, change: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (change, self._closing)]
        try:
            await asyncio.wait(waits, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _address(self, request: web.Request) -> str:
        return self._proxies.client(request.remote or "", request.headers.get("X-Forwarded-For"))

    def _status(self, session: Session) -> dict[str, Any]:
        return self._sessions.status(session)


def _language(request: web.Request, answer: object) -> str:
    """Return the viewer's language: as the page says, else as the browser does."""
    said = answer.get("lang") if isinstance(answer, dict) else None
    return str(said) if said else request.headers.get("Accept-Language", "")


async def _json(request: web.Request) -> object:
    try:
        text = await request.text()
        return json.loads(text) if text.strip() else {}
    except (ValueError, LookupError) as error:
        raise BadRequest("The body is not JSON.") from error
