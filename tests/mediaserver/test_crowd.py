"""Many viewers at once: nobody lost, nobody stuck, and everybody told the truth."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from mediaserver.errors import QueueFull
from tests.mediaserver.conftest import Publish, ScriptedFaceWorker, Serve, Served, fragment_bytes
from tests.mediaserver.crowd import SEGMENT_S, Crowd, run, truthful

KINDS = ("still", "moving")


async def arrive(crowd: Crowd, viewers: int, gap_s: float, chance: random.Random) -> None:
    """Let viewers come at random, `gap_s` apart on average, after one of each kind has been measured."""
    for kind in KINDS:
        await crowd.visit(f"first {kind}", kind)
    crowd.ready.clear()
    crowd.watchable.clear()
    visits = []
    for number in range(viewers):
        await asyncio.sleep(chance.expovariate(1 / gap_s))
        visits.append(asyncio.create_task(crowd.visit(f"viewer {number}", chance.choice(KINDS))))
    await asyncio.gather(*visits)


@pytest.mark.parametrize("seed", range(3))
def test_the_time_told_at_the_upload_is_true_for_nine_of_ten(seed: int):
    async def day() -> None:
        async with Crowd() as crowd:
            await arrive(crowd, viewers=200, gap_s=25, chance=random.Random(seed))
            assert len(crowd.ready) == 200
            assert truthful(crowd.ready) >= 0.9
            assert truthful(crowd.watchable) >= 0.9

    run(day())


@pytest.mark.parametrize("seed", range(3))
def test_in_a_rush_too_it_is_true_when_the_own_scene_can_be_watched(seed: int):
    async def rush() -> None:
        async with Crowd() as crowd:
            await arrive(crowd, viewers=200, gap_s=0.3, chance=random.Random(seed))
            assert len(crowd.ready) == 200
            assert truthful(crowd.watchable) >= 0.9

    run(rush())


def test_in_a_rush_that_fills_the_queue_no_more_newcomers_are_reckoned_with_than_it_has_room_for():
    async def rush() -> None:
        chance = random.Random(1)
        async with Crowd(limit=32) as crowd:
            await crowd.visit("first", "still")
            visits, refused = [], 0
            for number in range(200):
                await asyncio.sleep(chance.expovariate(1 / 0.3))
                try:
                    with crowd.admission.place():
                        visits.append(asyncio.create_task(crowd.visit(f"viewer {number}", "still")))
                except QueueFull:
                    refused += 1
            await asyncio.gather(*visits)
            assert refused > 100
            assert truthful(crowd.watchable) >= 0.9
            # nobody foresees how a rush begins and that it ends; in between the times are right
            assert truthful(crowd.ready[12:-6]) >= 0.9

    run(rush())


@pytest.mark.parametrize("kinds", ["ss", "sms", "mms", "ssssss", "msmsms"])
def test_where_nobody_else_comes_everybody_of_the_queue_is_told_the_exact_time(kinds: str, monkeypatch):
    monkeypatch.setattr("mediaserver.admission.LIKELY", 0)

    async def few() -> None:
        async with Crowd(noise=0) as crowd:
            for kind in KINDS:
                await crowd.visit(kind, kind)
            crowd.ready.clear()
            crowd.watchable.clear()
            named, visits = {"s": "still", "m": "moving"}, []
            for number, kind in enumerate(kinds):
                visits.append(asyncio.create_task(crowd.visit(f"viewer {number}", named[kind])))
                await asyncio.sleep(1.1)
            await asyncio.gather(*visits)
            # whoever came last is the only one whom nobody overtakes
            for told_s, took_s in (*crowd.watchable, crowd.ready[-1]):
                assert told_s == pytest.approx(took_s, abs=0.01)

    run(few())


@pytest.mark.parametrize("overdue_s", [0.0, 0.3])
def test_a_first_rung_that_is_nearly_there_keeps_nobody_waiting_for_the_others(overdue_s: float, monkeypatch):
    async def moment() -> None:
        async with Crowd(noise=0) as crowd:
            for kind in KINDS:
                await crowd.visit(kind, kind)
            monkeypatch.setitem(SEGMENT_S, "moving", 0.5 + overdue_s + 0.1)
            first = crowd.add("first", "moving")
            while len(first.done) < (7 if overdue_s else 8):
                await first.pulse.next().wait()
            await asyncio.sleep(overdue_s and 0.5 + overdue_s)
            await crowd.visit("second", "still")
            told_s, took_s = crowd.watchable[-1]
            assert told_s == pytest.approx(took_s, abs=0.1)

    run(moment())


def test_kinds_of_slots_are_told_apart():
    async def both() -> None:
        async with Crowd() as crowd:
            for _ in range(3):
                for kind in KINDS:
                    await crowd.visit(kind, kind)
            (still, _), (moving, _) = crowd.ready[-2:]
            assert moving > 3 * still

    run(both())


def test_a_full_queue_says_when_there_is_a_place_again():
    async def full() -> None:
        async with Crowd(limit=4) as crowd:
            for kind in KINDS:
                await crowd.visit(kind, kind)
            for number in range(5):
                with crowd.admission.place():
                    crowd.add(f"viewer {number}", "moving")
                await asyncio.sleep(0)
            with pytest.raises(QueueFull) as refused, crowd.admission.place():
                pass
            await asyncio.sleep(0.7 * refused.value.retry_s)
            with pytest.raises(QueueFull), crowd.admission.place():
                pass
            await asyncio.sleep(0.6 * refused.value.retry_s)
            with crowd.admission.place():
                pass

    run(full())


async def visit(served: Served, number: int) -> tuple[int, str]:
    """Open a session, ask for the manifest, send a photo and play the slot; return the photo's status and session."""
    session = await served.begin()
    assert (await served.get(f"{session}part2/stream.mpd"))[0] == 200
    status, said = await served.put_photo(session, b"%03d" % number)
    if status == 202:
        assert said["slots"][0]["eta_s"] >= 1
    else:
        assert (status, said["code"]) == (503, "queue_full")
        assert (await served.state(session))["state"] == "consented"
    return status, session


async def test_two_hundred_viewers_at_once_lose_nothing_and_see_their_own_face_or_the_films(
    publish: Publish, serve: Serve, tmp_path: Path
):
    chapter = publish()
    served = await serve(ScriptedFaceWorker(), visits_per_minute=0, queue_limit=24, deadline_s=0)
    visits = await asyncio.gather(*(visit(served, number) for number in range(200)))
    statuses = [status for status, _ in visits]
    assert set(statuses) == {202, 503}
    for number, (status, session) in enumerate(visits):
        if status == 202:
            await served.until(session, "ready")
        for rung, n in (("video_1080p_h264", 5), ("video_432p_h264", 7)):
            answer, _, sent = await served.get(f"{session}part2/v1/{rung}/{n}.m4s")
            own = fragment_bytes(b"face of %03d" % number, rung, n)
            assert (answer, sent) == (200, own if status == 202 else chapter.segment(rung, n))
    assert (await served.put_photo(visits[statuses.index(503)][1]))[0] == 202
    for _, session in visits:
        async with served.client.delete(served.url + session) as gone:
            assert gone.status == 204
    assert [path for path in (tmp_path / "state" / "inserts").iterdir() if path.is_dir()] == []
