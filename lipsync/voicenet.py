"""The trained voice network at run time: speech -> mouth states, in NumPy; causal, with a fixed look-ahead."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from lipsync.errors import ModelMissing
from lipsync.mel import Floats, heard

WEIGHTS = Path(__file__).parent / "weights" / "voice.npz"
AHEAD = 12
"""Frames of sound (10 ms each) that the network hears before it says what the mouth does: its whole delay."""
KERNEL = 3
DILATIONS = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True, eq=False)
class VoiceNet:
    """Layers of (KERNEL, in, out) weights and biases: one in, one for each dilation, added to its input, one out."""

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> VoiceNet:
        """Raises ModelMissing."""
        if not path.is_file():
            raise ModelMissing(path.name)
        with np.load(path, allow_pickle=False) as stored:
            layers = range(len(DILATIONS) + 2)
            weights = tuple(stored[f"weight{n}"].astype(np.float32) for n in layers)
            return cls(weights, tuple(stored[f"bias{n}"].astype(np.float32) for n in layers))

    def states(self, samples: Floats) -> Floats:
        """Return the states (frames, 4) at mel.FRAMES_PER_S, frame k at sample k * mel.HOP."""
        bands = heard(samples)
        late = np.concatenate([bands, np.repeat(bands[-1:], AHEAD, axis=0)])
        return self.run(late)[AHEAD:]

    def run(self, bands: Floats) -> Floats:
        """Return (frames, 4); frame k depends on bands up to k alone."""
        x = np.maximum(0, _causal(bands, self.weights[0], self.biases[0], 1))
        for weights, biases, dilation in zip(self.weights[1:-1], self.biases[1:-1], DILATIONS, strict=True):
            x = x + np.maximum(0, _causal(x, weights, biases, dilation))
        out = _causal(x, self.weights[-1], self.biases[-1], 1)
        shown = 1 / (1 + np.exp(-out))
        shown[:, 1] = np.tanh(out[:, 1])
        return np.asarray(shown, np.float32)


def _causal(x: Floats, weights: Floats, biases: Floats, dilation: int) -> Floats:
    """Convolve over time; before the first frame lies silence of the first frame's own kind."""
    reach = (len(weights) - 1) * dilation
    padded = np.concatenate([np.repeat(x[:1], reach, axis=0), x])
    return np.asarray(biases + sum(padded[k * dilation :][: len(x)] @ tap for k, tap in enumerate(weights)))


@cache
def voice_net() -> VoiceNet:
    """Return the network of the package, loaded once. Raises ModelMissing."""
    return VoiceNet.load()
