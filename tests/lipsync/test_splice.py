"""An insert inside the chapter's own files: its times, its parameter sets and its pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from encoder import stages
from encoder.bitstreams import parameter_sets
from encoder.boxes import decode_time, read_samples
from encoder.model import Presentation
from encoder.tools import Tools, run_tool
from lipsync.errors import InsertDoesNotFit, RenderFailed
from lipsync.protocols import Fragment
from lipsync.splice import Frame, encode_insert, mezzanine_frames

SIZE = (1280, 720)
SIDECAR = """language = "en"
[[slot]]
id = "you"
start = 3.3
duration = 2
face = {x = 0.25, y = 0.25, w = 0.5, h = 0.5}
[[slot]]
id = "begin"
start = 0
duration = 1
face = {x = 0.25, y = 0.25, w = 0.5, h = 0.5}
[[slot]]
id = "end"
start = 7
duration = 1
face = {x = 0.25, y = 0.25, w = 0.5, h = 0.5}
"""


@pytest.fixture(scope="module", params=["25", "30000/1001"])
def version(request: pytest.FixtureRequest, tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published chapter of 8 s at 1280x720 (two rungs): slots in segments 1 and 2, at the very start and the end."""
    folder = tmp_path_factory.mktemp("chapter")
    raw, media = folder / "raw", folder / "media"
    raw.mkdir()
    media.mkdir()
    source = f"testsrc2=s=1280x720:r={request.param}:d=8"
    inputs = ["-f", "lavfi", "-i", source, "-f", "lavfi", "-i", "sine=220:r=48000:d=8"]
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "pcm_s16le"]
    run_tool([str(tools.ffmpeg), "-v", "error", *inputs, *codec, str(raw / "part.mov")])
    (raw / "part.toml").write_text(SIDECAR)
    plan = stages.plan(raw / "part.mov", tools)
    stages.encode(plan, media, tools)
    stages.assemble(plan, media, tools)
    stages.verify(plan, media, tools)
    return stages.publish_version(plan, media)


@pytest.fixture(scope="module")
def presentation(version: Path) -> Presentation:
    return Presentation.load(version)


def white_frames(version: Path, presentation: Presentation, tools: Tools, at: int = 0) -> Iterator[Frame]:
    """The chapter's own frames; those within a slot have a white box in the middle."""
    slot = presentation.slots[at]
    first = presentation.grid.frames_of(presentation.segments_of(slot)[0]).start
    inside = presentation.grid.frames_within(slot.start_s, slot.duration_s)
    numbers = presentation.segments_of(slot)
    for number, frame in enumerate(
        mezzanine_frames(version, presentation, slot, tools, segments=numbers, size=SIZE), start=first
    ):
        if number in inside:
            frame[300:420, 540:740] = 235
            frame[720:, :] = 128
        yield frame


@pytest.fixture(scope="module")
def insert(version: Path, presentation: Presentation, tools: Tools) -> list[Fragment]:
    frames = white_frames(version, presentation, tools)
    return list(encoded(frames, presentation, tools))


def encoded(frames: Iterable[Frame], presentation: Presentation, tools: Tools) -> Iterator[Fragment]:
    """The insert of the first slot, for every rung."""
    numbers = presentation.segments_of(presentation.slots[0])
    return encode_insert(frames, presentation, tools, renditions=presentation.videos, numbers=numbers, size=SIZE)


def chapter_segment(version: Path, presentation: Presentation, fragment: Fragment) -> bytes:
    rendition = presentation.rendition(fragment.rendition)
    assert rendition is not None
    segment = rendition.segments[fragment.number]
    data = (version / rendition.file).read_bytes()
    return data[segment.offset : segment.offset + segment.size]


def spliced(version: Path, presentation: Presentation, insert: list[Fragment], rendition_id: str) -> bytes:
    rendition = presentation.rendition(rendition_id)
    assert rendition is not None
    own = {f.number: f.data for f in insert if f.rendition == rendition_id}
    data = (version / rendition.file).read_bytes()
    parts = [own.get(n, data[s.offset : s.offset + s.size]) for n, s in enumerate(rendition.segments)]
    return data[: rendition.init_size] + b"".join(parts)


def grey(file: Path, tools: Tools) -> np.ndarray:
    """All frames, reduced to 64 x 36 grey, as (frames, 36, 64)."""
    command = [str(tools.ffmpeg), "-v", "error", "-xerror", "-err_detect", "explode", "-i", str(file)]
    raw = run_tool([*command, "-vf", "scale=64:36:flags=area,format=gray", "-f", "rawvideo", "-"])
    return np.frombuffer(raw, np.uint8).reshape(-1, 36, 64).astype(float)


def test_a_mezzanine_can_be_read_from_any_of_its_segments(version: Path, presentation: Presentation, tools: Tools):
    slot, small = presentation.slots[0], (320, 180)
    whole = list(mezzanine_frames(version, presentation, slot, tools, segments=range(1, 3), size=small))
    later = list(mezzanine_frames(version, presentation, slot, tools, segments=range(2, 3), size=small))
    per_segment = presentation.grid.frames_per_segment
    assert len(whole) == 2 * per_segment
    assert len(later) == per_segment
    assert all(np.array_equal(one, other) for one, other in zip(whole[per_segment:], later, strict=True))


def test_one_rung_and_one_segment_can_be_made_alone(version: Path, presentation: Presentation, tools: Tools):
    small = presentation.videos[-1]
    assert small.picture is not None
    size = (small.picture.width, small.picture.height)
    frames = mezzanine_frames(version, presentation, presentation.slots[0], tools, segments=range(2, 3), size=size)
    (only,) = encode_insert(frames, presentation, tools, renditions=[small], numbers=range(2, 3), size=size)
    assert (only.rendition, only.number) == (small.id, 2)
    assert decode_time(only.data) == decode_time(chapter_segment(version, presentation, only))


def test_every_rung_gets_every_touched_segment_once(presentation: Presentation, insert: list[Fragment]):
    assert list(presentation.segments_of(presentation.slots[0])) == [1, 2]
    assert sorted((f.rendition, f.number) for f in insert) == [
        (rung, n) for rung in ("video_432p_h264", "video_720p_h264") for n in (1, 2)
    ]


def test_decode_times_and_durations_are_those_of_the_segment_that_is_replaced(
    version: Path, presentation: Presentation, insert: list[Fragment]
):
    for fragment in insert:
        replaced = chapter_segment(version, presentation, fragment)
        assert decode_time(fragment.data) == decode_time(replaced)
        new, old = read_samples(fragment.data), read_samples(replaced)
        assert [s.duration for s in new] == [s.duration for s in old]
        assert [s.sync for s in new] == [True] + [False] * (len(old) - 1)


def test_the_chapter_says_which_colours_it_has(version: Path, presentation: Presentation, tools: Tools):
    asked = "stream=color_space,color_primaries,color_transfer,color_range"
    for rendition in presentation.videos:
        file = str(version / rendition.file)
        said = run_tool([str(tools.ffprobe), "-v", "error", "-show_entries", asked, "-of", "default=nk=1:nw=1", file])
        assert said.split() == [b"tv", b"bt709", b"bt709", b"bt709"]


def test_the_init_reserves_the_pair_that_the_insert_uses(version: Path, presentation: Presentation):
    for rendition in presentation.videos:
        assert rendition.insert is not None
        sets = parameter_sets((version / rendition.file).read_bytes()[: rendition.init_size])
        assert len(sets.sps) == len(sets.pps) == 2
        assert (sets.sps[1], sets.pps[1]) == (rendition.insert.sps, rendition.insert.pps)


def test_the_spliced_stream_decodes_without_error_and_differs_inside_the_slot_only(
    version: Path, presentation: Presentation, insert: list[Fragment], tools: Tools, tmp_path: Path
):
    inside = presentation.grid.frames_within(presentation.slots[0].start_s, presentation.slots[0].duration_s)
    for rendition in presentation.videos:
        mixed = tmp_path / rendition.file
        mixed.write_bytes(spliced(version, presentation, insert, rendition.id))
        own, personal = grey(version / rendition.file, tools), grey(mixed, tools)
        assert len(personal) == presentation.grid.frames
        outside = [n for n in range(len(own)) if n not in inside]
        assert np.abs(personal[outside] - own[outside]).mean(axis=(1, 2)).max() < 3
        assert personal[list(inside), 16:20, 28:36].min() > 220


@pytest.mark.parametrize("at", [1, 2])
def test_slots_at_the_very_start_and_the_very_end_are_spliced_like_any_other(
    at: int, version: Path, presentation: Presentation, tools: Tools, tmp_path: Path
):
    slot, rung = presentation.slots[at], presentation.videos[-1]
    numbers, inside = presentation.segments_of(slot), presentation.grid.frames_within(slot.start_s, slot.duration_s)
    assert list(numbers) == [{"begin": 0, "end": len(rung.segments) - 1}[slot.id]]
    frames = white_frames(version, presentation, tools, at)
    made = list(encode_insert(frames, presentation, tools, renditions=[rung], numbers=numbers, size=SIZE))
    mixed = tmp_path / rung.file
    mixed.write_bytes(spliced(version, presentation, made, rung.id))
    personal = grey(mixed, tools)
    assert len(personal) == presentation.grid.frames
    white = personal[:, 16:20, 28:36].min(axis=(1, 2)) > 220
    assert set(np.flatnonzero(white)) >= set(inside)
    assert [decode_time(one.data) for one in made] == [decode_time(chapter_segment(version, presentation, made[0]))]


def test_no_segment_of_an_insert_is_above_the_peak_that_its_rung_declares(
    presentation: Presentation, insert: list[Fragment]
):
    for fragment in insert:
        rendition = presentation.rendition(fragment.rendition)
        assert rendition is not None
        seconds = Fraction(rendition.segments[fragment.number].duration, rendition.timescale)
        assert 8 * len(fragment.data) / seconds <= rendition.bandwidth_bps


def test_an_insert_with_other_parameter_sets_is_refused(version: Path, presentation: Presentation, tools: Tools):
    top = presentation.videos[0]
    assert top.insert is not None
    other = replace(top, insert=replace(top.insert, pps=top.insert.pps + b"\1"))
    changed = replace(presentation, renditions=(other, *presentation.renditions[1:]))
    with pytest.raises(InsertDoesNotFit):
        list(encoded(white_frames(version, presentation, tools), changed, tools))


def test_missing_pictures_are_a_failed_render(version: Path, presentation: Presentation, tools: Tools):
    frames = (f for n, f in enumerate(white_frames(version, presentation, tools)) if n < 70)
    with pytest.raises(RenderFailed):
        list(encoded(frames, presentation, tools))


def test_an_error_while_drawing_reaches_the_caller(version: Path, presentation: Presentation, tools: Tools):
    def frames() -> Iterator[Frame]:
        yield next(white_frames(version, presentation, tools))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(encoded(frames(), presentation, tools))


def test_closing_the_iterator_ends_the_work(version: Path, presentation: Presentation, tools: Tools):
    fragments = encoded(white_frames(version, presentation, tools), presentation, tools)
    first = next(fragments)
    fragments.close()
    assert first.number == 1
    assert list(fragments) == []
