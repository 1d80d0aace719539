"""The bounded, fair queue of viewers who wait for their scene, over one worker that renders and one that examines."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from encoder.errors import EncoderError
from lipsync.errors import LipsyncError, WorkerDied
from lipsync.protocols import Examined, FaceWorker, Fragment, Take
from mediaserver.errors import QueueFull
from mediaserver.inserts import Insert, InsertStore
from mediaserver.pace import Pace

SHARE_S = 10.0
"""Every further scene of one viewer counts as due at least this much later than the one before."""
MARGIN_S = 3.0
CROWD_S, CROWDED = 60.0, 0.75
"""How far back arrivals are counted to foresee the next ones, and the share of the time they may be thought to take."""
"""A render under way is put aside for a viewer who needs theirs earlier by more than this."""
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


@dataclass(frozen=True, slots=True)
class _Work:
    """What the worker does now."""

    scene: Scene
    renditions: tuple[str, ...]
    task: asyncio.Task[None]


@dataclass(slots=True)
class Admission:
    """Makes scenes by when they will be on screen: every viewer's first rung before anybody's other rungs.

    One take at a time; what is put aside keeps its finished fragments. `finished` is called with every insert that has
    become ready.
    """

    examiner: FaceWorker
    renderer: FaceWorker
    store: InsertStore
    limit: int
    finished: Callable[[Insert], None]
    pace: Pace = field(default_factory=Pace)
    _waiting: list[Scene] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _examining: asyncio.Lock = field(default_factory=asyncio.Lock)
    _uploads: int = 0
    _arrivals: deque[tuple[float, float]] = field(default_factory=deque)
    _work: _Work | None = None

    @property
    def waiting(self) -> int:
        """How many viewers wait: photos under way and viewers with a scene in the queue."""
        return self._uploads + len({scene.insert.session for scene in self._waiting})

    @property
    def rendering(self) -> bool:
        return self._work is not None

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
        async with self._examining:
            return await self.examiner.examine(photo)

    def add(self, scene: Scene) -> None:
        """Put a scene into the queue; renders start in `run`."""
        mine = [other for other in self._scenes() if other.insert.session == scene.insert.session]
        scene.not_before_s = asyncio.get_running_loop().time() + SHARE_S * len(mine)
        self._waiting.append(scene)
        self._arrivals.append((asyncio.get_running_loop().time(), self._first_s(scene)))
        self._arrived.set()
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
        own = self._scene_of(insert)
        if own is None:
            return None
        scenes, due_s = self._scenes(), self._due_s(own)
        before = [scene for scene in scenes if scene is own or self._due_s(scene) <= due_s]
        firsts = scenes if insert.missing(insert.others) else before
        rests = [scene for scene in before if scene is own or firsts is scenes]
        return sum(map(self._first_s, firsts)) + sum(map(self._rest_s, rests)) / (1 - self._crowd())

    def watchable_s(self, insert: Insert) -> float | None:
        """Seconds until the rung that is made first is whole; 0 when it is, None if it is not to be made.

        Unlike `eta_s` it hardly changes when more viewers come, since theirs are due later.
        """
        own = self._scene_of(insert)
        if own is None:
            return None
        due_s = self._due_s(own)
        return sum(
            self._first_s(scene) for scene in self._scenes() if not insert.watchable and self._due_s(scene) <= due_s
        )

    async def cancel(self, session: str) -> None:
        """Take the session out of the queue and stop its render; when this returns, nothing of it is at work."""
        self._waiting = [scene for scene in self._waiting if scene.insert.session != session]
        if self._work and self._work.scene.insert.session == session:
            self._work.scene.dropped = True
            self._work.task.cancel()
            await asyncio.wait([self._work.task])

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

    async def _work_on(self, scene: Scene) -> None:
        renditions, segments = scene.insert.piece()
        task = asyncio.create_task(self._make(scene, renditions, segments))
        self._work = _Work(scene, renditions, task)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            await asyncio.wait([task])
            self._work = None

    # --- whose turn it is ---

    def _scenes(self) -> list[Scene]:
        return [*([self._work.scene] if self._work and not self._work.scene.dropped else []), *self._waiting]

    def _scene_of(self, insert: Insert) -> Scene | None:
        return next((scene for scene in self._scenes() if scene.insert is insert), None)

    def _urgency(self, scene: Scene) -> tuple[bool, float]:
        return scene.insert.watchable, self._due_s(scene)

    def _due_s(self, scene: Scene) -> float:
        """Return when the scene will be on screen; what a player has asked for is believed."""
        return scene.insert.due_s if scene.insert.asked else max(scene.insert.due_s, scene.not_before_s)

    def _reconsider(self) -> None:
        """Put the render under way aside if something else must be made first."""
        if self._work is None:
            return
        scene = self._work.scene
        if not scene.insert.watchable and self._work.renditions != (scene.insert.first,):
            self._work.task.cancel()
        elif self._waiting:
            watchable, due_s = min(map(self._urgency, self._waiting))
            own_watchable, own_due_s = self._urgency(scene)
            if (watchable, due_s + MARGIN_S) < (own_watchable, own_due_s):
                self._work.task.cancel()

    # --- what it costs ---

    def _crowd(self) -> float:
        """Return the share of the time, 0 to CROWDED, that first rungs of new viewers take, as it was lately."""
        since_s = asyncio.get_running_loop().time() - CROWD_S
        while self._arrivals and self._arrivals[0][0] < since_s:
            self._arrivals.popleft()
        return min(CROWDED, sum(cost_s for _, cost_s in list(self._arrivals)[:-1]) / CROWD_S)

    def _first_s(self, scene: Scene) -> float:
        first = (scene.insert.first,)
        return self.pace.cost_s(scene.insert, first, len(scene.insert.missing(first)))

    def _rest_s(self, scene: Scene) -> float:
        others = scene.insert.others
        return self.pace.cost_s(scene.insert, others, len(scene.insert.missing(others)))

    def _next_place_s(self) -> int:
        """Return after how many seconds a viewer of the queue is likely to have left it."""
        left = [self._first_s(scene) + self._rest_s(scene) for scene in self._scenes()]
        return max(1, math.ceil(sum(left) / max(1, len(left))))

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
        began_s = loop.time()
        # The Protocol promises an iterator that can be closed; typing calls that a generator.
        render = cast("AsyncGenerator[Fragment]", self.renderer.render(scene.face, take))
        async with aclosing(render) as fragments:
            async for fragment in fragments:
                name = (fragment.rendition, fragment.number)
                if name in insert.wanted and name not in insert.done:
                    await self.store.write(insert, fragment)
                    insert.add(name)
        self.pace.learn(insert, take.renditions, len(take.segments), loop.time() - began_s)
