"""A speaking face in a still picture: what of it changes, in the size of every rendition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from math import ceil, floor, sqrt

import cv2
import numpy as np

from encoder.model import Grid
from lipsync.box import Box
from lipsync.compose import Compositor, Frame, views_of
from lipsync.inlay import Inlay
from lipsync.mark import CELLS_ACROSS_SQUARE, HELD, Mark
from lipsync.movement import Floats
from lipsync.renderer import STEPS

MARKED_CELLS = 18
"""Sides of the square of the mark's cells that changes in any case: 13 carry all of its bits, 18 survive 240 lines."""


def changes(states: Floats, first: int, grid: Grid) -> list[bool]:
    """Tell of each picture from number `first` on whether it differs from the one before: by its mouth or its mark.

    Every segment begins anew.
    """
    steps = np.rint(np.asarray(states, np.float64) * STEPS)
    moved = [True, *np.any(steps[1:] != steps[:-1], axis=1).tolist()]
    anew = (HELD, grid.frames_per_segment)
    return [new or any(number % every == 0 for every in anew) for number, new in enumerate(moved, first)]


class StillScene:
    """One face in one still picture: what of it changes, and that as pictures of each rendition's box."""

    def __init__(
        self, compositor: Compositor, scene: Frame, first: Sequence[float], mark: Callable[[int, int], Mark]
    ) -> None:
        """`first` is the state of the mouth in the background, where it lies under the box.

        `mark` returns the render's mark for pictures of a size.
        """
        self._compositor, self._scene, self.mark = compositor, scene, mark
        self.picture = compositor.compose(scene, first)
        self.size = (scene.shape[1], scene.shape[0] * 2 // 3)
        self.moving = compositor.moving
        self.area = _area(self.moving, *self.size)

    def inlay(self, width: int, height: int) -> Inlay:
        return Inlay.round_area(self.area, self.size, width, height)

    def boxes(
        self, states: Iterable[tuple[int, Sequence[float]]], inlays: Sequence[Inlay]
    ) -> Iterator[tuple[Frame, ...]]:
        """Yield for each (number of the picture, state of the mouth) the box of each inlay, I420."""
        shown, cuts = self.picture.copy(), [Cut(inlay, self) for inlay in inlays]
        for number, state in states:
            if self._compositor.move(shown, self._scene, state):
                for cut in cuts:
                    cut.take(shown)
            yield tuple(cut.marked(number) for cut in cuts)


def _area(mouth: Box, width: int, height: int) -> Box:
    """Return the mouth with as much round it as the mark needs, inside the picture."""
    side = MARKED_CELLS * sqrt(width * height) / CELLS_ACROSS_SQUARE
    x0, x1 = _around(mouth.x, mouth.w, side, width)
    y0, y1 = _around(mouth.y, mouth.h, side, height)
    return Box(x0, y0, x1 - x0, y1 - y0)


def _around(start: int, length: int, least: float, room: int) -> tuple[int, int]:
    """Return an even span of at least `least` with start..start+length in its middle, within 0..room."""
    more = max(0, round((least - length) / 2))
    begin = max(0, min(start - more, room - round(least)))
    return begin // 2 * 2, min(room, -(-max(start + length + more, begin + round(least)) // 2) * 2)


class Cut:
    """The box of one inlay, taken out of whole pictures of another size; its luma is kept without the mark, too."""

    def __init__(self, inlay: Inlay, scene: StillScene) -> None:
        box, inner = inlay.pixels, inlay.inner
        own = (inlay.width, inlay.height)
        part = _aligned(scene.moving, scene.size, own) or box
        self._changing = _Part(part, box, scene.size, own)
        self._shown = np.empty((box.h * 3 // 2, box.w), np.uint8)
        luma, *chroma = views_of(self._shown)
        self._planes = (luma.copy(), *chroma)
        _Part(box, box, scene.size, own).take(scene.picture, self._planes)
        luma[:] = self._planes[0]
        where = inner.within(box)
        self._luma, self._marked = (plane[where.rows, where.columns] for plane in (self._planes[0], luma))
        self._mark = scene.mark(*own).patch(scaled(views_of(scene.picture)[0], *own), inner.rows, inner.columns)
        self._all, self._some = inner.within(inner), part.common(inner).within(inner)
        self._step: int | None = None
        self._new = True

    def take(self, picture: Frame) -> None:
        """Take what changes out of another picture."""
        self._changing.take(picture, self._planes)
        self._new = True

    def marked(self, number: int) -> Frame:
        """Return the box of picture `number`, I420 with the mark; it is written over by the next one."""
        step = self._mark.step(number)
        if self._new or step != self._step:
            part = self._some if step == self._step else self._all
            self._mark.put(self._luma, step, self._marked, part)
            self._step, self._new = step, False
        return self._shown


class _Part:
    """A part of a picture in another size than the whole has; both in even pixels."""

    def __init__(self, part: Box, frame: Box, whole: tuple[int, int], own: tuple[int, int]) -> None:
        """`frame` is where in the picture of size `own` the frame begins that the part is written into."""
        inside = part.within(frame)
        halves = [tuple(length // 2 for length in size) for size in (whole, own)]
        self._luma = _Scaled(part, whole, own), inside
        self._chroma = _Scaled(part.halved, (halves[0][0], halves[0][1]), (halves[1][0], halves[1][1])), inside.halved

    def take(self, picture: Frame, into: Sequence[Frame]) -> None:
        """Write it into the planes of its frame."""
        for plane, target, (scale, where) in zip(
            views_of(picture), into, (self._luma, self._chroma, self._chroma), strict=True
        ):
            target[where.rows, where.columns] = scale.of(plane)


class _Scaled:
    """A part of a plane scaled as the whole would be, alone where its borders fall on whole samples."""

    def __init__(self, box: Box, whole: tuple[int, int], own: tuple[int, int]) -> None:
        self._box, self._own, self._alone = box, own, _source(box, whole, own)
        self._ratio = Fraction(whole[1], own[1])
        if self._alone:
            # with what is looked at beyond its borders
            self._read = self._alone.grown(_taps(self._ratio) // 2).common(Box(0, 0, *whole))

    def of(self, plane: Frame) -> Frame:
        if self._alone is None:
            return scaled(plane, *self._own)[self._box.rows, self._box.columns]
        part = self._alone.within(self._read)
        soft = _softened(plane[self._read.rows, self._read.columns], self._ratio)[part.rows, part.columns]
        return _resized(soft, self._box.w, self._box.h)


def _source(box: Box, whole: tuple[int, int], own: tuple[int, int]) -> Box | None:
    """Return the samples of the picture of size `whole` that make a box of that of size `own`, if whole ones do."""
    across, down = (Fraction(full, small) for full, small in zip(whole, own, strict=True))
    corners = (box.x * across, box.y * down, (box.x + box.w) * across, (box.y + box.h) * down)
    if any(corner.denominator > 1 for corner in corners):
        return None
    x0, y0, x1, y1 = (int(corner) for corner in corners)
    return Box(x0, y0, x1 - x0, y1 - y0)


def _aligned(part: Box, whole: tuple[int, int], own: tuple[int, int]) -> Box | None:
    """Return the box of the picture of size `own` that holds a part of the other one, and even samples of both.

    None if there is none near it.
    """
    spans = []
    for start, length, full, small in ((part.x, part.w, whole[0], own[0]), (part.y, part.h, whole[1], own[1])):
        scale = Fraction(small, full)
        # one more sample on each side: a filter reads its neighbours
        step = 2 * scale.numerator
        begin, end = (
            floor(start * scale / step - Fraction(1, step)) * step,
            ceil((start + length) * scale / step) * step,
        )
        spans.append((max(0, begin), min(small, end + step)))
    (x0, x1), (y0, y1) = spans
    box = Box(x0, y0, x1 - x0, y1 - y0)
    return box if box.w * box.h < 2 * part.w * part.h * Fraction(own[0] * own[1], whole[0] * whole[1]) else None


def scaled(plane: Frame, width: int, height: int) -> Frame:
    return _resized(_softened(plane, Fraction(plane.shape[0], height)), width, height)


def _softened(plane: Frame, ratio: Fraction) -> Frame:
    """Return a plane, which is to become so many times smaller, without what is too fine to be seen then."""
    taps = _taps(ratio)
    return np.asarray(cv2.blur(plane, (taps, taps)), np.uint8) if taps > 1 else plane


def _taps(ratio: Fraction) -> int:
    """Return of how many samples' mean each sample is made; where the ratio is a whole number, scaling sees to it."""
    return 1 if ratio < 2 or ratio.denominator == 1 else 2 * floor(ratio / 2) + 1


def _resized(plane: Frame, width: int, height: int) -> Frame:
    if plane.shape == (height, width):
        return plane
    way = cv2.INTER_AREA if plane.shape[0] >= 2 * height and plane.shape[0] % height == 0 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(plane, (width, height), interpolation=way), np.uint8)


def scaled_picture(frame: Frame, width: int, height: int) -> Frame:
    """Return an I420 picture in another size."""
    luma, blue, red = views_of(frame)
    halves = [scaled(plane, width // 2, height // 2).reshape(-1) for plane in (blue, red)]
    return np.concatenate([scaled(luma, width, height).reshape(-1), *halves]).reshape(height * 3 // 2, width)
