"""The warm process, through its client: what arrives, and what happens when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from encoder.model import Presentation
from lipsync.errors import NotAPicture, PhotoRefused, RenderFailed, WorkerDied, WorkerOutgrown
from lipsync.photo import PNG_SIGNATURE
from lipsync.protocols import Fragment, Signing
from lipsync.worker import WarmWorker, resident_bytes
from mediaserver.app import build_app
from mediaserver.settings import Settings
from tests.lipsync.conftest import DEMO
from tests.lipsync.test_photo import chunk, png_of
from tests.lipsync.test_studio import whole
from tests.mediaserver.conftest import Served

MAN = (DEMO / "man.jpg").read_bytes()


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[WarmWorker]:
    worker = WarmWorker(Signing(tmp_path / "keys"))
    yield worker
    await worker.close()


def alive(pid: int) -> bool:
    """Whether a process of that number runs (and is not just waiting to be buried)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int) -> bool:
    for _ in range(100):
        if not alive(pid):
            return True
        await asyncio.sleep(0.1)
    return False


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):  # it may end while we look
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, path.read_text().split())
    return found


async def test_a_photo_goes_in_and_a_face_and_fragments_come_out(worker, chapter):
    face = (await worker.examine(MAN)).face
    presentation = Presentation.load(chapter)
    fragments = [fragment async for fragment in worker.render(face, whole(chapter))]
    segments = presentation.segments_of(presentation.slots[0])
    assert sorted(f.number for f in fragments if f.rendition == presentation.videos[0].id) == list(segments)
    assert all(f.data[4:8] == b"moof" for f in fragments)


async def test_refusals_arrive_as_themselves_and_the_worker_goes_on(worker, chapter):
    with pytest.raises(NotAPicture, match="neither JPEG"):
        await worker.examine(b"%PDF-1.7")
    blank = png_of(1, 1, b"\0\0")
    with pytest.raises(PhotoRefused) as refusal:
        await worker.examine(blank)
    assert refusal.value.verdict == "too_small"
    pid = worker.pid
    face = (await worker.examine(MAN)).face
    with pytest.raises(RenderFailed, match="no slot"):
        _ = [f async for f in worker.render(face, replace(whole(chapter), slot="nobody"))]
    with pytest.raises(RenderFailed):
        _ = [f async for f in worker.render(b"no face at all", whole(chapter))]
    assert len((await worker.examine(MAN)).face) == len(face)
    assert worker.pid == pid


async def test_a_killed_worker_is_replaced_and_asked_once_more(worker, caplog):
    await worker.examine(MAN)
    first = worker.pid
    os.kill(first, signal.SIGKILL)
    assert (await worker.examine(MAN)).face
    assert worker.pid != first
    assert "ended unexpectedly" in caplog.text


async def test_the_log_of_a_fault_has_its_place_and_none_of_its_words(worker, chapter, caplog):
    """They may quote what was being worked on."""
    with pytest.raises(RenderFailed, match="ValueError in the worker"):
        _ = [f async for f in worker.render(b"no face at all", whole(chapter))]
    while "from_bytes" not in caplog.text:
        await asyncio.sleep(0.02)
    assert "ValueError\n" in caplog.text
    assert "pickled" not in caplog.text


async def in_a_render(worker: WarmWorker, but: int | None = None) -> tuple[int, list[int]]:
    """Wait until the worker has encoders at work; return its process, which is not `but`, and theirs."""
    while worker.pid in (None, but) or not (programs := [child for child in children_of(worker.pid) if encodes(child)]):
        await asyncio.sleep(0.005)
    return worker.pid, programs


def encodes(pid: int) -> bool:
    try:
        return b"ffmpeg" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


async def test_a_worker_killed_in_a_render_is_told_replaced_and_leaves_nothing(tmp_path, chapter, monkeypatch):
    (tmp_path / "temp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temp"))
    worker = WarmWorker(Signing(tmp_path / "keys"))
    face, lying = (await worker.examine(MAN)).face, everything(chapter)
    render = asyncio.create_task(all_of(worker.render(face, whole(chapter))))
    pid, programs = await in_a_render(worker)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDied):
        await render
    assert [await gone(program) for program in programs] == [True] * len(programs)
    assert await all_of(worker.render(face, whole(chapter)))
    await worker.close()
    assert everything(tmp_path / "temp") == set()
    assert everything(chapter) == lying


async def all_of(render: AsyncIterator[Fragment]) -> list[Fragment]:
    return [fragment async for fragment in render]


async def test_a_worker_that_outgrows_its_memory_is_ended_tried_once_more_and_told(tmp_path, caplog):
    worker = WarmWorker(Signing(tmp_path / "keys"), ceiling_mb=64)
    with pytest.raises(WorkerOutgrown, match="more than 64 MB"):
        await worker.examine(MAN)
    assert caplog.text.count("more than 64 MB of memory") == 1
    await worker.close()
    assert worker.pid is None


async def test_a_photo_that_needs_too_much_memory_ends_its_own_worker_alone(tmp_path, worker):
    """The ceiling lies 60 MB above what a worker holds that has seen an ordinary photo; the large one needs 230."""
    await worker.examine(MAN)
    bounded = WarmWorker(Signing(tmp_path / "keys"), ceiling_mb=(resident_bytes(worker.pid) >> 20) + 60)
    header = struct.pack(">IIBBBBB", 5400, 5400, 8, 6, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(5400 * (1 + 4 * 5400)), 1))
    large = PNG_SIGNATURE + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")
    face = (await bounded.examine(MAN)).face
    with pytest.raises(WorkerOutgrown):
        await bounded.examine(large)
    assert (await bounded.examine(MAN)).face == face
    await bounded.close()


async def test_closing_a_render_stops_its_programs_and_keeps_the_worker(worker, chapter):
    face = (await worker.examine(MAN)).face
    pid, render = worker.pid, worker.render(face, whole(chapter))
    await anext(render)
    await render.aclose()
    assert children_of(pid) == []
    assert len((await worker.examine(MAN)).face) == len(face)
    assert worker.pid == pid


async def test_a_cancelled_caller_stops_the_render_too(worker, chapter):
    face = (await worker.examine(MAN)).face
    pid, first = worker.pid, asyncio.Event()

    async def watch() -> None:
        async for _ in worker.render(face, whole(chapter)):
            first.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(watch())
    await first.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await worker.examine(MAN)
    assert children_of(worker.pid) == []
    assert worker.pid == pid


async def test_calls_wait_for_each_other(worker, chapter):
    face = (await worker.examine(MAN)).face

    first, _, second = await asyncio.gather(
        all_of(worker.render(face, whole(chapter))), worker.examine(MAN), all_of(worker.render(face, whole(chapter)))
    )
    assert len(first) == len(second) > 0


async def test_a_closed_worker_is_gone_and_says_so(worker):
    await worker.examine(MAN)
    pid = worker.pid
    await worker.close()
    assert not alive(pid)
    with pytest.raises(WorkerDied):
        await worker.examine(MAN)


async def test_the_worker_ends_when_its_parent_is_killed(tmp_path: Path):
    script = (
        "import asyncio\n"
        "from pathlib import Path\nfrom lipsync.protocols import Signing\nfrom lipsync.worker import WarmWorker\n"
        "async def main():\n"
        f"    worker = WarmWorker(Signing(Path({str(tmp_path)!r})))\n"
        f"    await worker.examine(open({str(DEMO / 'man.jpg')!r}, 'rb').read())\n"
        "    print(worker.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    await parent.wait()
    assert await gone(pid)


async def test_no_core_is_dumped_with_a_photo_in_it(worker):
    await worker.examine(MAN)
    limits = Path(f"/proc/{worker.pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if "core" in line).split()[4] == "0"


def test_the_client_needs_no_picture_code():
    check = "import sys, lipsync.worker; print({'cv2', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout == "set()\n"


# --- in the server ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def house(chapter, tmp_path, worker) -> AsyncIterator[Callable[[WarmWorker], Awaitable[Served]]]:
    """Serve the small chapter with a real worker for photos, and one for renders that the test may kill."""
    async with AsyncExitStack() as stack:

        async def serve(renderer: WarmWorker) -> Served:
            stack.push_async_callback(renderer.close)
            settings = Settings(media=chapter.parents[1], state=tmp_path / "state")
            server = await stack.enter_async_context(TestServer(build_app(settings, worker, renderer)))
            client = await stack.enter_async_context(ClientSession())
            return Served(str(server.make_url("/")), client, settings, renderer)

        yield serve


async def captured(served: Served) -> str:
    session = await served.begin()
    await served.get(f"{session}part/stream.mpd")
    assert (await served.put_photo(session, MAN))[0] == 202
    return session


def segment_of(session: str, chapter: Path) -> str:
    return f"{session}part/{chapter.name}/{Presentation.load(chapter).videos[0].id}/1.m4s"


def own_segment(chapter: Path) -> bytes:
    rendition = Presentation.load(chapter).videos[0]
    own = rendition.segments[1]
    return (chapter / rendition.file).read_bytes()[own.offset : own.offset + own.size]


async def test_a_kill_in_the_middle_of_a_viewers_scene_costs_only_time(house, chapter, tmp_path, caplog):
    renderer = WarmWorker(Signing(tmp_path / "keys"))
    served = await house(renderer)
    session = await captured(served)
    pid, _ = await in_a_render(renderer)
    os.kill(pid, signal.SIGKILL)
    await served.until(session, "ready")
    assert "is tried once more" in caplog.text
    status, _, data = await served.get(segment_of(session, chapter))
    assert (status, data[4:8]) == (200, b"moof")
    assert data != own_segment(chapter)


async def test_a_scene_that_ends_its_worker_twice_has_failed_and_the_film_goes_on(house, chapter, tmp_path):
    renderer = WarmWorker(Signing(tmp_path / "keys"))
    served = await house(renderer)
    session = await captured(served)
    pid = None
    for _ in range(2):
        pid, programs = await in_a_render(renderer, but=pid)
        os.kill(pid, signal.SIGKILL)
        assert await gone(pid)
    (slot,) = (await served.until(session, "failed"))["slots"]
    assert slot["state"] == "failed"
    assert [await gone(program) for program in programs] == [True] * len(programs)
    assert (await served.get(segment_of(session, chapter)))[2] == own_segment(chapter)
    assert [path for path in (tmp_path / "state" / "inserts").rglob("*.*") if path.name != "CACHEDIR.TAG"] == []
    await served.until(await captured(served), "ready")


async def test_a_scene_for_which_there_is_not_enough_memory_has_failed_and_says_so(house, chapter, tmp_path, caplog):
    served = await house(WarmWorker(Signing(tmp_path / "keys"), ceiling_mb=64))
    session = await captured(served)
    await served.until(session, "failed")
    assert caplog.text.count("more than 64 MB of memory") == 2
    assert (await served.get(segment_of(session, chapter)))[2] == own_segment(chapter)
