"""The composition root: puts the parts together and serves them until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import ssl
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from encoder.tools import python_module, start_sibling
from lipsync.checkpoint import check_converted, converted
from lipsync.protocols import FaceWorker, Signing
from mediaserver.accesslog import show_access_log
from mediaserver.address import (
    listen_admin,
    listen_main,
    make_room,
    open_address,
    open_control,
    start_anew,
    tls_context,
    url_of,
)
from mediaserver.connections import refuse_other_versions
from mediaserver.dashboard import Dashboard, JobListing, NoJobs
from mediaserver.errors import ConsentIncomplete, NotSetUp
from mediaserver.fastpath import is_usable
from mediaserver.filmclient import FilmClient
from mediaserver.hosts import Hosts, is_loopback
from mediaserver.library import Library
from mediaserver.manners import Manners, answer_preflight, refuse_odd_paths, time_answers
from mediaserver.ops import FIGURES, Figures, Ops, admin_app
from mediaserver.own import OwnAnswers
from mediaserver.precedence import give_way
from mediaserver.problems import answer_problems
from mediaserver.ready import INDEX, Index
from mediaserver.scenes import Scenes
from mediaserver.sessions import Sessions
from mediaserver.settings import Settings
from mediaserver.streams import Streams
from mediaserver.trust import Trust
from mediaserver.verifying import Verifying
from mediaserver.viewer import Viewer
from mediaserver.wording import check_label
from mediaserver.workers import Crew

if TYPE_CHECKING:
    from mediaserver.jobbook import Job

SWEEP_S = 20.0
# What must hold for the server to be ready.
CHECKS = web.AppKey("checks", list[Callable[[], bool]])
_LARGEST_BODY_BYTES = 64 * 1024
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
    authority: Callable[[], str] = str,
) -> web.Application:
    """Return the application of the main address; the two workers stay the caller's to close.

    `inspector` makes a worker that looks at one video and is closed then. `scripts` is the node_modules folder with the
    players' scripts; without it the pages cannot play. `clock` gives seconds since 1970. `authority` gives the
    certificates (PEM) by which Content Credentials are checked.
    """
    library = Library(settings.media)
    sessions = Sessions(settings, library, examiner, renderer, clock)
    viewer = Viewer(sessions, settings)
    figures = Figures()
    app = web.Application(
        middlewares=[
            time_answers,
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
    app[CHECKS] = [settings.media.is_dir]
    streams, manners = Streams(library), Manners(settings.cors_origins)
    app[INDEX] = Index(library, streams, manners, OwnAnswers(sessions, library, manners))
    dashboard = Dashboard(settings, jobs or NoJobs(), scripts)
    parts = (
        Ops(lambda: all(check() for check in app[CHECKS])),
        dashboard,
        viewer,
        Scenes(sessions, settings),
        FilmClient(sessions, library, settings),
        Trust(sessions, settings, dashboard.assets, authority),
        Verifying(settings, inspector or (lambda: examiner), dashboard.assets),
        streams,
    )
    for part in parts:
        app.router.add_routes(part.routes())
    app.on_response_prepare.append(manners.signal)
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
        tasks.append(asyncio.create_task(give_way(sessions.admission, settings.state)))
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

    SIGHUP ends it as gracefully, and begins it anew in the same process with the same listening socket. `ready` is
    called once, when requests are answered; `show` from another thread whenever the jobs have changed. Raises
    PortTaken, AddressUnusable, ConsentIncomplete, NotConverted, SettingsError.
    """
    check_public(settings)
    check_label(settings)
    check_engine(settings)
    # A photo must not reach the disk in a core dump either.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    show_access_log(settings.access_log)
    make_room(settings)
    tls = tls_context(settings)
    with ExitStack() as stack:
        sockets = [stack.enter_context(listening) for listening in listen_main(settings)]
        if asyncio.run(_serve(settings, sockets, tls, watch=watch, ready=ready, show=show)):
            start_anew(sockets)


def check_engine(settings: Settings) -> None:
    """Raise NotConverted where the networks of the chosen engine are missing."""
    if settings.engine == "wav2lip":
        check_converted(converted())


def _authority(signing: Signing) -> str:
    from lipsync.credentials import issuer_for  # noqa: PLC0415 - asked for by the first who opens the pin

    return issuer_for(signing).anchors


def check_public(settings: Settings) -> None:
    """Raise ConsentIncomplete if others can reach the server and the consent does not say who it is."""
    missing = settings.consent.missing()
    if missing and not is_loopback(settings.host):
        raise ConsentIncomplete(settings.host, missing)


async def _serve(
    settings: Settings,
    sockets: Sequence[socket.socket],
    tls: ssl.SSLContext | None,
    *,
    watch: bool,
    ready: Callable[[Addresses], None],
    show: Callable[[list[Job]], None],
) -> bool:
    """Serve until told to stop; return whether to begin anew."""
    from lipsync.worker import WarmWorker  # noqa: PLC0415 - picture code belongs to no import of this module

    told = Told()
    async with AsyncExitStack() as stack:
        admin = listen_admin(settings)
        signing, engine, room_mb = settings.signing, settings.engine_name, settings.face_worker_mb
        bounded = partial(WarmWorker, signing, ceiling_mb=room_mb)
        # the film's own network is sixty times as large as ours
        roomy_mb = 2 * room_mb if engine == "wav2lip" else room_mb
        examiner = bounded()
        renderer = WarmWorker(signing, life=settings.life, engine=engine, ceiling_mb=roomy_mb)
        stack.push_async_callback(examiner.close)
        stack.push_async_callback(renderer.close)
        jobs = await _jobs(settings, watch, stack, show)
        app = build_app(
            settings,
            examiner,
            renderer,
            jobs=jobs,
            inspector=bounded,
            scripts=_scripts(),
            authority=lambda: _authority(signing),
        )
        if _has_crew(settings, tls):
            await _start_crew(stack, app, settings, sockets)
        else:
            await _start(stack, app, settings, sockets, tls)
        if admin:
            await _start(stack, admin_app(app[FIGURES]), settings, (admin,))
        ready(Addresses(url_of(sockets[0], tls=tls is not None), url_of(admin) if admin else None))
        await told.event.wait()
        for listening in () if told.anew else sockets:
            listening.close()
    return told.anew


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


async def _start(
    stack: AsyncExitStack,
    app: web.Application,
    settings: Settings,
    sockets: Sequence[socket.socket],
    tls: ssl.SSLContext | None = None,
) -> None:
    # what is served on is closed when the serving ends; the other name keeps the queue of clients open
    served = [stack.enter_context(listening.dup()) for listening in sockets]
    stack.push_async_callback((await open_address(app, settings, served, tls)).cleanup)


def _has_crew(settings: Settings, tls: ssl.SSLContext | None) -> bool:
    """Whether byte workers are to be started; says so if they are asked for and cannot be."""
    possible = tls is None and settings.fast_path and is_usable()
    if settings.workers > 1 and not possible:
        _log.warning("Byte workers need the fast path, and no TLS here: one process serves all.")
    return settings.workers > 1 and possible


async def _start_crew(
    stack: AsyncExitStack, app: web.Application, settings: Settings, sockets: Sequence[socket.socket]
) -> None:
    """Let byte workers listen, and answer what they pass on; they stop first."""
    figures = app[FIGURES]
    crew = Crew(settings, sockets, figures, _start_worker)
    runner, crew.take = await open_control(app, settings, crew.seats, crew.pass_back)
    stack.push_async_callback(runner.cleanup)
    stack.push_async_callback(crew.close)
    app[CHECKS].append(lambda: crew.complete)
    figures.gauge("mediaserver_byte_workers", "Byte workers that listen.", lambda: crew.running)
    figures.gauge("mediaserver_connections", "Open connections of all processes.", lambda: crew.seats.taken)
    await crew.open()


async def _start_worker(words: Sequence[str], descriptors: Sequence[int]) -> Process:
    return await start_sibling((*python_module("mediaserver.byteworker"), *words), descriptors)


class Told:
    """What the process has been told from outside: to stop, or to stop and begin anew."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.anew = False
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError):
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.event.set)
            loop.add_signal_handler(signal.SIGHUP, self._begin_anew)

    def _begin_anew(self) -> None:
        self.anew = True
        self.event.set()
