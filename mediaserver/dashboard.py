"""The pages, the files they load, and the list of the editors' jobs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from mediaserver.errors import JobUnknown, NotFound
from mediaserver.library import IMMUTABLE, Manifest
from mediaserver.operators import Operators
from mediaserver.ranges import Representation, mime_of
from mediaserver.replies import send_manifest
from mediaserver.settings import Settings

PAGES = Path(__file__).parent / "pages"
SCRIPTS = {
    "lib/dash.js": "dashjs/dist/modern/umd/dash.all.min.js",
    "lib/hls.js": "hls.js/dist/hls.min.js",
    "lib/c2pa/index.js": "@contentauth/c2pa-web/dist/index.js",
    "lib/c2pa/c2pa-8eeyObgG.js": "@contentauth/c2pa-web/dist/c2pa-8eeyObgG.js",
    "lib/c2pa/c2pa.wasm": "@contentauth/c2pa-web/dist/resources/c2pa_bg.wasm",
    "lib/c2pa/highgain.js": "highgain/dist/index.js",
    "lib/c2pa/ts-deepmerge.js": "ts-deepmerge/esm/index.js",
}
# What a package imports by its name is beside it here; a browser needs that as an address.
_NAMED = re.compile(rb'(from\s*)"(highgain|ts-deepmerge)"')
# Whoever may open the page is not told where the files lie on this machine.
_OPERATORS_ONLY = frozenset({"path", "command", "commands", "stderr_tail"})
_OURS = (".css", ".js", ".svg")

# Players hand their buffers to the video as blob: addresses and may run their parser in a worker of that kind.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The viewer's page verifies Content Credentials, which is WebAssembly; that is no `eval`.
VIEWER_POLICY = POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")


class JobListing(Protocol):
    """What the editors' page needs of the jobs; every method may block."""

    def listing(self) -> list[dict[str, Any]]:
        """Return every job, newest first, ready for JSON."""
        ...

    def retry(self, name: str) -> object:
        """Start a job again from its first stage; raises JobUnknown."""
        ...

    def cancel(self, name: str) -> object:
        """End a job; raises JobUnknown."""
        ...


class NoJobs:
    """This process does not watch for masters."""

    def listing(self) -> list[dict[str, Any]]:
        return []

    def retry(self, name: str) -> object:
        raise JobUnknown(name)

    cancel = retry


class Assets:
    """Our own files and the players' scripts, in memory, under an address that changes with their content."""

    def __init__(self, scripts: Path | None, pages: Path = PAGES) -> None:
        bodies = {path.name: path.read_bytes() for path in sorted(pages.iterdir()) if path.suffix in _OURS}
        if scripts:
            bodies |= {name: _addressed((scripts / path).read_bytes()) for name, path in SCRIPTS.items()}
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


def _addressed(script: bytes) -> bytes:
    return _NAMED.sub(rb'\1"./\2.js"', script)


def _kept(name: str, body: bytes, cache: str = IMMUTABLE) -> Manifest:
    return Manifest(body, Representation(len(body), mime_of(name), cache, sha256(body).hexdigest()[:32]))


class Dashboard:
    """GET /, /editor, /assets/... and /api/jobs; POST /api/jobs/<id>/retry and /cancel."""

    def __init__(self, settings: Settings, jobs: JobListing, scripts: Path | None) -> None:
        self._jobs, self._assets, self._operators = jobs, Assets(scripts), Operators(settings.state)
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
            web.post(r"/api/jobs/{id}/{verb:retry|cancel}", self.change),
        ]

    async def viewer(self, request: web.Request) -> web.StreamResponse:
        return await _page(request, self._viewer, VIEWER_POLICY)

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
        shown = await asyncio.to_thread(self._jobs.listing)
        operator = self._operators.knows(request)
        if not operator:
            shown = [{key: value for key, value in job.items() if key not in _OPERATORS_ONLY} for job in shown]
        return web.json_response({"jobs": shown, "operator": operator}, headers={"Cache-Control": "no-store"})

    async def change(self, request: web.Request) -> web.StreamResponse:
        """Retry or cancel one job; raises OtherOrigin, OperatorUnknown, JobUnknown."""
        self._operators.check(request)
        change = self._jobs.retry if request.match_info["verb"] == "retry" else self._jobs.cancel
        await asyncio.to_thread(change, request.match_info["id"])
        return web.Response(status=204)


async def _page(request: web.Request, page: Manifest, policy: str = POLICY) -> web.StreamResponse:
    response = await send_manifest(request, page)
    response.headers["Content-Security-Policy"] = policy
    return response
