"""A face and a mouth's state -> a picture: the photo's own pixels moved, and behind the lips a real mouth."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from lipsync.box import Box
from lipsync.face import Face
from lipsync.gestures import moves_of
from lipsync.interior import Interior
from lipsync.mouthnet import MouthNet
from lipsync.movement import MOVES, Floats, Lips, MouthFrame, Side
from lipsync.paintwork import Paintwork, State
from lipsync.photo import Pixels

CELLS_PER_UNIT = 40
STEPS = 200
"""States are told apart in steps of 1 / STEPS."""
KEPT = 12
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
        self._cell = cell = max(2, round(frame.unit / CELLS_PER_UNIT))
        # one more cell on every side, so that what lies between their middles reaches the borders
        columns, rows = (-(-length // cell) + 2 for length in (box.w, box.h))
        across, down = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
        self._grid = np.stack([across, down], axis=-1)
        corner = np.array([box.x - 0.5, box.y - 0.5], np.float32)
        self._centres = (self._grid - np.float32(0.5)) * np.float32(cell) + corner
        places = frame.inside(self._centres)
        fade = self._edge_fade(still) / np.float32(cell)
        self._fields = np.stack(
            [
                fade * frame.vectors(np.stack(lips.field(move, side, places[..., 0], places[..., 1]), axis=-1))
                for move in ("closed", *MOVES)
            ]
        )

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
        forward = np.tensordot(weights, self._fields, 1)
        back = forward
        for _ in range(4):
            moved = cv2.remap(forward, self._grid - back, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
            back = np.asarray(moved, np.float32)
        return np.asarray(self._centres - np.float32(self._cell) * back, np.float32)

    def warp(self, photo: Doubled, sources: Floats, rows: range) -> Pixels:
        """Return some rows of the picture, all columns of this layer's box, with every pixel moved."""
        if not rows:
            return np.empty((0, self.box.w, 3), np.uint8)
        cell = self._cell
        start, stop = (row - self.box.y + cell for row in (rows.start, rows.stop))
        first, last = max(0, start // cell - 1), min(len(sources), stop // cell + 2)
        size = (sources.shape[1] * cell, (last - first) * cell)
        places = photo.places(sources[first:last])
        fine = np.asarray(cv2.resize(places, size, interpolation=cv2.INTER_LINEAR), np.float32)
        start, stop = (row - first * cell for row in (start, stop))
        return photo.at(fine[start:stop, cell : cell + self.box.w])


class Doubled:
    """A part of a picture with a sample between each two: linear between these is nearly cubic between the pixels."""

    def __init__(self, picture: Pixels, box: Box) -> None:
        self._corner = np.array([box.x, box.y], np.float32)
        half = np.array([[0.5, 0, 0], [0, 0.5, 0]])
        flags, size = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, (2 * box.w - 1, 2 * box.h - 1)
        part = picture[box.rows, box.columns]
        self._samples = cv2.warpAffine(part, half, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def places(self, at: Floats) -> Floats:
        """Return points of the picture (..., 2) in the samples."""
        return np.asarray(2 * (at - self._corner), np.float32)

    def at(self, places: Floats) -> Pixels:
        """Return the pixels (h, w, 3) at `places` (h, w, 2)."""
        found = cv2.remap(self._samples, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return np.asarray(found, np.uint8)


class Renderer:
    """One face, ready to speak. `box` is the part of its picture that ever changes."""

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
        self._own = work.seen(own[..., 3] / np.float32(255), self._mouth) if work and own is not None else None
        self._photo = Doubled(face.picture, self.box)
        self._kept: OrderedDict[State, Pixels] = OrderedDict()

    def _steps(self, move: str) -> Floats:
        """Return the steps (2, COLUMNS, 2) of the inner edges, upper and lower, in the mouth's frame."""
        lips = self._lips
        both = (lips.field(move, "upper", lips.x, lips.upper), lips.field(move, "lower", lips.x, lips.lower))
        return np.stack([np.stack(step, axis=-1) for step in both])

    def expect(self, states: Iterable[Sequence[float]]) -> None:
        """Be told which states will be asked for, in their order: the network paints several at once."""
        if self._paintwork:
            self._paintwork.expect(_stepped(state) for state in states)

    def frame(self, state: Sequence[float]) -> Pixels:
        """Return the whole picture with the mouth in `state` (narration.PARAMETERS)."""
        picture = self.face.picture.copy()
        picture[self.box.rows, self.box.columns] = self.patch(state)
        return picture

    def patch(self, state: Sequence[float]) -> Pixels:
        """Return the pixels of `box` with the mouth in `state`; equal states are rendered once. Do not write to it."""
        key = _stepped(state)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        patch = self._render(key)
        patch.flags.writeable = False
        self._kept[key] = patch
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return patch

    def _render(self, state: State) -> Pixels:
        moves = moves_of(state)
        parted = self._lips.parted > 0
        moving = min(1.0, max(moves.values()) / MOVING)
        patch = self.face.picture[self.box.rows, self.box.columns].copy()
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

    def _part(self, patch: Pixels, box: Box) -> Pixels:
        """Return the view of the patch that is `box` of the picture."""
        return patch[box.y - self.box.y :, box.x - self.box.x :][: box.h, : box.w]

    def _warp(self, patch: Pixels, weights: Floats, edges: Floats) -> None:
        """Move both sides, the upper one over the lower one down to the middle between the two edges."""
        above, below = self._upper.box, self._lower.box
        middle = edges.mean(axis=0)
        rows = self._frame.outside(middle)[:, 1]
        soft = 4 * max(0.5, FEATHER * self._frame.unit) + abs(self._frame.across[1]) * above.w
        high, low = (
            int(np.clip(row, above.y, above.y + above.h)) for row in (rows.min() - soft, rows.max() + soft + 1)
        )
        upper, lower = self._upper.sources(weights), self._lower.sources(weights)
        self._part(patch, above)[: high - above.y] = self._upper.warp(self._photo, upper, range(above.y, high))
        rest = range(max(high, below.y), below.y + below.h)
        self._part(patch, below)[rest.start - below.y :] = self._lower.warp(self._photo, lower, rest)
        if high < low:
            strip = Box(above.x, high, above.w, low - high)
            far = np.array([[-9, middle[0, 1]], *middle, [9, middle[-1, 1]], [9, -9], [-9, -9]], np.float32)
            moved = self._upper.warp(self._photo, upper, range(high, low))
            _blend(self._part(patch, strip), moved, self._polygon(far, strip))

    def _contact(self, patch: Pixels, edges: Floats, press: float) -> None:
        """Darken the line where lips touch that did not touch so in the photo: pressed, or parted there."""
        overlap = edges[0, :, 1] - edges[1, :, 1]
        strength = min(1.0, self._lips.parted / 0.04) if self._lips.parted else min(1.0, 1.5 * press)
        touching = np.clip(overlap / 0.01 + 1, 0, 1) * strength
        if touching.max() <= 0:
            return
        box, unit = self._mouth, self._frame.unit
        line = np.zeros((box.h, box.w), np.float32)
        points = np.round((self._frame.outside(edges.mean(axis=0)) - [box.x, box.y]) * 16).astype(np.int32)
        for a, b, strong in zip(points[1:-2], points[2:-1], touching[1:-2], strict=True):
            cv2.line(line, a.tolist(), b.tolist(), float(strong), max(1, round(0.01 * unit)), cv2.LINE_AA, 4)
        dark = 1 - 0.45 * np.minimum(1, 1.4 * cv2.GaussianBlur(line, (0, 0), max(0.6, 0.009 * unit)))
        part = self._part(patch, box)
        part[:] = (part * dark[..., None] + 0.5).astype(np.uint8)

    def _open(self, patch: Pixels, opening: Floats, open_: float) -> None:
        """Paint the mouth's inside in its opening."""
        soft = 4 * max(0.5, FEATHER * self._frame.unit)
        pixels, box = self._frame.outside(opening), self._mouth
        x0, y0 = np.floor(pixels.min(axis=0) - soft).astype(int).clip((box.x, box.y))
        x1, y1 = np.ceil(pixels.max(axis=0) + soft).astype(int).clip(0, (box.x + box.w, box.y + box.h))
        if x0 >= x1 or y0 >= y1:
            return
        where = Box(int(x0), int(y0), int(x1 - x0), int(y1 - y0))
        cover = self._polygon(opening, where)
        inner = where.within(box)
        inside = self._interior.paint(cover, open_, inner.rows, inner.columns)
        _blend(self._part(patch, where), inside, cover)

    def _polygon(self, points: Floats, box: Box) -> Pixels:
        """Return the cover (h, w) of a polygon of the mouth's frame in a box, its edge softened by FEATHER."""
        pixels = np.round((self._frame.outside(points) - [box.x, box.y]) * 16).astype(np.int32)
        mask = np.zeros((box.h, box.w), np.uint8)
        cv2.fillPoly(mask, [pixels], 255, cv2.LINE_AA, 4)
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, FEATHER * self._frame.unit)), np.uint8)


def _blend(part: Pixels, over: Pixels, cover: Pixels) -> None:
    """Lay pixels over a part of a picture, in place, as far as they cover it."""
    share = cover * np.float32(1 / 255)
    part[:] = cv2.blendLinear(over, np.ascontiguousarray(part), share, 1 - share)


def _stepped(state: Sequence[float]) -> State:
    return tuple(round(float(value) * STEPS) / STEPS for value in state)


def _opening(edges: Floats) -> Floats:
    """Return the outline (n, 2) of what the edges (2, COLUMNS, 2) leave open."""
    upper, lower = edges
    lower = np.column_stack([lower[:, 0], np.maximum(lower[:, 1], upper[:, 1])])
    return np.concatenate([upper, lower[::-1]])


def _box(face: Face, frame: MouthFrame, bounds: tuple[float, ...]) -> Box:
    """Return the whole pixels round a rectangle of the mouth's frame, inside the picture."""
    x0, y0, x1, y1 = bounds
    corners = frame.outside(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32))
    height, width = face.picture.shape[:2]
    left, top = np.floor(corners.min(axis=0)).clip(0).astype(int)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int)
    return Box(int(left), int(top), int(min(width, right) - left), int(min(height, bottom) - top))


def _inside(face: Face, box: Box) -> tuple[bool, bool, bool, bool]:
    """Return for left, top, right and bottom whether that side of a box lies inside the picture."""
    height, width = face.picture.shape[:2]
    return box.x > 0, box.y > 0, box.x + box.w < width, box.y + box.h < height


def _centres(box: Box) -> Floats:
    x, y = np.meshgrid(np.arange(box.w, dtype=np.float32), np.arange(box.h, dtype=np.float32))
    return np.stack([x + box.x, y + box.y], axis=-1)
