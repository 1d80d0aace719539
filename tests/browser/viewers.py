"""Viewers in front of real players: what each was sent, what each saw, and what each ought to have seen."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientSession
from numpy.typing import NDArray
from playwright.async_api import Page, Response
from playwright.async_api import TimeoutError as PlaywrightTimeout

from tests.browser.driver import Playback, Region, Shown, seen
from tests.browser.house import House
from tests.browser.pictures import means_of

# Inside the mirror's glass, and a strip of the scene far from it.
FACE, SCENE = Region(0.64, 0.25, 0.16, 0.4), Region(0.05, 0.1, 0.3, 0.3)
REGIONS = [FACE, SCENE]
ALIKE, DIFFERENT = 12, 25
"""Largest difference of a mean colour between a browser's picture and ffmpeg's; least one between two faces."""
_SEGMENT = re.compile(r"/(\w+)/(\d+)\.m4s")
_SOUND = re.compile(r"/(audio_[^/?]*\.mp4)")
Means = dict[int, NDArray[np.float64]]
"""Mean colours (regions, 3) by the number of the picture."""


@dataclass(slots=True)
class Film:
    """What the chapter shows to everybody, by lines of the rung: (pictures, regions, 3)."""

    house: House
    own: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for rendition in self.house.presentation.videos:
            assert rendition.picture
            self.own[rendition.picture.height] = means_of(self.house.folder / rendition.file, REGIONS)

    @property
    def numbers(self) -> range:
        return self.house.presentation.segments_of(self.house.slot)

    async def face_of(self, http: ClientSession, session: str, folder: Path) -> dict[int, Means]:
        """Fetch a session's whole insert and return what it shows, by lines of the rung."""
        p, found = self.house.presentation, {}
        for rendition in p.videos:
            data = (self.house.folder / rendition.file).read_bytes()[: rendition.init_size]
            for number in self.numbers:
                address = f"{self.house.url}{session}{p.chapter}/{p.version}/{rendition.id}/{number}.m4s"
                async with http.get(address) as answer:
                    assert answer.headers["X-Scene"] == "personal"
                    data += await answer.read()
            file = folder / f"{rendition.id}.mp4"
            file.write_bytes(data)
            first = p.grid.frames_of(self.numbers.start).start
            assert rendition.picture
            found[rendition.picture.height] = dict(enumerate(means_of(file, REGIONS), first))
        return found


@dataclass(slots=True)
class Watching:
    """One viewer: `sent` has every X-Scene that came for a segment of a slot, by rendition and number.

    `heard` has the files of sound of which something came.
    """

    page: Page
    player: str
    session: str
    photo: Path
    sent: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    heard: set[str] = field(default_factory=set)

    def listen(self) -> None:
        """Note every segment of a slot that comes, and whose sound."""

        def note(response: Response) -> None:
            if (found := _SEGMENT.search(response.url)) and response.ok:
                self.sent[found[1], int(found[2])].add(response.headers["x-scene"])
            if (found := _SOUND.search(response.url)) and response.ok:
                self.heard.add(found[1])

        self.page.on("response", note)

    async def saw(self) -> Playback:
        return await seen(self.page)

    async def until(self, condition: str) -> None:
        """Wait for something of the page; a player that reports errors is not waited for."""
        try:
            await self.page.wait_for_function(f"() => ({condition}) || log.errors.length > 3", timeout=60_000)
        except PlaywrightTimeout:
            saw = await self.saw()
            pytest.fail(f"{self.player} waits for {condition}: {saw.place}, {saw.errors}, {saw.events}")


def kind_of(shown: Shown, film: Film, faces: list[dict[int, Means]]) -> str:
    """Return whose picture it is: "chapter", the index of one of `faces`, or "wrong".

    A browser may round a media time to the neighbouring picture.
    """
    number = round(shown.at_s * film.house.presentation.grid.rate)
    near, own = (number, number - 1, number + 1), film.own[shown.lines]
    if any(0 <= n < len(own) and _alike(shown, own[n]) for n in near):
        return "chapter"
    for index, face in enumerate(faces):
        if any(n in face[shown.lines] and _alike(shown, face[shown.lines][n]) for n in near):
            return str(index)
    return "wrong"


def _alike(shown: Shown, means: NDArray[np.float64]) -> bool:
    return bool(np.abs(np.array(shown.means) - means).max() < ALIKE)
