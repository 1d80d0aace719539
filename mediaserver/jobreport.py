"""What the terminal says of the editors' jobs: a line for every change of state, a bar while one is encoded."""

from __future__ import annotations

import shlex

from mediaserver.jobbook import Job
from mediaserver.progress import Progress

TAIL_LINES = 5
_DOING = {
    "plan": "is looked at",
    "reuse": "is compared with earlier versions",
    "encode": "is encoded",
    "sound": "its sound is encoded",
    "slots": "its slots are prepared",
    "assemble": "is packaged",
    "bake": "its narrations are analysed",
    "verify": "is verified",
    "publish": "is published",
}


class JobReport:
    """Say what has changed since the last call; in JSON form every line carries the whole job."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told: dict[str, str] = {}
        self._bars: dict[str, Job] = {}

    def show(self, jobs: list[Job]) -> None:
        """Take the jobs as `Jobs.wait` and `Jobs.on_change` give them, newest first."""
        for job in reversed(jobs):
            if self._told.get(job.id) != job.state:
                self._told[job.id] = job.state
                self._progress.say(line(job), job=job.to_json())
            if job.state == "running" and self._bars.get(job.id) != job:
                self._bars[job.id] = job
                self._progress.update(doing(job), job.percent or 0.0, job.eta_s, job=job.to_json())
        if not any(job.state == "running" for job in jobs):
            self._progress.done()


def line(job: Job) -> str:
    """Return the sentence for a state that a job has just reached."""
    if job.state == "published":
        return "\n  ".join([f"{job.file} is published as the chapter {job.chapter}.", *(job.notes or ())])
    if job.state in ("refused", "failed"):
        return f"{job.file} {'is refused' if job.state == 'refused' else 'has failed'}: {job.sentence}\n  {job.hint}"
    if job.state == "paused":
        return f"{job.file} is paused. {job.sentence}\n  {job.hint}"
    if job.state == "queued":
        place = f", number {job.place} in the queue" if job.place else ""
        return f"{job.file} waits for its turn{place}."
    return f"{job.file} is {job.state}."


def doing(job: Job) -> str:
    """Return what a running job does now, with the speed in pictures per second while there is one."""
    speed = f" at {job.fps:.0f} pictures/s" if job.fps else ""
    return f"{job.file} {_DOING.get(job.stage or '', 'is running')}{speed}"


def details(job: Job) -> list[str]:
    """Return what is worth knowing of a job beyond its line: each rung, the failed command, the end of its output."""
    lines = [f"  {name}  {percent:.0f} %" for name, percent in (job.rungs or {}).items() if job.state == "running"]
    if job.command:
        lines.append(f"  command: {shlex.join(job.command)}")
    elif job.commands and job.state in ("running", "paused"):
        lines.append(f"  command: {job.commands[-1]}")
    tail = (job.stderr_tail or "").strip().splitlines()[-TAIL_LINES:]
    return [*lines, *(f"  | {told}" for told in tail)]
