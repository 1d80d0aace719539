"""The page that tells of any video whether it was made here, in a real browser."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Page

from tests.browser.driver import browser
from tests.browser.house import House, OwnScene
from tests.browser.test_viewer_page import drop, until
from tests.masters import make_master


async def told(page: Page) -> tuple[str, list[str]]:
    await until(page, "document.body.dataset.state === 'done'")
    return await page.locator("#state").inner_text(), await page.locator("#found li").all_inner_texts()


async def test_a_video_made_here_is_known_by_credentials_and_mark_and_any_other_is_not(
    house: House, own_scene: OwnScene, chromium: str, tmp_path: Path
):
    mine, other = tmp_path / "mine.mp4", make_master(tmp_path / "other.mp4", frames=50)
    mine.write_bytes(own_scene.signed)
    async with browser(chromium) as running:
        page = await running.new_page()
        outside: list[str] = []
        page.on("request", lambda r: outside.append(r.url) if not r.url.startswith(house.url) else None)
        await page.goto(f"{house.url}verify")
        await page.locator("#video").set_input_files(mine)
        answer, found = await told(page)
        assert answer == "This shows a scene that was made from a photo of a face."
        for words in (
            "nothing was changed",
            "who is trusted here",
            "made by AI",
            "invisible mark was read",
            "is the one",
        ):
            assert [line for line in found if words in line], words
        await drop(page, other)
        answer, found = await told(page)
        assert answer == "Nothing shows that this was made from a photo of a face."
        for words in ("No Content Credentials", "No invisible mark was found"):
            assert [line for line in found if words in line], words
        assert len(found) == 2
        assert outside == []
