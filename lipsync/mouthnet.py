"""The trained mouth network at run time: a condition -> a painted mouth with its cover, laid on the moved photo."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lipsync.conditioning import WINDOW, Condition, Conditioning, Crop, Floats, Pixels
from lipsync.engine import Engine, engine_of

WEIGHTS = Path(__file__).parent / "weights" / "mouth.onnx"
BATCH = 8
"""Pictures painted at once; the network's shapes are fixed to it."""


@dataclass(frozen=True, slots=True, eq=False)
class Paint:
    """n painted windows: colour (n, 72, 72, 3) 0..255, cover (n, 72, 72) 0..1."""

    colour: Floats
    cover: Floats

    def laid_on(self, warped: Pixels) -> Pixels:
        """Return the crops (n, 128, 128, 3) `warped` with the painted windows in them."""
        crops = warped.copy()
        cover = self.cover[..., None]
        part = crops[:, WINDOW, WINDOW].astype(np.float32)
        part += cover * (self.colour - part)
        crops[:, WINDOW, WINDOW] = np.clip(np.rint(part), 0, 255).astype(np.uint8)
        return crops


class MouthNet:
    """The network, loaded; one for all faces. What is to be painted ahead goes through `ahead`, one at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.ahead = ThreadPoolExecutor(1, "mouth")

    @classmethod
    def load(cls, weights: Path = WEIGHTS) -> MouthNet:
        """Read the weights. Raises ModelMissing."""
        return cls(engine_of(weights))

    def paint(self, crop: Pixels, labels: Pixels, condition: Condition) -> Paint:
        """Paint n states, conditioned in the window.

        `crop` (128, 128, 3) BGR and `labels` (72, 72, 3) are the photo's own.
        """
        own = _planes(np.dstack([crop[WINDOW, WINDOW], labels])[None])
        source = np.repeat(own, BATCH, axis=0)
        n = len(condition.warped)
        parts = [self._run(source, condition, slice(at, min(n, at + BATCH))) for at in range(0, n, BATCH)]
        out = np.concatenate(parts)
        return Paint(out[:, :3].transpose(0, 2, 3, 1) * np.float32(255), out[:, 3])

    def _run(self, source: Floats, condition: Condition, part: slice) -> Floats:
        warped = _planes(condition.warped[part])
        inputs = {
            "source": source,
            "warped": warped,
            "labels": _planes(condition.labels[part]),
            "places": condition.places[part],
        }
        full = {name: np.ascontiguousarray(_filled(value)) for name, value in inputs.items()}
        return self._engine.run(full)[: len(warped)]


class MouthPainter:
    """One face, ready: `paint` gives the crops of any states of its mouth."""

    def __init__(self, net: MouthNet, picture: Pixels, landmarks: Floats) -> None:
        """`picture` (h, w, 3) BGR with `landmarks` (478, 2 or 3) in its pixels, head upright."""
        self._net = net
        self.crop = Crop.of(landmarks)
        self._photo = self.crop.cut(picture)
        self._conditioning = Conditioning(self.crop.points(landmarks), WINDOW)

    def paint(self, moved: Floats) -> tuple[Condition, Paint]:
        """Return condition and paint of n states, whose landmarks (n, 478, 2 or 3) are in the picture's pixels."""
        condition = self._conditioning.of(self._photo, self.crop.points(moved))
        return condition, self._net.paint(self._photo, self._conditioning.labels, condition)


def _planes(pixels: Pixels) -> Floats:
    return pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def _filled(values: Floats) -> Floats:
    """Repeat the last entry until the batch is full."""
    return (
        np.concatenate([values, np.repeat(values[-1:], BATCH - len(values), axis=0)]) if len(values) < BATCH else values
    )
