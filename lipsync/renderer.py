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
KEPT = 48
INSIDE, LIPS, MOVING = 0.6, 0.5, 0.12
"""How much the network counts between the lips and on them, and from which movement on it counts wholly."""
NARROW = 0.02
"""Gap of the lips, in pupil distances, from which the network counts wholly between them."""
FEATHER = 0.007
"""Softness of the edge of the lips, in pupil distances."""


class Layer:
    """One side of the lips: its part of the box, and its fields on a coarse grid there, in pixels."""

    def __init__(self, side: Side, box: Box, still: tuple[bool, ...], frame: MouthFrame, lips: Lips) -> None:
        """`still` says at which borders (left, top, right, bottom) of the box all movement must have ended."""
        self.box = box
        cell = frame.unit / CELLS_PER_UNIT
        columns, rows = max(2, round(box.w / cell)), max(2, round(box.h / cell))
        self._step = np.array([box.w / columns, box.h / rows], np.float32)
        across, down = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
        self._grid = np.stack([across, down], axis=-1)
        centres = (self._grid + np.float32(0.5)) * self._step + np.array([box.x - 0.5, box.y - 0.5], np.float32)
        places = frame.inside(centres)
        self._fields = {
            move: frame.vectors(np.stack(lips.field(move, side, places[..., 0], places[..., 1]), axis=-1)) / self._step
            for move in ("closed", *MOVES)
        }
        self._fade = self._edge_fade(still)
        x, y = np.meshgrid(np.arange(box.w, dtype=np.float32), np.arange(box.h, dtype=np.float32))
        self._at = np.dstack([x + box.x, y + box.y])

    def _edge_fade(self, still: tuple[bool, ...]) -> Floats:
        """0 at a border where nothing may move, 1 from four cells inward: whatever is left of a field ends there."""
        rows, columns = self._grid.shape[:2]
        x, y, far = self._grid[..., 0], self._grid[..., 1], np.float32(4)
        inward = (x, y, columns - 1 - x, rows - 1 - y)
        nearest = np.minimum.reduce([x + y + far, *(way for way, ends in zip(inward, still, strict=True) if ends)])
        return np.asarray(np.clip(nearest / far, 0, 1)[..., None], np.float32)

    def warp(self, picture: Pixels, weights: dict[str, float]) -> Pixels:
        """Return this layer's box with every pixel moved; the inverse of the field is found by fixed-point steps."""
        forward = sum((w * self._fields[move] for move, w in weights.items() if w), np.zeros_like(self._grid))
        forward = forward * self._fade
        back = forward
        for _ in range(4):
            moved = cv2.remap(forward, self._grid - back, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
            back = np.asarray(moved, np.float32)
        fine = cv2.resize(back * self._step, (self.box.w, self.box.h), interpolation=cv2.INTER_LINEAR)
        moved = cv2.remap(picture, self._at - fine, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return np.asarray(moved, np.uint8)


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
        self._edges = {move: self._edge_steps(move) for move in ("closed", *MOVES)}
        self._interior = Interior.of(face, frame, lips, _centres(self._mouth))
        self._kept: OrderedDict[State, Pixels] = OrderedDict()

    def _edge_steps(self, move: str) -> Floats:
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
        weights = moves_of(state)
        parted = self._lips.parted > 0
        moving = min(1.0, max(weights.values()) / MOVING)
        if not moving and not parted:
            return self.face.picture[self.box.rows, self.box.columns].copy()
        weights = {"closed": 1.0, **weights}
        edges = np.stack([np.stack([self._lips.x, edge], axis=-1) for edge in (self._lips.upper, self._lips.lower)])
        edges = edges + sum(w * self._edges[move] for move, w in weights.items())
        patch = self.face.picture[self.box.rows, self.box.columns].copy()
        self._part(patch, self._lower.box)[:] = self._lower.warp(self.face.picture, weights)
        self._join(patch, self._upper.warp(self.face.picture, weights), edges)
        self._contact(patch, edges, weights)
        self._open(patch, edges, weights["open"])
        if self._paintwork:
            share = self._share(edges, LIPS * (1 if parted else moving))
            self._paintwork.lay(self._part(patch, self._paintwork.box), state, share)
        return patch

    def _share(self, edges: Floats, lips: float) -> Floats:
        """Return how much the network counts (h, w), 0..1: `lips` outside the opening, nothing on the photo's teeth."""
        assert self._paintwork
        box = self._paintwork.box
        gap = float((edges[1, :, 1] - edges[0, :, 1]).max())
        opening = self._polygon(_opening(edges), box) * np.float32(np.clip(gap / NARROW, 0, 1))
        share = lips + opening * (INSIDE - lips)
        if self._interior.own is not None:
            x, y = self._mouth.x - box.x, self._mouth.y - box.y
            shift = np.array([[1, 0, x], [0, 1, y]], np.float64)
            own = cv2.warpAffine(self._interior.own[..., 3], shift, (box.w, box.h)) / np.float32(255)
            share *= 1 - own * opening
        return np.asarray(share, np.float32)

    def _part(self, patch: Pixels, box: Box) -> Pixels:
        """Return the view of the patch that is `box` of the picture."""
        return patch[box.y - self.box.y :, box.x - self.box.x :][: box.h, : box.w]

    def _join(self, patch: Pixels, upper: Pixels, edges: Floats) -> None:
        """Lay the upper side over the lower one, down to the middle between the two edges."""
        box = self._upper.box
        middle = edges.mean(axis=0)
        far = np.array([[-9, middle[0, 1]], *middle, [9, middle[-1, 1]], [9, -9], [-9, -9]], np.float32)
        part = self._part(patch, box)
        rows = self._frame.outside(middle)[:, 1] - box.y
        soft = 4 * max(0.5, FEATHER * self._frame.unit) + abs(self._frame.across[1]) * box.w
        high, low = (int(np.clip(row, 0, box.h)) for row in (rows.min() - soft, rows.max() + soft + 1))
        part[:high] = upper[:high]
        cover = self._polygon(far, Box(box.x, box.y + high, box.w, low - high))
        if high < low:
            part[high:low] = cv2.blendLinear(upper[high:low], np.ascontiguousarray(part[high:low]), cover, 1 - cover)

    def _contact(self, patch: Pixels, edges: Floats, weights: dict[str, float]) -> None:
        """Darken the line where lips touch that did not touch so in the photo: pressed, or parted there."""
        overlap = edges[0, :, 1] - edges[1, :, 1]
        strength = min(1.0, self._lips.parted / 0.04) if self._lips.parted else min(1.0, 1.5 * weights["press"])
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

    def _open(self, patch: Pixels, edges: Floats, open_: float) -> None:
        """Paint the mouth's inside between the edges."""
        upper, lower = edges
        if float((lower[:, 1] - upper[:, 1]).max()) < 0.004:
            return
        box = self._mouth
        cover = self._polygon(_opening(edges), box)
        filled = cv2.boundingRect((cover > 0.002).astype(np.uint8))
        if not filled[2]:
            return
        columns, rows = slice(filled[0], filled[0] + filled[2]), slice(filled[1], filled[1] + filled[3])
        cover = np.ascontiguousarray(cover[rows, columns])
        inside = self._interior.paint(cover, open_, rows, columns)
        part = self._part(patch, box)[rows, columns]
        blend = cover[..., None]
        part[:] = np.clip(part * (1 - blend) + inside * blend + 0.5, 0, 255).astype(np.uint8)

    def _polygon(self, points: Floats, box: Box) -> Floats:
        """Return the cover (h, w) 0..1 of a polygon of the mouth's frame in a box, its edge softened by FEATHER."""
        pixels = np.round((self._frame.outside(points) - [box.x, box.y]) * 16).astype(np.int32)
        mask = np.zeros((box.h, box.w), np.uint8)
        cv2.fillPoly(mask, [pixels], 255, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(mask, (0, 0), max(0.5, FEATHER * self._frame.unit))
        return np.asarray(soft, np.float32) / np.float32(255)


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
