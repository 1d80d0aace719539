"""A box of macroblocks inside a still picture: where it lies, and its slices among the background's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor, gcd

from encoder.bitstreams import length_prefixed_units
from encoder.boxes import Sample
from lipsync.box import Box
from lipsync.errors import RenderFailed
from lipsync.slices import KEY_SLICE, OTHER_SLICE, Format, moved, read_slice, renumbered, skipped

MACROBLOCK_PX = 16
RING, MOTION_PX = 3, 32
"""Macroblocks round what changes that are encoded too and never change, and how far the encoder may look for motion:
what it finds inside, with the 3 samples that interpolation reads beyond (8.4.2.2.1), leads no farther than the ring."""


@dataclass(frozen=True, slots=True)
class Inlay:
    """A box inside a picture of `width` x `height` pixels, in macroblocks: columns x0..x1, rows y0..y1."""

    width: int
    height: int
    x0: int
    y0: int
    x1: int
    y1: int

    @classmethod
    def round_area(cls, area: Box, whole: tuple[int, int], width: int, height: int) -> Inlay:
        """Return the box that holds `area`, given in a picture of size `whole`, in one of width x height.

        Its borders lie where both pictures have whole samples, so that it can be scaled alone, if that costs little.
        """
        across, down = (_step(full, own) for full, own in zip(whole, (width, height), strict=True))
        x0, x1 = _span(area.x, area.w, Fraction(width, whole[0]), -(-width // MACROBLOCK_PX), across)
        y0, y1 = _span(area.y, area.h, Fraction(height, whole[1]), -(-height // MACROBLOCK_PX), down)
        return cls(width, height, x0, y0, x1, y1)

    @property
    def columns(self) -> int:
        """Macroblocks across the whole picture."""
        return -(-self.width // MACROBLOCK_PX)

    @property
    def rows(self) -> int:
        return -(-self.height // MACROBLOCK_PX)

    @property
    def pixels(self) -> Box:
        return self._pixels(self.x0, self.y0, self.x1, self.y1)

    @property
    def inner(self) -> Box:
        """The box without its ring, where the picture goes on beyond it."""
        x1 = self.x1 - RING * (self.x1 < self.columns)
        y1 = self.y1 - RING * (self.y1 < self.rows)
        return self._pixels(self.x0 + RING * (self.x0 > 0), self.y0 + RING * (self.y0 > 0), x1, y1)

    @property
    def surroundings(self) -> tuple[Box, ...]:
        """What is not in the box, in pixels: above, below, left, right, without those that are empty."""
        parts = (
            self._pixels(0, 0, self.columns, self.y0),
            self._pixels(0, self.y1, self.columns, self.rows),
            self._pixels(0, self.y0, self.x0, self.y1),
            self._pixels(self.x1, self.y0, self.columns, self.y1),
        )
        return tuple(part for part in parts if part.w > 0 and part.h > 0)

    def _pixels(self, x0: int, y0: int, x1: int, y1: int) -> Box:
        left, top = x0 * MACROBLOCK_PX, y0 * MACROBLOCK_PX
        return Box(left, top, min(x1 * MACROBLOCK_PX, self.width) - left, min(y1 * MACROBLOCK_PX, self.height) - top)

    def first_of_row(self, row: int) -> int:
        """Return the number of the first macroblock of a row of the box."""
        return (self.y0 + row) * self.columns + self.x0

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """The runs of macroblocks, in the order of the picture, that are not in the box: first, and how many."""
        gaps, at = [], 0
        for row in range(self.y1 - self.y0):
            first = self.first_of_row(row)
            gaps.append((at, first - at))
            at = first + self.x1 - self.x0
        gaps.append((at, self.columns * self.rows - at))
        return tuple(gap for gap in gaps if gap[1])


def _step(whole: int, own: int) -> int:
    """Return of how many macroblocks of the smaller picture the borders fall on whole samples of the larger one."""
    ratio = Fraction(whole, own)
    return ratio.denominator // gcd(MACROBLOCK_PX // 2 * ratio.numerator, ratio.denominator)


def _span(start: int, length: int, scale: Fraction, count: int, step: int) -> tuple[int, int]:
    step = step if step * 4 <= count else 1
    first = floor(start * scale / MACROBLOCK_PX) - RING
    last = ceil((start + length) * scale / MACROBLOCK_PX) + RING
    return max(0, first // step * step), min(count, -(-last // step) * step)


class Backdrop:
    """The still background of one picture as the slices of a key picture, encoded once and sent with every segment."""

    def __init__(self, inlay: Inlay, parts: Iterable[tuple[Box, Iterable[bytes]]], form: Format) -> None:
        """`parts` are the slice NAL units of each of the surroundings, encoded as pictures of their own."""
        self._form = form
        self._slices = []
        for box, units in parts:
            columns = -(-box.w // MACROBLOCK_PX)
            for unit in units:
                piece = read_slice(unit, form)
                row, column = divmod(piece.first, columns)
                first = (box.y // MACROBLOCK_PX + row) * inlay.columns + box.x // MACROBLOCK_PX + column
                self._slices.append((first, piece))
        self._placed: dict[int, list[tuple[int, bytes]]] = {}

    @property
    def size(self) -> int:
        """Bytes in a key picture."""
        return sum(4 + len(unit) for _, unit in self.units(0))

    def units(self, idr: int) -> list[tuple[int, bytes]]:
        """Return first macroblock and NAL unit of each slice for a key picture with that idr_pic_id."""
        if idr not in self._placed:
            self._placed[idr] = [(first, piece.placed(first, self._form, idr)) for first, piece in self._slices]
        return self._placed[idr]


def spliced(sample: Sample, inlay: Inlay, backdrop: Backdrop, form: Format, frame_num: int | None = None) -> Sample:
    """Return the picture of the box as the whole picture: its slices moved, the background's beside them.

    It gets that frame_num, if one is given. Raises RenderFailed if the box has not one slice for each of its rows.
    """
    rows = [unit for unit in length_prefixed_units(sample.data) if unit[0] & 31 in (KEY_SLICE, OTHER_SLICE)]
    if len(rows) != inlay.y1 - inlay.y0:
        raise RenderFailed(f"a picture has {len(rows)} slices instead of {inlay.y1 - inlay.y0}")
    head = read_slice(rows[0], form)
    places = [inlay.first_of_row(row) for row in range(len(rows))]
    if head.idr is not None:
        placed = [(first, moved(unit, first)) for first, unit in zip(places, rows, strict=True)]
        placed += backdrop.units(head.idr)
    else:
        number = head.frame_num if frame_num is None else frame_num
        placed = [(first, renumbered(unit, first, number, form)) for first, unit in zip(places, rows, strict=True)]
        placed += _unchanged(inlay, number, head.header >> 5, form)
    placed.sort()
    return replace(sample, data=b"".join(len(unit).to_bytes(4, "big") + unit for _, unit in placed))


def spread(
    samples: Iterable[Sample], fresh: Sequence[bool], inlay: Inlay, backdrop: Backdrop, form: Format
) -> list[Sample]:
    """Return a segment of whole pictures from those of the box that differ from the one before, as `fresh` tells.

    The others are skipped as a whole; every picture is counted. Raises RenderFailed where there are not as many.
    """
    coming, whole, period = iter(samples), list[Sample](), 1 << form.frame_num_bits
    for at, new in enumerate(fresh):
        if new:
            sample = next(coming, None)
            if sample is None:
                raise RenderFailed("a segment has too few pictures")
            whole.append(spliced(sample, inlay, backdrop, form, at % period))
            reference = whole[-1].data[4] >> 5
        else:
            unit = skipped(0, inlay.columns * inlay.rows, at % period, reference, form)
            whole.append(replace(whole[-1], data=len(unit).to_bytes(4, "big") + unit, sync=False))
    if next(coming, None) is not None:
        raise RenderFailed("a segment has too many pictures")
    return whole


@lru_cache(maxsize=256)
def _unchanged(inlay: Inlay, frame_num: int, reference: int, form: Format) -> tuple[tuple[int, bytes], ...]:
    """Return the skipped slices round the box: the same in every picture of that frame_num."""
    return tuple((first, skipped(first, count, frame_num, reference, form)) for first, count in inlay.gaps)
