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
from lipsync.planes import Planes, channels_of, halved, yuv_of

State = tuple[float, ...]
"""narration.PARAMETERS"""
STEPS, KEPT = 32, 320
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
        self._halvings = max(0, floor(-log2(crop.scale) + 0.1))
        self._small = shrunk(matrix, 0.5**self._halvings)
        # a tone is so soft that it is kept at half the window's size, and laid on at half that of `_small`
        self._coarse = shrunk(self._small, 0.5) @ np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
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
        painted, covers = self._painted.of(_rounded(state))
        counts = cv2.multiply(covers, share, scale=1 / 255, dtype=cv2.CV_32F)
        step = cv2.subtract(painted, self._seen(part), dtype=cv2.CV_32F)
        step = halved(cv2.multiply(step, cv2.merge([counts] * 3)))
        tone = cv2.multiply(cv2.GaussianBlur(step, (0, 0), FINE_PX / 2), self._soft)
        times = 2 ** (self._halvings + 1)
        size = (-(-self.box.w // times), -(-self.box.h // times))
        coarse = channels_of(cv2.warpAffine(tone, self._coarse, size, flags=cv2.INTER_LINEAR))
        for plane, over, more in zip(part, coarse, (times, times // 2, times // 2), strict=True):
            full = cv2.resize(over, None, fx=more, fy=more, interpolation=cv2.INTER_LINEAR)
            cv2.add(plane, full[: plane.shape[0], : plane.shape[1]], plane, dtype=cv2.CV_8U)

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
        return np.asarray(self._window(self._shrunk(whole, self._halvings)), np.float32)

    def _seen(self, part: Planes) -> Pixels:
        """Return the window (72, 72, 3), Y, Cb and Cr, of the box's planes."""
        luma = self._shrunk(part[0], self._halvings)
        size = luma.shape[::-1]
        chroma = (self._shrunk(plane, self._halvings - 1) for plane in part[1:])
        alike = (cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in chroma)
        return self._window(cv2.merge([luma, *alike]))

    def _shrunk(self, plane: NDArray[Any], halvings: int) -> NDArray[Any]:
        for _ in range(halvings):
            height, width = (length // 2 * 2 for length in plane.shape)
            plane = halved(plane[:height, :width])
        return plane

    def _window(self, small: NDArray[Any]) -> NDArray[Any]:
        """Return the window (72, 72) or (72, 72, 3) of the box that has been halved."""
        way, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (WINDOW_PX, WINDOW_PX)
        return np.asarray(cv2.warpAffine(small, self._small, size, flags=way, borderMode=cv2.BORDER_REPLICATE))


def _paint(painter: Future[MouthPainter], gestures: Gestures, states: list[State]) -> list[tuple[Pixels, Pixels]]:
    """Return colours (72, 72, 3), Y, Cb and Cr, and cover (72, 72) of each state."""
    _, paint = painter.result().paint(gestures.of(states))
    return [
        (np.asarray(cv2.convertScaleAbs(yuv_of(colour)), np.uint8), np.rint(255 * cover).astype(np.uint8))
        for colour, cover in zip(paint.colour, paint.cover, strict=True)
    ]


def _rounded(state: State) -> State:
    return tuple(round(value * STEPS) / STEPS for value in state)


def _soft_window() -> Floats:
    """Return (36, 36, 3): 1 inside, falling to 0 at the window's border."""
    at = np.arange(1, WINDOW_PX, 2, dtype=np.float32)
    inward = np.clip(np.minimum(at, WINDOW_PX - at) / EDGE_PX, 0, 1)
    return np.repeat(np.minimum.outer(inward, inward)[..., None], 3, axis=2)
