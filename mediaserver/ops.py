"""What the people who run the server ask it: health, version, figures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web

from mediaserver import __version__
from mediaserver.cmcd import Players, spoken

_NO_STORE = {"Cache-Control": "no-store"}


Counts = dict[str, Any]


class Figures:
    """Counts what is answered, `answers` by status; gauges are asked when the figures are."""

    def __init__(self) -> None:
        self.answers: Counter[int] = Counter()
        self._scenes: Counter[str] = Counter()
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._players = Players()
        self._began_s = time.monotonic()

    def gauge(self, name: str, help: str, value: Callable[[], float]) -> None:
        self._gauges[name] = (help, value)

    def scene(self, bound_to: str) -> None:
        """Count a late-bound segment."""
        self._scenes[bound_to] += 1

    def cmcd(self, said: str) -> None:
        """Take up what a player says of itself with a request."""
        self._players.note(said)

    async def count(self, request: web.Request, response: web.StreamResponse) -> None:
        """Count an answer; a signal of the application."""
        self.answers[response.status] += 1
        if said := spoken(request.query, request.headers):
            self.cmcd(said)
        if scene := response.headers.get("X-Scene"):
            self.scene(scene)

    def handed_over(self) -> Counts | None:
        """Return what has been counted since the last time, for the process that tells the figures; None if nothing."""
        if not self.answers:
            return None
        counts = {"answers": {str(status): n for status, n in self.answers.items()}, "players": self._players.taken()}
        self.answers.clear()
        return counts

    def add(self, counts: Counts) -> None:
        """Add what another process has counted."""
        self.answers.update({int(status): n for status, n in counts["answers"].items()})
        self._players.add(counts["players"])

    def text(self) -> str:
        """Return the figures in Prometheus' text form, version 0.0.4."""
        lines = ["# HELP mediaserver_answers_total Answers by HTTP status.", "# TYPE mediaserver_answers_total counter"]
        lines += [f'mediaserver_answers_total{{status="{status}"}} {n}' for status, n in sorted(self.answers.items())]
        lines += [
            "# HELP mediaserver_scenes_total Late-bound segments by what they were bound to.",
            "# TYPE mediaserver_scenes_total counter",
        ]
        lines += [f'mediaserver_scenes_total{{scene="{scene}"}} {n}' for scene, n in sorted(self._scenes.items())]
        lines += self._players.lines()
        for name, (meaning, value) in self._gauges.items():
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge", f"{name} {value():g}"]
        lines += [
            "# HELP mediaserver_uptime_seconds Seconds since the start.",
            "# TYPE mediaserver_uptime_seconds gauge",
            f"mediaserver_uptime_seconds {time.monotonic() - self._began_s:.0f}",
        ]
        return "\n".join(lines) + "\n"


FIGURES = web.AppKey("figures", Figures)


class Ops:
    """/healthz, /readyz, /version for everybody; /metrics on the admin address."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self.health),
            web.get("/readyz", self.readiness),
            web.get("/version", self.version),
        ]

    async def health(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "ok"}, headers=_NO_STORE)

    async def readiness(self, request: web.Request) -> web.StreamResponse:
        ready = self._ready()
        return web.json_response({"ready": ready}, status=200 if ready else 503, headers=_NO_STORE)

    async def version(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"name": "mediaserver", "version": __version__}, headers=_NO_STORE)


def admin_app(figures: Figures) -> web.Application:
    """Return the application of the admin address."""

    async def metrics(request: web.Request) -> web.StreamResponse:
        return web.Response(
            text=figures.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"} | _NO_STORE
        )

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return app
