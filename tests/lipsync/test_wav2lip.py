"""Wav2Lip: the fast form says what the published network says; on random weights, for the real ones are not ours."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from lipsync.errors import NotConverted, WeightsUnusable
from lipsync.mel import filters
from lipsync.narration import analyse
from lipsync.planes import Planes, part_of, planes_of
from lipsync.renderer import Renderer
from lipsync.train.wav2lip import Faces, Mouths, Sounds, Wav2Lip, load
from lipsync.wav2lip import (
    FACE_PX,
    MEL_BANDS,
    MEL_HZ,
    MEL_STEPS,
    PRESENCE,
    SOUND,
    WINDOW,
    Square,
    Wav2LipSpeaker,
    spectrogram,
    windows,
)
from tests.lipsync.conftest import room, spoken, vowel


@pytest.fixture(scope="module")
def network(wav2lip_checkpoint) -> Wav2Lip:
    return load(wav2lip_checkpoint)


@pytest.fixture(scope="module")
def speaker(wav2lip_cache) -> Wav2LipSpeaker:
    return Wav2LipSpeaker(wav2lip_cache / "models" / "wav2lip", exact=True)


@pytest.fixture(scope="module")
def track(speaker) -> np.ndarray:
    """A second of `a` between half seconds of silence, at 25 pictures a second."""
    return speaker.analyse(spoken(room(0.5), vowel("a", 1), room(0.5)), Fraction(25), 50)


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


def test_what_was_converted_says_what_the_plain_network_does(network, speaker):
    chance = np.random.default_rng(7)
    photo = chance.integers(0, 256, (96, 96, 3), np.uint8)
    speech = chance.normal(0, 0.1, 16_000).astype(np.float32)
    heard = speaker.hear(speech, Fraction(25), 11)
    assert heard.shape == (11, 512)
    spoken = speaker.speak(heard, speaker.look(photo))
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
    with pytest.raises(NotConverted, match="no checkpoint was converted") as caught:
        Wav2LipSpeaker(tmp_path)
    assert "mediaserver doctor --convert" in caught.value.hint


def test_a_track_says_what_moves_the_skin_who_speaks_and_what_was_heard(track):
    assert track.shape == (50, PRESENCE + 1 + SOUND)
    sound = spoken(room(0.5), vowel("a", 1), room(0.5))
    assert np.array_equal(track[:, :PRESENCE], analyse(sound, Fraction(25), 50))
    assert track[16:36, PRESENCE].min() == 1
    assert not track[:5, PRESENCE].any()
    assert not track[-5:, PRESENCE].any()


def test_in_a_pause_the_photo_s_own_mouth_rests(speaker, man, track):
    mouth = speaker.mouth(man)
    assert all(map(np.array_equal, mouth.patch(track[0]), part_of(planes_of(man.picture), mouth.box)))
    assert mouth.patch(track[0]) is mouth.patch(track[1])


def apart(one: Planes, other: Planes) -> int:
    return max(int(abs(a.astype(int) - b).max()) for a, b in zip(one, other, strict=True))


def test_mouths_that_were_announced_are_those_that_were_not(speaker, man, track):
    told, asked = speaker.mouth(man), speaker.mouth(man)
    told.expect(track[10:15])
    for row in track[10:15]:
        assert apart(told.patch(row), asked.patch(row)) <= 1
    assert told.patch(track[14]) is told.patch(track[14])


def test_the_mouth_of_a_video_s_picture_is_that_of_a_photo(speaker, man, track):
    photo, passing = speaker.mouth(man), speaker.passing_mouth(man)
    assert apart(photo.patch(track[25]), passing.patch(track[25])) <= 1


@pytest.fixture(scope="module")
def drawn(man, track) -> tuple[Square, Planes]:
    """The demo man who says `a`, as the shipped engine draws him, and the square that the network would see of him."""
    renderer = Renderer(man)
    return Square(man, renderer.box), renderer.patch(track[25, :PRESENCE])


def test_round_the_network_s_mouth_nothing_changes_whatever_it_paints(drawn):
    square, picture = drawn
    noise = np.random.default_rng(1).uniform(0, 255, (48, 96, 3)).astype(np.float32)
    for laid, own, border in zip(square.laid(picture, noise, 1.0), picture, (8, 4, 4), strict=True):
        changed = laid != own
        assert changed.mean() > 0.1
        inside = np.zeros_like(changed)
        inside[border:-border, border:-border] = True
        assert not (changed & ~inside).any()


def test_a_network_that_paints_what_it_sees_leaves_skin_as_sharp_as_it_was(drawn):
    square, picture = drawn
    laid = square.laid(picture, square.seen(picture), 1.0)
    for new, own, lips, least in zip(laid, picture, square._lips, (8, 1, 1), strict=True):
        skin = lips == 0
        assert abs(new.astype(int) - own)[skin].max() <= 1
        assert abs(new.astype(int) - own)[~skin].max() > least


def test_a_network_of_other_colours_is_brought_to_the_face_s(drawn):
    square, picture = drawn
    seen = square.seen(picture)
    same, tinted = square.laid(picture, seen, 1.0), square.laid(picture, seen + np.float32([30, -20, 10]), 1.0)
    assert apart(same, tinted) <= 1


def test_where_the_network_s_mouth_ends_there_is_no_step(drawn):
    square, picture = drawn
    light = square.seen(picture)
    light[:, 30:66] += 60
    change = square.laid(picture, light, 1.0)[0].astype(int) - picture[0]
    skin = square._lips[0] == 0
    for axis in (0, 1):
        both = skin & np.roll(skin, -1, axis)
        step = abs(change - np.roll(change, -1, axis))
        assert step[both][: -max(change.shape)].max() < 40


def test_a_mouth_that_comes_and_goes_is_as_strong_as_it_is_told(drawn):
    square, picture = drawn
    dark = np.zeros((48, 96, 3), np.float32)
    none, half, whole = (square.laid(picture, dark, strength)[0].astype(int) for strength in (0.0, 0.5, 1.0))
    assert np.array_equal(none, picture[0])
    assert abs(2 * half - none - whole).max() <= 2
