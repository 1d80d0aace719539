"""The photo's own grain, for what is drawn into it: noise as strong and as coarse as on even skin of the same face."""

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
MOST = 3.0
"""Standard deviations (of what lies in the middle) beyond which it is a hair or a pore."""
SPOT_PX = 16
"""Side of the piece of skin that noise is made like."""


def grain_of(face: Face, height: int, width: int) -> Floats:
    """Return a sheet (height, width, 1) of noise like the photo's, in levels; zeros where no skin is seen.

    It is white noise, the same in every render, convolved with the calmest of several patches of skin: it has their
    spectrum and none of their features (B. Galerne et al., Random Phase Textures, 2011: spot noise).
    """
    patches = [patch for at in SKIN if (patch := _patch(face, at)) is not None]
    if not patches:
        return np.zeros((height, width, 1), np.float32)
    calmest = min(patches, key=lambda patch: float(patch.std()))
    first = max(0, len(calmest) - SPOT_PX) // 2
    spot = calmest[first : first + SPOT_PX, first : first + SPOT_PX] / np.float32(min(SPOT_PX, len(calmest)))
    white = np.random.default_rng(7).standard_normal((height, width)).astype(np.float32)
    return np.asarray(cv2.filter2D(white, -1, spot, borderType=cv2.BORDER_REFLECT_101), np.float32)[..., None]


def _patch(face: Face, landmark: int) -> Floats | None:
    """Return what is finer than COARSE in the luma round a landmark, or None where the picture does not reach."""
    reach = max(3, round(REACH * face.pupils_px))
    x, y = face.landmarks[landmark, :2].round().astype(int)
    if x < reach or y < reach:
        return None
    piece = face.picture[y - reach : y + reach, x - reach : x + reach]
    if piece.shape[:2] != (2 * reach, 2 * reach):
        return None
    patch = cv2.cvtColor(piece, cv2.COLOR_BGR2GRAY).astype(np.float32)
    fine = patch - cv2.GaussianBlur(patch, (0, 0), max(0.8, COARSE * face.pupils_px))
    most = MOST * 1.48 * float(np.median(abs(fine)))
    return np.asarray(np.clip(fine, -most, most), np.float32)
