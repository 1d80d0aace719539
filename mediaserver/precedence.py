"""Viewers come first: while a scene is being made for one, the encoders of this machine stand still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mediaserver.runnerlock import RunnerLock

LOOK_S = 0.1


def viewers_lock(state: Path) -> RunnerLock:
    """Return the lock that is taken while a scene is made; the kernel releases it even if the server is killed."""
    return RunnerLock(state / "viewers.lock")


async def give_way(rendering: Callable[[], bool], state: Path) -> None:
    """Hold the lock whenever `rendering` says so, until this is cancelled."""
    lock = viewers_lock(state)
    try:
        while True:
            if rendering() and not lock.held:
                with suppress(OSError):
                    lock.acquire()
            elif not rendering():
                lock.release()
            await asyncio.sleep(LOOK_S)
    finally:
        lock.release()
