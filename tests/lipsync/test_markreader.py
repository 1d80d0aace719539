"""The mark is read blind, after what happens to videos; benchmarks/mark.py does the same at 1080p with faces."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from encoder.errors import ToolFailed
from encoder.tools import Tools, run_tool
from lipsync.compose import Frame
from lipsync.mark import Mark
from lipsync.markreader import read_mark
from tests.lipsync.scenery import FRAMES, changed, clouds, encode

RATE = Fraction(25)
NUMBER = 0x5EED1E55
SIZE = (960, 540)
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf")


def marked(frames: Iterator[Frame], number: int, size: tuple[int, int], first: int = 0) -> Iterator[Frame]:
    mark = Mark(number, *size, RATE)
    for count, frame in enumerate(frames, first):
        mark.put(frame, count)
        yield frame


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, tools: Tools) -> Path:
    """4.4 s with the mark NUMBER, which begins in the middle of its cycle."""
    target = tmp_path_factory.mktemp("mark") / "marked.mp4"
    return encode(marked(clouds(*SIZE, 1), NUMBER, SIZE, first=345), SIZE, target, tools)


@pytest.mark.parametrize(
    "words",
    [
        ("-vf", "scale=768:432", *X264, "21"),
        ("-vf", "scale=426:240", "-c:v", "libx264", "-crf", "28"),
        ("-vf", "crop=iw*.8:ih*.8,scale=640:360", *X264, "23"),
        ("-vf", "crop=iw*.9:ih*.93:iw*.1:ih*.07", *X264, "23"),
        ("-vf", "crop=iw*.9:ih:0:0,scale=960:540", *X264, "23"),
        ("-vf", "pad=iw*1.1:ih*1.1:-1:-1", *X264, "23"),
        ("-vf", "fps=30", *X264, "23"),
        ("-vf", "fps=24", *X264, "23"),
        ("-c:v", "mpeg4", "-q:v", "5"),
        ("-vf", "scale=480:540,setsar=2", *X264, "23"),
    ],
    ids=lambda words: words[1],
)
def test_the_number_survives(words: tuple[str, ...], video: Path, tmp_path: Path, tools: Tools):
    found = read_mark(changed(video, words, tmp_path / "changed.mp4", tools), tools)
    assert found is not None
    assert found.render_id == NUMBER


def test_it_is_found_where_it_lies_in_a_longer_film(video: Path, tmp_path: Path, tools: Tools):
    before = encode(clouds(*SIZE, 3, frames=150), SIZE, tmp_path / "before.mp4", tools)
    joined = tmp_path / "film.mkv"
    words = ("-filter_complex", "[0:v][1:v][0:v]concat=n=3:v=1,scale=640:-2", "-c:v", "libx264", "-crf", "24")
    run_tool((str(tools.ffmpeg), "-v", "error", "-i", str(before), "-i", str(video), *words, str(joined)))
    found = read_mark(joined, tools)
    assert found is not None
    assert found.render_id == NUMBER
    assert found.end_s > 6, "it begins after 6 s"
    assert found.start_s < 10, "it ends at 10.4 s"


def test_an_upright_picture_carries_it_as_well(tmp_path: Path, tools: Tools):
    size = (360, 640)
    video = encode(marked(clouds(*size, 4), 77, size), size, tmp_path / "upright.mp4", tools)
    found = read_mark(video, tools)
    assert found is not None
    assert found.render_id == 77


def test_of_two_viewers_each_has_their_own(video: Path, tmp_path: Path, tools: Tools):
    other = encode(marked(clouds(*SIZE, 1), NUMBER ^ 1, SIZE, first=345), SIZE, tmp_path / "other.mp4", tools)
    found = read_mark(other, tools)
    assert found is not None
    assert found.render_id == NUMBER ^ 1


def test_nothing_is_read_where_nothing_was_put(tmp_path: Path, tools: Tools):
    for seed in range(10, 14):
        plain = encode(clouds(480, 270, seed), (480, 270), tmp_path / f"{seed}.mp4", tools)
        assert read_mark(plain, tools) is None


def test_a_pulsing_picture_is_no_mark(tmp_path: Path, tools: Tools):
    """Light that changes in the very cycle of the mark, everywhere."""
    size, frames = (480, 270), []
    for number, frame in enumerate(clouds(480, 270, 20)):
        frame[:270] = np.clip(frame[:270] + 2 * np.sin(2 * np.pi * 0.75 * number / 25), 16, 235).astype(np.uint8)
        frames.append(frame)
    assert read_mark(encode(frames, size, tmp_path / "pulse.mp4", tools), tools) is None


def test_a_still_picture_and_a_moment_are_no_mark(tmp_path: Path, tools: Tools):
    still = [next(clouds(480, 270, 5))] * FRAMES
    assert read_mark(encode(still, (480, 270), tmp_path / "still.mp4", tools), tools) is None
    assert read_mark(encode(still[:10], (480, 270), tmp_path / "moment.mp4", tools), tools) is None


def test_what_is_no_video_is_said_so(tmp_path: Path, tools: Tools):
    text, sound = tmp_path / "text.mp4", tmp_path / "sound.mp4"
    text.write_text("no video")
    run_tool((str(tools.ffmpeg), "-v", "error", "-f", "lavfi", "-i", "sine=d=1", str(sound)))
    for file in (text, sound):
        with pytest.raises(ToolFailed):
            read_mark(file, tools)


def test_a_playlist_cannot_make_the_reader_open_another_file(video: Path, tmp_path: Path, tools: Tools):
    hls, concat = tmp_path / "list.m3u8", tmp_path / "list.ffconcat"
    hls.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{video}\n#EXT-X-ENDLIST\n")
    concat.write_text(f"ffconcat version 1.0\nfile '{video}'\n")
    for file in (hls, concat):
        with pytest.raises(ToolFailed):
            read_mark(file, tools)
