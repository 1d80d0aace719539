"""Running programs: output, lines, failures with their command, and ends that are immediate."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from encoder.errors import ToolCancelled, ToolFailed, ToolMissing
from encoder.tools import STDERR_KEPT, find_tools, open_tool, run_tool

PACKAGES = [Path(__file__).parents[2] / name for name in ("encoder", "lipsync", "mediaserver")]


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def is_alive(pid: int) -> bool:
    """A zombie has ended, whether or not its new parent has noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_output_comes_back_as_bytes():
    assert run_tool(python("print('grüße')")).decode() == "grüße\n"


def test_lines_come_one_by_one_and_are_not_kept():
    lines: list[str] = []
    assert run_tool(python("print('a=1'); print('b=2')"), on_line=lines.append) == b""
    assert lines == ["a=1", "b=2"]


def test_a_failure_carries_the_exact_command_and_the_end_of_its_output():
    command = python("import sys; sys.stderr.write('x' * 100000 + '\\nthe reason\\n'); sys.exit(3)")
    with pytest.raises(ToolFailed, match="failed with status 3: the reason") as caught:
        run_tool(command)
    assert caught.value.command == command
    assert len(caught.value.stderr_tail) <= STDERR_KEPT
    assert caught.value.stderr_tail.endswith("the reason\n")


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(ToolMissing, match="no-such-program"):
        run_tool(["/nowhere/no-such-program", "-v"])


def test_a_silent_child_is_killed_as_soon_as_it_is_cancelled():
    cancelled = threading.Event()
    threading.Timer(0.2, cancelled.set).start()
    with pytest.raises(ToolCancelled):
        run_tool(python("import time; time.sleep(60)"), cancelled=cancelled.is_set)


def test_a_child_that_says_nothing_is_killed_when_its_time_is_over():
    with pytest.raises(ToolFailed, match="status -9"):
        run_tool(python("import time; time.sleep(60)"), timeout_s=0.2)


def test_leaving_kills_the_child_and_all_that_it_started():
    code = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "print(p.pid, flush=True); time.sleep(60)"
    )
    with open_tool(python(code)) as child:
        grandchild = int(child.stdout.readline())
        assert is_alive(grandchild)
    assert not is_alive(child.process.pid)
    until_dead(grandchild)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills the children of a killed process")
def test_a_killed_parent_takes_its_child_along():
    code = (
        "from encoder.tools import open_tool; import sys\n"
        "with open_tool((sys.executable, '-c', 'import time; time.sleep(60)')) as child:\n"
        "    print(child.process.pid, flush=True); child.process.wait()"
    )
    parent = subprocess.Popen(python(code), stdout=subprocess.PIPE, cwd=PACKAGES[0].parent)
    assert parent.stdout
    with parent.stdout as said:
        pid = int(said.readline())
    parent.kill()
    parent.wait()
    until_dead(pid)


def until_dead(pid: int) -> None:
    """Wait for the end of a process that is not our child; the test's own timeout ends a vain wait."""
    while is_alive(pid):
        time.sleep(0.01)


def test_the_cache_goes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for folder in ("cache/bin", "path"):
        for name in ("ffmpeg", "ffprobe", "packager"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_text("#!/bin/sh\n")
            (tmp_path / folder / name).chmod(0o755)
    (tmp_path / "cache/bin/packager").unlink()
    monkeypatch.setenv("MEDIASERVER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    tools = find_tools()
    assert (tools.ffmpeg, tools.packager) == (tmp_path / "cache/bin/ffmpeg", tmp_path / "path/packager")
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(ToolMissing, match="packager") as caught:
        find_tools()
    assert "mediaserver setup" in caught.value.hint


def test_processes_are_started_in_one_file_only():
    starters = {"subprocess", "multiprocessing", "pty"}
    names = {f"os.{name}" for name in ("system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp")}
    names |= {"asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"}
    guilty = []
    for file in (f for package in PACKAGES for f in package.rglob("*.py") if f.name != "tools.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            used = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if {name.partition(".")[0] for name in imported} & starters or used in names or used.startswith("os.spawn"):
                guilty.append(f"{file.name}:{getattr(node, 'lineno', 0)}")
    assert guilty == []
