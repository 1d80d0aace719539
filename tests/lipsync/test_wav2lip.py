"""Wav2Lip: the fast form says what the published network says; on random weights, for the real ones are not ours."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from torch import nn

from lipsync.errors import NotConverted, WeightsUnusable
from lipsync.mel import filters
from lipsync.train.wav2lip import Faces, Mouths, Sounds, Wav2Lip, convert, load
from lipsync.wav2lip import FACE_PX, MEL_BANDS, MEL_HZ, MEL_STEPS, WINDOW, Wav2LipSpeaker, spectrogram, windows


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """One in the form of the published ones, its weights random, its normalisation not trivial."""
    torch.manual_seed(3)
    network = Wav2Lip()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.normal_(0, 0.1)
    with torch.no_grad():
        network.train()(torch.rand(4, 1, 80, 16) * 8 - 4, torch.rand(4, 6, 96, 96))
    path = tmp_path_factory.mktemp("weights") / "wav2lip.pth"
    weights = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": weights, "optimizer": None, "global_step": 1, "global_epoch": 1}, path)
    return path


@pytest.fixture(scope="module")
def network(checkpoint) -> Wav2Lip:
    return load(checkpoint)


@pytest.fixture(scope="module")
def engine(checkpoint, tmp_path_factory) -> Wav2LipSpeaker:
    folder = tmp_path_factory.mktemp("converted")
    convert(checkpoint, folder)
    return Wav2LipSpeaker(folder, exact=True)


def test_the_network_is_the_published_one(network):
    assert sum(weights.numel() for weights in network.parameters()) == 36_298_035
    names = network.state_dict()
    assert names["face_encoder_blocks.5.1.conv_block.0.weight"].shape == (512, 512, 3, 3)
    assert names["audio_encoder.9.conv_block.1.running_var"].shape == (256,)
    assert names["face_decoder_blocks.3.0.conv_block.0.weight"].shape == (768, 384, 3, 3)
    assert names["output_block.1.bias"].shape == (3,)


def test_the_folded_network_says_what_the_plain_one_does(network):
    torch.manual_seed(5)
    mels, face = torch.rand(3, 1, 80, 16) * 8 - 4, torch.rand(1, 6, 96, 96)
    with torch.no_grad():
        plain = network(mels, face.expand(3, -1, -1, -1))[:, :, FACE_PX // 2 :]
        folded = Mouths(network)(Sounds(network)(mels), Faces(network)(face))
    assert folded.shape == plain.shape == (3, 3, 48, 96)
    assert abs(folded - plain).max() < 1e-5
    assert abs(plain[0] - plain[1]).max() > 1e-3


def test_what_was_converted_says_what_the_plain_network_does(network, engine):
    chance = np.random.default_rng(7)
    photo = chance.integers(0, 256, (96, 96, 3), np.uint8)
    speech = chance.normal(0, 0.1, 16_000).astype(np.float32)
    heard = engine.hear(speech, Fraction(25), 11)
    assert heard.shape == (11, 512)
    spoken = engine.speak(heard, engine.look(photo))
    seen = torch.from_numpy(photo.astype(np.float32).transpose(2, 0, 1) / 255)
    hidden = seen.clone()
    hidden[:, 48:] = 0
    mels = torch.from_numpy(windows(speech, Fraction(25), 11))
    with torch.no_grad():
        plain = network(mels, torch.cat([hidden, seen])[None].expand(11, -1, -1, -1))[:, :, 48:]
    wanted = plain.numpy().transpose(0, 2, 3, 1) * 255
    assert abs(spoken - wanted).max() <= 1.0


def test_the_spectrogram_is_that_of_the_published_code():
    speech = np.random.default_rng(1).normal(0, 0.1, 32_000)
    sharp = np.append(speech[:1], speech[1:] - 0.97 * speech[:-1])
    power = abs(librosa.stft(sharp, n_fft=800, hop_length=200, win_length=800))
    wanted = librosa.filters.mel(sr=16_000, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    assert abs(filters(WINDOW, MEL_BANDS, *MEL_HZ) - wanted).max() < 1e-6
    level = 20 * np.log10(np.maximum(1e-5, wanted @ power)) - 20
    assert abs(spectrogram(speech) - np.clip(8 * (level + 100) / 100 - 4, -4, 4)).max() < 1e-3


def test_every_picture_hears_what_is_said_then():
    speech = np.concatenate([np.zeros(16_000), np.random.default_rng(2).normal(0, 0.2, 16_000)])
    heard = windows(speech, Fraction(25), 60)
    assert heard.shape == (60, 1, 80, MEL_STEPS)
    loud = heard.mean(axis=(1, 2, 3))
    assert loud[:19].max() < -3
    assert loud[26:45].min() > 0
    assert (heard[55:] == -4).all()


def test_what_is_no_checkpoint_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(WeightsUnusable, match="there is no such file"):
        load(tmp_path / "none.pth")
    text = tmp_path / "text.pth"
    text.write_text("not weights")
    other = tmp_path / "other.pth"
    torch.save({"state_dict": {"layer.weight": torch.zeros(2)}}, other)
    bare = tmp_path / "bare.pth"
    torch.save([1, 2], bare)
    for path in (text, other, bare):
        with pytest.raises(WeightsUnusable, match="not a checkpoint of Wav2Lip") as caught:
            load(path)
        assert "wav2lip.pth" in caught.value.hint


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/evil-checkpoint"),))


def test_nothing_in_a_checkpoint_is_run(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(WeightsUnusable):
        load(path)
    assert not Path("/tmp/evil-checkpoint").exists()


def test_an_engine_without_files_says_so(tmp_path):
    with pytest.raises(NotConverted):
        Wav2LipSpeaker(tmp_path)
