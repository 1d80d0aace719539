"""A transparent film in a real browser: every player shows every pixel's alpha and colour, in jumps and other rungs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from aiohttp import ClientSession
from numpy.typing import NDArray
from playwright.async_api import Page

from tests.browser.conftest import running_house
from tests.browser.driver import Region, browser, player_page, seen, start
from tests.browser.house import House, OwnScene
from tests.browser.pictures import means_of
from tests.masters import ALPHAS, PATCHES, make_transparent

pytestmark = pytest.mark.timeout(300)
# Slow enough for a machine without a GPU; two rungs; the bar is at the same place every 48 pictures.
SIZE, RATE, FRAMES, ROUND = (96, 720), 10, 96, 48
HIGH, LOW, HIGH_STACKED, LOW_STACKED = 720, 432, 1456, 880
JUMPS_S = (0.0, 1.95, 2.05, 1.85, 9.45, 5.05, 4.05, 0.05)
# Chromium's own conversion of BT.709 without a GPU is off by up to 10 levels in blue.
PATIENCE = 100
ALPHA_LEVELS, COLOUR_LEVELS = 2, 10

# Lay the film (or the canvas that shows it), mirrored, over a file that stands still; returns at which times that
# file begins and is shown.
LAY_OVER = """async url => {
  const both = document.createElement('div'), below = document.createElement('video');
  const above = document.querySelector('canvas') ?? video, size = 'width: 640px; height: 360px;';
  for (const one of [below, above]) one.style = `${size} position: absolute; inset: 0; object-fit: fill`;
  above.style.transform = 'scaleX(-1)';
  Object.assign(both, {id: 'both', style: `${size} position: relative`});
  Object.assign(below, {src: url, muted: true, preload: 'auto'});
  video.before(both);
  both.append(below, above);
  const next = () => new Promise((done) => below.requestVideoFrameCallback((_, {mediaTime}) => done(mediaTime)));
  const begins = await next();
  below.currentTime = begins + 3.02;
  return [begins, await next()];
}"""


@dataclass(frozen=True, slots=True)
class Glass:
    """One picture of the film: media time, lines of the coded picture, mean RGBA per patch, place of the bar (0..1)."""

    at_s: float
    lines: int
    patches: list[list[float]]
    bar: float


@pytest.fixture(scope="module")
def glass_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    master = make_transparent(
        tmp_path_factory.mktemp("film") / "glass.mov",
        kind="prores",
        size=SIZE,
        rate=str(RATE),
        frames=FRAMES,
        sound=True,
    )
    master.with_suffix(".toml").write_text('title = "Glass"\n')
    with running_house(master, tmp_path_factory.mktemp("house")) as running:
        yield running


@pytest.mark.parametrize("player", ["dash", "shaka-dash", "hls", "shaka-hls"])
async def test_a_transparent_film_keeps_its_alpha_in_other_rungs_and_after_jumps_in(
    player: str, glass_house: House, chromium: str, npm: Path, players: Path
):
    stacked = player.endswith("hls")
    low, high = (LOW_STACKED, HIGH_STACKED) if stacked else (LOW, HIGH)
    async with browser(chromium) as running:
        with player_page(npm, players) as page_url:
            page = await running.new_page()
            address = f"{glass_house.url}{glass_house.chapter}/{'master.m3u8' if stacked else 'stream.mpd'}"
            await start(page, page_url, player, address, [], buffer_s=2)
            await watch(page, stacked=stacked)
            await page.wait_for_function("lines => glass.at(-1)?.[1] === lines", arg=low)
            for lines, is_high in ((high, True), (low, False)):
                await page.evaluate("high => toRung(high)", is_high)
                await page.wait_for_function("lines => glass.at(-1)[1] === lines || atEnd()", arg=lines)
                if await page.evaluate("atEnd()"):
                    # On a busy machine the film may be over before the player has changed.
                    await page.evaluate("playFrom(0)")
                    await page.wait_for_function("lines => glass.at(-1)[1] === lines", arg=lines)
            await assert_jumps(page)
            shown = await pictures(page)
            assert {low, high} <= {picture.lines for picture in shown}
            # hls.js tells that it has stopped loading the rung that it leaves.
            assert [e for e in (await seen(page)).errors if not e.startswith("aborted fatal=false")] == []
    assert_glass(shown)


@pytest.mark.parametrize("file", ["progressive", "video_432p_av1_stacked.m3u8"])
async def test_a_transparent_film_keeps_its_alpha_without_any_script_and_in_av1(
    file: str, glass_house: House, chromium: str, npm: Path
):
    """As `<video src>`: WebM with sound by ranges; a browser's own HLS, drawn by the page."""
    p = glass_house.presentation
    name = p.progressive if file == "progressive" else file
    async with browser(chromium) as running:
        with player_page(npm) as page_url:
            page = await running.new_page()
            await start(page, page_url, "native", f"{glass_house.url}{p.chapter}/{p.version}/{name}", [])
            await watch(page, stacked=file != "progressive")
            await page.wait_for_function("() => glass.length > 5")
            await assert_jumps(page)
            shown = await pictures(page)
            assert (await seen(page)).errors == []
            if file == "progressive":
                assert await page.evaluate("video.webkitAudioDecodedByteCount > 0")
    assert_glass(shown)


@pytest.mark.parametrize(("player", "manifest"), [("dash", "stream.mpd"), ("hls", "master.m3u8"), ("file", ".webm")])
async def test_the_page_shows_what_lies_behind_a_transparent_film(
    player: str, manifest: str, glass_house: House, chromium: str
):
    """A screenshot, so that nothing but what a viewer sees decides; the page's own ground is made red and then blue."""
    async with browser(chromium) as running:
        page = await running.new_page(viewport={"width": 1200, "height": 800})
        await page.goto(f"{glass_house.url}?player={player}")
        while not await page.evaluate("document.querySelector('#video').readyState >= 2"):
            await page.wait_for_timeout(50)
        assert manifest in await page.evaluate("document.querySelector('#video').dataset.manifest")
        await page.evaluate("document.querySelector('#video').controls = false")
        for ground in ((255, 0, 0), (0, 0, 255)):
            await page.evaluate("rgb => { document.querySelector('.screen').style.background = rgb; }", f"rgb{ground}")
            for _ in range(PATIENCE):
                if faults(picture := await screenshot(page), ground) == []:
                    break
                await page.wait_for_timeout(100)
            assert faults(picture, ground) == []
        assert await page.locator("#player-problem").is_hidden()


@pytest.mark.parametrize(("player", "manifest"), [("dash", "stream.mpd"), ("hls", "master.m3u8")])
async def test_a_viewers_scene_is_seen_below_a_transparent_chapter(
    *, player: str, manifest: str, glass_house: House, house: House, own_scene: OwnScene, chromium: str, page_url: str,
    tmp_path: Path,
):  # fmt: skip
    """A page lays the chapter, mirrored, over the signed file of the viewer's slot; the screen is compared."""
    (tmp_path / "scene.mp4").write_bytes(own_scene.signed)
    async with browser(chromium) as running:
        page = await running.new_page(viewport={"width": 700, "height": 500})
        await start(page, page_url, player, f"{glass_house.url}{glass_house.chapter}/{manifest}", [], buffer_s=2)
        await watch(page, stacked=player == "hls")
        await page.wait_for_function("() => glass.length > 0")
        await page.evaluate("lookAt(2.05)")
        begins_s, at_s = await page.evaluate(LAY_OVER, own_scene.url)
        screen = await screenshot(page, "#both")
        assert (await seen(page)).errors == []
    p, cells = house.presentation, [cell for patch in range(4) for cell in cells_of(patch)]
    mine = means_of(tmp_path / "scene.mp4", cells)[round((at_s - begins_s) * p.grid.rate)]
    films = means_of(house.folder / p.videos[0].file, cells)[round(at_s * p.grid.rate)]
    opacity = np.repeat(ALPHAS, len(cells) // 4)[:, None] / 255
    expected = np.repeat(np.array(PATCHES), len(cells) // 4, axis=0) * opacity + mine * (1 - opacity)
    shown = np.stack([screen[box_of(cell, screen)].mean(axis=(0, 1)) for cell in cells])
    assert np.abs(shown - expected).max() <= COLOUR_LEVELS
    assert np.abs(shown - films)[: len(cells) // 4].max() > 3 * COLOUR_LEVELS


def cells_of(patch: int) -> list[Region]:
    """Twelve small regions of the part of the screen over which a patch of the mirrored film lies."""
    return [Region(0.78 - patch / 4 + 0.06 * x, 0.1 + 0.19 * y, 0.06, 0.19) for x in range(3) for y in range(4)]


def box_of(region: Region, picture: NDArray[np.float64]) -> tuple[slice, slice]:
    height, width = picture.shape[:2]
    left, top = round(region.x * width), round(region.y * height)
    return slice(top, top + round(region.h * height)), slice(left, left + round(region.w * width))


async def test_the_addresses_of_a_transparent_film(glass_house: House):
    p = glass_house.presentation
    async with ClientSession() as http:
        session = await glass_house.consent(http)
        for address, status in {
            f"{p.chapter}/hevc.m3u8": 200,
            f"{p.chapter}/{p.version}/video_720p_hevc.m3u8": 200,
            f"{p.chapter}/{p.version}/video_720p_vp9.m3u8": 404,
            f"{session}{p.chapter}/stream.mpd": 200,
            f"{session}{p.chapter}/master.m3u8": 200,
            f"{session}{p.chapter}/{p.version}/video_720p_vp9.m3u8": 404,
        }.items():
            async with http.get(f"{glass_house.url}{address}") as answer:
                assert answer.status == status, address
        async with http.get(f"{glass_house.url}api/chapters") as answer:
            (chapter,) = (await answer.json())["chapters"]
    assert chapter["alpha"] == {"webm": f"{p.version}/film_vp9.webm", "hevc": True}
    assert chapter["rungs"] == ["720p", "432p"]


async def watch(page: Page, *, stacked: bool) -> None:
    await page.evaluate("async stacked => (await import('/glass.js')).watch(stacked)", stacked)


async def pictures(page: Page) -> list[Glass]:
    return [Glass(*picture) for picture in await page.evaluate("glass")]


async def assert_jumps(page: Page) -> None:
    for time_s in JUMPS_S:
        at_s, lines, patches, bar = await page.evaluate("at => lookAt(at)", time_s)
        assert abs(at_s - time_s) <= 0.11, (at_s, time_s)
        assert_glass([Glass(at_s, lines, patches, bar)])


def assert_glass(shown: list[Glass]) -> None:
    """Every picture is the right one, and shows every patch with its alpha and its colour."""
    assert shown
    for picture in shown:
        for (*colour, opacity), of, expected in zip(picture.patches, PATCHES, ALPHAS, strict=True):
            assert abs(opacity - expected) <= ALPHA_LEVELS, picture
            if expected:
                assert max(abs(c - o) for c, o in zip(colour, of, strict=True)) <= COLOUR_LEVELS, picture
        expected_bar = (2 * round(picture.at_s * RATE) % SIZE[0] + 4) / SIZE[0]
        if expected_bar < 1 - 4 / SIZE[0]:
            assert abs(picture.bar - expected_bar) * ROUND < 1, picture


async def screenshot(page: Page, place: str = ".screen") -> NDArray[np.float64]:
    """Return the player's rectangle as RGB."""
    encoded = np.frombuffer(await page.locator(place).screenshot(), np.uint8)
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1].astype(float)


def faults(picture: NDArray[np.float64], ground: tuple[int, int, int]) -> list[str]:
    """The film is as high as the player, in its middle; beside it and through it the ground is seen."""
    height, width = picture.shape[:2]
    film = height * SIZE[0] / SIZE[1]
    found = [] if np.abs(picture[height // 2, width // 4] - ground).max() <= COLOUR_LEVELS else ["no ground"]
    for i, (colour, opacity) in enumerate(zip(PATCHES, ALPHAS, strict=True)):
        middle = round(width / 2 + film * ((i + 0.5) / 4 - 0.5))
        shown = picture[height // 4 : height // 2, middle - 2 : middle + 3].mean(axis=(0, 1))
        expected = (np.array(colour) * opacity + np.array(ground) * (255 - opacity)) / 255
        if np.abs(shown - expected).max() > COLOUR_LEVELS:
            found.append(f"patch {i} is {shown}, not {expected}")
    return found
