from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mediaserver import epoll
from mediaserver.epoll import Listener, Watch
from mediaserver.library import Library
from mediaserver.manners import Manners
from mediaserver.ready import Index
from mediaserver.streams import Streams


class Reader:
    """Reads what comes; the first byte "!" is too much for it."""

    def __init__(self, watch: Watch, end: socket.socket) -> None:
        end.setblocking(False)
        self._watch, self._end = watch, end
        self.read, self.looks, self.open = b"", 0, True
        watch.add(end.fileno(), self)

    def move(self) -> None:
        with suppress(BlockingIOError):
            self.read += self._end.recv(100)
        if self.read.startswith(b"!"):
            raise ZeroDivisionError

    def look(self, now_s: float) -> None:
        self.looks += 1

    def finish(self) -> None:
        """Wait for the other end."""

    def close(self) -> None:
        self.open = False
        self._watch.remove(self._end.fileno())
        self._end.close()


@pytest.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Watch]:
    library = Library(tmp_path)
    watch = Watch(Index(library, Streams(library), Manners(("*",))))
    yield watch
    await watch.end(0.0)


async def until(holds: Callable[[], object]) -> None:
    while not holds():
        await asyncio.sleep(0.01)


async def test_a_fault_in_one_connection_is_said_and_ends_no_other(watch: Watch, caplog: pytest.LogCaptureFixture):
    pairs = [socket.socketpair() for _ in range(3)]
    readers = [Reader(watch, ours) for _, ours in pairs]
    for (theirs, _), said in zip(pairs, (b"one", b"!", b"three"), strict=True):
        theirs.send(said)
    await until(lambda: readers[2].read and readers[0].read and not readers[1].open)
    assert [reader.open for reader in readers] == [True, False, True]
    assert [record.exc_info is not None for record in caplog.records] == [True]
    for theirs, _ in pairs:
        theirs.close()


async def test_everybody_is_looked_at_now_and_then(watch: Watch, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(epoll, "LOOK_S", 0.01)
    theirs, ours = socket.socketpair()
    reader = Reader(watch, ours)
    await until(lambda: reader.looks > 2)
    theirs.close()


async def test_without_a_descriptor_clients_wait_and_are_accepted_later(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(epoll, "PAUSE_S", 0.05)
    failures = [OSError(errno.EMFILE, os.strerror(errno.EMFILE))] * 2

    class Crowded(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            if failures:
                raise failures.pop()
            return super().accept()

    accepted: list[socket.socket] = []
    listening = Crowded()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    with caplog.at_level(logging.WARNING):
        listener = Listener(listening, watch, lambda connected, _: accepted.append(connected))
        with socket.create_connection(listening.getsockname()):
            await until(lambda: accepted)
    assert len(caplog.records) == 2
    assert "Too many open files" in caplog.text
    accepted[0].close()
    listener.close()
    assert listener.sockets == ()


async def test_at_the_end_whoever_does_not_finish_is_cut_off(watch: Watch):
    theirs, ours = socket.socketpair()
    reader = Reader(watch, ours)
    await watch.end(0.05)
    assert watch.closing
    assert not reader.open
    theirs.close()
