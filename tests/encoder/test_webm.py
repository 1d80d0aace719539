"""WebM as it is read: clusters, blocks, cues, and the head that tells of alpha."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from encoder import webm
from encoder.chunk import Chunk
from encoder.errors import BadBoxes, VerificationFailed
from encoder.model import Grid
from encoder.tools import Tools, run_tool

GRID = Grid(Fraction(25), 10, 25)
VP9 = ("-c:v", "libvpx-vp9", "-g", "10", "-keyint_min", "10", "-b:v", "100k", "-cluster_time_limit", "30000")


def make(path: Path, tools: Tools, *, alpha: bool = True, frames: int = 25) -> Path:
    format_ = "yuva420p" if alpha else "yuv420p"
    source = ("-f", "lavfi", "-i", f"testsrc2=s=64x64:r=25:alpha=128,format={format_}", "-frames:v", str(frames))
    run_tool((str(tools.ffmpeg), "-v", "error", "-y", *source, *VP9, str(path)))
    return path


@pytest.fixture(scope="module")
def film(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("webm")
    made, listed = make(folder / "chunk.webm", tools), folder / "list.ffconcat"
    listed.write_text(webm.listing([(Chunk(0, range(3), range(25)), made)], folder, GRID))
    run_tool(webm.join_command(listed, folder / "film.webm", tools))
    return folder / "film.webm"


def test_segments_are_clusters_and_the_index_is_the_cues(film: Path):
    layout, data = webm.read_layout(film, GRID), film.read_bytes()
    assert [segment.duration for segment in layout.segments] == [400, 400, 200]
    assert data[layout.index_offset :][:4] == webm.CUES.to_bytes(4, "big")
    for segment in layout.segments:
        assert data[segment.offset :][:4] == webm.CLUSTER.to_bytes(4, "big")
    assert layout.segments[-1].offset + layout.segments[-1].size == len(data)


def test_a_film_that_is_whole_passes(film: Path):
    webm.check(film, GRID, range(3))
    assert webm.has_alpha_mode(film)


def test_a_film_that_has_lost_its_alpha_is_found(tools: Tools, tmp_path: Path):
    with pytest.raises(VerificationFailed, match="lost its transparency"):
        webm.check(make(tmp_path / "opaque.webm", tools, alpha=False), GRID, range(3))


def test_a_head_that_does_not_tell_of_alpha_is_found(film: Path, tmp_path: Path):
    silent = tmp_path / "silent.webm"
    silent.write_bytes(film.read_bytes().replace(b"\x53\xc0\x81\x01", b"\x53\xc0\x81\x00"))
    with pytest.raises(VerificationFailed, match="head"):
        webm.check(silent, GRID, range(3))


def test_a_film_with_other_pictures_than_the_grid_is_found(tools: Tools, tmp_path: Path):
    with pytest.raises(VerificationFailed, match="grid"):
        webm.check(make(tmp_path / "short.webm", tools, frames=24), GRID, range(3))


def test_a_film_that_is_cut_off_anywhere_is_never_read_as_whole(film: Path, tmp_path: Path):
    data, cut = film.read_bytes(), tmp_path / "cut.webm"
    for length in (0, 3, 40, 300, len(data) // 2, len(data) - 1):
        cut.write_bytes(data[:length])
        with pytest.raises((VerificationFailed, BadBoxes)):
            webm.check(cut, GRID, range(3))


def test_cues_behind_the_pictures_are_refused(tools: Tools, tmp_path: Path):
    with pytest.raises(BadBoxes, match="cues in front"):
        webm.read_layout(make(tmp_path / "film.webm", tools), GRID)


def test_growth_counts_whole_clusters(film: Path, tmp_path: Path):
    data, part = film.read_bytes(), tmp_path / "part.webm"
    growth, layout = webm.Growth(part, Chunk(0, range(3), range(25)), GRID), webm.read_layout(film, GRID)
    assert growth.frames() == 0
    part.write_bytes(data[: layout.segments[1].offset + 20])
    assert growth.frames() == 10
    part.write_bytes(data)
    assert growth.frames() == 25


def test_chunks_are_listed_with_exact_lengths():
    grid, folder = Grid(Fraction(30000, 1001), 60, 180), Path("/work")
    chunks = [Chunk(0, range(2), range(120)), Chunk(1, range(2, 3), range(120, 180))]
    listed = webm.listing([(chunk, folder / chunk.folder / "v.webm") for chunk in chunks], folder, grid)
    assert listed.splitlines()[1:] == [
        "file frames_0_120/v.webm",
        "duration 4.004000",
        "file frames_120_180/v.webm",
        "duration 2.002000",
    ]


@pytest.mark.parametrize(
    ("size", "rate", "codecs"),
    [
        ((128, 96), Fraction(25), "vp09.00.10.08"),
        ((1280, 720), Fraction(25), "vp09.00.31.08"),
        ((1920, 1080), Fraction(60), "vp09.00.41.08"),
        ((16384, 16384), Fraction(60), "vp09.00.62.08"),
    ],
)
def test_the_level_is_the_lowest_that_holds_the_picture(size: tuple[int, int], rate: Fraction, codecs: str):
    assert webm.codecs_of(*size, rate) == codecs
