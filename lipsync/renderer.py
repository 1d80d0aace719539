"""A face and a mouth's state -> a picture: the photo's own pixels moved, and behind the lips a real mouth."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from lipsync.box import Box
from lipsync.face import Face
from lipsync.gestures import moves_of
from lipsync.halfsamples import HalfSamples
from lipsync.interior import Interior
from lipsync.mouthnet import MouthNet
from lipsync.movement import MOVES, Floats, Lips, MouthFrame, Side
from lipsync.paintwork import Paintwork, State
from lipsync.photo import Pixels
from lipsync.planes import Planes, blank, blend, channels_of, fine, halved, moved, part_of, planes_of, yuv_of

CELLS_PER_UNIT = 40
STEPS = 200
"""States are told apart in steps of 1 / STEPS."""
KEPT = 12
STILL_PX = 0.05
"""What is moved by less than this is left where it is."""
INSIDE, LIPS, MOVING = 0.6, 0.5, 0.12
"""How much the network counts between the lips and on them, and from which movement on it counts wholly."""
NARROW = 0.02
"""Gap of the lips, in pupil distances, from which the network counts wholly between them."""
LEAST_GAP = 0.004
"""Gap from which the mouth's inside is painted, in pupil distances."""
FEATHER = 0.007
"""Softness of the edge of the lips, in pupil distances."""


class Layer:
    """One side of the lips: its part of the box, and its fields on a coarse grid there, in cells."""

    def __init__(self, side: Side, box: Box, still: tuple[bool, ...], frame: MouthFrame, lips: Lips) -> None:
        """`still` says at which borders (left, top, right, bottom) of the box all movement must have ended."""
        self.box = box
        # even, so that it is whole in planes of half the size, too
        self._cell = cell = max(2, 2 * round(frame.unit / CELLS_PER_UNIT / 2))
        # one more cell on every side, so that what lies between their middles reaches the borders
        columns, rows = (-(-length // cell) + 2 for length in (box.w, box.h))
        across, down = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
        self._grid = np.stack([across, down], axis=-1)
        corner = np.array([box.x - 0.5, box.y - 0.5], np.float32)
        self._centres = (self._grid - np.float32(0.5)) * np.float32(cell) + corner
        places = frame.inside(self._centres)
        fade = self._edge_fade(still) / np.float32(cell)
        fields = (
            fade * frame.vectors(np.stack(lips.field(move, side, places[..., 0], places[..., 1]), axis=-1))
            for move in ("closed", *MOVES)
        )
        self._fields = np.stack([field.ravel() for field in fields])

    def _edge_fade(self, still: tuple[bool, ...]) -> Floats:
        """0 at a border where nothing may move, 1 from four cells inward: whatever is left of a field ends there."""
        cells = [length / self._cell for length in (self.box.w, self.box.h)]
        x, y, far = self._grid[..., 0] - 1, self._grid[..., 1] - 1, np.float32(4)
        inward = (x, y, np.float32(cells[0] - 1) - x, np.float32(cells[1] - 1) - y)
        ends = [way for way, at in zip(inward, still, strict=True) if at]
        nearest = np.minimum.reduce([np.full_like(x, far), *ends])
        return np.asarray(np.clip(nearest / far, 0, 1)[..., None], np.float32)

    def sources(self, weights: Floats) -> Floats:
        """Return where in the picture each cell's middle comes from; the field is inverted by fixed-point steps."""
        forward = (weights @ self._fields).reshape(self._grid.shape)
        back = forward
        for _ in range(4):
            step = cv2.remap(forward, self._grid - back, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
            back = np.asarray(step, np.float32)
        return np.asarray(self._centres - np.float32(self._cell) * back, np.float32)

    def stirred(self, sources: Floats) -> Box:
        """Return the part in which pixels come from elsewhere by more than STILL_PX; where none do it has no pixels."""
        away, spans = cv2.absdiff(sources, self._centres), []
        for axis, start, length in ((0, self.box.x, self.box.w), (1, self.box.y, self.box.h)):
            farthest = cv2.reduce(away, axis, cv2.REDUCE_MAX).reshape(-1, 2)
            cells = np.flatnonzero(np.any(farthest > STILL_PX, axis=1))
            # one more on either side: what lies between the middles of cells is moved by both
            first, last = (int(cells[0]) - 2, int(cells[-1]) + 1) if len(cells) else (0, 0)
            begin, end = (min(max(0, cell * self._cell), length) for cell in (first, last))
            spans.append((start + begin, end - begin))
        (x, w), (y, h) = spans
        return Box(x, y, w, h)

    def warp(self, photo: Doubled, sources: Floats, part: Box, into: Planes) -> None:
        """Write a part of the picture, of even pixels of this layer's box, with every pixel moved."""
        cell = self._cell
        top = part.y - self.box.y + cell
        first, last = max(0, top // cell - 1), min(len(sources), (top + part.h) // cell + 2)
        seen = Box(part.x - self.box.x + cell, top - first * cell, part.w, part.h)
        at = sources[first:last] - photo.corner
        luma, chroma = fine(2 * at, cell, seen), fine(at, cell // 2, seen.halved)
        for samples, places, plane in zip(photo.samples, (luma, chroma, chroma), into, strict=True):
            moved(samples, places, plane)


class Doubled:
    """A part of a picture with a sample between each two: linear between these is nearly cubic between the pixels.

    In chroma, of half the size, the photo's own pixels are these samples. `planes` are its own.
    """

    def __init__(self, picture: Pixels, box: Box) -> None:
        self.corner = np.array([box.x, box.y], np.float32)
        luma, blue, red = channels_of(yuv_of(picture[box.rows, box.columns]))
        self.planes: Planes = luma, halved(blue), halved(red)
        self.samples = HalfSamples(luma, Box(0, 0, box.w, box.h)).samples, blue, red


class Renderer:
    """One face in a picture with even sides, ready to speak. `box`, of even pixels, is the part that ever changes."""

    def __init__(self, face: Face, net: MouthNet | None = None) -> None:
        """With a network, it paints over the drawn mouth what it knows better."""
        self.face = face
        self._paintwork = Paintwork(face, net) if net else None
        self._frame = frame = MouthFrame.of(face.landmarks)
        self._lips = lips = Lips.of(face, frame)
        x0, y0, x1, y1 = -1.15, lips.nose - 0.15, 1.15, lips.chin + 0.7
        self.box = _box(face, frame, (x0, y0, x1, y1))
        above = _box(face, frame, (x0, y0, x1, float(lips.lower.max()) + 0.22))
        below = _box(face, frame, (x0, float(lips.upper.min()) - 0.12, x1, y1))
        still = _inside(face, self.box)
        if self._paintwork:
            self.box = self.box.with_(self._paintwork.box)
        self._upper = Layer("upper", above, (*still[:3], False), frame, lips)
        self._lower = Layer("lower", below, (still[0], False, *still[2:]), frame, lips)
        high, low = float(lips.rest.min()) - 0.2, float(lips.rest.max()) + 0.42
        self._mouth = _box(face, frame, (float(lips.x[0]) - 0.15, high, float(lips.x[-1]) + 0.15, low))
        self._edges = np.stack([np.stack([lips.x, edge], axis=-1) for edge in (lips.upper, lips.lower)])
        self._edge_steps = np.stack([self._steps(move) for move in ("closed", *MOVES)])
        self._interior = Interior.of(face, frame, lips, _centres(self._mouth))
        own, work = self._interior.own, self._paintwork
        self._own = work.seen(1 - own.behind[..., 0], self._mouth) if work and own is not None else None
        self._photo = Doubled(face.picture, self.box)
        self._kept: OrderedDict[State, Planes] = OrderedDict()

    def _steps(self, move: str) -> Floats:
        """Return the steps (2, COLUMNS, 2) of the inner edges, upper and lower, in the mouth's frame."""
        lips = self._lips
        both = (lips.field(move, "upper", lips.x, lips.upper), lips.field(move, "lower", lips.x, lips.lower))
        return np.stack([np.stack(step, axis=-1) for step in both])

    def expect(self, states: Iterable[Sequence[float]]) -> None:
        """Be told which states will be asked for, in their order: the network paints several at once."""
        if self._paintwork:
            self._paintwork.expect(_stepped(state) for state in states)

    def patch(self, state: Sequence[float]) -> Planes:
        """Return the planes of `box` with the mouth in `state`; equal states are rendered once. Do not write to it."""
        key = _stepped(state)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        patch = self._render(key)
        for plane in patch:
            plane.flags.writeable = False
        self._kept[key] = patch
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return patch

    def _render(self, state: State) -> Planes:
        moves = moves_of(state)
        parted = self._lips.parted > 0
        moving = min(1.0, max(moves.values()) / MOVING)
        luma, blue, red = self._photo.planes
        patch = luma.copy(), blue.copy(), red.copy()
        if not moving and not parted:
            return patch
        weights = np.array([1.0, *(moves[move] for move in MOVES)], np.float32)
        edges = self._edges + np.tensordot(weights, self._edge_steps, 1)
        self._warp(patch, weights, edges)
        self._contact(patch, edges, moves["press"])
        opening = _opening(edges)
        gap = float((edges[1, :, 1] - edges[0, :, 1]).max())
        if gap >= LEAST_GAP:
            self._open(patch, opening, moves["open"])
        if self._paintwork:
            share = self._share(opening, gap, LIPS * (1 if parted else moving))
            self._paintwork.lay(self._part(patch, self._paintwork.box), state, share)
        return patch

    def _share(self, opening: Floats, gap: float, lips: float) -> Floats:
        """Return how much the network counts in its window: `lips` outside the opening, 0 on the photo's teeth."""
        assert self._paintwork
        open_ = self._paintwork.cover(self._frame.outside(opening)) * np.float32(np.clip(gap / NARROW, 0, 1))
        share = lips + open_ * (INSIDE - lips)
        return share if self._own is None else share * (1 - self._own * open_)

    def _part(self, patch: Planes, box: Box) -> Planes:
        """Return the view of the patch that is `box` of the picture."""
        return part_of(patch, box.within(self.box))

    def _warp(self, patch: Planes, weights: Floats, edges: Floats) -> None:
        """Move both sides, the upper one over the lower one down to the middle between the two edges."""
        above, below = self._upper.box, self._lower.box
        middle = edges.mean(axis=0)
        rows = self._frame.outside(middle)[:, 1]
        soft = 4 * max(0.5, FEATHER * self._frame.unit) + abs(self._frame.across[1]) * above.w
        high, low = int(rows.min() - soft) // 2 * 2, int(rows.max() + soft + 3) // 2 * 2
        high, low = (min(max(row, above.y), above.y + above.h) for row in (high, low))
        upper, lower = self._upper.sources(weights), self._lower.sources(weights)
        area = self._upper.stirred(upper).with_(self._lower.stirred(lower))
        start = max(high, below.y)
        for layer, sources, side in (
            (self._upper, upper, Box(above.x, above.y, above.w, high - above.y)),
            (self._lower, lower, Box(below.x, start, below.w, below.y + below.h - start)),
        ):
            if side.meets(area):
                part = side.common(area)
                layer.warp(self._photo, sources, part, self._part(patch, part))
        strip = Box(above.x, high, above.w, low - high)
        if strip.meets(area):
            strip = strip.common(area)
            over = blank(strip)
            self._upper.warp(self._photo, upper, strip, over)
            far = np.array([[-9, middle[0, 1]], *middle, [9, middle[-1, 1]], [9, -9], [-9, -9]], np.float32)
            blend(self._part(patch, strip), over, self._polygon(far, strip))

    def _contact(self, patch: Planes, edges: Floats, press: float) -> None:
        """Darken the line where lips touch that did not touch so in the photo: pressed, or parted there."""
        overlap = edges[0, :, 1] - edges[1, :, 1]
        strength = min(1.0, self._lips.parted / 0.04) if self._lips.parted else min(1.0, 1.5 * press)
        touching = np.clip(overlap / 0.01 + 1, 0, 1) * strength
        if touching.max() <= 0:
            return
        unit, line = self._frame.unit, self._frame.outside(edges.mean(axis=0))
        soft, thick = max(0.6, 0.009 * unit), max(1, round(0.01 * unit))
        where = self._round(line, 4 * soft + thick)
        mask = np.zeros((where.h, where.w), np.uint8)
        points = np.round((line - [where.x, where.y]) * 16).astype(np.int32).tolist()
        for a, b, strong in zip(points[1:-2], points[2:-1], (255 * touching[1:-2]).tolist(), strict=True):
            cv2.line(mask, a, b, strong, thick, cv2.LINE_8, 4)
        dark = cv2.convertScaleAbs(cv2.GaussianBlur(mask, (0, 0), soft), alpha=0.45 * 1.4)
        blend(self._part(patch, where), blank(where), np.minimum(dark, round(0.45 * 255)))

    def _open(self, patch: Planes, opening: Floats, open_: float) -> None:
        """Paint the mouth's inside in its opening."""
        where = self._round(self._frame.outside(opening), 4 * max(0.5, FEATHER * self._frame.unit))
        if not (where.w > 0 and where.h > 0):
            return
        cover, inner = self._polygon(opening, where), where.within(self._mouth)
        inside = self._interior.paint(cover, open_, inner.rows, inner.columns)
        blend(self._part(patch, where), planes_of(inside), cover)

    def _round(self, points: Floats, reach: float) -> Box:
        """Return the even pixels of the mouth's box as far as `reach` round points (n, 2) of the picture."""
        box = self._mouth
        x0, y0 = np.floor(points.min(axis=0) - reach).astype(int).clip((box.x, box.y)).tolist()
        x1, y1 = np.ceil(points.max(axis=0) + reach).astype(int).clip(0, (box.x + box.w, box.y + box.h)).tolist()
        return Box(x0, y0, max(0, x1 - x0), max(0, y1 - y0)).even

    def _polygon(self, points: Floats, box: Box) -> Pixels:
        """Return the cover (h, w) of a polygon of the mouth's frame in a box, its edge softened by FEATHER."""
        pixels = np.round((self._frame.outside(points) - [box.x, box.y]) * 16).astype(np.int32)
        mask = np.zeros((box.h, box.w), np.uint8)
        cv2.fillPoly(mask, [pixels], 255, cv2.LINE_AA, 4)
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, FEATHER * self._frame.unit)), np.uint8)


def _stepped(state: Sequence[float]) -> State:
    return tuple(round(float(value) * STEPS) / STEPS for value in state)


def _opening(edges: Floats) -> Floats:
    """Return the outline (n, 2) of what the edges (2, COLUMNS, 2) leave open."""
    upper, lower = edges
    lower = np.column_stack([lower[:, 0], np.maximum(lower[:, 1], upper[:, 1])])
    return np.concatenate([upper, lower[::-1]])


def _box(face: Face, frame: MouthFrame, bounds: tuple[float, ...]) -> Box:
    """Return the even pixels round a rectangle of the mouth's frame, inside the picture."""
    x0, y0, x1, y1 = bounds
    corners = frame.outside(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32))
    height, width = face.picture.shape[:2]
    left, top = np.floor(corners.min(axis=0)).clip(0).astype(int)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int)
    return Box(int(left), int(top), int(min(width, right) - left), int(min(height, bottom) - top)).even


def _inside(face: Face, box: Box) -> tuple[bool, bool, bool, bool]:
    """Return for left, top, right and bottom whether that side of a box lies inside the picture."""
    height, width = face.picture.shape[:2]
    return box.x > 0, box.y > 0, box.x + box.w < width, box.y + box.h < height


def _centres(box: Box) -> Floats:
    x, y = np.meshgrid(np.arange(box.w, dtype=np.float32), np.arange(box.h, dtype=np.float32))
    return np.stack([x + box.x, y + box.y], axis=-1)
