"""How the pixels of one face move when its mouth does: two smooth fields that part at the line of the lips.

All lengths are in pupil distances ("units"), in the mouth's own frame: origin between the corners of the mouth,
x along the line of the pupils (to the right in the picture), y down towards the chin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from lipsync.face import CHIN, LEFT_PUPIL, RIGHT_PUPIL, Face, Points

Floats = NDArray[np.floating[Any]]
Side = Literal["upper", "lower"]

MOVES = ("open", "wide", "round", "press", "teeth")
"""What a mouth can do; the fields are linear in these. `closed` brings the photo's own lips together, always."""

JAW_DROP = 0.27
CORNER_SHARE = 0.38
"""Share of the jaw's drop that the corners of the mouth follow."""
WIDE, ROUND = 0.15, 0.34
PRESS = 0.032
FALL_SLOPE, STEEPEST, NOSE_GIVES = 1.5, 0.7, 1.25
"""Steepest slope of `fall` over its length; that of a field; how far beyond the way to the nose it may go."""
TEETH_UPPER, TEETH_LOWER = 0.05, 0.05
PARTED = 0.02
"""Gap of the lips from which a photo's mouth counts as open."""

UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
RIGHT_CORNER, LEFT_CORNER, LIP_TOP, LIP_BOTTOM, UNDER_NOSE = 61, 291, 0, 17, 2
COLUMNS = 65


@dataclass(frozen=True, slots=True, eq=False)
class MouthFrame:
    """The mouth's coordinates in the picture: pixel = origin + unit * (x * across + y * down)."""

    origin: Floats
    across: Floats
    down: Floats
    unit: float

    @classmethod
    def of(cls, landmarks: Points) -> MouthFrame:
        flat = landmarks[:, :2]
        eyes = flat[LEFT_PUPIL] - flat[RIGHT_PUPIL]
        unit = float(np.hypot(*eyes))
        across = (eyes / unit).astype(np.float32)
        origin = (flat[RIGHT_CORNER] + flat[LEFT_CORNER]) / 2
        return cls(origin.astype(np.float32), across, np.array([-across[1], across[0]], np.float32), unit)

    def inside(self, pixels: Floats) -> Floats:
        """Return points (..., 2) of the picture in the mouth's frame."""
        away = (pixels - self.origin) / self.unit
        return np.stack([away @ self.across, away @ self.down], axis=-1).astype(np.float32)

    def outside(self, points: Floats) -> Floats:
        return (self.origin + self.vectors(points)).astype(np.float32)

    def vectors(self, steps: Floats) -> Floats:
        """Return steps (..., 2) of the mouth's frame in pixels."""
        return (self.unit * (steps[..., :1] * self.across + steps[..., 1:] * self.down)).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Lips:
    """The lips of one photo at COLUMNS places `x`, corner to corner: the inner edges and the line where they meet."""

    x: Floats
    upper: Floats
    lower: Floats
    rest: Floats
    nose: float
    chin: float
    upper_height: float
    lower_height: float

    @classmethod
    def of(cls, face: Face, frame: MouthFrame) -> Lips:
        points = frame.inside(face.landmarks[:, :2])
        right, left = points[RIGHT_CORNER, 0], points[LEFT_CORNER, 0]
        x = np.linspace(right, left, COLUMNS, dtype=np.float32)
        upper, lower = (_edge(points, edge, x) for edge in (UPPER_INNER, LOWER_INNER))
        middle = (upper + lower) / 2
        upper, lower = np.minimum(upper, middle), np.maximum(lower, middle)
        gap = lower - upper
        if float(gap.max()) < PARTED:
            upper = lower = middle + _darkest(face, frame, x, middle)
        else:
            upper, lower = upper - np.minimum(0.012, 0.25 * gap), lower + np.minimum(0.012, 0.25 * gap)
        centre = COLUMNS // 2
        return cls(
            x, upper, lower, upper + np.float32(0.4) * (lower - upper),
            nose=float(min(points[UNDER_NOSE, 1], upper[centre] - 0.15)),
            chin=float(points[CHIN, 1]),
            upper_height=float(max(0.03, upper[centre] - points[LIP_TOP, 1])),
            lower_height=float(max(0.04, points[LIP_BOTTOM, 1] - lower[centre])),
        )  # fmt: skip

    @property
    def parted(self) -> float:
        """How far the photo's own lips are apart."""
        return float((self.lower - self.upper).max())

    @property
    def half_width(self) -> float:
        return float(self.x[-1] - self.x[0]) / 2

    def along(self, x: Floats) -> Floats:
        """Return where between the corners x lies: -1 at the right one, 1 at the left one, beyond them outside."""
        return np.asarray(np.where(x < 0, x / -self.x[0], x / self.x[-1]), np.float32)

    def field(self, move: str, side: Side, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return the step (dx, dy) that a whole `move` gives the photo's point (x, y) on that side of the lips."""
        edge = self.upper if side == "upper" else self.lower
        below = y - np.interp(x, self.x, edge).astype(np.float32)
        t = self.along(x)
        step = {
            "closed": self._closed, "open": self._open, "wide": self._wide,
            "round": self._round, "press": self._press, "teeth": self._teeth,
        }[move]  # fmt: skip
        dx, dy = step(side, x, y, below, t)
        return dx.astype(np.float32), dy.astype(np.float32)

    def _closed(self, side: Side, x: Floats, y: Floats, below: Floats, t: Floats) -> tuple[Floats, Floats]:
        way = self.rest - (self.upper if side == "upper" else self.lower)
        return np.zeros_like(x), np.interp(x, self.x, way, 0, 0).astype(np.float32) * self._lip(side, below)

    def _open(self, side: Side, x: Floats, y: Floats, below: Floats, t: Floats) -> tuple[Floats, Floats]:
        """The jaw turns: chin and lower lip sink together, the corners follow in part, the upper lip hardly."""
        chin = 0.9 * (self.chin - self.lower[COLUMNS // 2])
        nose = self.upper[COLUMNS // 2] - self.nose
        above = CORNER_SHARE * fall(-below, 0, nose)
        ramp = np.where(below < 0, above, 1 - (1 - CORNER_SHARE) * fall(below, 0, chin))
        bow = _bow(t, 0.7)
        part = ramp * (1 - bow) - 0.05 * bow * self._lip("upper", below) if side == "upper" else ramp + (1 - ramp) * bow
        neck = fall(y, self.chin + 0.02, self.chin + 0.62)
        reach = fall(abs(x), 0.3, 1.0) * neck
        return -0.09 * JAW_DROP / 0.27 * x * self._cheek(x, below), JAW_DROP * part * reach

    def _wide(self, side: Side, x: Floats, y: Floats, below: Floats, t: Floats) -> tuple[Floats, Floats]:
        cheek = self._cheek(x, below)
        thinner = 0.1 * self._swell(side, below) * _bow(t, 0.5)
        return WIDE * self._held(x) * cheek, -0.03 * np.minimum(1, t * t) * cheek - thinner

    def _round(self, side: Side, x: Floats, y: Floats, below: Floats, t: Floats) -> tuple[Floats, Floats]:
        cheek = self._cheek(x, below)
        bow = _bow(t, 0.5)
        over = (0.02 * bow if side == "upper" else 0.03 * _bow(t, 0.4)) * self._lip(side, below)
        return -ROUND * self._held(x) * cheek, 0.3 * self._swell(side, below) * bow + over

    def _press(self, side: Side, x: Floats, y: Floats, below: Floats, t: Floats) -> tuple[Floats, Floats]:
        """The lips roll over each other: their inner edges go past the line where they meet."""
        way = PRESS if side == "upper" else -PRESS
        return np.zeros_like(x), way * (1 - np.clip(t, -1, 1) ** 4) * self._lip(side, below)

    def _teeth(self, side: Side, x: Floats, y: Floats, below: Floats, t: Floats) -> tuple[Floats, Floats]:
        """The lips part while the jaw stays."""
        way = -TEETH_UPPER if side == "upper" else TEETH_LOWER
        return np.zeros_like(x), way * (1 - np.clip(t, -1, 1) ** 4) ** 1.2 * self._lip(side, below)

    def _lip(self, side: Side, below: Floats) -> Floats:
        """1 on the lip of that side (and beyond its inner edge), falling to 0 at the nose or near the chin."""
        if side == "upper":
            return fall(-below, *self._upper_reach)
        return fall(below, self.lower_height, 0.85 * (self.chin - self.lower[COLUMNS // 2]))

    @property
    def _upper_reach(self) -> tuple[float, float]:
        """Where above its inner edge the upper lip begins to move less, and where nothing moves.

        A wide smile that has to close stretches the skin below the nose: from a slope of 1 on a field cannot be
        inverted by repetition, and the nose's shadow would be seen twice. So the lip, and a little of the nose, give.
        """
        room = 0.95 * (float(self.upper[COLUMNS // 2]) - self.nose)
        needed = FALL_SLOPE * (0.4 * self.parted + PRESS) / STEEPEST
        end = min(max(room, needed), NOSE_GIVES * room)
        return min(self.upper_height, max(0.0, end - needed)), end

    def _swell(self, side: Side, below: Floats) -> Floats:
        """Distance from the inner edge inside the lip, held outside it and falling off with the lip."""
        height = self.upper_height if side == "upper" else self.lower_height
        return np.clip(below, -height, height) * self._lip(side, below)

    def _held(self, x: Floats) -> Floats:
        return np.clip(x, self.x[0], self.x[-1])

    def _cheek(self, x: Floats, below: Floats) -> Floats:
        """1 at the mouth, 0 far in the cheeks, at the nose and at the chin."""
        half = self.half_width
        upward = fall(-below, 0, self.upper[COLUMNS // 2] - self.nose + 0.25)
        downward = fall(below, 0, 0.95 * (self.chin - self.lower[COLUMNS // 2]))
        return fall(abs(x), half, half + 0.6) * np.where(below < 0, upward, downward)


def fall(value: Floats, start: Floats | float, end: Floats | float) -> Floats:
    """Fall smoothly from 1 at `start` to 0 at `end` (cubic, level at both)."""
    t = np.clip((value - start) / (end - start), 0, 1)
    return np.asarray(1 - t * t * (3 - 2 * t), np.float32)


def _bow(t: Floats, power: float) -> Floats:
    """The form of an opening: 1 in the middle, 0 at and beyond the corners."""
    return np.asarray(np.clip(1 - t * t, 0, 1) ** power, np.float32)


def _edge(points: Floats, indices: tuple[int, ...], x: Floats) -> Floats:
    """Return a smooth curve through landmarks, corner to corner."""
    ends = points[[RIGHT_CORNER, LEFT_CORNER]]
    knots = np.vstack([ends[:1], points[list(indices)], ends[1:]])
    knots = knots[np.argsort(knots[:, 0])]
    curve = np.interp(x, knots[:, 0], knots[:, 1]).astype(np.float32)
    padded = np.pad(curve, 3, mode="edge")
    smooth = np.convolve(padded, np.array([1, 2, 3, 4, 3, 2, 1]) / 16, "valid").astype(np.float32)
    smooth[[0, -1]] = curve[[0, -1]]
    return smooth


def _darkest(face: Face, frame: MouthFrame, x: Floats, line: Floats) -> Floats:
    """Return how far the dark line between closed lips lies from `line`, column by column (Viterbi, smooth)."""
    offsets = np.linspace(-0.03, 0.03, 25, dtype=np.float32)
    places = np.stack(np.broadcast_arrays(x[None, :], line[None, :] + offsets[:, None]), axis=-1)
    pixels = frame.outside(places)
    grey = cv2.cvtColor(face.picture, cv2.COLOR_BGR2GRAY)
    soft = cv2.GaussianBlur(grey, (0, 0), max(0.5, 0.006 * frame.unit))
    at_x, at_y = pixels[..., 0], pixels[..., 1]
    luma = cv2.remap(soft, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float64)
    cost = luma / max(8.0, float(luma.std())) + 20 * abs(offsets[:, None])
    cost[:, [0, -1]] += 200 * abs(offsets[:, None])
    bend = 1.2 * (np.arange(25)[:, None] - np.arange(25)[None, :]) ** 2
    total, origin = cost[:, 0], np.zeros((25, COLUMNS), np.intp)
    for column in range(1, COLUMNS):
        ways = total[None, :] + bend
        origin[:, column] = ways.argmin(axis=1)
        total = ways.min(axis=1) + cost[:, column]
    best = int(total.argmin())
    path = np.empty(COLUMNS, np.float32)
    for column in range(COLUMNS - 1, -1, -1):
        path[column] = offsets[best]
        best = int(origin[best, column])
    return np.convolve(np.pad(path, 2, mode="edge"), np.ones(5) / 5, "valid").astype(np.float32)
