"""What a viewer's own scene costs, over HTTP, with label, mark and Content Credentials on.

    .venv/bin/python benchmarks/personal.py [--runs 3] [--sessions 1000] [--beside]

Publishes three chapters of 20 s (1920x1080, 25 pictures/s, three rungs) with a slot of 16 s: one whose picture moves,
and two where it stands still; that of `still` begins and ends with a segment, that of `between` does not.
Each run is a viewer who asks for the manifest, sends lipsync/demo/man.jpg, and asks for the slot's segments of the 720p
rung one after the other; times count from the answer that accepts the photo. `--beside` encodes another master at the
same time. `--arrivals N` sends N viewers of the still slot at random intervals and compares what each was told at the
upload with what came true. Then shared and personal manifests are fetched for some seconds each, and sessions are
opened and deleted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["MEDIASERVER_VISITS_PER_MINUTE"] = "0"
os.environ["MEDIASERVER_AV1"] = "off"

from aiohttp import ClientSession, TCPConnector  # noqa: E402

from encoder.model import Presentation  # noqa: E402
from encoder.tools import Child, find_tools, open_tool, python_module, run_tool  # noqa: E402
from mediaserver.sample import make  # noqa: E402
from tests.browser.conftest import _address  # noqa: E402

PHOTO = ROOT / "lipsync" / "demo" / "man.jpg"
KINDS = {"still": ("still", "2"), "between": ("still", "2.5"), "moving": ("moving", "2.5")}
"""What stands behind the face, and where the slot begins, in seconds."""
RUNG = "video_720p_h264"
SLOT_S = 16
SIDECAR = """language = "en"
[[slot]]
id = "you"
start = BEGIN
duration = 16
speaker_consent = "a voice that was made"
face = {x = 0.54, y = 0.09, w = 0.36, h = 0.8}
compose = "KIND"
"""
MANIFEST_S, BEGUN_S = 4.0, 3.0


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds from the accepted photo."""

    first_s: float
    rung_s: float
    all_s: float

    @property
    def speed(self) -> float:
        """Seconds of film of the requested rung made in a second, after its first segment."""
        return (SLOT_S - 2) / max(1e-3, self.rung_s - self.first_s)


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    pid: int
    state: Path
    media: Path


def masters(raw: Path) -> None:
    """Write a master for each kind with its sidecar."""
    sample = make(raw.parent, small=False)
    cut = ("-ss", "6", "-t", "20", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-c:a", "pcm_s16le")
    tools = find_tools()
    run_tool([str(tools.ffmpeg), "-v", "error", "-i", str(sample), *cut, str(raw / "moving.mov")])
    frozen = ("-vf", "loop=loop=-1:size=1,trim=end_frame=500,setpts=N/25/TB")
    run_tool([str(tools.ffmpeg), "-v", "error", "-i", str(sample), *frozen, *cut[2:], str(raw / "still.mov")])
    shutil.copy(raw / "still.mov", raw / "between.mov")
    for kind, (compose, begin_s) in KINDS.items():
        (raw / f"{kind}.toml").write_text(SIDECAR.replace("KIND", compose).replace("BEGIN", begin_s))


@contextmanager
def serving(home: Path) -> Iterator[Server]:
    folders = {name: home / name for name in ("raw", "media", "state")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    flags = [word for name, folder in folders.items() for word in (f"--{name}", str(folder))]
    if not (folders["media"] / "still").is_dir():
        masters(folders["raw"])
        files = [str(folders["raw"] / f"{kind}.mov") for kind in KINDS]
        run_tool((*python_module("mediaserver"), "encode", *files, *flags), timeout_s=1800)
    with open_tool((*python_module("mediaserver"), "serve", "--port=0", "--admin-port=0", "--json", *flags)) as child:
        yield Server(_address(child), child.process.pid, folders["state"], folders["media"])
        child.process.terminate()
        child.stdout.read()
        child.check()


async def begin(http: ClientSession, url: str) -> str:
    async with http.get(f"{url}consent") as answer:
        consent = await answer.json()
    boxes = {box["id"]: True for box in consent["boxes"]}
    async with http.post(f"{url}sessions", json={"consent": consent["sha256"], "boxes": boxes}) as answer:
        return url + str((await answer.json())["session"]).lstrip("/")


async def visit(http: ClientSession, server: Server, kind: str) -> Run:
    """One viewer of one chapter."""
    folder = server.media / kind / (server.media / kind / "current").read_text().strip()
    p = Presentation.load(folder)
    session = await begin(http, server.url)
    async with http.get(f"{session}{kind}/stream.mpd") as answer:
        assert answer.status == 200
    headers = {"Content-Type": "image/jpeg"}
    async with http.put(f"{session}photo", data=PHOTO.read_bytes(), headers=headers) as answer:
        assert answer.status == 202
    began_s, got_s = time.perf_counter(), []
    for number in p.segments_of(p.slots[0]):
        address = f"{session}{kind}/{p.version}/{RUNG}/{number}.m4s?CMCD=bl%3D5000"
        while True:
            async with http.get(address) as answer:
                await answer.read()
                if answer.headers["X-Scene"] == "personal":
                    break
        got_s.append(time.perf_counter() - began_s)
    while True:
        async with http.get(session) as answer:
            state = (await answer.json())["state"]
        assert state != "failed"
        if state == "ready":
            break
        await asyncio.sleep(0.02)
    all_s = time.perf_counter() - began_s
    async with http.delete(session) as answer:
        assert answer.status == 204
    return Run(got_s[0], got_s[-1], all_s)


async def scenes(http: ClientSession, server: Server, runs: int, label: str) -> None:
    print(f"\n{label}: seconds from the accepted photo (median of {runs}; the first run of each kind is not counted)")
    for kind in KINDS:
        await visit(http, server, kind)
        found = [await visit(http, server, kind) for _ in range(runs)]
        first, rung, all_s = (
            statistics.median(getattr(run, name) for run in found) for name in ("first_s", "rung_s", "all_s")
        )
        speed = statistics.median(run.speed for run in found)
        print(
            f"  {kind:7} first requested segment {first:.2f}   all of 720p {rung:.2f} ({speed:.1f}x real time)"
            f"   all rungs {all_s:.2f}"
        )


async def punctuality(http: ClientSession, server: Server, viewers: int) -> None:
    """Say how many of the viewers were told the truth within 30 % or 2 s, for what they watch and for all of it."""
    busy_s, dice = (await visit(http, server, "still")).all_s, random.Random(1)
    waits, at_s = [], 0.0
    for _ in range(viewers):
        waits.append(_told_and_true(http, server, at_s))
        at_s += dice.expovariate(0.7 / busy_s)
    found = await asyncio.gather(*waits)
    print(f"\n{viewers} viewers at random, the renderer busy for 0.7 of the time: told within 30 % or 2 s of the truth")
    for name, rows in zip(("first rung", "all rungs"), zip(*found, strict=True), strict=True):
        kept = sum(abs(told - true) <= max(2.0, 0.3 * true) for told, true in rows)
        print(f"  {name:10} {kept} of {viewers}   told/true s: {' '.join(f'{a:.0f}/{b:.1f}' for a, b in rows)}")


async def _told_and_true(http: ClientSession, server: Server, at_s: float) -> tuple[tuple[float, float], ...]:
    """Return the seconds told at the upload and those it took, for the first rung and for all of them."""
    await asyncio.sleep(at_s)
    session = await begin(http, server.url)
    async with http.get(f"{session}still/stream.mpd") as answer:
        await answer.read()
    async with http.put(f"{session}photo", data=PHOTO.read_bytes(), headers={"Content-Type": "image/jpeg"}) as answer:
        (told,) = (await answer.json())["slots"]
    began_s, first_s = time.perf_counter(), 0.0
    while True:
        async with http.get(session) as answer:
            (slot,) = (await answer.json())["slots"]
        now_s = time.perf_counter() - began_s
        first_s = first_s or (now_s if not slot["watchable_s"] else 0.0)
        if slot["state"] == "ready":
            break
        await asyncio.sleep(0.1)
    async with http.delete(session) as answer:
        assert answer.status == 204
    return (told["watchable_s"], first_s), (told["eta_s"], now_s)


async def manifests(server: Server) -> None:
    """Requests a second of one manifest, 16 at once, shared and personal."""
    rates = {}
    async with ClientSession(connector=TCPConnector(limit=16)) as http:
        session = await begin(http, server.url)
        for name, url in (("shared", f"{server.url}moving/stream.mpd"), ("personal", f"{session}moving/stream.mpd")):
            until, count = time.perf_counter() + MANIFEST_S, 0

            async def ask(url: str = url, until: float = until) -> int:
                done = 0
                while time.perf_counter() < until:
                    async with http.get(url) as answer:
                        await answer.read()
                        done += 1
                return done

            count = sum(await asyncio.gather(*(ask() for _ in range(16))))
            rates[name] = count / MANIFEST_S
        async with http.delete(session):
            pass
    share = rates["personal"] / rates["shared"]
    print(f"\nmanifests/s: shared {rates['shared']:.0f}, personal {rates['personal']:.0f} ({share:.2f}x)")


def held(server: Server) -> tuple[int, int, int]:
    """Bytes in state/, resident KiB of the server, its open descriptors."""
    disk = sum(path.stat().st_size for path in server.state.rglob("*") if path.is_file())
    memory = next(
        int(line.split()[1]) for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if "VmRSS" in line
    )
    return disk, memory, len(os.listdir(f"/proc/{server.pid}/fd"))


async def many(server: Server, sessions: int) -> None:
    """Open and delete sessions, each with its manifest asked for, twenty at a time."""

    async def one(http: ClientSession) -> None:
        session = await begin(http, server.url)
        async with http.get(f"{session}moving/stream.mpd") as answer:
            await answer.read()
        async with http.delete(session) as answer:
            assert answer.status == 204

    async def all_of(count: int) -> None:
        async with ClientSession(connector=TCPConnector(limit=20)) as http:
            for start in range(0, count, 20):
                await asyncio.gather(*(one(http) for _ in range(min(20, count - start))))

    await all_of(100)
    await asyncio.sleep(1)
    before, began_s = held(server), time.perf_counter()
    await all_of(sessions)
    took_s = time.perf_counter() - began_s
    await asyncio.sleep(1)
    after = held(server)
    print(f"\n{sessions} sessions opened and deleted in {took_s:.1f} s:")
    for name, unit, old, new in zip(("disk", "memory", "descriptors"), ("B", "KiB", ""), before, after, strict=True):
        print(f"  {name:12} {old:,} {unit} before, {new:,} {unit} after")


async def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--runs", type=int, default=3)
    words.add_argument("--sessions", type=int, default=1000)
    words.add_argument("--beside", action="store_true", help="encode another master at the same time, too")
    words.add_argument("--arrivals", type=int, default=0, metavar="N", help="viewers whose told time is compared")
    words.add_argument("--home", type=Path, help="folder that is kept, so that nothing is encoded twice")
    given = words.parse_args()
    home = given.home or Path(tempfile.mkdtemp(prefix="personal-"))
    home.mkdir(exist_ok=True)
    try:
        with serving(home) as server:
            async with ClientSession() as http:
                await scenes(http, server, given.runs, "alone")
                if given.beside:
                    with encoding(home):
                        await scenes(http, server, given.runs, "with an encode beside it")
                if given.arrivals:
                    await punctuality(http, server, given.arrivals)
            await manifests(server)
            await many(server, given.sessions)
    finally:
        if not given.home:
            shutil.rmtree(home)


@contextmanager
def encoding(home: Path) -> Iterator[Child]:
    """Encode the moving master again and again, as a job of this server's own, into nothing that is served."""
    beside = home / "beside"
    shutil.rmtree(beside, ignore_errors=True)
    for name in ("raw", "media"):
        (beside / name).mkdir(parents=True)
    long = beside / "raw" / "long.mov"
    source = home / "raw" / "moving.mov"
    looped = ("-stream_loop", "20", "-i", str(source), "-c", "copy", str(long))
    run_tool([str(find_tools().ffmpeg), "-v", "error", *looped])
    flags = ("--raw", str(beside / "raw"), "--media", str(beside / "media"), "--state", str(home / "state"))
    with open_tool((*python_module("mediaserver"), "encode", str(long), *flags)) as child:
        time.sleep(BEGUN_S)  # it is read first
        yield child
    shutil.rmtree(beside, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(main())
