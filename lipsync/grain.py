"""The photo's own grain, for what is drawn into it: noise and its texture are taken from even skin of the same face."""

from __future__ import annotations

import cv2
import numpy as np

from lipsync.face import Face
from lipsync.movement import Floats

SKIN = (50, 280, 117, 346, 205, 425, 199, 9, 151)
"""Landmarks on cheeks, chin and forehead round which the skin is even in most faces."""
REACH = 0.09
"""Half the side of a patch of skin, in pupil distances."""
COARSE = 0.012
"""What is coarser than that, in pupil distances, is light and shape and no grain."""
MOST = 12.0
"""Levels beyond which it is a hair or a pore."""


def grain_of(face: Face, height: int, width: int) -> Floats:
    """Return a sheet (height, width, 3) of the photo's grain, in levels, with a mean of 0; zeros where no skin is seen.

    It is the calmest of several patches, mirrored as often as it takes.
    """
    patches = [patch for at in SKIN if (patch := _patch(face, at)) is not None]
    if not patches:
        return np.zeros((height, width, 3), np.float32)
    calmest = min(patches, key=lambda patch: float(patch.std()))
    more = [(0, max(0, need - have)) for need, have in zip((height, width), calmest.shape, strict=False)]
    return np.asarray(np.pad(calmest, (*more, (0, 0)), mode="symmetric")[:height, :width], np.float32)


def _patch(face: Face, landmark: int) -> Floats | None:
    """Return what is finer than COARSE round a landmark, or None where the picture does not reach."""
    reach = max(3, round(REACH * face.pupils_px))
    x, y = face.landmarks[landmark, :2].round().astype(int)
    if x < reach or y < reach:
        return None
    patch = face.picture[y - reach : y + reach, x - reach : x + reach].astype(np.float32)
    if patch.shape[:2] != (2 * reach, 2 * reach):
        return None
    fine = patch - cv2.GaussianBlur(patch, (0, 0), max(0.8, COARSE * face.pupils_px))
    return np.asarray(np.clip(fine - fine.mean(axis=(0, 1)), -MOST, MOST), np.float32)
