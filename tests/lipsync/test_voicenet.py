"""The voice network at run time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lipsync.errors import ModelMissing
from lipsync.mel import BANDS, HOP
from lipsync.train.voice import Voice, save
from lipsync.voicenet import AHEAD, VoiceNet, voice_net
from tests.lipsync.conftest import room, vowel


def test_it_says_what_the_trained_network_says(tmp_path):
    torch.manual_seed(3)
    net = Voice()
    save(net, tmp_path / "voice.npz")
    bands = np.random.default_rng(1).random((120, BANDS)).astype(np.float32)
    with torch.no_grad():
        trained = net(torch.from_numpy(bands)[None])[0].numpy()
    assert abs(VoiceNet.load(tmp_path / "voice.npz").run(bands) - trained).max() < 2e-3


def test_it_is_causal_but_for_its_look_ahead():
    samples = np.concatenate([vowel("a", 1), room(0.5, -40), vowel("i", 0.5)])
    changed = samples.copy()
    first = 150 * HOP
    changed[first:] = vowel("u", 2)[: len(samples) - first]
    ours, others = (voice_net().run(bands) for bands in (_bands(samples), _bands(changed)))
    assert np.array_equal(ours[:148], others[:148])
    assert not np.array_equal(ours[148:], others[148:])
    assert len(voice_net().states(samples)) == len(samples) // HOP + 1
    assert AHEAD == 12


def _bands(samples: np.ndarray) -> np.ndarray:
    from lipsync.mel import mel

    return np.log10(mel(samples) + 1e-6)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(ModelMissing, match=r"voice\.npz"):
        VoiceNet.load(tmp_path / "voice.npz")
