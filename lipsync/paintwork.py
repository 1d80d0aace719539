"""The network's mouth of one face, painted ahead in batches, laid over the mouth that the renderer has drawn."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial
from math import floor, log2
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lipsync.ahead import Ahead
from lipsync.box import Box
from lipsync.conditioning import WINDOW, WINDOW_PX, Crop, Floats, Pixels, shrunk
from lipsync.face import Face
from lipsync.gestures import Gestures
from lipsync.mouthnet import BATCH, MouthNet, MouthPainter
from lipsync.planes import Planes, channels_of, yuv_of

State = tuple[float, ...]
"""narration.PARAMETERS"""
STEPS, KEPT = 32, 128
"""Tones are told apart in steps of 1 / STEPS; so many are kept."""
FINE_PX = 4.0
"""What is finer than this in the crop the network cannot paint: there the drawn mouth stays."""
EDGE_PX = 8
"""Width of the soft border of the window."""


class Paintwork:
    """One face's painted mouths. `box` is the part of its picture that they may change."""

    def __init__(self, face: Face, net: MouthNet) -> None:
        gestures = Gestures(face)
        crop = Crop.of(gestures.still)
        # prepared beside whatever else a face needs
        painter = net.ahead.submit(MouthPainter, net, face.picture, gestures.still)
        matrix = crop.matrix() @ np.vstack([np.eye(2, 3), [0, 0, 1]])
        matrix[:, 2] += matrix[:, :2] @ [WINDOW.start, WINDOW.start]
        corners = np.array([[0, 0], [WINDOW_PX, 0], [WINDOW_PX, WINDOW_PX], [0, WINDOW_PX]]) @ matrix[:, :2].T
        height, width = face.picture.shape[:2]
        low = np.floor(corners.min(axis=0) + matrix[:, 2]).astype(int).clip(0)
        high = np.ceil(corners.max(axis=0) + matrix[:, 2]).astype(int).clip(0, (width, height))
        self.box = Box(*low.tolist(), *(high - low).tolist()).even
        matrix[:, 2] -= [self.box.x, self.box.y]
        halvings = max(0, floor(-log2(crop.scale) + 0.1))
        self._luma, self._chroma = _Scale(matrix, halvings, 0), _Scale(matrix, max(1, halvings), 1)
        self._into = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
        self._soft = _soft_window()
        # no method of ours: in a circle a face would be forgotten late
        self._painted = Ahead(partial(_paint, painter, gestures), net.ahead, BATCH, KEPT)

    def expect(self, states: Iterable[State]) -> None:
        """Be told which states will be asked for, in their order: they are painted together."""
        self._painted.expect(map(_rounded, states))

    def lay(self, part: Planes, state: State, share: Floats) -> None:
        """Tone `part`, the planes of the box with the mouth drawn in `state`, as the network paints it, in place.

        It counts as far as it covers and `share` (72, 72), 0..1, says, and only in what is coarser than FINE_PX.
        """
        painted = self._painted.of(_rounded(state)).astype(np.float32)
        scales = (self._luma, self._chroma, self._chroma)
        seen = cv2.merge([scale.window(plane) for scale, plane in zip(scales, part, strict=True)])
        counts = painted[..., 3] * share / np.float32(255)
        step = counts[..., None] * (painted[..., :3] - seen)
        tone = channels_of(cv2.GaussianBlur(step, (0, 0), FINE_PX) * self._soft)
        for scale, plane, over in zip(scales, part, tone, strict=True):
            cv2.add(plane, scale.spread(over, *plane.shape), plane, dtype=cv2.CV_8U)

    def cover(self, outline: Floats) -> Floats:
        """Return how much (72, 72), 0..1, of each pixel of the window lies in a polygon of the picture (n, 2)."""
        corners = (outline - [self.box.x, self.box.y]) @ self._into[:, :2].T + self._into[:, 2]
        mask = np.zeros((WINDOW_PX, WINDOW_PX), np.uint8)
        cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.5), np.float32) / np.float32(255)

    def seen(self, plane: Floats, where: Box) -> Floats:
        """Return what of a plane (h, w), which lies at `where` in the picture, the window sees (72, 72)."""
        whole = np.zeros((self.box.h, self.box.w), np.float32)
        shift = np.array([[1, 0, where.x - self.box.x], [0, 1, where.y - self.box.y]], np.float64)
        cv2.warpAffine(plane, shift, (self.box.w, self.box.h), dst=whole)
        return self._luma.window(whole)


class _Scale:
    """How a plane of the box and the window become each other, by way of a plane that has been halved some times."""

    def __init__(self, matrix: NDArray[np.float64], halvings: int, before: int) -> None:
        """`matrix` leads from the window to the box; the plane itself has been halved as often as `before` says."""
        self._small, self._halvings = shrunk(matrix, 0.5**halvings), halvings - before

    def window(self, plane: NDArray[Any]) -> Floats:
        """Return the window (72, 72) of a plane."""
        for _ in range(self._halvings):
            height, width = (length // 2 for length in plane.shape)
            plane = cv2.resize(plane[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
        way = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        window = cv2.warpAffine(plane, self._small, (WINDOW_PX, WINDOW_PX), flags=way, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(window, np.float32)

    def spread(self, window: Floats, height: int, width: int) -> Floats:
        """Return a plane (height, width) with the window in it, 0 elsewhere."""
        times = 2**self._halvings
        coarse = cv2.warpAffine(window, self._small, (-(-width // times), -(-height // times)), flags=cv2.INTER_LINEAR)
        full = cv2.resize(coarse, None, fx=times, fy=times, interpolation=cv2.INTER_LINEAR)
        return np.asarray(full[:height, :width], np.float32)


def _paint(painter: Future[MouthPainter], gestures: Gestures, states: list[State]) -> list[Pixels]:
    """Return Y, Cb, Cr and cover (72, 72, 4) of each state."""
    _, paint = painter.result().paint(gestures.of(states))
    return [
        np.clip(np.rint(np.dstack([yuv_of(colour), 255 * cover])), 0, 255).astype(np.uint8)
        for colour, cover in zip(paint.colour, paint.cover, strict=True)
    ]


def _rounded(state: State) -> State:
    return tuple(round(value * STEPS) / STEPS for value in state)


def _soft_window() -> Floats:
    """Return (72, 72, 1): 1 inside, falling to 0 at the window's border."""
    at = np.arange(WINDOW_PX, dtype=np.float32) + np.float32(0.5)
    inward = np.clip(np.minimum(at, WINDOW_PX - at) / EDGE_PX, 0, 1)
    return np.asarray(np.minimum.outer(inward, inward)[..., None], np.float32)
