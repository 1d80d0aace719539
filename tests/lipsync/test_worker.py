"""The warm process, through its client: what arrives, and what happens when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from encoder.model import Presentation
from lipsync.errors import NotAPicture, PhotoRefused, RenderFailed, WorkerDied
from lipsync.protocols import Signing
from lipsync.worker import WarmWorker
from tests.lipsync.conftest import DEMO
from tests.lipsync.test_photo import png_of
from tests.lipsync.test_studio import whole

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
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


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


async def test_a_killed_worker_is_told_and_replaced(worker):
    await worker.examine(MAN)
    first = worker.pid
    os.kill(first, signal.SIGKILL)
    with pytest.raises(WorkerDied):
        await worker.examine(MAN)
    assert await worker.examine(MAN)
    assert worker.pid != first


async def test_a_worker_killed_in_a_render_is_told_and_replaced(worker, chapter):
    face = (await worker.examine(MAN)).face
    render = worker.render(face, whole(chapter))
    await anext(render)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerDied):
        _ = [fragment async for fragment in render]
    assert [f async for f in worker.render(face, whole(chapter))]


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

    async def all_of() -> int:
        return len([f async for f in worker.render(face, whole(chapter))])

    counts = await asyncio.gather(all_of(), worker.examine(MAN), all_of())
    assert counts[0] == counts[2] > 0


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
