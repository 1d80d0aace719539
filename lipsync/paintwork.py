"""The network's mouth of one face, painted ahead in batches, laid over the mouth that the renderer has drawn."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

import cv2
import numpy as np

from lipsync.box import Box
from lipsync.conditioning import WINDOW, WINDOW_PX, Floats, Pixels
from lipsync.face import Face
from lipsync.gestures import Gestures
from lipsync.mouthnet import BATCH, MouthNet, MouthPainter

State = tuple[float, ...]
"""narration.PARAMETERS"""

KEPT = 64
FINE_PX = 1.2
"""What is finer than this in the crop the network cannot paint: there the drawn mouth stays."""
EDGE_PX = 8
"""Width of the soft border of the window."""


class Paintwork:
    """One face's painted mouths. `box` is the part of its picture that they may change."""

    def __init__(self, face: Face, net: MouthNet) -> None:
        self._gestures = Gestures(face)
        self._painter = MouthPainter(net, face.picture, self._gestures.still)
        crop = self._painter.crop
        self._fine = FINE_PX / crop.scale
        matrix = crop.matrix() @ np.vstack([np.eye(2, 3), [0, 0, 1]])
        matrix[:, 2] += matrix[:, :2] @ [WINDOW.start, WINDOW.start]
        corners = np.array([[0, 0], [WINDOW_PX, 0], [WINDOW_PX, WINDOW_PX], [0, WINDOW_PX]]) @ matrix[:, :2].T
        height, width = face.picture.shape[:2]
        low = np.floor(corners.min(axis=0) + matrix[:, 2]).astype(int).clip(0)
        high = np.ceil(corners.max(axis=0) + matrix[:, 2]).astype(int).clip(0, (width, height))
        self.box = Box(*low.tolist(), *(high - low).tolist())
        matrix[:, 2] -= low
        self._matrix = matrix
        self._awaited: deque[State] = deque()
        self._painted: OrderedDict[State, Pixels] = OrderedDict()

    def expect(self, states: Iterable[State]) -> None:
        """Be told which states will be asked for, in their order: they are painted together."""
        self._awaited = deque(dict.fromkeys(states))

    def lay(self, part: Pixels, state: State, share: Floats) -> None:
        """Paint over `part`, the pixels (h, w, 3) of the box with the mouth drawn in `state`.

        Everything coarser than FINE_PX becomes the network's, as far as it covers and `share` (h, w), 0..1, says.
        """
        size = (self.box.w, self.box.h)
        planes = cv2.warpAffine(self._planes(state), self._matrix, size, flags=cv2.INTER_CUBIC)
        cover = planes[..., 3].astype(np.float32) * share / np.float32(255)
        shown = part.astype(np.float32)
        coarse = cv2.GaussianBlur(shown, (0, 0), self._fine)
        shown += cover[..., None] * (planes[..., :3] - coarse)
        part[:] = np.clip(np.rint(shown), 0, 255).astype(np.uint8)

    def _planes(self, state: State) -> Pixels:
        """Return colour and cover (72, 72, 4) of a state."""
        if state not in self._painted:
            self._paint(self._next(state))
        self._painted.move_to_end(state)
        return self._painted[state]

    def _next(self, state: State) -> list[State]:
        """Return `state` and those that are awaited soonest after it."""
        batch = [state]
        if state in self._awaited:
            while self._awaited.popleft() != state:
                pass
        while self._awaited and len(batch) < BATCH:
            batch.append(self._awaited.popleft())
        return batch

    def _paint(self, states: list[State]) -> None:
        _, paint = self._painter.paint(self._gestures.of(states))
        cover = 255 * paint.cover * _soft_window()
        planes = np.concatenate([paint.colour, cover[..., None]], axis=-1)
        for state, one in zip(states, np.clip(np.rint(planes), 0, 255).astype(np.uint8), strict=True):
            self._painted[state] = one
        while len(self._painted) > KEPT:
            self._painted.popitem(last=False)


def _soft_window() -> Floats:
    """Return (72, 72): 1 inside, falling to 0 at the window's border."""
    at = np.arange(WINDOW_PX, dtype=np.float32) + np.float32(0.5)
    inward = np.clip(np.minimum(at, WINDOW_PX - at) / EDGE_PX, 0, 1)
    return np.asarray(np.minimum.outer(inward, inward), np.float32)
