"""What everybody may watch: manifests rendered from the published model, and the immutable bytes behind them."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from encoder import manifest
from encoder.model import Presentation
from mediaserver.errors import NotFound
from mediaserver.library import IMMUTABLE, SHORT_LIVED, Library
from mediaserver.replies import send_manifest, send_published


class Streams:
    """The shared addresses of every chapter."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/chapters", self.chapters),
            web.get("/{chapter}/stream.mpd", self.dash),
            web.get("/{chapter}/master.m3u8", self.hls),
            web.get("/{chapter}/{version}/{file}", self.file),
        ]

    async def chapters(self, request: web.Request) -> web.StreamResponse:
        """List what can be watched, for pages."""
        found = [_chapter_json(edition.presentation) for edition in self._library.chapters()]
        return web.json_response({"chapters": found}, headers={"Cache-Control": "no-cache"})

    async def dash(self, request: web.Request) -> web.StreamResponse:
        edition = self._library.current(request.match_info["chapter"])
        written = edition.manifest("stream.mpd", SHORT_LIVED, lambda: manifest.dash(edition.presentation))
        return await send_manifest(request, written)

    async def hls(self, request: web.Request) -> web.StreamResponse:
        edition = self._library.current(request.match_info["chapter"])
        written = edition.manifest("master.m3u8", SHORT_LIVED, lambda: manifest.hls_multivariant(edition.presentation))
        return await send_manifest(request, written)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Send a file of a version, or the media playlist of one of its renditions."""
        name = request.match_info["file"]
        edition = self._library.edition(request.match_info["chapter"], request.match_info["version"])
        if file := edition.files.get(name):
            return await send_published(request, file)
        stem = name.removesuffix(".m3u8")
        rendition = edition.presentation.rendition(stem) if stem != name else None
        if rendition is None:
            raise NotFound(name[:200])
        written = edition.manifest(name, IMMUTABLE, lambda: manifest.hls_media(edition.presentation, stem))
        return await send_manifest(request, written)


def _chapter_json(p: Presentation) -> dict[str, Any]:
    return {
        "chapter": p.chapter,
        "title": p.title,
        "version": p.version,
        "duration_s": float(p.grid.duration_s),
        "slots": [
            {"slot": slot.id, "start_s": float(slot.start_s), "duration_s": float(slot.duration_s)} for slot in p.slots
        ],
        "rungs": [f"{r.picture.height}p" for r in p.videos if r.picture],
    }
