"""Photos without colours of their own: in black and white or sepia the mouth that is drawn has none, either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lipsync.box import Box
from lipsync.face import Face
from lipsync.photo import Pixels

ONE_TONE = 1.8
"""Chroma that luma does not explain, in levels, up to which a photo counts as toned: sepia in JPEG has 0.8, the least
of 30 faces in colour 5."""
SAMPLED_PX = 32


@dataclass(frozen=True, slots=True)
class Toning:
    """Chroma as a function of luma: Cb and Cr are `slopes` * Y + `bases`."""

    slopes: tuple[float, float]
    bases: tuple[float, float]

    @classmethod
    def of(cls, face: Face, planes: Sequence[Pixels]) -> Toning | None:
        """Return how a face is toned, or None where it has colours; `planes` are those of its picture (4:2:0)."""
        low = np.floor(face.landmarks[:468, :2].min(axis=0)).astype(int).clip(0)
        high = np.ceil(face.landmarks[:468, :2].max(axis=0)).astype(int)
        luma, *chroma = (
            _sampled(plane[low[1] // half : high[1] // half, low[0] // half : high[0] // half])
            for plane, half in zip(planes, (1, 2, 2), strict=True)
        )
        known = np.stack([luma, np.ones_like(luma)], axis=1)
        fits, *_ = np.linalg.lstsq(known, np.stack(chroma, axis=1), rcond=None)
        rest = np.stack(chroma, axis=1) - known @ fits
        if float(np.hypot(*rest.std(axis=0))) > ONE_TONE:
            return None
        (slope_b, slope_r), (base_b, base_r) = fits.tolist()
        return cls((slope_b, slope_r), (base_b, base_r))

    def over(self, planes: Sequence[Pixels], box: Box) -> None:
        """Give `box` of a picture, in even pixels, the chroma that goes with its luma, in place."""
        luma = cv2.resize(planes[0][box.rows, box.columns], (box.w // 2, box.h // 2), interpolation=cv2.INTER_AREA)
        for plane, slope, base in zip(planes[1:], self.slopes, self.bases, strict=True):
            part = plane[box.halved.rows, box.halved.columns]
            part[:] = np.clip(np.rint(slope * luma.astype(np.float32) + base), 0, 255).astype(np.uint8)


def _sampled(plane: Pixels) -> NDArray[np.float64]:
    return cv2.resize(plane, (SAMPLED_PX, SAMPLED_PX), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
