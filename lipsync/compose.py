"""A speaking face laid into a chapter's picture: placement, soft edge, colour, label; only its rectangle is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from encoder.model import Placement
from lipsync.box import Area, Box
from lipsync.errors import RenderFailed
from lipsync.face import CHIN, FOREHEAD, Face
from lipsync.label import Label, size_for
from lipsync.life import BLINK, Eyelids, Sway
from lipsync.planes import Planes, halved, mix, part_of, planes_of
from lipsync.protocols import Stamp
from lipsync.renderer import Renderer
from lipsync.speaker import Mouth
from lipsync.toning import Toning

Frame = NDArray[np.uint8]
"""An I420 picture (height * 3 // 2, width), BT.709, limited range."""

AI = Stamp()
FEATHER = 0.16
"""Width of the soft edge, as a share of half the rectangle."""
ROUNDNESS = 3.2
"""Exponent of the superellipse: 2 is an ellipse, more is squarer."""
FACE_ROOM = 1.3
"""Height of the rectangle that a face needs, as a multiple of the distance from chin to forehead."""
MATCH, MATCH_LIMIT = 0.3, 0.12
"""How much of the way to the scene's light and colour the face goes, and how far at most."""
SMALLEST_PX = 64
GAP, BESIDE_PX = 0.012, 2
"""The room between label and border, as a share of the picture's height; the least room beside the label, because even
pixels round it go less than two beyond it."""
GRAIN_LINES, GRAIN_ROOM = 1080, 64
"""The picture height for which a slot's grain is told; how far the sheet of noise can move, in pixels."""


def views_of(frame: Frame) -> tuple[Frame, Frame, Frame]:
    """Return the three planes of an I420 frame as views."""
    lines, width = frame.shape[0] * 2 // 3, frame.shape[1]
    chroma = frame[lines:].reshape(2, lines // 2, width // 2)
    return frame[:lines], chroma[0], chroma[1]


def area_of(placement: Placement, width: int, height: int) -> Area:
    return Area(placement.x * width, placement.y * height, placement.w * width, placement.h * height)


def rectangle_of(placement: Placement, width: int, height: int) -> Box:
    """Return the even pixels that lie wholly inside a placement; raises RenderFailed if they are too few."""
    area = area_of(placement, width, height)
    x0, y0 = max(0, _even_up(area.x)), max(0, _even_up(area.y))
    x1, y1 = min(_even_down(area.x + area.w), width), min(_even_down(area.y + area.h), height)
    if x1 - x0 < SMALLEST_PX or y1 - y0 < SMALLEST_PX:
        raise RenderFailed(f"the slot's rectangle is smaller than {SMALLEST_PX} pixels")
    return Box(x0, y0, x1 - x0, y1 - y0)


def check_room(placement: Placement, width: int, height: int, stamp: Stamp) -> None:
    """Raise RenderFailed if a face with its label has no room there in pictures of that size."""
    rectangle_of(placement, width, height)
    _words(area_of(placement, width, height), height, stamp)


def _words(area: Area, lines: int, stamp: Stamp) -> str:
    """Return the label's words as they are asked for, or "AI" where those are too long for the area.

    Raises RenderFailed where that has no room, either.
    """
    for text in (stamp.text, AI.text):
        width, height = size_for(lines, text)
        if width + 2 * BESIDE_PX <= area.w and height + GAP * lines + 2 * BESIDE_PX <= area.h:
            return text
    raise RenderFailed("the label does not fit into the slot's rectangle")


def _even_up(value: float) -> int:
    return int(-(-(value - 1e-6) // 2) * 2)


def _even_down(value: float) -> int:
    return int((value + 1e-6) // 2 * 2)


def soft_matte(covered: Area, width: int, height: int) -> NDArray[np.float32]:
    """Return a superellipse that fills an area of (height, width), 1 inside, falling softly to 0 at its edge."""
    x = (np.arange(width, dtype=np.float32) + np.float32(0.5 - covered.x)) / np.float32(covered.w) * 2 - 1
    y = (np.arange(height, dtype=np.float32) + np.float32(0.5 - covered.y)) / np.float32(covered.h) * 2 - 1
    radius = (abs(x)[None, :] ** ROUNDNESS + abs(y)[:, None] ** ROUNDNESS) ** (1 / ROUNDNESS)
    t = np.clip((1 - radius) / FEATHER, 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def fitting_matte(mask: NDArray[np.uint8], area: Area, width: int, height: int) -> NDArray[np.float32]:
    """Return a mask, which stands for an area of (height, width), as a matte of 0..1."""
    size = np.maximum(1, np.rint([area.w, area.h]))
    whole = cv2.resize(mask, size.astype(int).tolist(), interpolation=cv2.INTER_AREA)
    step = np.array([area.w, area.h]) / size
    matrix = np.column_stack([np.diag(step), [area.x, area.y] + (step - 1) / 2])
    moved = cv2.warpAffine(whole, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32) / np.float32(255)


def fitted(face: Face, area: Area, width: int, height: int) -> tuple[Face, Area]:
    """Return the face scaled to cover an area of (height, width), centred on the face, and what its picture covers.

    An area wider than the head is covered only as far as forehead and chin allow; the rest is mirrored border.
    """
    old_height, old_width = face.picture.shape[:2]
    chin, forehead = face.landmarks[CHIN, :2], face.landmarks[FOREHEAD, :2]
    scale = max(area.w / old_width, area.h / old_height)
    scale = min(scale, area.h / (FACE_ROOM * float(np.linalg.norm(chin - forehead))))
    centre = (chin + forehead) / 2 * scale
    left, covered_w = _aligned(float(centre[0]), scale * old_width, area.w)
    top, covered_h = _aligned(float(centre[1]), scale * old_height, area.h)
    x, y = area.x - left, area.y - top
    shift = (scale - 1) / 2
    moved = face.moved(np.array([[scale, 0, shift + x], [0, scale, shift + y]], np.float64), width, height)
    return moved, Area(max(x, area.x), max(y, area.y), covered_w, covered_h)


def _aligned(centre: float, length: float, room: float) -> tuple[float, float]:
    """Return where a picture of `length` begins to have `centre` in the middle of `room`, and how much it covers."""
    if length >= room:
        return min(max(centre - room / 2, 0.0), length - room), room
    return -min(max(room / 2 - centre, 0.0), room - length), length


STILL = (0.0, 0.0, 0.0, 0.0)


class Grain:
    """Film grain for the face: one sheet of noise, laid on elsewhere for every picture; the same in every render.

    `number` is that of the next picture.
    """

    def __init__(self, box: Box, levels: float) -> None:
        self._box, self.number = box, 0
        sheet = np.random.default_rng(7).standard_normal((box.h + GRAIN_ROOM, box.w + GRAIN_ROOM)).astype(np.float32)
        self._sheet = np.asarray(np.round(cv2.GaussianBlur(sheet, (0, 0), 0.6) * levels * 2.1), np.int16)

    def over(self, luma: Frame) -> Frame:
        """Return a luma plane of the box's size with the grain of the next picture."""
        y, x = np.random.default_rng(self.number).integers(0, GRAIN_ROOM, 2)
        self.number += 1
        moved = self._sheet[y : y + self._box.h, x : x + self._box.w]
        return np.asarray(cv2.add(luma, moved, dtype=cv2.CV_8U), np.uint8)


class PlacedLabel:
    """The label in its corner of an area, in frames `lines` high. Raises RenderFailed where it has no room."""

    def __init__(self, area: Area, lines: int, stamp: Stamp) -> None:
        text, gap = _words(area, lines, stamp), GAP * lines
        width, height = size_for(lines, text)
        down, _, along = stamp.place.partition("-")
        aside = min(gap, area.w - width - BESIDE_PX)
        x = area.x + (area.w - width - aside if along == "right" else aside)
        y = area.y + (gap if down == "top" else area.h - height - gap)
        self.box = Area(x, y, width, height).even
        self.label = Label.for_height(lines, text, (x - self.box.x, y - self.box.y))

    def stamp(self, frame: Frame) -> None:
        """Lay it over an I420 frame, in place."""
        self.label.stamp(frame, self.box.x, self.box.y)


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """Part of a plane in which a face lies over the scene: where it is in the picture, and in the face.

    `cover` says how much of the face is seen, 0..255, None where nothing is seen of the scene.
    """

    where: Box
    own: Box
    cover: Frame | None

    @classmethod
    def of(cls, where: Box, box: Box, matte: NDArray[np.float32]) -> Overlay:
        own = where.within(box)
        cover = np.rint(255 * matte[own.rows, own.columns]).astype(np.uint8)
        return cls(where, own, None if cover.min() == 255 else cover)

    def lay(self, face: Frame, scene: Frame, into: Frame) -> None:
        """Write the part of a plane of the face over that of the scene into the picture's."""
        above, target = face[self.own.rows, self.own.columns], into[self.where.rows, self.where.columns]
        if self.cover is None:
            target[:] = above
        else:
            mix(above, scene[self.where.rows, self.where.columns], self.cover, target)


class Compositor:
    """Lays one face into the rectangle of frame after frame, always with the label."""

    def __init__(
        self,
        face: Face,
        box: Box,
        matte: NDArray[np.float32],
        label: PlacedLabel,
        *,
        match: bool,
        grain: float = 0.0,
        mouth: Callable[[Face], Mouth] = Renderer,
    ) -> None:
        """`face` and `matte` have the size of `box`; `grain` is in levels of this size; `mouth` lets it speak."""
        self._face, self._box, self._matte, self._match, self._mouth = face, box, matte, match, mouth
        self._awaited: Iterable[Sequence[float]] = ()
        self._grain = Grain(box, grain) if grain else None
        self._label = label
        self._thin = halved(matte)
        self._parts: dict[Box, Sequence[Overlay]] = {}
        self._eyes: dict[int, Planes] = {}
        self._ready = False

    @classmethod
    def into_slot(
        cls,
        face: Face,
        placement: Placement,
        width: int,
        height: int,
        mask: NDArray[np.uint8] | None = None,
        *,
        grain: float = 0.0,
        stamp: Stamp = AI,
        mouth: Callable[[Face], Mouth] = Renderer,
    ) -> Compositor:
        """For a chapter's frames of that size; `mask` (grey, 255 = face) stands for the placement's rectangle.

        `grain` is the standard deviation, in 8-bit levels, that it has in a picture of 1080 lines.
        """
        box, area = rectangle_of(placement, width, height), area_of(placement, width, height)
        inside = area.within(box)
        placed, covered = fitted(face, inside, box.w, box.h)
        matte = soft_matte(covered, box.w, box.h) if mask is None else fitting_matte(mask, inside, box.w, box.h)
        label, grain = PlacedLabel(area, height, stamp), grain * height / GRAIN_LINES
        return cls(placed, box, matte, label, match=True, grain=grain, mouth=mouth)

    @classmethod
    def portrait(cls, face: Face, stamp: Stamp = AI, mouth: Callable[[Face], Mouth] = Renderer) -> Compositor:
        """For frames that are the face's own picture, whose sides are even."""
        height, width = face.picture.shape[:2]
        whole = np.ones((height, width), np.float32)
        label = PlacedLabel(Area(0, 0, width, height), height, stamp)
        return cls(face, Box(0, 0, width, height), whole, label, match=False, mouth=mouth)

    def expect(self, states: Iterable[Sequence[float]]) -> None:
        """Be told the states of the pictures to come, in their order: their mouths are painted ahead."""
        self._awaited = states

    def begin(self, ground: Frame, number: int) -> None:
        """Be told the slot's first picture, whose light is taken over, and that picture `number` of the slot is next.

        So a piece of a render that begins inside the slot looks as if all of it had been made at once.
        """
        self._prepare(ground)
        if self._grain:
            self._grain.number = number

    def blank(self) -> Frame:
        """Return a black frame of the size that a portrait has."""
        return np.full((self._box.h * 3 // 2, self._box.w), 16, np.uint8)

    def compose(self, frame: Frame, state: Sequence[float], life: Sequence[float] = STILL) -> Frame:
        """Return a copy of an I420 frame with the face in it, its mouth in `state`, blink and pose as life.life_of."""
        if not self._ready:
            self._prepare(frame)
        self._speak(state)
        self._blink(life[BLINK])
        planes = self._swayed(life[BLINK + 1 :])
        done = frame.copy()
        self._lay(done, frame, self._box, planes)
        self._label.stamp(done)
        return done

    @property
    def moving(self) -> Box:
        """Return where pictures of one scene differ, in even pixels of the whole frame; for use after `compose`."""
        mouth = self._renderer.box
        part = Box(self._box.x + mouth.x, self._box.y + mouth.y, mouth.w, mouth.h).even
        return part.with_(self._label.box) if part.meets(self._label.box) else part

    def move(self, shown: Frame, scene: Frame, state: Sequence[float]) -> bool:
        """Bring `shown`, an earlier picture over the same `scene`, up to date, in place; tell if it has changed."""
        before, part = self._shown, self.moving
        self._speak(state)
        if self._shown is before:
            return False
        self._lay(shown, scene, part, self._planes)
        if part.meets(self._label.box):
            self._label.stamp(shown)
        return True

    def _lay(self, shown: Frame, scene: Frame, part: Box, planes: Planes) -> None:
        """Blend the face over `part` of the scene, which lies in its rectangle; all in even pixels."""
        speaking = planes[0] if self._grain is None else self._grain.over(planes[0])
        faces = (speaking, *planes[1:])
        for face, into, under, plane in zip(faces, views_of(shown), views_of(scene), self._overlays(part), strict=True):
            plane.lay(face, under, into)

    def _overlays(self, part: Box) -> Sequence[Overlay]:
        """Return how the face lies over `part` in each plane."""
        if part not in self._parts:
            luma = Overlay.of(part, self._box, self._matte)
            chroma = Overlay.of(part.halved, self._box.halved, self._thin)
            self._parts[part] = (luma, chroma, chroma)
        return self._parts[part]

    def _prepare(self, frame: Frame) -> None:
        """Match the face's colours to the first frame, once, and load the renderer with it."""
        face = self._matched(frame) if self._match else self._face
        self._renderer = self._mouth(face)
        self._renderer.expect(self._awaited)
        self._planes = planes_of(face.picture)
        self._toning = Toning.of(face, self._planes)
        self._shown: Planes | None = None
        self._sway: Sway | None = None
        self._alive, self._ready = face, True

    def _matched(self, frame: Frame) -> Face:
        """Return the face with its light and colour moved a little towards the scene under it."""
        box = self._box
        luma, blue, red = views_of(frame)
        half = (slice(box.y // 2, (box.y + box.h) // 2), slice(box.x // 2, (box.x + box.w) // 2))
        scene = np.array([luma[box.rows, box.columns].mean(), blue[half].mean(), red[half].mean()]) - [16, 128, 128]
        own = np.array([plane.mean() for plane in planes_of(self._face.picture)]) - [16, 128, 128]
        light = 1 + np.clip(MATCH * (scene[0] - own[0]) / max(own[0], 16.0), -MATCH_LIMIT, MATCH_LIMIT)
        blue_shift, red_shift = np.clip(MATCH * (scene[1:] - own[1:]), -5, 5)
        gains = np.diag([light, light, light])
        shifts = [1.8556 * blue_shift, -0.1873 * blue_shift - 0.4681 * red_shift, 1.5748 * red_shift]
        picture = cv2.transform(self._face.picture, np.column_stack([gains, shifts]).astype(np.float32))
        return Face(np.asarray(picture, np.uint8), self._face.landmarks)

    def _speak(self, state: Sequence[float]) -> None:
        """Bring the planes of the face up to date where the mouth moves; nothing to do for the state shown last."""
        patch = self._renderer.patch(state)
        if patch is self._shown:
            return
        self._put(self._renderer.box, patch)
        self._shown = patch

    @cached_property
    def _lids(self) -> Eyelids:
        return Eyelids(self._alive)

    def _blink(self, closed: float) -> None:
        """Bring the eyes up to date; most of the time they are open already."""
        if not closed and not self._eyes:
            return
        for n, (box, patch) in enumerate(self._lids.patches(closed)):
            if self._eyes.get(n) is not patch:
                self._eyes[n] = patch
                self._put(box, patch)

    def _swayed(self, pose: Sequence[float]) -> Planes:
        """Return the planes of the face with the head turned by yaw, pitch and roll."""
        if not any(pose):
            return self._planes
        if self._sway is None:
            self._sway = Sway(self._alive, self._planes[0])
        luma, blue, red = (plane.copy() for plane in self._planes)
        self._sway.over((luma, blue, red), np.asarray(pose, np.float32))
        return luma, blue, red

    def _put(self, box: Box, planes: Planes) -> None:
        """Write a part, in even pixels, into the face."""
        for part, new in zip(part_of(self._planes, box), planes, strict=True):
            part[:] = new
        if self._toning:
            self._toning.over(self._planes, box)
        if self._sway:
            self._sway.renew(self._planes[0], box)
