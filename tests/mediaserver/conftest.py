"""A published chapter of random bytes, a face worker that does what a test says, and servers on real sockets."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from encoder import stages
from encoder.errors import ToolCancelled
from encoder.guard import Care
from encoder.model import (
    Grid,
    InsertFormat,
    Picture,
    Placement,
    Presentation,
    Rendition,
    Segment,
    Slot,
    Sound,
)
from lipsync.errors import NotAPicture, PhotoRefused, RenderFailed
from lipsync.protocols import Examined, Fragment, Take
from mediaserver import jobroom, jobs, jobwork
from mediaserver.app import build_app
from mediaserver.settings import Settings
from tests.masters import make_master
from tests.mediaserver.room import Room

GRID = Grid(Fraction(25), frames_per_segment=50, frames=500)
SLOT = Slot("you", Fraction(11), Fraction(4), Placement(0.3, 0.1, 0.4, 0.8))


def rendition(file: str, size: int, segments: int, **rest: object) -> Rendition:
    """A rendition whose segments share `size` bytes after an init of 100 and an index of 44 bytes."""
    each = (size - 144) // segments
    cut = tuple(
        Segment(144 + n * each, each if n < segments - 1 else size - 144 - n * each, 25600) for n in range(segments)
    )
    mime = "video/mp4" if file.startswith("video") else "audio/mp4"
    codecs = "avc1.640028" if file.startswith("video") else "mp4a.40.2"
    return Rendition(file, mime, codecs, 12800, 100, 100, 44, cut, 3_000_000, 2_000_000, **rest)  # type: ignore[arg-type]


def presentation(chapter: str, version: str, slots: tuple[Slot, ...] = (SLOT,)) -> Presentation:
    reserved = InsertFormat("sps-id=1", "veryfast", b"\x67sps", b"\x68pps", 1024)
    return Presentation(
        chapter,
        version,
        "Part two",
        GRID,
        (
            rendition("video_1080p_h264.mp4", 60_000, 10, picture=Picture(1920, 1080, Fraction(25)), insert=reserved),
            rendition("video_432p_h264.mp4", 20_000, 10, picture=Picture(768, 432, Fraction(25)), insert=reserved),
            rendition("audio_en.mp4", 9_000, 10, sound=Sound(2, 48000, "en")),
        ),
        slots,
    )


@dataclass
class Chapter:
    """A chapter on disk and what a test compares answers with."""

    folder: Path
    presentation: Presentation

    @property
    def path(self) -> str:
        return f"{self.presentation.chapter}/{self.presentation.version}"

    def bytes_of(self, file: str) -> bytes:
        return (self.folder / file).read_bytes()

    def segment(self, rendition: str, number: int) -> bytes:
        found = self.presentation.rendition(rendition)
        assert found
        segment = found.segments[number]
        return self.bytes_of(found.file)[segment.offset : segment.offset + segment.size]

    def insert_names(self) -> list[tuple[str, int]]:
        p = self.presentation
        return [(r.id, n) for r in p.videos for slot in p.slots for n in p.segments_of(slot)]


Publish = Callable[..., Chapter]


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    """Publish a chapter of random bytes into tmp_path/media, `current` last."""

    def make(chapter: str = "part2", version: str = "v1", slots: tuple[Slot, ...] = (SLOT,)) -> Chapter:
        p = presentation(chapter, version, slots)
        folder = tmp_path / "media" / chapter / version
        folder.mkdir(parents=True)
        noise = random.Random(f"{chapter} {version}")
        for r in p.renditions:
            (folder / r.file).write_bytes(noise.randbytes(r.size))
        for slot in slots:
            (folder / slot.mezzanine).write_bytes(b"mezzanine")
            (folder / slot.narration).write_bytes(b"narration")
        (folder / "presentation.json").write_text(p.to_json(), "utf-8")
        pointer = folder.parent / "current.new"
        pointer.write_text(version + "\n", "utf-8")
        pointer.replace(folder.parent / "current")
        return Chapter(folder, p)

    return make


def fragment_bytes(face: bytes, rendition: str, number: int) -> bytes:
    return b"insert %b %b %d" % (face, rendition.encode(), number)


@dataclass
class ScriptedFaceWorker:
    """A FaceWorker that waits where the test tells it to, and whose fragments say what they were made of.

    `go` holds back renders, `look` holds back examinations; `fail_after` fragments a render fails.
    """

    go: asyncio.Event = field(default_factory=asyncio.Event)
    look: asyncio.Event = field(default_factory=asyncio.Event)
    fail_after: int | None = None
    begun: list[tuple[bytes, str]] = field(default_factory=list)
    examined: int = 0
    takes: list[Take] = field(default_factory=list)
    stopped: int = 0
    steps: asyncio.Semaphore | None = None

    def __post_init__(self) -> None:
        self.go.set()
        self.look.set()

    async def examine(self, photo: bytes) -> Examined:
        await self.look.wait()
        if photo.startswith(b"%PDF"):
            raise NotAPicture("it is a document.")
        if photo.startswith(b"nobody"):
            raise PhotoRefused("no_face", "No face can be seen.", "Turn towards the light.")
        self.examined += 1
        return Examined(b"face of " + photo[:20], photo)

    async def render(self, face: bytes, take: Take) -> AsyncIterator[Fragment]:
        self.begun.append((face, f"{take.folder.parent.name}/{take.folder.name}/{take.slot}"))
        self.takes.append(take)
        made = 0
        try:
            for rendition in take.renditions:
                for number in take.segments:
                    await self.go.wait()
                    if self.steps:
                        await self.steps.acquire()
                    if made == self.fail_after:
                        raise RenderFailed("the test says so.")
                    made += 1
                    yield Fragment(rendition, number, fragment_bytes(face, rendition, number))
        finally:
            self.stopped += 1

    async def sign(self, video: bytes, title: str, render_id: int | None) -> bytes:
        assert render_id is not None
        return video + b" signed as %b, %08x" % (title.encode(), render_id)

    async def inspect(self, video: Path) -> dict[str, object]:
        return {"made_from_a_face": True, "sentences": [f"It has {video.stat().st_size} bytes."]}

    async def close(self) -> None:
        return None


@dataclass
class Served:
    """A running server with a client; `get` and the others take paths below its root."""

    url: str
    client: ClientSession
    settings: Settings
    worker: ScriptedFaceWorker

    async def begin(self) -> str:
        """Open a session and return its address without the first slash."""
        async with self.client.get(self.url + "consent") as answer:
            consent = await answer.json()
        boxes = {box["id"]: True for box in consent["boxes"]}
        async with self.client.post(
            self.url + "sessions", json={"consent": consent["sha256"], "boxes": boxes}
        ) as answer:
            assert answer.status == 201
            return str((await answer.json())["session"]).lstrip("/")

    async def put_photo(self, session: str, photo: bytes = b"jpeg", kind: str = "image/jpeg") -> tuple[int, dict]:  # type: ignore[type-arg]
        async with self.client.put(f"{self.url}{session}photo", data=photo, headers={"Content-Type": kind}) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        async with self.client.get(self.url + path, headers=headers) as answer:
            return answer.status, answer.headers, await answer.read()

    async def state(self, session: str) -> dict:  # type: ignore[type-arg]
        async with self.client.get(self.url + session) as answer:
            assert answer.status == 200
            return dict(await answer.json())

    async def until(self, session: str, state: str) -> dict:  # type: ignore[type-arg]
        """Poll until the session is in `state`; the test's own timeout ends a vain wait."""
        while (found := await self.state(session))["state"] != state:
            await asyncio.sleep(0.01)
        return found


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start servers over tmp_path/media and tmp_path/state; `settings` may be overridden by keyword."""
    running: list[tuple[TestServer, ClientSession]] = []
    (tmp_path / "media").mkdir(exist_ok=True)

    async def start(
        worker: ScriptedFaceWorker | None = None, clock: Callable[[], float] | None = None, **overrides: object
    ) -> Served:
        worker = worker or ScriptedFaceWorker()
        settings = Settings(media=tmp_path / "media", state=tmp_path / "state", **overrides)  # type: ignore[arg-type]
        app: web.Application = build_app(settings, worker, worker, **({"clock": clock} if clock else {}))  # type: ignore[arg-type]
        server = TestServer(app)
        await server.start_server()
        client = ClientSession()
        running.append((server, client))
        return Served(str(server.make_url("/")), client, settings, worker)

    async def stop(served: Served) -> None:
        for server, client in [pair for pair in running if pair[1] is served.client]:
            running.remove((server, client))
            await client.close()
            await server.close()

    start.stop = stop  # type: ignore[attr-defined]
    yield start
    for server, client in running:
        await client.close()
        await server.close()


# --- the editors' jobs ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A master of 3 s; copies of it are what the tests drop."""
    return make_master(tmp_path_factory.mktemp("film") / "film.mov", frames=75)


@pytest.fixture(scope="session")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A master that takes many seconds to encode; tests end its jobs before."""
    return make_master(tmp_path_factory.mktemp("film") / "long.mov", frames=500, size="1280x720")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for patient in (jobs, jobwork, jobroom):
        monkeypatch.setattr(patient, "LOOK_S", 0.1)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room.below(tmp_path)


@pytest.fixture
def held_encode(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Hold every encode back until the returned function is called."""
    go, encode = threading.Event(), stages.encode_chunk

    def held(*what: Any, care: Care, **how: Any) -> None:
        while not go.wait(0.02):
            if care.cancelled and care.cancelled():
                raise ToolCancelled
        encode(*what, care=care, **how)

    monkeypatch.setattr(stages, "encode_chunk", held)
    yield go.set
    go.set()


@pytest.fixture
def encodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The masters whose pictures were encoded, with a mark where two were at once."""
    done: list[str] = []
    busy = threading.Lock()
    encode = stages.encode_chunk

    def counted(plan: stages.Plan, chunk: Any, media: Path, *what: Any, **how: Any) -> None:
        if plan.missing(media).ladder.rungs:
            done.append(plan.master.path.name if busy.acquire(blocking=False) else "two at once")
        try:
            encode(plan, chunk, media, *what, **how)
        finally:
            if busy.locked():
                busy.release()

    monkeypatch.setattr(stages, "encode_chunk", counted)
    return done
