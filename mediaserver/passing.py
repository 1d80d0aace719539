"""Connections that go to another process with what has been read of them, over a pair of Unix sockets (unix(7))."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable

from mediaserver.fastpath import READ_BYTES
from mediaserver.heads import HEAD_BYTES

# The first byte of a message: a connection, counts, settings, "I listen".
CONNECTION, FIGURES, SETTINGS, READY = b"C", b"F", b"S", b"R"
# What is read of a connection at once, behind half a head that is kept; and room for the settings.
_MESSAGE_BYTES = READ_BYTES + HEAD_BYTES + 16 * 1024
# Messages heard before the loop's other work.
_ROUND = 64

Hear = Callable[[bytes, bytes, int | None], None]


class Channel:
    """One end of a SOCK_SEQPACKET pair; messages stay whole and in order, and may carry a descriptor.

    `hear` is given the kind of a message, the rest of it, and the descriptor, which is then its own; `lost` is called
    when the other end has gone.
    """

    def __init__(self, end: socket.socket, hear: Hear, lost: Callable[[], None]) -> None:
        self._end, self._hear, self._lost = end, hear, lost
        self._waiting: deque[tuple[bytes, int | None]] = deque()
        self._loop = asyncio.get_running_loop()
        end.setblocking(False)
        self._loop.add_reader(end.fileno(), self._read)

    def send(self, kind: bytes, rest: bytes = b"", descriptor: int | None = None) -> None:
        """Send now, or as soon as there is room; the descriptor stays the caller's."""
        if self._end.fileno() < 0:
            return
        if not self._waiting:
            try:
                self._say(kind + rest, descriptor)
            except BlockingIOError:
                self._loop.add_writer(self._end.fileno(), self._catch_up)
            except OSError:
                return  # the other end has gone; reading says so
            else:
                return
        self._waiting.append((kind + rest, None if descriptor is None else os.dup(descriptor)))

    def _say(self, message: bytes, descriptor: int | None) -> None:
        if descriptor is None:
            self._end.send(message)
        else:
            socket.send_fds(self._end, [message], [descriptor])

    def _catch_up(self) -> None:
        while self._waiting:
            message, descriptor = self._waiting[0]
            try:
                self._say(message, descriptor)
            except BlockingIOError:
                return
            except OSError:
                self._drop_waiting()
                break
            self._waiting.popleft()
            if descriptor is not None:
                os.close(descriptor)
        self._loop.remove_writer(self._end.fileno())

    def _drop_waiting(self) -> None:
        for _, descriptor in self._waiting:
            if descriptor is not None:
                os.close(descriptor)
        self._waiting.clear()

    def _read(self) -> None:
        for _ in range(_ROUND):
            try:
                message, found, _, _ = socket.recv_fds(self._end, _MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                message, found = b"", []
            if not message:
                self.close()
                self._lost()
                return
            self._hear(message[:1], message[1:], found[0] if found else None)
            if self._end.fileno() < 0:
                return

    def close(self) -> None:
        if self._end.fileno() >= 0:
            self._loop.remove_reader(self._end.fileno())
            self._loop.remove_writer(self._end.fileno())
            self._drop_waiting()
            self._end.close()
