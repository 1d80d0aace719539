"""A server in a process of its own with the small sample published, and what a viewer's page would do with it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from encoder.model import Presentation, Rendition, Slot
from encoder.tools import find_tools, run_tool

# One caption over all of the chapter in each language, in both of the formats that editors bring.
SAID = {"en": "Good evening.", "fr": "Bonsoir à tous.", "ar": "مساء الخير يا أصدقاء"}
CAPTIONS = {
    ".en.srt": f"1\n00:00:00,000 --> 00:00:30,000\n{SAID['en']}\n",
    ".ar.srt": f"1\n00:00:00,000 --> 00:00:30,000\n{SAID['ar']}\n",
    ".fr.vtt": f"WEBVTT\n\n00:00.000 --> 00:30.000\n{SAID['fr']}\n",
}
DEMO = Path(__file__).parents[2] / "lipsync" / "demo"
PHOTO, WOMAN, OLDER_WOMAN = DEMO / "man.jpg", DEMO / "woman.jpg", DEMO / "older-woman.jpg"


def camera_film(target: Path) -> Path:
    """Write what a camera sees of the demo viewer, for Chromium's fake camera: a few pictures of 1280 x 720."""
    shown = "scale=720:720,pad=1280:720:(ow-iw)/2:0:color=0x808890"
    command = [str(find_tools().ffmpeg), "-v", "error", "-y", "-loop", "1", "-i", str(PHOTO), "-frames:v", "10"]
    run_tool([*command, "-vf", shown, "-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p", "-f", "mjpeg", str(target)])
    return target


# What somebody might try who wants neither label nor mark nor credentials.
WITHOUT = {"label": "off", "label_text": "", "stamp": "", "mark": "0", "c2pa": "false", "credentials": "none"}


@dataclass(frozen=True, slots=True)
class OwnScene:
    """One viewer's scene: address of the signed file, its bytes, and its segments as they were streamed."""

    url: str
    signed: bytes
    streamed: bytes


@dataclass(frozen=True, slots=True)
class House:
    """`url` ends with a slash; sessions are paths without the leading one, as `s/<capability>/`."""

    url: str
    folder: Path
    state: Path
    presentation: Presentation
    pid: int = 0

    @property
    def chapter(self) -> str:
        return self.presentation.chapter

    @property
    def slot(self) -> Slot:
        return self.presentation.slots[0]

    @property
    def borders_s(self) -> tuple[float, float]:
        return float(self.slot.start_s), float(self.slot.start_s + self.slot.duration_s)

    def chapters_own(self, rendition: Rendition, number: int) -> bytes:
        segment = rendition.segments[number]
        return (self.folder / rendition.file).read_bytes()[segment.offset :][: segment.size]

    async def consent(self, http: ClientSession, **more: str) -> str:
        text = await _json(http, "GET", f"{self.url}consent?lang=en")
        agreed = {"consent": text["sha256"], "boxes": {box["id"]: True for box in text["boxes"]}, **more}
        session = await _json(http, "POST", f"{self.url}sessions", json=agreed)
        return str(session["session"]).lstrip("/")

    async def ask(self, http: ClientSession, session: str) -> None:
        """Ask for the personal manifest, as every player does first."""
        async with http.get(f"{self.url}{session}{self.chapter}/stream.mpd") as answer:
            assert answer.status == 200

    async def send_photo(self, http: ClientSession, session: str, photo: bytes | None = None) -> None:
        said = await _json(
            http,
            "PUT",
            f"{self.url}{session}photo",
            data=photo or PHOTO.read_bytes(),
            headers={"Content-Type": "image/jpeg"},
        )
        assert said["verdict"] == "ok"

    async def slot_state(self, http: ClientSession, session: str) -> str:
        (slot,) = (await _json(http, "GET", f"{self.url}{session}"))["slots"]
        return str(slot["state"])

    async def wait_until_asked(self, http: ClientSession, session: str) -> None:
        """Poll until a player has asked for the personal manifest."""
        while not (await _json(http, "GET", f"{self.url}{session}"))["slots"]:
            await asyncio.sleep(0.05)

    async def wait_until_ready(self, http: ClientSession, session: str) -> None:
        """Poll until the scene is ready; the test's own time limit ends a render that never is."""
        while (state := await self.slot_state(http, session)) != "ready":
            assert state != "failed"
            await asyncio.sleep(0.1)

    async def own_scene(self) -> OwnScene:
        """Be a viewer, who tries to be rid of all layers, up to the finished scene; the session lives on."""
        p, largest, streamed = self.presentation, self.presentation.videos[0], b""
        async with ClientSession() as http:
            session = await self.consent(http, **WITHOUT)
            await self.ask(http, session)
            await self.send_photo(http, session)
            await self.wait_until_ready(http, session)
            for number in p.segments_of(self.slot):
                address = f"{self.url}{session}{p.chapter}/{p.version}/{largest.id}/{number}.m4s"
                async with http.get(address, params=WITHOUT) as answer:
                    assert answer.headers["X-Scene"] == "personal"
                    streamed += await answer.read()
            url = f"{self.url}{session}{p.chapter}/{self.slot.id}.mp4"
            async with http.get(url, params=WITHOUT) as answer:
                assert answer.status == 200
                return OwnScene(url, await answer.read(), streamed)


async def _json(http: ClientSession, method: str, url: str, **rest: Any) -> Any:
    async with http.request(method, url, **rest) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json()
