from __future__ import annotations

import builtins
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoder.model import Grid, Placement
from encoder.probe import probe
from encoder.sidecar import parse_slots, read_sidecar
from encoder.tools import find_tools
from mediaserver import sample
from mediaserver.dusk import MIRROR, Dusk
from mediaserver.errors import SampleFailed

SCRIPTS = [sample.FILM, sample.SMALL]


def grid(script: sample.Script) -> Grid:
    return Grid.near(Fraction(sample.RATE), script.seconds * sample.RATE)


@pytest.fixture(scope="module", params=SCRIPTS, ids=["film", "small"])
def spoken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[sample.Script, Any]:
    """A script and the loudness of its speech in every tenth of a second."""
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    sample.write_speech(request.param, path)
    with wave.open(str(path)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)
    assert len(sound) == request.param.seconds * sample.SPEECH_HZ
    return request.param, np.sqrt((sound.reshape(-1, sample.SPEECH_HZ // 10) ** 2).mean(axis=1))


def test_the_film_is_long_enough_and_its_slot_is_where_the_border_is_hardest():
    film = sample.FILM
    assert (film.width, film.height) == (1920, 1080)
    assert film.seconds >= 24
    assert film.slot_start_s >= 12
    assert film.slot_duration_s >= 6
    assert Fraction(str(film.slot_start_s)) % 2 != 0


def test_the_small_one_is_20_seconds_with_a_slot_of_four():
    small = sample.SMALL
    assert (small.width, small.height, small.seconds, small.slot_duration_s) == (640, 360, 20, 4.0)
    assert 11 <= small.slot_start_s < 12


@pytest.mark.parametrize("script", SCRIPTS, ids=["film", "small"])
def test_the_sidecar_is_one_that_the_encoder_takes(script: sample.Script, tmp_path: Path):
    import tomllib

    (slot,) = parse_slots(tmp_path / "part2.toml", tomllib.loads(sample.sidecar(script)), grid(script))
    assert slot.id == "you"
    assert float(slot.start_s) == script.slot_start_s
    assert slot.face == Placement(MIRROR.x, MIRROR.y, MIRROR.w, MIRROR.h)
    assert slot.speaker_consent


def test_there_is_speech_and_silence_inside_the_slot_and_outside(spoken: tuple[sample.Script, Any]):
    script, loudness = spoken
    heard = loudness > 0.05 * loudness.max()
    first, last = round(script.slot_start_s * 10), round((script.slot_start_s + script.slot_duration_s) * 10)
    for part in (heard[:first], heard[first:last], heard[last:]):
        assert part.mean() > 0.25
        assert (~part).mean() > 0.15


def test_no_word_is_cut_by_a_border_of_the_slot(spoken: tuple[sample.Script, Any]):
    script, loudness = spoken
    for border_s in (script.slot_start_s, script.slot_start_s + script.slot_duration_s):
        around = loudness[round(border_s * 10) - 2 : round(border_s * 10) + 2]
        assert around.max() < 0.02 * loudness.max()


def test_the_small_master_is_prores_with_sound_that_the_encoder_reads(sample_master: Path):
    master = probe(sample_master, find_tools())
    assert (master.width, master.height, master.rate, master.frames) == (640, 360, Fraction(25), 500)
    assert master.sound is not None
    assert (master.sound.sample_rate_hz, master.sound.language) == (48_000, "en")
    assert read_sidecar(sample_master, grid(sample.SMALL)).title == "The Mirror on the Hill"
    assert sorted(path.name for path in sample_master.parent.iterdir()) == ["part2.mov", "part2.toml"]


def test_the_picture_moves_outside_the_mirror_and_is_the_same_for_the_same_seed():
    one, same = Dusk(640, 360, 20), Dusk(640, 360, 20)
    assert (one.frame(3).tobytes(), one.frame(3).shape) == (same.frame(3).tobytes(), (360, 640, 3))
    moved = np.abs(one.frame(3).astype(int) - one.frame(5).astype(int)).max(axis=2) > 24
    assert moved[200:, :300].mean() > 0.02
    assert Dusk(640, 360, 20, seed=3).frame(3).tobytes() != one.frame(3).tobytes()


def test_the_frame_of_the_mirror_stands_still_around_the_placement():
    scene = Dusk(640, 360, 20)
    left, top = round(MIRROR.x * 640) - 4, round(MIRROR.y * 360) + 40
    before, after = (scene.frame(t)[top : top + 100, left : left + 3].astype(int) for t in (2, 11))
    assert np.abs(before - after).max() <= 4


def test_without_the_voice_the_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "hibari":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(SampleFailed, match="hibari-tts") as caught:
        sample.make(tmp_path)
    assert "mediaserver[demo]" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(SampleFailed, match="file"):
        sample.make(tmp_path / "file" / "raw", small=True)
