"""Takes the README's pictures from a running product: `make demo`, then `.venv/bin/python docs/screenshots.py`.

An address may follow; after it, the file with the operator's key: then the editors' page alone is taken, unlocked.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from playwright.async_api import Page

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests import chromium  # noqa: E402
from tests.browser.driver import browser  # noqa: E402

PHOTO = HERE.parent / "lipsync" / "demo" / "man.jpg"
# A vowel of the sample film's narration.
SPEAKING_S = 16.18
SIZE = {"width": 1360, "height": 800}


async def until(page: Page, expression: str) -> None:
    while not await page.evaluate(expression):
        await asyncio.sleep(0.1)


async def take_player(page: Page, url: str) -> None:
    await page.goto(url)
    for box in ("#box-own_face", "#box-age", "#begin"):
        await page.locator(box).click()
    await until(page, "document.body.dataset.state === 'consented'")
    await page.locator("#photo").set_input_files(PHOTO)
    await until(page, "document.body.dataset.state === 'ready'")
    await page.evaluate("document.querySelector('#video').muted = true")
    await page.locator("#mine").click()
    await until(page, f"document.querySelector('#video').currentTime > {SPEAKING_S}")
    await page.evaluate("document.querySelector('#video').pause()")
    await page.evaluate(f"document.querySelector('#video').currentTime = {SPEAKING_S}")
    await asyncio.sleep(1)
    await page.screenshot(path=HERE / "player.png")
    await page.locator("#delete").click()
    await until(page, "document.body.dataset.state === 'none'")


async def take_editor(page: Page, url: str, key: Path | None) -> None:
    await page.goto(f"{url}editor")
    if key:
        await page.locator("#key").fill(key.read_text("ascii"))
        await page.locator("#key-form button").click()
    await asyncio.sleep(2)
    await page.screenshot(path=HERE / "editor.png")


async def main(url: str, key: Path | None) -> None:
    async with browser(chromium.find()) as running:
        page = await running.new_page(viewport=SIZE)
        if not key:
            await take_player(page, url)
        await take_editor(page, url, key)


if __name__ == "__main__":
    address, key = (*sys.argv[1:], "", "")[:2]
    asyncio.run(main(address or "http://127.0.0.1:8080/", Path(key) if key else None))
