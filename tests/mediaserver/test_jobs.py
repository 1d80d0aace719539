"""The editors' jobs, on real masters: what is published, what is queued, superseded, cancelled and begun again."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from encoder.errors import EncoderError, MasterMissing
from encoder.tools import find_tools
from mediaserver.errors import JobUnknown
from mediaserver.jobs import Jobs
from tests.masters import make_master, with_slot
from tests.mediaserver.room import Room, children, encoder_of, until

pytestmark = pytest.mark.usefixtures("impatient")


def test_a_dropped_master_becomes_a_chapter_with_a_baked_slot(room: Room, film: Path):
    with_slot(room.drop(film, "part2.mov"))
    with room.running() as jobs:
        job = until(jobs, part2="published")["part2.mov"]
    assert (job["chapter"], job["version"], job["percent"]) == ("part2", room.current("part2"), 100)
    (slot,) = room.presentation("part2").slots
    names = {file.name for file in (room.settings.media / "part2" / job["version"]).iterdir()}
    assert {slot.mezzanine, slot.narration, slot.track} < names
    assert room.leftovers() == []


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
    assert encodes == ["part2.mov"]


def test_a_changed_setting_makes_a_new_version_of_what_lies_there_and_encodes_only_the_difference(
    tmp_path: Path, film: Path, encodes: list[str]
):
    room = Room.below(tmp_path, av1=False)
    room.drop(film, "part2.mov")
    with room.running() as jobs:
        until(jobs, part2="published")
    plain, old = room.presentation("part2"), room.settings.media / "part2" / (room.current("part2") or "")
    room = Room(replace(room.settings, av1=True))
    with room.running():
        while room.current("part2") == old.name:
            time.sleep(0.05)
    both, new = room.presentation("part2"), room.settings.media / "part2" / (room.current("part2") or "")
    assert {r.file for r in both.renditions} - {r.file for r in plain.renditions} == {"video_180p_av1.mp4"}
    assert all((old / r.file).samefile(new / r.file) for r in plain.renditions)
    assert len(encodes) == 2


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


def test_stopping_takes_no_time_and_the_job_goes_on_at_the_next_start(room: Room, long_film: Path):
    room.drop(long_film, "part2.mov")
    with room.running() as jobs:
        encoder_of(jobs, "part2.mov")
    assert children() == set()
    assert Jobs(room.settings).listing()[0]["state"] == "queued"
    with room.running() as jobs:
        jobs.cancel(until(jobs, part2="running")["part2.mov"]["name"])


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
