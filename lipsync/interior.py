"""What lies behind the lips: dark cavity, upper teeth fixed to the skull; tongue and lower teeth sink with the jaw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from math import floor, log2

import cv2
import numpy as np

from lipsync.face import Face
from lipsync.grain import grain_of
from lipsync.movement import JAW_DROP, Floats, Lips, MouthFrame, fall
from lipsync.ownteeth import OwnTeeth
from lipsync.photo import Pixels

UPPER_WIDTHS = (0.128, 0.098, 0.1, 0.082, 0.066, 0.06)
UPPER_EDGES = (0.0, -0.010, -0.003, -0.014, -0.022, -0.03)
UPPER_HEIGHTS = (0.165, 0.15, 0.16, 0.135, 0.12, 0.11)
LOWER_WIDTHS = (0.082, 0.086, 0.09, 0.082, 0.07, 0.06)
LOWER_EDGES = (0.0, 0.002, 0.004, 0.012, 0.02, 0.03)
LOWER_HEIGHTS = (0.12, 0.12, 0.13, 0.11, 0.1, 0.1)
"""Teeth from the middle to one side, in pupil distances (63 mm): visible width, place of the free edge, height."""

Row = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
"""Widths, edges, heights."""
Sketch = Callable[[Floats, Floats], Floats]
"""Places x, y (h, w) in pupil distances -> shades (h, w) or (h, w, n), which become colours of one photo."""

UPPER_EDGE = 0.034
"""Free edge of the upper incisors below the line of the closed lips."""
OVERBITE = 0.022
WARM = np.array([1.2, 1.18, 1.0], np.float32)
"""The deeper the shade, the more of its light has come by way of lips and gums."""
OWN_SHADE = 0.8
"""How light the teeth stand in a photo that shows them, on the scale of SHADES."""
_LIT = np.arange(256, dtype=np.float32)[:, None] / 255
SHADES = ((0.22 + 0.92 * np.minimum(1, 1.1 * _LIT) ** 1.3) ** WARM)[None].astype(np.float32)
OWN_SHADES = np.minimum(1, SHADES / np.float32(OWN_SHADE))
"""How light it is for each amount of light, 0..255 (1, 256, 3)."""
SUPERSAMPLING = 2
SOFT_PX = 2.5
"""Least softness of the light that falls in, where it is drawn smaller than it is."""
SKETCH_PX, SKETCH_X, SKETCH_Y = 512, 0.6, (0.25, 0.45)
"""Pixels per pupil distance of a sketch; how far it goes to either side, up and down. Beyond that nothing changes."""
TOOTH = np.array([166, 194, 210], np.float32)
GUM = np.array([92, 88, 152], np.float32)
TONGUE = np.array([88, 84, 150], np.float32)
CAVITY = np.array([22, 15, 34], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Coat:
    """Something painted in the box: `colour` (h, w, 3), 0..255, and `behind`, how much is seen of what lies there.

    Both have as many channels as pictures, so that these are quickly multiplied.
    """

    colour: Floats
    behind: Floats

    @classmethod
    def of(cls, layer: Floats) -> Coat:
        """`layer` (h, w, 4) is colour premultiplied by its cover, and the cover, all 0..255."""
        return cls(np.ascontiguousarray(layer[..., :3]), np.repeat(1 - layer[..., 3:] / np.float32(255), 3, axis=2))

    def part(self, rows: slice, columns: slice, down: Floats) -> Coat:
        """Return a part of it, which has moved by `down` (2,), in pixels."""
        if not down.any():
            return Coat(self.colour[rows, columns], self.behind[rows, columns])
        shift = np.array([[1, 0, down[0] - columns.start], [0, 1, down[1] - rows.start]])
        size = (columns.stop - columns.start, rows.stop - rows.start)
        colour, behind = (
            cv2.warpAffine(plane, shift, size, flags=cv2.INTER_LINEAR, borderValue=(rest, rest, rest))
            for plane, rest in ((self.colour, 0), (self.behind, 1))
        )
        return Coat(np.asarray(colour, np.float32), np.asarray(behind, np.float32))

    def over(self, picture: Floats, light: Floats | None = None) -> None:
        """Lay it over a picture (h, w, 3), in place, in such a light."""
        cv2.multiply(picture, self.behind, picture)
        cv2.add(picture, self.colour if light is None else cv2.multiply(self.colour, light), picture)


@dataclass(frozen=True, slots=True, eq=False)
class Interior:
    """What is painted in one face's box (h, w); `back` (h, w, 3) lies behind all else.

    `own` are the upper teeth that the photo shows, with the light that falls on them there; `grain` is the photo's own.
    """

    back: Floats
    tongue: Coat
    lower: Coat
    upper: Coat
    own: Coat | None
    grain: Floats
    jaw: Floats
    unit: float

    @classmethod
    def of(cls, face: Face, frame: MouthFrame, lips: Lips, pixels: Floats) -> Interior:
        """Paint for the box whose pixel centres are `pixels` (h, w, 2), in the picture's coordinates."""
        size = float(np.clip(lips.half_width / 0.42, 0.85, 1.2))
        light = _light(face)
        middle = float(lips.rest[len(lips.rest) // 2])
        teeth = OwnTeeth.of(face, frame, lips, pixels)
        tooth = teeth.colour / np.float32(OWN_SHADE) if teeth else TOOTH * light
        edge = middle + (max(0.02, teeth.edge - middle) if teeth else UPPER_EDGE)
        row = np.column_stack([[*tooth, 0], [*(GUM * light), 0], [0, 0, 0, 255]])
        sketch = partial(_drawn, frame=frame, pixels=pixels)
        return cls(
            back=sketch(_cavity, (CAVITY * light)[:, None], (0, middle)),
            tongue=Coat.of(sketch(_tongue, np.column_stack([[*(TONGUE * light), 0], [0, 0, 0, 255]]), (0, middle))),
            lower=Coat.of(sketch(_lower_teeth, row, (0, edge), size)),
            upper=Coat.of(sketch(_upper_teeth, row, (0, edge), size)),
            own=Coat.of(teeth.layer) if teeth else None,
            grain=np.repeat(grain_of(face, *pixels.shape[:2]), 3, axis=2),
            jaw=frame.vectors(np.array([[0.0, JAW_DROP]], np.float32))[0],
            unit=frame.unit,
        )

    def paint(self, opening: Pixels, open_: float, rows: slice, columns: slice) -> Pixels:
        """Return the mouth's inside (h, w, 3) in that part of the box; `opening` (h, w) is its cover there."""
        picture, where = self.back[rows, columns].copy(), (rows, columns)
        for coat, share in ((self.tongue, 0.92), (self.lower, 1.0), (self.upper, 0.0)):
            coat.part(*where, share * open_ * self.jaw).over(picture)
        lit = cv2.merge([self._lit(opening)] * 3)
        cv2.multiply(picture, cv2.LUT(lit, SHADES), picture)
        cv2.add(picture, self.grain[where], picture)
        if self.own is not None:
            self.own.part(*where, 0 * self.jaw).over(picture, np.asarray(cv2.LUT(lit, OWN_SHADES), np.float32))
        return np.asarray(cv2.convertScaleAbs(picture), np.uint8)

    def _lit(self, opening: Pixels) -> Pixels:
        """Light falls in through the opening: less under the upper lip, near the edges and through a narrow gap."""
        size, sigma = opening.shape[::-1], 0.045 * self.unit
        down = self.jaw / np.linalg.norm(self.jaw) * 0.035 * self.unit
        shifted = cv2.warpAffine(opening, np.array([[1, 0, down[0]], [0, 1, down[1]]]), size)
        # what is this soft is as well told at a fraction of the size
        small = [max(1, round(length * min(1.0, SOFT_PX / sigma))) for length in size]
        light = cv2.resize(shifted, small, interpolation=cv2.INTER_AREA)
        across, downward = (sigma * few / length for few, length in zip(small, size, strict=True))
        soft = cv2.GaussianBlur(light, (0, 0), across, None, downward, cv2.BORDER_REFLECT)
        return np.asarray(cv2.resize(soft, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _light(face: Face) -> Floats:
    """Return the colour gain (3,) of the photo's light, from the brighter skin of the face; 1 in a bright photo."""
    low, high = face.landmarks[:468, :2].min(axis=0), face.landmarks[:468, :2].max(axis=0)
    x0, y0 = np.maximum(low, 0).astype(int)
    x1, y1 = high.astype(int)
    small = cv2.resize(face.picture[y0:y1, x0:x1], (48, 48), interpolation=cv2.INTER_AREA)
    skin = small.reshape(-1, 3).astype(np.float32)
    luma = skin @ np.array([0.0722, 0.7152, 0.2126], np.float32)
    bright = skin[luma >= np.percentile(luma, 80)].mean(axis=0)
    level = np.clip(0.45 + 0.55 * float(np.percentile(luma, 80)) / 165, 0.45, 1.08)
    cast = bright / bright.mean() / np.array([0.83, 0.97, 1.2], np.float32)
    return np.asarray(level * np.clip(cast, 0.8, 1.2) ** 0.4, np.float32)


def _drawn(
    sketch: Sketch, colours: Floats, at: tuple[float, float], stretch: float = 1.0, *, frame: MouthFrame, pixels: Floats
) -> Floats:
    """Return a sketch in colours (channels, shades) for pixel centres (h, w, 2); its origin lies `at` in the frame."""
    height, width = pixels.shape[:2]
    halvings = max(0, floor(log2(SKETCH_PX / (SUPERSAMPLING * frame.unit))))
    shades, px = _shades(sketch, halvings), SKETCH_PX / 2**halvings
    # from the samples of the box to the mouth's frame, and on to the sketch
    turn = np.stack([frame.across, frame.down]).astype(np.float64) / frame.unit
    corner = pixels[0, 0] + (0.5 / SUPERSAMPLING - 0.5)
    scale = np.diag([px / stretch, px])
    start = scale @ (turn @ (corner - frame.origin) - at) + [SKETCH_X * px - 0.5, SKETCH_Y[0] * px - 0.5]
    matrix = np.column_stack([scale @ turn / SUPERSAMPLING, start])
    flags, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (width * SUPERSAMPLING, height * SUPERSAMPLING)
    fine = cv2.warpAffine(shades, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.transform(small, colours.astype(np.float32)), np.float32)


@lru_cache(maxsize=16)
def _shades(sketch: Sketch, halvings: int) -> Floats:
    """Return a sketch on its own canvas, the same for every face."""
    if halvings:
        larger = _shades(sketch, halvings - 1)
        size = (larger.shape[1] // 2, larger.shape[0] // 2)
        return np.asarray(cv2.resize(larger, size, interpolation=cv2.INTER_AREA), np.float32)
    up, down = SKETCH_Y
    x, y = (
        (np.arange(round(length * SKETCH_PX), dtype=np.float32) + np.float32(0.5)) / np.float32(SKETCH_PX) - start
        for length, start in ((2 * SKETCH_X, np.float32(SKETCH_X)), (up + down, np.float32(up)))
    )
    return np.asarray(sketch(*np.meshgrid(x, y)), np.float32)


def _cavity(x: Floats, y: Floats) -> Floats:
    return 0.6 + 0.7 * (1 - fall(y, 0.0, 0.35)) * fall(abs(x), 0.1, 0.4)


def _tongue(x: Floats, y: Floats) -> Floats:
    """A soft mound behind the lower teeth, darker towards the throat, with its furrow: its light, and its cover."""
    top = -0.075 + 0.9 * x * x
    cover = (1 - fall(y, top - 0.03, top + 0.06)) * fall(abs(x), 0.18, 0.3)
    shade = 0.42 + 0.55 * (1 - fall(y, top, top + 0.13)) - 0.1 * np.exp(-((x / 0.025) ** 2))
    return np.dstack([shade * cover, cover])


def _upper_teeth(x: Floats, y: Floats) -> Floats:
    """`y` counts from the free edge of the upper incisors."""
    return _teeth(x, y, (UPPER_WIDTHS, UPPER_EDGES, UPPER_HEIGHTS))


def _lower_teeth(x: Floats, y: Floats) -> Floats:
    teeth = _teeth(x, -(y + OVERBITE), (LOWER_WIDTHS, tuple(-e for e in LOWER_EDGES), LOWER_HEIGHTS))
    teeth[..., :2] *= 0.78
    return teeth


def _teeth(x: Floats, y: Floats, row: Row) -> Floats:
    """Paint a row whose free edges point to +y, gums above it: the light of teeth and of gums, and their cover."""
    widths, edges, heights = row
    side = abs(x)
    borders = np.concatenate([[0], np.cumsum(widths)]).astype(np.float32)
    number = np.clip(np.searchsorted(borders, side, side="right") - 1, 0, len(widths) - 1)
    width, edge, height = (np.array(values, np.float32)[number] for values in (widths, edges, heights))
    across = 2 * (side - borders[number]) / width - 1
    outward = np.clip(across, -1, 1)
    free = edge - 0.018 * abs(outward) ** 5 - 0.006 * np.maximum(outward, 0) ** 2
    neck = edge - height + 0.035 * outward**2
    soft = 0.008
    body = fall(y, free - soft, free + soft)
    gum = fall(y, neck - soft, neck + soft)
    gap = fall((1 - abs(across)) * width / 2, 0.0005, 0.006)
    round_ = 1 - 0.22 * outward**4 - 0.05 * outward
    upright = 0.90 + 0.12 * fall(edge - y, 0.03, height) - 0.08 * fall(edge - y, 0.0, 0.03)
    cover = body * fall(side, float(borders[-1]) - 0.04, float(borders[-1]))
    far = (0.12 + 0.88 * fall(side, 0.06, 0.43)) * cover
    return np.dstack([round_ * upright * (1 - 0.38 * gap) * (1 - gum) * far, gum * far, cover])
