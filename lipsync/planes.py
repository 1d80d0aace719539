"""Pictures as three planes, luma at full and chroma at half size (4:2:0), BT.709, limited range; and parts of them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lipsync.box import Box
from lipsync.photo import Pixels

Planes = tuple[Pixels, Pixels, Pixels]
"""Y (h, w), Cb and Cr (h/2, w/2)."""

TO_YUV = np.array(
    [
        [0.0722 * 219 / 255, 0.7152 * 219 / 255, 0.2126 * 219 / 255, 16],
        [0.5 * 224 / 255, -0.7152 / 1.8556 * 224 / 255, -0.2126 / 1.8556 * 224 / 255, 128],
        [-0.0722 / 1.5748 * 224 / 255, -0.7152 / 1.5748 * 224 / 255, 0.5 * 224 / 255, 128],
    ],
    np.float32,
)
"""Blue, green, red in full range to Y, Cb, Cr in limited range (ITU-R BT.709-6, items 3.2 to 3.5)."""


def yuv_of(picture: NDArray[Any]) -> NDArray[Any]:
    """Return a BGR picture (h, w, 3) as Y, Cb and Cr of every pixel, of the same type."""
    return np.asarray(cv2.transform(picture, TO_YUV))


def channels_of(picture: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return three channels of a picture (h, w, 3) by themselves."""
    first, second, third = (np.asarray(channel) for channel in cv2.split(picture))
    return first, second, third


def halved(plane: NDArray[Any]) -> NDArray[Any]:
    """Return a plane with even sides at half its size."""
    return np.asarray(cv2.resize(plane, (plane.shape[1] // 2, plane.shape[0] // 2), interpolation=cv2.INTER_AREA))


def planes_of(picture: Pixels) -> Planes:
    """Return the planes of a BGR picture with even sides."""
    luma, blue, red = channels_of(yuv_of(picture))
    return luma, halved(blue), halved(red)


def blank(box: Box) -> Planes:
    """Return the planes of a black picture with the sides of a box, which are even."""
    levels = ((16, box), (128, box.halved), (128, box.halved))
    luma, blue, red = (np.full((part.h, part.w), level, np.uint8) for level, part in levels)
    return luma, blue, red


def part_of(planes: Planes, box: Box) -> Planes:
    """Return a part, in even pixels, as views."""
    luma, blue, red = planes
    half = box.halved
    return luma[box.rows, box.columns], blue[half.rows, half.columns], red[half.rows, half.columns]


def fine(sources: NDArray[np.floating[Any]], cell: int, part: Box) -> NDArray[np.float32]:
    """Return places (h, w, 2) for the pixels of `part`, linear between those of the cells' middles (rows, columns, 2).

    `cell` is a cell's side in pixels.
    """
    size = (sources.shape[1] * cell, len(sources) * cell)
    return np.asarray(cv2.resize(sources, size, interpolation=cv2.INTER_LINEAR)[part.rows, part.columns], np.float32)


def moved(samples: Pixels, places: NDArray[np.float32], into: Pixels) -> None:
    """Write into each pixel what is found at its place (x, y) of the samples, linear between them."""
    cv2.remap(samples, places, None, cv2.INTER_LINEAR, into, cv2.BORDER_REPLICATE)  # type: ignore[call-overload]


def blend(part: Planes, over: Planes, cover: Pixels) -> None:
    """Lay planes over a part of a picture, in place, as far as they cover it; `cover` (h, w) 0..255 is that of luma."""
    thin = halved(cover)
    for below, above, share in zip(part, over, (cover, thin, thin), strict=True):
        mix(above, below, share, below)


def mix(above: Pixels, below: Pixels, cover: Pixels, into: Pixels) -> None:
    """Write one plane over another, as far as it covers it, 0..255: bytes alone are quickly multiplied."""
    seen = cv2.multiply(above, cover, scale=1 / 255)
    cv2.add(seen, cv2.multiply(below, cv2.bitwise_not(cover), scale=1 / 255), into)
