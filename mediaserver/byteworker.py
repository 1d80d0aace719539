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
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from aiohttp import web

from mediaserver.accesslog import show_access_log
from mediaserver.address import GRACE_S, desk_of, door_of, log_of
from mediaserver.connections import Site, make_connections
from mediaserver.library import Library
from mediaserver.manners import Manners
from mediaserver.ops import Figures
from mediaserver.passing import CONNECTION, FIGURES, READY, SETTINGS, Channel, WorkerConnection
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
        self._connect: Callable[..., asyncio.Protocol] | None = None
        self._taking: set[asyncio.Task[object]] = set()
        for told in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(told, self._told_to_stop.set)

    async def run(self) -> None:
        """Serve until told to stop, then let what is being sent be finished."""
        settings = await self._until_told()
        if settings is None:
            return
        show_access_log(settings.access_log)
        library, log = Library(settings.media), log_of(settings)
        index = Index(library, Streams(library), Manners(settings.cors_origins))
        desk = desk_of(settings, index, self._figures, log)
        runner = web.ServerRunner(web.Server(_nobody), shutdown_timeout=GRACE_S)
        await runner.setup()
        assert runner.server
        make = partial(WorkerConnection, desk=desk, pass_to=self._pass_to)
        self._connect = make_connections(runner.server, door_of(settings, log, self._seats), make)
        for listening in self._sockets:
            await Site(runner, listening, self._connect).start()
        self._channel.send(READY)
        telling = asyncio.create_task(self._tell())
        await self._told_to_stop.wait()
        telling.cancel()
        await runner.cleanup()
        self._tell_now()
        desk.watch.close()
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
            came_back = socket.socket(fileno=descriptor)
            if self._connect is None or self._told_to_stop.is_set():
                came_back.close()
                return
            taking = asyncio.get_running_loop().connect_accepted_socket(partial(self._connect, first=rest), came_back)
            task = asyncio.ensure_future(taking)
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)

    def _pass_to(self, descriptor: int, data: bytes) -> bool:
        self._channel.send(CONNECTION, data, descriptor)
        return True

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            self._tell_now()

    def _tell_now(self) -> None:
        if counts := self._figures.handed_over():
            self._channel.send(FIGURES, json.dumps(counts).encode())


async def _nobody(request: web.BaseRequest) -> NoReturn:
    raise web.HTTPInternalServerError(reason="A byte worker answers no request itself.")


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
