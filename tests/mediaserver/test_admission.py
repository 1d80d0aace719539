from __future__ import annotations

import asyncio

import pytest

from lipsync.errors import WorkerDied
from mediaserver.app import build_app
from mediaserver.settings import Settings
from tests.mediaserver.conftest import Publish, ScriptedFaceWorker, Serve, Served, fragment_bytes

RUNG = "video_1080p_h264"


def held_back() -> ScriptedFaceWorker:
    worker = ScriptedFaceWorker()
    worker.go.clear()
    return worker


async def captured(served: Served, photo: bytes, *chapters: str) -> str:
    session = await served.begin()
    for chapter in chapters or ("part2",):
        await served.get(f"{session}{chapter}/stream.mpd")
    assert (await served.put_photo(session, photo))[0] == 202
    return session


@pytest.mark.parametrize("manifest", ["stream.mpd", "master.m3u8", "v1/video_432p_h264.m3u8"])
@pytest.mark.parametrize("photo_first", [True, False])
async def test_a_slot_is_rendered_once_whatever_comes_first(
    publish: Publish, serve: Serve, manifest: str, photo_first: bool
):
    publish()
    served = await serve()
    session = await served.begin()
    if photo_first:
        await served.put_photo(session)
        assert (await served.state(session))["state"] == "captured"
    for _ in range(3):
        assert (await served.get(f"{session}part2/{manifest}"))[0] == 200
    if not photo_first:
        assert served.worker.begun == []
        await served.put_photo(session)
    await served.until(session, "ready")
    assert served.worker.begun == [(b"face of jpeg", "part2/v1/you")]


async def test_neither_a_photo_nor_a_manifest_alone_starts_a_render(publish: Publish, serve: Serve):
    publish()
    served = await serve()
    only_photo, only_manifest = await served.begin(), await served.begin()
    await served.put_photo(only_photo)
    await served.get(f"{only_manifest}part2/stream.mpd")
    await asyncio.sleep(0.05)
    assert served.worker.begun == []
    assert (await served.state(only_manifest))["slots"][0]["state"] == "waiting"


async def test_a_retake_stops_the_render_and_leaves_nothing_of_the_former_face(
    publish: Publish, serve: Serve, tmp_path
):
    publish()
    worker = ScriptedFaceWorker(steps=asyncio.Semaphore(2))
    served = await serve(worker)
    session = await captured(served, b"former")
    while not list((tmp_path / "state").rglob("6.m4s")):
        await asyncio.sleep(0.01)
    assert (await served.put_photo(session, b"newer"))[0] == 202
    assert worker.stopped == 1
    for _ in range(10):
        worker.steps.release()
    await served.until(session, "ready")
    for path in (tmp_path / "state" / "inserts").rglob("*.m4s"):
        assert b"former" not in path.read_bytes()
    _, _, sent = await served.get(f"{session}part2/v1/{RUNG}/5.m4s")
    assert sent == fragment_bytes(b"face of newer", RUNG, 5)


async def test_a_refused_retake_keeps_what_there_was(publish: Publish, serve: Serve):
    publish()
    served = await serve()
    session = await captured(served, b"former")
    await served.until(session, "ready")
    assert (await served.put_photo(session, b"nobody"))[0] == 422
    assert (await served.state(session))["state"] == "ready"
    _, headers, _ = await served.get(f"{session}part2/v1/{RUNG}/5.m4s")
    assert headers["X-Scene"] == "personal"


async def test_a_viewer_of_many_slots_does_not_hold_up_the_next_viewer(publish: Publish, serve: Serve):
    for chapter in ("part1", "part2", "part3"):
        publish(chapter=chapter)
    worker = held_back()
    served = await serve(worker)
    many = await captured(served, b"many", "part1", "part2", "part3")
    one = await captured(served, b"one", "part1")
    worker.go.set()
    await served.until(many, "ready")
    await served.until(one, "ready")
    assert [face for face, _ in worker.begun] == [
        b"face of many",
        b"face of many",
        b"face of one",
        b"face of many",
    ] or [face for face, _ in worker.begun] == [b"face of many", b"face of one", b"face of many", b"face of many"]


async def test_a_full_queue_refuses_the_photo_and_says_when_to_come_back(publish: Publish, serve: Serve):
    publish()
    worker = held_back()
    served = await serve(worker, queue_limit=2)
    sessions = [await captured(served, b"%d" % n) for n in range(3)]
    late = await served.begin()
    async with served.client.put(
        f"{served.url}{late}photo", data=b"late", headers={"Content-Type": "image/jpeg"}
    ) as answer:
        assert (answer.status, (await answer.json())["code"]) == (503, "queue_full")
        assert int(answer.headers["Retry-After"]) > 0
    assert (await served.get(f"{late}part2/stream.mpd"))[0] == 200
    worker.go.set()
    for session in sessions:
        await served.until(session, "ready")
    assert (await served.put_photo(late))[0] == 202


async def test_a_verdict_never_waits_for_a_render(publish: Publish, serve: Serve):
    publish()
    served = await serve(held_back())
    await captured(served, b"first")
    assert (await served.put_photo(await served.begin(), b"nobody"))[0] == 422


async def test_a_waiting_viewer_who_deletes_leaves_the_queue(publish: Publish, serve: Serve):
    publish()
    worker = held_back()
    served = await serve(worker)
    first, second, third = [await captured(served, name) for name in (b"first", b"second", b"third")]
    async with served.client.delete(served.url + second) as answer:
        assert answer.status == 204
    worker.go.set()
    await served.until(first, "ready")
    await served.until(third, "ready")
    assert b"face of second" not in [face for face, _ in worker.begun]


async def test_progress_grows_with_the_fragments_and_waiting_viewers_are_told_how_long(publish: Publish, serve: Serve):
    publish()
    worker = ScriptedFaceWorker(steps=asyncio.Semaphore(0))
    served = await serve(worker)
    first, second = await captured(served, b"first"), await captured(served, b"second")
    for made in range(1, 4):
        worker.steps.release()
        while (slot := (await served.state(first))["slots"][0])["progress"] < round(made / 6, 3):
            await asyncio.sleep(0.01)
        assert (slot["state"], slot["progress"]) == ("rendering", round(made / 6, 3))
        assert slot["eta_s"] >= 1
    waiting = (await served.state(second))["slots"][0]
    assert (waiting["state"], waiting["progress"]) == ("waiting", 0)
    assert waiting["eta_s"] >= slot["eta_s"]


class Mortal(ScriptedFaceWorker):
    """Dies after the third fragment of its first render, or of every one."""

    immortal_after = 1

    async def render(self, face, folder, slot):
        made = 0
        dies = len(self.begun) < self.immortal_after
        async for fragment in super().render(face, folder, slot):
            if dies and made == 3:
                raise WorkerDied
            made += 1
            yield fragment


async def test_a_worker_that_dies_costs_the_viewer_only_time(publish: Publish, serve: Serve):
    publish()
    served = await serve(Mortal())
    await served.until(await captured(served, b"first"), "ready")
    assert len(served.worker.begun) == 2


async def test_a_render_that_kills_its_worker_twice_has_failed_and_the_next_viewer_is_served(
    publish: Publish, serve: Serve
):
    publish()
    worker = Mortal()
    worker.immortal_after = 2
    served = await serve(worker)
    await served.until(await captured(served, b"first"), "failed")
    await served.until(await captured(served, b"second"), "ready")


async def test_the_end_of_the_server_stops_a_render(publish: Publish, serve: Serve):
    publish()
    worker = ScriptedFaceWorker(steps=asyncio.Semaphore(1))
    served = await serve(worker)
    await captured(served, b"first")
    while not worker.begun:
        await asyncio.sleep(0.01)
    await serve.stop(served)
    assert worker.stopped == 1


async def test_two_workers_share_the_work_photos_on_one_renders_on_the_other(publish: Publish, tmp_path):
    from aiohttp import ClientSession
    from aiohttp.test_utils import TestServer

    publish()
    examiner, renderer = ScriptedFaceWorker(), ScriptedFaceWorker()
    settings = Settings(media=tmp_path / "media", state=tmp_path / "state")
    async with TestServer(build_app(settings, examiner, renderer)) as server, ClientSession() as client:
        served = Served(str(server.make_url("/")), client, settings, renderer)
        await served.until(await captured(served, b"first"), "ready")
    assert (examiner.begun, len(renderer.begun)) == ([], 1)
