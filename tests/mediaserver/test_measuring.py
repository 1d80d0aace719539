"""The whole measure, shortened: a small film, one viewer of each kind."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import pytest

from mediaserver import cli, measuring
from mediaserver.capacity import Capacity
from mediaserver.settings import Settings


def test_a_machine_is_measured_with_the_product_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("MEDIASERVER_AV1", "off")
    monkeypatch.setattr(measuring, "SENDING_S", 0.3)
    monkeypatch.setattr(measuring, "LONG_S", 4)
    whole = measuring.measure
    monkeypatch.setattr(measuring, "measure", lambda *given: whole(*given, lines=360, viewers=1))
    assert cli.main(["doctor", "--capacity", "--json"]) == 0
    told, said = capsys.readouterr()
    capacity = json.loads(told)
    assert set(capacity["viewers_an_hour"]) == {"still", "moving"}
    assert min(capacity["viewers_an_hour"].values()) > 0
    assert capacity["streams"] > 0
    assert capacity["encode_speed"] > 0
    assert capacity["memory_mb"] > 100
    assert "1 viewers of a scene of 2 s, still" in said
    assert not list(tmp_path.iterdir())


def test_a_made_voice_has_the_length_that_is_asked_for_and_pauses(tmp_path: Path):
    with wave.open(str(measuring.syllables(tmp_path / "voice.wav", 3))) as sound:
        assert sound.getnframes() == 3 * sound.getframerate()
        assert max(sound.readframes(sound.getnframes())) > 0


def test_what_is_measured_is_a_statement_of_the_operator_s_engine():
    measured = measuring.Measured(1, Settings().engine, {}, 1.0, 0.0, 0.0)
    assert Capacity.of(measured).lines()[0].endswith("1 core, engine drawn")
