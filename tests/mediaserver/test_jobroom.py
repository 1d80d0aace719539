"""Jobs and the room on the disk: they wait for it, stand still while there is none, and go on by themselves."""

from __future__ import annotations

import errno
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from encoder import stages
from encoder.disk import free_bytes
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


@dataclass
class SmallDisk:
    """A disk of 24 MB of its own below media/: of tmpfs where we may mount one, else one that only says it is full."""

    room: Room
    monkeypatch: pytest.MonkeyPatch
    is_real: bool

    @property
    def _filler(self) -> Path:
        return self.room.settings.media / "filler.bin"

    def fill(self) -> None:
        if not self.is_real:
            self.monkeypatch.setattr(jobroom, "free_bytes", lambda _: 0)
            return
        with suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def clear(self) -> None:
        self.monkeypatch.setattr(jobroom, "free_bytes", free_bytes)
        self._filler.unlink(missing_ok=True)

    def refuse(self) -> None:
        """What the kernel does when a real disk is full."""
        if not self.is_real:
            raise OSError(errno.ENOSPC, "No space left on device (simulated)")


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallDisk]:
    room = Room.below(tmp_path, disk_floor_mb=0, av1=False)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(room.settings.media)], capture_output=True
    )
    try:
        yield SmallDisk(room, monkeypatch, is_real=mounted.returncode == 0)
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(room.settings.media)], check=True)


@pytest.mark.parametrize("stage", ["encode_chunk", "encode_sound", "assemble"])
def test_a_disk_that_is_full_pauses_every_stage_that_writes_and_fails_none(
    small_disk: SmallDisk, film: Path, stage: str, monkeypatch: pytest.MonkeyPatch
):
    room, do, tries = small_disk.room, getattr(stages, stage), []

    def fills(*what: Any, **how: Any) -> Any:
        tries.append(stage)
        if len(tries) == 1:
            small_disk.fill()
            small_disk.refuse()
        return do(*what, **how)

    monkeypatch.setattr(stages, stage, fills)
    room.drop(film, "part2.mov")
    with room.running() as jobs:
        job = until(jobs, part2="paused")["part2.mov"]
        assert "0.0 GB are free" in job["sentence"]
        small_disk.clear()
        job = until(jobs, part2="published")["part2.mov"]
    assert len(tries) == 2
    assert job["sentence"] is None
    assert room.leftovers() == []
