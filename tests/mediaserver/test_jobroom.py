"""Jobs and the room on the disk: they wait for it, stand still while there is none, and go on by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from encoder import stages
from encoder.errors import ToolFailed
from mediaserver import jobroom
from tests.mediaserver.room import Room, encoder_of, state_of, until

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Set how many bytes are free."""
    free = [10**12]
    monkeypatch.setattr(jobroom, "free_bytes", lambda _: free[0])
    yield lambda number: free.__setitem__(0, number)
    free[0] = 10**12


def test_a_job_waits_for_room_before_it_begins_and_goes_on_by_itself(
    room: Room, film: Path, disk: Callable[[int], None], encodes: list[str]
):
    disk(500_000_000)
    room.drop(film, "part2.mov")
    with room.running() as jobs:
        job = until(jobs, part2="paused")["part2.mov"]
        assert job["sentence"] == "It waits for room on the disk: 0.5 GB are free, 0.5 GB are needed."
        assert "by itself" in job["hint"]
        assert encodes == []
        disk(10**12)
        job = until(jobs, part2="published")["part2.mov"]
    assert (job["sentence"], job["hint"]) == (None, None)


def test_a_paused_job_can_be_cancelled(room: Room, film: Path, disk: Callable[[int], None]):
    disk(0)
    room.drop(film, "part2.mov")
    with room.running() as jobs:
        until(jobs, part2="paused")
        jobs.cancel("part2")
        until(jobs, part2="cancelled")


def test_an_encode_stands_still_while_the_disk_is_full(room: Room, long_film: Path, disk: Callable[[int], None]):
    room.drop(long_film, "part2.mov")
    with room.running() as jobs:
        encoder_of(jobs, "part2.mov")
        disk(400_000_000)
        until(jobs, part2="paused")
        pid = encoder_of(jobs, "part2.mov")
        while state_of(pid) != "T":
            time.sleep(0.01)
        disk(10**12)
        until(jobs, part2="running")
        while state_of(pid) == "T":
            time.sleep(0.01)
        jobs.cancel("part2")


def test_a_disk_that_fills_up_under_the_encoder_is_waited_for(
    room: Room, film: Path, disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
):
    encode, failed = stages.encode_sound, []

    def full(*what: Any) -> None:
        if not failed:
            failed.append(what)
            disk(0)
            raise ToolFailed(("ffmpeg",), 1, "av_interleaved_write_frame(): No space left on device")
        encode(*what)

    monkeypatch.setattr(stages, "encode_sound", full)
    room.drop(film, "part2.mov")
    with room.running() as jobs:
        until(jobs, part2="paused")
        disk(10**12)
        until(jobs, part2="published")
