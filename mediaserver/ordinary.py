"""Connections that the fast path leaves to aiohttp, and their way back."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mediaserver.connections import Connection
from mediaserver.fastpath import READ_BYTES, Desk
from mediaserver.heads import first_head

# A head after which the parser of aiohttp is not at the beginning of a next one.
_GOES_ON = re.compile(rb"\r\n(?:content-length|transfer-encoding|upgrade|expect):", re.IGNORECASE)


class OrdinaryConnection(Connection):
    """A connection of which `first` has been read; it goes back when, being idle, it is asked for what `desk` knows.

    What it was left with is never sent back unanswered.
    """

    __slots__ = ("_desk", "_exact", "_first")

    def __init__(self, *given: Any, desk: Desk, first: bytes) -> None:
        super().__init__(*given)
        self._desk, self._first, self._exact = desk, first, True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        first, self._first = self._first, b""
        self._feed_noted(first)

    def _enter(self) -> None:
        """Whoever has left it has let the client in."""

    def data_received(self, data: bytes) -> None:
        if self._exact and len(data) <= READ_BYTES and self._is_idle() and self._desk.knows(first_head(data)):
            self._go_back(data)
        else:
            self._feed_noted(data)

    def _feed_noted(self, data: bytes) -> None:
        """Let aiohttp read; after a body or half a head only it knows where the next head begins."""
        self._exact = self._exact and len(first_head(data)) == len(data) and not _GOES_ON.search(data)
        super().data_received(data)

    def _is_idle(self) -> bool:
        """Whether aiohttp has answered all it was given and waits for more; never so once the connection is closing."""
        waiter, transport = self._waiter, self.transport
        waits = waiter is not None and not waiter.done() and not self._messages and not self._paused
        return waits and transport is not None and not transport.get_write_buffer_size()

    def _go_back(self, data: bytes) -> None:
        assert self.transport
        self._stop_timer()
        back = socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))
        # only this descriptor is closed; the connection lives on
        self.transport.abort()
        self._desk.go_on(back, data, answered=True)


class Ordinary:
    """Gives connections to aiohttp; `connect` makes the protocol of one and is set when aiohttp is there."""

    def __init__(self) -> None:
        self.connect: Callable[..., asyncio.BaseProtocol] | None = None
        self._taking: set[asyncio.Task[None]] = set()

    def take(self, connected: socket.socket, first: bytes, answered: bool) -> None:
        """Go on with a connection of which `first` has been read."""
        task = asyncio.get_running_loop().create_task(self._take(connected, first))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take(self, connected: socket.socket, first: bytes) -> None:
        loop, connect = asyncio.get_running_loop(), self.connect
        assert connect
        with suppress(ConnectionError):
            await loop.connect_accepted_socket(lambda: connect(first=first), connected)
