"""Several processes and one book: what a kill at any stage leaves, who takes over, what others read."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from encoder.errors import ToolCancelled
from encoder.model import Presentation
from encoder.stock import RECIPE
from mediaserver import jobwork
from mediaserver.jobs import Jobs
from tests.masters import make_master, structure, with_slot
from tests.mediaserver.room import Room, until

pytestmark = pytest.mark.usefixtures("impatient")


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


@pytest.mark.parametrize("recipe", [RECIPE, "0"], ids=["the same recipe", "another recipe"])
def test_what_a_killed_program_with_other_steps_had_begun_begins_anew(room: Room, film: Path, recipe: str):
    master = room.drop(film, "part2.mov")
    other = "\nfrom mediaserver import jobbook, jobs, jobwork\njobbook.VERSION = jobs.VERSION = '0'\n"
    other += f"jobwork.RECIPE = {recipe!r}\n"
    process = room.command("encode", str(master), "--json", code=BLOCK + BLOCKS["slots"] + other)
    assert process.stdout
    with process, process.stdout as said:
        assert any(line == "HERE\n" for line in said), process.stderr and process.stderr.read()
        process.send_signal(signal.SIGKILL)
    with room.running() as jobs:
        until(jobs, part2="published")
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


def test_who_orders_decides_how_it_is_encoded_whoever_runs_it(tmp_path: Path, film: Path):
    room, part2 = Room.below(tmp_path), tmp_path / "elsewhere" / "part2.mov"
    part2.parent.mkdir()
    shutil.copyfile(film, part2)
    os.utime(part2, (1_700_000_000, 1_700_000_000))
    with room.running():
        command = Room(replace(room.settings, av1=False)).command("encode", str(part2))
        assert command.communicate()[1] == ""
    assert not any(r.file.endswith("av1.mp4") for r in room.presentation("part2").renditions)


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
