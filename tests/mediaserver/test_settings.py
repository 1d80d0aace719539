from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as unhurried
from hypothesis import strategies as st

from mediaserver.cli import main
from mediaserver.errors import SettingsError
from mediaserver.settings import Settings, keys, load_settings, restored, value_of


def write(folder: Path, text: str) -> Path:
    path = folder / "mediaserver.toml"
    path.write_text(text)
    return path


def test_without_anything_given_the_defaults_hold():
    effective = load_settings(env={})
    assert effective.settings == Settings()
    assert set(effective.origins.values()) == {"default"}


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(tmp_path: Path):
    path = write(tmp_path, "port = 1\nadmin_port = 2\nsettle_s = 3\n")
    env = {"MEDIASERVER_PORT": "4", "MEDIASERVER_ADMIN_PORT": "5"}
    effective = load_settings(path, env=env, flags={"port": 6, "host": None})
    settings = effective.settings
    assert (settings.port, settings.admin_port, settings.settle_s, settings.host) == (6, 5, 3.0, "127.0.0.1")
    assert effective.origins["port"] == "--port"
    assert effective.origins["admin_port"] == "MEDIASERVER_ADMIN_PORT"
    assert effective.origins["settle_s"] == str(path)
    assert effective.origins["host"] == "default"


def test_a_path_in_the_file_is_relative_to_the_file(tmp_path: Path):
    settings = load_settings(write(tmp_path, 'raw = "films"\nmedia = "/elsewhere"\n'), env={}).settings
    assert settings.raw == tmp_path / "films"
    assert settings.media == Path("/elsewhere")


def test_the_table_of_the_consent_is_part_of_the_tree(tmp_path: Path):
    path = write(tmp_path, '[consent]\ncontroller = "Film Ltd"\nretention_h = 6\n')
    consent = load_settings(path, env={"MEDIASERVER_CONSENT_CONTACT": "a@b.example"}).settings.consent
    assert (consent.controller, consent.retention_h, consent.contact) == ("Film Ltd", 6, "a@b.example")


def test_the_environment_can_name_the_file(tmp_path: Path):
    path = write(tmp_path, "port = 1234\n")
    assert load_settings(env={"MEDIASERVER_CONFIG": str(path)}).settings.port == 1234


def test_where_the_cache_lies_is_no_setting_and_no_error():
    assert load_settings(env={"MEDIASERVER_CACHE": "/somewhere"}).settings == Settings()


@pytest.mark.parametrize(
    ("text", "suggested"),
    [
        ("prot = 1", "port"),
        ("[consent]\ncontroler = 'x'", "consent.controller"),
        ("photo_max_byte = 1", "photo_max_bytes"),
    ],
)
def test_an_unknown_key_is_an_error_with_a_suggestion(tmp_path: Path, text: str, suggested: str):
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, text), env={})
    assert caught.value.hint == f"Did you mean {suggested}?"


def test_an_unknown_variable_is_an_error_with_a_suggestion():
    with pytest.raises(SettingsError, match="MEDIASERVER_PROT") as caught:
        load_settings(env={"MEDIASERVER_PROT": "1"})
    assert caught.value.hint == "Did you mean MEDIASERVER_PORT?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = 70000", "port must be between 0 and 65535, not 70000"),
        ("port = true", "port must be a whole number"),
        ("port = 80.5", "port must be a whole number"),
        ('settle_s = "2"', "settle_s must be a number"),
        ("settle_s = nan", "settle_s must be between"),
        ("host = 1", "host must be text in quotes"),
        ("raw = ''", "raw must be a path in quotes"),
        ("photo_file_input = 1", "photo_file_input must be true or false"),
        ("cors_origins = '*'", "cors_origins must be a list of texts"),
        ("port = [1]", "port must be a whole number"),
        ("port = ", "cannot be read"),
    ],
)
def test_a_wrong_value_is_refused_with_the_key_and_the_place(tmp_path: Path, text: str, said: str):
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path, env={})
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        (
            "CORS_ORIGINS",
            "https://a.example, https://b.example",
            "cors_origins",
            ("https://a.example", "https://b.example"),
        ),
        ("PHOTO_FILE_INPUT", "yes", "photo_file_input", True),
        ("SETTLE_S", "0.5", "settle_s", 0.5),
        ("RAW", "/films", "raw", Path("/films")),
    ],
)
def test_a_variable_is_read_as_its_setting(name: str, text: str, key: str, value: object):
    assert value_of(load_settings(env={f"MEDIASERVER_{name}": text}).settings, key) == value


@pytest.mark.parametrize(("name", "text"), [("PORT", "eighty"), ("SETTLE_S", "soon"), ("PHOTO_FILE_INPUT", "maybe")])
def test_a_variable_that_cannot_be_read_is_named(name: str, text: str):
    with pytest.raises(SettingsError, match=f"MEDIASERVER_{name}"):
        load_settings(env={f"MEDIASERVER_{name}": text})


def test_a_file_that_was_named_and_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(SettingsError, match="no settings file"):
        load_settings(tmp_path / "other.toml", env={})


def test_settings_come_whole_through_json_to_another_process(tmp_path: Path):
    flags = {"workers": 2, "media": tmp_path, "allowed_hosts": ["film.example"], "consent.age": 18}
    given = load_settings(env={}, flags=flags).settings
    said = json.dumps({key: value_of(given, key) for key, _ in keys()}, default=str)
    assert restored(json.loads(said)) == given


def test_every_setting_says_what_it_is_and_how_it_is_measured():
    for key, field in keys():
        assert field.metadata["help"]
        if key.endswith("_s"):
            assert field.metadata["help"].startswith("seconds")
        if key.endswith("_h"):
            assert field.metadata["help"].startswith("hours")


def test_what_config_prints_is_a_settings_file_that_gives_the_same_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDIASERVER_CONSENT_CONTROLLER", 'Film "Ltd" Köln')
    assert main(["config", "--port", "81", "--raw", "/films"]) == 0
    printed = capsys.readouterr().out
    assert "(--port)" in printed
    monkeypatch.delenv("MEDIASERVER_CONSENT_CONTROLLER")
    read = load_settings(write(tmp_path, printed), env={}).settings
    assert (read.port, read.raw, read.consent.controller) == (81, Path("/films"), 'Film "Ltd" Köln')


@unhurried(deadline=None)
@given(st.dictionaries(st.text(max_size=12), st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.floats())))
def test_whatever_flags_are_given_the_answer_is_settings_or_a_settings_error(flags: dict[str, object]):
    with suppress(SettingsError):
        assert isinstance(load_settings(env={}, flags=flags).settings, Settings)
