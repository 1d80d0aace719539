from __future__ import annotations

import asyncio
import json
from fractions import Fraction

import pytest

from encoder.model import Placement, Slot
from tests.mediaserver.conftest import Publish, ScriptedFaceWorker, Serve, Served, fragment_bytes

RUNG = "video_1080p_h264"


def held_back() -> ScriptedFaceWorker:
    worker = ScriptedFaceWorker()
    worker.go.clear()
    return worker


async def asked_and_captured(served: Served, photo: bytes = b"jpeg") -> str:
    session = await served.begin()
    assert (await served.get(f"{session}part2/stream.mpd"))[0] == 200
    assert (await served.put_photo(session, photo))[0] == 202
    return session


async def segment(served: Served, session: str, number: int, said: str = "", rung: str = RUNG) -> tuple[str, bytes]:
    query = f"?CMCD={said}" if said else ""
    status, headers, sent = await served.get(f"{session}part2/v1/{rung}/{number}.m4s{query}")
    assert status == 200
    assert headers["Content-Type"] == "video/iso.segment"
    assert headers["Cache-Control"] == "private, no-store"
    assert int(headers["Content-Length"]) == len(sent)
    return headers["X-Scene"], sent


@pytest.mark.parametrize(
    ("path", "mime"),
    [
        ("stream.mpd", "application/dash+xml"),
        ("master.m3u8", "application/vnd.apple.mpegurl"),
        ("v1/video_432p_h264.m3u8", "application/vnd.apple.mpegurl"),
    ],
)
async def test_personal_manifests_are_complete_at_once_and_never_change(
    publish: Publish, serve: Serve, path: str, mime: str
):
    publish()
    served = await serve()
    session = await served.begin()
    status, headers, early = await served.get(f"{session}part2/{path}")
    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, mime, "private, no-store")
    assert "ETag" not in headers
    await served.put_photo(session)
    await served.until(session, "ready")
    assert (await served.get(f"{session}part2/{path}"))[2] == early


async def test_every_segment_that_the_personal_playlist_names_can_be_fetched_from_the_first_second(
    publish: Publish, serve: Serve
):
    chapter, served = publish(), await serve()
    session = await served.begin()
    _, _, playlist = await served.get(f"{session}part2/v1/{RUNG}.m3u8")
    named = [line for line in playlist.decode().splitlines() if line.endswith(".m4s")]
    assert named == [f"{RUNG}/{n}.m4s" for n in (5, 6, 7)]
    for n in (5, 6, 7):
        assert await segment(served, session, n) == ("chapter", chapter.segment(RUNG, n))


async def test_a_finished_insert_is_sent_for_its_session_alone(publish: Publish, serve: Serve):
    chapter, served = publish(), await serve()
    first, second = await asked_and_captured(served, b"first"), await asked_and_captured(served, b"second")
    third = await served.begin()
    await served.until(first, "ready")
    await served.until(second, "ready")
    for rung, n in chapter.insert_names():
        assert await segment(served, first, n, rung=rung) == ("personal", fragment_bytes(b"face of first", rung, n))
        assert await segment(served, second, n, rung=rung) == ("personal", fragment_bytes(b"face of second", rung, n))
        assert await segment(served, third, n, rung=rung) == ("chapter", chapter.segment(rung, n))


@pytest.mark.parametrize("said", ["bl%3D4000", "dl%3D4000%2Cbl%3D100", ""])
async def test_a_segment_that_is_being_made_is_waited_for(publish: Publish, serve: Serve, said: str):
    publish()
    worker = held_back()
    served = await serve(worker, deadline_s=4.0)
    session = await asked_and_captured(served)
    waiting = asyncio.create_task(segment(served, session, 6, said))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    worker.go.set()
    assert await waiting == ("personal", fragment_bytes(b"face of jpeg", RUNG, 6))


async def test_a_segment_waits_for_itself_and_not_for_the_whole_insert(publish: Publish, serve: Serve):
    publish()
    worker = ScriptedFaceWorker(steps=asyncio.Semaphore(2))
    served = await serve(worker)
    session = await asked_and_captured(served)
    assert (await segment(served, session, 6, "bl%3D5000"))[0] == "personal"
    assert (await served.state(session))["slots"][0]["state"] == "rendering"


async def test_an_insert_in_the_queue_is_waited_for_too(publish: Publish, serve: Serve):
    publish()
    worker = held_back()
    served = await serve(worker)
    await asked_and_captured(served, b"first")
    second = await asked_and_captured(served, b"second")
    waiting = asyncio.create_task(segment(served, second, 5, "bl%3D5000"))
    await asyncio.sleep(0.05)
    worker.go.set()
    assert await waiting == ("personal", fragment_bytes(b"face of second", RUNG, 5))


@pytest.mark.parametrize("said", ["bl%3D0", "bl%3D400", "dl%3D300%2Cbl%3D9000", "su%2Cbl%3D0"])
async def test_a_player_that_runs_dry_gets_the_chapters_own_picture(publish: Publish, serve: Serve, said: str):
    chapter = publish()
    served = await serve(held_back(), deadline_s=100.0, deadline_max_s=100.0)
    session = await asked_and_captured(served)
    assert await segment(served, session, 5, said) == ("chapter", chapter.segment(RUNG, 5))


async def test_the_deadline_may_come_in_a_header_and_is_never_above_the_limit(publish: Publish, serve: Serve):
    chapter = publish()
    served = await serve(held_back(), deadline_s=100.0, deadline_max_s=0.1)
    session = await asked_and_captured(served)
    path = f"{session}part2/v1/{RUNG}/5.m4s"
    for said in ("bl=60000", "bl=100"):
        _, headers, sent = await served.get(path, **{"CMCD-Request": said})
        assert (headers["X-Scene"], sent) == ("chapter", chapter.segment(RUNG, 5))


async def test_nothing_is_waited_for_when_nothing_is_being_made(publish: Publish, serve: Serve):
    publish()
    served = await serve(held_back(), deadline_s=100.0, deadline_max_s=100.0)
    consented, refused = await served.begin(), await served.begin()
    await served.get(f"{refused}part2/stream.mpd")
    await served.put_photo(refused, b"nobody")
    captured_but_not_asked = await served.begin()
    await served.put_photo(captured_but_not_asked)
    for session in (consented, refused, captured_but_not_asked):
        assert (await segment(served, session, 5))[0] == "chapter"


async def test_a_failed_render_ends_the_wait_with_the_chapters_own_picture(publish: Publish, serve: Serve, tmp_path):
    chapter = publish()
    worker = ScriptedFaceWorker(fail_after=0)
    worker.go.clear()
    served = await serve(worker, deadline_s=100.0, deadline_max_s=100.0)
    session = await asked_and_captured(served)
    waiting = asyncio.create_task(segment(served, session, 7))
    await asyncio.sleep(0.05)
    worker.go.set()
    assert await waiting == ("chapter", chapter.segment(RUNG, 7))
    state = await served.until(session, "failed")
    assert [(slot["state"], slot["eta_s"]) for slot in state["slots"]] == [("failed", None)]
    assert await segment(served, session, 5) == ("chapter", chapter.segment(RUNG, 5))
    assert list((tmp_path / "state" / "inserts").rglob("*.m4s")) == []


async def test_a_render_that_misses_a_fragment_is_a_failed_one(publish: Publish, serve: Serve):
    chapter = publish()

    class Forgetful(ScriptedFaceWorker):
        async def render(self, face, take):
            async for fragment in super().render(face, take):
                if fragment.number != 6:
                    yield fragment

    served = await serve(Forgetful())
    session = await asked_and_captured(served)
    await served.until(session, "failed")
    assert await segment(served, session, 5) == ("chapter", chapter.segment(RUNG, 5))


async def test_a_failure_disturbs_no_other_viewer(publish: Publish, serve: Serve):
    publish()
    worker = ScriptedFaceWorker(fail_after=0)
    served = await serve(worker)
    await served.until(await asked_and_captured(served), "failed")
    worker.fail_after = None
    await served.until(await asked_and_captured(served), "ready")


async def test_a_session_deleted_while_a_segment_waits_is_gone(publish: Publish, serve: Serve):
    publish()
    served = await serve(held_back(), deadline_s=100.0, deadline_max_s=100.0)
    session = await asked_and_captured(served)
    waiting = asyncio.create_task(served.get(f"{session}part2/v1/{RUNG}/5.m4s"))
    await asyncio.sleep(0.05)
    async with served.client.delete(served.url + session) as answer:
        assert answer.status == 204
    assert (await waiting)[0] == 410


async def test_a_late_bound_segment_is_never_sent_in_part(publish: Publish, serve: Serve):
    chapter = publish()
    served = await serve()
    session = await served.begin()
    status, headers, sent = await served.get(f"{session}part2/v1/{RUNG}/5.m4s", Range="bytes=0-9")
    assert (status, headers["Accept-Ranges"], sent) == (200, "none", chapter.segment(RUNG, 5))


@pytest.mark.parametrize(
    "path",
    [
        "part2/v1/video_1080p_h264/4.m4s",
        "part2/v1/video_1080p_h264/8.m4s",
        "part2/v1/video_1080p_h264/999999.m4s",
        "part2/v1/video_1080p_h264/9999999.m4s",
        "part2/v1/video_1080p_h264/-1.m4s",
        "part2/v1/video_1080p_h264/x.m4s",
        "part2/v1/audio_en/5.m4s",
        "part2/v1/nothing/5.m4s",
        "part2/v2/video_1080p_h264/5.m4s",
        "part2/v1/nothing.m3u8",
        "part2/v1/video_1080p_h264.mp4",
        "part9/stream.mpd",
        "part2/nothing",
    ],
)
async def test_what_no_personal_manifest_names_is_not_there(publish: Publish, serve: Serve, path: str):
    publish()
    served = await serve()
    session = await served.begin()
    status, headers, sent = await served.get(session + path)
    assert status == 404
    assert json.loads(sent)["hint"]
    assert headers["Access-Control-Allow-Origin"] == "*"


async def test_a_session_keeps_the_version_that_it_first_asked_for(publish: Publish, serve: Serve):
    old = publish(version="v1")
    served = await serve()
    session = await served.begin()
    _, _, before = await served.get(f"{session}part2/stream.mpd")
    publish(version="v2")
    assert (await served.get(f"{session}part2/stream.mpd"))[2] == before
    assert await segment(served, session, 5) == ("chapter", old.segment(RUNG, 5))
    assert (await served.get(f"{session}part2/v2/{RUNG}/5.m4s"))[0] == 404
    assert b"v2/" in (await served.get(f"{await served.begin()}part2/stream.mpd"))[2]


async def test_a_session_whose_version_has_been_removed_goes_on_with_the_present_one(
    publish: Publish, serve: Serve, tmp_path
):
    old = publish(version="v1")
    served = await serve()
    session = await asked_and_captured(served)
    await served.until(session, "ready")
    publish(version="v2")
    old.folder.rename(tmp_path / "away")
    assert b"v2/" in (await served.get(f"{session}part2/stream.mpd"))[2]
    await served.until(session, "ready")
    _, headers, _ = await served.get(f"{session}part2/v2/{RUNG}/5.m4s")
    assert headers["X-Scene"] == "personal"


async def test_several_slots_and_chapters_are_made_of_one_photo(publish: Publish, serve: Serve):
    face = Placement(0.3, 0.1, 0.4, 0.8)
    early, late = Slot("a", Fraction(0), Fraction(1), face), Slot("b", Fraction(19), Fraction(1), face)
    publish(slots=(early, late))
    publish(chapter="part3", slots=(early,))
    served = await serve()
    session = await asked_and_captured(served)
    await served.until(session, "ready")
    await served.get(f"{session}part3/master.m3u8")
    state = await served.until(session, "ready")
    assert [(slot["chapter"], slot["slot"], slot["progress"]) for slot in state["slots"]] == [
        ("part2", "a", 1.0),
        ("part2", "b", 1.0),
        ("part3", "a", 1.0),
    ]
    made = [scene for _, scene in served.worker.begun]
    assert made == [*("part2/v1/a", "part2/v1/b") * 2, *("part3/v1/a",) * 2]
    assert (await segment(served, session, 9))[0] == "personal"


async def test_a_chapter_without_slots_plays_for_a_session_too(publish: Publish, serve: Serve):
    publish(slots=())
    served = await serve()
    session = await served.begin()
    await served.put_photo(session)
    assert (await served.get(f"{session}part2/stream.mpd"))[0] == 200
    assert await served.state(session) == {"state": "captured", "slots": []}


async def test_a_finished_slot_is_one_signed_file_of_what_was_streamed(publish: Publish, serve: Serve, tmp_path):
    chapter, served = publish(), await serve()
    session = await asked_and_captured(served)
    await served.until(session, "ready")
    status, headers, sent = await served.get(f"{session}part2/you.mp4")
    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, "video/mp4", "private, no-store")
    init = chapter.bytes_of(f"{RUNG}.mp4")[:100]
    fragments = b"".join(fragment_bytes(b"face of jpeg", RUNG, n) for n in (5, 6, 7))
    number = served.worker.takes[0].render_id
    assert sent == init + fragments + b" signed as Part two, %08x" % number
    status, _, part = await served.get(f"{session}part2/you.mp4", Range="bytes=10-19")
    assert (status, part) == (206, sent[10:20])
    assert list((tmp_path / "state" / "inserts").rglob("you.mp4"))
    async with served.client.delete(served.url + session):
        pass
    assert not list((tmp_path / "state" / "inserts").rglob("*.mp4"))
    assert (await served.get(f"{session}part2/you.mp4"))[0] == 410


async def test_a_slot_that_is_not_ready_or_not_there_is_no_file(publish: Publish, serve: Serve):
    publish()
    served = await serve(held_back())
    session = await asked_and_captured(served)
    status, _, sent = await served.get(f"{session}part2/you.mp4")
    assert (status, json.loads(sent)["code"]) == (409, "slot_not_ready")
    status, _, sent = await served.get(f"{session}part2/nobody.mp4")
    assert (status, json.loads(sent)["code"]) == (404, "slot_unknown")


async def test_after_a_restart_the_file_still_names_the_mark_of_its_pictures(publish: Publish, serve: Serve):
    publish()
    first = await serve()
    session = await asked_and_captured(first)
    await first.until(session, "ready")
    await serve.stop(first)
    second = await serve()
    assert b"%08x" % first.worker.takes[0].render_id in (await second.get(f"{session}part2/you.mp4"))[2]


async def test_a_file_of_a_slot_that_shares_a_segment_holds_all_its_segments(publish: Publish, serve: Serve):
    face = Placement(0.3, 0.1, 0.4, 0.8)
    publish(slots=(Slot("a", Fraction(11), Fraction(4), face), Slot("b", Fraction(15), Fraction(2), face)))
    served = await serve()
    session = await asked_and_captured(served)
    await served.until(session, "ready")
    for slot, numbers in (("a", (5, 6, 7)), ("b", (7, 8))):
        sent = (await served.get(f"{session}part2/{slot}.mp4"))[2]
        assert b"".join(fragment_bytes(b"face of jpeg", RUNG, n) for n in numbers) in sent


async def test_a_wait_for_a_scene_is_told_and_not_taken_for_a_slow_line(publish: Publish, serve: Serve):
    publish()
    served = await serve()
    session = await served.begin()
    _, headers, _ = await served.get(f"{session}part2/v1/{RUNG}/5.m4s")
    assert headers["Server-Timing"].startswith("wait;dur=")
    assert (await served.get(session))[1]["Server-Timing"].startswith("app;dur=")
    assert "Server-Timing" not in (await served.get("part2/stream.mpd"))[1]
