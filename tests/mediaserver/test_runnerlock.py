"""One runner per state folder, whichever way it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from mediaserver.runnerlock import RunnerLock


def test_the_second_one_waits_for_the_first(tmp_path: Path):
    first, second = RunnerLock(tmp_path / "lock"), RunnerLock(tmp_path / "lock")
    assert not second.is_taken()
    assert first.acquire()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    assert not second.acquire()
    assert second.is_taken()
    first.release()
    assert not second.is_taken()
    assert second.acquire()
    second.release()


def test_a_kill_releases_it(tmp_path: Path):
    code = (
        "import sys, time; from pathlib import Path; from mediaserver.runnerlock import RunnerLock\n"
        "lock = RunnerLock(Path(sys.argv[1])); print(lock.acquire(), flush=True); time.sleep(60)"
    )
    root, file = Path(__file__).parents[2], tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True, cwd=root
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "True\n"
        assert not RunnerLock(file).acquire()
        other.send_signal(signal.SIGKILL)
    own = RunnerLock(file)
    assert own.acquire()
    own.release()
