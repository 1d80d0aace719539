"""ISO-BMFF boxes, parameter sets and codecs strings, on files that ffmpeg and the packager write here."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder import bitstreams, boxes
from encoder.boxes import Sample
from encoder.commands import FRAGMENTS, package_command
from encoder.errors import BadBoxes
from encoder.model import Grid
from encoder.tools import Tools, run_tool


@pytest.fixture(scope="module")
def flat(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flat file of 3 segments of 12 frames at 6 fps, the last one of 6, with B-frames."""
    folder = tmp_path_factory.mktemp("flat")
    source, target = folder / "source.mp4", folder / "flat.mp4"
    x264 = "keyint=12:min-keyint=12:scenecut=0:bframes=2"
    run_tool(
        [
            *(str(tools.ffmpeg), "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=160x96:r=6:d=5"),
            *("-pix_fmt", "yuv420p", "-c:v", "libx264", "-x264-params", x264, "-movflags", FRAGMENTS, str(source)),
        ]
    )
    run_tool(package_command(source, "video", target, Grid(Fraction(6), 12, 30), tools))
    return target


def fragments(file: Path) -> list[bytes]:
    data = file.read_bytes()
    return [data[s.offset : s.offset + s.size] for s in boxes.read_layout(file).segments]


def test_the_layout_is_init_then_index_then_one_moof_and_mdat_per_segment(flat: Path):
    layout = boxes.read_layout(flat)
    data = flat.read_bytes()
    assert layout.index_offset == layout.init_size
    assert data[layout.index_offset + 4 : layout.index_offset + 8] == b"sidx"
    assert layout.segments[0].offset == layout.index_offset + layout.index_size
    assert [s.duration * 6 // layout.timescale for s in layout.segments] == [12, 12, 6]
    assert sum(s.size for s in layout.segments) + layout.segments[0].offset == len(data)


def test_decode_times_continue_and_the_first_picture_has_no_offset(flat: Path):
    layout = boxes.read_layout(flat)
    times = [boxes.decode_time(fragment) for fragment in fragments(flat)]
    assert times == [0, 2 * layout.timescale, 4 * layout.timescale]
    assert all(boxes.read_samples(fragment)[0].composition_offset == 0 for fragment in fragments(flat))


def test_samples_written_again_are_the_samples_that_were_read(flat: Path):
    for fragment in fragments(flat):
        samples, time = boxes.read_samples(fragment), boxes.decode_time(fragment)
        again = boxes.write_fragment(7, 1, time, samples)
        assert boxes.read_samples(again) == samples
        assert boxes.decode_time(again) == time


def test_a_file_of_rewritten_fragments_decodes_to_the_same_pictures(flat: Path, tools: Tools, tmp_path: Path):
    layout = boxes.read_layout(flat)
    rewritten = tmp_path / "again.mp4"
    parts = [flat.read_bytes()[: layout.init_size]]
    parts += [
        boxes.write_fragment(n, 1, boxes.decode_time(f), boxes.read_samples(f)) for n, f in enumerate(fragments(flat))
    ]
    rewritten.write_bytes(b"".join(parts))
    assert _hashes(rewritten, tools) == _hashes(flat, tools)


def _hashes(file: Path, tools: Tools) -> bytes:
    return run_tool([str(tools.ffmpeg), "-v", "error", "-i", str(file), "-f", "framemd5", "-"]).split(b"#dimensions")[1]


def test_a_second_pair_of_parameter_sets_leaves_the_first_and_the_pictures_alone(
    flat: Path, tools: Tools, tmp_path: Path
):
    layout, data = boxes.read_layout(flat), flat.read_bytes()
    init = data[: layout.init_size]
    before = bitstreams.parameter_sets(init)
    grown = bitstreams.with_parameter_sets(init, b"\x67\x64\x00\x0a\x4b", b"\x68\x4a\xe3\xcb")
    after = bitstreams.parameter_sets(grown)
    assert after.sps == (*before.sps, b"\x67\x64\x00\x0a\x4b")
    assert after.pps == (*before.pps, b"\x68\x4a\xe3\xcb")
    assert bitstreams.codecs_of(grown) == bitstreams.codecs_of(init)
    assert [b.type for b in boxes.boxes(grown)] == [b.type for b in boxes.boxes(init)]
    (tmp_path / "two.mp4").write_bytes(grown + data[layout.init_size :])
    assert [s.size for s in boxes.read_layout(tmp_path / "two.mp4").segments] == [s.size for s in layout.segments]
    assert _hashes(tmp_path / "two.mp4", tools) == _hashes(flat, tools)


def test_the_codecs_parameter_names_profile_and_level_of_the_bitstream(flat: Path):
    init = flat.read_bytes()[: boxes.read_layout(flat).init_size]
    sps = bitstreams.parameter_sets(init).sps[0]
    assert bitstreams.codecs_of(init) == f"avc1.{sps[1:4].hex()}"


@pytest.mark.parametrize(
    "data",
    [b"\0\0\0", b"\0\0\0\x04free", b"\0\0\x01\0moov", struct.pack(">I4sQ", 1, b"mdat", 4)],
    ids=["stray", "below its header", "beyond the end", "large size below its header"],
)
def test_boxes_that_do_not_fit_are_refused(data: bytes):
    with pytest.raises(BadBoxes):
        list(boxes.boxes(data))


def test_a_cut_file_is_refused(flat: Path, tmp_path: Path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(flat.read_bytes()[:-100])
    with pytest.raises(BadBoxes):
        boxes.read_layout(cut)


def test_a_file_without_fragments_is_refused(tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(boxes.make(b"ftyp", b"isom") + boxes.make(b"moov"))
    with pytest.raises(BadBoxes):
        boxes.read_layout(tmp_path / "a.mp4")


@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda u: b"\0\0" not in u and u[-1] and u[0]), max_size=5))
def test_units_come_back_from_a_byte_stream(units: list[bytes]):
    stream = b"".join(b"\0\0\0\1" + unit for unit in units)
    assert list(bitstreams.annexb_units(stream)) == units


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_units_come_back_from_a_sample(units: list[bytes]):
    sample = b"".join(struct.pack(">I", len(unit)) + unit for unit in units)
    assert list(bitstreams.length_prefixed_units(sample)) == units


@given(
    st.lists(
        st.builds(
            Sample, st.binary(max_size=9), st.integers(0, 2**31), st.integers(-(2**31), 2**31 - 1), st.booleans()
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 2**63),
)
def test_any_samples_survive_a_fragment(samples: list[Sample], time: int):
    fragment = boxes.write_fragment(1, 1, time, tuple(samples))
    assert boxes.read_samples(fragment) == tuple(samples)
    assert boxes.decode_time(fragment) == time
