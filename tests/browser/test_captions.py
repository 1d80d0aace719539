"""Captions in several languages and scripts, and the small pictures of the storyboard, as real players show them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.browser.driver import browser, player_page, start
from tests.browser.house import SAID, House

pytestmark = pytest.mark.timeout(120)
MANIFESTS = {"dash": "stream.mpd", "hls": "master.m3u8"}


@pytest.mark.parametrize("player", ["dash", "hls"])
async def test_captions_of_every_language_are_shown_by_the_player(house: House, chromium: str, npm: Path, player: str):
    """Everybody's manifest and one viewer's own."""
    async with browser(chromium) as running, ClientSession() as http:
        for session in ("", await house.consent(http)):
            with player_page(npm) as page_url:
                page = await running.new_page()
                await start(page, page_url, player, f"{house.url}{session}{house.chapter}/{MANIFESTS[player]}", [])
                for language, text in SAID.items():
                    # dash.js shows a track of its own choice when it has read all; who asks before that asks again
                    while await page.evaluate("() => captionsShown()") != [text]:
                        await page.evaluate("language => showCaptions(language)", language)
                        await asyncio.sleep(0.2)
                assert await page.evaluate("() => log.errors") == []
                await page.close()


async def test_dash_js_finds_the_small_picture_of_every_second(house: House, chromium: str, npm: Path):
    board = house.presentation.storyboard
    assert board is not None
    async with browser(chromium) as running:
        with player_page(npm) as page_url:
            page = await running.new_page()
            await start(page, page_url, "dash", f"{house.url}{house.chapter}/{MANIFESTS['dash']}", [])
            for second in (0, 7, 11):
                while (found := await page.evaluate("time => thumbnail(time)", second + 0.5)) is None:
                    await asyncio.sleep(0.1)
                row, column = divmod(second, board.columns)
                assert found[0].endswith(f"{house.presentation.version}/{board.files[0]}")
                assert found[1:] == [column * board.width, row * board.height, board.width, board.height]
