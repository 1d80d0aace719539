"""What the lips do for each sound, and how neighbours share them: the targets of the voice network.

The table follows the groups of C. Fisher, Confusions among visually perceived consonants (1968), and the vowel
quadrilateral of the IPA. Sharing is a weighted mean over time, as in the dominance functions of M. Cohen and D.
Massaro, Modeling coarticulation in synthetic visual speech (1993): each sound counts as much as its weight, for as
long as the lips need. Lip contact needs the least.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipsync.mel import FRAMES_PER_S, HOP
from lipsync.narration import SAMPLE_RATE_HZ, Floats
from lipsync.train.speech import BETWEEN, SILENCE, Spoken


@dataclass(frozen=True, slots=True)
class Viseme:
    """The state (narration.PARAMETERS) of a sound, and how much it insists on the jaw, the corners, the contact."""

    open: float
    spread: float = 0.0
    press: float = 0.0
    teeth: float = 0.0
    jaw: float = 1.0
    corners: float = 1.0
    contact: float = 1.0


REST = Viseme(0, jaw=1.5, corners=0.7, contact=1.0)
JOINT = Viseme(0.2, jaw=0.05, corners=0.05, contact=0.05)
UNKNOWN = Viseme(0.25, jaw=0.3, corners=0.1, contact=0.5)

_VOWELS = {
    "ɑ": (0.95, 0.0), "a": (0.9, 0.1), "ɒ": (0.85, -0.3), "æ": (0.85, 0.35), "ʌ": (0.68, 0.05), "ɐ": (0.65, 0.05),
    "ɛ": (0.62, 0.4), "e": (0.52, 0.5), "ə": (0.42, 0.0), "ɜ": (0.46, -0.2), "ɪ": (0.42, 0.5), "i": (0.38, 0.8),
    "ɨ": (0.35, 0.3), "ɔ": (0.7, -0.5), "o": (0.52, -0.75), "ʊ": (0.42, -0.75), "u": (0.36, -1.0), "y": (0.36, -0.95),
    "ʏ": (0.4, -0.7), "ø": (0.5, -0.75), "œ": (0.58, -0.6), "ɯ": (0.35, 0.3),
}  # fmt: skip
_GROUPS = {
    "pbm": Viseme(0.0, press=1.0, jaw=4.0, corners=0.25, contact=6.0),
    "fvʋ": Viseme(0.08, teeth=0.55, jaw=3.0, corners=0.4, contact=2.5),
    "szc": Viseme(0.14, 0.25, teeth=0.9, jaw=2.2, corners=0.6, contact=1.5),
    "ʃʒɕʑ": Viseme(0.16, -0.5, teeth=0.7, jaw=2.2, corners=1.2, contact=1.5),
    "tdnlɾʈɖɫɬ": Viseme(0.24, 0.1, teeth=0.3, jaw=0.9, corners=0.15, contact=0.8),
    "θð": Viseme(0.22, 0.1, teeth=0.35, jaw=1.2, corners=0.2, contact=0.8),
    "kɡgŋxɣqχ": Viseme(0.3, jaw=0.5, corners=0.1, contact=0.6),
    "hħʕʔɦ": Viseme(0.35, jaw=0.15, corners=0.05, contact=0.4),
    "wʍɥ": Viseme(0.18, -1.0, jaw=1.8, corners=2.2),
    "ɹrʁʀɻ": Viseme(0.3, -0.35, jaw=0.7, corners=0.7, contact=0.6),
    "jʎɲ": Viseme(0.3, 0.6, jaw=0.7, corners=0.9, contact=0.6),
    "β": Viseme(0.06, press=0.4, jaw=2.5, corners=0.3, contact=2.0),
}
VISEMES: dict[str, Viseme] = {
    SILENCE: REST,
    BETWEEN: JOINT,
    **{letter: Viseme(*shape, jaw=1.3, corners=1.2) for letter, shape in _VOWELS.items()},
    **{letter: viseme for letters, viseme in _GROUPS.items() for letter in letters},
}

JAW_S, CORNERS_S, CONTACT_S = 0.030, 0.045, 0.017
"""Standard deviations in time of the sharing."""
LOUD_DB, SHARE = 24.0, 0.35
"""A vowel opens the jaw less the quieter it is, by at most this share."""


def targets(spoken: Spoken, frames: int) -> Floats:
    """Return the states (frames, PARAMETERS) at FRAMES_PER_S, frame k at sample k * HOP."""
    shape, weight = _at_frames(spoken, frames)
    columns = [
        _shared(shape[:, n], weight[:, n], spread_s)
        for n, spread_s in enumerate((JAW_S, CORNERS_S, CONTACT_S, CONTACT_S))
    ]
    columns[0] = columns[0] * (1 - SHARE + SHARE * _loud(spoken.samples, frames))
    return np.stack(columns, axis=1).astype(np.float32)


def _at_frames(spoken: Spoken, frames: int) -> tuple[Floats, Floats]:
    """Return states and weights (frames, 4) as each frame's own sound has them; rest after the end."""
    visemes = [*(VISEMES.get(phone.letter, UNKNOWN) for phone in spoken.phones), REST]
    starts = np.array([*(phone.start for phone in spoken.phones), len(spoken.samples)])
    which = np.maximum(0, np.searchsorted(starts, np.arange(frames) * HOP, side="right") - 1)
    shape = np.array([[v.open, v.spread, v.press, v.teeth] for v in visemes], np.float32)
    weight = np.array([[v.jaw, v.corners, v.contact, v.contact] for v in visemes], np.float32)
    return shape[which], weight[which]


def _shared(values: Floats, weights: Floats, spread_s: float) -> Floats:
    kernel = _bell(spread_s)
    return np.asarray(np.convolve(values * weights, kernel, "same") / np.convolve(weights, kernel, "same"))


def _bell(spread_s: float) -> Floats:
    reach = round(4 * spread_s * FRAMES_PER_S)
    at_s = np.arange(-reach, reach + 1) / FRAMES_PER_S
    return np.asarray(np.exp(-0.5 * (at_s / spread_s) ** 2))


def _loud(samples: Floats, frames: int) -> Floats:
    """Return 0..1 for LOUD_DB under the loudest up to the loudest, smoothed over 60 ms."""
    hop = SAMPLE_RATE_HZ // FRAMES_PER_S
    padded = np.pad(samples, (0, max(0, frames * hop - len(samples))))[: frames * hop]
    energy = np.convolve((padded.reshape(frames, hop) ** 2).mean(axis=1), np.hanning(9) / np.hanning(9).sum(), "same")
    decibels = 10 * np.log10(energy + 1e-9)
    return np.asarray(np.clip(1 + (decibels - np.percentile(decibels, 97)) / LOUD_DB, 0, 1))
