"""Finds the programs and runs them: the one place of the project that starts processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from encoder.errors import ToolCancelled, ToolFailed, ToolMissing

STDERR_KEPT = 32 * 1024


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
    cancelled: Callable[[], bool] = lambda: False,
    timeout_s: float | None = None,
) -> bytes:
    """Run a program to its end and return its standard output.

    With `on_line` the output is given line by line as it comes (ffmpeg's `-progress pipe:1`) and b"" is returned.
    The child is a process group of its own; it is killed when `cancelled` says so (asked at every line), at the
    timeout, and when the caller is interrupted. Raises ToolMissing, ToolFailed, ToolCancelled.
    """
    with open_tool(command) as child:
        timer = threading.Timer(timeout_s, _kill, [child.process]) if timeout_s else None
        if timer:
            timer.start()
        try:
            if on_line is None:
                output = child.stdout.read()
            else:
                output = b""
                for line in child.stdout:
                    if cancelled():
                        raise ToolCancelled
                    on_line(line.decode("utf-8", "replace").rstrip())
        finally:
            if timer:
                timer.cancel()
        child.check()
    return output


class Child:
    """A running program with its pipes; `check` waits and raises ToolFailed on any status but 0."""

    def __init__(self, command: tuple[str, ...], process: subprocess.Popen[bytes]) -> None:
        self.command, self.process = command, process
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdout = process.stdout
        self.stdin = process.stdin
        self._tail = Tail(process.stderr)

    def check(self) -> None:
        status = self.process.wait()
        if status:
            raise ToolFailed(self.command, status, self._tail.text())


@contextmanager
def open_tool(
    command: Sequence[str], *, stdin: bool = False, pass_fds: Sequence[int] = (), env: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """Start a program with pipes; on leaving, whatever of its process group still runs is killed.

    Raises ToolMissing if it cannot be started.
    """
    exact = tuple(str(word) for word in command)
    try:
        process = subprocess.Popen(
            exact,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=tuple(pass_fds),
            env=None if env is None else dict(env),
            start_new_session=True,
        )
    except OSError as error:
        raise ToolMissing(exact[0]) from error
    try:
        child = Child(exact, process)
        yield child
    finally:
        _kill(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                with suppress(OSError):
                    pipe.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def python_module(module: str) -> tuple[str, ...]:
    """Return the command that runs one of our modules in a process of its own."""
    return (sys.executable, "-m", module)
