"""Bytes a second against other servers: `.venv/bin/python -m benchmarks.delivery [--quick] [--clients 50,500]`.

Same files, same client (wrk), no access log anywhere, one process each; server and client pinned to a core of their
own. Ours and nginx (with open_file_cache) run in turns, and the median of the pairs' ratios counts: the machine's
noise is in both sides. Needs `apt-get install nginx-light wrk` and npm.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import random
import re
import resource
import shutil
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from aiohttp import web

from benchmarks.rivals import Rival, express, free_port, nginx, pinned, started
from encoder.tools import run_tool
from mediaserver.address import open_address
from mediaserver.app import build_app
from mediaserver.settings import Settings
from tests.mediaserver.conftest import ScriptedFaceWorker, presentation

SERVER_CORE, CLIENT_CORE = "0", "1"
SEGMENT_BYTES, FILM_BYTES, RANGE = 1_200_000, 60_000_000, "bytes=30000000-30065535"
FOLDER = "/part2/v1"
# The least ratio to nginx that the project demands, by shape and number of clients.
MUST = {
    ("segment", 50): 1.2, ("segment", 500): 1.2, ("segment", 2000): 0.9,
    ("range", 50): 0.7, ("range", 500): 0.9, ("range", 2000): 1.0,
    ("manifest", 50): 1.1, ("manifest", 500): 1.1, ("manifest", 2000): 1.1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """What is asked for: a path on our server, one on the others', and a Range."""

    name: str
    ours: str
    theirs: str
    range: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of wrk: requests and bytes a second, server seconds of CPU a request, and the slowest of a hundred."""

    rate: float
    bytes_s: float
    cpu_s: float
    p99_ms: float

    @property
    def cpu_per_gb_s(self) -> float:
        return self.cpu_s * self.rate / self.bytes_s * 1e9


def publish(root: Path) -> None:
    folder = root / "media" / "part2" / "v1"
    folder.mkdir(parents=True)
    noise = random.Random(1)
    for name, size in (("video_1080p_h264.mp4", FILM_BYTES), ("video_432p_h264.mp4", SEGMENT_BYTES)):
        (folder / name).write_bytes(noise.randbytes(size))
    (folder / "audio_en.mp4").write_bytes(noise.randbytes(9000))
    (folder / "presentation.json").write_text(presentation("part2", "v1").to_json(), "utf-8")
    (folder.parent / "current").write_text("v1\n", "utf-8")


async def serve(root: Path, port: int) -> None:
    """Serve as `mediaserver serve` does, but with inserts that are there at once."""
    settings = Settings(media=root / "media", state=root / "state", connections_max=20_000)
    worker = ScriptedFaceWorker()
    listening = socket.create_server(("127.0.0.1", port), backlog=4096)
    runner: web.AppRunner = await open_address(build_app(settings, worker, worker), settings, [listening])
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


@contextmanager
def ours(root: Path, core: str | None) -> Iterator[Rival]:
    port = free_port()
    command = (*pinned(core), sys.executable, "-m", "benchmarks.delivery", "--serve", str(root), str(port))
    with started("ours", command, port) as rival:
        yield rival


def fetch(port: int, path: str, method: str = "GET", body: bytes | None = None, kind: str = "") -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"Content-Type": kind}, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return bytes(answer.read())


def shapes(port: int, root: Path) -> list[Shape]:
    """Open a session with a finished insert; copy what only our server makes to where the others find it."""
    consent = json.loads(fetch(port, "/consent"))
    agreed = {"consent": consent["sha256"], "boxes": {box["id"]: True for box in consent["boxes"]}}
    session = json.loads(fetch(port, "/sessions", "POST", json.dumps(agreed).encode(), "application/json"))["session"]
    manifest, late = f"{session}part2/stream.mpd", f"{session}part2/v1/video_432p_h264/5.m4s"
    fetch(port, f"{session}photo", "PUT", b"jpeg", "image/jpeg")
    copies = {"/part2/stream.mpd": "stream.mpd", manifest: "personal.mpd", late: "late.m4s"}
    fetch(port, manifest)
    while json.loads(fetch(port, session))["state"] != "ready":
        time.sleep(0.05)
    for path, name in copies.items():
        (root / "media" / "part2" / name).write_bytes(fetch(port, path))
    film, segment = f"{FOLDER}/video_1080p_h264.mp4", f"{FOLDER}/video_432p_h264.mp4"
    return [
        Shape("segment", segment, segment),
        Shape("range", film, film, RANGE),
        Shape("manifest", "/part2/stream.mpd", "/part2/stream.mpd"),
        Shape("personal manifest", manifest, "/part2/personal.mpd"),
        Shape("late-bound segment", late, "/part2/late.m4s"),
    ]


def drive(server: Rival, shape: Shape, clients: int, seconds: int) -> Run:
    """Load one server with wrk; every answer must be 200 or 206."""
    path = shape.ours if server.name == "ours" else shape.theirs
    wanted = ("-H", f"Range: {shape.range}") if shape.range else ()
    began_cpu_s = server.cpu_s()
    command = (*pinned(CLIENT_CORE), "wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "--timeout", "20s")
    text = run_tool((*command, *wanted, f"http://127.0.0.1:{server.port}{path}")).decode()
    used_s = server.cpu_s() - began_cpu_s
    if "Non-2xx" in text:
        raise SystemExit(f"{server.name} refuses {path}:\n{text}")
    total = re.search(r"(\d+) requests in ([\d.]+)s, ([\d.]+)(\w+) read", text)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)", text)
    assert total
    assert p99
    size = float(total[3]) * {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}[total[4]]
    took_s, answers = float(total[2]), max(1, int(total[1]))
    p99_ms = float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[p99[2]]
    return Run(answers / took_s, max(size, 1.0) / took_s, used_s / answers, p99_ms)


def compare(
    servers: tuple[Rival, Rival], shape: Shape, clients: int, pairs: int, seconds: int
) -> list[tuple[Run, Run]]:
    """Run ours and another in turns, each first in every other pair."""
    rows = []
    for number in range(pairs):
        order = servers if number % 2 else servers[::-1]
        found = {server.name: drive(server, shape, clients, seconds) for server in order}
        rows.append((found[servers[0].name], found[servers[1].name]))
    return rows


def line(shape: Shape, clients: int, rival: str, rows: list[tuple[Run, Run]]) -> str:
    """Return a row of the table; a run in which a server answered nothing counts as one answer."""
    rate = median(a.rate / b.rate for a, b in rows)
    cpu = median(a.cpu_per_gb_s / b.cpu_per_gb_s for a, b in rows)
    p99 = median(a.p99_ms / max(b.p99_ms, 0.001) for a, b in rows)
    least = MUST.get((shape.name, clients)) if rival == "nginx" else 4.0 if clients >= 50 else None
    said = "" if least is None else f"{'holds' if rate >= least else '**missed**'} (>= {least:g})"
    ours_runs, their_runs = zip(*rows, strict=True)
    rates = " / ".join(f"{median(run.rate for run in runs):,.0f}" for runs in (ours_runs, their_runs))
    micro = " / ".join(f"{median(run.cpu_s for run in runs) * 1e6:.0f}" for runs in (ours_runs, their_runs))
    return (
        f"| {shape.name} | {clients} | {rival} | {rates} | **{rate:.2f}** | {micro} | {cpu:.2f} | {p99:.2f} | {said} |"
    )


def idle_memory(server: Rival, connections: int = 1000) -> float:
    """Return the MB that 1,000 idle keep-alive connections cost, after one request on each."""
    before = server.memory_kb()
    opened = []
    for _ in range(connections):
        client = socket.create_connection(("127.0.0.1", server.port))
        client.sendall(f"GET {FOLDER}/audio_en.mp4 HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-0\r\n\r\n".encode())
        client.recv(4096)
        opened.append(client)
    cost = (server.memory_kb() - before) / connections * 1000 / 1024
    for client in opened:
        client.close()
    return cost


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--quick", action="store_true", help="one pair of a second each")
    words.add_argument("--clients", default="1,50,500,2000")
    words.add_argument("--pairs", type=int, default=5)
    words.add_argument("--seconds", type=int, default=3)
    words.add_argument("--shapes", default="", help="only shapes whose names begin so, separated by commas")
    words.add_argument("--no-express", action="store_true")
    words.add_argument("--only-express", action="store_true")
    words.add_argument("--serve", nargs=2, metavar=("ROOT", "PORT"), help=argparse.SUPPRESS)
    given = words.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if given.serve:
        asyncio.run(serve(Path(given.serve[0]), int(given.serve[1])))
        return
    for program in ("wrk", "nginx"):
        if not shutil.which(program):
            raise SystemExit(f"{program} is missing: apt-get install nginx-light wrk")
    pairs, seconds = (1, 1) if given.quick else (given.pairs, given.seconds)
    core = SERVER_CORE if (os.cpu_count() or 1) > 1 else None
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        root = Path(temporary)
        root.chmod(0o755)
        publish(root)
        for name in ("nginx", "express"):
            (root / name).mkdir()
        mine = stack.enter_context(ours(root, core))
        wanted = [s for s in shapes(mine.port, root) if s.name.startswith(tuple(given.shapes.split(",")))]
        theirs = stack.enter_context(nginx(root / "media", root / "nginx", core=core))
        # before any load: memory that was taken once is used again
        costs = idle_memory(mine), idle_memory(theirs)
        print(f"{datetime.date.today()}, {pairs} pairs of {seconds} s, one process each\n")
        print(
            "| shape | clients | rival | requests/s | ratio | CPU us/request | CPU per GB, ratio | p99, ratio | must |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        counts = [int(count) for count in given.clients.split(",")]
        for shape in () if given.only_express else wanted:
            for clients in counts:
                rows = compare((mine, theirs), shape, clients, pairs, seconds)
                print(line(shape, clients, "nginx", rows), flush=True)
        if not given.no_express:
            slow = stack.enter_context(express(root / "media", root / "express", core=core))
            for shape in [shape for shape in wanted if shape.ours == shape.theirs]:
                for clients in [count for count in counts if count >= 50]:
                    rows = compare((mine, slow), shape, clients, max(1, pairs // 2), seconds)
                    print(line(shape, clients, "Express", rows), flush=True)
        print(f"\nmemory of 1,000 idle connections: ours {costs[0]:.1f} MB, nginx {costs[1]:.1f} MB")


if __name__ == "__main__":
    main()
