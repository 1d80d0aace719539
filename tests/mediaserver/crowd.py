"""Crowds of viewers in a time of their own: an event loop whose clock jumps, and a worker that only takes time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lipsync.protocols import Examined, Fragment, Take
from mediaserver.admission import Admission, Scene
from mediaserver.inserts import Insert, InsertStore
from mediaserver.pulse import Pulse

RUNGS = ("video_1080p_h264", "video_720p_h264", "video_432p_h264")
SEGMENT_S = {"still": 0.12, "moving": 0.5}
"""What a segment of one rung costs."""
LEAD_S, END_S = 0.25, 0.001


class JumpingLoop(asyncio.SelectorEventLoop):
    """Never waits: when nothing is to be done now, it is at once as late as the next thing."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 1000.0

    def time(self) -> float:
        return self._now_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._now_s = max(self._now_s, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end in a time of its own."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(work)


class NoStore(InsertStore):
    """Keeps nothing."""

    def __init__(self) -> None:
        pass

    async def write(self, insert: Insert, fragment: Fragment) -> None:
        pass

    async def drop(self, insert: Insert) -> None:
        pass


@dataclass
class SlowWorker:
    """Takes LEAD_S, the time of the slot's kind for each segment, give or take a share of `noise`, and END_S."""

    noise: float = 0.1
    chance: random.Random = field(default_factory=lambda: random.Random(5))

    async def examine(self, photo: bytes) -> Examined:
        await asyncio.sleep(0.1)
        return Examined(photo, photo)

    async def render(self, face: bytes, take: Take) -> AsyncIterator[Fragment]:
        await asyncio.sleep(LEAD_S)
        for number in take.segments:
            for rendition in take.renditions:
                await asyncio.sleep(SEGMENT_S[take.slot] * self.chance.uniform(1 - self.noise, 1 + self.noise))
                yield Fragment(rendition, number, b"x")
        await asyncio.sleep(END_S)

    async def sign(self, video: bytes, title: str, render_id: int | None) -> bytes:
        return video

    async def inspect(self, video: Path) -> dict[str, object]:
        return {}

    async def close(self) -> None:
        pass


@dataclass
class Crowd:
    """A queue with its worker, and what its viewers were told of `ready` and of `watchable`: (told s, it took s)."""

    limit: int = 1000
    noise: float = 0.1
    ready: list[tuple[float, float]] = field(default_factory=list)
    watchable: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        worker = SlowWorker(self.noise)
        self.admission = Admission(worker, worker, NoStore(), self.limit, lambda _: None)

    async def __aenter__(self) -> Crowd:
        self._task = asyncio.create_task(self.admission.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    def add(self, name: str, kind: str, segments: int = 8, starts_s: float = 20.0) -> Insert:
        """Let a viewer's photo be accepted now, with a slot of `kind` that is `starts_s` away."""
        insert = Insert(name, "part2", "v1", kind, kind, RUNGS, range(10, 10 + segments), Pulse())
        insert.due_s = asyncio.get_running_loop().time() + starts_s
        self.admission.add(Scene(insert, b"photo", Path("part2/v1"), b"face"))
        return insert

    async def visit(self, name: str, kind: str) -> None:
        """Add a viewer, note what was told, and wait until it is true."""
        now_s = asyncio.get_running_loop().time
        began_s, insert = now_s(), self.add(name, kind)
        eta_s, watchable_s = self.admission.eta_s(insert), self.admission.watchable_s(insert)
        assert eta_s is not None
        assert watchable_s is not None
        while not insert.watchable:
            await insert.pulse.next().wait()
        self.watchable.append((watchable_s, now_s() - began_s))
        while insert.state != "ready":
            await insert.pulse.next().wait()
        self.ready.append((eta_s, now_s() - began_s))


def truthful(told: list[tuple[float, float]]) -> float:
    """The share of viewers whose time was told within 30 % or 2 s."""
    right = [abs(eta_s - took_s) <= max(2.0, 0.3 * took_s) for eta_s, took_s in told]
    return sum(right) / len(right)
