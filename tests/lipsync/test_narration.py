"""Does the mouth do what the voice says, and nothing when it is silent?"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lipsync.errors import SpeechUnreadable
from lipsync.narration import MouthTrack, analyse, bake, read_speech
from tests.lipsync.conftest import hiss, room, spoken, vowel, write_wav

FILM = Fraction(25)
OPEN, SPREAD, PRESS, TEETH = range(4)


def test_the_mouth_opens_for_a_vowel_and_closes_in_the_pauses():
    states = analyse(spoken(room(1), vowel("a", 1), room(1)), FILM, 75)
    assert states[30:48, OPEN].min() > 0.5
    assert states[:20].max() == 0
    assert abs(states[62:]).max() == 0


def test_opening_follows_the_loudness_of_the_voice():
    swell = vowel("a", 4) * np.repeat([0.03, 1, 0.08, 0.6, 0.02, 0.9, 0.1, 0.4], 8000)
    states = analyse(spoken(room(0.5), swell.astype(np.float32), room(0.5)), FILM, 125)
    level = np.sqrt((np.pad(swell, 8000).reshape(125, 640) ** 2).mean(axis=1))
    assert np.corrcoef(states[:, OPEN], level)[0, 1] > 0.8


@pytest.mark.parametrize("level_dbfs", [-90, -60, -50])
def test_a_room_without_a_voice_leaves_the_mouth_still(level_dbfs):
    assert abs(analyse(room(4, level_dbfs), FILM, 100)).max() == 0


def test_room_noise_in_the_pauses_of_a_voice_leaves_the_mouth_still():
    sound = np.concatenate([vowel("a", 1), room(1.5, -90), vowel("i", 1)]) + room(3.5, -50)
    assert abs(analyse(sound, FILM, 87)[35:58]).max() == 0


def test_digital_silence_is_silence():
    assert abs(analyse(np.zeros(32_000, np.float32), FILM, 50)).max() == 0


def test_ah_opens_the_jaw_further_than_ee_and_oo():
    states = analyse(spoken(vowel("a", 0.6), room(0.3), vowel("i", 0.6), room(0.3), vowel("u", 0.6)), FILM, 60)
    ah, ee, oo = (states[first : first + 8, OPEN].mean() for first in (4, 27, 49))
    assert ah > 1.4 * max(ee, oo)


def test_ee_draws_the_corners_apart_and_oo_rounds_the_lips():
    states = analyse(spoken(vowel("i", 0.8), room(0.3), vowel("u", 0.8)), FILM, 47)
    assert states[6:16, SPREAD].mean() > 0.3
    assert states[34:44, SPREAD].mean() < -0.3


def test_an_s_shows_the_teeth_behind_a_jaw_that_is_nearly_closed():
    states = analyse(spoken(vowel("a", 0.6), hiss(0.4), vowel("a", 0.6)), FILM, 40)
    assert states[17:23, TEETH].mean() > 0.5
    assert states[17:23, OPEN].mean() < 0.5 * states[5:12, OPEN].mean()


def test_a_short_hole_in_the_voice_presses_the_lips_and_a_pause_does_not():
    states = analyse(spoken(room(0.4), vowel("a", 0.5), room(0.09), vowel("a", 0.5), room(1.5)), FILM, 74)
    hole = slice(20, 27)
    assert states[hole, PRESS].max() > 0.5
    assert states[45:, PRESS].max() == 0


def test_a_hole_that_ends_in_a_hiss_is_no_lip_closure():
    sound = spoken(room(0.4), vowel("a", 0.5), room(0.08), hiss(0.06), vowel("a", 0.5), room(0.5))
    assert analyse(sound, FILM, 50)[:, PRESS].max() < 0.25


def test_the_lips_lead_the_sound_a_little():
    states = analyse(spoken(room(1), vowel("a", 1), room(1)), Fraction(200), 600)
    half = np.flatnonzero(states[:, OPEN] > 0.5 * states[:, OPEN].max())[0] / 200
    assert 0.93 < half < 1.01


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(30000, 1001), Fraction(60)])
def test_there_is_one_state_for_every_picture_at_any_rate(rate):
    frames = int(2 * rate)
    states = analyse(spoken(room(1), vowel("a", 1)), rate, frames)
    assert states.shape == (frames, 4)
    first = np.flatnonzero(states[:, OPEN] > 0.3)[0] / float(rate)
    assert 0.9 < first < 1.05


def test_pictures_after_the_end_of_the_speech_are_at_rest():
    states = analyse(spoken(vowel("a", 1)), FILM, 60)
    assert abs(states[30:]).max() == 0


def test_a_window_that_begins_inside_a_picture_is_taken_into_account():
    sound = spoken(room(0.5), vowel("a", 1), room(0.5))
    early, plain = (analyse(sound, Fraction(5), 10, share)[:, OPEN] for share in (Fraction(1, 2), Fraction(0)))
    fine = analyse(sound, Fraction(10), 20)[:, OPEN]
    assert not np.array_equal(early, plain)
    assert early[3] == pytest.approx(analyse(sound, Fraction(20), 40, Fraction(1, 2))[12, OPEN], abs=1e-6)
    assert fine.shape == (20,)


def test_a_track_survives_its_file(tmp_path):
    wav = write_wav(tmp_path / "a.wav", spoken(room(0.5), vowel("a", 1)))
    track = bake(wav, Fraction(30000, 1001), 45)
    track.save(tmp_path / "track.npz")
    again = MouthTrack.load(tmp_path / "track.npz")
    assert np.array_equal(again.states, track.states)
    assert (again.rate, again.audio_sha256, again.engine) == (track.rate, track.audio_sha256, track.engine)
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"nothing of the kind"])
def test_a_file_that_is_no_track_is_told(tmp_path, content):
    (tmp_path / "track.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        MouthTrack.load(tmp_path / "track.npz")


def test_a_track_of_another_format_is_told(tmp_path):
    np.savez(tmp_path / "track.npz", format=99, parameters=np.array(["a"]))
    with pytest.raises(ValueError, match="another format"):
        MouthTrack.load(tmp_path / "track.npz")


def test_a_narration_of_another_kind_is_refused(tmp_path):
    with pytest.raises(SpeechUnreadable, match="16 kHz"):
        bake(write_wav(tmp_path / "a.wav", vowel("a", 1), rate_hz=44_100), FILM, 25)
    with pytest.raises(SpeechUnreadable):
        bake(tmp_path / "missing.wav", FILM, 25)


def test_any_sound_file_is_decoded_to_16_khz_mono(tmp_path, tools):
    samples = read_speech(write_wav(tmp_path / "a.wav", vowel("a", 1.5), rate_hz=8_000), tools)
    assert abs(len(samples) - 3 * 16_000) < 200
    assert 0.2 < abs(samples).max() < 0.4


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: p.write_text("not a sound"), "no sound"),
        (lambda p: write_wav(p, vowel("a", 0.5)), "shorter than 1 s"),
        (lambda p: write_wav(p, np.zeros(601 * 2000, np.float32), rate_hz=2000), "longer than 10 min"),
        (lambda p: None, "no such file"),
    ],
)
def test_a_speech_that_cannot_be_used_is_refused_with_its_reason(tmp_path, tools, make, reason):
    path = tmp_path / "speech.wav"
    make(path)
    with pytest.raises(SpeechUnreadable, match=reason):
        read_speech(path, tools)
