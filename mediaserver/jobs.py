"""The editors' jobs: each master goes through its stages as one durable workflow (docs/decisions/0007-jobs.md).

One process per state folder runs them; a lock that the kernel releases when that process ends, however it ends, says
which. Other processes write into the same book and wait, and one of them takes over when the lock becomes free.
With PostgreSQL every process runs jobs, and the living take over those of the dead.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import sqlalchemy.exc
from dbos import DBOS

from encoder import publish
from encoder.errors import MasterMissing
from encoder.stages import Plan
from encoder.tools import find_tools
from encoder.watch import settled_masters
from mediaserver.errors import JobUnknown
from mediaserver.heartbeat import Heartbeat
from mediaserver.jobbook import (
    ACTIVE,
    APPLICATION,
    NAMED,
    VERSION,
    WATCHED,
    WORKFLOW,
    Job,
    JobBook,
    Order,
    latest,
    now,
    placed,
)
from mediaserver.jobhooks import JobHooks
from mediaserver.jobwork import Work, choices_of, content_of
from mediaserver.runnerlock import RunnerLock
from mediaserver.settings import Settings
from mediaserver.turn import Turn

# The lock allows one runner per book, so the next one finds under the same name what it has to go on with.
EXECUTOR = "editors"
LOOK_S, STOP_S, LIVE_S = 0.5, 5.0, 2.0
RECOVERIES = 20
_log = logging.getLogger("dbos.jobs")
_runner: Jobs | None = None


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
        self._book = JobBook(settings.state, settings.jobs_database)
        self._opening, self._is_open = threading.Lock(), False
        self._lock: RunnerLock | Heartbeat = RunnerLock(settings.state / "jobs.lock")
        self._heart: Heartbeat | None = None
        if settings.jobs_database:
            self._lock = self._heart = Heartbeat(self._book.url, settings.jobs_silent_s)
        # Counts how often we were taken for dead; what was begun before is somebody else's.
        self._lives = 0
        self._planning, self._encoding = Turn(), Turn()
        self._stopping = threading.Event()
        self._active: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []
        self._listeners: list[Callable[[list[Job]], None]] = []
        self._hooks = JobHooks(settings, self._book.note_told)

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
            jobs = [replace(job, state="queued", eta_s=None) if job.state in ACTIVE else job for job in jobs]
        return placed(jobs)

    def submit(self, master: Path, *, named: bool = False) -> str:
        """Enter a master and return its job's id; the same content is the same job.

        A named one is looked at again even if its job has come to an end, and so is a refused one, since the reason may
        have gone. An older job of the same file that still waits or runs is cancelled. Raises MasterMissing.
        """
        master = master.absolute()
        if not master.is_file():
            raise MasterMissing(master)
        choices = choices_of(self._settings)
        job_id = content_of(master, self._media, choices)
        queue, book = NAMED if named else WATCHED, self._opened_book()
        jobs = [job for job in book.jobs() if job.path == str(master)]
        known = next((job for job in jobs if job.id == job_id), None)
        if known is None:
            settle_s = self._settings.settle_s if named else 0
            book.enter(job_id, Order(str(master), str(self._media), settle_s, now(), asdict(choices)), queue)
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
            left = job.state == "queued" if self._heart else job.state in ACTIVE
            if left and job.queue == WATCHED:
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
            if self._heart:
                self._heart.release()
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
        if self._heart:
            self._threads.append(threading.Thread(target=self._live, name="heartbeat", daemon=True))
        if self._watching:
            self._threads.append(threading.Thread(target=self._watch, name="watch", daemon=True))
        self._hooks.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop within a second or two; a job under way goes on at the next start, after its last finished stage."""
        global _runner  # noqa: PLW0603 - DBOS itself is one per process
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        with suppress(sqlalchemy.exc.SQLAlchemyError):
            self._tell_hooks()
        self._hooks.stop()
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
        self._renew()
        DBOS(
            config={
                "name": APPLICATION,
                "executor_id": self._heart.name if self._heart else EXECUTOR,
                "application_version": VERSION,
                "system_database_url": self._book.url,
                "log_level": "WARNING",
                "enable_otlp": False,
                "notification_listener_polling_interval_sec": 0.2,
            }
        )
        DBOS.listen_queues([WATCHED, NAMED] if self._watching else [NAMED])
        DBOS.launch()

    def _renew(self) -> None:
        """What another version of this program has begun and left begins anew; with PostgreSQL it may still live."""
        if self._heart is None:
            self._begin_anew(self._book.left_by_others())
            return
        with self._heart.inheritance() as living:
            if living is not None:
                self._begin_anew(self._book.left_by_others(living))

    def _begin_anew(self, left: list[Job]) -> None:
        for job in left:
            path, queue = Path(job.path), job.queue or WATCHED
            # Another version may name the same work otherwise.
            if content_of(path, self._media, choices_of(self._settings)) == job.id:
                self._book.again(job, queue)
                continue
            with suppress(MasterMissing):
                self.submit(path, named=queue == NAMED)

    def _keep(self) -> None:
        """Take over when the runner has gone, and tell listeners and hooks what has changed."""
        told: list[Job] = []
        while not self._stopping.wait(LOOK_S):
            try:
                self._run_if_free()
                self._tell_hooks()
                if self._listeners and (jobs := self.jobs()) != told:
                    told = jobs
                    for listener in self._listeners:
                        listener(jobs)
            except Exception:
                _log.exception("The jobs could not be looked at; it is tried again.")

    def _tell_hooks(self) -> None:
        """Of all processes that look at the jobs one tells: the runner, or the first of the living."""
        if self._hooks.wanted and self._lock.held and (self._heart is None or self._heart.leads()):
            self._hooks.look(self.jobs())

    def _live(self) -> None:
        """Keep our row fresh, and take over the jobs of those whose row is not."""
        heart, every_s = self._heart, min(LIVE_S, self._settings.jobs_silent_s / 4)
        assert heart is not None
        while not self._stopping.wait(every_s):
            try:
                if not heart.beat():
                    self._lives += 1
                    heart.acquire()
                with heart.inheritance() as living:
                    if living is not None and (taken := self._book.take_over(living)):
                        _log.warning("Taken over from a process that is silent: %s", ", ".join(taken))
            except Exception:
                _log.exception("The database of the jobs does not answer; it is tried again.")

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
            life = self._lives
            work = Work(
                *(self._book, id, order, self._settings),
                stopping=lambda: self._stopping.is_set() or self._lives != life,
                cancelled=cancelled,
            )
            with self._planning.taken(order.submitted, work.check):
                plan = work.stage("plan", work.plan)
            if plan is not None:
                with work.tidy(plan):
                    work.reuse(plan)
                    self._finish(work, plan, order.submitted)
        finally:
            if self._active.get(id) is cancelled:
                del self._active[id]

    def _finish(self, work: Work, plan: Plan, ticket: str) -> None:
        """Do the rest in turn; one that waits for room on the disk lets others go before it."""
        while True:
            work.room.wait_for(plan, work.check)
            with self._encoding.taken(ticket, work.wait):
                if work.room.has(plan):
                    work.finish(plan)
                    return
