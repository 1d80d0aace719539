"""The addresses on which the server is reached: listening sockets, TLS, and what every connection of one shares."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from aiohttp import web

from mediaserver.accesslog import AccessLog
from mediaserver.connections import BACKLOG, Connection, Door, Site, make_connections
from mediaserver.epoll import Watch
from mediaserver.errors import AddressUnusable, PortTaken, SettingsError
from mediaserver.fastpath import Desk, FastConnection, is_usable
from mediaserver.heads import Heads
from mediaserver.hosts import Hosts
from mediaserver.manners import Manners
from mediaserver.ops import FIGURES, Figures
from mediaserver.passing import ControlConnection
from mediaserver.ready import INDEX, Index
from mediaserver.seats import Seats
from mediaserver.settings import Settings

# Time that answers under way get to finish when the server is told to stop.
GRACE_S = 10.0
# The first descriptor that a manager of services, or our own former self, hands over (sd_listen_fds(3)).
HANDED_OVER = 3
# Descriptors besides those of connections: files, databases, pipes of workers.
_OTHER_DESCRIPTORS = 256
_log = logging.getLogger(__name__)


# Goes on with a connection: its descriptor, which is then the taker's own, and what has been read of it.
Take = Callable[[int, bytes], Coroutine[Any, Any, None]]


async def open_address(
    app: web.Application, settings: Settings, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None = None
) -> web.AppRunner:
    """Serve `app` on listening sockets from now on; `cleanup` of what is returned ends it."""
    log = log_of(settings)
    make: Any = Connection
    if INDEX in app and tls is None and settings.fast_path and is_usable():
        make = partial(FastConnection, desk=_desk(app, settings, log))
    runner = await _runner(app)
    assert runner.server
    connect = make_connections(runner.server, door_of(settings, log), make)
    for listening in sockets:
        await Site(runner, listening, connect, tls).start()
    return runner


async def open_control(
    app: web.Application, settings: Settings, seats: Seats, pass_to: Callable[[int, bytes], bool]
) -> tuple[web.AppRunner, Take]:
    """Serve `app` on connections that byte workers pass on; also return what takes one."""
    log, loop = log_of(settings), asyncio.get_running_loop()
    make = partial(ControlConnection, desk=_desk(app, settings, log), pass_to=pass_to)
    runner = await _runner(app)
    assert runner.server
    connect = make_connections(runner.server, door_of(settings, log, seats), make)

    async def take(descriptor: int, first: bytes) -> None:
        with suppress(ConnectionError):
            await loop.connect_accepted_socket(lambda: connect(first=first), socket.socket(fileno=descriptor))

    return runner, take


async def _runner(app: web.Application) -> web.AppRunner:
    runner = web.AppRunner(app, shutdown_timeout=GRACE_S)
    await runner.setup()
    return runner


def log_of(settings: Settings) -> AccessLog:
    return AccessLog(settings.access_log, settings.trusted_proxies)


def door_of(settings: Settings, log: AccessLog, seats: Seats | None = None) -> Door:
    """Return what all connections of an address share."""
    return Door(
        Manners(settings.cors_origins),
        settings.connections_max,
        settings.keepalive_s,
        settings.head_timeout_s,
        settings.stall_s,
        seats or Seats(),
        {"access_log_class": lambda *_: log},
    )


def _desk(app: web.Application, settings: Settings, log: AccessLog) -> Desk:
    desk = desk_of(settings, app[INDEX], app[FIGURES], log)

    async def close(_app: web.Application) -> None:
        desk.watch.close()

    app.on_cleanup.append(close)
    return desk


def desk_of(settings: Settings, index: Index, figures: Figures, log: AccessLog) -> Desk:
    """Return what all fast connections share."""
    heads = Heads(Hosts(settings.allowed_hosts, settings.host), settings.cors_origins)
    return Desk(heads, index, figures, log if log.enabled else None, Watch(index))


def listen(host: str, port: int, flag: str = "--port", *, shared: bool = False) -> socket.socket:
    """Return a listening socket, `shared` if more of ours are to listen there; raises PortTaken, AddressUnusable."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG, reuse_port=shared)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port, flag) from error
        raise AddressUnusable(host, port, error.strerror or str(error)) from error


def listen_main(settings: Settings) -> list[socket.socket]:
    """Return the sockets handed over to this process, else new ones, one for each worker (SO_REUSEPORT, socket(7)).

    Raises PortTaken, AddressUnusable.
    """
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and (count := int(os.environ.get("LISTEN_FDS", "0"))):
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            os.environ.pop(name, None)
        for descriptor in range(HANDED_OVER, HANDED_OVER + count):
            os.set_inheritable(descriptor, False)
        return [socket.socket(fileno=HANDED_OVER + number) for number in range(count)]
    if settings.workers == 1:
        return [listen(settings.host, settings.port)]
    # with SO_REUSEPORT nobody is told that another server has the port already
    listen(settings.host, settings.port).close()
    first = listen(settings.host, settings.port, shared=True)
    port = first.getsockname()[1]
    return [first, *(listen(settings.host, port, shared=True) for _ in range(settings.workers - 1))]


def listen_admin(settings: Settings) -> socket.socket | None:
    """Return the socket of the admin address, or None, with a warning, if there can be none."""
    try:
        return listen("127.0.0.1", settings.admin_port, "--admin-port")
    except (PortTaken, AddressUnusable) as error:
        _log.warning("%s Figures are not served. %s", error, error.hint)
        return None


def start_anew(sockets: Sequence[socket.socket]) -> NoReturn:
    """Replace this process by its own program, which reads settings and code again and goes on with the same sockets.

    Clients that come meanwhile wait in the sockets' queues; none is refused.
    """
    # a signal that arrives before the new program is ready to hear it must not end it
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # first out of the way of the places where they are to be
    above = [fcntl.fcntl(listening, fcntl.F_DUPFD_CLOEXEC, HANDED_OVER + len(sockets)) for listening in sockets]
    for number, descriptor in enumerate(above):
        os.dup2(descriptor, HANDED_OVER + number)
    os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), str(len(sockets))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return what serves the certificate of the settings, or None without one; raises SettingsError."""
    if not settings.tls_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"The TLS certificate {settings.tls_certificate!r} cannot be used: {error}.",
            "tls_certificate names a PEM file with the chain, tls_key one with the key, without a pass phrase.",
        ) from error
    return context


def make_room(settings: Settings) -> None:
    """Raise the limit of open files so that every connection has two, and say if there is less."""
    wanted = 2 * settings.connections_max + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted and soft != resource.RLIM_INFINITY:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            _log.warning("Only %d files may be open: about %d connections will do.", allowed, allowed // 2)


def url_of(listening: socket.socket, *, tls: bool = False) -> str:
    """Return the address that a browser on this machine opens."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"{'https' if tls else 'http'}://{host}:{port}/"
