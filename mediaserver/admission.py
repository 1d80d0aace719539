"""The bounded, fair queue of viewers who wait for their scene, over one worker that renders and one that examines."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from encoder.errors import EncoderError
from lipsync.errors import LipsyncError, WorkerDied
from lipsync.protocols import FaceWorker, Fragment
from mediaserver.errors import QueueFull
from mediaserver.inserts import Insert, InsertStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scene:
    """One render to do: a face, in memory only, into one slot of the version in `folder`."""

    insert: Insert
    face: bytes
    folder: Path


class Admission:
    """Takes scenes in turn: every viewer's first before any viewer's second, one at a time.

    `finished` is called with every insert that has become ready.
    """

    def __init__(
        self,
        examiner: FaceWorker,
        renderer: FaceWorker,
        store: InsertStore,
        limit: int,
        finished: Callable[[Insert], None],
    ) -> None:
        self._examiner, self._renderer, self._store = examiner, renderer, store
        self._limit, self._finished = limit, finished
        self._waiting: OrderedDict[str, deque[Scene]] = OrderedDict()
        self._arrived = asyncio.Event()
        self._examining = asyncio.Lock()
        self._uploads = 0
        self._current: tuple[Scene, asyncio.Task[None]] | None = None
        self._pace = Pace()

    @property
    def waiting(self) -> int:
        """How many viewers wait: photos under way and viewers with a scene in the queue."""
        return self._uploads + len(self._waiting)

    @property
    def rendering(self) -> bool:
        return self._current is not None

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place while a photo comes in and is looked at; raises QueueFull before a byte of it is read."""
        if self.waiting >= self._limit:
            raise QueueFull(self.waiting)
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    async def examine(self, photo: bytes) -> bytes:
        """Return the checked face; raises what FaceWorker.examine raises. Never waits for a render."""
        async with self._examining:
            return await self._examiner.examine(photo)

    def add(self, scene: Scene) -> None:
        """Put a scene behind those of its session; renders start in `run`."""
        self._waiting.setdefault(scene.insert.session, deque()).append(scene)
        self._arrived.set()

    def queued(self, insert: Insert) -> bool:
        """Whether the insert is being made or will be."""
        if insert.state in ("ready", "failed"):
            return False
        if self._current and self._current[0].insert is insert:
            return True
        return any(scene.insert is insert for scene in self._waiting.get(insert.session, ()))

    def eta_s(self, insert: Insert) -> int | None:
        """Seconds until the insert is ready, by the measured cost of a fragment; None if it is not to be made."""
        if not self.queued(insert):
            return None
        ahead = [self._current[0].insert] if self._current else []
        for scene in self._in_turn():
            if insert in ahead:
                break
            ahead.append(scene.insert)
        left = sum(len(each.wanted) - len(each.done) for each in ahead[: ahead.index(insert) + 1])
        return max(1, math.ceil(left * self._pace.fragment_s))

    async def cancel(self, session: str) -> None:
        """Take the session out of the queue and stop its render; when this returns, nothing of it is at work."""
        self._waiting.pop(session, None)
        if self._current and self._current[0].insert.session == session:
            task = self._current[1]
            task.cancel()
            await asyncio.wait([task])

    async def run(self) -> None:
        """Render scene after scene, for ever."""
        while True:
            await self._arrived.wait()
            if not self._waiting:
                self._arrived.clear()
                continue
            scene = self._take()
            task = asyncio.create_task(self._render(scene))
            self._current = (scene, task)
            try:
                await asyncio.wait([task])
            finally:
                task.cancel()
                await asyncio.wait([task])
                self._current = None

    def _take(self) -> Scene:
        """Take the next scene; a session with more of them goes to the end of the line."""
        session, scenes = self._waiting.popitem(last=False)
        scene = scenes.popleft()
        if scenes:
            self._waiting[session] = scenes
        return scene

    def _in_turn(self) -> list[Scene]:
        """Return the waiting scenes in the order in which they will be taken."""
        lines = [list(scenes) for scenes in self._waiting.values()]
        rounds = max(map(len, lines), default=0)
        return [line[turn] for turn in range(rounds) for line in lines if turn < len(line)]

    async def _render(self, scene: Scene) -> None:
        """Make one insert; a failure leaves the chapter's own picture and disturbs nobody else."""
        insert = scene.insert
        insert.began_s = asyncio.get_running_loop().time()
        insert.become("rendering")
        try:
            try:
                await self._fill(scene)
            except WorkerDied:
                # A new worker has been started; what the dead one finished is kept, for the same face gives the same.
                await self._fill(scene)
            if insert.complete:
                self._finished(insert)
                insert.become("ready")
                return
            reason = f"{len(insert.wanted) - len(insert.done)} fragments are missing."
        except (LipsyncError, EncoderError, OSError) as error:
            reason = str(error)
        except Exception:
            _log.exception("An insert of %s/%s could not be made.", insert.chapter, insert.slot)
            reason = "an unexpected error"
        _log.error("The slot %s of %s was not made for a viewer: %s", insert.slot, insert.chapter, reason)
        insert.done.clear()
        await self._store.drop(insert)
        insert.become("failed")

    async def _fill(self, scene: Scene) -> None:
        insert = scene.insert
        loop = asyncio.get_running_loop()
        before = loop.time()
        # The Protocol promises an iterator that can be closed; typing calls that a generator.
        render = self._renderer.render(scene.face, scene.folder, insert.slot)
        async with aclosing(cast("AsyncGenerator[Fragment]", render)) as fragments:
            async for fragment in fragments:
                name = (fragment.rendition, fragment.number)
                if name not in insert.wanted:
                    continue
                await self._store.write(insert, fragment)
                insert.add(name)
                self._pace.learn(loop.time() - before)
                before = loop.time()


class Pace:
    """The measured cost of one fragment, in seconds; recent ones count more."""

    def __init__(self, guess_s: float = 0.5) -> None:
        self.fragment_s = guess_s

    def learn(self, took_s: float) -> None:
        self.fragment_s += 0.2 * (took_s - self.fragment_s)
