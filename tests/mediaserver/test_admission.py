from __future__ import annotations

import asyncio
from dataclasses import replace
from fractions import Fraction

import pytest

from encoder.model import Slot
from lipsync.errors import WorkerDied
from mediaserver.app import build_app
from mediaserver.settings import Settings
from tests.mediaserver.conftest import SLOT, Publish, ScriptedFaceWorker, Serve, Served, fragment_bytes

RUNG, SMALL = "video_1080p_h264", "video_432p_h264"


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
    names = [(take.slot, r, n) for take in served.worker.takes for r in take.renditions for n in take.segments]
    assert sorted(names) == [("you", rung, n) for rung in (RUNG, SMALL) for n in (5, 6, 7)]


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
    firsts = [face for (face, _), take in zip(worker.begun, worker.takes, strict=True) if take.renditions == (SMALL,)]
    assert firsts.index(b"face of one") < 3
    assert len(worker.begun) == 8


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
    for made in range(1, 3):
        worker.steps.release()
        while (slot := (await served.state(first))["slots"][0])["progress"] < round(made / 6, 3):
            await asyncio.sleep(0.01)
        assert (slot["state"], slot["progress"]) == ("rendering", round(made / 6, 3))
        assert slot["eta_s"] >= 1
    waiting = (await served.state(second))["slots"][0]
    assert (waiting["state"], waiting["progress"]) == ("waiting", 0)
    assert waiting["eta_s"] >= slot["eta_s"]


async def test_where_many_came_lately_later_rungs_are_promised_later(publish: Publish, serve: Serve, monkeypatch):
    publish()
    worker = held_back()
    served = await serve(worker)
    calm = (await served.state(await captured(served, b"alone")))["slots"][0]
    for number in range(8):
        await captured(served, b"%d" % number)
    crowded = (await served.state(last := await captured(served, b"last")))["slots"][0]
    for span in ("CROWD_S", "FEW_S"):
        monkeypatch.setattr(f"mediaserver.admission.{span}", 1e6)
    unhurried = (await served.state(last))["slots"][0]
    assert calm["eta_s"] < unhurried["eta_s"] < crowded["eta_s"]
    assert unhurried["watchable_s"] == crowded["watchable_s"]


class Mortal(ScriptedFaceWorker):
    """Dies after the third fragment of its first render, or of every one."""

    immortal_after = 1

    async def render(self, face, take):
        made = 0
        dies = len(self.begun) < self.immortal_after
        async for fragment in super().render(face, take):
            if dies and made == 2:
                raise WorkerDied
            made += 1
            yield fragment


async def test_a_worker_that_dies_costs_the_viewer_only_time(publish: Publish, serve: Serve):
    publish()
    served = await serve(Mortal())
    await served.until(await captured(served, b"first"), "ready")
    assert len(served.worker.begun) == 3


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
    assert (examiner.begun, len(renderer.begun)) == ([], 2)


def order_of(worker: ScriptedFaceWorker) -> list[tuple[str, tuple[str, ...]]]:
    """Whose face each take was of, and its rungs."""
    return [
        (face.removeprefix(b"face of ").decode(), take.renditions)
        for (face, _), take in zip(worker.begun, worker.takes, strict=True)
    ]


async def test_the_middle_rung_is_made_first_and_the_others_behind_every_first_one(publish: Publish, serve: Serve):
    publish()
    worker = held_back()
    served = await serve(worker)
    sessions = [await captured(served, name) for name in (b"a", b"b", b"c")]
    worker.go.set()
    for session in sessions:
        await served.until(session, "ready")
    assert order_of(worker) == [(name, (rung,)) for rung in (SMALL, RUNG) for name in ("a", "b", "c")]


async def test_the_rung_asked_for_first_is_made_first_from_the_segment_that_is_needed(publish: Publish, serve: Serve):
    publish()
    worker = ScriptedFaceWorker(steps=asyncio.Semaphore(0))
    served = await serve(worker)
    session = await captured(served, b"a")
    while not worker.takes:
        await asyncio.sleep(0.01)
    asking = asyncio.create_task(served.get(f"{session}part2/v1/{RUNG}/6.m4s?CMCD=bl%3D5000"))
    while len(worker.takes) < 2:
        await asyncio.sleep(0.01)
    for _ in range(6):
        worker.steps.release()
    assert (await asking)[1]["X-Scene"] == "personal"
    await served.until(session, "ready")
    assert [(take.renditions, take.segments) for take in worker.takes] == [
        ((SMALL,), range(5, 8)),
        ((RUNG,), range(6, 8)),
        ((RUNG,), range(5, 6)),
        ((SMALL,), range(5, 8)),
    ]


async def test_a_viewer_who_needs_it_soon_goes_before_one_who_has_just_started(publish: Publish, serve: Serve):
    publish()
    worker = ScriptedFaceWorker(steps=asyncio.Semaphore(0))
    served = await serve(worker)
    calm, soon = await captured(served, b"calm"), await captured(served, b"soon")
    while not worker.takes:
        await asyncio.sleep(0.01)
    asking = asyncio.create_task(served.get(f"{soon}part2/v1/{SMALL}/5.m4s?CMCD=bl%3D5000"))
    while len(worker.takes) < 2:
        await asyncio.sleep(0.01)
    for _ in range(12):
        worker.steps.release()
    await asking
    await served.until(calm, "ready")
    assert [name for name, _ in order_of(worker)][:3] == ["calm", "soon", "calm"]


async def test_a_rung_without_hurry_is_put_aside_for_a_first_one_and_nothing_is_made_twice(
    publish: Publish, serve: Serve
):
    publish()
    worker = ScriptedFaceWorker(steps=asyncio.Semaphore(4))
    served = await serve(worker)
    first = await captured(served, b"first")
    while (await served.state(first))["slots"][0]["progress"] < 0.6:
        await asyncio.sleep(0.01)
    second = await captured(served, b"second")
    for _ in range(8):
        worker.steps.release()
    await served.until(first, "ready")
    await served.until(second, "ready")
    assert order_of(worker) == [
        ("first", (SMALL,)),
        ("first", (RUNG,)),
        ("second", (SMALL,)),
        ("first", (RUNG,)),
        ("second", (RUNG,)),
    ]
    assert worker.takes[3].segments == range(6, 8)


TWO = (SLOT, replace(SLOT, id="me", start_s=Fraction(15), duration_s=Fraction(5)))


@pytest.mark.parametrize(
    ("slots", "carried"),
    [
        (TWO, {"you": [5, 6, 7], "me": [8, 9]}),
        ((replace(SLOT, start_s=Fraction(0)), TWO[1]), {"you": [0, 1], "me": [7, 8, 9]}),
        ((SLOT, replace(SLOT, id="me")), {"you": [5, 6, 7], "me": []}),
    ],
)
async def test_slots_that_share_segments_are_made_once_and_told_each(
    publish: Publish, serve: Serve, slots: tuple[Slot, ...], carried: dict[str, list[int]]
):
    slots = tuple(sorted(slots, key=lambda slot: slot.id == "you"))
    chapter = publish(slots=slots)
    if carried["me"] == []:
        carried = {"me": [5, 6, 7], "you": []}
    served = await serve()
    session = await captured(served, b"a")
    told = await served.until(session, "ready")
    assert sorted((slot["slot"], slot["state"], slot["progress"]) for slot in told["slots"]) == [
        ("me", "ready", 1.0),
        ("you", "ready", 1.0),
    ]
    made = {(take.slot, r, n) for take in served.worker.takes for r in take.renditions for n in take.segments}
    assert made == {(slot, rung, n) for slot, numbers in carried.items() for rung in (RUNG, SMALL) for n in numbers}
    for number in chapter.presentation.personal_segments:
        assert (await served.get(f"{session}part2/v1/{RUNG}/{number}.m4s"))[1]["X-Scene"] == "personal"


async def test_a_slot_that_ends_in_a_shared_segment_is_ready_when_that_is(publish: Publish, serve: Serve):
    publish(slots=TWO)
    worker = ScriptedFaceWorker(steps=asyncio.Semaphore(4))
    served = await serve(worker)
    session = await captured(served, b"a")
    while len(worker.takes) < 2:
        await asyncio.sleep(0.01)
    for made in range(4, 11):
        you, me = (await served.state(session))["slots"]
        assert (you["state"] == "ready", me["state"] == "ready") == (you["progress"] == 1, me["progress"] == 1)
        worker.steps.release()
        while sum(round(slot["progress"] * size) for slot, size in ((you, 6), (me, 6))) < made:
            you, me = (await served.state(session))["slots"]
            await asyncio.sleep(0.01)
    assert (await served.until(session, "ready"))["state"] == "ready"


async def test_one_photo_fills_the_slots_of_several_chapters(publish: Publish, serve: Serve):
    publish(chapter="part1")
    publish(chapter="part2", slots=TWO)
    served = await serve()
    session = await captured(served, b"a", "part1", "part2")
    told = await served.until(session, "ready")
    assert [(slot["chapter"], slot["slot"]) for slot in told["slots"]] == [
        ("part1", "you"),
        ("part2", "you"),
        ("part2", "me"),
    ]
