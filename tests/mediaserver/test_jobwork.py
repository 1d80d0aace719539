"""One run of one job: what becomes of stages that fail, hang or lose their master, and what the book is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from encoder import stages
from encoder.chunk import Chunk
from encoder.errors import ToolCancelled, ToolFailed
from encoder.guard import Care
from encoder.tools import find_tools
from mediaserver.precedence import viewers_lock
from tests.masters import make_master
from tests.mediaserver.room import Room, encoder_of, state_of, until

pytestmark = pytest.mark.usefixtures("impatient")


def test_a_failure_keeps_the_exact_command_and_retry_makes_it_good(
    room: Room, film: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: Any) -> None:
        raise ToolFailed(("/bin/ffmpeg", "-i", "x"), 1, "line\nNo space left on device")

    room.drop(film, "part2.mov")
    with monkeypatch.context() as patched, room.running() as jobs:
        patched.setattr(stages, "assemble", fail)
        job = until(jobs, part2="failed")["part2.mov"]
        assert (job["stage"], job["command"]) == ("assemble", ["/bin/ffmpeg", "-i", "x"])
        assert job["stderr_tail"].endswith("No space left on device")
        assert job["sentence"] == "ffmpeg failed with status 1: No space left on device"
        assert list(room.settings.media.iterdir()) == []
        patched.undo()
        jobs.retry("part2")
        job = until(jobs, part2="published")["part2.mov"]
        assert (job["command"], job["sentence"]) == (None, None)


def test_a_fault_of_ours_fails_one_job_in_words(room: Room, film: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stages, "verify", lambda *_: {}["key"])
    room.drop(film, "part2.mov")
    with room.running() as jobs:
        job = until(jobs, part2="failed")["part2.mov"]
    assert (job["code"], job["command"]) == ("unexpected", None)
    assert "KeyError" in (room.settings.state / "jobs.log").read_text("utf-8")


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Put an ffmpeg in front of the real one that hangs, its clock going on, the given number of encodes."""

    def put(times: int) -> Path:
        real, cache = find_tools(), tmp_path / "cache" / "bin"
        cache.mkdir(parents=True)
        count = tmp_path / "hung"
        count.touch()
        script = f"""#!/bin/sh
case "$*" in *video_180p*frames_*|*frames_*video_180p*)
  if [ "$(wc -l < {count})" -lt {times} ]; then
    echo "$$" >> {count}
    while :; do echo frame=3; echo speed=$(date +%N); echo progress=continue; sleep 0.1; done
  fi;;
esac
exec {real.ffmpeg} "$@"
"""
        (cache / "ffmpeg").write_text(script)
        (cache / "ffmpeg").chmod(0o755)
        for name in ("ffprobe", "packager"):
            (cache / name).symlink_to(getattr(real, name))
        monkeypatch.setenv("MEDIASERVER_CACHE", str(cache.parent))
        return count

    return put


def test_a_hung_encoder_is_killed_and_tried_again(room: Room, film: Path, hanging: Callable[[int], Path]):
    count = hanging(1)
    room = Room(replace(room.settings, encoder_stall_s=0.6))
    room.drop(film, "part2.mov")
    with room.running() as jobs:
        until(jobs, part2="published")
    (pid,) = count.read_text().split()
    assert not Path(f"/proc/{pid}").exists()


def test_an_encoder_that_hangs_twice_fails_with_the_reason_and_others_go_on(
    room: Room, film: Path, hanging: Callable[[int], Path]
):
    count = hanging(2)
    room = Room(replace(room.settings, encoder_stall_s=0.6))
    room.drop(film, "part1.mov")
    with room.running() as jobs:
        job = until(jobs, part1="failed")["part1.mov"]
        room.drop(film, "part2.mov")
        until(jobs, part2="published")
    assert (job["code"], job["sentence"]) == ("tool_stalled", "ffmpeg made no progress for 0.6 s and was stopped.")
    assert "video_180p_h264.mp4" in " ".join(job["command"])
    assert len(count.read_text().split()) == 2


def test_an_encode_stands_still_while_a_scene_is_made_for_a_viewer(room: Room, long_film: Path):
    room.drop(long_film, "part2.mov")
    viewers = viewers_lock(room.settings.state)
    with room.running() as jobs:
        pid = encoder_of(jobs, "part2.mov")
        viewers.acquire()
        while state_of(pid) != "T":
            time.sleep(0.01)
        viewers.release()
        while state_of(pid) == "T":
            time.sleep(0.01)
        jobs.cancel("part2")


@pytest.fixture
def pieces(tmp_path: Path) -> Path:
    """A master of three pieces of 4 s."""
    return make_master(tmp_path / "pieces.mov", size="160x90", frames=300, channels=0)


def test_pieces_are_encoded_at_the_same_time_and_the_book_tells_of_every_rung(
    tmp_path: Path, pieces: Path, monkeypatch: pytest.MonkeyPatch
):
    together, encode = threading.Barrier(3), stages.encode_chunk

    def meeting(*what: Any, **how: Any) -> None:
        together.wait()
        encode(*what, **how)

    monkeypatch.setattr(stages, "encode_chunk", meeting)
    room = Room.below(tmp_path, chunk_s=4.0, encoders=3)
    room.drop(pieces, "part2.mov")
    with room.running() as jobs:
        job = until(jobs, part2="published")["part2.mov"]
    assert room.presentation("part2").grid.frames == 300
    assert job["rungs"] == {"video_90p_h264": 100, "video_90p_av1": 100, "trick_90p_h264": 100}
    assert job["percent"] == 100
    assert job["stderr_tail"] is None
    assert any("-progress" in command for command in job["commands"])


def test_a_piece_that_fails_ends_the_others(tmp_path: Path, pieces: Path, monkeypatch: pytest.MonkeyPatch):
    together, ended = threading.Barrier(3), []

    def failing(_: Any, chunk: Chunk, *__: Any, care: Care, **___: Any) -> None:
        together.wait()
        if chunk.number == 1:
            raise ToolFailed(("ffmpeg",), 1, "no such thing")
        while care.cancelled and not care.cancelled():
            time.sleep(0.01)
        ended.append(chunk.number)
        raise ToolCancelled

    monkeypatch.setattr(stages, "encode_chunk", failing)
    room = Room.below(tmp_path, chunk_s=4.0, encoders=3)
    room.drop(pieces, "part2.mov")
    with room.running() as jobs:
        job = until(jobs, part2="failed")["part2.mov"]
    assert sorted(ended) == [0, 2]
    assert job["sentence"] == "ffmpeg failed with status 1: no such thing"
    assert room.leftovers() == []


def test_who_waits_for_the_encode_of_another_has_a_place_in_the_queue(
    room: Room, film: Path, held_encode: Callable[[], None]
):
    for number in (1, 2, 3):
        make_master(room.settings.raw / f"part{number}.mov", frames=30 + number, size="160x90", channels=0)
    with room.running() as jobs:
        while (states := sorted((job["state"], job["place"] or 0) for job in jobs.listing())) != [
            ("queued", 1), ("queued", 2), ("running", 0),
        ]:  # fmt: skip
            assert len(states) <= 3
            time.sleep(0.05)
        held_encode()
        until(jobs, part1="published", part2="published", part3="published")
