"""The upper teeth that a photo shows: they are fixed to the skull, so they stay where they are while lips move."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lipsync.conditioning import LOWER_LIP, UPPER_LIP
from lipsync.face import Face
from lipsync.movement import Floats, Lips, MouthFrame
from lipsync.photo import Pixels

LEAST_GAP, LEAST_SHARE = 0.05, 0.25
"""Gap of the lips in pupil distances, and the share of it that must look like teeth, for them to count as shown."""
HIGHEST = 0.15
"""Height of the upper teeth under the lip, in pupil distances; what shows farther down are the lower ones."""
SOFT = 0.006
"""Softness of the teeth's border, in pupil distances."""
END = 0.03
"""How softly their row ends towards the corners, where the drawn ones go on in the shade."""


@dataclass(frozen=True, slots=True, eq=False)
class OwnTeeth:
    """In a box of the photo: `layer` (h, w, 4), the teeth's pixels premultiplied by their cover, both 0..255.

    `colour` (3,) is theirs, `edge` their free edge (y, mouth's frame).
    """

    layer: Floats
    colour: Floats
    edge: float

    @classmethod
    def of(cls, face: Face, frame: MouthFrame, lips: Lips, pixels: Floats) -> OwnTeeth | None:
        """Find them in the box whose pixel centres are `pixels` (h, w, 2), in the picture's coordinates."""
        if lips.parted < LEAST_GAP:
            return None
        places = frame.inside(pixels)
        x, y = places[..., 0], places[..., 1]
        top, bottom = (np.interp(x, lips.x, edge, 0, 0).astype(np.float32) for edge in (lips.upper, lips.lower))
        opening = (y > top) & (y < bottom)
        photo = _seen(face.picture, pixels)
        pale = _paleness(face, frame, photo)
        shown = ((pale > 0.5) & opening).astype(np.uint8)
        if shown.sum() < LEAST_SHARE * max(1, opening.sum()):
            return None
        whole = _without_holes_and_spurs(shown, max(1, round(0.015 * frame.unit)))
        inside = np.where(opening & (y < top + HIGHEST), whole, 0).astype(np.float32)
        soft = cv2.GaussianBlur(inside, (0, 0), max(0.5, SOFT * frame.unit))
        # inside the border: what is half lip in the photo is no tooth
        row = cv2.GaussianBlur(inside.max(axis=0, keepdims=True), (0, 0), max(0.5, END * frame.unit))
        cover = np.clip(2 * soft - 1, 0, 1) * np.clip(2 * row - 1, 0, 1)
        middle = (abs(x) < 0.35 * lips.half_width) & (cover > 0.5)
        if not middle.any():
            return None
        colour = np.percentile(photo[middle].astype(np.float32), 60, axis=0)
        layer = np.dstack([photo * cover[..., None], 255 * cover]).astype(np.float32)
        return cls(layer, colour.astype(np.float32), float(np.percentile(y[middle], 96)))


def _without_holes_and_spurs(shown: Pixels, reach: int) -> Pixels:
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    for way in (cv2.MORPH_CLOSE, cv2.MORPH_OPEN):
        shown = np.asarray(cv2.morphologyEx(shown, way, square), np.uint8)
    return shown


def _seen(picture: Pixels, pixels: Floats) -> Pixels:
    x, y = (np.ascontiguousarray(pixels[..., i], np.float32) for i in (0, 1))
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _paleness(face: Face, frame: MouthFrame, photo: Pixels) -> Floats:
    """Return (h, w): 1 as far from the lips' red, and as bright, as teeth are; 0 on lips, gums and in the dark."""
    lips = _seen(face.picture, face.landmarks[[*UPPER_LIP, *LOWER_LIP], :2][None])
    red = float(np.median(cv2.cvtColor(lips, cv2.COLOR_BGR2LAB)[..., 1]))
    light = float(np.median(cv2.cvtColor(lips, cv2.COLOR_BGR2LAB)[..., 0]))
    lab = cv2.GaussianBlur(cv2.cvtColor(photo, cv2.COLOR_BGR2LAB).astype(np.float32), (0, 0), 0.5 + 0.004 * frame.unit)
    grey = np.clip((red - lab[..., 1]) / max(4.0, red - 128) - 0.05, 0, 1)
    return np.asarray(grey * np.clip(lab[..., 0] / max(40.0, light), 0, 1.2), np.float32)
