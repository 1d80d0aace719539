"""Time that neither stands still nor goes back, whatever happens to the machine's clock."""

from __future__ import annotations

import time
from collections.abc import Callable


def uptime_s() -> float:
    """Return the seconds since the machine was started, its sleep included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SteadyClock:
    """Seconds since 1970 as they were at the start, counted on by the machine's uptime.

    `seen_s` is the last time that an earlier run has noted: a clock that was set back in between is not believed, so
    that nothing lives longer for it.
    """

    def __init__(
        self, seen_s: float = 0.0, wall: Callable[[], float] = time.time, uptime: Callable[[], float] = uptime_s
    ) -> None:
        self._uptime = uptime
        self._ahead_s = max(wall(), seen_s) - uptime()

    def __call__(self) -> float:
        return self._ahead_s + self._uptime()
