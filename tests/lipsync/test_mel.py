"""The bands that the voice network hears."""

from __future__ import annotations

import librosa
import numpy as np

from lipsync.mel import BANDS, HOP, RATE_HZ, WINDOW, heard, mel
from tests.lipsync.conftest import room, vowel


def test_bands_are_those_of_librosa():
    samples = vowel("a", 1) + room(1, -50)
    theirs = librosa.feature.melspectrogram(
        y=samples, sr=RATE_HZ, n_fft=WINDOW, hop_length=HOP, n_mels=BANDS, center=True, pad_mode="constant"
    )
    ours = mel(samples)
    assert ours.shape == theirs.T.shape
    assert abs(ours - theirs.T).max() <= 1e-4 * theirs.max()


def test_a_louder_recording_sounds_the_same():
    samples = vowel("a", 1) + room(1, -60)
    assert np.allclose(heard(samples), heard(samples * np.float32(0.3)), atol=0.02)


def test_silence_is_not_made_loud():
    assert heard(np.zeros(16_000, np.float32)).max() < 0.2
