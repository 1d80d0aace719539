"""One run of one job: its stages as durable steps, and what the book is told of them."""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, TypeVar

from dbos import DBOS, StepReservation

from encoder import publish, stages
from encoder.chunk import Chunk
from encoder.disk import is_full
from encoder.encoding import Listener, Progress, Tally
from encoder.errors import CurrentMoved, EncoderError, MasterChanged, ToolCancelled, ToolFailed
from encoder.guard import Care
from encoder.model import Choices
from encoder.stages import Plan
from encoder.stock import RECIPE, Stock
from encoder.tools import find_tools
from encoder.watch import check_settled, stamp_of
from lipsync.errors import LipsyncError
from mediaserver.jobbook import STAGES, JobBook, Order
from mediaserver.jobroom import Room
from mediaserver.ledger import pinned_versions
from mediaserver.precedence import viewers_lock
from mediaserver.settings import Settings

LOOK_S = 0.5
AFTER_ENCODE = STAGES[STAGES.index("encode") + 1 :]
STDERR_NOTED, COMMANDS_NOTED = 8 * 1024, 4
# An encode of all rungs keeps about so many cores busy.
CORES_PER_CHUNK = 8
T = TypeVar("T")
_log = logging.getLogger("dbos.jobs")


class JobFailed(Exception):
    """A stage's failure as one sentence; the facts are in the book."""


class Interrupted(BaseException):
    """The process stops or the job is cancelled: no outcome of a stage, so DBOS must not write one down."""


class Work:
    """What is done for one order; `cancelled` is set by whoever ends it."""

    def __init__(
        self,
        book: JobBook,
        id: str,
        order: Order,
        settings: Settings,
        *,
        stopping: Callable[[], bool],
        cancelled: threading.Event,
    ) -> None:
        self._book, self._id, self._order, self._settings = book, id, order, settings
        self._stopping, self._cancelled = stopping, cancelled
        self._looked_s = 0.0
        self._path, self._media = Path(order.path), Path(order.media)
        self._choices = Choices(**order.choices)
        self.room = Room(self._media, settings.disk_floor_mb * 1_000_000, self._note)
        self._viewers = viewers_lock(settings.state)
        self._care = Care(
            cancelled=self.stopped,
            held=self._held,
            stall_s=settings.encoder_stall_s,
            began=self._began,
            said=lambda tail: self._note(stderr_tail=tail[-STDERR_NOTED:]),
        )
        self._commands: deque[str] = deque(maxlen=COMMANDS_NOTED)
        self._failed = threading.Event()
        self._told_s, self._waits = 0.0, False

    def _note(self, **facts: Any) -> None:
        self._book.note(self._id, **facts)

    def _began(self, command: tuple[str, ...]) -> None:
        self._commands.append(shlex.join(command))
        self._note(commands=list(self._commands))

    def stopped(self) -> bool:
        """Say whether the work must not go on; what another process has cancelled is seen within half a second."""
        if self._stopping() or self._cancelled.is_set() or self._failed.is_set():
            return True
        if time.monotonic() - self._looked_s > LOOK_S:
            self._looked_s = time.monotonic()
            if self._book.is_cancelled(self._id):
                self._cancelled.set()
        return self._cancelled.is_set()

    def check(self) -> None:
        if self.stopped():
            raise Interrupted

    def wait(self) -> None:
        """Be asked while others have their turn; raises Interrupted."""
        if not self._waits:
            self._waits = True
            self._note(stage=None)
        self.check()

    def _held(self) -> bool:
        return self.room.is_low() or self._viewers.is_taken()

    @contextmanager
    def tidy(self, plan: Plan) -> Iterator[None]:
        """What a failed or cancelled job has written is deleted on leaving."""
        try:
            yield
        except (JobFailed, Interrupted):
            if not self._stopping():
                self._sweep(plan)
            raise

    def reuse(self, plan: Plan) -> None:
        """Take what earlier versions have; it is looked for before there is room, since it takes none."""
        self.stage("reuse", lambda: self._reuse(plan))

    def finish(self, plan: Plan) -> None:
        """Run all stages after that."""
        self._encode_chunks(plan)
        for name in AFTER_ENCODE:
            do: Callable[[Plan], None] = getattr(self, f"_{name}")
            self.stage(name, lambda do=do: do(plan))  # type: ignore[misc]

    def _encode_chunks(self, plan: Plan) -> None:
        """Encode as many chunks at once as there are cores for; when one fails, the others are ended."""
        tally = stages.tally(plan, self._media, self._tell)
        with ThreadPoolExecutor(at_once(self._settings.encoders), "encode") as pool:
            # Steps are numbered here, in one order, so that a restart finds each one's outcome.
            running = [
                pool.submit(copy_context().run, self._chunk_stage, plan, chunk, DBOS.reserve_step(), tally)
                for chunk in plan.chunks
            ]
            done, _ = wait(running, return_when=FIRST_EXCEPTION)
            if failures := [future.exception() for future in done if future.exception()]:
                self._failed.set()
                raise next((error for error in failures if isinstance(error, JobFailed)), failures[0]) from None  # type: ignore[misc]

    def _chunk_stage(self, plan: Plan, chunk: Chunk, step: StepReservation, tally: Tally) -> None:
        self.check()
        do: Callable[[], None] = lambda: self._encode_chunk(plan, chunk, tally.of(chunk))  # noqa: E731
        step.run({"name": f"encode {chunk.folder}"}, self._run, "encode", do)
        tally.done(chunk)

    def _sweep(self, plan: Plan) -> None:
        shutil.rmtree(plan.folder(self._media), ignore_errors=True)
        with suppress(OSError):
            (self._media / plan.chapter).rmdir()

    def stage(self, name: str, do: Callable[[], T]) -> T:
        """Run a stage, or take what an earlier run of this job has written down for it; raises JobFailed."""
        self.check()
        return DBOS.run_step({"name": name}, self._run, name, do)

    def _run(self, name: str, do: Callable[[], T]) -> T:
        self._note(stage=name)
        try:
            return do()
        except ToolCancelled:
            raise Interrupted from None
        except Exception as error:
            # Who was taken for dead finds its files gone: that is no outcome of the job.
            self.check()
            if not isinstance(error, EncoderError | LipsyncError):
                _log.exception("%s failed unexpectedly.", name)
            refused = name == "plan" and isinstance(error, EncoderError) and not isinstance(error, ToolFailed)
            self._note(**_facts(error), refused=refused, paused=None, fps=None, eta_s=None)
            raise JobFailed(str(error)) from None

    def plan(self) -> Plan | None:
        """Decide what is to be done; None if exactly this content is published already."""
        if self._order.settle_s:
            check_settled(self._path, self._order.settle_s)
        chunk_s = Fraction(str(self._settings.chunk_s))
        known = Stock.of(self._media)
        plan = stages.plan(self._path, find_tools(), self._care, chunk_s, self._choices, in_stock=known)
        self._note(chapter=plan.chapter, version=plan.version, notes=list(plan.master.notes))
        if stages.is_published(plan, self._media):
            self._note(percent=100)
            return None
        return replace(plan, previous=publish.current_version(self._media / plan.chapter))

    def _reuse(self, plan: Plan) -> None:
        if not stages.is_finished(plan, self._media):
            stages.reuse(plan, self._media, Stock.of(self._media))

    def _encode_chunk(self, plan: Plan, chunk: Chunk, listener: Listener) -> None:
        def encode() -> None:
            stages.encode_chunk(plan, chunk, self._media, find_tools(), on_progress=listener, care=self._care)

        self._encode(plan, encode)

    def _sound(self, plan: Plan) -> None:
        self._encode(plan, lambda: stages.encode_sound(plan, self._media, find_tools(), self._care))

    def _slots(self, plan: Plan) -> None:
        self._encode(plan, lambda: stages.encode_slots(plan, self._media, find_tools(), self._care))
        self._note(percent=100, fps=None, eta_s=None)

    def _encode(self, plan: Plan, do: Callable[[], None]) -> None:
        """Encode from the master as it was planned."""
        if stages.is_finished(plan, self._media):
            return
        self._check_unchanged()
        try:
            self._patiently(plan, do)
        except (ToolFailed, OSError):
            # A master that was taken away fails in many ways; that it was is the reason.
            self._check_unchanged()
            raise
        self._check_unchanged()

    def _patiently(self, plan: Plan, do: Callable[[], T]) -> T:
        """Do what fills the disk; when that is full it is waited for, and then it is done again."""
        while True:
            try:
                return do()
            except (ToolFailed, OSError) as error:
                if not is_full(error) or self.room.has(plan):
                    raise
                self.room.wait_for(plan, self.check)

    def _check_unchanged(self) -> None:
        if content_of(self._path, self._media, self._choices) != self._id:
            raise MasterChanged(self._path)

    def _tell(self, progress: Progress) -> None:
        """Write the progress down, at most so often that the book has time for others."""
        whole = progress.frames >= progress.of_frames
        if not whole and time.monotonic() - self._told_s < LOOK_S:
            return
        self._told_s = time.monotonic()
        self._note(
            percent=round(progress.percent, 1),
            fps=round(progress.fps, 1),
            eta_s=None if progress.eta_s is None else round(progress.eta_s),
            rungs={name: round(100 * frames / progress.of_frames, 1) for name, frames in progress.rungs},
        )

    def _assemble(self, plan: Plan) -> None:
        if not stages.is_finished(plan, self._media):
            made = self._patiently(plan, lambda: stages.assemble(plan, self._media, find_tools(), self._care))
            self._note(notes=list(made.notes))

    def _bake(self, plan: Plan) -> None:
        """Analyse each slot's speech once, for all viewers."""
        if stages.is_finished(plan, self._media):
            return
        from lipsync.narration import bake  # noqa: PLC0415 - a process that only lists jobs needs no speech analysis

        folder, grid = plan.folder(self._media), plan.ladder.grid
        kept = plan.kept(self._media).names
        for slot in (slot for slot, _ in plan.slots if slot.track not in kept):
            window = grid.frames_within(slot.start_s, slot.duration_s)
            early = slot.start_s * grid.rate - window.start
            track = bake(folder / slot.narration, grid.rate, len(window), early)
            self._patiently(plan, lambda track=track, slot=slot: track.save(folder / slot.track))  # type: ignore[misc]

    def _verify(self, plan: Plan) -> None:
        if not stages.is_finished(plan, self._media):
            stages.verify(plan, self._media, find_tools(), self._care)

    def _publish(self, plan: Plan) -> None:
        pinned = pinned_versions(self._settings.state, plan.chapter)
        while True:
            try:
                self._patiently(plan, lambda plan=plan: stages.publish_version(plan, self._media, pinned))  # type: ignore[misc]
            except CurrentMoved as moved:
                # Another version came before us; if ours is still wanted, it is the newer one.
                self._looked_s = 0
                self.check()
                plan = replace(plan, previous=moved.current)
            else:
                return


def at_once(encoders: int) -> int:
    """Return how many chunks are encoded at the same time; 0 encoders is what the cores carry."""
    return encoders or max(1, len(os.sched_getaffinity(0)) // CORES_PER_CHUNK)


def choices_of(settings: Settings) -> Choices:
    """Return the settings that decide what a chapter is like."""
    ladder: Literal["title", "film"] = "film" if settings.ladder == "film" else "title"
    return Choices(ladder, settings.av1, settings.hevc, settings.loudness)


def content_of(master: Path, media: Path, choices: Choices) -> str:
    """Name what lies in the folder now and what is wanted of it, without reading it: the same name is the same work."""
    seen = (os.fsencode(master), os.fsencode(media), RECIPE, choices, stamp_of(master))
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]


def _facts(error: Exception) -> dict[str, Any]:
    """Return what the book keeps of a failure."""
    if isinstance(error, EncoderError | LipsyncError):
        facts: dict[str, Any] = {"code": error.code, "sentence": str(error), "hint": error.hint}
        if isinstance(error, ToolFailed):
            facts |= {"command": list(error.command), "stderr_tail": error.stderr_tail[-STDERR_NOTED:]}
        return facts
    if isinstance(error, OSError):
        hint = "Check the disk's free space and the folder's permissions, then `mediaserver retry`."
        return {"code": "disk", "sentence": f"The system refused it: {error.strerror or error}.", "hint": hint}
    hint = "This is a fault of the program; state/jobs.log holds its details. `mediaserver retry` tries again."
    return {"code": "unexpected", "sentence": f"Something went wrong that should not: {error}.", "hint": hint}
