"""Connections that go to another process with what has been read of them, over a pair of Unix sockets (unix(7))."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mediaserver.fastpath import READ_BYTES, FastConnection
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


class PassingConnection(FastConnection):
    """A connection that may leave for another process, and may have come from one with `first` already read."""

    __slots__ = ("_first", "_pass_to")

    def __init__(self, *given: Any, pass_to: Callable[[int, bytes], bool], first: bytes = b"", **rest: Any) -> None:
        super().__init__(*given, **rest)
        self._pass_to, self._first = pass_to, first

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        with suppress(AttributeError):
            transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        if self._first:
            self._fast, self._refused = True, False
            assert self.transport
            self.transport.pause_reading()
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Go on with what the other process has read, now that aiohttp waits for it."""
        if self.transport is not None:
            first, self._first = self._first, b""
            self.transport.resume_reading()
            self.data_received(first)

    def _pass_on(self, data: bytes) -> bool:
        """Let another process go on with this connection, beginning with `data`; False if there is none."""
        transport = self.transport
        if transport is None or self._close or self._force_close:
            return True
        if not self._pass_to(transport.get_extra_info("socket").fileno(), data):
            return False
        self._stop_timer()
        if self._watched and self._socket:
            self._watched = False
            self._desk.watch.remove(self._socket.fileno())
        # only this process's descriptor is closed; the connection lives on
        transport.abort()
        return True


class WorkerConnection(PassingConnection):
    """A byte worker's: what the fast path cannot answer is the control process's."""

    __slots__ = ()

    def _leave(self, data: bytes) -> None:
        self._pass_on(data)


class ControlConnection(PassingConnection):
    """The control process's: goes back to a worker when, being idle, it is asked for a published file.

    What a worker has passed on is never sent back unanswered.
    """

    __slots__ = ("_answered",)

    def __init__(self, *given: Any, **rest: Any) -> None:
        super().__init__(*given, **rest)
        self._answered = False

    def data_received(self, data: bytes) -> None:
        if self._answered and self._is_for_workers(data) and self._pass_on(data):
            return
        self._answered = True
        super().data_received(data)

    def _is_for_workers(self, data: bytes) -> bool:
        if not self._fast or self._held or self._transfer or not self._is_idle():
            return False
        asked = self._desk.heads.read(data[: data.find(b"\r\n\r\n") + 4])
        ready = self._desk.index.find(asked.path) if asked else None
        busy = self.transport is None or self.transport.get_write_buffer_size()
        return ready is not None and ready.file is not None and not busy
