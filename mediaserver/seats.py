"""How many connections there are, over all processes that serve one address."""

from __future__ import annotations

import mmap
import os
from collections.abc import MutableSequence

_COUNT_BYTES = 8


class Seats:
    """How many connections each process holds, in memory that all of them see; each writes only its own count."""

    def __init__(self, counts: MutableSequence[int] | None = None, mine: int = 0) -> None:
        self._counts: MutableSequence[int] = [0] if counts is None else counts
        self._mine = mine

    @classmethod
    def shared(cls, descriptor: int, mine: int) -> Seats:
        """Use memory that `shared_memory` has made; 0 is the control process."""
        return cls(memoryview(mmap.mmap(descriptor, 0)).cast("Q"), mine)  # type: ignore[arg-type]

    def take(self) -> None:
        self._counts[self._mine] += 1

    def leave(self) -> None:
        self._counts[self._mine] -= 1

    def clear(self, number: int) -> None:
        """Forget those of a process that has died."""
        self._counts[number] = 0

    @property
    def taken(self) -> int:
        return sum(self._counts)


def shared_memory(processes: int) -> int:
    """Return the descriptor of memory for the counts of so many processes (memfd_create(2))."""
    descriptor = os.memfd_create("connections")
    os.truncate(descriptor, processes * _COUNT_BYTES)
    return descriptor
