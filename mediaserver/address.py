"""The addresses on which the server is reached: listening sockets, TLS, and what every connection of one shares."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import socket
import ssl
import sys
from functools import partial
from typing import Any, NoReturn

from aiohttp import web

from mediaserver.accesslog import AccessLog
from mediaserver.connections import BACKLOG, Connection, Door, Site, make_connections
from mediaserver.errors import AddressUnusable, PortTaken, SettingsError
from mediaserver.fastpath import Desk, FastConnection, Watch, is_usable
from mediaserver.heads import Heads
from mediaserver.hosts import Hosts
from mediaserver.manners import Manners
from mediaserver.ops import FIGURES
from mediaserver.ready import INDEX
from mediaserver.settings import Settings

# Time that answers under way get to finish when the server is told to stop.
GRACE_S = 10.0
# The descriptor that a manager of services, or our own former self, hands over (sd_listen_fds(3)).
HANDED_OVER = 3
# Descriptors besides those of connections: files, databases, pipes of workers.
_OTHER_DESCRIPTORS = 256
_log = logging.getLogger(__name__)


async def open_address(
    app: web.Application, settings: Settings, listening: socket.socket, tls: ssl.SSLContext | None = None
) -> web.AppRunner:
    """Serve `app` on a listening socket from now on; `cleanup` of what is returned ends it."""
    log = AccessLog(settings.access_log, settings.trusted_proxies)
    make: Any = Connection
    if INDEX in app and tls is None and settings.fast_path and is_usable():
        make = partial(FastConnection, desk=_desk(app, settings, log))
    runner = web.AppRunner(app, shutdown_timeout=GRACE_S)
    await runner.setup()
    assert runner.server
    door = Door(
        Manners(settings.cors_origins),
        settings.connections_max,
        settings.keepalive_s,
        settings.head_timeout_s,
        settings.stall_s,
        options={"access_log_class": lambda *_: log},
    )
    await Site(runner, listening, make_connections(runner.server, door, make), tls).start()
    return runner


def _desk(app: web.Application, settings: Settings, log: AccessLog) -> Desk:
    watch = Watch()

    async def close(_app: web.Application) -> None:
        watch.close()

    app.on_cleanup.append(close)
    heads = Heads(Hosts(settings.allowed_hosts, settings.host), settings.cors_origins)
    return Desk(heads, app[INDEX], app[FIGURES], log if log.enabled else None, watch)


def listen(host: str, port: int, flag: str = "--port") -> socket.socket:
    """Return a listening socket; raises PortTaken or AddressUnusable."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port, flag) from error
        raise AddressUnusable(host, port, error.strerror or str(error)) from error


def listen_main(settings: Settings) -> socket.socket:
    """Return the socket that was handed over to this process, else a new one; raises PortTaken, AddressUnusable."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS", "0") != "0":
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            os.environ.pop(name, None)
        os.set_inheritable(HANDED_OVER, False)
        return socket.socket(fileno=HANDED_OVER)
    return listen(settings.host, settings.port)


def listen_admin(settings: Settings) -> socket.socket | None:
    """Return the socket of the admin address, or None, with a warning, if there can be none."""
    try:
        return listen("127.0.0.1", settings.admin_port, "--admin-port")
    except (PortTaken, AddressUnusable) as error:
        _log.warning("%s Figures are not served. %s", error, error.hint)
        return None


def start_anew(listening: socket.socket) -> NoReturn:
    """Replace this process by its own program, which reads settings and code again and goes on with the same socket.

    Clients that come meanwhile wait in the socket's queue; none is refused.
    """
    # a signal that arrives before the new program is ready to hear it must not end it
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if listening.fileno() == HANDED_OVER:
        os.set_inheritable(HANDED_OVER, True)
    else:
        os.dup2(listening.fileno(), HANDED_OVER)
    os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), "1"
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
