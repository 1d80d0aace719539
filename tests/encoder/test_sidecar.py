"""The file beside the master: what it may say, and a sentence for everything it may not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from encoder.errors import BadSidecar
from encoder.model import Grid, Marker, Placement
from encoder.sidecar import Sidecar, read_sidecar, speaker_notes

GRID = Grid(Fraction(25), 50, 750)
SLOT = 'id = "you"\nstart = 12.6\nduration = 7\nface = {x = 0.3, y = 0.1, w = 0.4, h = 0.8}\n'


@pytest.fixture
def master(tmp_path: Path) -> Path:
    return tmp_path / "part2.mov"


def said(master: Path, text: str) -> Sidecar:
    master.with_suffix(".toml").write_text(text, "utf-8")
    return read_sidecar(master, GRID)


def test_without_a_sidecar_the_title_is_the_name(master: Path):
    assert read_sidecar(master, GRID) == Sidecar(title="part2")


def test_a_slot_is_read_exactly(master: Path):
    read = said(master, f'title = "Part two"\nlanguage = "fr"\n[[slot]]\n{SLOT}')
    (slot,) = read.slots
    assert (read.title, read.language) == ("Part two", "fr")
    assert (slot.start_s, slot.duration_s, slot.face) == (Fraction(63, 5), Fraction(7), Placement(0.3, 0.1, 0.4, 0.8))
    assert read.narration(slot) is None


@pytest.mark.parametrize("consent", ["", 'speaker_consent = "  "\n'])
def test_a_voice_whose_speaker_is_not_known_to_have_agreed_is_warned_of(master: Path, consent: str):
    (warning,) = speaker_notes(said(master, f"[[slot]]\n{SLOT}{consent}").slots)
    assert "'you'" in warning
    assert "speaker_consent" in warning


def test_a_speaker_who_has_agreed_is_no_reason_for_a_warning(master: Path):
    assert speaker_notes(said(master, f'[[slot]]\n{SLOT}speaker_consent = "signed 2026-03-01"\n').slots) == ()


def test_markers_are_read_exactly_and_in_their_order(master: Path):
    text = '[[marker]]\nat = 12.6\ntitle = "The door"\n[[marker]]\nat = 0\ntitle = "Dusk"\n'
    assert said(master, text).markers == (Marker(Fraction(0), "Dusk"), Marker(Fraction(63, 5), "The door"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[marker]\nat = 1\ntitle = "a"', r"\[\[marker\]\]"),
        ("[[marker]]\nat = 1", "lacks the key 'title'"),
        ('[[marker]]\nat = "1"\ntitle = "a"', "wrong kind"),
        ('[[marker]]\nat = 30\ntitle = "a"', "outside the chapter"),
        ('[[marker]]\nat = 1\ntitle = "a"\nid = 1', "'id' is unknown"),
    ],
)
def test_a_wrong_marker_is_refused(master: Path, text: str, reason: str):
    with pytest.raises(BadSidecar, match=reason):
        said(master, text)


def test_a_narration_beside_the_master_belongs_to_its_slot(master: Path):
    wav = master.with_name("part2.slot.you.wav")
    wav.write_bytes(b"")
    read = said(master, f"[[slot]]\n{SLOT}")
    assert read.narration(read.slots[0]) == wav


def test_a_dot_in_the_name_is_part_of_it(tmp_path: Path):
    (tmp_path / "part2.v3.toml").write_text('title = "Third cut"')
    assert read_sidecar(tmp_path / "part2.v3.mov", GRID).title == "Third cut"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("title = ", "invalid|value"),
        ('titel = "x"', "the key 'titel' is unknown"),
        ("slot = 3", "slot"),
        ('slot = ["a"]', "slot"),
        (f'[[slot]]\n{SLOT}colour = "red"', "the key 'colour' is unknown"),
        ("[[slot]]\nid = 'you'", "lacks the key"),
        (f"[[slot]]\n{SLOT}".replace("12.6", "29"), "does not lie inside the chapter of 30 s"),
        (f"[[slot]]\n{SLOT}".replace("12.6", "-1"), "does not lie inside"),
        (f"[[slot]]\n{SLOT}".replace("12.6", '"12"'), "not a number of seconds"),
        (f"[[slot]]\n{SLOT}".replace("12.6", "nan"), "not a number of seconds|wrong kind"),
        (f"[[slot]]\n{SLOT}".replace("12.6", "inf"), "not a number of seconds|wrong kind"),
        (f"[[slot]]\n{SLOT}".replace("0.4", "0.9"), "outside the picture"),
        (f"[[slot]]\n{SLOT}".replace("w = 0.4", "w = 0"), "outside the picture"),
        (f"[[slot]]\n{SLOT}".replace("{x", "{q"), "face must be"),
        (f"[[slot]]\n{SLOT}".replace('"you"', '"../x"'), "cannot be the id"),
        (f'[[slot]]\n{SLOT}compose = "fast"', "'moving' or 'still'"),
        (f'[[slot]]\n{SLOT}mask = "no.png"', "beside it"),
        (f'[[slot]]\n{SLOT}mask = "../no.png"', "beside it"),
        (f"[[slot]]\n{SLOT}mask = 3", "mask"),
        (f"[[slot]]\n{SLOT}[[slot]]\n{SLOT}", "the same id"),
        (f"[[slot]]\n{SLOT}grain = 40", "grain must be"),
        (f"[[slot]]\n{SLOT}grain = 'much'", "not a number of levels"),
    ],
)
def test_what_is_wrong_is_said_with_the_name_of_the_file(master: Path, text: str, reason: str):
    with pytest.raises(BadSidecar, match=reason) as caught:
        said(master, text)
    assert "part2.toml" in str(caught.value)


def test_bytes_that_are_no_text_are_refused(master: Path):
    master.with_suffix(".toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadSidecar):
        read_sidecar(master, GRID)


@pytest.mark.parametrize("language", ['""', '"english language"', '"../x"', "3"])
def test_a_language_that_is_no_tag_is_refused(master: Path, language: str):
    with pytest.raises(BadSidecar, match="language"):
        said(master, f"language = {language}")


@pytest.mark.parametrize(("start", "duration"), [(0, 7), (23, 7), (0, 30), (19.7, 2), (12.6, 7)])
def test_a_slot_may_be_at_the_very_start_or_end_and_share_segments_with_another(
    master: Path, start: float, duration: float
):
    other = SLOT.replace("you", "me").replace("12.6", str(start)).replace("duration = 7", f"duration = {duration}")
    read = said(master, f"[[slot]]\n{SLOT}[[slot]]\n{other}grain = 2.5")
    assert [slot.id for slot in read.slots] == ["you", "me"]
    assert read.slots[1].grain == 2.5
