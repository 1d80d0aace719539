"""The composition root: puts the parts together and serves them until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from lipsync.protocols import FaceWorker, Signing
from mediaserver.accesslog import AccessLog, show_access_log
from mediaserver.connections import Connection, Door, Site, make_connections, refuse_other_versions
from mediaserver.dashboard import Dashboard, JobListing, NoJobs
from mediaserver.errors import AddressUnusable, ConsentIncomplete, NotSetUp, PortTaken
from mediaserver.fastpath import Desk, FastConnection, Watch, is_usable
from mediaserver.filmclient import FilmClient
from mediaserver.heads import Heads
from mediaserver.hosts import Hosts, is_loopback
from mediaserver.library import Library
from mediaserver.manners import Manners, answer_preflight, refuse_odd_paths
from mediaserver.ops import Figures, Ops, admin_app
from mediaserver.precedence import give_way
from mediaserver.problems import answer_problems
from mediaserver.ready import Index
from mediaserver.scenes import Scenes
from mediaserver.sessions import Sessions
from mediaserver.settings import Settings
from mediaserver.streams import Streams
from mediaserver.trust import Trust
from mediaserver.verifying import Verifying
from mediaserver.viewer import Viewer
from mediaserver.wording import check_label

if TYPE_CHECKING:
    from mediaserver.jobbook import Job

SWEEP_S = 20.0
# Time that answers under way get to finish when the server is told to stop.
GRACE_S = 10.0
_LARGEST_BODY_BYTES = 64 * 1024
FIGURES = web.AppKey("figures", Figures)
INDEX = web.AppKey("index", Index)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server listens, as it is told to whoever started it; `admin` is None if that port was taken."""

    main: str
    admin: str | None


def build_app(
    settings: Settings,
    examiner: FaceWorker,
    renderer: FaceWorker,
    *,
    jobs: JobListing | None = None,
    inspector: Callable[[], FaceWorker] | None = None,
    scripts: Path | None = None,
    clock: Callable[[], float] | None = None,
) -> web.Application:
    """Return the application of the main address; the two workers stay the caller's to close.

    `inspector` makes a worker that looks at one video and is closed then. `scripts` is the node_modules folder with the
    players' scripts; without it the pages cannot play. `clock` gives seconds since 1970.
    """
    library = Library(settings.media)
    sessions = Sessions(settings, library, examiner, renderer, clock)
    viewer = Viewer(sessions, settings)
    figures = Figures()
    app = web.Application(
        middlewares=[
            answer_problems,
            refuse_other_versions,
            Hosts(settings.allowed_hosts, settings.host).guard(),
            answer_preflight,
            refuse_odd_paths,
            viewer.recogniser(),
        ],
        client_max_size=_LARGEST_BODY_BYTES,
    )
    app[FIGURES] = figures
    streams = Streams(library)
    app[INDEX] = Index(library, streams, Manners(settings.cors_origins))
    dashboard = Dashboard(settings, jobs or NoJobs(), scripts)
    parts = (
        Ops(settings.media.is_dir),
        dashboard,
        viewer,
        Scenes(sessions, settings),
        FilmClient(sessions, library, settings),
        Trust(sessions, settings, dashboard.assets),
        Verifying(settings, inspector or (lambda: examiner), dashboard.assets),
        streams,
    )
    for part in parts:
        app.router.add_routes(part.routes())
    app.on_response_prepare.append(Manners(settings.cors_origins).signal)
    app.on_response_prepare.append(figures.count)
    app.on_shutdown.append(viewer.close)
    app.cleanup_ctx.append(_background(sessions, settings))
    figures.gauge("mediaserver_sessions", "Living sessions.", lambda: len(sessions))
    figures.gauge("mediaserver_viewers_waiting", "Viewers who wait for a scene.", lambda: sessions.admission.waiting)
    return app


def _background(sessions: Sessions, settings: Settings) -> Callable[[web.Application], AsyncIterator[None]]:
    """Take up the last run's sessions, render and sweep while the application lives, and close the ledger."""

    async def run(app: web.Application) -> AsyncIterator[None]:
        await sessions.load()
        tasks = [asyncio.create_task(sessions.admission.run()), asyncio.create_task(_sweep(sessions))]
        tasks.append(asyncio.create_task(give_way(lambda: sessions.admission.rendering, settings.state)))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await sessions.close()
        app[INDEX].close()

    return run


async def _sweep(sessions: Sessions) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        try:
            await sessions.sweep()
        except Exception:
            _log.exception("The sweep of expired sessions failed; it is tried again.")


def serve(
    settings: Settings,
    *,
    watch: bool,
    ready: Callable[[Addresses], None] = lambda _addresses: None,
    show: Callable[[list[Job]], None] = lambda _jobs: None,
) -> None:
    """Serve until SIGTERM or SIGINT; with `watch` the masters in raw/ are encoded, too.

    `ready` is called once, when requests are answered; `show` from another thread whenever the jobs have changed.
    Raises PortTaken, AddressUnusable, ConsentIncomplete.
    """
    check_public(settings)
    check_label(settings)
    # A photo must not reach the disk in a core dump either.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    show_access_log(settings.access_log)
    asyncio.run(_serve(settings, watch, ready, show))


def signing_of(settings: Settings) -> Signing:
    """Return who signs finished files."""
    operators = (settings.signing_certificate, settings.signing_key, settings.signing_anchors)
    return Signing(settings.state / "keys", *operators)


def check_public(settings: Settings) -> None:
    """Raise ConsentIncomplete if others can reach the server and the consent does not say who it is."""
    missing = settings.consent.missing()
    if missing and not is_loopback(settings.host):
        raise ConsentIncomplete(settings.host, missing)


async def _serve(
    settings: Settings, watch: bool, ready: Callable[[Addresses], None], show: Callable[[list[Job]], None]
) -> None:
    from lipsync.worker import WarmWorker  # noqa: PLC0415 - picture code belongs to no import of this module

    stop = _told_to_stop()
    async with AsyncExitStack() as stack:
        listening = _listen(settings.host, settings.port)
        stack.callback(listening.close)
        admin = _listen_admin(settings)
        signing = signing_of(settings)
        examiner, renderer = WarmWorker(signing), WarmWorker(signing)
        stack.push_async_callback(examiner.close)
        stack.push_async_callback(renderer.close)
        jobs = await _jobs(settings, watch, stack, show)
        app = build_app(
            settings, examiner, renderer, jobs=jobs, inspector=lambda: WarmWorker(signing), scripts=_scripts()
        )
        await _start(stack, app, settings, listening)
        if admin:
            await _start(stack, admin_app(app[FIGURES]), settings, admin)
        ready(Addresses(_url(listening), _url(admin) if admin else None))
        await stop.wait()


async def _jobs(
    settings: Settings, watch: bool, stack: AsyncExitStack, show: Callable[[list[Job]], None]
) -> JobListing:
    """Run the jobs here, or only read what another process writes of them."""
    from mediaserver.jobs import Jobs  # noqa: PLC0415 - the engine of the jobs takes a second to import

    jobs = Jobs(settings)
    if watch:
        jobs.on_change(show)
        await asyncio.to_thread(jobs.start)
    stack.push_async_callback(asyncio.to_thread, jobs.stop if watch else jobs.close)
    return jobs


def _scripts() -> Path | None:
    from mediaserver.setup import npm_folder  # noqa: PLC0415 - set-up is composed here and nowhere else

    try:
        return npm_folder()
    except NotSetUp as error:
        _log.warning("%s The pages cannot play films. %s", error, error.hint)
        return None


async def open_address(app: web.Application, settings: Settings, listening: socket.socket) -> web.AppRunner:
    """Serve `app` on a listening socket from now on; `cleanup` of what is returned ends it."""
    log = AccessLog(settings.access_log, settings.trusted_proxies)
    make: Any = Connection
    if INDEX in app and settings.fast_path and is_usable():
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
    await Site(runner, listening, make_connections(runner.server, door, make)).start()
    return runner


def _desk(app: web.Application, settings: Settings, log: AccessLog) -> Desk:
    watch = Watch()

    async def close(_app: web.Application) -> None:
        watch.close()

    app.on_cleanup.append(close)
    heads = Heads(Hosts(settings.allowed_hosts, settings.host), settings.cors_origins)
    return Desk(heads, app[INDEX], app[FIGURES], log if log.enabled else None, watch)


async def _start(stack: AsyncExitStack, app: web.Application, settings: Settings, listening: socket.socket) -> None:
    stack.push_async_callback((await open_address(app, settings, listening)).cleanup)


def _listen(host: str, port: int, flag: str = "--port") -> socket.socket:
    """Return a listening socket; raises PortTaken or AddressUnusable."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port, flag) from error
        raise AddressUnusable(host, port, error.strerror or str(error)) from error


def _listen_admin(settings: Settings) -> socket.socket | None:
    try:
        return _listen("127.0.0.1", settings.admin_port, "--admin-port")
    except (PortTaken, AddressUnusable) as error:
        _log.warning("%s Figures are not served. %s", error, error.hint)
        return None


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{host}:{port}/"


def _told_to_stop() -> asyncio.Event:
    """Return what is set when the process is told to stop, from now on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    return stop
