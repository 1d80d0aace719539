"""What every answer carries and no request may carry: CORS, sniffing, frames, and paths that are no addresses."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from time import monotonic

from aiohttp import web

from mediaserver.errors import BadRequest
from mediaserver.problems import Handler

EXPOSED = "Content-Range, ETag, X-Scene, Retry-After, Accept-Ranges, Content-Length"
_METHODS = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
_REQUEST_HEADERS = (
    "Range, Content-Type, If-Match, If-None-Match, If-Range, If-Modified-Since, If-Unmodified-Since, Cache-Control, "
    "Last-Event-ID, CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status"
)
# Encoded slashes, backslashes and control characters: never part of a name that is published here.
_ODD = re.compile(r"%(?:2f|5c|[01][0-9a-f]|7f)|\\", re.IGNORECASE)
_DOTS = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_OPERATORS = ("/api/jobs", "/editor")


@web.middleware
async def refuse_odd_paths(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse paths that mean something else to somebody else."""
    path = request.raw_path.partition("?")[0]
    if _ODD.search(path) or _DOTS.search(path):
        raise BadRequest("The address holds characters that no address of this server has.")
    return await handler(request)


@web.middleware
async def answer_preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer OPTIONS for every address; the headers are those of `Manners`."""
    if request.method != "OPTIONS":
        return await handler(request)
    headers = {"Allow": _METHODS}
    if not request.path.startswith(_OPERATORS):
        headers |= {
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _REQUEST_HEADERS,
            "Access-Control-Max-Age": "86400",
        }
    return web.Response(status=204, headers=headers)


@web.middleware
async def time_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say how long an answer took that is made for one client; what caches keep has no time of its own."""
    began_s = monotonic()
    response = await handler(request)
    if not response.prepared and "no-" in response.headers.get("Cache-Control", ""):
        response.headers.setdefault("Server-Timing", f"app;dur={(monotonic() - began_s) * 1000:.1f}")
    return response


@dataclass(frozen=True, slots=True)
class Manners:
    """The headers that every answer carries; `origins` are those whose pages may read, "*" being all."""

    origins: tuple[str, ...]

    async def signal(self, request: web.Request, response: web.StreamResponse) -> None:
        """Complete the headers of an answer, errors included; a signal of the application."""
        self.dress(response.headers, request.path, request.headers.get("Origin"))

    def dress(self, headers: MutableMapping[str, str], path: str, origin: str | None) -> None:
        """Add what answers to a request for `path` from a page of `origin` carry."""
        headers["Server"] = "mediaserver"
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        if not path.startswith(_OPERATORS):
            self._allow(origin, headers)

    def _allow(self, origin: str | None, headers: MutableMapping[str, str]) -> None:
        # any page may let a player of the browser's own play it; what its scripts may read of it is CORS' matter
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        if "*" in self.origins:
            headers["Access-Control-Allow-Origin"] = "*"
            headers["Timing-Allow-Origin"] = "*"
        else:
            headers["Vary"] = ", ".join(filter(None, (headers.get("Vary"), "Origin")))
            if origin not in self.origins:
                return
            headers["Access-Control-Allow-Origin"] = headers["Timing-Allow-Origin"] = str(origin)
        headers["Access-Control-Expose-Headers"] = EXPOSED
