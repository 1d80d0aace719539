"""Drives real players in a real browser and returns what a viewer would have noticed."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright
from playwright.async_api import TimeoutError as PlaywrightTimeout

HERE = Path(__file__).parent
PAGES = HERE.parents[1] / "mediaserver" / "pages"
# Well under the 6 s that come before the slot, so that a busy machine has time to look at the photo.
BUFFER_S = 4.0
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run", "--autoplay-policy=no-user-gesture-required"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
]


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the picture, as fractions of its size."""

    x: float
    y: float
    w: float
    h: float

    def asdict(self) -> dict[str, float]:
        return {"x": self.x, "y": self.y, "w": self.w, "h": self.h}


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture at its media time: its number of lines, and the mean RGB of every region."""

    at_s: float
    lines: int
    means: list[list[float]]


@dataclass(frozen=True, slots=True)
class Playback:
    """Events with the media time at which they came, the pictures that were shown, and faults.

    `at_s` is the media time at which it stood at last, `place` says more of it for the message of a failed test.
    """

    events: list[tuple[str, float]]
    frames: list[Shown]
    errors: list[str]
    holes: int
    dropped: int
    stalled_s: float
    at_s: float
    place: str

    def named(self, name: str, start_s: float = 0.0, end_s: float = float("inf")) -> list[float]:
        return [at for event, at in self.events if event == name and start_s <= at < end_s]


class _Files(SimpleHTTPRequestHandler):
    """The page under `/`, the players' packages under `/npm/` and `/players/`."""

    packages: dict[str, Path]

    def translate_path(self, path: str) -> str:
        _, root, rest = (*path.partition("?")[0].split("/", 2), "", "")[:3]
        return str(self.packages[root] / rest) if root in self.packages else super().translate_path(path)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def player_page(npm: Path, players: Path | None = None) -> Iterator[str]:
    """Serve the page from an origin of its own, so that every stream it plays needs the server's CORS headers."""
    packages = {"npm": npm, "pages": PAGES} | ({"players": players} if players else {})
    handler = type("Files", (_Files,), {"packages": packages})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(HERE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/page.html"
    finally:
        server.shutdown()
        server.server_close()


@asynccontextmanager
async def browser(executable: str, *more_flags: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=executable, args=[*FLAGS, *more_flags])
        try:
            yield running
        finally:
            await running.close()


async def start(
    page: Page, page_url: str, player: str, stream_url: str, regions: list[Region], *, buffer_s: float = BUFFER_S
) -> None:
    """Open the page and let `player` (a name in player.js) play `stream_url` from 0 s, `buffer_s` ahead."""
    await page.goto(page_url)
    await page.wait_for_function("() => !!window.play")
    await page.evaluate(
        "([player, url, regions, buffer_s]) => play(player, url, regions, buffer_s)",
        [player, stream_url, [region.asdict() for region in regions], buffer_s],
    )


async def finish(page: Page, timeout_s: float = 90) -> Playback:
    """Return what was seen when the stream has been played to its end, or when it does not go on."""
    with suppress(PlaywrightTimeout):
        await page.wait_for_function("() => atEnd() || log.errors.length > 3", timeout=timeout_s * 1000)
    return await seen(page)


async def seen(page: Page) -> Playback:
    """Return what was seen until now."""
    log = await page.evaluate("() => summary()")
    return Playback(
        events=[(name, at) for name, at in log["events"]],
        frames=[Shown(at_s, lines, means) for at_s, lines, *means in log["frames"]],
        errors=log["errors"],
        holes=log["holes"],
        dropped=log["dropped"],
        stalled_s=log["stalled"],
        at_s=log["at"],
        place=log["place"],
    )
