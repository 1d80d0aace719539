from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from encoder.tools import find_tools, run_tool
from mediaserver import __version__, cli
from mediaserver.cli import main
from mediaserver.errors import PortTaken
from mediaserver.jobbook import Job

VERBS = (
    *("setup", "up", "serve", "watch", "encode", "probe", "status", "retry", "cancel"),
    *("lipsync", "verify", "narration", "forget", "doctor", "config"),
)
DEMO = Path(cli.__file__).parents[1] / "lipsync" / "demo"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, where the default folders would be made."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"mediaserver {__version__}\n"


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"    {verb} " in text for verb in VERBS)


@pytest.mark.parametrize(
    "words", [["encod"], [], ["encode"], ["forget"], ["lipsync", "a", "b"], ["--port", "x", "config"]]
)
def test_wrong_words_are_usage_and_end_with_2(words: list[str]):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == cli.USAGE


@pytest.mark.parametrize("words", [["--port", "81", "config"], ["config", "--port", "81"]])
def test_common_flags_stand_before_or_after_the_verb(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["port"] == {"value": 81, "from": "--port", "help": facts["port"]["help"]}


def test_a_wrong_setting_is_usage_with_sentence_and_hint(capsys: pytest.CaptureFixture[str]):
    assert main(["config", "--workers", "0"]) == cli.USAGE
    assert capsys.readouterr().err.startswith("error: --workers: workers must be between 1 and 64")


def test_a_refusal_is_one_sentence_and_one_hint_on_standard_error(capsys: pytest.CaptureFixture[str]):
    assert main(["probe", "nothing.mov"]) == cli.REFUSED
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "error: There is no file 'nothing.mov'.",
        "hint: Check the path; masters lie in raw/.",
    ]


def test_with_json_a_refusal_is_an_object(capsys: pytest.CaptureFixture[str]):
    assert main(["probe", "nothing.mov", "--json"]) == cli.REFUSED
    assert json.loads(capsys.readouterr().err)["code"] == "master_missing"


def test_ctrl_c_ends_with_130_and_no_traceback(capsys: pytest.CaptureFixture[str]):
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert cli.guarded(interrupted) == cli.INTERRUPTED
    assert capsys.readouterr().err == "\ninterrupted\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PortTaken("127.0.0.1", 8080), "Another program already listens"),
        (PermissionError(13, "Permission denied", "/films"), "The system refused it: Permission denied: /films."),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_every_foreseen_error_becomes_text(error: Exception, said: str, capsys: pytest.CaptureFixture[str]):
    def fails() -> int:
        raise error

    assert cli.guarded(fails) == cli.REFUSED
    text = capsys.readouterr().err
    assert said in text
    assert "hint: " in text


def test_probe_says_what_would_be_made(sample_master: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["probe", str(sample_master)]) == 0
    text = capsys.readouterr().out
    assert "640 x 360, 25 frames/s, 500 frames" in text
    assert "segments  10 of 50 frames" in text


def test_a_master_is_encoded_published_and_listed(sample_master: Path, home: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["encode", str(sample_master)]) == 0
    assert "part2.mov is published as the chapter part2." in capsys.readouterr().out
    assert main(["status"]) == 0
    version = (home / "media/part2/current").read_text().strip()
    assert f"chapter part2, version {version}" in capsys.readouterr().out
    assert main(["status", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["chapters"] == {"part2": version}
    assert Path(facts["posters"]["part2"]).read_bytes().startswith(b"\xff\xd8")
    assert facts["jobs"][0]["state"] == "published"


def test_encode_ends_with_1_if_any_file_is_refused(home: Path, capsys: pytest.CaptureFixture[str]):
    (home / "notes.mov").write_text("not a film")
    assert main(["encode", "notes.mov"]) == cli.REFUSED
    assert "notes.mov is refused" in capsys.readouterr().out


def test_retry_and_cancel_of_a_name_nobody_knows_are_refused_with_a_hint(capsys: pytest.CaptureFixture[str]):
    for verb in ("retry", "cancel"):
        assert main([verb, "nothing"]) == cli.REFUSED
        assert "mediaserver status" in capsys.readouterr().err


@pytest.fixture
def speech(sample_master: Path, home: Path) -> Path:
    """Two seconds of the sample's voice."""
    wav = home / "speech.wav"
    subprocess.run(
        [cli_tool("ffmpeg"), "-v", "error", "-ss", "11.3", "-t", "2", "-i", sample_master, "-vn", wav], check=True
    )
    return wav


def test_a_face_and_a_speech_become_a_video(speech: Path, home: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["lipsync", str(DEMO / "man.jpg"), str(speech), "-o", "out.mp4", "--size", "144p"]) == 0
    assert "written: out.mp4" in capsys.readouterr().out
    assert (home / "out.mp4").read_bytes()[4:8] == b"ftyp"
    assert main(["narration", "bake", str(speech)]) == 0
    assert (home / "speech.track.npz").is_file()


def test_a_face_speaks_by_the_operator_s_own_checkpoint(
    sample_master: Path, home: Path, wav2lip_cache: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MEDIASERVER_CACHE", str(wav2lip_cache))
    speech = home / "speech.wav"
    run_tool(
        [cli_tool("ffmpeg"), "-v", "error", "-ss", "11.6", "-t", "1.2", "-i", str(sample_master), "-vn", str(speech)]
    )
    pictures = {}
    for engine in ("drawn", "wav2lip"):
        words = [
            "lipsync",
            str(DEMO / "man.jpg"),
            str(speech),
            "-o",
            f"{engine}.mp4",
            "--size",
            "144p",
            "--engine",
            engine,
        ]
        assert main(words) == 0
        raw = ("-f", "rawvideo", "-pix_fmt", "gray", "pipe:1")
        shown = run_tool([cli_tool("ffmpeg"), "-v", "error", "-i", f"{engine}.mp4", *raw])
        pictures[engine] = np.frombuffer(shown, np.uint8).reshape(-1, 144, 144).astype(int)
        assert main(["verify", f"{engine}.mp4"]) == 0
    assert pictures["drawn"].shape == pictures["wav2lip"].shape
    mouth = abs(pictures["drawn"] - pictures["wav2lip"])[:, 100:125, 55:90]
    badge = pictures["wav2lip"][:, :18, 110:]
    assert mouth.mean(axis=(1, 2)).max() > 8
    assert ((badge > 200).sum(axis=(1, 2)) > 10).all()
    assert ((badge < 90).sum(axis=(1, 2)) > 20).all()


def test_without_a_converted_checkpoint_the_engine_says_what_to_do(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("MEDIASERVER_CACHE", str(tmp_path / "nothing"))
    monkeypatch.setenv("MEDIASERVER_ENGINE", "wav2lip")
    for words in (["lipsync", str(DEMO / "man.jpg"), "speech.wav", "-o", "out.mp4"], ["serve", "--port", "0"]):
        assert main(words) == cli.REFUSED
        said = capsys.readouterr().err
        assert "no checkpoint was converted" in said
        assert "mediaserver doctor --convert wav2lip.pth" in said
    (home / "other.pth").write_text("not weights")
    assert main(["doctor", "--convert", "other.pth"]) == cli.REFUSED
    assert "'other.pth' cannot be converted: it is not a checkpoint of Wav2Lip." in capsys.readouterr().err


def cli_tool(name: str) -> str:
    from encoder.tools import find_tools

    return str(getattr(find_tools(), name))


def test_forget_counts_what_it_deletes(capsys: pytest.CaptureFixture[str]):
    assert main(["forget", "--all"]) == 0
    assert capsys.readouterr().out == "0 sessions deleted.\n"
    assert main(["forget", "/s/nonsense/"]) == cli.REFUSED
    assert "never opened here" in capsys.readouterr().err


def test_a_job_under_way_is_listed_with_its_percent():
    job = Job("1", "a.mov", "/a.mov", "running", "", "", None, stage="encode", percent=41.6, fps=33.0)
    assert cli._job_lines(job) == ["a.mov is encoded at 33 pictures/s: 42 %"]


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    # Ctrl-C is heard also where the tests themselves run in the background, which ignores it
    command = ["env", "--default-signal=INT", sys.executable, "-m", "mediaserver", *words]
    root = str(Path(cli.__file__).parents[1])
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env={**os.environ, "PYTHONPATH": root}) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "status", "left"),
    [(signal.SIGTERM, 143, False), (signal.SIGINT, 130, False), (signal.SIGKILL, -9, True)],
)
def test_a_speaking_face_that_is_ended_in_the_middle_leaves_no_half_file(
    number: signal.Signals, status: int, left: bool, home: Path, speech: Path
):
    """Who is killed cannot clear up; the next one does."""
    words = (str(DEMO / "man.jpg"), str(speech), "-o", "out.mp4", "--json")
    with running("lipsync", *words, "--size", "1080p") as process:
        assert process.stdout is not None
        half = home / f".out.mp4.{process.pid}.part"
        while not half.exists():
            assert json.loads(process.stdout.readline())["event"] == "progress"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in errors
    assert {path.name for path in home.iterdir()} == {speech.name, "state", *([half.name] if left else [])}
    if left:
        assert main(["lipsync", *words, "--size", "144p"]) == 0
        assert {path.name for path in home.iterdir()} == {speech.name, "state", "out.mp4"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_says_where_it_is_and_stops_cleanly_when_told(number: signal.Signals, home: Path):
    with running("up", "--port", "0", "--admin-port", "0", "--json") as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first["page"].startswith("http://127.0.0.1:")
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert json.loads(output.splitlines()[-1])["text"] == "stopped"
    assert (home / "raw").is_dir()


def test_a_taken_port_is_said_with_the_flag_to_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running("serve", "--port", str(port), "--admin-port", "0") as process:
            _, errors = process.communicate(timeout=60)
    assert process.returncode == cli.REFUSED
    assert f"error: Another program already listens on 127.0.0.1:{port}." in errors
    assert "--port" in errors
    assert "Traceback" not in errors


def test_a_taken_admin_port_is_a_warning_only():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        admin = str(taken.getsockname()[1])
        with running("serve", "--port", "0", "--admin-port", admin, "--json") as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["page"]
            process.terminate()
            output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "metrics" not in output
    assert "WARNING" in errors


def test_watch_says_where_and_stops_when_told():
    with running("watch", "--raw", "films") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "watching films: drop masters there, Ctrl-C stops\n"
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_output_into_a_pipe_that_closes_is_no_traceback():
    with running("config") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_a_speaking_face_is_verified_and_any_other_video_is_not(home: Path, capsys: pytest.CaptureFixture[str]):
    speech = home / "speech.wav"
    tools = find_tools()
    run_tool([str(tools.ffmpeg), "-v", "error", "-f", "lavfi", "-i", "sine=220:d=3", str(speech)])
    assert main(["lipsync", str(DEMO / "man.jpg"), str(speech), "-o", "made.mp4", "--size", "240p"]) == 0
    capsys.readouterr()
    assert main(["verify", "made.mp4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["credentials"]["intact"] is True
    assert found["credentials"]["render_id"] == found["mark"]["render_id"]
    run_tool([str(tools.ffmpeg), "-v", "error", "-f", "lavfi", "-i", "testsrc2=d=3:s=426x240", "other.mp4"])
    assert main(["verify", "other.mp4"]) == cli.REFUSED
    assert "No invisible mark" in capsys.readouterr().out
    assert main(["verify", "missing.mp4"]) == cli.REFUSED
    assert "missing.mp4" in capsys.readouterr().err
