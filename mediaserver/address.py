"""The addresses on which the server is reached: listening sockets, TLS, and what every connection of one shares."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NoReturn

from aiohttp import web

from mediaserver.accesslog import AccessLog
from mediaserver.connections import BACKLOG, Door, Site, end_stalled, make_connections
from mediaserver.epoll import Listener, Watch
from mediaserver.errors import AddressUnusable, PortTaken, SettingsError
from mediaserver.fastpath import Desk, Leave, is_usable
from mediaserver.heads import Heads, first_head
from mediaserver.hosts import Hosts
from mediaserver.manners import Manners
from mediaserver.ops import FIGURES, Figures
from mediaserver.ordinary import Ordinary, OrdinaryConnection
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


class FastSite(web.BaseSite):
    """A listening socket whose clients the fast path accepts; an ordinary one to aiohttp's runner."""

    def __init__(self, runner: web.BaseRunner, listening: socket.socket, desk: Desk) -> None:
        super().__init__(runner)
        self._listening, self._desk = listening, desk

    @property
    def name(self) -> str:
        return url_of(self._listening)

    async def start(self) -> None:
        await super().start()
        self._server = listen_fast(self._listening, self._desk)  # type: ignore[assignment]


def listen_fast(listening: socket.socket, desk: Desk) -> Listener:
    """Let the fast path accept clients from now on; what the socket is set to, those that come from it are (tcp(7))."""
    end_stalled(listening, desk.door.stall_s)
    if listening.family != socket.AF_UNIX:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listening.listen(BACKLOG)
    return Listener(listening, desk.watch, desk.accept)


async def open_address(
    app: web.Application, settings: Settings, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None = None
) -> web.AppRunner:
    """Serve `app` on listening sockets from now on; `cleanup` of what is returned ends it."""
    door = door_of(settings, log_of(settings))
    if FIGURES in app:
        app[FIGURES].gauge("mediaserver_connections", "Open connections.", lambda: door.seats.taken)
    if not (INDEX in app and tls is None and settings.fast_path and is_usable()):
        runner = await _runner(app)
        assert runner.server
        connect = make_connections(runner.server, door)
        for listening in sockets:
            await Site(runner, listening, connect, tls).start()
        return runner
    ordinary = Ordinary()
    desk = desk_of(settings, app[INDEX], app[FIGURES], door, ordinary.take)
    runner = await _fast_runner(app, desk, ordinary)
    for listening in sockets:
        await FastSite(runner, listening, desk).start()
    return runner


# Goes on with a connection: its descriptor, which is then the taker's own, and what has been read of it.
Take = Callable[[int, bytes], None]


async def open_control(
    app: web.Application, settings: Settings, seats: Seats, pass_to: Callable[[int, bytes], bool]
) -> tuple[web.AppRunner, Take]:
    """Serve `app` on connections that byte workers pass on; also return what takes one.

    A connection goes back to a worker when it has been answered here and asks for a published file.
    """
    ordinary = Ordinary()

    def leave(connected: socket.socket, data: bytes, answered: bool) -> None:
        if answered and desk.knows(first_head(data)) and pass_to(connected.fileno(), data):
            connected.close()
        else:
            ordinary.take(connected, data, answered)

    door = door_of(settings, log_of(settings), seats)
    desk = replace(desk_of(settings, app[INDEX], app[FIGURES], door, leave), files=False)

    def take(descriptor: int, first: bytes) -> None:
        desk.go_on(socket.socket(fileno=descriptor), first, answered=False)

    return await _fast_runner(app, desk, ordinary), take


async def _fast_runner(app: web.Application, desk: Desk, ordinary: Ordinary) -> web.AppRunner:
    """Return what ends the connections of the fast path with those of aiohttp."""

    async def finish(_app: web.Application) -> None:
        desk.watch.finish()

    async def end(_app: web.Application) -> None:
        await desk.watch.end(GRACE_S)

    app.on_shutdown.append(finish)
    app.on_cleanup.append(end)
    runner = await _runner(app)
    assert runner.server
    ordinary.connect = make_connections(runner.server, desk.door, partial(OrdinaryConnection, desk=desk))
    return runner


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


def desk_of(settings: Settings, index: Index, figures: Figures, door: Door, leave: Leave) -> Desk:
    """Return what all fast connections share."""
    heads = Heads(Hosts(settings.allowed_hosts, settings.host), settings.cors_origins)
    log = log_of(settings)
    return Desk(heads, index, figures, log if log.enabled else None, Watch(index), door, leave)


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
    """Raise the limit of open files so that every connection has two (its own and a file), and say if there is less."""
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
