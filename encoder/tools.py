"""Finds the programs and runs them: the one place of the project that starts processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO

from encoder.errors import ToolCancelled, ToolFailed, ToolMissing, ToolStalled
from encoder.guard import Care, Guard, kill

STDERR_KEPT = 32 * 1024
STALL_S = 60.0
PIPE_BYTES = 1 << 20
# SVT-AV1 tells its settings at every start, whatever ffmpeg is told: of errors alone it is to speak.
QUIET = {"SVT_LOG": "1"}


def cache_folder() -> Path:
    """Return the folder of pinned programs, models and scripts that `mediaserver setup` fills."""
    if named := os.environ.get("MEDIASERVER_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mediaserver"


@dataclass(frozen=True, slots=True)
class Tools:
    """Absolute paths of the three programs."""

    ffmpeg: Path
    ffprobe: Path
    packager: Path


def find_tools() -> Tools:
    """Look in the cache, then on PATH; raises ToolMissing."""
    return Tools(_find("ffmpeg"), _find("ffprobe"), _find("packager"))


def _find(name: str) -> Path:
    cached = cache_folder() / "bin" / name
    if cached.is_file():
        return cached
    if on_path := shutil.which(name):
        return Path(on_path)
    raise ToolMissing(name)


class Tail:
    """Reads a pipe to its end in a thread and keeps the last 32 KB, so that the child never blocks on it."""

    def __init__(self, pipe: object) -> None:
        self._pipe, self._kept = pipe, bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while block := self._pipe.read1(65536):  # type: ignore[attr-defined]
            self._kept += block
            del self._kept[:-STDERR_KEPT]

    def text(self) -> str:
        self._thread.join()
        return self._kept.decode("utf-8", "replace")


def run_tool(
    command: Sequence[str],
    *,
    on_line: Callable[[str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    timeout_s: float | None = None,
    care: Care | None = None,
    on_complaints: Callable[[str], None] | None = None,
    given: bytes | None = None,
) -> bytes:
    """Run a program to its end and return its standard output; `given` is what it finds on its standard input.

    With `on_line` the output is given line by line as it comes (ffmpeg's `-progress pipe:1`) and b"" is returned.
    `on_complaints` is given the end of what a program that succeeded has written to its standard error.
    The child is a process group of its own; it is looked after as `care` says (`cancelled` and `timeout_s` are its
    short form), and killed at once when the caller is interrupted. Raises ToolMissing, ToolFailed, ToolStalled,
    ToolCancelled.
    """
    care = care or Care(cancelled=cancelled, timeout_s=timeout_s)
    if care.began:
        care.began(tuple(str(word) for word in command))
    with open_tool(command, stdin=given is not None) as child, Guard(child.process, care) as guard:
        child.give(given)
        if on_line is None:
            output = child.stdout.read()
        else:
            output = b""
            for line in child.stdout:
                text = line.decode("utf-8", "replace").rstrip()
                guard.hear(text)
                on_line(text)
        try:
            child.check()
        except ToolFailed as failure:
            if guard.cancelled:
                raise ToolCancelled from None
            if guard.stalled and care.stall_s is not None:
                raise ToolStalled(failure.command, care.stall_s, failure.stderr_tail) from None
            raise
        complaints = child.complaints() if on_complaints or care.said else ""
        if on_complaints:
            on_complaints(complaints)
        if care.said and complaints:
            care.said(complaints)
    return output


def run_guarded(
    command: Sequence[str],
    care: Care,
    *,
    on_line: Callable[[str], None] | None = None,
    on_complaints: Callable[[str], None] | None = None,
) -> bytes:
    """Run a program that must get on: one that hangs is killed and gets one more try. Raises what `run_tool` does."""
    care = replace(care, stall_s=care.stall_s or STALL_S, silent=on_line is None)
    try:
        return run_tool(command, on_line=on_line, care=care, on_complaints=on_complaints)
    except ToolStalled:
        return run_tool(command, on_line=on_line, care=care, on_complaints=on_complaints)


class Child:
    """A running program with its pipes; `check` waits and raises ToolFailed on any status but 0."""

    def __init__(self, command: tuple[str, ...], process: subprocess.Popen[bytes]) -> None:
        self.command, self.process = command, process
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdout = process.stdout
        self.stdin = process.stdin
        if self.stdin:
            _widen(self.stdin)
        self._tail = Tail(process.stderr)

    def give(self, given: bytes | None) -> None:
        """Write all of the standard input and end it; a program may go before it has read it."""
        if given is not None and self.stdin:
            with suppress(BrokenPipeError):
                self.stdin.write(given)
                self.stdin.flush()
            with suppress(BrokenPipeError):
                self.stdin.close()

    def check(self) -> None:
        status = self.process.wait()
        if status:
            raise ToolFailed(self.command, status, self._tail.text())

    def complaints(self) -> str:
        return self._tail.text()

    def close(self) -> None:
        """Wait until nobody reads the pipes any more."""
        self._tail.text()


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold some pictures, where the system allows it: fewer turns between who writes and who reads."""
    with suppress(AttributeError, OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


@contextmanager
def open_tool(
    command: Sequence[str], *, stdin: bool = False, pass_fds: Sequence[int] = (), env: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """Start a program with pipes; on leaving, whatever of its process group still runs is killed.

    On Linux the kernel kills it also when this process is killed, and when the thread that started it ends.
    Raises ToolMissing if it cannot be started.
    """
    exact = tuple(str(word) for word in command)
    if shutil.which(exact[0]) is None:
        raise ToolMissing(exact[0])
    try:
        process = subprocess.Popen(
            (*_leash(), *exact),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=tuple(pass_fds),
            env=QUIET | os.environ if env is None else dict(env),
            start_new_session=True,
        )
    except OSError as error:
        raise ToolMissing(exact[0]) from error
    child = Child(exact, process)
    try:
        yield child
    finally:
        kill(process)
        child.close()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                with suppress(OSError):
                    pipe.close()


async def start_companion(command: Sequence[str], env: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Start a process that lives beside this one, with three pipes and a process group of its own.

    It is expected to end by itself when its standard input does. Raises ToolMissing if it cannot be started.
    """
    pipe = asyncio.subprocess.PIPE
    try:
        return await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, env=dict(env), start_new_session=True
        )
    except OSError as error:
        raise ToolMissing(command[0]) from error


async def start_sibling(command: Sequence[str], descriptors: Sequence[int]) -> asyncio.subprocess.Process:
    """Start a process that inherits `descriptors` and our standard error, and ends by itself when we do.

    Raises ToolMissing if it cannot be started.
    """
    nothing = asyncio.subprocess.DEVNULL
    try:
        return await asyncio.create_subprocess_exec(
            *command, stdin=nothing, stdout=nothing, pass_fds=descriptors, start_new_session=True
        )
    except OSError as error:
        raise ToolMissing(command[0]) from error


@cache
def _leash() -> tuple[str, ...]:
    """Return the words before a command that let the kernel end it with us (prctl(2), PR_SET_PDEATHSIG).

    Without them an encode would go on, unseen, after a `kill -9` of its parent. Only util-linux has them.
    """
    words = ("setpriv", "--pdeathsig", "KILL", "--")
    if shutil.which(words[0]) and subprocess.run((*words, "true"), capture_output=True, check=False).returncode == 0:
        return words
    return ()


def python_module(module: str) -> tuple[str, ...]:
    """Return the command that runs one of our modules in a process of its own."""
    return (sys.executable, "-m", module)
