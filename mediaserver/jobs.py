"""The editors' jobs: each master goes through its stages as one durable workflow (docs/decisions/0007-jobs.md).

One process per state folder runs them; a lock that the kernel releases when that process ends, however it ends, says
which. Other processes write into the same book and wait, and one of them takes over when the lock becomes free.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from dbos import DBOS

from encoder import publish, stages
from encoder.errors import EncoderError, MasterChanged, MasterMissing, ToolCancelled, ToolFailed
from encoder.stages import Plan, Progress
from encoder.tools import find_tools
from encoder.watch import check_settled, settled_masters, stamp_of
from lipsync.errors import LipsyncError
from mediaserver.errors import JobUnknown
from mediaserver.jobbook import ACTIVE, APPLICATION, NAMED, VERSION, WATCHED, WORKFLOW, Job, JobBook, Order, latest, now
from mediaserver.ledger import pinned_versions
from mediaserver.runnerlock import RunnerLock
from mediaserver.settings import Settings
from mediaserver.turn import Turn

# The lock allows one runner per book, so the next one finds under the same name what it has to go on with.
EXECUTOR = "editors"
LOOK_S, STOP_S = 0.5, 5.0
RECOVERIES = 20
STDERR_NOTED = 8 * 1024
STAGES = ("encode", "assemble", "bake", "verify", "publish")
T = TypeVar("T")
_log = logging.getLogger("dbos.jobs")
_runner: Jobs | None = None


class JobFailed(Exception):
    """A stage's failure as one sentence; the facts are in the book."""


class Interrupted(BaseException):
    """The process stops or the job is cancelled: no outcome of a stage, so DBOS must not write one down."""


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=RECOVERIES)
def make_chapter(order: dict[str, Any]) -> None:
    assert _runner is not None
    _runner.make(DBOS.workflow_id or "", Order(**order))


class Jobs:
    """The jobs of one state folder, as this process sees them.

    Reading, submitting, retrying and cancelling work in any process; after `start` this one also runs jobs, or stands
    by. With `watching` it looks after raw/ and runs everything; without, only masters that were named.
    """

    def __init__(self, settings: Settings, *, watching: bool = True) -> None:
        self._settings, self._watching = settings, watching
        self._media = settings.media.absolute()
        self._book = JobBook(settings.state)
        self._opening, self._is_open = threading.Lock(), False
        self._lock = RunnerLock(settings.state / "jobs.lock")
        self._planning, self._encoding = Turn(), Turn()
        self._stopping = threading.Event()
        self._active: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self._listeners: list[Callable[[list[Job]], None]] = []

    # --- for every process ----------------------------------------------------------------------------------------

    def listing(self) -> list[dict[str, Any]]:
        """Return the newest job of every master, newest first, ready for JSON."""
        return [job.to_json() for job in self.jobs()]

    def jobs(self) -> list[Job]:
        """Return the newest job of every master, newest first; what nobody runs now is queued, whatever it was."""
        if not self._book.exists:
            return []
        jobs = latest(self._opened_book().jobs())
        if not self._lock.is_taken():
            jobs = [replace(job, state="queued", eta_s=None) if job.state == "running" else job for job in jobs]
        return jobs

    def submit(self, master: Path, *, named: bool = False) -> str:
        """Enter a master and return its job's id; the same content is the same job.

        A named one is looked at again even if its job has come to an end, and so is a refused one, since the reason may
        have gone. An older job of the same file that still waits or runs is cancelled. Raises MasterMissing.
        """
        master = master.absolute()
        if not master.is_file():
            raise MasterMissing(master)
        job_id, queue, book = _content(master, self._media), NAMED if named else WATCHED, self._opened_book()
        jobs = [job for job in book.jobs() if job.path == str(master)]
        known = next((job for job in jobs if job.id == job_id), None)
        if known is None:
            settle_s = self._settings.settle_s if named else 0
            book.enter(job_id, Order(str(master), str(self._media), settle_s, now()), queue)
        elif known.state not in ACTIVE and (named or known.state == "refused" or self._is_lost(known)):
            book.again(known, queue)
        for job in jobs:
            if job.id != job_id and job.state in ACTIVE:
                self._cancel(job)
        return job_id

    def _is_lost(self, job: Job) -> bool:
        """Say whether a job was published, and what it published is not what viewers get now."""
        if job.state != "published" or job.chapter is None or job.version is None:
            return False
        return publish.current_version(self._media / job.chapter) != job.version

    def retry(self, name: str) -> Job:
        """Start the newest job of a file or chapter again from its first stage; raises JobUnknown."""
        job = self._named(name)
        if job.state not in ACTIVE:
            self._opened_book().again(job, WATCHED)
        return job

    def cancel(self, name: str) -> Job:
        """Cancel the newest job of a file or chapter; its programs end at once. Raises JobUnknown."""
        job = self._named(name)
        if job.state in ACTIVE:
            self._cancel(job)
        return job

    def _cancel(self, job: Job) -> None:
        self._opened_book().cancel(job.id)
        if cancelled := self._active.get(job.id):
            cancelled.set()

    def _named(self, name: str) -> Job:
        wanted = (name, Path(name).name)
        for job in self.jobs():
            if job.file in wanted or name in (job.id, job.chapter, Path(job.file).stem):
                return job
        raise JobUnknown(name)

    def wait(self, ids: Iterable[str], show: Callable[[list[Job]], None] = lambda _: None) -> list[Job]:
        """Wait until the jobs of `ids` have come to an end and return them; `show` is given them now and then."""
        wanted = list(ids)
        while True:
            jobs = self._opened_book().jobs(wanted) if wanted else []
            show(jobs)
            if not any(job.state in ACTIVE for job in jobs):
                return jobs
            if self._lock.held and not self._watching:
                self._adopt(jobs)
            time.sleep(LOOK_S)

    def _adopt(self, jobs: list[Job]) -> None:
        """Run named masters ourselves that a watching process had found before and left."""
        for job in jobs:
            if job.state in ACTIVE and job.queue == WATCHED:
                self._book.again(job, NAMED)

    def on_change(self, listener: Callable[[list[Job]], None]) -> None:
        """Have `listener` called with `jobs()` whenever they have changed, from a thread of ours, after `start`."""
        self._listeners.append(listener)

    def _opened_book(self) -> JobBook:
        with self._opening:
            if not self._is_open:
                self._book.open()
                self._is_open = True
        return self._book

    def close(self) -> None:
        """Close the book; for a process that has not called `start`."""
        with self._opening:
            if self._is_open:
                self._book.close()
                self._is_open = False

    # --- for the process that runs them ---------------------------------------------------------------------------

    def start(self) -> None:
        """Run jobs from now on, or stand by while another process does; raises ToolMissing."""
        find_tools()
        self._opened_book()
        self._run_if_free()
        self._threads = [threading.Thread(target=self._keep, name="jobs", daemon=True)]
        if self._watching:
            self._threads.append(threading.Thread(target=self._watch, name="watch", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop within a second or two; a job under way goes on at the next start, after its last finished stage."""
        global _runner  # noqa: PLW0603 - DBOS itself is one per process
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        end_s = time.monotonic() + STOP_S
        while self._active and time.monotonic() < end_s:
            time.sleep(0.02)
        if _runner is self:
            DBOS.destroy()
            _runner = None
        if not self._active:
            self._lock.release()
        self.close()

    def _run_if_free(self) -> None:
        global _runner  # noqa: PLW0603 - DBOS itself is one per process
        if _runner is not None or not self._lock.acquire():
            return
        _runner = self
        DBOS(
            config={
                "name": APPLICATION,
                "executor_id": EXECUTOR,
                "application_version": VERSION,
                "system_database_url": self._book.url,
                "log_level": "WARNING",
                "enable_otlp": False,
                "notification_listener_polling_interval_sec": 0.2,
            }
        )
        DBOS.listen_queues([WATCHED, NAMED] if self._watching else [NAMED])
        DBOS.launch()

    def _keep(self) -> None:
        """Take over when the runner has gone, and tell the listeners what has changed."""
        told: list[Job] = []
        while not self._stopping.wait(LOOK_S):
            try:
                self._run_if_free()
                if self._listeners and (jobs := self.jobs()) != told:
                    told = jobs
                    for listener in self._listeners:
                        listener(jobs)
            except Exception:
                _log.exception("The jobs could not be looked at; it is tried again.")

    def _watch(self) -> None:
        asyncio.run(self._watch_until_stopped())

    async def _watch_until_stopped(self) -> None:
        task = asyncio.create_task(self._submit_settled())
        while not self._stopping.is_set() and not task.done():
            await asyncio.sleep(0.1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _submit_settled(self) -> None:
        settings = self._settings
        async for master in settled_masters(settings.raw, settings.settle_s, settings.poll_s):
            try:
                await asyncio.to_thread(self.submit, master)
            except MasterMissing:
                pass
            except Exception:
                _log.exception("%r could not be entered.", master.name)

    def make(self, id: str, order: Order) -> None:
        """Bring one master through its stages, each of which is written down when it is finished.

        Raises JobFailed, Interrupted.
        """
        cancelled = self._active[id] = threading.Event()
        try:
            work = _Work(self._book, id, order, self._stopping.is_set, cancelled, state=self._settings.state)
            with self._planning.taken(order.submitted, work.check):
                plan = work.stage("plan", work.plan)
            if plan is not None:
                with self._encoding.taken(order.submitted, work.check):
                    work.finish(plan)
        finally:
            if self._active.get(id) is cancelled:
                del self._active[id]


class _Work:
    """One run of one job: its stages, and what the book is told of them."""

    def __init__(
        self,
        book: JobBook,
        id: str,
        order: Order,
        stopping: Callable[[], bool],
        cancelled: threading.Event,
        *,
        state: Path,
    ) -> None:
        self._book, self._id, self._order, self._state = book, id, order, state
        self._stopping, self._cancelled = stopping, cancelled
        self._looked_s = 0.0
        self._path, self._media = Path(order.path), Path(order.media)

    def stopped(self) -> bool:
        """Say whether the work must not go on; what another process has cancelled is seen within half a second."""
        if self._stopping() or self._cancelled.is_set():
            return True
        if time.monotonic() - self._looked_s > LOOK_S:
            self._looked_s = time.monotonic()
            if self._book.is_cancelled(self._id):
                self._cancelled.set()
        return self._cancelled.is_set()

    def check(self) -> None:
        if self.stopped():
            raise Interrupted

    def finish(self, plan: Plan) -> None:
        """Run all stages after the plan; what a failed or cancelled job has written is deleted."""
        try:
            for name in STAGES:
                do: Callable[[Plan], None] = getattr(self, f"_{name}")
                self.stage(name, lambda do=do: do(plan))  # type: ignore[misc]
        except (JobFailed, Interrupted):
            if not self._stopping():
                shutil.rmtree(plan.folder(self._media), ignore_errors=True)
                with suppress(OSError):
                    (self._media / plan.chapter).rmdir()
            raise

    def stage(self, name: str, do: Callable[[], T]) -> T:
        """Run a stage, or take what an earlier run of this job has written down for it; raises JobFailed."""
        self.check()
        return DBOS.run_step({"name": name}, self._run, name, do)

    def _run(self, name: str, do: Callable[[], T]) -> T:
        self._book.note(self._id, stage=name)
        try:
            return do()
        except ToolCancelled:
            raise Interrupted from None
        except Exception as error:
            if not isinstance(error, EncoderError | LipsyncError):
                _log.exception("%s failed unexpectedly.", name)
            refused = name == "plan" and isinstance(error, EncoderError)
            self._book.note(self._id, **_facts(error), refused=refused, fps=None, eta_s=None)
            raise JobFailed(str(error)) from None

    def plan(self) -> Plan | None:
        """Decide what is to be done; None if exactly this content is published already."""
        if self._order.settle_s:
            check_settled(self._path, self._order.settle_s)
        plan = stages.plan(self._path, find_tools(), self.stopped)
        self._book.note(self._id, chapter=plan.chapter, version=plan.version)
        if stages.is_published(plan, self._media):
            self._book.note(self._id, percent=100)
            return None
        return plan

    def _encode(self, plan: Plan) -> None:
        if stages.is_finished(plan, self._media):
            return
        self._check_unchanged()
        stages.encode(plan, self._media, find_tools(), self._progress, self.stopped)
        self._check_unchanged()
        self._book.note(self._id, percent=100, fps=None, eta_s=None)

    def _check_unchanged(self) -> None:
        if _content(self._path, self._media) != self._id:
            raise MasterChanged(self._path)

    def _progress(self, progress: Progress) -> None:
        eta_s = None if progress.eta_s is None else round(progress.eta_s)
        self._book.note(self._id, percent=round(progress.percent, 1), fps=round(progress.fps, 1), eta_s=eta_s)

    def _assemble(self, plan: Plan) -> None:
        if not stages.is_finished(plan, self._media):
            stages.assemble(plan, self._media, find_tools())

    def _bake(self, plan: Plan) -> None:
        """Analyse each slot's speech once, for all viewers."""
        if stages.is_finished(plan, self._media):
            return
        from lipsync.narration import bake  # noqa: PLC0415 - a process that only lists jobs needs no speech analysis

        folder, grid = plan.folder(self._media), plan.ladder.grid
        for slot, _ in plan.slots:
            window = grid.frames_within(slot.start_s, slot.duration_s)
            early = slot.start_s * grid.rate - window.start
            bake(folder / slot.narration, grid.rate, len(window), early).save(folder / slot.track)

    def _verify(self, plan: Plan) -> None:
        if not stages.is_finished(plan, self._media):
            stages.verify(plan, self._media, find_tools(), self.stopped)

    def _publish(self, plan: Plan) -> None:
        stages.publish_version(plan, self._media, pinned_versions(self._state, plan.chapter))


def _content(master: Path, media: Path) -> str:
    """Name what lies in the folder now, without reading it: the same name is the same work."""
    seen = (os.fsencode(master), os.fsencode(media), stages.RECIPE, stamp_of(master))
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
