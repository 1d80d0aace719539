"""The bounded, fair queue of viewers who wait for their scene, over one worker that renders and one that examines."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from encoder.errors import EncoderError
from lipsync.errors import LipsyncError, WorkerDied
from lipsync.protocols import Examined, FaceWorker, Fragment, Take
from mediaserver.errors import QueueFull
from mediaserver.forecast import NOBODY, Newcomers, Place, until_all_s, until_first_s
from mediaserver.inserts import Insert, InsertStore
from mediaserver.pace import Cost, Pace
from mediaserver.pulse import Pulse

SHARE_S = 10.0
"""Every further scene of one viewer counts as due at least this much later than the one before."""
MARGIN_S = 3.0
"""A render under way is put aside for a viewer who needs theirs earlier by more than this."""
CROWD_S, FEW_S = 60.0, 20.0
"""Arrivals are counted so far back, at most and at least, to foresee the next ones."""
LIKELY, CROWDED = 0.75, 0.6
"""Of the time that newcomers take in the mean this share is reckoned with, for what is likely lies below the mean;
and the largest share of the time that they may be thought to take.
"""
OVERDUE = 0.1
"""A segment that takes longer than it used to is thought to take this much of a usual one more."""
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Scene:
    """One insert to make of a photo, into one slot of the version in `folder`.

    `face` is what was found in the photo; where it is missing it is looked for again. Both are in memory only, and the
    face goes when the insert is done.
    """

    insert: Insert
    photo: bytes
    folder: Path
    face: bytes | None = None
    not_before_s: float = 0.0
    dropped: bool = False

    def forget(self) -> None:
        """Let go of what shows the viewer: the render is over."""
        self.photo, self.face = b"", None


@dataclass(slots=True)
class _Work:
    """What the worker does now; `moved_s` is the loop's time of its beginning or of its last whole segment."""

    scene: Scene
    renditions: tuple[str, ...]
    segments: range
    moved_s: float
    task: asyncio.Task[None]

    def left_s(self, cost: Cost, missing: Sequence[int], now_s: float) -> float:
        """Return the seconds that it still takes if all goes as it used to."""
        left_s = cost.each_s * len(missing) if self.segments.start not in missing else cost.of(len(missing))
        return max(cost.each_s * (len(missing) - 1 + OVERDUE), left_s - (now_s - self.moved_s))


@dataclass(slots=True)
class Admission:
    """Makes scenes by when they will be on screen: every viewer's first rung before anybody's other rungs.

    One take at a time; what is put aside keeps its finished fragments. `finished` is called with every insert that has
    become ready, `stirred` fired when `at_work` may have changed.
    """

    examiner: FaceWorker
    renderer: FaceWorker
    store: InsertStore
    limit: int
    finished: Callable[[Insert], None]
    pace: Pace = field(default_factory=Pace)
    stirred: Pulse = field(default_factory=Pulse)
    _waiting: list[Scene] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _examining: asyncio.Lock = field(default_factory=asyncio.Lock)
    _uploads: int = 0
    _arrivals: deque[tuple[float, float]] = field(default_factory=deque)
    _since_s: float | None = None
    _work: _Work | None = None

    @property
    def waiting(self) -> int:
        """How many viewers wait: photos under way and viewers with a scene in the queue."""
        return self._uploads + len({scene.insert.session for scene in self._waiting})

    @property
    def at_work(self) -> bool:
        """Whether anything is done for a viewer, from the look at a photo to the last segment of the last rung."""
        return self._work is not None or bool(self._waiting) or self._examining.locked()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place while a photo comes in and is looked at; raises QueueFull before a byte of it is read."""
        if self.waiting >= self.limit:
            raise QueueFull(self.waiting, self._next_place_s())
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    async def examine(self, photo: bytes) -> Examined:
        """Return the checked face and photo; raises what FaceWorker.examine raises. Never waits for a render."""
        try:
            async with self._examining:
                self.stirred.fire()
                return await self.examiner.examine(photo)
        finally:
            self.stirred.fire()

    def add(self, scene: Scene) -> None:
        """Put a scene into the queue; renders start in `run`."""
        mine = [other for other in self._scenes() if other.insert.session == scene.insert.session]
        now_s = asyncio.get_running_loop().time()
        scene.not_before_s = now_s + SHARE_S * len(mine)
        self._waiting.append(scene)
        self._since_s = now_s if self._since_s is None else self._since_s
        self._arrivals.append((now_s, self._left_s(scene, (scene.insert.first,))))
        self._arrived.set()
        self.stirred.fire()
        self._reconsider()

    def asked(self, insert: Insert, rendition: str, number: int, due_s: float) -> None:
        """Note that a player has asked for a segment that will be on screen at `due_s` of the loop's time."""
        insert.ask(rendition, number, due_s)
        self._reconsider()

    def queued(self, insert: Insert) -> bool:
        """Whether the insert is being made or will be."""
        return insert.state in ("waiting", "rendering") and any(scene.insert is insert for scene in self._scenes())

    def eta_s(self, insert: Insert) -> float | None:
        """Seconds until all of the insert is ready, by the measured costs; None if it is not to be made.

        Whoever comes meanwhile gets a first rung before it: as many as came lately are reckoned with.
        """
        own, queue = self._line(insert)
        return until_all_s(own, queue, self._newcomers()) if own else None

    def watchable_s(self, insert: Insert) -> float | None:
        """Seconds until the rung that is made first is whole; 0 when it is, None if it is not to be made.

        Unlike `eta_s` it hardly changes when more viewers come, since theirs are due later.
        """
        own, queue = self._line(insert)
        return until_first_s(own, queue) if own else None

    async def cancel(self, session: str) -> None:
        """Take the session out of the queue and stop its render; when this returns, nothing of it is at work."""
        self._waiting = [scene for scene in self._waiting if scene.insert.session != session]
        if self._work and self._work.scene.insert.session == session:
            self._work.scene.dropped = True
            self._work.task.cancel()
            await asyncio.wait([self._work.task])
        self.stirred.fire()

    async def run(self) -> None:
        """Render take after take, for ever."""
        while True:
            await self._arrived.wait()
            if not self._waiting:
                self._arrived.clear()
                continue
            scene = min(self._waiting, key=self._urgency)
            self._waiting.remove(scene)
            await self._work_on(scene)
            if scene.insert.state == "rendering" and not scene.dropped:
                self._waiting.append(scene)
            else:
                scene.forget()
            del scene
            self.stirred.fire()

    async def _work_on(self, scene: Scene) -> None:
        renditions, segments = scene.insert.piece()
        task = asyncio.create_task(self._make(scene, renditions, segments))
        self._work = _Work(scene, renditions, segments, asyncio.get_running_loop().time(), task)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            await asyncio.wait([task])
            self._work = None

    # --- whose turn it is ---

    def _scenes(self) -> list[Scene]:
        return [*([self._work.scene] if self._work and not self._work.scene.dropped else []), *self._waiting]

    def _urgency(self, scene: Scene) -> tuple[bool, float]:
        return scene.insert.watchable, self._due_s(scene)

    def _due_s(self, scene: Scene) -> float:
        """Return when the scene will be on screen; what a player has asked for is believed."""
        return scene.insert.due_s if scene.insert.asked else max(scene.insert.due_s, scene.not_before_s)

    def _reconsider(self) -> None:
        """Put the render under way aside if something else must be made first."""
        if self._work and self._is_put_aside(self._work):
            self._work.task.cancel()

    def _is_put_aside(self, work: _Work) -> bool:
        if not work.scene.insert.watchable and work.renditions != (work.scene.insert.first,):
            return True
        if not self._waiting:
            return False
        watchable, due_s = min(map(self._urgency, self._waiting))
        return (watchable, due_s + MARGIN_S) < self._urgency(work.scene)

    # --- what it costs ---

    def _line(self, insert: Insert) -> tuple[Place | None, list[Place]]:
        """Return the insert's own place, if it is to be made, and everybody's."""
        places = [(scene.insert, self._place(scene)) for scene in self._scenes()]
        return next((place for owner, place in places if owner is insert), None), [place for _, place in places]

    def _place(self, scene: Scene) -> Place:
        insert = scene.insert
        begun = self._work is not None and self._work.scene is scene and self._is_kept(self._work)
        first_s, rest_s = (self._left_s(scene, rungs, begun=begun) for rungs in ((insert.first,), insert.others))
        return Place(self._due_s(scene), first_s, rest_s, begun)

    def _is_kept(self, work: _Work) -> bool:
        """Whether a take is made to its end before anything else; one whose segments are all there has only to end."""
        return bool(work.scene.insert.missing(work.renditions)) and not self._is_put_aside(work)

    def _left_s(self, scene: Scene, renditions: tuple[str, ...], *, begun: bool = False) -> float:
        """Return what the renditions still take; a take that is put aside has to begin anew."""
        missing, work = scene.insert.missing(renditions), self._work
        cost = self.pace.cost(scene.insert, renditions)
        if not begun or work is None or work.renditions[0] not in renditions:
            return cost.of(len(missing))
        return work.left_s(cost, missing, asyncio.get_running_loop().time())

    def _newcomers(self) -> Newcomers:
        """Return who is likely to come, as it was lately; the last one to come is not new to anybody."""
        now_s = asyncio.get_running_loop().time()
        while self._arrivals and self._arrivals[0][0] < now_s - CROWD_S:
            self._arrivals.popleft()
        costs_s = [cost_s for _, cost_s in self._arrivals][:-1]
        if not costs_s:
            return NOBODY
        counted_s = min(CROWD_S, max(FEW_S, now_s - (self._since_s or now_s)))
        share = min(CROWDED, LIKELY * sum(costs_s) / counted_s)
        return Newcomers(share, sum(costs_s) / len(costs_s), max(0, self.limit - self.waiting))

    def _next_place_s(self) -> int:
        """Return after how many seconds the first viewer of the queue is likely to have left it."""
        queue = [self._place(scene) for scene in self._scenes()]
        first = min(queue, key=lambda place: place.due_s, default=None)
        return math.ceil(until_all_s(first, queue)) if first else 1

    # --- one take ---

    async def _make(self, scene: Scene, renditions: tuple[str, ...], segments: range) -> None:
        """Make one take; a failure leaves the chapter's own picture and disturbs nobody else."""
        insert = scene.insert
        if insert.state != "rendering":
            insert.become("rendering")
        take = Take(scene.folder, insert.slot, renditions, segments, insert.render_id, insert.stamp)
        try:
            try:
                await self._fill(scene, take)
            except WorkerDied as death:
                # A new worker has been started; what the dead one finished is kept, for the same face gives the same.
                _log.warning("%s The slot %s of %s is tried once more.", death, insert.slot, insert.chapter)
                await self._fill(scene, take)
            if not set(insert.missing(renditions)) & set(segments):
                self._note_ready(insert)
                return
            reason = "fragments are missing."
        except (LipsyncError, EncoderError, OSError) as error:
            reason = str(error)
        except Exception:
            _log.exception("An insert of %s/%s could not be made.", insert.chapter, insert.slot)
            reason = "an unexpected error"
        _log.error("The slot %s of %s was not made for a viewer: %s", insert.slot, insert.chapter, reason)
        insert.done.clear()
        await self.store.drop(insert)
        insert.become("failed")

    def _note_ready(self, insert: Insert) -> None:
        if insert.complete:
            self.finished(insert)
            insert.become("ready")

    async def _fill(self, scene: Scene, take: Take) -> None:
        insert, loop = scene.insert, asyncio.get_running_loop()
        if scene.face is None:
            scene.face = (await self.examine(scene.photo)).face
        began_s, got, ends_s = loop.time(), Counter[int](), list[float]()
        # The Protocol promises an iterator that can be closed; typing calls that a generator.
        render = cast("AsyncGenerator[Fragment]", self.renderer.render(scene.face, take))
        try:
            async with aclosing(render) as fragments:
                async for fragment in fragments:
                    name = (fragment.rendition, fragment.number)
                    got[fragment.number] += 1
                    if name in insert.wanted and name not in insert.done:
                        await self.store.write(insert, fragment)
                        insert.add(name)
                    if got[fragment.number] == len(take.renditions):
                        ends_s.append(loop.time() - began_s)
                        if self._work:
                            self._work.moved_s = loop.time()
        finally:
            self.pace.learn(insert, take.renditions, ends_s)
