"""A new version takes from older ones everything that it does not change."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from encoder import encoding, stages, stock
from encoder.guard import Care
from encoder.model import Choices, Presentation
from encoder.stock import RECEIPT, Receipt, Sources, Stock
from encoder.tools import Tools
from tests.masters import make_master, structure, with_slot

SOUND = {"audio_en.mp4"}
PICTURES = {"video_180p_h264.mp4", "video_180p_av1.mp4", "trick_180p_h264.mp4"}
STILLS = {"poster.jpg", "storyboard.vtt", "storyboard_1.jpg"}


@dataclass
class Studio:
    """A folder of masters, one of chapters, and the names of what was encoded since the last look."""

    raw: Path
    media: Path
    tools: Tools
    ran: list[str] = field(default_factory=list)

    def publish(self, name: str = "part2.mov", choices: Choices = stages.PLAIN) -> Path:
        """Take a master through all stages and return the version's folder."""
        self.ran.clear()
        lying = Stock.of(self.media)
        plan = stages.plan(self.raw / name, self.tools, choices=choices, in_stock=lying)
        stages.reuse(plan, self.media, lying)
        stages.encode(plan, self.media, self.tools)
        stages.assemble(plan, self.media, self.tools)
        stages.verify(plan, self.media, self.tools)
        return stages.publish_version(plan, self.media)


@pytest.fixture(scope="module")
def first(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published chapter with a slot, captions and a dub; copies of it are what the tests change."""
    root = tmp_path_factory.mktemp("first")
    master = make_master(root / "raw" / "part2.mov", frames=150, tools=tools)
    with_slot(master, start=0.5, duration=1)
    make_master(root / "raw" / "part2.fr.wav", frames=100, picture=False, tools=tools, extra=("-c:a", "pcm_s16le"))
    (root / "raw" / "part2.en.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nMe\n", "utf-8")
    Studio(root / "raw", root / "media", tools).publish()
    return root


@pytest.fixture
def studio(first: Path, tmp_path: Path, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> Studio:
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    studio = Studio(tmp_path / "raw", tmp_path / "media", tools)
    run = encoding.run_guarded

    def recorded(command: list[str], *what: object, **how: object) -> bytes:
        studio.ran += sorted(Path(word).name for word in command if word.startswith(str(studio.media)))
        return run(command, *what, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(encoding, "run_guarded", recorded)
    return studio


def shared(one: Path, other: Path) -> set[str]:
    """Names of the files that both folders hold as one file on disk."""
    inodes = {file.stat().st_ino for file in one.iterdir()}
    return {file.name for file in other.iterdir() if file.stat().st_ino in inodes}


def current(studio: Studio) -> Path:
    chapter = studio.media / "part2"
    return chapter / (chapter / "current").read_text("utf-8").strip()


def test_a_new_title_encodes_nothing(studio: Studio):
    old = current(studio)
    sidecar = studio.raw / "part2.toml"
    sidecar.write_text(sidecar.read_text("utf-8").replace("Part two", "The other one"), "utf-8")
    new = studio.publish()
    assert studio.ran == []
    assert new != old
    before, after = Presentation.load(old), Presentation.load(new)
    assert after == replace(before, version=new.name, title="The other one")
    own = {file.name for file in new.iterdir()} - shared(old, new)
    assert own == {"presentation.json", RECEIPT}


def test_a_moved_slot_makes_only_its_mezzanine_and_narration_anew(studio: Studio):
    old = current(studio)
    with_slot(studio.raw / "part2.mov", start=3.0, duration=1)
    new = studio.publish()
    assert studio.ran == ["slot_you.mezzanine.mp4", "slot_you.narration.wav"]
    assert shared(old, new) == {*PICTURES, *STILLS, *SOUND, "audio_fr.mp4", "captions_en.vtt"}


def test_a_slot_moved_within_its_segments_keeps_its_mezzanine(studio: Studio):
    with_slot(studio.raw / "part2.mov", start=0.6, duration=1)
    studio.publish()
    assert studio.ran == ["slot_you.narration.wav"]


def test_changed_captions_change_the_captions_alone(studio: Studio):
    old = current(studio)
    (studio.raw / "part2.en.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nYou\n", "utf-8")
    new = studio.publish()
    assert studio.ran == []
    assert "You" in (new / "captions_en.vtt").read_text("utf-8")
    assert "Me" in (old / "captions_en.vtt").read_text("utf-8")


def test_a_transcript_makes_a_new_version_and_encodes_nothing(studio: Studio):
    old = current(studio)
    (studio.raw / "part2.slot.you.txt").write_text("What is said.", "utf-8")
    new = studio.publish()
    assert (studio.ran, new != old) == ([], True)


def test_captions_that_turn_out_to_be_in_another_language_are_another_version(studio: Studio):
    (studio.raw / "part2.en.srt").rename(studio.raw / "part2.de.srt")
    assert [caption.language for caption in Presentation.load(studio.publish()).captions] == ["de"]


def test_a_new_dub_encodes_one_sound(studio: Studio):
    shutil.copyfile(studio.raw / "part2.fr.wav", studio.raw / "part2.ar.wav")
    new = studio.publish()
    assert studio.ran == ["audio_ar.mp4"]
    assert [audio.id for audio in Presentation.load(new).audios] == ["audio_en", "audio_ar", "audio_fr"]


def test_renamed_content_reuses_the_work(studio: Studio):
    old = current(studio)
    for file in studio.raw.iterdir():
        file.rename(file.with_name(file.name.replace("part2", "finale")))
    new = studio.publish("finale.mov")
    assert studio.ran == []
    assert new.parent.name == "finale"
    assert structure(replace(Presentation.load(new), chapter="part2")) == structure(Presentation.load(old))


def test_leaving_out_a_codec_encodes_nothing_and_no_setting_is_taken_for_another(studio: Studio):
    h264 = studio.publish(choices=Choices(av1=False))
    assert studio.ran == []
    assert [r.file for r in Presentation.load(h264).renditions if r.picture and not r.trick] == ["video_180p_h264.mp4"]
    studio.publish(choices=Choices(ladder="film", av1=False))
    assert studio.ran == ["trick_180p_h264.mp4", "video_180p_h264.mp4"]
    studio.publish(choices=Choices(loudness=True))
    assert studio.ran == ["audio_en.mp4", "audio_fr.mp4"]


def test_what_was_measured_of_a_film_is_not_measured_again(studio: Studio, monkeypatch: pytest.MonkeyPatch):
    known: list[object] = []
    monkeypatch.setattr(stages.quality, "chosen", lambda *what, **how: known.append(how["known"]) or what[1])
    studio.publish()
    assert known == [{"180p": 20}]


def test_a_version_that_goes_while_it_is_looked_at_is_not_half_used(studio: Studio):
    lying = Stock.of(studio.media)
    os.unlink(current(studio) / "video_180p_av1.mp4")
    with_slot(studio.raw / "part2.mov", start=3.0, duration=1)
    plan = stages.plan(studio.raw / "part2.mov", studio.tools, in_stock=lying)
    stages.reuse(plan, studio.media, lying)
    assert plan.kept(studio.media).names == frozenset()
    assert plan.missing(studio.media).ladder == plan.ladder


def test_taking_twice_is_taking_once_and_old_files_are_never_written_to(studio: Studio):
    old = current(studio)
    bytes_before = {file.name: file.read_bytes() for file in old.iterdir()}
    with_slot(studio.raw / "part2.mov", start=3.0, duration=1)
    lying = Stock.of(studio.media)
    plan = stages.plan(studio.raw / "part2.mov", studio.tools, in_stock=lying)
    for _ in range(2):
        stages.reuse(plan, studio.media, lying)
    stages.encode(plan, studio.media, studio.tools)
    for _ in range(2):
        stages.assemble(plan, studio.media, studio.tools)
        stages.verify(plan, studio.media, studio.tools)
    assert {file.name: file.read_bytes() for file in old.iterdir()} == bytes_before


def test_decode_errors_are_told_of_pictures_that_are_taken_over(studio: Studio):
    receipt = Receipt.load(current(studio))
    assert receipt
    replace(receipt, decode_errors=3).write(current(studio))
    with_slot(studio.raw / "part2.mov", start=3.0, duration=1)
    assert "damaged" in Presentation.load(studio.publish()).notes[-1]


def test_a_receipt_that_cannot_be_read_is_none(tmp_path: Path):
    folder = tmp_path / "part2" / "v1"
    folder.mkdir(parents=True)
    for text in ("", "[]", '{"files": 1, "more": 2}'):
        (folder / RECEIPT).write_text(text, "utf-8")
        assert Stock.of(tmp_path) == Stock()


def test_a_disk_without_hard_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_text("film", "utf-8")
    stock.link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text("utf-8") == "film"


def test_a_master_is_not_read_while_that_is_held(tmp_path: Path):
    master, asked = tmp_path / "part2.mov", iter([True, True])
    master.write_bytes(b"film")
    care = Care(held=lambda: next(asked, False))
    assert Sources.read(master, (), care).digests == Sources.read(master, ()).digests
    assert next(asked, None) is None
