"""Nothing of a face is told by a running server: not in logs at their loudest, not in figures, not in its files."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, FormData

from encoder.model import Presentation
from lipsync.errors import REFUSALS
from lipsync.face import FaceFinder
from lipsync.photo import encode_photo, read_photo
from tests.lipsync.conftest import DEMO, demo_photo

ROOT = Path(__file__).resolve().parents[2]
# Python runs it at the start of every process, the workers' too: everything that can be logged is.
LOUD = "import logging, sys\nlogging.basicConfig(level=1, stream=sys.stderr, format='%(name)s: %(message)s')\n"
SETTINGS = 'visits_per_minute = 0\naccess_log = "json"\nfilm_client = "its client asks"\nfilm_slot = "part/you"\n'
COMMENT = b"taken of somebody who has a name"
LINE = {"time", "client", "method", "path", "version", "status", "sent_bytes", "took_ms", "referer", "agent"}
TOLD = (
    r"asyncio: Using selector: EpollSelector",
    r"mediaserver\.admission: The slot you of broken was not made for a viewer: "
    r"The scene could not be made: 2 segments of video_360p_h264 are missing\.",
    r"(lipsync\.worker: )?c2pa\.loader: .*libc2pa_c\.so",
)
FIGURES = (
    *("answers_total", "scenes_total", "sessions", "viewers_waiting", "connections", "uptime_seconds"),
    *("cmcd_requests_total", "cmcd_starvations_total", "cmcd_buffer_ms", "cmcd_throughput_kbps"),
    *("cmcd_bitrate_kbps", "cmcd_requested_throughput_kbps"),
)


@dataclass(frozen=True, slots=True)
class Server:
    main: str
    figures: str
    state: Path


@asynccontextmanager
async def serving(media: Path, home: Path) -> AsyncIterator[Server]:
    """Run `mediaserver serve` in a process of its own; what it and its workers say goes to home/log."""
    for name, text in (("sitecustomize.py", LOUD), ("mediaserver.toml", SETTINGS)):
        (home / name).write_text(text)
    words = ["-m", "mediaserver", "serve", "--json", "--port=0", "--admin-port=0", "--config", "mediaserver.toml"]
    environment = os.environ | {"PYTHONPATH": f"{home}:{ROOT}"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *words, "--media", str(media)],
            cwd=home, env=environment, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
        assert process.stdout
        try:
            page, _, figures = [json.loads(await asyncio.to_thread(process.stdout.readline)) for _ in range(3)]
            yield Server(page["page"], figures["metrics"], home / "state")
        finally:
            process.terminate()
            await asyncio.to_thread(process.communicate)
    assert process.returncode == 0


@pytest.fixture
def media(chapter: Path, tmp_path: Path) -> Path:
    """The small chapter, and once more as `broken`: its slot stands still, and its encoder is told nonsense."""
    media, p = tmp_path / "media", Presentation.load(chapter)
    renditions = tuple(
        replace(r, insert=r.insert and replace(r.insert, x264_params="level=none")) for r in p.renditions
    )
    slot = replace(p.slots[0], start_s=Fraction(2), duration_s=Fraction(4), compose="still")
    for name, of in (("part", p), ("broken", replace(p, chapter="broken", renditions=renditions, slots=(slot,)))):
        folder = media / name / chapter.name
        folder.mkdir(parents=True)
        for file in chapter.iterdir():
            os.link(file, folder / file.name)
        (folder / "presentation.json").unlink()
        (folder / "presentation.json").write_text(of.to_json())
        (folder.parent / "current").write_text(f"{chapter.name}\n")
    return media


class Visitor:
    """One viewer's requests, each of which has to be answered with the status that is expected."""

    def __init__(self, http: ClientSession, root: str) -> None:
        self._http, self._root, self.session = http, root, ""

    async def ask(self, method: str, path: str, status: int, **rest: Any) -> bytes:
        async with self._http.request(method, f"{self._root}{path}", **rest) as answer:
            body = await answer.read()
            assert answer.status == status, body
            return body

    async def begin(self, chapter: str) -> None:
        text = json.loads(await self.ask("GET", "consent", 200))
        agreed = {"consent": text["sha256"], "boxes": {box["id"]: True for box in text["boxes"]}}
        self.session = json.loads(await self.ask("POST", "sessions", 201, json=agreed))["session"].lstrip("/")
        await self.ask("GET", f"{self.session}{chapter}/stream.mpd", 200)

    async def photo(self, photo: bytes, status: int) -> str:
        sent = {"data": photo, "headers": {"Content-Type": "image/jpeg"}}
        return str(json.loads(await self.ask("PUT", f"{self.session}photo", status, **sent))["verdict"])

    async def film_client(self, photo: bytes) -> str:
        form, name = FormData(), str(uuid.uuid4())
        form.add_field("image", photo, filename=f"{name}.png", content_type="image/png")
        await self.ask("POST", "add-video", 200, data=form)
        return name

    async def until(self, state: str) -> None:
        while json.loads(await self.ask("GET", self.session, 200))["state"] != state:
            await asyncio.sleep(0.1)


async def test_neither_logs_nor_figures_nor_files_tell_anything_of_a_face(
    media: Path, chapter: Path, tmp_path: Path, finder: FaceFinder
):
    man = (DEMO / "man.jpg").read_bytes()
    photo = man[:2] + b"\xff\xfe" + (len(COMMENT) + 2).to_bytes(2, "big") + COMMENT + man[2:]
    dark, blank = (encode_photo(picture) for picture in (demo_photo("man") // 12, demo_photo("man") * 0 + 128))
    p = Presentation.load(chapter)
    async with serving(media, tmp_path) as server, ClientSession() as http:
        viewer, unlucky = Visitor(http, server.main), Visitor(http, server.main)
        await viewer.begin("part")
        assert [await viewer.photo(bad, 422) for bad in (dark, blank)] == ["too_dark", "no_face"]
        assert await viewer.photo(photo, 202) == "ok"
        await unlucky.begin("broken")
        await unlucky.photo(photo, 202)
        name = await viewer.film_client(photo)
        await viewer.until("ready")
        await unlucky.until("failed")
        scene = f"{viewer.session}part/{p.version}/{p.videos[0].id}/{p.segments_of(p.slots[0]).start}.m4s"
        await viewer.ask("GET", f"{scene}?CMCD=bl%3D4000,sid%3D%22{name}%22", 200)
        for film in (f"{viewer.session}part/you.mp4", f"video/{name}.mp4"):
            await viewer.ask("GET", film, 200)
        figures = await Visitor(http, server.figures).ask("GET", "", 200)
        living = {path: path.read_bytes() for path in files_below(server.state)}
        for own in (viewer.session, unlucky.session, f"video/{name}.mp4"):
            await viewer.ask("DELETE", own, 204)
        left = {path: path.read_bytes() for path in files_below(server.state)}
    log, ids = (tmp_path / "log").read_bytes(), {path.parts[-6] for path in living if path.suffix == ".m4s"}
    capabilities = [own.split("/")[1] for own in (viewer.session, unlucky.session)]
    secrets = [name.encode(), *(capability.encode() for capability in capabilities)]
    assert_only(log.decode().splitlines(), figures.decode())
    assert_equally_refused(log.decode().splitlines())
    assert len(ids) == 2
    of_faces = [*traces(photo, finder), *traces_of_bytes(dark), *traces_of_bytes(blank)]
    for where, data in {"log": log, "figures": figures, **living}.items():
        assert [needle for needle in (*of_faces, *secrets) if needle in data] == [], where
    for where, data in {"log": log, "figures": figures, **left}.items():
        assert [own for own in ids if own.encode() in data or own in str(where)] == [], where
    assert {path.name for path in left if "inserts" in path.parts} == {"CACHEDIR.TAG"}


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def traces(photo: bytes, finder: FaceFinder) -> Iterator[bytes]:
    """Yield what would show that something of a photo was kept: its bytes, or what was found in it."""
    picture = read_photo(photo)
    head = finder.find(picture).head()
    yield COMMENT
    yield from traces_of_bytes(photo)
    yield from traces_of_bytes(encode_photo(picture))
    yield from traces_of_bytes(head.picture.tobytes())
    for landmark in head.landmarks[::40]:
        yield landmark.tobytes()
        yield landmark.astype(float).tobytes()


def traces_of_bytes(data: bytes) -> Iterator[bytes]:
    yield from (data[at : at + 24] for at in range(len(data) // 4, len(data) - 24, len(data) // 8))
    for algorithm in ("sha256", "sha1", "md5"):
        digest = hashlib.new(algorithm, data)
        yield from (digest.digest(), digest.hexdigest().encode())
    yield from (str(len(data)).encode(), f"{len(data):,}".encode())


def assert_only(log: list[str], figures: str) -> None:
    """What is said at all is known: a line for every answer, and words that are the same whoever the viewer is."""
    for line in log:
        if line.startswith("{"):
            assert set(json.loads(line)) == LINE
            assert json.loads(line)["agent"].startswith("Python/")
        else:
            assert any(re.fullmatch(words, line) for words in TOLD), line
        assert not any(verdict in line.lower() for verdict in (*REFUSALS, "landmark")), line
    told = {line.split("{")[0].split()[0] for line in figures.splitlines() if not line.startswith("#")}
    assert {re.sub("_(sum|count)$", "", name) for name in told} == {f"mediaserver_{name}" for name in FIGURES}
    assert "422" in figures


def assert_equally_refused(log: list[str]) -> None:
    """That a photo was refused is counted; from nothing else can be told why, not even from an answer's length."""
    lines = [json.loads(line) for line in log if line.startswith("{")]
    refused = [line for line in lines if line["status"] == 422]
    assert len(refused) == 2
    assert len({json.dumps({key: line[key] for key in LINE - {"time", "took_ms"}}) for line in refused}) == 1
