"""The viewer's own page in a real browser: consent, photo, own scene, delete."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from playwright.async_api import Page, Route

from lipsync.protocols import Examined
from mediaserver.app import build_app
from mediaserver.settings import Settings
from tests.browser.driver import browser
from tests.browser.house import PHOTO, WOMAN, House, camera_film
from tests.mediaserver.conftest import ScriptedFaceWorker

pytestmark = pytest.mark.timeout(240)


# Every state that the page goes through from here on: some last for less than a look at them takes.
STATES = """window.states = [];
new MutationObserver(() => states.push(document.body.dataset.state))
    .observe(document.body, {attributes: true, attributeFilter: ['data-state']});"""


# Where the film stands once it has a picture and no player moves it any more.
BEGUN = """const video = document.querySelector('#video');
window.begun = new Promise((done) => {
    const look = () => video.readyState > 2 && !video.seeking && done(Math.round(video.currentTime * 10) / 10);
    for (const event of ['canplay', 'seeked']) video.addEventListener(event, () => setTimeout(look, 500));
});
null"""

DROP = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), moved = new DataTransfer();
  moved.items.add(new File([bytes], name));
  document.querySelector('#drop').dispatchEvent(new DragEvent('drop', {dataTransfer: moved, cancelable: true}));
}"""


async def until(page: Page, expression: str) -> None:
    """Poll; the page's content security policy forbids what Playwright's own waiting does."""
    while not await page.evaluate(expression):
        await asyncio.sleep(0.1)


async def drop(page: Page, file: Path) -> None:
    """Do what a browser does with a file that somebody drops."""
    await page.evaluate(DROP, [file.name, b64encode(file.read_bytes()).decode()])


async def agree(page: Page, house: House) -> None:
    await page.goto(house.url)
    await page.locator("#box-own_face").check()
    assert await page.locator("#begin").is_disabled()
    await page.locator("#box-age").check()
    await page.locator("#begin").click()
    await until(page, "document.body.dataset.state === 'consented'")


async def take_photo(page: Page) -> None:
    await page.locator("#camera-start").click()
    await until(page, "document.querySelector('#seen').videoWidth === 1280")
    await page.locator("#camera-take").click()
    await until(page, "document.querySelector('#seen').srcObject === null")


async def test_a_viewer_gets_the_own_scene_through_the_page_and_deletes_it(house: House, chromium: str, tmp_path: Path):
    camera = camera_film(tmp_path / "camera.mjpeg")
    async with browser(chromium, f"--use-file-for-fake-video-capture={camera}") as running:
        page = await running.new_page()
        outside: list[str] = []
        asked: list[tuple[str, str]] = []
        refused: list[str] = []
        page.on("request", lambda r: outside.append(r.url) if not r.url.startswith((house.url, "blob:")) else None)
        page.on("request", lambda r: asked.append((r.method, r.url)))
        page.on("response", lambda r: refused.append(r.url) if r.status >= 400 else None)
        await agree(page, house)
        await page.evaluate("document.querySelector('#video').muted = true")
        await take_photo(page)
        await until(page, "document.body.dataset.state === 'ready'")
        await until(page, "document.querySelector('#video').dataset.manifest.includes('/s/')")
        await page.locator("#mine").click()
        start_s, _ = house.borders_s
        await until(page, f"document.querySelector('#video').currentTime > {start_s + 0.5}")
        assert await page.locator("#player-problem").is_hidden()
        personal = await page.evaluate("document.querySelector('#video').dataset.manifest")
        place_s = await page.evaluate("document.querySelector('#video').currentTime")
        await page.locator("#delete").click()
        await until(page, "document.body.dataset.state === 'none'")
        await until(page, "!document.querySelector('#video').dataset.manifest.includes('/s/')")
        # the film goes on where it was, for everybody's address, without a fault
        await until(
            page, "document.querySelector('#video').readyState > 2 && !document.querySelector('#video').seeking"
        )
        assert await page.evaluate("document.querySelector('#video').currentTime") > place_s - 0.5
        assert await page.locator("#player-problem").is_hidden()
        # the player had left the personal addresses before they were deleted
        deleted = next(number for number, (method, _) in enumerate(asked) if method == "DELETE")
        assert [url for _, url in asked[deleted + 1 :] if "/s/" in url] == []
        assert refused == []
        answer = await page.request.get(personal)
        assert answer.status == 410
        assert outside == []


async def test_the_pin_says_being_signed_and_then_opens_credentials_that_this_browser_has_verified(
    house: House, chromium: str, tmp_path: Path
):
    camera = camera_film(tmp_path / "camera.mjpeg")
    async with browser(chromium, f"--use-file-for-fake-video-capture={camera}") as running:
        page = await running.new_page()
        outside: list[str] = []
        page.on("request", lambda r: outside.append(r.url) if not r.url.startswith((house.url, "blob:")) else None)
        await agree(page, house)
        # until this is taken away, the page hears of a scene that is still being made
        slot = {"chapter": house.chapter, "slot": house.slot.id, "state": "rendering", "progress": 0.5, "eta_s": 1}
        told = "retry: 200\ndata: " + json.dumps({"state": "captured", "slots": [slot]}) + "\n\n"
        await page.route("**/events", lambda route: route.fulfill(content_type="text/event-stream", body=told))
        await page.evaluate("document.querySelector('#video').muted = true")
        assert await page.locator("#pin").is_hidden()
        await take_photo(page)
        await page.locator("#pin").click()
        await until(page, "document.querySelector('#credentials').dataset.state === 'signing'")
        assert "being signed" in await page.locator("#credentials").inner_text()
        await page.unroute("**/events")
        await until(page, "['read', 'failed'].includes(document.querySelector('#credentials').dataset.state)")
        text = await page.locator("#credentials").inner_text()
        for words in ("Nothing was changed", "own authority stands behind it", "made by AI", "mark of this render"):
            assert words in text
        assert any(url.endswith("c2pa.wasm") for url in await loaded(page))
        assert outside == []
        await page.locator("#delete").click()
        await until(page, "document.body.dataset.state === 'none'")
        assert await page.locator("#credentials").is_hidden()


async def loaded(page: Page) -> list[str]:
    names: list[str] = await page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    return names


async def test_the_page_shows_the_poster_and_goes_to_a_marker(house: House, chromium: str):
    async with browser(chromium) as running:
        page = await running.new_page()
        await page.goto(house.url)
        marker = page.locator(".timeline .marker")
        await marker.wait_for(state="visible")
        assert await marker.get_attribute("title") == "The mirror (0:03)"
        sizes = "new Promise((done) => { const one = new Image(); one.onload = () => done([one.width, one.height]);"
        poster = f"{sizes} one.src = document.querySelector('#video').poster; }})"
        assert await page.evaluate(f"() => {poster}") == [1280, 720]
        await marker.click()
        await until(page, "Math.abs(document.querySelector('#video').currentTime - 3) < 0.5")
        await page.goto(f"{house.url}editor")
        await until(page, "document.querySelector('#published .poster')?.naturalWidth === 1280")


@pytest.mark.parametrize("late", ["lib/dash.js", "stream.mpd"])
async def test_a_marker_that_is_pressed_before_the_film_has_come_is_where_it_begins(
    house: House, chromium: str, late: str
):
    async with browser(chromium) as running:
        page = await running.new_page()
        pressed = asyncio.Event()

        async def wait(route: Route) -> None:
            await pressed.wait()
            await route.continue_()

        await page.route(f"**/{late}", wait)
        await page.goto(house.url)
        await page.locator(".timeline .marker").click()
        await page.evaluate(BEGUN)
        pressed.set()
        assert await page.evaluate("begun") == 3


@asynccontextmanager
async def same_films(house: House, npm: Path, state: Path, **setting: bool) -> AsyncIterator[tuple[House, list[bytes]]]:
    """Serve them with other settings; yield where, and a list that every photo is put into."""
    sent: list[bytes] = []

    class Looking(ScriptedFaceWorker):
        async def examine(self, photo: bytes) -> Examined:
            sent.append(photo)
            return await super().examine(photo)

    settings, worker = Settings(media=house.folder.parents[1], state=state, **setting), Looking()
    worker.go.clear()
    async with TestServer(build_app(settings, worker, worker, scripts=npm)) as server:
        yield replace(house, url=str(server.make_url("/"))), sent


async def test_a_photo_may_be_chosen_or_dropped_where_the_operator_allows_it(
    house: House, chromium: str, npm: Path, tmp_path: Path
):
    async with same_films(house, npm, tmp_path, photo_file_input=True) as (there, sent), browser(chromium) as running:
        page = await running.new_page()
        await agree(page, there)
        await page.locator("#photo").set_input_files(PHOTO)
        await until(page, "document.body.dataset.state === 'captured'")
        await page.locator("#retake").click()
        await drop(page, WOMAN)
        await until(page, "document.querySelector('#scene-step').hidden === false")
    assert (sent[0], sent[-1]) == (PHOTO.read_bytes(), WOMAN.read_bytes())


async def test_no_file_can_be_chosen_unless_the_operator_says_so(
    house: House, chromium: str, npm: Path, tmp_path: Path
):
    """The page has nothing to choose or drop one with; whoever sends a photo without the page is heard as before."""
    async with same_films(house, npm, tmp_path) as (there, sent), browser(chromium) as running:
        page = await running.new_page()
        await agree(page, there)
        assert await page.locator("#camera-start").is_visible()
        assert await page.locator("input[type=file], #drop").count() == 0
        session = await page.evaluate("sessionStorage.getItem(sessionStorage.key(0))")
        async with ClientSession() as http:
            await there.send_photo(http, session.lstrip("/"))
    assert sent == [PHOTO.read_bytes()]


async def test_a_photo_without_a_face_is_answered_with_a_sentence_and_a_hint(house: House, chromium: str):
    """Chromium's own fake camera shows a clock on green."""
    async with browser(chromium) as running:
        page = await running.new_page()
        await agree(page, house)
        await page.locator("#camera-start").click()
        await until(page, "document.querySelector('#seen').videoWidth > 0")
        await page.locator("#camera-take").click()
        verdict = page.locator("#verdict")
        await verdict.wait_for(state="visible")
        assert await verdict.get_attribute("data-verdict") == "no_face"
        assert len(await verdict.inner_text()) > 30
        assert await page.locator("#camera-start").is_visible()


async def test_a_camera_that_is_not_allowed_is_said_to_be_so(house: House, chromium: str):
    async with browser(chromium) as running:
        page = await running.new_page()
        await page.add_init_script(
            "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError'))"
        )
        await agree(page, house)
        await page.locator("#camera-start").click()
        await page.locator("#verdict").wait_for(state="visible")
        assert "does not let this page use the camera" in await page.locator("#verdict").inner_text()


async def test_another_photo_is_taken_while_the_film_plays_on(house: House, chromium: str, tmp_path: Path):
    camera = camera_film(tmp_path / "camera.mjpeg")
    async with browser(chromium, f"--use-file-for-fake-video-capture={camera}") as running:
        page = await running.new_page()
        await agree(page, house)
        await page.evaluate("document.querySelector('#video').muted = true")
        await take_photo(page)
        await until(page, "document.body.dataset.state === 'ready'")
        await page.locator("#mine").click()
        await until(page, "!document.querySelector('#video').paused")
        await page.locator("#pin").click()
        await until(page, "document.querySelector('#credentials').dataset.state === 'read'")
        former = await page.locator("#credentials").inner_text()
        await page.evaluate(STATES)
        await page.locator("#retake").click()
        await until(page, "document.querySelector('#seen').videoWidth === 1280")
        await page.locator("#camera-take").click()
        await until(page, "states.some(one => one !== 'ready') && states.at(-1) === 'ready'")
        # the pin that stayed open tells of the new scene, whose mark has another number
        await until(page, "document.querySelector('#credentials').dataset.state === 'read'")
        assert await page.locator("#credentials").inner_text() != former
        # dash.js does not always say that it has ended
        await until(
            page, "document.querySelector('#video').currentTime > document.querySelector('#video').duration - 0.5"
        )
        assert await page.locator("#player-problem").is_hidden()


async def test_the_editors_page_lists_what_is_published(house: House, chromium: str):
    async with browser(chromium) as running:
        page = await running.new_page()
        await page.goto(f"{house.url}editor")
        await until(page, f"document.body.innerText.includes({house.chapter!r})")
        assert await page.locator("form").count() == await page.locator("#key-form").count() == 1
        assert await page.locator("input[type=file]").count() == 0
