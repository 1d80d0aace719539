from __future__ import annotations

import json
import os
import socket
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from encoder.capabilities import Capabilities
from mediaserver import doctor
from mediaserver.cli import main
from mediaserver.doctor import Finding, examine
from mediaserver.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in ("raw", "media", "state"):
        (tmp_path / name).mkdir()
    return Settings(raw=tmp_path / "raw", media=tmp_path / "media", state=tmp_path / "state", port=0, admin_port=0)


def of(findings: list[Finding], part: str) -> Finding:
    return next(finding for finding in findings if finding.part == part)


def test_on_a_machine_that_is_set_up_nothing_is_bad(settings: Settings):
    assert [finding for finding in examine(settings) if finding.state == "bad"] == []


def test_every_finding_is_a_sentence_and_whatever_is_not_ok_has_a_hint(settings: Settings):
    for finding in examine(settings):
        assert finding.sentence.endswith(".")
        assert finding.hint or finding.state == "ok"


def test_without_a_cache_everything_that_setup_fetches_is_missing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MEDIASERVER_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", os.devnull)
    findings = examine(settings)
    for part in ("bin/ffmpeg", "models/face_landmarker.task", "ffmpeg", "players"):
        assert of(findings, part).state == "bad"
        assert "mediaserver setup" in of(findings, part).hint


@pytest.mark.parametrize(
    ("missing", "state", "says"),
    [
        ({}, "ok", "can do all that is asked of it."),
        ({"xpsnr"}, "ok", "can do all that is asked of it."),
        ({"svt_av1", "dav1d"}, "warning", "lacks svt_av1, dav1d: AV1 is left out."),
        ({"libvmaf"}, "warning", "lacks libvmaf: qualities are chosen by XPSNR and not by VMAF."),
        ({"libvmaf", "xpsnr"}, "warning", "qualities are the usual ones and not chosen for each film."),
        ({"zscale"}, "warning", "HDR masters are refused."),
        ({"x264", "zscale"}, "bad", "cannot do x264."),
    ],
)
def test_what_an_ffmpeg_lacks_is_told_with_what_it_costs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, missing: set[str], state: str, says: str
):
    able = Capabilities(**{field.name: field.name not in missing for field in fields(Capabilities)})
    monkeypatch.setattr(doctor, "probe_capabilities", lambda _: able)
    found = of(examine(settings), "ffmpeg")
    assert found.state == state
    assert found.sentence.endswith(says)
    assert ("mediaserver setup" in found.hint) == (state != "ok")


def test_a_damaged_file_is_told_from_a_missing_one(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MEDIASERVER_CACHE", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models/face_landmarker.task").write_bytes(b"cut off")
    assert "other bytes" in of(examine(settings), "models/face_landmarker.task").sentence


def test_a_port_in_use_is_named_with_its_flag(settings: Settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        findings = examine(replace(settings, port=port))
    assert any(f"127.0.0.1:{port} is not free" in finding.sentence and "--port" in finding.hint for finding in findings)


def test_state_inside_media_is_bad_because_media_is_served(settings: Settings):
    wrong = replace(settings, state=settings.media / "state")
    assert any(finding.part == "state" and finding.state == "bad" for finding in examine(wrong))


def test_a_folder_that_is_not_there_yet_is_no_fault(settings: Settings):
    assert of(examine(replace(settings, raw=settings.raw / "new")), "raw").state == "warning"


def test_a_full_disk_is_a_warning(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: Usage(1024**3))
    assert of(examine(settings), "disk").state == "warning"


def test_an_old_sqlite_under_a_new_python_is_bad(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor.sqlite3, "sqlite_version_info", (3, 40, 1))
    monkeypatch.setattr(doctor.sys, "version_info", (3, 13, 0))
    assert of(examine(settings), "sqlite").state == "bad"
    monkeypatch.setattr(doctor.sys, "version_info", (3, 11, 2))
    assert of(examine(settings), "sqlite").state == "ok"


def test_the_verb_prints_a_line_each_and_ends_with_1_if_something_is_bad(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folders = ["--raw", str(settings.raw), "--media", str(settings.media), "--state", str(settings.state)]
    ports = ["--port", "0", "--admin-port", "0"]
    assert main(["doctor", *folders, *ports]) == 0
    assert "ok      bin/ffmpeg: is exactly the pinned one" in capsys.readouterr().out
    monkeypatch.setenv("MEDIASERVER_CACHE", str(tmp_path / "empty"))
    assert main(["doctor", "--json", *folders, *ports]) == 1
    findings: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert {"part", "state", "sentence", "hint"} == set(findings[0])
