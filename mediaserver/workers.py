"""The byte workers of a control process: started, started again when they die, told to stop, and heard."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from itertools import cycle
from typing import Any

from mediaserver.address import GRACE_S, Take
from mediaserver.ops import Figures
from mediaserver.passing import CONNECTION, FIGURES, READY, SETTINGS, Channel
from mediaserver.seats import Seats, shared_memory
from mediaserver.settings import Settings, keys, value_of

# Between the death of a worker and its next life; and what a worker gets beyond the time for its answers.
AGAIN_S, LATE_S = 0.5, 5.0
_log = logging.getLogger(__name__)

Start = Callable[[Sequence[str], Sequence[int]], Awaitable[Process]]


class Crew:
    """All byte workers; `start` starts a process from its words and the descriptors that it inherits.

    `take` is set by whoever answers what workers pass on. Every worker listens on sockets of its own where there are
    enough of them; this process keeps them open, so that clients wait while a worker is started again.
    """

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket], figures: Figures, start: Start) -> None:
        self._settings, self._sockets, self._figures, self._start = settings, sockets, figures, start
        count = settings.workers
        self._memory = shared_memory(count + 1)
        self.seats = Seats.shared(self._memory, 0)
        self._channels: dict[int, Channel] = {}
        self._listening: set[int] = set()
        self._processes: dict[int, Process] = {}
        self._turn = cycle(range(1, count + 1))
        self._all_ready = asyncio.Event()
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.take: Take | None = None

    @property
    def running(self) -> int:
        """How many workers listen."""
        return len(self._listening)

    @property
    def complete(self) -> bool:
        return self.running == self._settings.workers

    async def open(self) -> None:
        """Start all; return when all listen."""
        for number in range(1, self._settings.workers + 1):
            self._later(self._keep(number))
        await self._all_ready.wait()

    def pass_back(self, descriptor: int, data: bytes) -> bool:
        """Give a connection to one worker after the other; False if none listens."""
        for _ in range(self._settings.workers):
            if (number := next(self._turn)) in self._listening:
                self._channels[number].send(CONNECTION, data, descriptor)
                return True
        return False

    async def close(self) -> None:
        """Let all workers finish what they send; who does not end in time is killed."""
        self._closing = True
        for process in self._processes.values():
            process.terminate()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=GRACE_S + LATE_S)
            for process in self._processes.values():
                process.kill()
            if late:
                await asyncio.wait(late)
        os.close(self._memory)

    async def _keep(self, number: int) -> None:
        """Let a worker live, again and again, until all are told to stop."""
        while not self._closing:
            status = await self._live(number)
            self.seats.clear(number)
            if not self._closing:
                how = f"by signal {-status}" if status < 0 else f"with status {status}"
                _log.warning("Byte worker %d ended %s; it is started again.", number, how)
                await asyncio.sleep(AGAIN_S)

    async def _live(self, number: int) -> int:
        """Return the exit status of a worker."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        gone = asyncio.Event()
        self._channels[number] = channel = Channel(ours, partial(self._hear, number), gone.set)
        with theirs:
            mine = self._sockets[number - 1 :: self._settings.workers] or self._sockets
            given = (theirs.fileno(), self._memory, *(listening.fileno() for listening in mine))
            self._processes[number] = process = await self._start((str(number), *map(str, given)), given)
        values = {key: value_of(self._settings, key) for key, _ in keys()}
        channel.send(SETTINGS, json.dumps(values, default=str).encode())
        if self._closing:
            process.terminate()
        status = await process.wait()
        self._listening.discard(number)
        del self._processes[number], self._channels[number]
        # what it has said last is heard, too
        await gone.wait()
        return status

    def _hear(self, number: int, kind: bytes, rest: bytes, descriptor: int | None) -> None:
        if kind == CONNECTION and descriptor is not None:
            assert self.take
            self.take(descriptor, rest)
        elif kind == FIGURES:
            self._figures.add(json.loads(rest))
        elif kind == READY:
            self._listening.add(number)
            if self.complete:
                self._all_ready.set()

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
