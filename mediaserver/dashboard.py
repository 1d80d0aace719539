"""The pages, the files they load, and the list of the editors' jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from mediaserver.errors import NotFound
from mediaserver.library import IMMUTABLE, Manifest
from mediaserver.ranges import Representation, mime_of
from mediaserver.replies import send_manifest
from mediaserver.settings import Settings

PAGES = Path(__file__).parent / "pages"
SCRIPTS = {
    "lib/dash.js": "dashjs/dist/modern/umd/dash.all.min.js",
    "lib/hls.js": "hls.js/dist/hls.min.js",
}
# Whoever may open the page is not told where the files lie on this machine.
_OPERATORS_ONLY = frozenset({"path", "command", "stderr_tail"})
_OURS = (".css", ".js", ".svg")

# Players hand their buffers to the video as blob: addresses and may run their parser in a worker of that kind.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class JobListing(Protocol):
    """What the editors' page needs of the jobs."""

    def listing(self) -> list[dict[str, Any]]:
        """Return every job, newest first, ready for JSON; may block."""
        ...


class NoJobs:
    """This process does not watch for masters."""

    def listing(self) -> list[dict[str, Any]]:
        return []


class Assets:
    """Our own files and the players' scripts, in memory, under an address that changes with their content."""

    def __init__(self, scripts: Path | None, pages: Path = PAGES) -> None:
        bodies = {path.name: path.read_bytes() for path in sorted(pages.iterdir()) if path.suffix in _OURS}
        if scripts:
            bodies |= {name: (scripts / path).read_bytes() for name, path in SCRIPTS.items()}
        digest = sha256()
        for name, body in bodies.items():
            digest.update(name.encode() + b"\0" + body)
        self.folder = f"assets/{digest.hexdigest()[:16]}"
        self.files: Mapping[str, Manifest] = {name: _kept(name, body) for name, body in bodies.items()}

    def page(self, name: str, words: Mapping[str, str], pages: Path = PAGES) -> Manifest:
        """Return a page with its places filled: `{{assets}}` and those of `words`."""
        text = (pages / name).read_text("utf-8")
        for place, word in {"assets": self.folder, **words}.items():
            text = text.replace("{{" + place + "}}", word)
        return _kept(name, text.encode(), "no-cache")


def _kept(name: str, body: bytes, cache: str = IMMUTABLE) -> Manifest:
    return Manifest(body, Representation(len(body), mime_of(name), cache, sha256(body).hexdigest()[:32]))


class Dashboard:
    """GET /, /editor, /assets/... and /api/jobs."""

    def __init__(self, settings: Settings, jobs: JobListing, scripts: Path | None) -> None:
        self._jobs, self._assets = jobs, Assets(scripts)
        words = {"photo_file_input": "on" if settings.photo_file_input else "off"}
        self._viewer = self._assets.page("viewer.html", words)
        self._editor = self._assets.page("editor.html", {})
        self.assets = self._assets.folder

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.viewer),
            web.get("/editor", self.editor),
            web.get(r"/assets/{hash}/{name:.+}", self.asset),
            web.get("/favicon.ico", self.icon),
            web.get("/api/jobs", self.jobs),
        ]

    async def viewer(self, request: web.Request) -> web.StreamResponse:
        return await _page(request, self._viewer)

    async def editor(self, request: web.Request) -> web.StreamResponse:
        return await _page(request, self._editor)

    async def asset(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if f"assets/{request.match_info['hash']}" != self._assets.folder or name not in self._assets.files:
            raise NotFound(name[:200])
        return await send_manifest(request, self._assets.files[name])

    async def icon(self, request: web.Request) -> web.StreamResponse:
        return await send_manifest(request, self._assets.files["icon.svg"])

    async def jobs(self, request: web.Request) -> web.StreamResponse:
        """List the jobs; their engine is asked in a thread, because it reads a database."""
        listed = await asyncio.to_thread(self._jobs.listing)
        shown = [{key: value for key, value in job.items() if key not in _OPERATORS_ONLY} for job in listed]
        return web.json_response({"jobs": shown}, headers={"Cache-Control": "no-store"})


async def _page(request: web.Request, page: Manifest) -> web.StreamResponse:
    response = await send_manifest(request, page)
    response.headers["Content-Security-Policy"] = POLICY
    return response
