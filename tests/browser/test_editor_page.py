"""The editors' page in a real browser: what it shows of jobs to whom, and what its buttons do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestServer
from playwright.async_api import Page

from mediaserver.app import build_app
from mediaserver.settings import Settings
from tests.browser.driver import browser
from tests.mediaserver.conftest import ScriptedFaceWorker

ENCODED = {
    "id": "1",
    "name": "part1.mov",
    "state": "running",
    "stage": "encode",
    "percent": 42.4,
    "fps": 31.0,
    "eta_s": 200,
    "rungs": {"video_720p_h264": 42.0, "trick_432p_h264": 0.0},
    "commands": ["ffmpeg -i part1.mov"],
}
WAITS = {"id": "2", "name": "part2.mov", "state": "queued", "place": 1}
PAUSED = {
    "id": "3",
    "name": "part3.mov",
    "state": "paused",
    "sentence": "It waits for room.",
    "hint": "Delete it.",
}
FAILED = {
    "id": "4",
    "name": "<b>part4</b>.mov",
    "state": "failed",
    "sentence": "ffmpeg failed.",
    "hint": "Try again.",
    "command": ["ffmpeg", "-i", "x"],
    "stderr_tail": "No such filter",
}


class Listed:
    """Jobs that stay as they are, but for what a button does."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = [ENCODED, WAITS, PAUSED, FAILED]

    def listing(self) -> list[dict[str, Any]]:
        return self.jobs

    def _now(self, id: str, state: str) -> None:
        self.jobs = [{**job, "state": state} if job["id"] == id else job for job in self.jobs]

    def retry(self, name: str) -> None:
        self._now(name, "queued")

    def cancel(self, name: str) -> None:
        self._now(name, "cancelled")


async def cards(page: Page) -> list[str]:
    return [" ".join(text.split()) for text in await page.locator("#jobs article").all_inner_texts()]


async def unlock(page: Page, key: str) -> None:
    await page.locator("#key").fill(key)
    await page.locator("#key-form button").click()


async def test_editors_see_every_job_and_with_the_key_they_cancel_and_retry(chromium: str, tmp_path: Path):
    (tmp_path / "media").mkdir()
    worker, settings = ScriptedFaceWorker(), Settings(media=tmp_path / "media", state=tmp_path / "state")
    async with (
        TestServer(build_app(settings, worker, worker, jobs=Listed())) as server,
        browser(chromium) as running,
    ):
        page = await running.new_page()
        await page.goto(str(server.make_url("/editor")))
        await page.locator("article").nth(3).wait_for()
        assert await cards(page) == [
            "part1.mov encoding encode · 42 % · 31 frames/s · about 3 min left 720p h264 42 % trick 432p h264 0 %",
            "part2.mov waiting number 1 in the queue",
            "part3.mov paused It waits for room. Delete it.",
            "<b>part4</b>.mov failed ffmpeg failed. Try again.",
        ]
        assert await page.locator("#jobs button").count() == 0
        await unlock(page, "guess")
        await page.get_by_text("That is not the key.").wait_for()
        await unlock(page, (tmp_path / "state" / "keys" / "operator.key").read_text("ascii"))
        await page.get_by_label("Cancel part1.mov").click()
        await page.get_by_label("Retry part1.mov").wait_for()
        await page.get_by_label("Retry <b>part4</b>.mov").click()
        await page.get_by_label("Cancel <b>part4</b>.mov").wait_for()
        await page.get_by_text("What the program said").click()
        await asyncio.sleep(1.5)
        assert await page.get_by_text("No such filter").is_visible()
        assert [text.split()[1] for text in await cards(page)] == ["cancelled", "waiting", "paused", "waiting"]
