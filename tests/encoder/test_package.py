"""What lies in a packaged file: one index, the grid, and a second pair of parameter sets that inserts use."""

from __future__ import annotations

import struct
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from encoder import package, stages
from encoder.bitstreams import annexb_units, parameter_sets
from encoder.boxes import decode_time, edit_start, read_layout, read_samples
from encoder.chunk import fragments as fragments_of
from encoder.commands import FRAGMENTS, TAGGED
from encoder.errors import EncoderError, VerificationFailed
from encoder.insert import insert_encoder
from encoder.model import Presentation, Rendition
from encoder.tools import Tools, run_tool
from tests.encoder.conftest import Published
from tests.manifests.hlsrules import peak_bps
from tests.masters import make_master, with_slot


def fragments(folder: Path, rendition: Rendition) -> list[bytes]:
    data = (folder / rendition.file).read_bytes()
    return [data[s.offset : s.offset + s.size] for s in rendition.segments]


def test_the_description_is_what_the_file_says(published: Published):
    for rendition in published.presentation.renditions:
        layout = read_layout(published.folder / rendition.file)
        assert (layout.segments, layout.timescale) == (rendition.segments, rendition.timescale)
        assert (layout.init_size, layout.index_offset, layout.index_size) == (
            rendition.init_size,
            rendition.index_offset,
            rendition.index_size,
        )
        assert rendition.size == (published.folder / rendition.file).stat().st_size


def test_every_segment_begins_on_the_grid_with_a_key_frame(published: Published):
    grid = published.presentation.grid
    assert (grid.rate, grid.frames_per_segment, grid.frames, grid.segments) == (Fraction(30000, 1001), 60, 110, 2)
    for rendition in published.presentation.videos:
        for number, fragment in enumerate(fragments(published.folder, rendition)):
            samples = read_samples(fragment)
            assert Fraction(decode_time(fragment), rendition.timescale) == grid.frames_of(number).start / grid.rate
            assert len(samples) == len(grid.frames_of(number))
            assert [sample.sync for sample in samples] == [True] + [False] * (len(samples) - 1)
            assert sum(sample.duration for sample in samples) == rendition.segments[number].duration


def test_the_sound_is_as_long_as_the_picture(published: Published):
    (audio,) = published.presentation.audios
    seconds = Fraction(sum(s.duration for s in audio.segments), audio.timescale)
    assert 0 <= seconds - published.presentation.grid.duration_s <= Fraction(2 * 1024, 48000)
    assert audio.codecs == "mp4a.40.2"


def test_the_init_reserves_a_second_pair_for_inserts(published: Published):
    for rendition in published.presentation.videos:
        init = (published.folder / rendition.file).read_bytes()[: rendition.init_size]
        sets = parameter_sets(init)
        assert (len(sets.sps), len(sets.pps)) == (2, 2)
        assert rendition.insert is not None
        assert (sets.sps[1], sets.pps[1]) == (rendition.insert.sps, rendition.insert.pps)
        assert sets.sps[0] != sets.sps[1]


def test_an_insert_of_other_pictures_has_exactly_the_reserved_sets(published: Published, tools: Tools):
    for rendition in published.presentation.videos:
        picture, insert = rendition.picture, rendition.insert
        assert picture is not None
        assert insert is not None
        source = f"testsrc2=s={picture.width}x{picture.height}:r={picture.rate},{TAGGED}"
        command = [str(tools.ffmpeg), "-v", "error", "-f", "lavfi", "-i", source, "-frames:v", "60"]
        command += [*insert_encoder(insert.preset, insert.x264_params), "-f", "h264", "-"]
        sets = {unit for unit in annexb_units(run_tool(command)) if unit[0] & 0x1F in (7, 8)}
        assert sets == {insert.sps, insert.pps}


def test_the_declared_peak_holds_for_every_run_of_segments(published: Published):
    for rendition in published.presentation.renditions:
        times_s = [Decimal(s.duration) / rendition.timescale for s in rendition.segments]
        target_s = max(1, round(max(times_s)))
        assert peak_bps([s.size for s in rendition.segments], times_s, target_s) <= rendition.bandwidth_bps
        assert rendition.average_bandwidth_bps > 0


def test_no_segment_of_an_insert_is_above_the_peak_that_its_rung_declares_not_even_of_noise(
    published: Published, tools: Tools, tmp_path: Path
):
    """A whole segment and the shortest one whose rate counts for itself."""
    p, video = published.presentation, published.presentation.videos[0]
    assert video.insert is not None
    command = [str(tools.ffmpeg), "-v", "error", "-f", "lavfi", "-i", f"color=s=320x180:r={p.grid.rate}:c=gray"]
    command += ["-vf", f"noise=alls=100:allf=t,{TAGGED}", "-frames:v", str(p.grid.frames)]
    command += [*insert_encoder(video.insert.preset, video.insert.x264_params), "-movflags", FRAGMENTS]
    run_tool([*command, str(tmp_path / "noise.mp4")])
    with (tmp_path / "noise.mp4").open("rb") as opened:
        sizes = [len(fragment) for fragment in fragments_of(opened)]
    times_s = [len(p.grid.frames_of(n)) / p.grid.rate for n in range(p.grid.segments)]
    rates_bps = [8 * size / time_s for size, time_s in zip(sizes, times_s, strict=True)]
    assert video.bandwidth_bps * 0.7 < max(rates_bps) <= video.bandwidth_bps


def test_a_trick_play_rendition_is_key_frames_that_end_with_the_chapter(published: Published):
    p = published.presentation
    (trick,) = p.tricks
    assert [Fraction(s.duration, trick.timescale) for s in trick.segments] == [
        *([Fraction(1001, 1000)] * 3),
        p.grid.duration_s - 3 * Fraction(1001, 1000),
    ]
    data = (published.folder / trick.file).read_bytes()
    for segment in trick.segments:
        (only,) = read_samples(data[segment.offset :][: segment.size])
        assert (only.sync, only.duration) == (True, segment.duration)


def test_a_file_that_is_not_whole_is_found_by_decoding(published: Published, tools: Tools, tmp_path: Path):
    video = published.presentation.videos[0]
    data = bytearray((published.folder / video.file).read_bytes())
    last = video.segments[-1]
    data[last.offset + last.size // 2 : last.offset + last.size // 2 + 400] = b"\xff" * 400
    (tmp_path / video.file).write_bytes(data)
    with pytest.raises(EncoderError):
        package.verify(video, tmp_path, published.presentation.grid, tools)


def test_a_file_that_leaves_the_grid_is_not_published(published: Published, tools: Tools):
    grid, video = published.presentation.grid, published.presentation.videos[0]
    with pytest.raises(VerificationFailed, match="segments, 3 were planned"):
        package.verify(video, published.folder, replace(grid, frames=130), tools)
    with pytest.raises(VerificationFailed, match="segment 1 does not lie on the grid"):
        package.verify(video, published.folder, replace(grid, frames=109), tools)


def test_ranges_that_are_not_those_of_the_file_are_not_published(published: Published, tools: Tools):
    video = published.presentation.videos[0]
    first, *others = video.segments
    moved = replace(video, segments=(replace(first, size=first.size - 1), *others))
    with pytest.raises(VerificationFailed, match="index"):
        package.verify(moved, published.folder, published.presentation.grid, tools)


def test_a_sound_that_is_late_or_too_short_is_not_published(published: Published, tools: Tools, tmp_path: Path):
    grid, audio = published.presentation.grid, published.presentation.audios[0]
    with pytest.raises(VerificationFailed, match="as long as the picture"):
        package.verify(audio, published.folder, replace(grid, frames=grid.frames + 2), tools)
    data = bytearray((published.folder / audio.file).read_bytes())
    assert edit_start(bytes(data)) == 1024
    struct.pack_into(">i", data, data.index(b"elst") + 16, 9000)
    (tmp_path / audio.file).write_bytes(data)
    with pytest.raises(VerificationFailed, match="begin with the picture"):
        package.verify(audio, tmp_path, grid, tools)


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("film rate", {"rate": "24000/1001", "frames": 60}, (320, 180)),
        ("odd size", {"size": "321x181", "codec": ("-c:v", "ffv1"), "frames": 30}, (320, 180)),
        ("silent", {"channels": 0, "frames": 30}, (320, 180)),
        ("mono", {"channels": 1, "frames": 30}, (320, 180)),
        ("one frame", {"channels": 0, "frames": 1}, (320, 180)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_masters_of_other_kinds_become_whole_chapters(tools: Tools, tmp_path: Path, name: str, options, size):
    suffix = "mkv" if "codec" in options else "mov"
    master = make_master(tmp_path / "raw" / f"{name}.{suffix}", tools=tools, **options)
    plan = stages.plan(master, tools)
    stages.encode(plan, tmp_path / "media", tools)
    stages.assemble(plan, tmp_path / "media", tools)
    stages.verify(plan, tmp_path / "media", tools)
    folder = stages.publish_version(plan, tmp_path / "media")
    p = Presentation.load(folder)
    (video,) = p.videos
    assert video.picture is not None
    assert (video.picture.width, video.picture.height) == size
    assert sum(len(read_samples(f)) for f in fragments(folder, video)) == options["frames"]
    channels = options.get("channels", 2)
    assert [audio.sound.channels for audio in p.audios if audio.sound] == ([channels] if channels else [])


def test_a_slot_in_a_silent_master_needs_a_narration_of_its_own(tools: Tools, tmp_path: Path):
    master = make_master(tmp_path / "part2.mov", channels=0, frames=75, tools=tools)
    with_slot(master)
    with pytest.raises(EncoderError, match="slot 'you' has no speech"):
        stages.plan(master, tools)
    make_master(tmp_path / "voice.mov", picture=False, frames=50, tools=tools).rename(tmp_path / "part2.slot.you.wav")
    plan = stages.plan(master, tools)
    stages.encode(plan, tmp_path / "media", tools)
    assert (plan.folder(tmp_path / "media") / stages.WORK / "slot_you.narration.wav").stat().st_size > 16000
