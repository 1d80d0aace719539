"""The editors' jobs, on real masters: what is published, what is refused, and what a kill at any moment leaves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from encoder import stages
from encoder.errors import EncoderError, MasterChanged, MasterMissing, ToolCancelled, ToolFailed
from encoder.guard import Care
from encoder.model import Presentation
from encoder.tools import find_tools
from mediaserver import jobroom, jobwork
from mediaserver import jobs as module
from mediaserver.errors import JobBookUnreadable, JobUnknown
from mediaserver.jobs import Jobs
from mediaserver.precedence import viewers_lock
from tests.masters import make_master, structure, truncated, with_slot
from tests.mediaserver.room import Room, until


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A master of 3 s; copies of it are what the tests drop."""
    return make_master(tmp_path_factory.mktemp("film") / "film.mov", frames=75)


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A master that takes some seconds to encode."""
    return make_master(tmp_path_factory.mktemp("film") / "long.mov", frames=500, size="1280x720")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for patient in (module, jobwork, jobroom):
        monkeypatch.setattr(patient, "LOOK_S", 0.1)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room.below(tmp_path)


def children() -> set[str]:
    """The ffmpeg processes that this process has started and that run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            if name == "ffmpeg" and rest.split()[1] == str(os.getpid()) and rest.split()[0] != "Z":
                found.add(stat.parent.name)
    return found


def encoder_of(jobs: Jobs, name: str) -> str:
    """Wait until the encode of a master has begun, and return its process."""
    while True:
        stages_now = {job["name"]: job["stage"] for job in jobs.listing()}
        if stages_now.get(name) == "encode" and (running := children()):
            return running.pop()
        time.sleep(0.01)


# --- what editors see -------------------------------------------------------------------------------------------------


def test_a_dropped_master_becomes_a_chapter_with_a_baked_slot(room: Room, film: Path):
    with_slot(room.drop(film, "part2.mov"))
    with room.running() as jobs:
        job = until(jobs, part2="published")["part2.mov"]
    assert (job["chapter"], job["version"], job["percent"]) == ("part2", room.current("part2"), 100)
    (slot,) = room.presentation("part2").slots
    names = {file.name for file in (room.settings.media / "part2" / job["version"]).iterdir()}
    assert {slot.mezzanine, slot.narration, slot.track} < names
    assert room.leftovers() == []


def test_bad_masters_are_refused_in_words_and_the_good_one_goes_on(room: Room, film: Path):
    raw = room.settings.raw
    (raw / "notes.mov").write_text("Dear editor, " * 100)
    truncated(film, raw / "cut.mov")
    make_master(raw / "song.mov", picture=False, frames=50)
    (raw / "empty.mov").write_bytes(b"")
    with_slot(room.drop(film, "late.mov"), start=2, duration=9)
    for name in ("a..b.mov", "100%.mov", "editor.mov", 'the "director\'s" cut.mov', "Gru\u0308ße.mov"):
        room.drop(film, name)
    with room.running() as jobs:
        listed = until(
            jobs, **{"the \"director's\" cut": "published", "Gru\u0308ße": "published", "a..b": "refused"},
            **{"100%": "refused"}, **dict.fromkeys(("notes", "cut", "song", "empty", "late", "editor"), "refused"),
        )  # fmt: skip
    said = {name: (job["code"], job["sentence"]) for name, job in listed.items() if job["state"] == "refused"}
    assert {name: code for name, (code, _) in said.items()} == {
        "notes.mov": "master_unreadable",
        "cut.mov": "master_truncated",
        "song.mov": "no_picture",
        "empty.mov": "master_unreadable",
        "late.mov": "bad_sidecar",
        "a..b.mov": "bad_chapter_name",
        "100%.mov": "bad_chapter_name",
        "editor.mov": "reserved_chapter_name",
    }
    assert all(listed[name]["hint"] for name in said)
    assert not any(str(raw) in sentence for _, sentence in said.values())
    assert sorted(folder.name for folder in room.settings.media.iterdir()) == ["Grüße", "the-director-s-cut"]


def test_a_second_master_of_a_chapter_takes_nothing_from_the_first(room: Room, film: Path):
    room.drop(film, "part 2.mov")
    with room.running() as jobs:
        version = until(jobs, **{"part 2": "published"})["part 2.mov"]["version"]
        shutil.copyfile(
            make_master(room.settings.raw.parent / "other.mov", frames=50), room.settings.raw / "part-2.mov"
        )
        second = until(jobs, **{"part-2": "refused"})["part-2.mov"]
    assert second["sentence"] == "'part-2.mov' and 'part 2.mov' are both masters of the chapter 'part-2'."
    assert room.current("part-2") == version


def test_a_refused_master_is_looked_at_again_at_the_next_start(room: Room, film: Path):
    first = room.drop(film, "part 2.mov")
    room.drop(film, "part-2.mov")
    os.utime(room.settings.raw / "part-2.mov")
    with room.running() as jobs:
        until(jobs, **{"part 2": "published", "part-2": "refused"})
    first.unlink()
    with room.running() as jobs:
        until(jobs, **{"part-2": "published"})


def test_a_book_that_is_none_is_said_to_be_none(room: Room):
    room.settings.state.mkdir()
    (room.settings.state / "jobs.sqlite").write_text("no book " * 100)
    jobs = Jobs(room.settings)
    with pytest.raises(JobBookUnreadable, match="file is not a database") as caught:
        jobs.start()
    assert "what is published stays" in caught.value.hint


def test_a_growing_master_is_no_job_until_it_has_settled(room: Room, film: Path):
    data = film.read_bytes()
    with room.running() as jobs, (room.settings.raw / "part2.mov").open("wb") as copy:
        copy.write(data[:1000])
        for byte in range(1000, 1020):
            copy.write(data[byte : byte + 1])
            copy.flush()
            assert jobs.listing() == []
            time.sleep(0.02)
        copy.write(data[1020:])
        copy.flush()
        until(jobs, part2="published")


def test_a_growing_master_that_is_named_is_refused(room: Room, film: Path):
    master = room.settings.raw / "part2.mov"
    shutil.copyfile(film, master)
    ended = threading.Event()

    def grow() -> None:
        with master.open("ab") as copy:
            while not ended.wait(0.02):
                copy.write(b"x")
                copy.flush()

    copying = threading.Thread(target=grow)
    copying.start()
    try:
        with room.running(watching=False) as jobs:
            (job,) = jobs.wait([jobs.submit(master, named=True)])
    finally:
        ended.set()
        copying.join()
    assert (job.state, job.code) == ("refused", "still_growing")


def test_a_name_that_is_no_text_is_refused_and_can_be_listed(room: Room, film: Path):
    room.drop(film, os.fsdecode(b"part\xff.mov"))
    with room.running() as jobs:
        listed = until(jobs, **{"part\ufffd": "refused"})
    json.dumps(listed).encode()


def test_a_file_that_is_not_there_is_no_job(room: Room):
    jobs = Jobs(room.settings)
    with pytest.raises(MasterMissing):
        jobs.submit(room.settings.raw / "no.mov")
    assert jobs.listing() == []
    with pytest.raises(JobUnknown):
        jobs.cancel("no.mov")


def test_a_refusal_does_not_wait_for_the_encode_before_it(room: Room, film: Path, held_encode: Callable[[], None]):
    room.drop(film, "part1.mov")
    (room.settings.raw / "notes.mov").write_text("no film")
    with room.running() as jobs:
        until(jobs, part1="running", notes="refused")
        held_encode()
        until(jobs, part1="published")


@pytest.fixture
def held_encode(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Hold every encode back until the returned function is called."""
    go, encode = threading.Event(), stages.encode_chunk

    def held(*what: Any, care: Care, **how: Any) -> None:
        while not go.wait(0.02):
            if care.cancelled and care.cancelled():
                raise ToolCancelled
        encode(*what, care=care, **how)

    monkeypatch.setattr(stages, "encode_chunk", held)
    yield go.set
    go.set()


@pytest.fixture
def encodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The masters that were encoded, with a mark where two were at once."""
    done: list[str] = []
    busy = threading.Lock()
    encode = stages.encode_chunk

    def counted(plan: stages.Plan, *what: Any, **how: Any) -> None:
        done.append(plan.master.path.name if busy.acquire(blocking=False) else "two at once")
        try:
            encode(plan, *what, **how)
        finally:
            busy.release()

    monkeypatch.setattr(stages, "encode_chunk", counted)
    return done


def test_encodes_go_one_after_the_other_each_once(room: Room, film: Path, encodes: list[str]):
    for number in range(3):
        room.drop(make_master(room.settings.raw.parent / f"{number}.mov", frames=50 + number), f"part{number}.mov")
    with room.running() as jobs:
        until(jobs, part0="published", part1="published", part2="published")
    assert sorted(encodes) == ["part0.mov", "part1.mov", "part2.mov"]


def test_what_is_published_is_not_encoded_again(room: Room, film: Path, encodes: list[str]):
    master = room.drop(film, "part2.mov")
    with room.running() as jobs:
        until(jobs, part2="published")
    with room.running() as jobs:
        until(jobs, part2="published")
        os.utime(master)
        jobs.wait([jobs.submit(master)])
    with room.running(watching=False) as jobs:
        jobs.wait([jobs.submit(master, named=True)])
    assert encodes == ["part2.mov"]


def test_what_was_published_and_is_gone_is_encoded_again(room: Room, film: Path, encodes: list[str]):
    room.drop(film, "part2.mov")
    with room.running() as jobs:
        until(jobs, part2="published")
    shutil.rmtree(room.settings.media / "part2")
    with room.running():
        while room.current("part2") is None:
            time.sleep(0.05)
    assert len(encodes) == 2


def test_a_changed_sidecar_makes_a_new_version_and_a_change_back_encodes_nothing(
    room: Room, film: Path, encodes: list[str]
):
    master = room.drop(film, "part2.mov")
    with room.running() as jobs:
        plain = until(jobs, part2="published")["part2.mov"]["version"]
        with_slot(master).unlink()
        sidecar = with_slot(master)
        while room.current("part2") == plain:
            time.sleep(0.05)
        assert room.presentation("part2").slots
        sidecar.unlink()
        while room.current("part2") != plain:
            time.sleep(0.05)
        assert [job["name"] for job in jobs.listing()] == ["part2.mov"]
    assert len(encodes) == 2


# --- ends -------------------------------------------------------------------------------------------------------------


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


def test_cancelling_ends_ffmpeg_and_leaves_nothing(room: Room, long_film: Path):
    room.drop(long_film, "part2.mov")
    with room.running() as jobs:
        encoder_of(jobs, "part2.mov")
        jobs.cancel("part2.mov")
        while children() or room.leftovers():
            time.sleep(0.01)
        assert until(jobs, part2="cancelled")["part2.mov"]["chapter"] == "part2"
        assert list(room.settings.media.iterdir()) == []
    shutil.copyfile(make_master(room.settings.raw.parent / "short.mov", frames=30), room.settings.raw / "part1.mov")
    with room.running() as jobs:
        assert until(jobs, part1="published")["part2.mov"]["state"] == "cancelled"
        jobs.retry("part2")
        jobs.cancel(until(jobs, part2="running")["part2.mov"]["name"])
        until(jobs, part2="cancelled")


def test_another_process_cancels_too(room: Room, film: Path, held_encode: Callable[[], None]):
    room.drop(film, "part2.mov")
    with room.running() as jobs:
        until(jobs, part2="running")
        cancel = room.command("cancel", "part2.mov")
        assert cancel.communicate()[0] == "part2.mov is cancelled.\n"
        until(jobs, part2="cancelled")
        while jobs._active:
            time.sleep(0.02)


def test_a_master_that_is_dropped_again_supersedes_the_job_of_the_old_one(room: Room, film: Path, long_film: Path):
    room.drop(long_film, "part2.mov")
    with room.running() as jobs:
        encoder_of(jobs, "part2.mov")
        shutil.copyfile(film, room.settings.raw / "part2.mov.part")
        (room.settings.raw / "part2.mov.part").rename(room.settings.raw / "part2.mov")
        until(jobs, part2="published")
    assert room.presentation("part2").grid.frames == 75
    assert room.leftovers() == []


def test_a_master_that_changes_under_the_encoder_is_not_published(
    room: Room, film: Path, held_encode: Callable[[], None]
):
    master = room.drop(film, "part2.mov")
    with room.running(watching=False) as jobs:
        id = jobs.submit(master, named=True)  # noqa: A001
        until(jobs, part2="running")
        while jobs.listing()[0]["stage"] != "encode":
            time.sleep(0.02)
        os.utime(master)
        held_encode()
        (job,) = jobs.wait([id])
    assert (job.state, job.code) == ("failed", "master_changed")
    assert room.current("part2") is None


def test_stopping_takes_no_time_and_the_job_goes_on_at_the_next_start(room: Room, long_film: Path):
    room.drop(long_film, "part2.mov")
    with room.running() as jobs:
        encoder_of(jobs, "part2.mov")
    assert children() == set()
    assert Jobs(room.settings).listing()[0]["state"] == "queued"
    with room.running() as jobs:
        jobs.cancel(until(jobs, part2="running")["part2.mov"]["name"])


def test_a_master_that_is_taken_away_under_the_encoder_is_said_to_be_gone(
    room: Room, film: Path, held_encode: Callable[[], None]
):
    master = room.drop(film, "part2.mov")
    with room.running() as jobs:
        until(jobs, part2="running")
        while {job["name"]: job for job in jobs.listing()}["part2.mov"]["stage"] != "encode":
            time.sleep(0.02)
        master.unlink()
        room.drop(make_master(room.settings.raw.parent / "other.mov", frames=30), "part1.mov")
        held_encode()
        job = until(jobs, part2="failed", part1="published")["part2.mov"]
    assert (job["code"], job["hint"]) == ("master_changed", MasterChanged.hint)
    assert room.leftovers() == []


# --- what hangs, and what is full -------------------------------------------------------------------------------------


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
        while _is(pid) != "T":
            time.sleep(0.01)
        disk(10**12)
        until(jobs, part2="published")


def test_an_encode_stands_still_while_a_scene_is_made_for_a_viewer_and_is_not_taken_to_hang(
    room: Room, long_film: Path
):
    room = Room(replace(room.settings, encoder_stall_s=1.5))
    room.drop(long_film, "part2.mov")
    viewers = viewers_lock(room.settings.state)
    with room.running() as jobs:
        pid = encoder_of(jobs, "part2.mov")
        viewers.acquire()
        while _is(pid) != "T":
            time.sleep(0.01)
        time.sleep(3)
        assert _is(pid) == "T"
        viewers.release()
        until(jobs, part2="published")


def _is(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


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


# --- several processes ------------------------------------------------------------------------------------------------

STAGES = ("encode", "sound", "slots", "assemble", "bake", "verify", "publish")
BLOCK = """
import sys, threading
from mediaserver.jobwork import Work
from encoder import publish
def block(*_, **__):
    print("HERE", flush=True)
    threading.Event().wait()
"""
BLOCKS = {
    "plan": "Work.plan = block",
    "encode": "Work._tell = block",
    **{stage: f"Work._{stage} = block" for stage in STAGES[1:]},
    "rename": "publish._point = block",
}


SLOT_FILES = ["slot_you.mezzanine.mp4", "slot_you.narration.wav", "slot_you.track.npz"]


def slot_files(room: Room) -> list[str]:
    """What inserts are made from, as far as it is there and not empty."""
    folder = room.settings.media / "part2" / (room.current("part2") or "nothing")
    return sorted(file.name for file in folder.glob("slot_*") if file.stat().st_size)


def killed_at(room: Room, moment: str, *words: str) -> None:
    """Run a command until it has come to `moment`, and kill it there."""
    process = room.command(*words, "--json", code=BLOCK + BLOCKS[moment])
    assert process.stdout
    with process, process.stdout as said:
        assert any(line == "HERE\n" for line in said), process.stderr and process.stderr.read()
        process.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def undisturbed(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Presentation:
    root = tmp_path_factory.mktemp("undisturbed")
    room = Room.below(root)
    with_slot(room.drop(film, "part2.mov"))
    with room.running() as jobs:
        until(jobs, part2="published")
    return room.presentation("part2")


@pytest.mark.parametrize("moment", BLOCKS)
def test_after_a_kill_only_the_stage_under_way_runs_again(
    room: Room, film: Path, undisturbed: Presentation, moment: str, monkeypatch: pytest.MonkeyPatch
):
    master = room.drop(film, "part2.mov")
    with_slot(master)
    killed_at(room, moment, "encode", str(master))
    assert Jobs(room.settings).listing()[0]["state"] == "queued"
    ran: list[str] = []
    run = jobwork.Work._run
    monkeypatch.setattr(jobwork.Work, "_run", lambda self, name, do: ran.append(name) or run(self, name, do))
    with room.running(watching=False) as jobs:
        (job,) = jobs.wait([jobs.submit(master, named=True)])
    assert job.state == "published"
    whole = ("plan", "reuse", *STAGES)
    assert tuple(ran) == whole[whole.index("publish" if moment == "rename" else moment) :]
    assert structure(room.presentation("part2")) == structure(undisturbed)
    assert slot_files(room) == SLOT_FILES
    assert room.leftovers() == []


def test_a_killed_process_leaves_no_ffmpeg_behind(room: Room, long_film: Path):
    master = room.drop(long_film, "part2.mov")
    killed_at(room, "encode", "encode", str(master))
    work = f"{room.settings.media}"
    while any(work.encode() in (_command(pid)) for pid in Path("/proc").glob("[0-9]*")):
        time.sleep(0.02)


def _command(process: Path) -> bytes:
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_bytes()
    return b""


def test_a_command_beside_a_running_server_neither_steals_nor_repeats_its_jobs(
    room: Room, film: Path, encodes: list[str]
):
    other = make_master(room.settings.raw.parent / "other" / "part1.mov", frames=60)
    os.utime(other, (1_700_000_000, 1_700_000_000))
    part2 = room.drop(film, "part2.mov")
    with room.running() as jobs:
        command = room.command("encode", str(other), str(part2))
        out, errors = command.communicate()
        until(jobs, part1="published", part2="published")
    assert (command.returncode, errors) == (0, "")
    assert "part1.mov is published as the chapter part1.\n" in out
    assert sorted(encodes) == ["part1.mov", "part2.mov"]


def test_a_server_beside_a_running_command_waits_and_then_goes_on(room: Room, film: Path):
    part1 = room.drop(film, "part1.mov")
    command = room.command("encode", str(part1), "--json", code=BLOCK + BLOCKS["bake"])
    assert command.stdout
    with command, command.stdout as said:
        assert any(line == "HERE\n" for line in said)
        room.drop(make_master(room.settings.raw.parent / "2.mov", frames=50), "part2.mov")
        with room.running() as jobs:
            until(jobs, part1="running", part2="queued")
            command.kill()
            until(jobs, part1="published", part2="published")


def test_a_command_takes_over_what_a_killed_server_had_begun(room: Room, film: Path):
    part2 = room.drop(film, "part2.mov")
    killed_at(room, "bake", "watch")
    command = room.command("encode", str(part2))
    assert command.communicate()[1] == ""
    assert command.returncode == 0
    assert room.current("part2")


def test_the_terminal_is_told_of_jobs_and_of_nothing_else(room: Room, film: Path):
    part2 = room.drop(film, "part2.mov")
    out, errors = room.command("encode", str(part2)).communicate()
    assert errors == ""
    assert out.splitlines()[-1] == "part2.mov is published as the chapter part2."
    assert all(line.startswith("part2.mov ") for line in out.splitlines())
    lines = room.command("encode", "--json", str(part2), "no.mov")
    out, errors = lines.communicate()
    assert lines.returncode == 1
    assert [json.loads(line)["job"]["state"] for line in out.splitlines()][-1] == "published"
    assert json.loads(errors)["code"] == "master_missing"


def test_another_process_reads_how_far_a_job_is(room: Room, film: Path, monkeypatch: pytest.MonkeyPatch):
    room.drop(film, "part2.mov")
    (room.settings.raw / "notes.mov").write_text("no film")
    told = threading.Event()
    progress = jobwork.Work._tell

    def hold(self: Any, at: Any) -> None:
        progress(self, replace(at, frames=30, fps=15.0))
        told.set()

    monkeypatch.setattr(jobwork.Work, "_tell", hold)
    monkeypatch.setattr(jobwork.Work, "_assemble", lambda self, _: _wait(self))
    with room.running() as jobs:
        until(jobs, notes="refused")
        assert told.wait(60)
        status = room.command("status", "--json").communicate()[0]
        jobs.cancel("part2.mov")
    listed = {job["name"]: job for job in json.loads(status)["jobs"]}
    assert listed["part2.mov"]["state"] == "running"
    assert listed["notes.mov"]["sentence"] == "'notes.mov' is not a readable video file: it does not begin as one."


def _wait(work: Any) -> None:
    while not work.stopped():
        time.sleep(0.02)
    raise ToolCancelled


def test_nothing_is_sent_anywhere(room: Room, film: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: socket.socket, address: Any) -> None:
        pytest.fail(f"a connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **_: pytest.fail(f"a question for {words}"))
    room.drop(film, "part2.mov")
    with room.running() as jobs:
        until(jobs, part2="published")


def test_the_programs_are_asked_for_at_the_start(room: Room, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("MEDIASERVER_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EncoderError, match="ffmpeg was not found"):
        Jobs(room.settings).start()
    monkeypatch.undo()
    assert find_tools()
