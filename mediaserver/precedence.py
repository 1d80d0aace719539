"""Viewers come first: from the look at a photo to the scene's last rung the encoders of this machine stand still."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from mediaserver.pulse import Pulse
from mediaserver.runnerlock import RunnerLock

AGAIN_S = 0.02
"""An encoder that looks whether the lock is taken holds it for a moment; it is tried again after so long."""


class Busy(Protocol):
    """Who has something to do for viewers; `stirred` is fired when `at_work` may have changed."""

    @property
    def stirred(self) -> Pulse: ...
    @property
    def at_work(self) -> bool: ...


def viewers_lock(state: Path) -> RunnerLock:
    """Return the lock that is taken while a scene is made; the kernel releases it even if the server is killed."""
    return RunnerLock(state / "viewers.lock")


async def give_way(viewers: Busy, state: Path) -> None:
    """Hold the lock whenever something is done for viewers, until this is cancelled."""
    lock = viewers_lock(state)
    try:
        while True:
            change = viewers.stirred.next()
            if not viewers.at_work:
                lock.release()
            elif not lock.held:
                with suppress(OSError):
                    lock.acquire()
            with suppress(TimeoutError):
                await asyncio.wait_for(change.wait(), AGAIN_S if viewers.at_work and not lock.held else None)
    finally:
        lock.release()
