"""The book of the jobs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mediaserver import jobbook
from mediaserver.errors import JobBookUnreadable
from mediaserver.jobbook import STAGES, VERSION, Job, placed
from mediaserver.jobs import Jobs
from mediaserver.jobwork import Work
from tests.mediaserver.room import Room, until

pytestmark = pytest.mark.usefixtures("impatient")


def test_a_book_that_is_none_is_said_to_be_none(room: Room):
    room.settings.state.mkdir()
    (room.settings.state / "jobs.sqlite").write_text("no book " * 100)
    jobs = Jobs(room.settings)
    with pytest.raises(JobBookUnreadable, match="file is not a database") as caught:
        jobs.start()
    assert "what is published stays" in caught.value.hint


def test_jobs_that_wait_are_numbered_in_the_order_in_which_they_came():
    def job(id: str, state: str) -> Job:
        return Job(id, f"{id}.mov", f"/raw/{id}.mov", state, f"2026-01-0{id}", "", "watched")

    jobs = [job("4", "queued"), job("3", "published"), job("2", "queued"), job("1", "running")]
    assert [(job.id, job.place) for job in placed(jobs)] == [("4", 2), ("3", None), ("2", 1), ("1", None)]


def test_the_version_of_a_job_follows_its_steps(monkeypatch: pytest.MonkeyPatch):
    assert set(STAGES) - {"plan", "reuse", "encode"} <= {name.lstrip("_") for name in vars(Work)}
    assert hashlib.sha256(repr(STAGES).encode()).hexdigest()[:8] == VERSION


def test_what_a_program_with_other_steps_has_left_begins_anew(
    room: Room, film: Path, monkeypatch: pytest.MonkeyPatch, encodes: list[str]
):
    master = room.drop(film, "part2.mov")
    with monkeypatch.context() as older:
        older.setattr(jobbook, "VERSION", "0")
        jobs = Jobs(room.settings, watching=False)
        jobs.submit(master, named=True)
        jobs.close()
    with room.running() as jobs:
        until(jobs, part2="published")
    assert encodes == ["part2.mov"]
