"""Mel spectrogram as the voice network hears it: 40 bands every 10 ms, in NumPy alone.

The filters are those of M. Slaney, Auditory Toolbox (1998): bands linear below 1 kHz, logarithmic above, of equal area.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

RATE_HZ, HOP, WINDOW, BANDS = 16_000, 160, 512, 40
FRAMES_PER_S = RATE_HZ // HOP
BREAK_HZ, BREAK_MEL, MEL_PER_LOG = 1000.0, 15.0, 27.0 / np.log(6.4)
QUIETEST_DB, LOUDEST_PERCENT, RANGE_DB = -42.0, 97, 30.0


def mel(samples: Floats) -> Floats:
    """Return (frames, BANDS) energies; frame k is centred on sample k * HOP."""
    padded = np.pad(samples.astype(np.float32), (WINDOW // 2, WINDOW // 2))
    hops = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
    bands = np.empty((len(hops), BANDS), np.float32)
    for first in range(0, len(hops), 4096):
        part = slice(first, first + 4096)
        bands[part] = (np.abs(np.fft.rfft(hops[part] * window, axis=1)) ** 2) @ filters().T
    return bands


@cache
def filters(window: int = WINDOW, bands: int = BANDS, low_hz: float = 0, high_hz: float = RATE_HZ / 2) -> Floats:
    """Return (bands, window // 2 + 1) triangles, each of area 2 / width in Hz."""
    hz = np.fft.rfftfreq(window, 1 / RATE_HZ)
    corners = _hz_of(np.linspace(_mel_of(low_hz), _mel_of(high_hz), bands + 2))
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (hz - low) / (middle - low), (high - hz) / (high - middle)
    return np.asarray(np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low), np.float32)


def _mel_of(hz: float) -> float:
    return BREAK_MEL + float(np.log(hz / BREAK_HZ)) * MEL_PER_LOG if hz >= BREAK_HZ else hz * BREAK_MEL / BREAK_HZ


def _hz_of(mels: Floats) -> Floats:
    bent = BREAK_HZ * np.exp((mels - BREAK_MEL) / MEL_PER_LOG)
    return np.asarray(np.where(mels >= BREAK_MEL, bent, mels * BREAK_HZ / BREAK_MEL))


def heard(samples: Floats) -> Floats:
    """Return (frames, BANDS) as the network takes them: decibels under the loudest of this speech, in RANGE_DB.

    A recording that is quiet throughout is not made louder than QUIETEST_DB allows.
    """
    bands = mel(samples)
    loudest = 10 * np.log10(np.percentile(bands.sum(axis=1), LOUDEST_PERCENT) + 1e-12) if len(bands) else 0.0
    decibels = 10 * np.log10(bands + 1e-9) - max(loudest, QUIETEST_DB)
    return np.asarray(np.clip(decibels / RANGE_DB + 1.5, -1, 2), np.float32)
