"""The shared chapter in real players, and what HTTP says of a viewer's own one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.browser.driver import Playback, browser, finish, player_page, start
from tests.browser.house import House
from tests.browser.viewers import REGIONS

# A chapter is played in real time, and a busy machine may need several times that to start a browser.
pytestmark = pytest.mark.timeout(300)


async def test_the_shared_chapter_plays_from_start_to_end(house: House, chromium: str, npm: Path):
    async with browser(chromium) as running:
        with player_page(npm) as page_url:

            async def play(player: str, manifest: str) -> Playback:
                page = await running.new_page()
                await start(page, page_url, player, f"{house.url}{house.chapter}/{manifest}", REGIONS)
                return await finish(page)

            for saw in await asyncio.gather(play("dash", "stream.mpd"), play("hls", "master.m3u8")):
                assert (saw.errors, saw.holes) == ([], 0)
                assert saw.at_s == pytest.approx(float(house.presentation.grid.duration_s), abs=0.15), saw.place


async def test_what_one_viewer_gets_no_other_viewer_and_not_the_public_gets(house: House):
    async with ClientSession() as http:
        mine, other = await house.consent(http), await house.consent(http)
        await house.ask(http, mine)
        await house.ask(http, other)
        await house.send_photo(http, mine)
        await house.wait_until_ready(http, mine)
        number = house.presentation.segments_of(house.slot)[0]
        rendition = house.presentation.videos[-1]
        segment = f"{house.chapter}/{house.presentation.version}/{rendition.id}/{number}.m4s"
        async with http.get(f"{house.url}{mine}{segment}") as answer:
            assert answer.headers["Cache-Control"] == "private, no-store"
            own = await answer.read()
        async with http.get(f"{house.url}{other}{segment}") as answer:
            assert await answer.read() == house.chapters_own(rendition, number)
        assert own != house.chapters_own(rendition, number)
        async with http.get(f"{house.url}{segment}") as answer:
            assert answer.status == 404


async def test_after_delete_nothing_of_a_viewer_answers_or_lies_on_disk(house: House):
    async with ClientSession() as http:
        session = await house.consent(http)
        await house.ask(http, session)
        await house.send_photo(http, session)
        await house.wait_until_ready(http, session)
        inserts = house.state / "inserts"
        assert any(file.suffix == ".m4s" for file in inserts.rglob("*"))
        before = {file for file in inserts.rglob("*") if file.is_file()}
        async with http.delete(f"{house.url}{session}") as answer:
            assert answer.status == 204
        gone = before - {file for file in inserts.rglob("*") if file.is_file()}
        assert gone
        for path in ("", f"{house.chapter}/stream.mpd", f"{house.chapter}/master.m3u8"):
            async with http.get(f"{house.url}{session}{path}") as answer:
                assert answer.status == 410
                assert json.loads(await answer.text())["hint"]
