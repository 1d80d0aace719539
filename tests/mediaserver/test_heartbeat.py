"""Jobs on PostgreSQL: many processes, each with a heartbeat, and the living take over those of the dead."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from mediaserver.heartbeat import Heartbeat
from mediaserver.jobs import Jobs
from tests.cluster import cluster
from tests.masters import with_slot
from tests.mediaserver.room import Room, until
from tests.mediaserver.test_jobprocesses import BLOCK, BLOCKS

SILENT_S = 2.0


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with cluster() as url:
        yield url


@pytest.fixture
def database(server: str, request: pytest.FixtureRequest) -> str:
    """An empty database for one test."""
    name = f"test{abs(hash(request.node.name)) % 10**9}"
    engine = sqlalchemy.create_engine(
        server.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.rpartition("/")[0] + "/" + name


@pytest.fixture
def room(tmp_path: Path, database: str) -> Room:
    return Room.below(tmp_path, jobs_database=database, jobs_silent_s=SILENT_S)


def hearts(database: str, count: int) -> list[Heartbeat]:
    url = database.replace("postgresql:", "postgresql+psycopg:")
    made = [Heartbeat(url, silent_s=1) for _ in range(count)]
    for heart in made:
        heart.acquire()
    return made


def test_who_is_silent_is_dead_and_learns_it(database: str):
    quick, slow = hearts(database, 2)
    assert quick.name != slow.name
    end_s = time.monotonic() + 1.5
    while time.monotonic() < end_s:
        assert quick.beat()
        time.sleep(0.1)
    with quick.inheritance() as living:
        assert living == {quick.name}
    assert not slow.beat()
    slow.acquire()
    assert slow.beat()
    quick.release()
    assert slow.is_taken()
    slow.release()
    third = Heartbeat(database.replace("postgresql:", "postgresql+psycopg:"), 1)
    assert not third.is_taken()
    third.release()


def test_only_one_inherits_at_a_time(database: str):
    first, second = hearts(database, 2)
    with first.inheritance() as living, second.inheritance() as none:
        assert living == {first.name, second.name}
        assert none is None
    first.release()
    second.release()


def test_one_of_the_living_speaks_for_all_and_when_it_goes_another_does(database: str):
    pair = hearts(database, 2)
    (speaker,) = (heart for heart in pair if heart.leads())
    speaker.release()
    (other,) = (heart for heart in pair if heart is not speaker)
    assert other.leads()
    other.release()


def test_a_master_becomes_a_chapter_and_is_not_made_twice(room: Room, film: Path):
    with_slot(room.drop(film, "part2.mov"))
    (room.settings.raw / "notes.mov").write_text("no film")
    with room.running() as jobs:
        job = until(jobs, part2="published", notes="refused")["part2.mov"]
    assert room.current("part2") == job["version"]
    assert not (room.settings.state / "jobs.sqlite").exists()
    with room.running() as jobs:
        assert until(jobs, part2="published")["part2.mov"]["updated"] == job["updated"]


@pytest.mark.parametrize("moment", ["plan", "encode", "verify", "rename"])
def test_a_survivor_takes_over_the_job_of_a_dead_process(room: Room, film: Path, moment: str):
    with_slot(room.drop(film, "part2.mov"))
    dying = room.command("watch", "--json", code=BLOCK + BLOCKS[moment])
    assert dying.stdout
    with dying, dying.stdout as said:
        assert any(line == "HERE\n" for line in said)
        survivor = room.command("watch", "--json")
        dying.kill()
    jobs = Jobs(room.settings)
    try:
        until(jobs, part2="published")
    finally:
        jobs.close()
        survivor.send_signal(signal.SIGTERM)
        _, errors = survivor.communicate()
    assert (survivor.returncode, errors) == (0, "")
    assert room.leftovers() == []
    assert [slot.id for slot in room.presentation("part2").slots] == ["you"]


def test_who_was_taken_for_dead_and_wakes_up_publishes_nothing_twice(room: Room, film: Path):
    room.drop(film, "part2.mov")
    sleeping = room.command("watch", "--json", code=SLEEP)
    assert sleeping.stdout
    try:
        assert any(line == "HERE\n" for line in sleeping.stdout)
        os.kill(sleeping.pid, signal.SIGSTOP)
        with room.running() as jobs:
            until(jobs, part2="published")
            pointer = (room.settings.media / "part2" / "current").stat()
            inode = (room.settings.media / "part2" / (room.current("part2") or "")).stat().st_ino
            os.kill(sleeping.pid, signal.SIGCONT)
            time.sleep(3 * SILENT_S)
            until(jobs, part2="published")
    finally:
        sleeping.send_signal(signal.SIGCONT)
        sleeping.send_signal(signal.SIGTERM)
        sleeping.communicate()
    assert (room.settings.media / "part2" / "current").stat().st_mtime_ns == pointer.st_mtime_ns
    assert (room.settings.media / "part2" / (room.current("part2") or "")).stat().st_ino == inode
    assert room.leftovers() == []


SLEEP = """
from mediaserver.jobwork import Work
from encoder import stages
encode = stages.encode_sound
def late(*what):
    print("HERE", flush=True)
    import time
    time.sleep(1)
    encode(*what)
stages.encode_sound = late
"""
