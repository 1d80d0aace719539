"""Frames dropped and time stalled: the personal chapter against the shared one, same player, in pairs.

    .venv/bin/python benchmarks/playback.py [--pairs 5]

Publishes the small sample, then lets dash.js and hls.js play it in Chromium in real time: shared, then personal with
the photo sent when the film starts. Prints the median of the pairs' differences; the machine's own noise is in both
sides.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from aiohttp import ClientSession  # noqa: E402

from mediaserver.sample import make  # noqa: E402
from mediaserver.setup import npm_folder  # noqa: E402
from tests import chromium  # noqa: E402
from tests.browser.conftest import running_house  # noqa: E402
from tests.browser.driver import Playback, Region, browser, finish, player_page, start  # noqa: E402
from tests.browser.house import House  # noqa: E402

MANIFESTS = {"dash": "stream.mpd", "hls": "master.m3u8"}
FACE = [Region(0.64, 0.25, 0.16, 0.4)]


async def play(house: House, player: str, *, personal: bool) -> Playback:
    """Play the chapter once from 0 s to its end."""
    async with browser(chromium.find()) as running, ClientSession() as http:
        session = await house.consent(http) if personal else ""
        with player_page(npm_folder()) as page_url:
            page = await running.new_page()
            await start(page, page_url, player, f"{house.url}{session}{house.chapter}/{MANIFESTS[player]}", FACE)
            if personal:
                await house.wait_until_asked(http, session)
                await house.send_photo(http, session)
            return await finish(page)


async def compare(house: House, player: str, pairs: int) -> None:
    rows = [(await play(house, player, personal=False), await play(house, player, personal=True)) for _ in range(pairs)]
    print(f"\n{player}: shared | personal ({pairs} pairs of {float(house.presentation.grid.duration_s):g} s)")
    for shared, personal in rows:
        print(f"  dropped {shared.dropped:3} | {personal.dropped:3}", end="   ")
        print(f"stalled {shared.stalled_s:.2f} | {personal.stalled_s:.2f} s")
    extra = median(personal.dropped - shared.dropped for shared, personal in rows)
    stall = median(personal.stalled_s - shared.stalled_s for shared, personal in rows)
    borders = sum(len(p.named("waiting", b - 1, b + 1)) for _, p in rows for b in house.borders_s)
    print(f"  median difference: {extra:+g} frames dropped, {stall:+.2f} s stalled; waiting at borders: {borders}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with running_house(make(home, small=True), home) as house:
            for player in MANIFESTS:
                await compare(house, player, pairs)


if __name__ == "__main__":
    asyncio.run(main())
