"""One at a time, in the order of asking: the encodes of one process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK_S = 0.1


class Turn:
    """A lock whose holder changes in the order of the tickets, smallest first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[str] = []
        self._held = False

    @contextmanager
    def taken(self, ticket: str, check: Callable[[], None]) -> Iterator[None]:
        """Hold the turn; while waiting for it `check` is called, which may raise to leave the line."""
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._held or min(self._waiting) != ticket:
                    check()
                    self._changed.wait(LOOK_S)
                self._held = True
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._held = False
                self._changed.notify_all()
