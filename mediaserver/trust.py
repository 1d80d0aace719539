"""GET /trust: what this server does with faces, in figures that name nobody, and whom to write to."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable

from aiohttp import web

from mediaserver.consent import NOBODY
from mediaserver.dashboard import PAGES, POLICY
from mediaserver.errors import NotFound
from mediaserver.ranges import MIME
from mediaserver.sessions import Sessions
from mediaserver.settings import Settings

_FRESH = {"Cache-Control": "no-cache"}


class Trust:
    """The page for people, and the same figures as JSON for whoever asks for that.

    `authority` gives the certificates (PEM) that the server's Content Credentials are checked against.
    """

    def __init__(self, sessions: Sessions, settings: Settings, assets: str, authority: Callable[[], str]) -> None:
        self._sessions, self._settings, self._authority = sessions, settings, authority
        self._page = (PAGES / "trust.html").read_text("utf-8").replace("{{assets}}", assets)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/trust", self.trust), web.get("/trust/authority.pem", self.authority)]

    async def authority(self, request: web.Request) -> web.StreamResponse:
        """Send the certificates, never a key; whoever checks a scene of this server trusts them."""
        certificates = await asyncio.to_thread(self._authority)
        if not certificates:
            raise NotFound("an authority")
        return web.Response(text=certificates, content_type=MIME[".pem"], headers=_FRESH)

    async def trust(self, request: web.Request) -> web.StreamResponse:
        consent, tally = self._settings.consent, self._sessions.tally()
        who = {"controller": consent.controller or NOBODY, "contact": consent.contact or "not told"}
        if "application/json" in request.headers.get("Accept", ""):
            return web.json_response({**tally, **who}, headers=_FRESH)
        hours = f"{self._settings.session_idle_h:g}"
        longest = f"{min(self._settings.session_max_h, consent.retention_h):g}"
        text = self._page
        for place, word in {**tally, **who, "idle_h": hours, "longest_h": longest}.items():
            text = text.replace("{{" + place + "}}", html.escape(str(word)))
        headers = _FRESH | {"Content-Security-Policy": POLICY}
        return web.Response(text=text, content_type="text/html", headers=headers)
