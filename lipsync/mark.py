"""An invisible mark: the number of a render, woven into the luma of its pictures (docs/decisions/0010).

The picture is divided into about 1,300 square cells. Each cell grows lighter and darker by about one grey level, in
CYCLE_HZ: so slowly that a pixel rarely moves by a level from one picture to the next. A cell is a wave z, shown as the
real part of z * exp(-i * phase): one part of it is fixed (the pilot, by which a reader finds scale, place and phase),
the other, a quarter of a cycle away, carries a bit of the codeword. Content that stands still has no part in that
cycle, so a still face, where codecs keep most, is read cleanly.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import ceil, cos, pi, sin, sqrt

import cv2
import numpy as np
from numpy.typing import NDArray

from lipsync.box import Box
from lipsync.codeword import ID_BITS, LENGTH, encode

Frame = NDArray[np.uint8]
Floats = NDArray[np.float32]
Signs = NDArray[np.int8]

CYCLE_HZ = Fraction(3, 4)
CELLS_ACROSS_SQUARE = 36
"""Cells along each side of a picture as high as wide; other shapes have as many cells in all."""
LARGEST_GRID = 180
PILOT_SHARE = 0.25
"""Part of the mark's energy that is the pilot's."""
FLAT_LEVELS, BUSY_LEVELS = 0.5, 1.4
"""Root mean square of the mark in grey levels, where the picture is flat and where it is full of detail."""
BUSY_DETAIL = 8.0
"""Mean difference in grey levels from the surroundings that hides the strongest mark."""
FIELD_PX_PER_CELL = 8
HELD = 4
"""Pictures for which the mark of a still scene stays the same: an eighth of its cycle or less at 24 pictures/s."""
PATCH_STRENGTH, SMALL_STRENGTH, SMALL_LINES = 1.5, 1.8, 480
"""How much stronger the mark is where it covers but a part of a still picture, and of one of fewer lines than that."""
EVERY = slice(None)
STRIDE, ROW_STEP = 55, 13
"""Which bit a cell carries: any 13 x 13 cells carry all of them, and neighbours on the code lie far apart."""


def new_render_id() -> int:
    """Return a random number of 32 bits that names a render and no one."""
    return secrets.randbits(ID_BITS)


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The fixed part of every mark, each (LARGEST_GRID, LARGEST_GRID): pilot, and sign and number of each cell's bit.

    Half of the pilots are real and half imaginary, so that the mark is equally strong at every moment of its cycle.
    """

    pilot: NDArray[np.complex64]
    sign: Signs
    bit: NDArray[np.int64]


@cache
def cells() -> Cells:
    """Return the cells, the same on every machine and for ever: old marks stay readable."""
    count = LARGEST_GRID * LARGEST_GRID
    noise = np.unpackbits(np.frombuffer(hashlib.shake_256(b"mark 1").digest(-(-3 * count // 8)), np.uint8))
    pilot, sign, turn = (1 - 2 * noise[: 3 * count].astype(np.int8)).reshape(3, LARGEST_GRID, LARGEST_GRID)
    row, column = np.mgrid[:LARGEST_GRID, :LARGEST_GRID]
    turned = np.where(turn > 0, 1, 1j) * pilot
    return Cells(turned.astype(np.complex64), sign, (column + ROW_STEP * row) * STRIDE % LENGTH)


def grid_of(width: float, height: float) -> tuple[float, float]:
    """Return how many cells lie across and down a picture."""
    pitch = sqrt(width * height) / CELLS_ACROSS_SQUARE
    return width / pitch, height / pitch


class Mark:
    """One render's mark for pictures of one size."""

    def __init__(self, render_id: int, width: int, height: int, rate: Fraction) -> None:
        self._size, self._rate = (width, height), rate
        fixed = cells()
        bits = fixed.sign * encode(render_id)[fixed.bit]
        waves = fixed.pilot * (sqrt(PILOT_SHARE) + 1j * sqrt(1 - PILOT_SHARE) * bits)
        self._cosine, self._sine = (_smooth(part, width, height) for part in (waves.real, waves.imag))

    def put(self, frame: Frame, number: int, rows: slice = EVERY, columns: slice = EVERY) -> None:
        """Weave the mark into an I420 frame (h * 3 // 2, w), in place; `number` counts the chapter's pictures.

        It may count from anywhere, but without a jump. With `rows` and `columns` only that part of the luma is touched;
        the cells lie as in the whole picture.
        """
        luma = frame[: self._size[1]]
        angle = _angle(number, self._rate)
        field = cv2.addWeighted(self._cosine, 16 * cos(angle), self._sine, 16 * sin(angle), 0)
        cv2.multiply(field, self._levels(luma), field)
        sixteenths = cv2.resize(cv2.convertScaleAbs(field, alpha=1, beta=128), self._size)
        part = luma[rows, columns]
        cv2.addWeighted(part, 1, sixteenths[rows, columns], 1 / 16, -8, part)

    def patch(self, luma: Frame, rows: slice, columns: slice) -> MarkPatch:
        """Return the mark for one part of pictures whose luma (h, w) hardly changes."""
        levels = (SMALL_STRENGTH if self._size[1] < SMALL_LINES else PATCH_STRENGTH) * self._levels(luma)
        height, width = self._cosine.shape
        across, down = width / self._size[0], height / self._size[1]
        step = max(1, int(min(1 / across, 1 / down)))
        # one more on every side, so that what lies between their middles reaches the borders
        size = (ceil((columns.stop - columns.start) / step) + 2, ceil((rows.stop - rows.start) / step) + 2)
        x, y = (columns.start - step / 2) * across - 0.5, (rows.start - step / 2) * down - 0.5
        matrix, flags = np.array([[across * step, 0, x], [0, down * step, y]]), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cosine, sine = (
            cv2.warpAffine(16 * part * levels, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
            for part in (self._cosine, self._sine)
        )
        return MarkPatch(np.asarray(cosine, np.float32), np.asarray(sine, np.float32), step, self._rate)

    def _levels(self, luma: Frame) -> Floats:
        """Return the strength for each pixel of the field: more where detail hides it."""
        height, width = self._cosine.shape
        sample = cv2.resize(luma, (width, height), interpolation=cv2.INTER_NEAREST)
        detail = cv2.blur(cv2.absdiff(sample, cv2.blur(sample, (9, 9))), (9, 9))
        return np.asarray(cv2.LUT(detail, _STRENGTH), np.float32)


class MarkPatch:
    """One render's mark for one part of a still scene."""

    def __init__(self, cosine: Floats, sine: Floats, px: int, rate: Fraction) -> None:
        """Both parts in sixteenths of a level, on a grid of so many pixels that begins one of its cells before."""
        self._cosine, self._sine, self._px, self._rate = cosine, sine, px, rate
        self._drawn: int | None = None

    def step(self, number: int) -> int:
        """Return of which picture the mark is shown in picture `number`: what seldom changes costs little."""
        return number // HELD * HELD

    def put(self, luma: Frame, step: int, into: Frame, part: Box) -> None:
        """Write the luma of the patch with the mark of a step into `into`, of the same shape: that of `part` of it."""
        if step != self._drawn:
            angle = _angle(step, self._rate)
            field = cv2.addWeighted(self._cosine, cos(angle), self._sine, sin(angle), 128, dtype=cv2.CV_8U)
            self._sixteenths = cv2.resize(field, None, fx=self._px, fy=self._px)[self._px :, self._px :]
            self._drawn = step
        where = part.rows, part.columns
        cv2.addWeighted(luma[where], 1, self._sixteenths[where], 1 / 16, -8, into[where])


def _angle(number: int, rate: Fraction) -> float:
    """Return the phase of the mark's cycle at a picture, in radians."""
    return 2 * pi * float(CYCLE_HZ * number / rate % 1)


_STRENGTH = np.interp(np.arange(256), (0, BUSY_DETAIL), (FLAT_LEVELS, BUSY_LEVELS)).astype(np.float32)
"""The mark's strength for each amount of detail."""


def _smooth(parts: Floats, width: int, height: int) -> Floats:
    """Return one part of the cells as soft spots over a picture, some pixels a cell, root mean square 1."""
    across, down = grid_of(width, height)
    columns, rows = min(width, ceil(across * FIELD_PX_PER_CELL)), min(height, ceil(down * FIELD_PX_PER_CELL))
    matrix = np.array([[across / columns, 0, across / columns / 2 - 0.5], [0, down / rows, down / rows / 2 - 0.5]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    source = np.ascontiguousarray(parts, np.float32)
    field = cv2.warpAffine(source, matrix, (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray((field - field.mean()) / field.std(), np.float32)
