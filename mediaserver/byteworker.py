"""A byte worker: sends published files, and passes every other request on to the control process.

`python -m mediaserver.byteworker NUMBER CHANNEL SEATS SOCKET...`, the last three being inherited descriptors. It knows
nothing of sessions (docs/decisions/0014-byte-workers.md). It ends when the control process does, or by SIGTERM.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from mediaserver.accesslog import show_access_log
from mediaserver.address import GRACE_S, desk_of, door_of, listen_fast, log_of
from mediaserver.fastpath import Desk
from mediaserver.library import Library
from mediaserver.manners import Manners
from mediaserver.ops import Figures
from mediaserver.passing import CONNECTION, FIGURES, READY, SETTINGS, Channel
from mediaserver.ready import Index
from mediaserver.seats import Seats
from mediaserver.settings import Settings, restored
from mediaserver.streams import Streams

# How often counts are told to the control process.
TELL_S = 0.5


class ByteWorker:
    """One process that listens; `settings` are the first thing that the control process says."""

    def __init__(self, number: int, channel: socket.socket, seats: int, sockets: Sequence[socket.socket]) -> None:
        self._told_to_stop = asyncio.Event()
        self._settings: asyncio.Future[Settings] = asyncio.get_running_loop().create_future()
        self._seats, self._sockets = Seats.shared(seats, number), sockets
        self._channel = Channel(channel, self._hear, self._told_to_stop.set)
        self._figures = Figures()
        self._desk: Desk | None = None
        for told in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(told, self._told_to_stop.set)

    async def run(self) -> None:
        """Serve until told to stop, then let what is being sent be finished."""
        settings = await self._until_told()
        if settings is None:
            return
        show_access_log(settings.access_log)
        library = Library(settings.media)
        index = Index(library, Streams(library), Manners(settings.cors_origins))
        door = door_of(settings, log_of(settings), self._seats)
        self._desk = desk = desk_of(settings, index, self._figures, door, self._pass_on)
        for listening in self._sockets:
            listen_fast(listening, desk)
        self._channel.send(READY)
        telling = asyncio.create_task(self._tell())
        await self._told_to_stop.wait()
        telling.cancel()
        await desk.watch.end(GRACE_S)
        self._tell_now()
        index.close()

    async def _until_told(self) -> Settings | None:
        waits: list[asyncio.Future[Any]] = [self._settings, asyncio.ensure_future(self._told_to_stop.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        waits[1].cancel()
        return self._settings.result() if self._settings.done() else None

    def _hear(self, kind: bytes, rest: bytes, descriptor: int | None) -> None:
        if kind == SETTINGS:
            self._settings.set_result(restored(json.loads(rest)))
        elif kind == CONNECTION and descriptor is not None:
            back = socket.socket(fileno=descriptor)
            if self._desk is None or self._desk.watch.closing:
                back.close()
            else:
                self._desk.go_on(back, rest, answered=False)

    def _pass_on(self, connected: socket.socket, data: bytes, answered: bool) -> None:
        self._channel.send(CONNECTION, data, connected.fileno())
        connected.close()

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            self._tell_now()

    def _tell_now(self) -> None:
        if counts := self._figures.handed_over():
            self._channel.send(FIGURES, json.dumps(counts).encode())


async def _run(number: int, channel: int, seats: int, sockets: Sequence[int]) -> None:
    listening = [socket.socket(fileno=descriptor) for descriptor in sockets]
    await ByteWorker(number, socket.socket(fileno=channel), seats, listening).run()


def main(words: Sequence[str]) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    number, channel, seats, *sockets = (int(word) for word in words)
    for descriptor in (channel, seats, *sockets):
        os.set_inheritable(descriptor, False)
    gc.freeze()
    asyncio.run(_run(number, channel, seats, sockets))


if __name__ == "__main__":
    main(sys.argv[1:])
