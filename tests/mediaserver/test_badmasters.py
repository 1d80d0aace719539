"""Every kind of bad input through the real queue: its state, its sentence, its hint, and that others went on."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from encoder.errors import MasterChanged
from encoder.tools import Tools, find_tools
from mediaserver.jobbook import ACTIVE
from tests import oddmasters as odd
from tests.masters import make_master
from tests.mediaserver.room import Room, until

pytestmark = pytest.mark.usefixtures("impatient")


@dataclass(frozen=True)
class Case:
    """What becomes of one file: its state and code, words of its sentence (or note), words of its hint."""

    make: Callable[[Path, Tools], Path]
    state: str
    code: str | None
    says: str
    hint: str = ""
    frames: int = 0


REFUSED = [
    Case(odd.no_bytes, "refused", "master_unreadable", "it is empty", "Open it in a player"),
    Case(odd.header_only, "refused", "master_truncated", "its last second is missing", "copy or export"),
    Case(odd.lying_clock, "refused", "master_truncated", "36000.0 s long", "copy or export"),
    Case(odd.long_last_sample, "refused", "master_truncated", "there is no picture", "copy or export"),
    Case(odd.without_moov, "refused", "master_truncated", "its index (moov) is missing", "copy or export"),
    Case(odd.unknown_codec, "refused", "codec_unsupported", "zz7z", "ProRes"),
    Case(odd.one_pixel, "refused", "picture_too_small", "1 x 1", "64 x 64"),
    Case(odd.only_text, "refused", "master_unreadable", "does not begin as one", "Open it in a player"),
    Case(odd.only_sound, "refused", "no_picture", "has no video track", "with its picture"),
    Case(odd.locked, "refused", "master_forbidden", "may not be read", "the right to read"),
    Case(odd.late_slot, "refused", "bad_sidecar", "does not lie inside the chapter", "Correct the .toml"),
    Case(odd.silent_slot, "refused", "bad_sidecar", "the master is silent", "Correct the .toml"),
    Case(odd.no_toml, "refused", "bad_sidecar", "cannot be used", "Correct the .toml"),
    Case(odd.no_captions, "refused", "bad_sidecar", "'captions.en.srt' cannot be used", ""),
    Case(odd.no_dub, "refused", "bad_sidecar", "'dubbed.fr.wav' cannot be used", ""),
    Case(odd.mostly_corrupt, "failed", "master_damaged", "% of its pictures", "copy it again"),
]
PUBLISHED = [
    Case(odd.corrupt_middle, "published", None, "The master is damaged", frames=100),
    Case(odd.corrupt_h264, "published", None, "The master is damaged", frames=100),
    Case(odd.one_frame, "published", None, "", frames=1),
    Case(odd.picture_of_8k, "published", None, "", frames=2),
    Case(odd.three_hundred_a_second, "published", None, "60 are kept", frames=60),
    Case(odd.early, "published", None, "", frames=50),
    Case(odd.early_mp4, "published", None, "", frames=50),
    Case(odd.edited, "published", None, "", frames=67),
    Case(odd.forty_tracks, "published", None, "40 sound tracks", frames=25),
]
CASES = [*REFUSED, *PUBLISHED]


@dataclass
class Outcome:
    """A room in which every case was dropped at once, the job of each, and what the maker of a case has made."""

    room: Room
    files: dict[str, str]
    jobs: dict[str, dict[str, Any]]

    def job(self, case: Case) -> dict[str, Any]:
        return self.jobs[self.files[case.make.__name__]]


@pytest.fixture(scope="module")
def outcome(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Root may read everything: that one file may not be read is played by refusing to open it."""
    room, tools = Room.below(tmp_path_factory.mktemp("bad"), av1=False), find_tools()
    files = {case.make.__name__: case.make(room.settings.raw, tools).name for case in CASES}
    room.drop(film, "zz the good one.mov")
    opened = Path.open

    def guarded(path: Path, *what: Any, **how: Any) -> Any:
        if path.name == files["locked"]:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *what, **how)

    with pytest.MonkeyPatch.context() as patched, room.running() as jobs:
        patched.setattr(Path, "open", guarded)
        while True:
            listed = {job["name"]: job for job in jobs.listing()}
            if len(listed) == len(CASES) + 1 and all(job["state"] not in ACTIVE for job in listed.values()):
                break
            time.sleep(0.1)
    return Outcome(room, files, listed)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__.replace("_", " "))
def test_every_file_gets_a_state_a_sentence_and_a_hint(outcome: Outcome, case: Case):
    job = outcome.job(case)
    assert (job["state"], job["code"]) == (case.state, case.code)
    sentence = job["sentence"] or " ".join(job["notes"])
    assert case.says in sentence
    assert case.hint in (job["hint"] or "")
    assert bool(job["hint"]) == (case.state != "published")
    assert "\n" not in sentence
    assert str(outcome.room.settings.raw) not in sentence


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: case.make.__name__.replace("_", " "))
def test_an_odd_film_has_its_pictures_all_the_same(outcome: Outcome, case: Case):
    p = outcome.room.presentation(outcome.job(case)["chapter"])
    assert abs(p.grid.frames - case.frames) <= (case.make is odd.edited)
    if case.make is odd.picture_of_8k:
        assert [r.picture.height for r in p.videos if r.picture] == [1080, 720, 432]
    if case.make is odd.forty_tracks:
        assert [audio.id for audio in p.audios] == ["audio_und"]


def test_all_others_went_on(outcome: Outcome):
    assert outcome.jobs["zz the good one.mov"]["state"] == "published"
    published = {folder.name for folder in outcome.room.settings.media.iterdir()}
    assert published == {job["chapter"] for job in outcome.jobs.values() if job["state"] == "published"}
    assert outcome.room.leftovers() == []


def test_names_that_no_chapter_can_have_are_refused_and_odd_ones_made_fit(room: Room, film: Path):
    for name in ("a..b.mov", "100%.mov", "editor.mov", 'the "director\'s" cut.mov', "Gru\u0308ße.mov"):
        room.drop(film, name)
    with room.running() as jobs:
        listed = until(
            jobs, **{"the \"director's\" cut": "published", "Gru\u0308ße": "published", "a..b": "refused"},
            **{"100%": "refused", "editor": "refused"},
        )  # fmt: skip
    assert {name: job["code"] for name, job in listed.items() if job["state"] == "refused"} == {
        "a..b.mov": "bad_chapter_name",
        "100%.mov": "bad_chapter_name",
        "editor.mov": "reserved_chapter_name",
    }
    assert sorted(folder.name for folder in room.settings.media.iterdir()) == ["Grüße", "the-director-s-cut"]


def test_a_file_that_may_be_read_at_last_is_taken(room: Room, film: Path, monkeypatch: pytest.MonkeyPatch):
    path, opened, locked = room.drop(film, "part2.mov"), Path.open, threading.Event()
    locked.set()

    def guarded(file: Path, *what: Any, **how: Any) -> Any:
        if file == path and locked.is_set():
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, *what, **how)

    monkeypatch.setattr(Path, "open", guarded)
    with room.running() as jobs:
        until(jobs, part2="refused")
        locked.clear()
        until(jobs, part2="published")


def test_a_name_that_is_no_text_is_refused_and_can_be_listed(room: Room, film: Path):
    room.drop(film, os.fsdecode(b"part\xff.mov"))
    with room.running() as jobs:
        listed = until(jobs, **{"part\ufffd": "refused"})
    json.dumps(listed).encode()


def test_masters_that_are_taken_away_or_replaced_under_the_encoder_are_said_to_be(
    room: Room, film: Path, held_encode: Callable[[], None]
):
    masters = {name: room.drop(film, f"{name}.mov") for name in ("deleted", "replaced", "kept")}
    with room.running(watching=False) as jobs:
        ids = [jobs.submit(master, named=True) for master in masters.values()]
        until(jobs, deleted="running", replaced="running")
        while {job["stage"] for job in jobs.listing()} != {"encode", None} or not all(
            job["chapter"] for job in jobs.listing()
        ):
            time.sleep(0.02)
        masters["deleted"].unlink()
        make_master(masters["replaced"], frames=30)
        held_encode()
        ended = {job.chapter: job for job in jobs.wait(ids)}
    assert {name: job.state for name, job in ended.items()} == {
        "deleted": "failed", "replaced": "failed", "kept": "published"
    }  # fmt: skip
    for name in ("deleted", "replaced"):
        assert (ended[name].code, ended[name].hint) == ("master_changed", MasterChanged.hint)
        said = f"'{name}.mov', or a file beside it, was changed or removed while it was encoded."
        assert ended[name].sentence == said
        assert room.current(name) is None
    assert room.leftovers() == []
