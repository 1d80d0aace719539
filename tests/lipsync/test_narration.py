"""Does the mouth do what the voice says, and nothing when it is silent?"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from encoder.tools import run_tool
from lipsync.errors import SpeechUnreadable
from lipsync.narration import MouthTrack, analyse, bake, read_speech
from lipsync.train.speech import EspeakVoice, Spoken
from tests.lipsync.conftest import room, spoken, vowel, write_wav

FILM = Fraction(25)
OPEN, SPREAD, PRESS, TEETH = range(4)


SENTENCE = "Bob made a big map of pubs. We see you move above the pool."


@pytest.fixture(scope="module", params=["en-us+f4", "en-us+m7"])
def sentence(request) -> tuple[Spoken, np.ndarray]:
    """Words of a voice that the network was not trained on, and the states at 100 pictures a second."""
    spoken_words = EspeakVoice(request.param, 150).say(SENTENCE)
    return spoken_words, analyse(spoken_words.samples, Fraction(100), len(spoken_words.samples) // 160)


def during(sentence: tuple[Spoken, np.ndarray], letters: str) -> np.ndarray:
    """The states in the middle of every sound that is one of the letters."""
    said, states = sentence
    return np.array([states[p.middle // 160] for p in said.phones if p.letter and p.letter in letters])


def test_lips_meet_for_b_m_and_p_and_part_for_vowels(sentence):
    shut, vowels = during(sentence, "bmp"), during(sentence, "ɑaæʌeɪiuʊ")
    assert len(shut) == 11
    assert np.median(shut[:, PRESS]) > 0.7
    assert np.quantile(vowels[:, PRESS], 0.9) < 0.3
    assert np.quantile(shut[:, OPEN] * (1 - shut[:, PRESS]), 0.9) < np.quantile(vowels[:, OPEN], 0.1)


def test_lips_are_round_for_oo_and_wide_for_ee(sentence):
    assert during(sentence, "u")[:, SPREAD].mean() < during(sentence, "i")[:, SPREAD].mean() - 0.4


def test_the_mouth_opens_further_for_ah_than_for_ee_and_oo(sentence):
    assert during(sentence, "ɑæ")[:, OPEN].mean() > 1.3 * during(sentence, "iu")[:, OPEN].mean()


def test_the_mouth_opens_for_a_vowel_and_closes_in_the_pauses():
    states = analyse(spoken(room(1), vowel("a", 1), room(1)), FILM, 75)
    assert states[30:48, OPEN].min() > 0.15
    assert states[:20].max() == 0
    assert abs(states[62:]).max() == 0


@pytest.mark.parametrize("level_dbfs", [-90, -60, -50])
def test_a_room_without_a_voice_leaves_the_mouth_still(level_dbfs):
    assert abs(analyse(room(4, level_dbfs), FILM, 100)).max() == 0


def test_room_noise_in_the_pauses_of_a_voice_leaves_the_mouth_still():
    sound = np.concatenate([vowel("a", 1), room(1.5, -90), vowel("i", 1)]) + room(3.5, -50)
    assert abs(analyse(sound, FILM, 87)[35:58]).max() == 0


def test_digital_silence_is_silence():
    assert abs(analyse(np.zeros(32_000, np.float32), FILM, 50)).max() == 0


def test_an_s_shows_the_teeth(sentence):
    assert during(sentence, "sz")[:, TEETH].mean() > 0.3 + during(sentence, "ɑæu")[:, TEETH].mean()


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(30000, 1001), Fraction(60)])
def test_there_is_one_state_for_every_picture_at_any_rate(rate):
    frames = int(2 * rate)
    states = analyse(spoken(room(1), vowel("a", 1)), rate, frames)
    assert states.shape == (frames, 4)
    first = np.flatnonzero(states[:, OPEN] > 0.1)[0] / float(rate)
    assert 0.85 < first < 1.15


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


@pytest.mark.parametrize("kind", ["8 kHz", "96 kHz", "5.1", "clipped", "music", "silent"])
def test_sound_of_any_kind_becomes_a_track_within_its_range(tmp_path, tools, kind):
    voice = spoken(room(0.3), vowel("a", 0.5), room(0.3), vowel("i", 0.5), room(0.4))
    music = sum(np.sin(2 * np.pi * hz * np.arange(32_000) / 16_000) for hz in (220, 277, 330, 440)) / 8
    samples = {"clipped": np.clip(6 * voice, -0.99, 0.99), "music": music, "silent": np.zeros(32_000)}.get(kind, voice)
    wav, path = write_wav(tmp_path / "plain.wav", np.asarray(samples, np.float32)), tmp_path / "speech.wav"
    how = {"8 kHz": ["-ar", "8000"], "96 kHz": ["-ar", "96000"], "5.1": ["-af", "pan=5.1|FC=c0"]}.get(kind, [])
    run_tool([str(tools.ffmpeg), "-v", "error", "-i", str(wav), *how, str(path)])
    states = analyse(read_speech(path, tools), FILM, 50)
    assert np.isfinite(states).all()
    assert states.min() >= -1
    assert states.max() <= 1
    if kind == "silent":
        assert abs(states).max() == 0
    elif kind != "music":
        assert states[10:17, OPEN].max() > 0.1


def test_a_sound_that_begins_late_in_its_file_is_heard_late(tmp_path, tools):
    """A player waits for it, and so must the lips."""
    wav, film = write_wav(tmp_path / "voice.wav", spoken(vowel("a", 1.2))), tmp_path / "film.mp4"
    picture = ["-f", "lavfi", "-i", "color=gray:s=64x64:r=25:d=1.7"]
    late = ["-itsoffset", "0.5", "-i", str(wav), "-map", "0:v", "-map", "1:a", "-c:a", "aac"]
    run_tool([str(tools.ffmpeg), "-v", "error", *picture, *late, str(film)])
    samples = read_speech(film, tools)
    assert abs(samples[:7200]).max() < 0.01
    assert abs(samples[8500:20_000]).max() > 0.2
    assert abs(len(samples) - 27_200) < 1200


def test_ten_minutes_are_analysed_in_bounded_memory():
    """The states of the last second are those that it has alone; nothing grows but with the length."""
    last = spoken(room(0.2), vowel("a", 0.6), room(0.2))
    long = np.concatenate([np.tile(last, 599), last])
    states = analyse(long, FILM, 600 * 25)
    assert states.shape == (15_000, 4)
    assert abs(states[-25:] - states[-50:-25]).max() < 0.05
