"""One edge-triggered epoll(7) for all sockets that are served past the framework, those that listen among them."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Protocol

from mediaserver.ready import CLOCK, Index

# How long, and of how many sockets at once, news is taken before the loop's other work: a round of the loop is dear.
TURN_S, EVENTS = 0.004, 64
# How often every connection is looked at: for its time being over, or for a transfer that has not moved, since nothing
# tells that a file has become shorter.
LOOK_S = 0.5
# Clients that are accepted before others get their turn, and the pause when no descriptor is left.
ACCEPTS, PAUSE_S = 64, 1.0
_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET
_log = logging.getLogger(__name__)


class Watched(Protocol):
    """What is told when its socket has or takes something, and now and then how late it is."""

    def move(self) -> None: ...

    def look(self, now_s: float) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...


class Watch:
    """Tells connections when their sockets have or take something: one edge-triggered epoll(7) for all of them.

    It is itself watched by the loop. asyncio's own way costs a handle, a context and some Python for every event, and
    two system calls for every wait; here a socket is registered once. `now_s` is when news was last taken; `closing`
    is set when everybody has been told to finish.
    """

    def __init__(self, index: Index) -> None:
        self._poll, self._looked = select.epoll(), index.looked
        self.now_s = monotonic()
        self._watched: dict[int, Watched] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._poll.fileno(), self._wake)
        self._looking = self._loop.call_later(LOOK_S, self._look)
        self.closing, self._empty = False, asyncio.Event()

    def add(self, descriptor: int, watched: Watched, events: int = _EDGES) -> None:
        """Call `move` now and whenever there is something new, until `remove`."""
        self._watched[descriptor] = watched
        self._poll.register(descriptor, events)

    def remove(self, descriptor: int) -> None:
        del self._watched[descriptor]
        self._poll.unregister(descriptor)
        if self.closing and not self._watched:
            self._empty.set()

    def _wake(self) -> None:
        watched, looked = self._watched, self._looked
        self.now_s = monotonic()
        until_s = self.now_s + TURN_S
        while self.now_s < until_s and (events := self._poll.poll(0, EVENTS)):
            looked.clear()
            CLOCK.tick()
            for descriptor, _event in events:
                if (found := watched.get(descriptor)) is not None:
                    try:
                        found.move()
                    except Exception:
                        # news of the others is told only once
                        _log.exception("A connection is ended by a fault of ours.")
                        found.close()
            self.now_s = monotonic()

    def _look(self) -> None:
        now_s = monotonic()
        for watched in [*self._watched.values()]:
            watched.look(now_s)
        self._looking = self._loop.call_later(LOOK_S, self._look)

    def finish(self) -> None:
        """Let everybody come to an end."""
        self.closing = True
        for watched in [*self._watched.values()]:
            watched.finish()
        if not self._watched:
            self._empty.set()

    async def end(self, within_s: float) -> None:
        """Wait until everybody has come to an end; who does not is cut off."""
        self.finish()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), within_s)
        for watched in [*self._watched.values()]:
            watched.close()
        self._close()

    def _close(self) -> None:
        self._looking.cancel()
        if not self._poll.closed:
            self._loop.remove_reader(self._poll.fileno())
            self._poll.close()


class Listener:
    """Accepts the clients of a listening socket; what it is set to, every socket accepted from it is set to (tcp(7)).

    `welcome` is given a socket that does not block and the peer's address. `sockets` and `close` are what aiohttp
    wants of a server.
    """

    def __init__(
        self, listening: socket.socket, watch: Watch, welcome: Callable[[socket.socket, object], object]
    ) -> None:
        self._listening, self._watch, self._welcome = listening, watch, welcome
        listening.setblocking(False)
        self._open()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return (self._listening,) if self._listening.fileno() >= 0 else ()

    def _open(self) -> None:
        self._pause: asyncio.TimerHandle | None = None
        self._watch.add(self._listening.fileno(), self, select.EPOLLIN)

    def move(self) -> None:
        for _ in range(ACCEPTS):
            try:
                connected, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                _log.warning("No further client can be accepted for %.0f s: %s.", PAUSE_S, error.strerror)
                self._watch.remove(self._listening.fileno())
                self._pause = asyncio.get_running_loop().call_later(PAUSE_S, self._open)
                return
            connected.setblocking(False)
            self._welcome(connected, address)

    def look(self, now_s: float) -> None:
        """A listening socket has no time."""

    def finish(self) -> None:
        self.close()

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        elif self._listening.fileno() >= 0:
            self._watch.remove(self._listening.fileno())
        self._listening.close()
