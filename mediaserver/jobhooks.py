"""Tells others of the editors' jobs: an address, a command, or both are given every change of state as JSON."""

from __future__ import annotations

import json
import logging
import queue
import shlex
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any
from urllib.request import HTTPRedirectHandler, Request, build_opener

from encoder.errors import EncoderError
from encoder.guard import Care
from encoder.tools import run_tool
from mediaserver.jobbook import ACTIVE, Job
from mediaserver.settings import Settings

TRIES, PAUSE_S = 3, 2.0
# More than that is not remembered; what is left out now is found again at the next look.
WAITING = 200
# What came to an end before that, while nobody ran who could have told, is no news.
NEWS = timedelta(days=1)
_log = logging.getLogger("dbos.hooks")


class JobHooks:
    """One thread of its own delivers, so that no job ever waits for whoever listens.

    Each change is tried three times and then given up; `told` is called with a job's id and mark when that is over.
    """

    def __init__(self, settings: Settings, told: Callable[[str, str], None]) -> None:
        self._address, self._command = settings.job_webhook, shlex.split(settings.job_command)
        self._timeout_s, self._told = settings.job_hook_timeout_s, told
        self._seen: dict[str, str] = {}
        self._waiting: queue.Queue[Job | None] = queue.Queue(WAITING)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._deliver_all, name="hooks", daemon=True)

    @property
    def wanted(self) -> bool:
        return bool(self._address or self._command)

    def start(self) -> None:
        if self.wanted:
            self._thread.start()

    def look(self, jobs: list[Job]) -> None:
        """Take the jobs as they are now, newest first; never blocks."""
        for job in reversed(jobs):
            if mark(job) in (job.told, self._seen.get(job.id)) or _is_old(job):
                continue
            try:
                self._waiting.put_nowait(job)
            except queue.Full:
                return
            self._seen[job.id] = mark(job)

    def stop(self) -> None:
        """Deliver what is waiting, within one time-out; what is left is told at the next start."""
        if not self._thread.is_alive():
            return
        late = threading.Timer(self._timeout_s, self._stopping.set)
        late.start()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(2 * self._timeout_s)
        late.cancel()
        self._stopping.set()

    def _deliver_all(self) -> None:
        while not self._stopping.is_set() and (job := self._waiting.get()):
            body = json.dumps({"event": "job", "job": job.to_json()}, ensure_ascii=False).encode()
            if self._address:
                self._try(job, lambda body=body: self._post(body))  # type: ignore[misc]
            if self._command:
                self._try(job, lambda body=body: self._run(body))  # type: ignore[misc]
            if not self._stopping.is_set():
                self._told(job.id, mark(job))

    def _try(self, job: Job, deliver: Callable[[], None]) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                deliver()
            except (OSError, HTTPException, EncoderError) as error:
                _log.warning("%s, %s: a hook was not reached at the %d. try: %s", job.file, job.state, attempt, error)
                if attempt < TRIES and self._stopping.wait(PAUSE_S * attempt):
                    return
            else:
                return

    def _post(self, body: bytes) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "mediaserver"}
        request = Request(self._address, body, headers, method="POST")  # noqa: S310 - settings take http and https only
        with build_opener(_NoRedirect).open(request, timeout=self._timeout_s) as answer:
            answer.read(1)

    def _run(self, body: bytes) -> None:
        care = Care(cancelled=self._stopping.is_set, timeout_s=self._timeout_s)
        run_tool(self._command, care=care, given=body)


class _NoRedirect(HTTPRedirectHandler):
    """What is told of jobs goes where the operator said, and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def mark(job: Job) -> str:
    """Return what tells this change from every other one of the same job."""
    return f"{job.state} {job.submitted}"


def _is_old(job: Job) -> bool:
    if job.state in ACTIVE or not job.updated:
        return False
    return datetime.now(UTC) - datetime.fromisoformat(job.updated) > NEWS
