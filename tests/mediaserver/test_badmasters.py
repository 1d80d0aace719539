"""Bad masters through the real queue."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from encoder.errors import MasterChanged
from tests.masters import make_master, truncated, with_slot
from tests.mediaserver.room import Room, until

pytestmark = pytest.mark.usefixtures("impatient")


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


def test_a_name_that_is_no_text_is_refused_and_can_be_listed(room: Room, film: Path):
    room.drop(film, os.fsdecode(b"part\xff.mov"))
    with room.running() as jobs:
        listed = until(jobs, **{"part\ufffd": "refused"})
    json.dumps(listed).encode()


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
