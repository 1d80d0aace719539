"""Every player of the field plays the personal chapter: nothing rendered at first, borders, jumps, rungs, retakes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientSession
from playwright.async_api import Browser

from tests.browser.driver import BUFFER_S, Playback, Shown, browser, start
from tests.browser.house import OLDER_WOMAN, PHOTO, WOMAN, House
from tests.browser.viewers import DIFFERENT, REGIONS, Film, Watching, kind_of

pytestmark = pytest.mark.timeout(300)
MANIFESTS = {"dash": "stream.mpd", "dash3": "stream.mpd", "shaka-dash": "stream.mpd"}
TOGETHER = [("dash", "hls"), ("dash3", "light"), ("shaka-dash", "shaka-hls"), ("native",)]
HIGH = 720
# The film is there in stereo and 5.1. The light build knows one stream alone; dash.js 3 takes what has most bits.
SOUND = {"light": set(), "dash3": {"audio_en_surround.mp4"}}


@pytest.fixture(scope="session")
def film(house: House) -> Film:
    return Film(house)


@pytest.mark.parametrize("together", TOGETHER, ids="+".join)
async def test_viewers_see_their_own_faces_without_a_border_in(
    together: tuple[str, ...], film: Film, chromium: str, page_url: str, tmp_path: Path
):
    """Two viewers at once, each with a face of their own; the first one takes another photo while the film plays."""
    house = film.house
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(browser(chromium))
        http = await stack.enter_async_context(ClientSession())
        viewers = await seats(running, http, house, together)
        # from 0 s on, with nothing rendered, across both borders to the end
        await asyncio.gather(*(begin(viewer, http, house, page_url) for viewer in viewers))
        await asyncio.gather(*(viewer.until("atEnd()") for viewer in viewers))
        for viewer in viewers:
            assert_whole(await viewer.saw(), house)
            assert viewer.heard == SOUND.get(viewer.player, {"audio_en.mp4"})
        await asyncio.gather(*(house.wait_until_ready(http, viewer.session) for viewer in viewers))
        faces = [await film.face_of(http, viewer.session, tmp_path) for viewer in viewers]
        for viewer, face in zip(viewers, faces, strict=True):
            assert_different(face, film)
            assert_only(viewer, (await viewer.saw()).frames, film, [face])
        # jumps round the borders, into another rung, and another photo meanwhile
        for viewer in viewers:
            viewer.sent.clear()
        retake = asyncio.create_task(house.send_photo(http, viewers[0].session, OLDER_WOMAN.read_bytes()))
        await asyncio.gather(*(jump(viewer, house) for viewer in viewers))
        await retake
        await house.wait_until_ready(http, viewers[0].session)
        again = await film.face_of(http, viewers[0].session, tmp_path)
        assert_different(again, film)
        for viewer, old, now in zip(viewers, faces, [again, *faces[1:]], strict=True):
            saw = await viewer.saw()
            assert saw.errors == []
            assert_only(viewer, saw.frames, film, [old, now])
        # opened anew it is the new face, also in a rung that is taken inside the slot
        await asyncio.gather(*(change_rung(viewer, house, page_url) for viewer in viewers))
        for viewer, now in zip(viewers, [again, *faces[1:]], strict=True):
            saw = await viewer.saw()
            assert saw.errors == []
            assert_only(viewer, saw.frames, film, [now])
            own = [shown for shown in saw.frames if inside(shown, house)]
            assert {kind_of(shown, film, [now]) for shown in own} == {"0"}
            assert len([shown for shown in own if shown.lines == HIGH]) > 5
        assert {scene for viewer in viewers[1:] for scenes in viewer.sent.values() for scene in scenes} <= {"personal"}


async def seats(running: Browser, http: ClientSession, house: House, together: tuple[str, ...]) -> list[Watching]:
    """Return a viewer before each of the players, with a face of their own each."""
    viewers = []
    for player, photo in zip(together, (PHOTO, WOMAN), strict=False):
        viewer = Watching(await running.new_page(), player, await house.consent(http), photo)
        viewer.listen()
        viewers.append(viewer)
    return viewers


async def begin(viewer: Watching, http: ClientSession, house: House, page_url: str) -> None:
    """Play from 0 s, and send the photo as soon as the player has asked for the manifest."""
    await open_anew(viewer, house, page_url)
    await house.wait_until_asked(http, viewer.session)
    await house.send_photo(http, viewer.session, viewer.photo.read_bytes())


async def open_anew(viewer: Watching, house: House, page_url: str, buffer_s: float = BUFFER_S) -> None:
    address = f"{house.url}{viewer.session}{house.chapter}/{MANIFESTS.get(viewer.player, 'master.m3u8')}"
    await start(viewer.page, page_url, viewer.player, address, REGIONS, buffer_s=buffer_s)


async def jump(viewer: Watching, house: House) -> None:
    """Play a second round each border, and one inside the slot."""
    start_s, end_s = house.borders_s
    for at_s in (start_s - 0.4, end_s - 0.4, start_s + 0.8):
        await viewer.page.evaluate(f"playFrom({at_s})")
        await viewer.until(f"!document.querySelector('#video').seeking && {at_s + 0.8} < at() && at() < {at_s + 3}")


async def change_rung(viewer: Watching, house: House, page_url: str) -> None:
    """Jump into the slot and change the rung there; play to the slot's end."""
    start_s, end_s = house.borders_s
    # this one keeps what it has; it can change inside the slot only if the slot's end is not there yet
    await open_anew(viewer, house, page_url, 3.0 if viewer.player == "dash3" else BUFFER_S)
    await viewer.until("at() > 0.1")
    await viewer.page.evaluate(f"playFrom({start_s - 0.2})")
    await viewer.until(f"at() > {start_s + 0.1}")
    await viewer.page.evaluate("toRung(true)")
    await viewer.until(f"at() > {end_s + 0.2}")


def inside(shown: Shown, house: House) -> bool:
    start_s, end_s = house.borders_s
    return start_s + 0.05 <= shown.at_s < end_s - 0.05


def assert_whole(saw: Playback, house: House) -> None:
    """Played to the end without a fault: no media error, no hole, no waiting at a border."""
    assert saw.errors == []
    assert saw.holes == 0
    assert saw.at_s == pytest.approx(float(house.presentation.grid.duration_s), abs=0.15), (saw.place, saw.events)
    for border_s in house.borders_s:
        assert saw.named("waiting", border_s - 1, border_s + 1) == []
        assert len([shown for shown in saw.frames if abs(shown.at_s - border_s) <= 0.5]) >= 5


def assert_only(viewer: Watching, frames: list[Shown], film: Film, faces: list[dict]) -> None:
    """Every picture is the chapter's own or the viewer's, and outside the slot it is the chapter's."""
    kinds = [(shown, kind_of(shown, film, faces)) for shown in frames]
    assert [(viewer.player, shown) for shown, kind in kinds if kind == "wrong"] == []
    outside = [shown for shown, kind in kinds if kind != "chapter" and not inside(shown, film.house)]
    start_s, end_s = film.house.borders_s
    assert [shown for shown in outside if not start_s - 0.05 <= shown.at_s <= end_s + 0.05] == []


def assert_different(face: dict, film: Film) -> None:
    """A face is no picture of the chapter: else nothing could be told from the colours."""
    start_s, end_s = film.house.borders_s
    rate = film.house.presentation.grid.rate
    for lines, means in face.items():
        for number in range(round(start_s * rate) + 2, round(end_s * rate) - 2):
            assert np.abs(means[number] - film.own[lines][number]).max() > DIFFERENT
