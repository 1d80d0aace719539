"""A signal that something has changed, for any number of waiting tasks."""

from __future__ import annotations

import asyncio


class Pulse:
    """Wake everybody who waits now; who comes later waits for the next one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Return the event of the next pulse; take it before you look, so that no change is missed in between."""
        return self._event
