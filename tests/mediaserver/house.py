"""A server in a thread of its own, so that a test may talk to it over sockets as slowly and as badly as it likes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import random
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from mediaserver.address import open_address
from mediaserver.app import build_app
from mediaserver.ops import FIGURES
from mediaserver.settings import Settings
from tests.mediaserver.conftest import ScriptedFaceWorker, presentation
from tests.mediaserver.rfc9110 import Target

FILM_BYTES = 1_300_003
# Long past, so that the date is a strong validator everywhere (RFC 9110, 8.8.2.2).
MODIFIED_S = 1_600_000_000


@dataclass(frozen=True, slots=True)
class House:
    """Where it listens, and its loop."""

    host: str
    port: int
    app: web.Application
    runner: web.AppRunner
    loop: asyncio.AbstractEventLoop

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something inside the server's loop and return its result."""
        return self.begin(work).result(60)

    def connections(self) -> int:
        """How many clients are connected, whoever serves them."""
        return int(self.app[FIGURES].text().partition("\nmediaserver_connections ")[2].split()[0])

    def begin(self, work: Coroutine[Any, Any, Any]) -> concurrent.futures.Future[Any]:
        """Start something inside the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)


def furnish(root: Path, film_bytes: int = FILM_BYTES) -> bytes:
    """Publish part2/v1 with a film of noise and a sound of no bytes; return the film."""
    p = presentation("part2", "v1")
    folder = root / "media" / "part2" / "v1"
    folder.mkdir(parents=True)
    film = random.Random(9110).randbytes(film_bytes)
    for file, data in (("video_1080p_h264.mp4", film), ("video_432p_h264.mp4", film[:20_000]), ("audio_en.mp4", b"")):
        (folder / file).write_bytes(data)
        os.utime(folder / file, (MODIFIED_S, MODIFIED_S))
    (folder / "presentation.json").write_text(p.to_json(), "utf-8")
    (folder.parent / "current").write_text("v1\n", "utf-8")
    return film


@contextmanager
def housed(root: Path, **overrides: Any) -> Iterator[House]:
    """Serve root/media on a free port until the block ends; settings by keyword."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), []
    settings = Settings(media=root / "media", state=root / "state", **overrides)

    async def serve(told_to_stop: asyncio.Event) -> None:
        worker = ScriptedFaceWorker()
        app = build_app(settings, worker, worker)
        runner = await open_address(app, settings, [socket.create_server(("127.0.0.1", 0), backlog=4096)])
        found.append(House("127.0.0.1", runner.addresses[0][1], app, runner, loop))
        ready.set()
        await told_to_stop.wait()
        await runner.cleanup()

    stop = asyncio.Event()
    thread = threading.Thread(target=_run, args=(loop, lambda: serve(stop), ready))
    thread.start()
    try:
        assert ready.wait(30)
        assert found, "the server did not start"
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        loop.close()


def _run(
    loop: asyncio.AbstractEventLoop, serve: Callable[[], Coroutine[Any, Any, None]], ready: threading.Event
) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(serve())
    finally:
        ready.set()


def film_target(house: House, film: bytes) -> Target:
    folder = "/part2/v1"
    return Target(
        house.host, house.port, f"{folder}/video_1080p_h264.mp4", film, f"{folder}/audio_en.mp4", "/part2/v1/none.mp4"
    )
