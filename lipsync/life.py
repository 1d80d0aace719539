"""Signs of life: blinks and a slight sway of the head, decided by the narration, the same in every render.

Rates: A. Bentivoglio et al., Analysis of blink rate patterns in normal subjects (1997): about one blink in four seconds
while speaking; a blink closes in about 0.1 s and opens in 0.15 s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from lipsync.box import Box
from lipsync.face import CHIN, FOREHEAD, Face
from lipsync.halfsamples import HalfSamples
from lipsync.movement import Floats, MouthFrame, fall
from lipsync.photo import Pixels
from lipsync.planes import Planes, fine, moved, planes_of

BLINK, YAW, PITCH, ROLL = range(4)
BLINK_EVERY_S, CLOSING_S, CLOSED_S, OPENING_S = (2.2, 6.5), 0.09, 0.04, 0.16
STILL_S = 1.0
"""The head leaves the photo's pose so slowly at the start, and comes back to it at the end."""
SWAY_RAD = (0.026, 0.016, 0.010)
SWAY_HZ = (0.09, 0.31)

AXIS = 0.75
"""How far behind the landmarks' middle the head turns, in pupil distances."""
NECK, REACH = 1.0, 1.3
"""Where it turns below the chin, and how far round the face the sway fades out."""
CELLS_PER_UNIT = 9

LIDS = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)
BROWS = ((53, 52, 65), (283, 282, 295))
LID_SKIN, LASHES, MEETING = 0.7, 0.025, 0.9
"""Share of the way from lid to brow whose skin a closing lid is drawn from; height of its edge, which is never
stretched; where the lids meet."""
OPEN_EYE = 0.045
"""Height of an eye in pupil distances below which it is not made to blink."""
LEVELS = 6


def life_of(seed: str, rate: Fraction, states: Floats) -> Floats:
    """Return (frames, 4) for a mouth track's states: eyes closed 0..1, and yaw, pitch and roll of the head in radians.

    `seed` is the SHA-256 of the narration in hexadecimal digits. Eyes close while the mouth speaks alone: in a pause
    nothing but the sway moves.
    """
    frames, speaking = len(states), np.asarray(states.any(axis=1))
    chance = np.random.default_rng(int(seed[:16], 16))
    at_s = (np.arange(frames) + 0.5) / float(rate)
    length_s = frames / float(rate)
    life = np.zeros((frames, 4), np.float32)
    blink_s = chance.uniform(*BLINK_EVERY_S)
    lasts = math.ceil((CLOSING_S + CLOSED_S + OPENING_S) * rate) + 1
    while (first := _within(speaking, math.ceil(blink_s * rate), lasts)) is not None:
        life[:, BLINK] = np.maximum(life[:, BLINK], _blink(at_s - first / float(rate)))
        blink_s = first / float(rate) + chance.uniform(*BLINK_EVERY_S)
    ends = np.clip(np.minimum(at_s, length_s - at_s) / STILL_S, 0, 1)
    for column, most in zip((YAW, PITCH, ROLL), SWAY_RAD, strict=True):
        waves = [np.sin(2 * np.pi * (hz * at_s + chance.random())) for hz in chance.uniform(*SWAY_HZ, 3)]
        life[:, column] = most * np.mean(waves, axis=0) * ends * ends * (3 - 2 * ends)
    return life


def _within(speaking: NDArray[np.bool_], first: int, lasts: int) -> int | None:
    """Return the first frame, not before `first`, from which the mouth speaks for as many frames."""
    runs = np.convolve(speaking, np.ones(lasts, int), "valid") == lasts if len(speaking) >= lasts else np.zeros(0)
    found = np.flatnonzero(runs[first:])
    return first + int(found[0]) if len(found) else None


def _blink(since_s: Floats) -> Floats:
    opening_s = since_s - CLOSING_S - CLOSED_S
    return np.where(since_s < 0, 0, np.minimum(fall(-since_s, -CLOSING_S, 0), fall(opening_s, 0, OPENING_S)))


class Sway:
    """The head of one picture, turned a little; `box`, with even sides, is the part that it may change."""

    def __init__(self, face: Face, luma: Pixels) -> None:
        frame = MouthFrame.of(face.landmarks)
        height, width = face.picture.shape[:2]
        chin, forehead = face.landmarks[CHIN, :2], face.landmarks[FOREHEAD, :2]
        centre, size = (chin + forehead) / 2, float(np.linalg.norm(chin - forehead)) / 2
        reach = (1 + REACH) * size
        x0, y0 = (max(0, int((c - reach) // 2 * 2)) for c in centre)
        x1, y1 = (
            min(side // 2 * 2, int((c + reach) // 2 * 2)) for c, side in zip(centre, (width, height), strict=True)
        )
        self.box = Box(x0, y0, x1 - x0, y1 - y0)
        # even, so that it is whole in planes of half the size, too
        self._cell = cell = max(4, 2 * round(frame.unit / CELLS_PER_UNIT / 2))
        # one more cell on every side, so that what lies between their middles reaches the borders
        columns, rows = (-(-side // cell) + 2 for side in (self.box.w, self.box.h))
        x = (np.arange(columns) - 0.5) * cell + x0
        y = (np.arange(rows) - 0.5) * cell + y0
        at = np.stack(np.meshgrid(x, y), axis=-1)
        depth, weight = _depth(face, at, frame.unit), self._weight(at, centre, size, frame.unit)
        pivot = chin + (chin - forehead) / (2 * size) * NECK * frame.unit
        lever = (AXIS * frame.unit - depth) * weight
        away = (at - pivot) * weight[..., None]
        nothing = np.zeros_like(lever)
        steps = ((lever, nothing), (nothing, lever), (-away[..., 1], away[..., 0]))
        self._steps = np.stack([np.stack(step, axis=-1) for step in steps]).astype(np.float32)
        self._centres = (at - [x0, y0]).astype(np.float32)
        self._luma = HalfSamples(luma, self.box)

    def _weight(self, at: Floats, centre: Floats, size: float, unit: float) -> Floats:
        """1 on the face, 0 from REACH round it and at the borders of the box: nothing ever moves there."""
        far = np.hypot(at[..., 0] - centre[0], at[..., 1] - centre[1]) / size
        box, room, edge = self.box, 0.35 * size, 1.5 * unit / CELLS_PER_UNIT
        inward = np.minimum.reduce(
            [at[..., 0] - box.x, at[..., 1] - box.y, box.x + box.w - at[..., 0], box.y + box.h - at[..., 1]]
        )
        return fall(far, 1.05, 1 + REACH) * (1 - fall(inward, edge, edge + room))

    def renew(self, luma: Pixels, part: Box) -> None:
        """Be told that `part` of the picture's luma plane has changed."""
        self._luma.renew(luma, part)

    def over(self, planes: Sequence[Pixels], pose: Floats) -> None:
        """Turn the head in the three planes of the picture (I420), in place; `pose` is yaw, pitch and roll.

        The steps are a few pixels, so that each is taken where it ends.
        """
        sources = self._centres - np.tensordot(pose, self._steps, 1)
        luma, chroma, cell = self.box, self.box.halved, self._cell
        inside = Box(cell, cell, luma.w, luma.h)
        into = planes[0][luma.rows, luma.columns]
        moved(self._luma.samples, fine(2 * sources - 1, cell, inside), into)
        places = fine(sources / 2 - np.float32(0.5), cell // 2, inside.halved)
        for plane in planes[1:]:
            part = plane[chroma.rows, chroma.columns]
            moved(part.copy(), places, part)


def _depth(face: Face, at: Floats, unit: float) -> Floats:
    """Return the depth of every place (z grows away from us): the landmarks' near them, the head's rim elsewhere."""
    points = face.landmarks[:468:3].astype(np.float64)
    middle = float(points[:, 2].mean())
    squares = ((at[..., None, :] - points[:, :2]) ** 2).sum(axis=-1)
    near = np.exp(-squares / (2 * (0.18 * unit) ** 2))
    total = near.sum(axis=-1)
    rim = 0.5 * unit
    return np.asarray(((near * (points[:, 2] - middle)).sum(axis=-1) + 0.02 * rim) / (total + 0.02))


class Eyelids:
    """The eyes of one picture, as far closed as asked. `boxes` are the parts that a blink may change."""

    def __init__(self, face: Face) -> None:
        self._eyes = [eye for lids in zip(LIDS, BROWS, strict=True) if (eye := _Eye.of(face, *lids)) is not None]
        if len(self._eyes) < len(LIDS):
            self._eyes = []

    @property
    def boxes(self) -> list[Box]:
        return [eye.box for eye in self._eyes]

    def patches(self, closed: float) -> list[tuple[Box, Planes]]:
        """Return the planes of every box; equal steps of LEVELS are made once."""
        level = round(closed * LEVELS)
        return [(eye.box, eye.patch(level)) for eye in self._eyes]


class _Eye:
    """One eye in its own frame: x along its corners, y down."""

    def __init__(self, face: Face, box: Box, frame: tuple[Floats, Floats], edges: Floats, skin_px: float) -> None:
        """`frame` is origin and direction of the corners' line; `edges` (3, n): x, upper and lower lid, in pixels."""
        self.box, self._picture, self._edges, self._unit = box, face.picture, edges, face.pupils_px
        self._skin_px = skin_px
        origin, across = frame
        x, y = np.meshgrid(np.arange(box.w, dtype=np.float32) + box.x, np.arange(box.h, dtype=np.float32) + box.y)
        away = np.stack([x - origin[0], y - origin[1]], axis=-1)
        self._down = np.array([-across[1], across[0]], np.float32)
        self._x, self._y, self._along, self._below = x, y, away @ across, away @ self._down
        self._made: dict[int, Planes] = {}

    @classmethod
    def of(cls, face: Face, lids: tuple[tuple[int, ...], tuple[int, ...]], brow: tuple[int, ...]) -> _Eye | None:
        """None for an eye that is nearly closed, or whose skin lies outside the picture."""
        (upper, lower), unit = lids, face.pupils_px
        points = face.landmarks[:, :2].astype(np.float64)
        right, left = points[upper[0]], points[upper[-1]]
        across = (left - right) / np.linalg.norm(left - right)
        turn = np.array([across, [-across[1], across[0]]])
        high, low = ((points[list(edge)] - right) @ turn.T for edge in (upper, lower))
        x = np.linspace(0, float(np.linalg.norm(left - right)), 33)
        edges = np.stack([x, np.interp(x, high[:, 0], high[:, 1]), np.interp(x, low[:, 0], low[:, 1])])
        if float((edges[2] - edges[1]).max()) < OPEN_EYE * unit:
            return None
        above = (points[list(brow)] - right) @ turn.T
        skin_px = max(0.06 * unit, LID_SKIN * float(np.mean(np.interp(above[:, 0], x, edges[1]) - above[:, 1])))
        corners = np.concatenate([high, low]) @ turn + right
        x0, y0 = np.floor(corners.min(axis=0) - [0.05 * unit, skin_px + 0.04 * unit]).astype(int) // 2 * 2
        x1, y1 = np.ceil(corners.max(axis=0) + 0.06 * unit).astype(int) // 2 * 2 + 2
        height, width = face.picture.shape[:2]
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            return None
        box = Box(int(x0), int(y0), int(x1 - x0), int(y1 - y0))
        return cls(face, box, (right.astype(np.float32), across.astype(np.float32)), edges.astype(np.float32), skin_px)

    def patch(self, level: int) -> Planes:
        if level not in self._made:
            own = self._picture[self.box.rows, self.box.columns]
            self._made[level] = planes_of(own if level == 0 else self._closed(own, level / LEVELS))
        return self._made[level]

    def _closed(self, own: Pixels, closed: float) -> Pixels:
        """Draw the upper lid down: its skin stretched, its edge not, over an eye that stays what it is."""
        x, high, low = self._edges
        meeting = high + MEETING * (low - high)
        upper, edge = (np.interp(self._along, x, line) for line in (high, high + closed * (meeting - high)))
        crease = upper - self._skin_px
        lashes = LASHES * self._unit
        stretched = crease + (self._below - crease) * (upper - lashes - crease) / (edge - lashes - crease)
        source = np.where(self._below > edge - lashes, self._below - edge + upper, stretched)
        inside = (self._along > x[0]) & (self._along < x[-1]) & (self._below > crease)
        shift = np.where(inside, source - self._below, 0).astype(np.float32)
        drawn = cv2.remap(
            self._picture, self._x + shift * self._down[0], self._y + shift * self._down[1], cv2.INTER_CUBIC
        )
        soft = max(0.6, 0.006 * self._unit)
        cover = np.clip((edge - self._below) / (2 * soft) + 0.5, 0, 1) * inside
        blend = cover[..., None].astype(np.float32)
        return np.asarray(np.clip(own + (drawn.astype(np.float32) - own) * blend + 0.5, 0, 255), np.uint8)
