"""What is written to `presentation.json` is what is read from it."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from encoder.errors import BadPresentation
from encoder.model import Grid, InsertFormat, Picture, Placement, Presentation, Rendition, Segment, Slot, Sound

GRID = Grid(Fraction(30000, 1001), 60, 240)
VIDEO = Rendition(
    file="video_1080p_h264.mp4",
    mime="video/mp4",
    codecs="avc1.640028",
    timescale=30000,
    init_size=900,
    index_offset=900,
    index_size=80,
    segments=(Segment(980, 5000, 60060), Segment(5980, 4000, 60060)),
    bandwidth_bps=2_000_000,
    average_bandwidth_bps=1_800_000,
    picture=Picture(1920, 1080, Fraction(30000, 1001)),
    insert=InsertFormat("sps-id=1", "veryfast", b"\x67\x00\xff", b"\x68\x01", 0),
)
AUDIO = Rendition(
    "audio_en.mp4", "audio/mp4", "mp4a.40.2", 48000, 7, 7, 6, (Segment(13, 9, 96),), 1, 1, sound=Sound(2, 48000, "en")
)
SLOTS = (
    Slot("you", Fraction(11, 10), Fraction(3), Placement(0.1, 0.2, 0.3, 0.4), "still", "signed", "mask.png", 1.5),
    Slot("me", Fraction(6), Fraction(1, 3), Placement(0, 0, 1, 1)),
)
WHOLE = Presentation("part2", "abc", "Größe «zwei»", GRID, (VIDEO, AUDIO), SLOTS)


def test_a_presentation_survives_its_json_exactly():
    assert Presentation.from_json(WHOLE.to_json()) == WHOLE


def test_the_json_is_for_people_too():
    said = json.loads(WHOLE.to_json())
    assert said["title"] == "Größe «zwei»"
    assert said["grid"]["rate"] == "30000/1001"
    assert "Größe" in WHOLE.to_json()


def test_a_segment_belongs_to_at_most_one_slot():
    assert WHOLE.segments_of(SLOTS[0]) == range(3)
    assert WHOLE.slot_at(1) == SLOTS[0]
    assert WHOLE.slot_at(3) == SLOTS[1]
    assert WHOLE.personal_segments == {0, 1, 2, 3}


def test_renditions_are_found_by_the_stem_of_their_file():
    assert WHOLE.rendition("audio_en") == AUDIO
    assert WHOLE.rendition("audio_fr") is None
    assert (WHOLE.videos, WHOLE.audios) == ((VIDEO,), (AUDIO,))
    assert VIDEO.size == 9980


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"chapter": "a"}', '{"grid": {"rate": "1/0"}}'])
def test_a_damaged_file_is_one_kind_of_error(tmp_path: Path, text: str):
    (tmp_path / "presentation.json").write_text(text)
    with pytest.raises(BadPresentation, match=r"presentation\.json cannot be read"):
        Presentation.load(tmp_path)


def test_a_missing_file_is_the_same_kind_of_error(tmp_path: Path):
    with pytest.raises(BadPresentation) as caught:
        Presentation.load(tmp_path)
    assert "mediaserver encode" in caught.value.hint


def slots_at(*windows: tuple[str, str]) -> Presentation:
    """A chapter of 20 s in segments of 2 s, with slots a, b, ... from (start, duration) in seconds."""
    place = Placement(0, 0, 1, 1)
    slots = tuple(
        Slot(chr(97 + n), Fraction(start), Fraction(duration), place) for n, (start, duration) in enumerate(windows)
    )
    return replace(WHOLE, grid=Grid(Fraction(25), 50, 500), slots=slots)


@pytest.mark.parametrize(
    ("windows", "carried"),
    [
        ([("3", "2"), ("10", "2")], [range(1, 3), range(5, 6)]),
        ([("3", "2"), ("5", "2")], [range(1, 3), range(3, 4)]),
        ([("5", "2"), ("3", "2")], [range(3, 4), range(1, 3)]),
        ([("3", "1"), ("5", "1/2")], [range(1, 2), range(2, 3)]),
        ([("0", "20"), ("5", "2")], [range(10), range(4, 4)]),
        ([("0", "1"), ("1/2", "1"), ("1", "3")], [range(1), range(1, 1), range(1, 2)]),
        ([("0", "2"), ("18", "2")], [range(1), range(9, 10)]),
        ([("3", "2"), ("3", "2")], [range(1, 3), range(3, 3)]),
    ],
)
def test_every_personal_segment_belongs_to_exactly_one_insert(windows, carried):
    p = slots_at(*windows)
    assert [range(r.start, r.stop) if r else r for r in (p.carried_by(slot) for slot in p.slots)] == carried
    owners = [slot.id for number in range(p.grid.segments) if (slot := p.slot_at(number))]
    assert len(owners) == len(p.personal_segments)
    assert sum(len(p.carried_by(slot)) for slot in p.slots) == len(p.personal_segments)
