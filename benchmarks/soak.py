"""A long run of many clients: `make soak`, or `.venv/bin/python -m benchmarks.soak [--minutes 5] [--clients 2000]`.

A real server in processes of its own (`--workers N`). Clients ask for ranges, whole segments, manifests, conditions and
personal segments, read slowly, and reset connections at random; a chapter is published anew every few seconds and old
versions are taken away. Every body is compared by its hash. Ends with 1 if a byte was wrong, an answer was 5xx, a
descriptor leaked, or memory grew by 1 MB a minute or more after the first minute.
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
import struct
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from benchmarks.rivals import Rival
from encoder.model import Presentation
from encoder.tools import open_tool, python_module
from tests.mediaserver.conftest import presentation

CHAPTER = "part2"
FILM, SEGMENT, SOUND = "video_1080p_h264.mp4", "video_432p_h264.mp4", "audio_en.mp4"
FILM_BYTES, SEGMENT_BYTES, RANGES, LONGEST = 8_000_000, 1_200_000, 64, 256 * 1024
PUBLISH_S, KEPT, SAMPLE_S = 4.0, 3, 2.0
# The share of requests after which the client resets, and of connections that read slowly or are a viewer's own.
RESETS, SLOW, PERSONAL = 0.02, 0.02, 0.05
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


def digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Version:
    """What was published under a name, as hashes: of ranges of the film, whole files and personal segments."""

    name: str
    model: Presentation
    ranges: list[tuple[int, int, bytes]]
    whole: dict[str, bytes]
    segments: dict[str, bytes]


@dataclass(slots=True)
class Newsroom:
    """Publishes versions and takes old ones away; `versions` are those that may still be asked for."""

    media: Path
    chance: random.Random
    versions: list[Version] = field(default_factory=list)
    published: int = 0

    def publish(self) -> None:
        self.published += 1
        name, model = f"v{self.published}", presentation(CHAPTER, f"v{self.published}")
        folder = self.media / CHAPTER / f"{name}.part"
        folder.mkdir(parents=True)
        sizes = {FILM: FILM_BYTES, SEGMENT: SEGMENT_BYTES, SOUND: 9000}
        data = {file: self.chance.randbytes(size) for file, size in sizes.items()}
        for file, written in data.items():
            (folder / file).write_bytes(written)
        (folder / "presentation.json").write_text(model.to_json(), "utf-8")
        folder.rename(folder.with_suffix(""))
        pointer = folder.with_name("current.new")
        pointer.write_text(f"{name}\n", "utf-8")
        pointer.replace(folder.with_name("current"))
        self.versions.append(Version(name, model, [*self._ranges(data[FILM])], _whole(data), _segments(model, data)))

    def _ranges(self, film: bytes) -> Iterator[tuple[int, int, bytes]]:
        for _ in range(RANGES):
            start = self.chance.randrange(FILM_BYTES - 1)
            stop = min(FILM_BYTES, start + self.chance.randrange(1, LONGEST))
            yield start, stop, digest(film[start:stop])

    def retire(self) -> None:
        """Take the oldest version away if there are enough; clients have stopped asking for it one round ago."""
        old = self.published - KEPT - 1
        if old >= 1:
            shutil.rmtree(self.media / CHAPTER / f"v{old}")
        if len(self.versions) > KEPT:
            del self.versions[0]

    async def run(self) -> None:
        while True:
            await asyncio.sleep(PUBLISH_S)
            await asyncio.to_thread(self.publish)
            self.retire()


def _whole(data: dict[str, bytes]) -> dict[str, bytes]:
    return {file: digest(data[file]) for file in (SEGMENT, SOUND)}


def _segments(model: Presentation, data: dict[str, bytes]) -> dict[str, bytes]:
    found = {}
    for r in model.videos:
        for number in model.segments_of(model.slots[0]):
            segment = r.segments[number]
            found[f"{r.id}/{number}.m4s"] = digest(data[r.file][segment.offset : segment.offset + segment.size])
    return found


@dataclass(slots=True)
class Tally:
    """What all clients have seen."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    resets: int = 0
    broken: int = 0
    got_bytes: int = 0
    ended: bool = False

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)


class Gone(Exception):
    """The connection is over, by our will or not."""


class Client:
    """One connection after another, until the run has ended."""

    def __init__(self, port: int, newsroom: Newsroom, tally: Tally, seed: int) -> None:
        self._port, self._newsroom, self._tally = port, newsroom, tally
        self._chance = random.Random(seed)

    async def run(self) -> None:
        await asyncio.sleep(self._chance.uniform(0, 3))
        while not self._tally.ended:
            with suppress(Gone, OSError):
                await self._visit()

    async def _visit(self) -> None:
        self._slow = self._chance.random() < SLOW
        limit = 16 * 1024 if self._slow else 512 * 1024
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=limit)
        try:
            if self._chance.random() < PERSONAL:
                await self._personal()
            else:
                for _ in range(self._chance.randrange(1, 40)):
                    if self._tally.ended:
                        return
                    await self._shared()
                    await asyncio.sleep(self._chance.uniform(0, 2))
        finally:
            self._writer.close()

    async def _shared(self) -> None:
        version, kind = self._chance.choice(self._newsroom.versions[-2:]), self._chance.random()
        folder = f"/{CHAPTER}/{version.name}"
        if kind < 0.75:
            start, stop, wanted = self._chance.choice(version.ranges)
            status, _, body = await self._ask(f"{folder}/{FILM}", f"Range: bytes={start}-{stop - 1}")
            self._compare(status, 206, body, wanted, f"{version.name} {start}-{stop}")
        elif kind < 0.85:
            file = self._chance.choice([*version.whole])
            status, _, body = await self._ask(f"{folder}/{file}")
            self._compare(status, 200, body, version.whole[file], f"{version.name} {file}")
        elif kind < 0.95:
            newest = {version.name for version in self._newsroom.versions}
            status, _, body = await self._ask(f"/{CHAPTER}/{self._chance.choice(['stream.mpd', 'master.m3u8'])}")
            newest |= {version.name for version in self._newsroom.versions} | {f"v{self._newsroom.published}"}
            named = set(re.findall(r"\bv\d+(?=/)", body.decode("utf-8")))
            self._tally.check(status == 200 and len(named) == 1 and named <= newest, f"manifest {status} of {named}")
        else:
            await self._conditional(f"{folder}/{SOUND}", version)

    async def _conditional(self, path: str, version: Version) -> None:
        status, head, body = await self._ask(path)
        self._compare(status, 200, body, version.whole[SOUND], path)
        if status == 200 and (tag := re.search(rb"\r\nETag: (\S+)\r\n", head)):
            again, _, nothing = await self._ask(path, f"If-None-Match: {tag[1].decode()}")
            self._tally.check(again in (304, 404) and (again == 404 or not nothing), f"{again} to If-None-Match")

    def _compare(self, status: int, expected: int, body: bytes, wanted: bytes, what: str) -> None:
        """A version that has just been taken away may be gone; nothing else may be but what was published."""
        if status != 404 or what.startswith(tuple(f"{v.name} " for v in self._newsroom.versions[-2:])):
            self._tally.check(status == expected and digest(body) == wanted, f"{what}: {status}, {len(body)} bytes")

    async def _personal(self) -> None:
        """A viewer who agrees, asks for the own manifest and segments, and deletes everything."""
        consent = json.loads((await self._ask("/consent"))[2])
        agreed = {"consent": consent["sha256"], "boxes": {box["id"]: True for box in consent["boxes"]}}
        text = json.dumps(agreed)
        status, _, body = await self._ask("/sessions", f"Content-Length: {len(text)}", method="POST", body=text)
        if status != 201:
            self._tally.check(False, f"{status} to POST /sessions")
            return
        session = json.loads(body)["session"]
        _, _, manifest = await self._ask(f"{session}{CHAPTER}/stream.mpd")
        named = re.search(rb"\bv\d+(?=/)", manifest)
        version = next((v for v in self._newsroom.versions if named and v.name.encode() == named[0]), None)
        for path in self._chance.sample([*version.segments], 4) if version else ():
            assert version
            status, _, body = await self._ask(f"{session}{CHAPTER}/{version.name}/{path}")
            self._compare(status, 200, body, version.segments[path], f"{version.name} {path}")
        status, _, _ = await self._ask(session, method="DELETE")
        again, _, _ = await self._ask(session)
        self._tally.check((status, again) == (204, 410), f"{status}, then {again} to a deleted session")

    async def _ask(self, path: str, *lines: str, method: str = "GET", body: str = "") -> tuple[int, bytes, bytes]:
        """Return status, head and body; raises Gone where this client resets or the server has closed."""
        self._writer.write("\r\n".join((f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", body)).encode())
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            size = int(length[1]) if length and b" 304 " not in head[:15] else 0
            if self._chance.random() < RESETS:
                self._reset()
            read = await self._reader.readexactly(size) if not self._slow else await self._slowly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self._tally.broken += 1
            raise Gone from error
        status = int(head[9:12])
        self._tally.statuses[status] += 1
        self._tally.got_bytes += len(read)
        return status, head, read

    async def _slowly(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size:
            parts += await self._reader.readexactly(min(100_000, size - len(parts)))
            await asyncio.sleep(0.2)
        return parts

    def _reset(self) -> None:
        """End the connection with a TCP reset, in the middle of a body where there is one."""
        raw: socket.socket = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        self._tally.resets += 1
        raise Gone


@dataclass(slots=True)
class Watcher:
    """Looks at the server's own processes: memory in KiB by seconds, and descriptors."""

    server: Rival
    media: Path
    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def pids(self) -> list[int]:
        """The control process and its byte workers, not those that make scenes."""
        return [pid for pid in self.server.pids if b"mediaserver\0serve" in line(pid) or b"byteworker" in line(pid)]

    def memory_kb(self) -> int:
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text("ascii") for pid in self.pids]
        return sum(int(text.partition("Pss:")[2].split()[0]) for text in texts)

    def descriptors(self) -> int:
        """All that is open but published files that still lie there: the index holds those in readiness."""
        return sum(not link.startswith(f"{self.media}/") or link.endswith("(deleted)") for link in self._links())

    def _links(self) -> Iterator[str]:
        for pid in self.pids:
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    yield os.readlink(f"/proc/{pid}/fd/{name}")

    async def run(self) -> None:
        began_s = time.monotonic()
        while True:
            self.samples.append((time.monotonic() - began_s, self.memory_kb()))
            await asyncio.sleep(SAMPLE_S)

    def slope_mb_min(self, after_s: float) -> float:
        """Least squares over the samples after so many seconds."""
        return slope([(at / 60, kb / 1024) for at, kb in self.samples if at >= after_s])


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return by how much y grows with x, by least squares."""
    mean_x, mean_y = (sum(p[i] for p in points) / len(points) for i in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def fetch(port: int, path: str) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        answer.read()


def line(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@contextmanager
def serving(root: Path, workers: int) -> Iterator[Rival]:
    os.environ["MEDIASERVER_VISITS_PER_MINUTE"] = "0"
    os.environ["MEDIASERVER_CONNECTIONS_MAX"] = "20000"
    flags = [word for name in ("raw", "media", "state") for word in (f"--{name}", str(root / name))]
    command = (*python_module("mediaserver"), "serve", "--port=0", "--admin-port=0", f"--workers={workers}", "--json")
    with open_tool((*command, *flags)) as child:
        first = json.loads(child.stdout.readline())["page"]
        yield Rival("ours", int(first.rsplit(":", 1)[1].strip("/")), child.process.pid)
        child.process.terminate()
        child.check()


async def soak(server: Rival, newsroom: Newsroom, clients: int, seconds: float) -> list[tuple[str, str, bool]]:
    """Run it; return what was found, figure by figure, and whether it is good."""
    tally, watcher = Tally(), Watcher(server, newsroom.media)
    before = watcher.descriptors()
    background = [asyncio.create_task(newsroom.run()), asyncio.create_task(watcher.run())]
    visits = [asyncio.create_task(Client(server.port, newsroom, tally, n).run()) for n in range(1, clients + 1)]
    for minute_s in range(0, int(seconds), 30):
        await asyncio.sleep(min(30, seconds - minute_s))
        told = f"{sum(tally.statuses.values()):,} answers, {tally.resets:,} resets, {newsroom.published} versions"
        print(
            f"{minute_s + 30:4d} s: {told}, {watcher.samples[-1][1] / 1024:.1f} MB, {len(tally.wrong)} wrong",
            flush=True,
        )
    tally.ended = True
    await asyncio.wait(visits, timeout=60)
    for task in background:
        task.cancel()
    await asyncio.wait(background)
    for _ in range(100):
        # whoever is asked looks at the folder again, and lets go of what is no longer published
        await asyncio.to_thread(fetch, server.port, f"/{CHAPTER}/stream.mpd")
        if (after := watcher.descriptors()) <= before:
            break
        await asyncio.sleep(0.2)
    slope = watcher.slope_mb_min(min(60.0, seconds / 3))
    errors = sum(count for status, count in tally.statuses.items() if status >= 500)
    for what in tally.wrong[:10]:
        print(f"wrong: {what}")
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(tally.statuses.items()))
    return [
        ("answers", f"{sum(tally.statuses.values()):,} ({statuses})", sum(tally.statuses.values()) > clients),
        ("bytes compared", f"{tally.got_bytes / 1e9:.1f} GB", True),
        ("versions published meanwhile", str(newsroom.published), newsroom.published > 1),
        ("connections reset by clients", f"{tally.resets:,}", tally.resets > 0),
        ("connections broken by the server", f"{tally.broken:,}", tally.broken == 0),
        ("wrong bytes or answers", str(len(tally.wrong)), not tally.wrong),
        ("5xx", str(errors), errors == 0),
        ("descriptors before and after", f"{before}, {after}", after <= before),
        ("memory, first and last", " and ".join(f"{watcher.samples[n][1] / 1024:.1f} MB" for n in (0, -1)), True),
        ("memory slope after the first minute", f"{slope:+.2f} MB/min", slope < 1),
    ]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--minutes", type=float, default=5)
    words.add_argument("--clients", type=int, default=2000)
    words.add_argument("--workers", type=int, default=1)
    given = words.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        newsroom = Newsroom(root / "media", random.Random(1))
        newsroom.publish()
        with serving(root, given.workers) as server:
            found = asyncio.run(soak(server, newsroom, given.clients, given.minutes * 60))
    print(
        f"\n{datetime.date.today()}, {given.clients:,} clients, {given.minutes:g} minutes, workers = {given.workers}\n"
    )
    print("| | |\n|---|---|")
    for name, value, good in found:
        print(f"| {name} | {value}{'' if good else ' **bad**'} |")
    sys.exit(0 if all(good for _, _, good in found) else 1)


if __name__ == "__main__":
    main()
