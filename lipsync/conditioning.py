"""Landmarks of a photo and of a moved mouth -> what the mouth network sees: the moved pixels, soft labels, places.

Everything here lives in the crop of the lower face, CROP_PX x CROP_PX, x right, y down, pixel centres at +0.5. The
network sees the WINDOW in its middle. Training and run time both go through this file, so they agree to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lipsync.face import CHIN, LEFT_PUPIL, RIGHT_PUPIL

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Pixels = NDArray[np.uint8]

CROP_PX = 128
WHOLE = slice(0, CROP_PX)
WINDOW = slice(28, 100)
WINDOW_PX = 72

JAW = (132, 361)
CROP_PER_JAW = 0.917
CORNERS, INNER_CORNERS = (61, 291), (78, 308)
LIP_TOP, LIP_BOTTOM = 0, 17
UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
UPPER_LIP = (
    *UPPER_OUTER[1:-1], 184, 74, 73, 72, 11, 302, 303, 304, 408,
    183, 42, 41, 38, 12, 268, 271, 272, 407, *UPPER_INNER[1:-1],
)  # fmt: skip
LOWER_LIP = (
    *LOWER_OUTER[1:-1], 77, 90, 180, 85, 16, 315, 404, 320, 307,
    96, 89, 179, 86, 15, 316, 403, 319, 325, *LOWER_INNER[1:-1],
)  # fmt: skip

REACH_PX = 24
"""Landmarks farther than this outside the crop do not pull at it."""
CELL_PX = 4
"""The fields live on a grid of this step."""
STEPS = 6
"""Fixed-point steps of the inversion; the jaw's field shrinks errors by about a half in each."""
STIFFNESS = 0.0005
SUBPIXEL_BITS, SUPERSAMPLING, MIDDLE = 4, 4, 2
PLACES = 5


def shrunk(matrix: Doubles, scale: float) -> Doubles:
    """Return the matrix that leads into a picture `scale` times as large."""
    small = scale * matrix
    small[:, 2] += (scale - 1) / 2
    return small


@dataclass(frozen=True, slots=True)
class Crop:
    """The square of the picture that becomes the crop: its first corner and side in pixels, its turn in radians."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    @classmethod
    def of(cls, landmarks: Floats) -> Crop:
        """Return the crop of a face, level with its pupils; `landmarks` (478, 2 or 3) in pixels."""
        right, left = landmarks[[RIGHT_PUPIL, LEFT_PUPIL], :2]
        angle = float(np.arctan2(*(left - right)[::-1]))
        level = landmarks[:, :2] @ _turn(angle).T.astype(np.float32)
        side = CROP_PER_JAW * float(np.hypot(*(level[JAW[0]] - level[JAW[1]])))
        x = float(level[[13, 14], 0].mean()) + 0.003 * side
        y = float(level[list(CORNERS), 1].mean() + level[LIP_BOTTOM, 1]) / 2 + 0.012 * side
        corner = _turn(-angle) @ np.array([x - side / 2, y - side / 2])
        return cls(float(corner[0]), float(corner[1]), side, angle)

    @property
    def scale(self) -> float:
        """Crop pixels per pixel of the picture."""
        return CROP_PX / self.side

    def points(self, landmarks: Floats) -> Floats:
        """Return landmarks (..., 2 or 3) of the picture as crop pixels (..., 2)."""
        away = landmarks[..., :2] - np.array([self.x, self.y], np.float32)
        return (away @ (self.scale * _turn(self.angle)).T.astype(np.float32)).astype(np.float32)

    def matrix(self, size: int = CROP_PX) -> Doubles:
        """Return the 2x3 matrix from indices of the crop's pixels, at `size` of them a side, to the picture's."""
        turn = self.side / size * _turn(-self.angle)
        return np.column_stack([turn, turn @ [0.5, 0.5] + [self.x - 0.5, self.y - 0.5]])

    def cut(self, picture: Pixels) -> Pixels:
        """Return the crop (128, 128, 3) of a picture, each of its pixels the mean of those it covers."""
        fine = CROP_PX * max(1, int(np.ceil(self.side / CROP_PX)))
        flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REFLECT_101
        large = cv2.warpAffine(picture, self.matrix(fine), (fine, fine), flags=flags, borderMode=border)
        return np.asarray(cv2.resize(large, (CROP_PX, CROP_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _turn(angle: float) -> Doubles:
    """Return the matrix that makes level what rises by `angle`."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin], [-sin, cos]])


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """What the network is told of n states of one face.

    warped (n, side, side, 3) the moved pixels of what was asked for; labels (n, 72, 72, 6) as `labels` gives
    them; places (n, PLACES): `teeth`, and the sinking of the jaw, in crop pixels.
    """

    warped: Pixels
    labels: Pixels
    places: Floats


class Conditioning:
    """One face: its landmarks (478, 2) in crop pixels, and its fields prepared for any movement of them."""

    def __init__(self, points: Floats, window: slice = WHOLE) -> None:
        """Pixels are moved in the `window` alone, whose borders are those of cells."""
        self._window = window
        self.points = points.astype(np.float32)
        self.labels = labels(self.points)[..., :3]
        near = np.all((points[:468] > -REACH_PX) & (points[:468] < CROP_PX + REACH_PX), axis=1)
        self._sides = [Side.of(self.points, near, upper) for upper in (True, False)]
        at = np.arange(window.start, window.stop, dtype=np.float32)
        self._at = np.meshgrid(at, at)

    def of(self, crop: Pixels, moved: Floats) -> Condition:
        """Return the condition of n states; `crop` (128, 128, 3), `moved` (n, 478, 2) in crop pixels."""
        back = self.displacements(moved)
        warped = np.stack([self._warp(crop, step) for step in back])
        return Condition(warped, np.stack([labels(points) for points in moved]), self.places(moved))

    def displacements(self, moved: Floats) -> Floats:
        """Return the backward steps (n, side, side, 2): the pixel at p of a state comes from p - step of the photo."""
        fields = [side.back(moved - self.points) for side in self._sides]
        pairs = zip(moved, *fields, strict=True)
        return np.stack([self._joined(points, upper, lower) for points, upper, lower in pairs])

    def places(self, moved: Floats) -> Floats:
        """Return (n, PLACES): the teeth are fixed to the skull, so to the photo; the lower ones sink with the chin."""
        sunk = moved[:, CHIN, 1:] - self.points[CHIN, 1]
        still = np.repeat(teeth(self.points)[None], len(moved), axis=0)
        return np.concatenate([still, sunk], axis=1).astype(np.float32)

    def _joined(self, points: Floats, upper: Floats, lower: Floats) -> Floats:
        share = above_the_line(points, self._window)[..., None]
        up, down = (self._fine(field) for field in (upper, lower))
        return (down + share * (up - down)).astype(np.float32)

    def _fine(self, field: Floats) -> Floats:
        """Return a field for every pixel of the window; beside its cells others count, too."""
        first, last = self._window.start // CELL_PX, self._window.stop // CELL_PX
        before, cells = max(0, first - 1), CROP_PX // CELL_PX
        near = field[before : min(cells, last + 1), before : min(cells, last + 1)]
        fine = cv2.resize(near, None, fx=CELL_PX, fy=CELL_PX, interpolation=cv2.INTER_LINEAR)
        inside = slice(self._window.start - before * CELL_PX, self._window.stop - before * CELL_PX)
        return np.asarray(fine[inside, inside], np.float32)

    def _warp(self, crop: Pixels, step: Floats) -> Pixels:
        x, y = self._at
        moved = cv2.remap(crop, x - step[..., 0], y - step[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One side of the lips: which landmarks pull at it, and how much each pulls at each cell of the grid."""

    indices: NDArray[np.intp]
    pulls: Floats

    @classmethod
    def of(cls, points: Floats, near: NDArray[np.bool_], upper: bool) -> Side:
        indices = np.nonzero(near & ~_beyond(points, upper))[0]
        return cls(indices, _pulls(points[indices].astype(np.float64)).astype(np.float32))

    def back(self, steps: Floats) -> Floats:
        """Return the backward field (n, cells, cells, 2) of landmark steps (n, 478, 2), by fixed-point steps."""
        cells = CROP_PX // CELL_PX
        pulled = self.pulls @ steps[:, self.indices].transpose(1, 0, 2).reshape(len(self.indices), -1)
        forward = pulled.reshape(cells, cells, len(steps), 2).transpose(2, 0, 1, 3)
        at = np.arange(cells, dtype=np.float32)
        x, y = np.meshgrid(at, at)
        return np.stack([_inverse(np.ascontiguousarray(field, np.float32), x, y) for field in forward])


def _inverse(forward: Floats, x: Floats, y: Floats) -> Floats:
    back = forward
    for _ in range(STEPS):
        at_x, at_y = x - back[..., 0] / CELL_PX, y - back[..., 1] / CELL_PX
        back = np.asarray(cv2.remap(forward, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
    return back


def _beyond(points: Floats, upper: bool) -> NDArray[np.bool_]:
    """Return which of the 468 landmarks belong to the other side: its lip, and the skin under or over it."""
    right, left = points[CORNERS[0]], points[CORNERS[1]]
    along = (points[:468, 0] - right[0]) / (left[0] - right[0])
    line = right[1] + along * (left[1] - right[1])
    inside = (along > 0.1) & (along < 0.9)
    other = inside & ((points[:468, 1] > line) if upper else (points[:468, 1] < line))
    other[[*UPPER_LIP, *LOWER_LIP]] = False
    other[list(LOWER_LIP if upper else UPPER_LIP)] = True
    return np.asarray(other, np.bool_)


def _pulls(points: Doubles) -> Doubles:
    """Return (cells * cells, points): the thin-plate spline through steps of `points`, still far outside the crop.

    Bookstein, Principal warps, IEEE PAMI 11 (1989), without the linear part: still anchors round the crop replace it.
    """
    anchors = _anchors(points)
    knots = np.vstack([points, anchors])
    kernel = _kernel(knots, knots) + STIFFNESS * np.eye(len(knots))
    one = np.ones((len(knots), 1))
    system = np.block([[kernel, one], [one.T, np.zeros((1, 1))]])
    at = (np.arange(CROP_PX // CELL_PX) + 0.5) * CELL_PX
    grid = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
    values = np.hstack([_kernel(grid, knots), np.ones((len(grid), 1))])
    return np.linalg.solve(system.T, values.T).T[:, : len(points)]


def _anchors(points: Doubles) -> Doubles:
    ring = np.linspace(-REACH_PX, CROP_PX + REACH_PX, 10)
    sides = [(x, y) for x in ring for y in ring if x in ring[[0, -1]] or y in ring[[0, -1]]]
    anchors = np.array(sides)
    apart = np.hypot(*(anchors[:, None] - points[None]).transpose(2, 0, 1)).min(axis=1)
    return np.asarray(anchors[apart > 12], np.float64)


def _kernel(at: Doubles, knots: Doubles) -> Doubles:
    scaled = ((at[:, None] - knots[None]) / CROP_PX) ** 2
    square = scaled.sum(axis=-1)
    return np.asarray(square * np.log(square + 1e-12), np.float64)


def teeth(points: Floats) -> Floats:
    """Return middle, level, slope and bend of the free edge of the upper teeth, in crop pixels.

    The edge lies at y = level + slope * u + bend * u * u with u = (x - 64) / TEETH_SPAN_PX.
    Fitted to the teeth that 246 faces of the dataset were given.
    """
    right, left = (points[list(side)] - CROP_PX / 2 for side in TEETH_BY)
    mean, apart = (right + left) / 2, left - right
    even = TEETH_EVEN @ np.concatenate([mean[:, 1], apart[:, 0], [10]])
    odd = TEETH_ODD @ np.concatenate([mean[:, 0], apart[:, 1]])
    return np.array([odd[0] + CROP_PX / 2, even[0] + CROP_PX / 2, odd[1], even[1]], np.float32)


TEETH_SPAN_PX = 20.0
TEETH_BY = ((93, 73, 218, 95, 110), (323, 303, 438, 324, 339))
TEETH_EVEN = np.array(
    [
        [-0.021, 0.466, 0.073, 0.370, -0.077, -0.014, -0.092, 0.003, 0.090, 0.003, -0.070],
        [0.140, -0.030, -0.140, 0.008, 0.043, -0.019, -0.010, 0.045, -0.001, 0.026, 0.043],
    ],
    np.float32,
)
TEETH_ODD = np.array(
    [
        [0.119, 0.497, -0.237, 0.499, 0.087, 0.088, 0.139, -0.132, -0.175, 0.014],
        [0.031, 0.136, 0.005, 0.066, -0.045, 0.064, 0.042, 0.117, 0.020, 0.084],
    ],
    np.float32,
)


def lines(points: Floats) -> tuple[Floats, Floats]:
    """Return the inner edges of the lips (11, 2) each; where they cross, as pressed lips do, both are their middle."""
    upper, lower = points[list(UPPER_INNER)], points[list(LOWER_INNER)]
    middle = (upper + lower) / 2
    crossed = lower[:, 1:] < upper[:, 1:]
    return np.where(crossed, middle, upper), np.where(crossed, middle, lower)


def labels(points: Floats) -> Pixels:
    """Return (72, 72, 6), 0..255, of upper lip, lower lip and mouth opening in the window.

    First how much of each pixel they cover, then in which its middle lies: as a teacher without soft edges saw them.
    """
    upper, lower = lines(points)
    shapes = (
        np.vstack([points[list(UPPER_OUTER)], upper[::-1]]),
        np.vstack([points[list(LOWER_OUTER)], lower[::-1]]),
        np.vstack([upper, lower[::-1]]),
    )
    fine = [_filled(shape - WINDOW.start, WINDOW_PX) for shape in shapes]
    up, low, opening = (one[MIDDLE::SUPERSAMPLING, MIDDLE::SUPERSAMPLING] for one in fine)
    low = low & ~opening
    return np.dstack([*(_covered(one, WINDOW_PX) for one in fine), up & ~(low | opening), low, opening])


def above_the_line(points: Floats, window: slice = WHOLE) -> Floats:
    """Return how much (side, side), 0..1, each pixel follows the upper lip: all above the line where the lips meet."""
    upper, lower = lines(points)
    right, left = points[list(CORNERS)]
    line = np.vstack([[[-9.0, right[1]]], right[None], (upper + lower) / 2, left[None], [[CROP_PX + 9.0, left[1]]]])
    shape = np.vstack([line, [[CROP_PX + 9.0, -9.0], [-9.0, -9.0]]]) - window.start
    return _cover(shape.astype(np.float32), window.stop - window.start).astype(np.float32) / np.float32(255)


def _cover(shape: Floats, side: int) -> Pixels:
    """Return how much of each pixel (side, side) the polygon covers, 0..255."""
    return _covered(_filled(shape, side), side)


def _filled(shape: Floats, side: int) -> Pixels:
    """Return the polygon, 255, in SUPERSAMPLING x SUPERSAMPLING samples of each pixel."""
    fine = np.zeros((side * SUPERSAMPLING, side * SUPERSAMPLING), np.uint8)
    corners = np.round((shape * SUPERSAMPLING - 0.5) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(fine, [corners], 255, lineType=cv2.LINE_8, shift=SUBPIXEL_BITS)
    return fine


def _covered(fine: Pixels, side: int) -> Pixels:
    return np.asarray(cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
