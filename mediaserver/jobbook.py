"""The book of the editors' jobs: what is written in DBOS's tables, read and changed from any process."""

from __future__ import annotations

import hashlib
import logging
import logging.handlers
import os
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy
import sqlalchemy.exc
from dbos import DBOS, DBOSClient, WorkflowStatus

from mediaserver.errors import JobBookUnreadable

APPLICATION, WORKFLOW = "mediaserver", "chapter"
# The steps of a job in their order; "encode" is one for every piece of the picture.
STAGES = ("plan", "reuse", "encode", "sound", "slots", "assemble", "bake", "verify", "publish")
# What was begun with other steps cannot go on with these: it begins anew.
VERSION = hashlib.sha256(repr(STAGES).encode()).hexdigest()[:8]
# Masters that were found in raw/, and those that were named on the command line.
WATCHED, NAMED = "watched", "named"
ACTIVE = frozenset({"queued", "running", "paused"})
LOG_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: absolute paths of the master and of the media folder.

    `settle_s` is for how long the master must not have changed; 0 if whoever found it has waited for that.
    `submitted` is the time in ISO 8601, UTC. `choices` are the Choices of whoever orders.
    """

    path: str
    media: str
    settle_s: float
    submitted: str
    choices: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The master's name, fit to be printed whatever bytes it has."""
        return os.fsencode(Path(self.path).name).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the book: an order and how far it has come.

    `place` is its place among those that wait, from 1. `rungs` has the percent of every rung by its rendition.
    `commands` are the last ones that were run, as a shell would take them; `command` is the one that failed, and
    `stderr_tail` what the last program that complained has said. `notes` are sentences on what the chapter has
    otherwise than its master; `told` is the change that hooks were told of last.
    """

    id: str
    file: str
    path: str
    state: str
    submitted: str
    updated: str
    queue: str | None
    chapter: str | None = None
    version: str | None = None
    stage: str | None = None
    percent: float | None = None
    fps: float | None = None
    eta_s: float | None = None
    code: str | None = None
    sentence: str | None = None
    hint: str | None = None
    command: list[str] | None = None
    stderr_tail: str | None = None
    notes: list[str] | None = None
    rungs: dict[str, float] | None = None
    commands: list[str] | None = None
    told: str | None = None
    place: int | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"name": self.file}


_NOTED = (
    *("chapter", "version", "stage", "percent", "fps", "eta_s", "code", "sentence", "hint", "command", "stderr_tail"),
    *("notes", "rungs", "commands", "told"),
)


class JobBook:
    """Opens `state/jobs.sqlite`, or the PostgreSQL `database`, an address with postgresql://.

    Every method may block, and may be called from any thread and process.
    """

    def __init__(self, state: Path, database: str = "") -> None:
        self._database = database.replace("postgresql://", "postgresql+psycopg://", 1)
        self._file = state.absolute() / "jobs.sqlite"
        self._log = logging.handlers.RotatingFileHandler(
            state.absolute() / "jobs.log", maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8", delay=True
        )
        self._client: DBOSClient | None = None

    @property
    def url(self) -> str:
        return self._database or sqlalchemy.URL.create("sqlite", database=str(self._file)).render_as_string()

    @property
    def exists(self) -> bool:
        """Whether anything can have been written; a database is taken to be there."""
        return bool(self._database) or self._file.exists()

    def open(self) -> None:
        """Make or upgrade the tables, and name the queues; nothing of the engine reaches the terminal from here on.

        Raises JobBookUnreadable.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._quieten()
        # Readers and the one writer do not wait for each other in this mode, which the file keeps.
        try:
            if not self._database:
                with closing(sqlite3.connect(self._file)) as plain:
                    plain.execute("PRAGMA journal_mode=WAL")
            DBOS.migrate(self.url)
        except (sqlite3.Error, sqlalchemy.exc.DatabaseError) as error:
            where = Path("jobs_database") if self._database else self._file
            raise JobBookUnreadable(where, str(getattr(error, "orig", error))) from error
        self._client = DBOSClient(system_database_url=self.url, application_name=APPLICATION)
        for queue in (WATCHED, NAMED):
            # One machine looks at many masters at once, of which it encodes one; of many machines none hoards them.
            share = 2 if self._database else 16
            self._client.register_queue(queue, worker_concurrency=share, polling_interval_sec=0.2)

    def _quieten(self) -> None:
        logger = logging.getLogger("dbos")
        self._log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.handlers[:] = [self._log]
        logger.propagate = False
        logger.setLevel(logging.WARNING)

    def close(self) -> None:
        if self._client:
            self._client.destroy()
            self._client = None
        # what the engine's threads say after this would open the file again
        logger = logging.getLogger("dbos")
        logger.handlers[:] = [logging.NullHandler() if old is self._log else old for old in logger.handlers]
        self._log.close()

    @property
    def _open(self) -> DBOSClient:
        assert self._client is not None, "open() comes first"
        return self._client

    def enter(self, id: str, order: Order, queue: str) -> None:
        """Write a new job; one that is in the book already stays as it is."""
        self._open.enqueue(
            {
                "workflow_name": WORKFLOW,
                "workflow_id": id,
                "queue_name": queue,
                "app_version": VERSION,
                "attributes": {
                    "file": order.file,
                    "path": order.path,
                    "submitted": order.submitted,
                    "updated": order.submitted,
                },
            },
            asdict(order),
        )

    def again(self, job: Job, queue: str) -> None:
        """Start a job from its first stage: one that has come to an end, or one that waits where nobody looks."""
        first = {"file": job.file, "path": job.path, "submitted": now(), "updated": now()}
        self._open.update_workflow_attributes(job.id, first)
        if job.state in ACTIVE:
            self._open.resume_workflow(job.id, queue_name=queue)
        else:
            self._open.rewind_workflow(job.id, queue_name=queue, application_version=VERSION)

    def note(self, id: str, **facts: Any) -> None:
        """Write how far a job has come."""
        self._open.update_workflow_attributes(id, {**facts, "updated": now()}, merge=True)

    def note_told(self, id: str, mark: str) -> None:
        """Write of which change hooks have been told."""
        self._open.update_workflow_attributes(id, {"told": mark}, merge=True)

    def cancel(self, id: str) -> None:
        self._open.cancel_workflow(id)

    def is_cancelled(self, id: str) -> bool:
        rows = self._open.list_workflows(workflow_ids=[id], load_input=False, load_output=False)
        return bool(rows) and rows[0].status == "CANCELLED"

    def take_over(self, living: Collection[str]) -> list[str]:
        """Give every job that a process which is not among the living had begun back to its queue; return their ids."""
        rows = self._open.list_workflows(status="PENDING", name=WORKFLOW, load_input=False, load_output=False)
        orphans = [row for row in rows if row.executor_id not in living]
        for row in orphans:
            self._open.resume_workflow(row.workflow_id, queue_name=row.queue_name)
        return [row.workflow_id for row in orphans]

    def left_by_others(self, living: Collection[str] = ()) -> list[Job]:
        """Cancel and return the jobs that another version of this program has left: nobody would go on with them."""
        rows = self._open.list_workflows(
            status=["PENDING", "ENQUEUED", "DELAYED"], name=WORKFLOW, load_input=False, load_output=False
        )
        left = [r for r in rows if r.app_version != VERSION and (r.status != "PENDING" or r.executor_id not in living)]
        for row in left:
            self._open.cancel_workflow(row.workflow_id)
        return [replace(_job(row), state="cancelled") for row in left]

    def jobs(self, ids: Iterable[str] | None = None) -> list[Job]:
        """Return all jobs, or those of `ids`, newest first."""
        rows = self._open.list_workflows(
            workflow_ids=None if ids is None else list(ids), name=WORKFLOW, load_input=False, load_output=False
        )
        return sorted(map(_job, rows), key=lambda job: job.submitted, reverse=True)


def latest(jobs: Iterable[Job]) -> list[Job]:
    """Keep the newest job of every master; `jobs` come newest first."""
    kept: dict[str, Job] = {}
    for job in jobs:
        kept.setdefault(job.path, job)
    return list(kept.values())


def placed(jobs: Iterable[Job]) -> list[Job]:
    """Number the jobs that wait in the order in which they will be begun."""
    jobs = list(jobs)
    waiting = sorted((job for job in jobs if job.state == "queued"), key=lambda job: job.submitted)
    places = {job.id: place for place, job in enumerate(waiting, 1)}
    return [replace(job, place=places.get(job.id)) for job in jobs]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _job(row: WorkflowStatus) -> Job:
    noted: Mapping[str, Any] = row.attributes or {}
    return Job(
        row.workflow_id,
        noted.get("file", row.workflow_id),
        noted.get("path", row.workflow_id),
        _state(row.status, noted),
        noted.get("submitted", ""),
        noted.get("updated", ""),
        row.queue_name,
        **{key: noted.get(key) for key in _NOTED},
    )


def _state(status: str, noted: Mapping[str, Any]) -> str:
    """Return the editors' word: queued, running, paused, refused, failed, cancelled or published."""
    if status == "PENDING":
        if noted.get("paused"):
            return "paused"
        return "running" if noted.get("stage") else "queued"
    words = {"ENQUEUED": "queued", "DELAYED": "queued", "SUCCESS": "published", "CANCELLED": "cancelled"}
    return words.get(status) or ("refused" if noted.get("refused") else "failed")
