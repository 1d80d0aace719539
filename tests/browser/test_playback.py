"""Real players in a real browser play the shared chapter, and the personal one across both borders of its slot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.browser.driver import Playback, Region, browser, finish, player_page, start
from tests.browser.house import House

MANIFESTS = {"dash": "stream.mpd", "hls": "master.m3u8"}
# Rows and columns of the picture: inside the mirror's glass, and a strip of the scene far from it.
FACE, SCENE = Region(0.64, 0.25, 0.16, 0.4), Region(0.05, 0.1, 0.3, 0.3)


# A chapter is played in real time, and a busy machine may need several times that to start a browser.
pytestmark = pytest.mark.timeout(300)
_shared: dict[str, Playback] = {}


async def shared_playback(house: House, chromium: str, npm: Path, player: str) -> Playback:
    """Play the chapter as everybody gets it, once for all tests."""
    if player not in _shared:
        async with browser(chromium) as running:
            with player_page(npm) as page_url:
                page = await running.new_page()
                address = f"{house.url}{house.chapter}/{MANIFESTS[player]}"
                await start(page, page_url, player, address, [FACE, SCENE])
                _shared[player] = await finish(page)
    return _shared[player]


@pytest.mark.parametrize("player", ["dash", "hls"])
async def test_the_shared_chapter_plays_from_start_to_end(house: House, chromium: str, npm: Path, player: str):
    assert_whole(await shared_playback(house, chromium, npm, player), house)


@pytest.mark.parametrize("player", ["dash", "hls"])
async def test_a_viewer_who_starts_at_once_meets_the_own_face_in_the_slot_and_no_border(
    house: House, chromium: str, npm: Path, player: str
):
    """Nothing is rendered when playing begins: the photo is sent while the film's first seconds are shown."""
    shared = await shared_playback(house, chromium, npm, player)
    async with browser(chromium) as running, ClientSession() as http:
        session = await house.consent(http)
        with player_page(npm) as page_url:
            page = await running.new_page()
            await start(
                page, page_url, player, f"{house.url}{session}{house.chapter}/{MANIFESTS[player]}", [FACE, SCENE]
            )
            await house.wait_until_asked(http, session)
            assert await house.slot_state(http, session) == "waiting"
            await house.send_photo(http, session)
            seen = await finish(page)
        assert await house.slot_state(http, session) == "ready"
    assert_whole(seen, house)
    assert_personal_in_the_slot_only(seen, shared, house)


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


def assert_whole(seen: Playback, house: House) -> None:
    """Played to the end without a fault: no media error, no hole, no waiting once playing had begun."""
    duration_s = float(house.presentation.grid.duration_s)
    assert seen.errors == []
    assert seen.holes == 0
    assert seen.at_s == pytest.approx(duration_s, abs=0.15), (seen.place, seen.events)
    for border_s in house.borders_s:
        assert seen.named("waiting", border_s - 1, border_s + 1) == []
        shown = [at for at, _ in seen.frames if border_s - 0.5 <= at <= border_s + 0.5]
        assert len(shown) >= 5
    assert max(at for at, _ in seen.frames) > duration_s - 0.2


def assert_personal_in_the_slot_only(seen: Playback, shared: Playback, house: House) -> None:
    start_s, end_s = house.borders_s
    inside = outside = 0
    for at, (face, scene) in seen.frames:
        own_face, own_scene = shared.picture_at(at)
        assert distance(scene, own_scene) < 12, at
        if start_s + 0.05 <= at < end_s - 0.05:
            inside += 1
            assert distance(face, own_face) > 30, at
        elif at < start_s - 0.05 or at > end_s + 0.05:
            outside += 1
            assert distance(face, own_face) < 12, at
    assert inside > 20
    assert outside > 60


def distance(one: list[float], other: list[float]) -> float:
    """The largest difference of any channel, in 8-bit levels."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))
