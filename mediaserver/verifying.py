"""GET and POST /verify: what credentials and invisible mark of somebody's video tell."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import aiofiles
from aiohttp import web

from lipsync.protocols import FaceWorker
from mediaserver.allowance import Allowance
from mediaserver.dashboard import PAGES, POLICY
from mediaserver.errors import ServerError
from mediaserver.proxies import Proxies
from mediaserver.settings import Settings
from mediaserver.vault import private_folder

_BLOCK = 256 * 1024
# A video is looked at from end to end; more than a few a minute is no person.
PER_MINUTE = 6


class VideoTooLarge(ServerError):
    code = "video_too_large"
    status = 413
    hint = "Cut the scene in question out of it, or use `mediaserver verify FILE`."

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The video is larger than {limit_bytes / 1e6:.0f} MB.")


class Verifying:
    """One video at a time, in a process that ends afterwards; the file is gone when the answer is sent."""

    def __init__(self, settings: Settings, inspector: Callable[[], FaceWorker], assets: str) -> None:
        self._settings, self._inspector = settings, inspector
        self._page = (PAGES / "verify.html").read_text("utf-8").replace("{{assets}}", assets)
        self._folder = private_folder(settings.state / "verify")
        self._allowance = Allowance(min(PER_MINUTE, settings.visits_per_minute), time.monotonic)
        self._proxies = Proxies(settings.trusted_proxies)
        self._one = asyncio.Lock()
        for left in self._folder.iterdir():
            left.unlink()

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/verify", self.page), web.post("/verify", self.verify)]

    async def page(self, request: web.Request) -> web.StreamResponse:
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        return web.Response(text=self._page, content_type="text/html", headers=headers)

    async def verify(self, request: web.Request) -> web.StreamResponse:
        """Answer with the findings as JSON; the body is the video itself."""
        self._allowance.take(self._proxies.client(request.remote or "", request.headers.get("X-Forwarded-For")))
        video = self._folder / secrets.token_hex(16)
        try:
            await self._receive(request, video)
            async with self._one:
                inspector = self._inspector()
                try:
                    found = await inspector.inspect(video)
                finally:
                    await inspector.close()
        finally:
            video.unlink(missing_ok=True)
        return web.json_response(found, headers={"Cache-Control": "private, no-store"})

    async def _receive(self, request: web.Request, video: Path) -> None:
        """Write the body to a file of our own; raises VideoTooLarge."""
        limit = self._settings.verify_max_bytes
        if (request.content_length or 0) > limit:
            raise VideoTooLarge(limit)
        os.close(os.open(video, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        size = 0
        async with aiofiles.open(video, "wb") as file:
            async for block in request.content.iter_chunked(_BLOCK):
                size += len(block)
                if size > limit:
                    raise VideoTooLarge(limit)
                await file.write(block)
