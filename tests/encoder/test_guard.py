"""Looking after programs: one that hangs is ended, one that is held is stopped and no clock runs."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from encoder.errors import ToolFailed, ToolStalled
from encoder.guard import Care
from encoder.tools import open_tool, run_guarded, run_tool
from tests.encoder.test_tools import python


def test_a_program_whose_figures_stand_still_is_ended_though_its_clock_goes_on():
    code = "import time\nfor n in range(10**6): print(f'frame=7\\nspeed={n}', flush=True); time.sleep(0.02)"
    with pytest.raises(ToolStalled, match=r"made no progress for 0\.5 s") as caught:
        run_tool(python(code), on_line=lambda _: None, care=Care(stall_s=0.5))
    assert caught.value.command == python(code)


def test_a_program_that_counts_on_is_not_ended():
    code = "import time\nfor n in range(20): print(f'frame={n}', flush=True); time.sleep(0.1)"
    run_tool(python(code), on_line=lambda _: None, care=Care(stall_s=1.0))


def test_a_stall_ends_the_whole_process_group():
    code = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "print(f'frame={p.pid}', flush=True); time.sleep(60)"
    )
    said: list[str] = []
    with pytest.raises(ToolStalled):
        run_tool(python(code), on_line=said.append, care=Care(stall_s=0.5))
    while _state(int(said[0].partition("=")[2])) not in ("Z", ""):
        time.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.mark.skipif(sys.platform != "linux", reason="the state of processes is read from /proc")
def test_a_held_program_stands_still_and_goes_on_afterwards_and_its_clocks_do_not_run():
    states: list[str] = []
    pids: list[int] = []

    def held() -> bool:
        if pids:
            states.append(_state(pids[0]))
        return bool(pids) and states.count("T") < 15

    code = "import os; print(f'frame={os.getpid()}', flush=True)\nfor _ in range(10**8 // 2): pass\nprint('done')"
    lines: list[str] = []

    def hear(line: str) -> None:
        lines.append(line)
        if line.startswith("frame="):
            pids.append(int(line[6:]))

    run_tool(python(code), on_line=hear, care=Care(held=held, stall_s=60))
    assert states.count("T") >= 15
    assert lines[-1] == "done"


def test_a_held_program_that_has_no_time_left_is_not_ended_while_it_is_held():
    looks = 0

    def held() -> bool:
        nonlocal looks
        looks += 1
        return looks < 20

    with pytest.raises(ToolFailed, match="status -9"):
        run_tool(python("import time; time.sleep(60)"), care=Care(held=held, timeout_s=0.5))
    assert looks >= 20


def test_a_stopped_program_can_be_killed():
    with open_tool(python("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")) as child:
        while _state(child.process.pid) != "T":
            time.sleep(0.01)
    assert child.process.returncode == -9


def test_a_silent_program_lives_as_long_as_it_reads_or_writes(tmp_path: Path):
    writes = f"import time\nwith open({str(tmp_path / 'out')!r}, 'wb', 0) as f:\n"
    writes += " for _ in range(30): f.write(b'x'); time.sleep(0.1)"
    run_tool(python(writes), care=Care(stall_s=2.0, silent=True))
    with pytest.raises(ToolStalled):
        run_tool(python("while True: pass"), care=Care(stall_s=0.5, silent=True))


def test_a_program_that_hangs_twice_is_given_up_and_one_that_hangs_once_is_not(tmp_path: Path):
    count = tmp_path / "count"
    hangs = "import sys, time; f = open(sys.argv[1], 'a'); f.write('x'); f.close(); n = len(open(sys.argv[1]).read())\n"
    hangs += "while n <= int(sys.argv[2]): time.sleep(1)\nprint('frame=1')"
    run_guarded((*python(hangs), str(count), "1"), Care(stall_s=2.5), on_line=lambda _: None)
    count.unlink()
    with pytest.raises(ToolStalled):
        run_guarded((*python(hangs), str(count), "9"), Care(stall_s=0.5))
    assert count.read_text() == "xx"


def test_whoever_cares_is_told_the_command_and_what_the_program_complains_of():
    began: list[tuple[str, ...]] = []
    said: list[str] = []
    code = "import sys; print(sys.stdin.read()); print('odd', file=sys.stderr)"
    assert run_tool(python(code), care=Care(began=began.append, said=said.append), given=b"film") == b"film\n"
    assert (began, said) == ([python(code)], ["odd\n"])
    run_tool(python("pass"), care=Care(said=said.append), given=b"nobody reads it" * 100_000)
    assert len(said) == 1
