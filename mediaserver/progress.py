"""What long work says of itself: a bar on a terminal, plain lines in a log, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any, TextIO

BAR_WIDTH = 24


class Progress:
    """Writes to one stream, from any thread.

    `say` leaves a line; `update` moves a bar that the next line replaces. In a log only the lines appear.
    """

    def __init__(self, stream: TextIO | None = None, *, as_json: bool = False) -> None:
        self._stream = stream or sys.stdout
        self._as_json = as_json
        self._terminal = not as_json and self._stream.isatty()
        self._bar = ""
        self._lock = threading.Lock()

    def say(self, sentence: str, **facts: Any) -> None:
        """Leave one line; `facts` appear in the JSON form alone."""
        with self._lock:
            if self._as_json:
                self._write(json.dumps({"event": "line", "text": sentence, **facts}, ensure_ascii=False) + "\n")
            else:
                self._write(self._cleared() + sentence + "\n")

    def update(self, what: str, percent: float, eta_s: float | None = None, **facts: Any) -> None:
        """Show how far `what` has come: 0..100 percent, with the seconds that are left if they are known."""
        with self._lock:
            if self._as_json:
                event = {"event": "progress", "what": what, "percent": round(percent, 1), "eta_s": eta_s, **facts}
                self._write(json.dumps(event, ensure_ascii=False) + "\n")
            elif self._terminal:
                bar = bar_text(what, percent, eta_s)
                self._write(self._cleared() + bar)
                self._bar = bar

    def done(self) -> None:
        """Take an unfinished bar away."""
        with self._lock:
            self._write(self._cleared())

    def _cleared(self) -> str:
        clear = "\r" + " " * len(self._bar) + "\r" if self._bar else ""
        self._bar = ""
        return clear

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()


def bar_text(what: str, percent: float, eta_s: float | None) -> str:
    """Return one line such as `part2  [######------------]  33 %  about 0:41 left`."""
    full = round(BAR_WIDTH * min(100.0, max(0.0, percent)) / 100)
    left = f"  about {int(eta_s) // 60}:{int(eta_s) % 60:02} left" if eta_s is not None else ""
    return f"{what}  [{'#' * full}{'-' * (BAR_WIDTH - full)}] {percent:3.0f} %{left}"
