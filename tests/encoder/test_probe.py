"""ffprobe's answers to masters, and what is refused before a frame is encoded."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from encoder.errors import (
    EncoderError,
    MasterMissing,
    MasterTruncated,
    MasterUnreadable,
    NoPicture,
    PictureTooSmall,
)
from encoder.model import Sound
from encoder.probe import master_of, probe
from encoder.tools import Tools
from tests.masters import make_master, truncated

VIDEO = {"codec_type": "video", "width": 1920, "height": 1080, "avg_frame_rate": "25/1", "nb_frames": "250"}
FRENCH = ("-metadata:s:a:0", "language=fra")
AUDIO = {"codec_type": "audio", "channels": 6, "tags": {"language": "eng"}}


def master(*streams: dict[str, Any], **container: Any):
    return master_of(Path("a.mov"), {"streams": list(streams), "format": container}, 1)


def test_a_master_is_described_exactly(tools: Tools, tmp_path: Path):
    path = make_master(tmp_path / "it's a «master».mov", rate="30000/1001", frames=75, extra=FRENCH, tools=tools)
    found = probe(path, tools)
    assert (found.width, found.height, found.rate, found.frames) == (320, 180, Fraction(30000, 1001), 75)
    assert found.sound == Sound(2, 48000, "fr")
    assert found.bytes == path.stat().st_size


def test_a_silent_master_has_no_sound(tools: Tools, tmp_path: Path):
    assert probe(make_master(tmp_path / "a.mov", channels=0, frames=5, tools=tools), tools).sound is None


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_a_container_without_a_count_of_frames_tells_its_duration(tools: Tools, tmp_path: Path, suffix: str):
    codec = ("-c:v", "libvpx", "-deadline", "realtime") if suffix == "webm" else ("-c:v", "libx264")
    sound = ("-c:a", "libopus") if suffix == "webm" else ()
    path = make_master(tmp_path / f"a.{suffix}", frames=31, codec=codec, extra=sound, tools=tools)
    assert probe(path, tools).frames == 31


def test_pixels_that_are_not_square_are_counted_as_they_are_seen():
    assert master(VIDEO | {"width": 1440, "sample_aspect_ratio": "4:3"}).width == 1920


def test_a_turned_picture_is_measured_as_it_is_seen():
    found = master(VIDEO | {"side_data_list": [{"rotation": -90}]})
    assert (found.width, found.height) == (1080, 1920)


def test_more_than_two_channels_become_two_and_languages_become_short():
    assert master(VIDEO, AUDIO).sound == Sound(2, 48000, "en")


@pytest.mark.parametrize("tag", ["../../x", "English (UK)", ""])
def test_a_language_that_is_no_tag_is_unknown(tag: str):
    sound = master(VIDEO, AUDIO | {"tags": {"language": tag}}).sound
    assert sound is not None
    assert sound.language == "und"


def test_a_cover_picture_is_no_film():
    with pytest.raises(NoPicture):
        master(VIDEO | {"disposition": {"attached_pic": 1}}, AUDIO)


def test_no_track_at_all_is_unreadable():
    with pytest.raises(MasterUnreadable, match="no video or audio"):
        master()


def test_a_tiny_picture_is_refused():
    with pytest.raises(PictureTooSmall, match="1 x 1"):
        master(VIDEO | {"width": 1, "height": 1})


@pytest.mark.parametrize("rate", ["0/0", "", "25/0", "x"])
def test_an_unknown_rate_is_refused(rate: str):
    with pytest.raises(MasterUnreadable, match="frame rate"):
        master(VIDEO | {"avg_frame_rate": rate})


def test_no_duration_is_refused():
    with pytest.raises(MasterTruncated, match="no duration"):
        master({key: value for key, value in VIDEO.items() if key != "nb_frames"})


def bad_text(folder: Path, _tools: Tools) -> Path:
    path = folder / "notes.mov"
    path.write_text("Dear editor, " * 200)
    return path


def bad_empty(folder: Path, _tools: Tools) -> Path:
    path = folder / "empty.mov"
    path.write_bytes(b"")
    return path


def bad_tail(folder: Path, tools: Tools) -> Path:
    return truncated(make_master(folder / "whole.mov", frames=75, tools=tools), folder / "cut.mov")


def bad_end(folder: Path, tools: Tools) -> Path:
    whole = make_master(folder / "whole.mov", frames=75, extra=("-movflags", "+faststart"), tools=tools)
    return truncated(whole, folder / "cut.mov")


def bad_audio(folder: Path, tools: Tools) -> Path:
    return make_master(folder / "song.mov", picture=False, tools=tools)


@pytest.mark.parametrize(
    ("make", "kind", "says", "hint"),
    [
        (bad_text, MasterUnreadable, "not a readable video file", "Open it in a player"),
        (bad_empty, MasterUnreadable, "not a readable video file", "Open it in a player"),
        (bad_tail, MasterTruncated, "index", "copy or export the file again"),
        (bad_end, MasterTruncated, "last second", "copy or export the file again"),
        (bad_audio, NoPicture, "no video track", "export the master with its picture"),
    ],
    ids=["text", "empty", "index cut off", "pictures cut off", "audio only"],
)
def test_a_bad_master_is_refused_in_words(tools: Tools, tmp_path: Path, *, make, kind, says, hint):
    path = make(tmp_path, tools)
    with pytest.raises(EncoderError, match=says) as caught:
        probe(path, tools)
    assert type(caught.value) is kind
    assert path.name in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert hint in caught.value.hint


def test_a_master_that_is_not_there_is_missing(tools: Tools, tmp_path: Path):
    with pytest.raises(MasterMissing, match=r"'no\.mov'"):
        probe(tmp_path / "no.mov", tools)
