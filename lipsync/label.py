"""The visible "AI" label: drawn once as a cover and a luma, then laid over every picture that leaves the engine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from lipsync.lettering import ABOVE, UNIT, written

GLYPH_SHARE = 0.036
"""Height of the letters as a share of the picture's height: 15 pixels on the smallest rung (432 lines)."""
MIN_GLYPH_PX = 12.0
FINE = 8
"""Letters are drawn this much larger and averaged down."""
PLATE, PLATE_COVER = 30, 0.72
INK = 232

LETTER_A = ((0, 1), (0.315, 0), (0.535, 0), (0.85, 1), (0.645, 1), (0.575, 0.765), (0.275, 0.765), (0.205, 1))
LETTER_A_HOLE = ((0.425, 0.24), (0.525, 0.60), (0.325, 0.60))
LETTER_I = ((1.03, 0.0), (1.225, 0.0), (1.225, 1.0), (1.03, 1.0))
"""Letters one unit high, y down."""
WIDTH, PADDING = 1.225, 0.42


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """`cover` 0..1 and `luma` 16..235, both of shape (h, w), h and w even; chroma under it is neutral.

    Its parts have the same share of the picture in pictures of every size.
    """

    cover: NDArray[np.float32]
    luma: NDArray[np.float32]

    @classmethod
    def for_height(cls, picture_height: int, text: str = "AI", corner: tuple[float, float] = (0.0, 0.0)) -> Label:
        """Draw it for a picture of that many lines, its corner x, y pixels inside the first one.

        Raises ModelMissing where words need a font that is not there.
        """
        glyph, line, length = _glyph_px(picture_height), _line(text), size_for(picture_height, text)
        width, height = (2 * ceil((start + side) / 2) for start, side in zip(corner, length, strict=True))
        ink, plate = (np.zeros((height * FINE, width * FINE), np.uint8) for _ in range(2))
        origin = np.array(corner) + PADDING * glyph * np.array([1.3, 1.0])
        if line is None:
            for shape, value in ((LETTER_A, 255), (LETTER_A_HOLE, 0), (LETTER_I, 255)):
                points = (origin + np.array(shape) * glyph) * FINE
                cv2.fillPoly(ink, [np.round(points).astype(np.int32)], value)
        else:
            _write(ink, line, round(origin[0] * FINE), round(origin[1] * FINE), glyph * FINE)
        left, top, right, bottom = (round(FINE * at) for at in (*corner, *np.add(corner, length)))
        _rounded(plate[top:bottom, left:right], round(0.3 * length[1] * FINE))
        letters, ground = (
            cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
            for mask in (ink, plate)
        )
        cover = np.maximum(letters, ground * PLATE_COVER)
        return cls(cover.astype(np.float32), (PLATE + (INK - PLATE) * letters).astype(np.float32))

    def stamp(self, frame: NDArray[np.uint8], x: int, y: int) -> None:
        """Lay the label at (x, y), both even, over an I420 frame (h * 3 // 2, w), in place."""
        lines, width = frame.shape[0] * 2 // 3, frame.shape[1]
        height, across = self.cover.shape
        area = frame[y : y + height, x : x + across]
        area[:] = (area * (1 - self.cover) + self.luma * self.cover + 0.5).astype(np.uint8)
        thin = cv2.resize(self.cover, (across // 2, height // 2), interpolation=cv2.INTER_AREA)
        chroma = frame[lines:].reshape(2, lines // 2, width // 2)
        for plane in chroma:
            part = plane[y // 2 : (y + height) // 2, x // 2 : (x + across) // 2]
            part[:] = (part * (1 - thin) + 128 * thin + 0.5).astype(np.uint8)


def size_for(picture_height: int, text: str) -> tuple[float, float]:
    """Return width and height, in pixels, of the label in a picture of that many lines."""
    glyph, line = _glyph_px(picture_height), _line(text)
    across = WIDTH if line is None else line.shape[1] / UNIT
    return glyph * (across + 2.6 * PADDING), glyph * (1 + 2 * PADDING)


def _glyph_px(picture_height: int) -> float:
    return max(MIN_GLYPH_PX, GLYPH_SHARE * picture_height)


@lru_cache(maxsize=8)
def _line(text: str) -> NDArray[np.uint8] | None:
    """Return words as they are written; None for the letters that need no font."""
    return None if text == "AI" else written(text)


def _write(ink: NDArray[np.uint8], words: NDArray[np.uint8], x: int, y: int, glyph: float) -> None:
    """Lay a line with capitals `glyph` pixels high over the mask, its upper left corner at (x, y)."""
    size = (max(1, round(words.shape[1] * glyph / UNIT)), round(words.shape[0] * glyph / UNIT))
    line = cv2.resize(words, size, interpolation=cv2.INTER_AREA)
    y -= round(ABOVE * glyph / UNIT)
    line, y = line[max(0, -y) :][: ink.shape[0] - max(0, y)], max(0, y)
    area = ink[y : y + line.shape[0], x : x + line.shape[1]]
    np.maximum(area, line[:, : area.shape[1]], out=area)


def _rounded(mask: NDArray[np.uint8], radius: int) -> None:
    """Fill the mask but for its rounded corners."""
    height, width = mask.shape
    cv2.rectangle(mask, (radius, 0), (width - 1 - radius, height - 1), 255, -1)
    cv2.rectangle(mask, (0, radius), (width - 1, height - 1 - radius), 255, -1)
    for x in (radius, width - 1 - radius):
        for y in (radius, height - 1 - radius):
            cv2.circle(mask, (x, y), radius, 255, -1)
