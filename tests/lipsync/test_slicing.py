"""A box of a still picture, spliced: what a decoder shows is what the box's encoder has meant, to the bit."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from encoder.bitstreams import annexb_units
from encoder.boxes import Sample, boxes, read_samples
from encoder.insert import INSERT_PRESET, insert_encoder, insert_x264
from encoder.model import Grid, InsertFormat, Picture, Rendition
from encoder.tools import Tools, open_tool, run_tool
from lipsync.box import Box
from lipsync.compose import Frame
from lipsync.errors import RenderFailed
from lipsync.inlay import Backdrop, Inlay, spliced, spread
from lipsync.slicing import SlicedRung, backdrop, box_command, fits

GRID = Grid(Fraction(25), 10, 30)
PEAK_BPS = 20_000_000
FRAMES = 25


def rendition(width: int, height: int, tools: Tools, x264: str = "") -> Rendition:
    """One with parameter sets as the publisher reserves them."""
    params = insert_x264(GRID.frames_per_segment, "4.0", PEAK_BPS, Fraction(2, 5)) + x264
    stream = run_tool(
        [
            *(str(tools.ffmpeg), "-v", "error", "-f", "lavfi", "-i", f"color=black:s={width}x{height}:r=25"),
            *("-frames:v", "1", *insert_encoder(INSERT_PRESET, params), "-f", "h264", "pipe:1"),
        ]
    )
    units = {unit[0] & 31: unit for unit in annexb_units(stream)}
    insert = InsertFormat(params, INSERT_PRESET, units[7], units[8], 0)
    picture = Picture(width, height, Fraction(25))
    return Rendition("v.mp4", "video/mp4", "avc1", 12800, 0, 0, 0, (), PEAK_BPS, PEAK_BPS, picture, insert=insert)


def noisy(width: int, height: int, seed: int) -> Frame:
    """A picture with detail everywhere, I420."""
    chance = np.random.default_rng(seed)
    coarse = chance.integers(30, 220, (height * 3 // 2 // 6 + 1, width // 6 + 1), np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((6, 6), np.uint8))[: height * 3 // 2, :width])


def moving(still: Frame, rung: SlicedRung, area: Box, seed: int) -> Iterator[Frame]:
    """The box of one picture after another: within `area` something drifts and flickers; about it nothing does."""
    box, (height, width) = rung.inlay.pixels, still.shape
    lines = height * 2 // 3
    chance = np.random.default_rng(seed)
    for number in range(FRAMES):
        luma = still[:lines].copy()
        moved = np.roll(luma, (number, -2 * number), (0, 1))[area.rows, area.columns]
        luma[area.rows, area.columns] = moved // 2 + chance.integers(0, 90, dtype=np.uint8)
        chroma = still[lines:].reshape(2, lines // 2, width // 2)
        half = box.halved
        planes = [luma[box.rows, box.columns], *(plane[half.rows, half.columns] for plane in chroma)]
        yield np.concatenate([plane.reshape(-1) for plane in planes]).reshape(box.h * 3 // 2, box.w)


def encoded(
    frames: Iterator[Frame], rung: SlicedRung, tools: Tools, keys: Sequence[int] = ()
) -> list[tuple[Sample, ...]]:
    """Each fragment's pictures of the box alone."""
    with open_tool(box_command(rung, tools, keys), stdin=True) as child:
        assert child.stdin
        child.stdin.write(b"".join(frame.tobytes() for frame in frames))
        child.stdin.close()
        data = child.stdout.read()
        child.check()
    return [read_samples(data[a.start : b.end]) for a, b in pairwise(boxes(data)) if a.type == b"moof"]


def decoded(pictures: list[Sample], rung: SlicedRung, tools: Tools, folder: Path) -> Frame:
    """What FFmpeg makes of a stream, strictly: luma and chroma, (pictures, height * 3 // 2, width)."""
    insert = rung.rendition.insert
    assert insert
    stream = bytearray()
    for unit in (insert.sps, insert.pps):
        stream += b"\0\0\0\1" + unit
    for sample in pictures:
        at = 0
        while at < len(sample.data):
            size = int.from_bytes(sample.data[at : at + 4], "big")
            stream += b"\0\0\0\1" + sample.data[at + 4 : at + 4 + size]
            at += 4 + size
    path = folder / "whole.h264"
    path.write_bytes(stream)
    strict = ("-v", "error", "-xerror", "-err_detect", "explode", "-f", "h264", "-i", str(path))
    raw = run_tool([str(tools.ffmpeg), *strict, "-f", "rawvideo", "-pix_fmt", "yuv420p", "pipe:1"])
    return np.frombuffer(raw, np.uint8).reshape(len(pictures), rung.inlay.height * 3 // 2, rung.inlay.width)


def random_area(width: int, height: int, seed: int) -> Box:
    chance = random.Random(seed)
    w, h = 2 * chance.randint(10, width // 4), 2 * chance.randint(10, height // 4)
    return Box(2 * chance.randint(0, (width - w) // 2), 2 * chance.randint(0, (height - h) // 2), w, h)


CORNERS = [Box(0, 0, 60, 40), Box(230, 0, 62, 30), Box(0, 130, 50, 50), Box(240, 120, 52, 60), Box(0, 0, 292, 180)]


@pytest.mark.parametrize(
    ("size", "area", "seed"),
    [((292, 180), corner, 1) for corner in CORNERS]
    + [(size, random_area(*size, seed), seed) for seed, size in enumerate([(256, 144), (292, 180), (322, 242)] * 3)],
)
def test_the_decoder_shows_what_the_encoder_of_the_box_meant(
    size: tuple[int, int], area: Box, seed: int, tools: Tools, tmp_path: Path
):
    still = noisy(*size, seed)
    inlay = Inlay.round_area(area, size, *size)
    rung = SlicedRung.of(rendition(*size, tools), inlay, GRID)
    meant = tmp_path / "box.yuv"
    watched = replace(rung, x264=f"{rung.x264}:dump-yuv={meant}")
    behind = backdrop(still, rung, tools)
    fragments = encoded(moving(still, rung, area, seed), watched, tools)
    assert [len(f) for f in fragments] == [10, 10, 5]
    pictures = [spliced(sample, inlay, behind, rung.form) for fragment in fragments for sample in fragment]

    shown = decoded(pictures, rung, tools, tmp_path)

    lines, box = size[1], inlay.pixels
    recon = np.frombuffer(meant.read_bytes(), np.uint8).reshape(FRAMES, box.h * 3 // 2, box.w)
    assert np.array_equal(shown[:, :lines][:, box.rows, box.columns], recon[:, : box.h])
    chroma = shown[:, lines:].reshape(FRAMES, 2, lines // 2, size[0] // 2)[:, :, box.halved.rows, box.halved.columns]
    assert np.array_equal(chroma, recon[:, box.h :].reshape(FRAMES, 2, box.h // 2, box.w // 2))
    outside = shown.copy()
    outside[:, :lines][:, box.rows, box.columns] = 0
    assert (outside[:, :lines] == outside[0, :lines]).all()
    kept = np.ones((lines, size[0]), bool)
    kept[box.rows, box.columns] = False
    difference = (shown[0, :lines].astype(int) - still[:lines])[kept]
    assert kept.sum() == 0 or abs(difference).mean() < 6


def test_pictures_of_another_segment_begin_with_the_same_background(tools: Tools, tmp_path: Path):
    size, area = (256, 144), Box(80, 48, 64, 48)
    still, inlay = noisy(*size, 5), Inlay.round_area(area, size, *size)
    rung = SlicedRung.of(rendition(*size, tools), inlay, GRID)
    behind = backdrop(still, rung, tools)
    fragments = encoded(moving(still, rung, area, 5), rung, tools)
    later = [spliced(sample, inlay, behind, rung.form) for sample in fragments[1]]
    first = [spliced(sample, inlay, behind, rung.form) for sample in fragments[0]]
    own = inlay.pixels
    for pictures in (first, later):
        shown = decoded(pictures, rung, tools, tmp_path)[:, :144].copy()
        shown[:, own.rows, own.columns] = 0
        assert np.array_equal(shown[0], shown[-1])
    assert later[0].data != first[0].data


def test_pictures_that_repeat_the_one_before_need_no_encoder(tools: Tools, tmp_path: Path):
    size, area = (256, 144), Box(80, 48, 64, 48)
    still, inlay = noisy(*size, 5), Inlay.round_area(area, size, *size)
    rung = SlicedRung.of(rendition(*size, tools), inlay, GRID)
    behind, fresh = backdrop(still, rung, tools), [at in (0, 1, 4, 9) for at in range(10)]
    fragments = encoded(moving(still, rung, area, 5), rung, tools, keys=[4, 8, 12, 16, 20, 24])
    assert [len(fragment) for fragment in fragments] == [4] * 6 + [1]
    shown = decoded(spread(fragments[1], fresh, inlay, behind, rung.form), rung, tools, tmp_path)
    same = [np.array_equal(one, other) for one, other in pairwise(shown)]
    assert same == [not new for new in fresh[1:]]
    plain = [spliced(sample, inlay, behind, rung.form) for sample in fragments[1]]
    assert np.array_equal(shown[fresh], decoded(plain, rung, tools, tmp_path))
    for wrong in (fresh[:-1], [True, *fresh[:1], *fresh]):
        with pytest.raises(RenderFailed, match="too"):
            spread(fragments[1], wrong, inlay, behind, rung.form)


def test_parameter_sets_of_the_ordinary_kind_are_told_apart(tools: Tools):
    assert fits(rendition(256, 144, tools))
    assert not fits(rendition(256, 144, tools, ":cabac=1"))
    assert not fits(replace(rendition(256, 144, tools), insert=None))


@pytest.mark.parametrize("size", [(1920, 1080), (1280, 720), (854, 480), (768, 432), (256, 144)])
@pytest.mark.parametrize("area", [Box(0, 0, 20, 20), Box(900, 500, 490, 318), Box(1800, 1000, 120, 80)])
def test_box_and_surroundings_cover_every_macroblock_once(size: tuple[int, int], area: Box):
    inlay = Inlay.round_area(area, (1920, 1080), *size)
    covered = np.zeros((inlay.height, inlay.width), int)
    for part in (inlay.pixels, *inlay.surroundings):
        covered[part.rows, part.columns] += 1
    assert (covered == 1).all()
    x, y = area.x * size[0] / 1920, area.y * size[1] / 1080
    inner = inlay.inner
    assert inner.x <= x
    assert inner.y <= y
    assert inner.x + inner.w >= min(size[0], x + area.w * size[0] / 1920)
    assert inner.y + inner.h >= min(size[1], y + area.h * size[1] / 1080)
    in_gaps = sum(count for _, count in inlay.gaps)
    assert in_gaps == inlay.columns * inlay.rows - (inlay.x1 - inlay.x0) * (inlay.y1 - inlay.y0)


def test_the_background_is_small_enough_for_the_peak(tools: Tools):
    size, area = (640, 360), Box(200, 100, 100, 80)
    chance = np.random.default_rng(3)
    still = chance.integers(0, 255, (540, 640), np.uint8)
    rung = SlicedRung.of(
        replace(rendition(*size, tools), bandwidth_bps=600_000), Inlay.round_area(area, size, *size), GRID
    )
    behind: Backdrop = backdrop(still, rung, tools)
    assert behind.size * 8 < 600_000 * Fraction(2, 5)
