"""One edge-triggered epoll(7) for all connections that are served past the framework."""

from __future__ import annotations

import asyncio
import select
from time import monotonic
from typing import Protocol

from mediaserver.ready import Index

# How often, and of how many connections, news is taken before the loop's other work: a round of the loop is dear.
ROUNDS, EVENTS = 4, 256
# How often a transfer is looked at that has not moved: its file may have become shorter, and nothing tells so.
NUDGE_S = 1.0


class Watched(Protocol):
    """A connection that is told when its socket has or takes something, and now and then that nothing has moved."""

    def move(self) -> None: ...

    def nudge(self) -> None: ...


class Watch:
    """Tells connections when their sockets have or take something: one edge-triggered epoll(7) for all of them.

    It is itself watched by the loop. asyncio's own way costs a handle, a context and some Python for every event, and
    two system calls for every wait; here a socket is registered once.
    """

    def __init__(self, index: Index) -> None:
        self._poll, self._looked = select.epoll(), index.looked
        self.now_s = monotonic()
        self._connections: dict[int, Watched] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._poll.fileno(), self._wake)
        self._nudging: asyncio.TimerHandle | None = None

    def add(self, descriptor: int, connection: Watched) -> None:
        """Call `move` of the connection now and whenever there is something new."""
        self._connections[descriptor] = connection
        self._poll.register(descriptor, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        if self._nudging is None:
            self._nudging = self._loop.call_later(NUDGE_S, self._nudge)

    def remove(self, descriptor: int) -> None:
        del self._connections[descriptor]
        if not self._poll.closed:
            self._poll.unregister(descriptor)

    def _wake(self) -> None:
        connections, looked = self._connections, self._looked
        for _ in range(ROUNDS):
            events = self._poll.poll(0, EVENTS)
            if not events:
                return
            looked.clear()
            self.now_s = monotonic()
            for descriptor, _event in events:
                if descriptor in connections:
                    connections[descriptor].move()

    def _nudge(self) -> None:
        for connection in [*self._connections.values()]:
            connection.nudge()
        self._nudging = self._loop.call_later(NUDGE_S, self._nudge) if self._connections else None

    def close(self) -> None:
        if self._nudging is not None:
            self._nudging.cancel()
        if not self._poll.closed:
            self._loop.remove_reader(self._poll.fileno())
            self._poll.close()
