"""kill -9 at random moments: what is published afterwards is what an undisturbed run publishes.

KILLS says how many moments (`make test-long`: 50), KILL_SEED repeats the ones of an earlier run; both are in the names.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from encoder import stages
from encoder.model import Presentation
from encoder.tools import find_tools
from tests.masters import make_master, structure, with_slot
from tests.mediaserver.room import Room

KILLS = int(os.environ.get("KILLS") or 5)
SEED = int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(10**6))
# Spread over the whole way, so that no run misses a part of it, and at random inside each part.
MOMENTS = [(part + random.Random(f"{SEED} {part}").random()) / KILLS for part in range(KILLS)]
# Four pieces of the picture, two at once.
CHUNK_S, ENCODERS = 4.0, 2


@dataclass
class Run:
    """What an undisturbed run has published, and how long it took from its first stage on."""

    presentation: Presentation
    files: list[str]
    took_s: float


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_master(tmp_path_factory.mktemp("film") / "film.mov", frames=400, size="640x360")


def dropped(folder: Path, film: Path) -> tuple[Room, Path]:
    room = Room.below(folder, chunk_s=CHUNK_S, encoders=ENCODERS)
    master = room.drop(film, "part2.mov")
    os.utime(with_slot(master, start=7, duration=2), (1_700_000_000, 1_700_000_000))
    return room, master


def begun(room: Room, master: Path) -> subprocess.Popen[str]:
    """Start an encode and wait until its first stage has begun."""
    process = room.command("encode", str(master), "--json")
    assert process.stdout
    for line in process.stdout:
        if json.loads(line).get("job", {}).get("state") == "running":
            return process
    raise AssertionError(process.stderr and process.stderr.read())


@pytest.fixture(scope="module")
def undisturbed(film: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Run:
    request.config.get_terminal_writer().line(f"\n{KILLS} kills, KILL_SEED={SEED}")
    room, master = dropped(tmp_path_factory.mktemp("undisturbed"), film)
    assert len(stages.plan(master, find_tools(), chunk_s=Fraction(CHUNK_S)).chunks) == 4
    process = begun(room, master)
    began_s = time.monotonic()
    process.communicate()
    assert process.returncode == 0
    return Run(room.presentation("part2"), files(room), time.monotonic() - began_s)


def files(room: Room) -> list[str]:
    """Everything that lies below media/, by name; an empty file is marked."""
    media = room.settings.media
    return sorted(
        f"{f.relative_to(media)}{'' if f.stat().st_size else ' empty'}" for f in media.rglob("*") if f.is_file()
    )


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: f"seed{SEED}-at-{moment:.3f}-of-the-way")
def test_a_kill_at_any_moment_leaves_nothing_behind_but_a_job_that_goes_on(
    film: Path, tmp_path: Path, undisturbed: Run, moment: float
):
    room, master = dropped(tmp_path, film)
    process = begun(room, master)
    time.sleep(moment * undisturbed.took_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = room.command("encode", str(master))
    out, errors = again.communicate()
    assert (again.returncode, errors) == (0, ""), out
    assert structure(room.presentation("part2")) == structure(undisturbed.presentation)
    assert files(room) == undisturbed.files
    assert room.leftovers() == []
