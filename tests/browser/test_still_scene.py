"""A scene whose picture stands still is spliced of slices; every player shows it as it shows any other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession

from encoder.boxes import read_samples
from encoder.tools import find_tools, run_tool
from tests.browser.conftest import SETTINGS, running_house
from tests.browser.driver import browser
from tests.browser.house import House
from tests.browser.test_players import (
    TOGETHER,
    assert_different,
    assert_only,
    assert_whole,
    inside,
    open_anew,
    seats,
)
from tests.browser.viewers import Film, kind_of

pytestmark = pytest.mark.timeout(300)
# One picture of the mirror for 8 s; the slot begins and ends with a segment.
FROZEN = ("-ss", "12", "-t", "8", "-vf", "scale=1280:720,loop=loop=-1:size=1,trim=end_frame={n},setpts=N/{rate}/TB")
RATE, LENGTH_S = 25, 8
SLOT = {"start = 11.3": "start = 2", "duration = 4.0": 'duration = 4\ncompose = "still"'}


@pytest.fixture(scope="module")
def still_house(sample_master: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    film = tmp_path_factory.mktemp("film") / "still.mov"
    filters = FROZEN[-1].format(n=RATE * LENGTH_S, rate=RATE)
    coded = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-c:a", "pcm_s16le")
    run_tool((str(find_tools().ffmpeg), "-v", "error", *FROZEN[:2], "-i", str(sample_master), *FROZEN[2:4],
              "-vf", filters, "-r", str(RATE), *coded, str(film)))  # fmt: skip
    sidecar = sample_master.with_suffix(".toml").read_text("utf-8")
    for old, new in SLOT.items():
        assert old in sidecar
        sidecar = sidecar.replace(old, new)
    film.with_suffix(".toml").write_text(sidecar, "utf-8")
    with running_house(film, tmp_path_factory.mktemp("still"), SETTINGS) as running:
        yield running


@pytest.mark.parametrize("together", TOGETHER, ids="+".join)
async def test_a_still_scene_plays_from_border_to_border_in(
    together: tuple[str, ...], still_house: House, chromium: str, page_url: str, tmp_path: Path
):
    house, film = still_house, Film(still_house)
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(browser(chromium))
        http = await stack.enter_async_context(ClientSession())
        viewers = await seats(running, http, house, together)
        for viewer in viewers:
            await house.ask(http, viewer.session)
            await house.send_photo(http, viewer.session, viewer.photo.read_bytes())
        await asyncio.gather(*(house.wait_until_ready(http, viewer.session) for viewer in viewers))
        await assert_of_slices(http, house, viewers[0].session)
        faces = [await film.face_of(http, viewer.session, tmp_path) for viewer in viewers]
        await asyncio.gather(*(open_anew(viewer, house, page_url) for viewer in viewers))
        await asyncio.gather(*(viewer.until("atEnd()") for viewer in viewers))
        for viewer, face in zip(viewers, faces, strict=True):
            saw = await viewer.saw()
            assert_whole(saw, house)
            assert_different(face, film)
            assert_only(viewer, saw.frames, film, [face])
            own = [shown for shown in saw.frames if inside(shown, house)]
            assert len(own) > 20
            assert {kind_of(shown, film, [face]) for shown in own} == {"0"}


async def assert_of_slices(http: ClientSession, house: House, session: str) -> None:
    """A slice for each row of macroblocks in the key picture, one in those that repeat: spliced, not encoded whole."""
    p = house.presentation
    for rendition in p.videos:
        assert rendition.picture
        rows = -(-rendition.picture.height // 16)
        for number in p.segments_of(house.slot):
            address = f"{house.url}{session}{p.chapter}/{p.version}/{rendition.id}/{number}.m4s"
            async with http.get(address) as answer:
                assert answer.headers["X-Scene"] == "personal"
                fragment = await answer.read()
            counts = [len(slices(sample.data)) for sample in read_samples(fragment)]
            assert counts[0] >= rows
            assert min(counts) == 1 < max(counts[1:])


def slices(picture: bytes) -> list[int]:
    """Return the types of a picture's slices; each unit has its length in four bytes before it."""
    kinds, at = [], 0
    while at < len(picture):
        size = int.from_bytes(picture[at : at + 4])
        kinds.append(picture[at + 4] & 31)
        at += 4 + size
    return [kind for kind in kinds if kind in (1, 5)]
