"""Looks after a running program from a thread of its own: cancels it, stops and continues it, ends it when it hangs."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

LOOK_S = 0.1
# What ffmpeg counts up while it works (`-progress`); its clocks go on while it hangs, so other lines tell nothing.
SIGNS_OF_LIFE = ("frame=", "out_time_us=", "total_size=")


class Process(Protocol):
    """A child that leads a process group of its own."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Care:
    """How a program is looked after; every question is asked ten times a second, from another thread.

    `cancelled` ends it at once. While `held` says so its process group is stopped (SIGSTOP), and neither clock runs.
    `timeout_s` is all the time it has; `stall_s` is how long the figures of its progress may stay as they are. Of a
    `silent` program, which prints none, the bytes that it has read and written are those figures. `began` is told the
    exact command, `said` the end of what the program has written to its standard error, if it has.
    """

    cancelled: Callable[[], bool] | None = None
    held: Callable[[], bool] | None = None
    timeout_s: float | None = None
    stall_s: float | None = None
    silent: bool = False
    began: Callable[[tuple[str, ...]], None] | None = None
    said: Callable[[str], None] | None = None


ANY = Care()


class Guard:
    """A context around a running program; afterwards `cancelled` and `stalled` say why it was ended."""

    def __init__(self, process: Process, care: Care) -> None:
        self._process, self._care = process, care
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._signs: dict[str, str] = {}
        self._transferred = ""
        self._worked_s = self._moved_s = 0.0
        self._is_held = False
        self.cancelled = self.stalled = False

    def __enter__(self) -> Guard:
        if self._care != ANY:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.ident:
            self._thread.join()

    def hear(self, line: str) -> None:
        """Take a line of output; one that counts on is a sign of life."""
        key, _, value = line.partition("=")
        if line.startswith(SIGNS_OF_LIFE) and self._signs.get(key) != value:
            self._signs[key] = value
            self._moved_s = self._worked_s

    def _watch(self) -> None:
        before_s = time.monotonic()
        while not self._ended.wait(LOOK_S):
            now_s = time.monotonic()
            self._hold(self._care.held is not None and self._care.held())
            if not self._is_held:
                self._worked_s += now_s - before_s
            before_s = now_s
            if self._care.silent:
                self._look_at_bytes()
            if self._is_over():
                kill(self._process)
                return

    def _look_at_bytes(self) -> None:
        """Linux counts them (proc(5), /proc/pid/io); where nobody does, every look is taken for a sign of life."""
        try:
            counted = Path(f"/proc/{self._process.pid}/io").read_text("ascii")
        except OSError:
            counted = ""
        if not counted or counted != self._transferred:
            self._transferred, self._moved_s = counted, self._worked_s

    def _hold(self, hold: bool) -> None:
        if hold != self._is_held:
            self._is_held = hold
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGSTOP if hold else signal.SIGCONT)

    def _is_over(self) -> bool:
        care = self._care
        self.cancelled = care.cancelled is not None and care.cancelled()
        self.stalled = care.stall_s is not None and self._worked_s - self._moved_s > care.stall_s
        return self.cancelled or self.stalled or (care.timeout_s is not None and self._worked_s > care.timeout_s)


def kill(process: Process) -> None:
    """Kill a program and all that it has started, stopped or not, and wait for its end."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
