"""Viewers who arrive by chance, at a share of the stated rate: `make soak-viewers`, or

    .venv/bin/python -m benchmarks.arrivals [--minutes 10] [--shares 0.8 1.2] [--kind moving] [--rate VIEWERS_AN_HOUR]

Without `--rate` the machine is measured first, as `mediaserver doctor --capacity` does. A real server in a process of
its own serves a chapter whose slot lasts 16 s. Viewers come as a Poisson process; each agrees, asks for the manifest,
sends a photo, asks for the slot's segments as their player would, waits until the scene is ready, and deletes it. After
each share the queue is told: at 0.8 it must stay bounded, at 1.2 it must grow, so that the statement is true within
20 %. Ends with 1 if either is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientError, ClientSession, TCPConnector

from benchmarks.soak import slope
from encoder.model import Presentation
from mediaserver.capacity import KINDS, SCENE_S, Capacity
from mediaserver.measuring import Server, measure, publish, serving, variant
from mediaserver.progress import Progress
from mediaserver.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[1]
PHOTO = (ROOT / "lipsync" / "demo" / "man.jpg").read_bytes()
SAMPLE_S, LOOK_S, RUNG = 1.0, 0.25, "video_720p_h264"


@dataclass(slots=True)
class Crowd:
    """Who is there now; `samples` are (seconds, viewers who wait), `took_s` the waits of those who got their scene."""

    server: Server
    kind: str
    presentation: Presentation
    waiting: int = 0
    samples: list[tuple[float, int]] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    async def visit(self, http: ClientSession) -> None:
        """One viewer, from the photo until everything is deleted."""
        self.waiting += 1
        try:
            await self._scene(http)
        except (AssertionError, ClientError, OSError) as error:
            self.failed.append(repr(error))
        finally:
            self.waiting -= 1

    async def _scene(self, http: ClientSession) -> None:
        page, began_s = self.server.page, time.monotonic()
        async with http.get(f"{page}consent") as answer:
            consent = await answer.json()
        agreed = {"consent": consent["sha256"], "boxes": {box["id"]: True for box in consent["boxes"]}}
        async with http.post(f"{page}sessions", json=agreed) as answer:
            session = page + str((await answer.json())["session"]).lstrip("/")
        async with http.get(f"{session}{self.kind}/stream.mpd") as answer:
            assert answer.status == 200, answer.status
        async with http.put(f"{session}photo", data=PHOTO, headers={"Content-Type": "image/jpeg"}) as answer:
            assert answer.status == 202, answer.status
        player = asyncio.create_task(self._play(http, session, began_s))
        try:
            while True:
                async with http.get(session) as answer:
                    state = (await answer.json())["state"]
                assert state != "failed", state
                if state == "ready":
                    break
                await asyncio.sleep(LOOK_S)
            self.took_s.append(time.monotonic() - began_s)
            await player
        finally:
            player.cancel()
            async with http.delete(session) as answer:
                assert answer.status == 204, answer.status

    async def _play(self, http: ClientSession, session: str, began_s: float) -> None:
        """Ask for every segment of the slot once the first one is there, as a player far ahead of it would."""
        p = self.presentation
        numbers = p.segments_of(p.slots[0])
        for number in numbers:
            while True:
                async with http.get(f"{session}{self.kind}/{p.version}/{RUNG}/{number}.m4s") as answer:
                    await answer.read()
                    if answer.headers["X-Scene"] == "personal":
                        break
                await asyncio.sleep(LOOK_S)
            if number == numbers[0]:
                self.first_s.append(time.monotonic() - began_s)

    async def watch(self) -> None:
        began_s = time.monotonic()
        while True:
            self.samples.append((time.monotonic() - began_s, self.waiting))
            await asyncio.sleep(SAMPLE_S)


async def arrive(crowd: Crowd, an_hour: float, seconds: float) -> int:
    """Let viewers come at a rate for so long, then send all of them away; return how many came."""
    chance, count, tasks = random.Random(7), 0, set[asyncio.Task[None]]()
    watching = asyncio.create_task(crowd.watch())
    async with ClientSession(connector=TCPConnector(limit=0)) as http:
        until_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < until_s:
            wait_s = chance.expovariate(an_hour / 3600)
            await asyncio.sleep(min(wait_s, until_s - now_s))
            if time.monotonic() < until_s:
                count += 1
                tasks.add(task := asyncio.create_task(crowd.visit(http)))
                task.add_done_callback(tasks.discard)
        watching.cancel()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return count


def stated(settings: Settings, kind: str) -> int:
    capacity = Capacity.of(measure(settings, Progress()))
    print("\n".join(capacity.lines()), flush=True)
    return capacity.viewers_an_hour[kind]


def median(values: list[float]) -> str:
    return f"{sorted(values)[len(values) // 2]:.1f}" if values else "none"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--minutes", type=float, default=10)
    words.add_argument("--shares", type=float, nargs="+", default=[0.8, 1.2])
    words.add_argument("--kind", choices=KINDS, default="still")
    words.add_argument("--rate", type=int, help="viewers an hour; without it the machine is measured")
    given = words.parse_args()
    settings, seconds, wrong = load_settings().settings, given.minutes * 60, False
    rate = given.rate or stated(settings, given.kind)
    today, cores = datetime.date.today(), os.cpu_count()
    print(f"\n{today}, {cores} cores, {given.kind} scenes of {SCENE_S} s, {rate:,} viewers an hour stated\n")
    print("| share | minutes | came | served | wait: middle, end | growth a minute | first segment, s | all, s |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="arrivals-") as temporary:
        folder, _ = publish(Path(temporary), settings, 1080, SCENE_S)
        variant(folder, given.kind, given.kind, SCENE_S)
        for share in given.shares:
            with serving(Path(temporary), settings) as server:
                p = Presentation.load(folder.parents[1] / given.kind / folder.name)
                crowd = Crowd(server, given.kind, p)
                came = asyncio.run(arrive(crowd, share * rate, seconds))
            wrong |= _tell(crowd, share, seconds, came, rate)
    sys.exit(1 if wrong else 0)


def _tell(crowd: Crowd, share: float, seconds: float, came: int, rate: int) -> bool:
    """Print a line of the table; return whether the queue did what it must not at that share."""
    later = [sample for sample in crowd.samples if sample[0] > seconds / 4]
    middle = [waiting for at_s, waiting in crowd.samples if seconds / 4 < at_s < 3 * seconds / 4]
    grows = 60 * slope(later)
    # above the rate the surplus should wait; halfway there lies what tells a queue that grows from one that breathes
    surplus = (share - 1) * rate / 60
    wrong = bool(crowd.failed) or (grows > 0.1 * rate / 60 if share < 1 else grows < surplus / 2)
    mean, last = sum(middle) / max(1, len(middle)), crowd.samples[-1][1]
    figures = (f"{share:g}", f"{seconds / 60:g}", came, len(crowd.took_s), f"{mean:.1f}, {last}", f"{grows:+.1f}")
    row = " | ".join(map(str, (*figures, median(crowd.first_s), median(crowd.took_s))))
    print(f"| {row} |{' **wrong**' if wrong else ''}", flush=True)
    for what in crowd.failed[:5]:
        print(f"failed: {what}")
    return wrong


if __name__ == "__main__":
    main()
