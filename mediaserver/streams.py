"""What everybody may watch: manifests rendered from the published model, and the immutable bytes behind them."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from encoder import manifest
from encoder.model import Presentation
from mediaserver.errors import NotFound
from mediaserver.library import IMMUTABLE, SHORT_LIVED, Edition, Library, Manifest, PublishedFile
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
            web.get("/{chapter}/hevc.m3u8", self.hevc),
            web.get("/{chapter}/{version}/{file}", self.file),
        ]

    async def chapters(self, request: web.Request) -> web.StreamResponse:
        """List what can be watched, for pages."""
        found = [_chapter_json(edition.presentation) for edition in self._library.chapters()]
        return web.json_response({"chapters": found}, headers={"Cache-Control": "no-cache"})

    async def dash(self, request: web.Request) -> web.StreamResponse:
        return await self._send(request, [request.match_info["chapter"], "stream.mpd"])

    async def hls(self, request: web.Request) -> web.StreamResponse:
        return await self._send(request, [request.match_info["chapter"], "master.m3u8"])

    async def hevc(self, request: web.Request) -> web.StreamResponse:
        return await self._send(request, [request.match_info["chapter"], "hevc.m3u8"])

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Send a file of a version, or the media playlist of one of its renditions."""
        return await self._send(request, [request.match_info[name] for name in ("chapter", "version", "file")])

    async def _send(self, request: web.Request, names: list[str]) -> web.StreamResponse:
        published = self.published(names)
        if isinstance(published, PublishedFile):
            return await send_published(request, published)
        return await send_manifest(request, published)

    def published(self, names: list[str]) -> PublishedFile | Manifest:
        """Return what lies under the names of an address, whichever way it is sent; raises ChapterUnknown, NotFound."""
        match names:
            case [chapter, "stream.mpd"]:
                edition = self._library.current(chapter)
                return edition.manifest("stream.mpd", SHORT_LIVED, lambda: manifest.dash(edition.presentation))
            case [chapter, "master.m3u8"]:
                edition = self._library.current(chapter)
                write = manifest.hls_multivariant
                return edition.manifest("master.m3u8", SHORT_LIVED, lambda: write(edition.presentation))
            case [chapter, "hevc.m3u8"] if (edition := self._library.current(chapter)).presentation.layered_hevc:
                return edition.manifest("hevc.m3u8", SHORT_LIVED, lambda: manifest.hls_layered(edition.presentation))
            case [chapter, version, name]:
                return _of_version(self._library.edition(chapter, version), name)
        raise NotFound


def _of_version(edition: Edition, name: str) -> PublishedFile | Manifest:
    if file := edition.files.get(name):
        return file
    stem = name.removesuffix(".m3u8")
    if stem != name and (caption := edition.presentation.caption(stem)):
        return edition.manifest(name, IMMUTABLE, lambda: manifest.hls_captions(edition.presentation, caption))
    rendition = edition.presentation.rendition(stem)
    if stem == name or rendition is None or rendition.mime == "video/webm":
        raise NotFound(name[:200])
    return edition.manifest(name, IMMUTABLE, lambda: manifest.hls_media(edition.presentation, stem))


def _chapter_json(p: Presentation) -> dict[str, Any]:
    return {
        "chapter": p.chapter,
        "title": p.title,
        "version": p.version,
        "duration_s": float(p.grid.duration_s),
        "slots": [
            {"slot": slot.id, "start_s": float(slot.start_s), "duration_s": float(slot.duration_s)} for slot in p.slots
        ],
        "markers": [{"at_s": float(marker.at_s), "title": marker.title} for marker in p.markers],
        "poster": p.poster and f"{p.version}/{p.poster}",
        "rungs": [f"{r.picture.height}p" for r in p.dash_sets[0] if r.picture],
        "alpha": p.progressive and {"webm": f"{p.version}/{p.progressive}", "hevc": bool(p.layered_hevc)},
    }
