"""The client that a film already has: shut by default, and then as private as everybody."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from aiohttp import FormData

from tests.mediaserver.conftest import SLOT, Publish, ScriptedFaceWorker, Serve, Served, fragment_bytes

UUID = "3f2b8c1e-7d4a-4e6b-9c2d-0a1b2c3d4e5f"
OTHER = "9a2b8c1e-7d4a-4e6b-ac2d-0a1b2c3d4e5f"
TOLD = "The page asks in three sentences before it opens the camera."
RUNG = "video_1080p_h264"


async def add(served: Served, name: str = f"{UUID}.png", photo: object = b"png", field: str = "image") -> int:
    form = FormData()
    form.add_field(field, photo, filename=name, content_type="image/png")
    headers = {"Origin": "https://film.example"}
    async with served.client.post(f"{served.url}add-video", data=form, headers=headers) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        return answer.status


async def test_it_is_shut_until_the_operator_has_said_how_consent_is_asked_for(publish: Publish, serve: Serve):
    publish()
    served = await serve()
    assert await add(served) in (404, 405)
    assert (await served.get(f"video/{UUID}.mp4"))[0] == 404


async def test_a_photo_becomes_a_signed_video_under_its_name(publish: Publish, serve: Serve):
    chapter, served = publish(), await serve(film_client=TOLD)
    assert await add(served) == 200
    status, headers, sent = await served.get(f"video/{UUID}.mp4")
    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, "video/mp4", "private, no-store")
    fragments = b"".join(fragment_bytes(b"face of png", RUNG, n) for n in (5, 6, 7))
    assert sent.startswith(chapter.bytes_of(f"{RUNG}.mp4")[:100] + fragments + b" signed as")
    assert [take.renditions for take in served.worker.takes] == [(RUNG,)]
    assert {take.stamp.text for take in served.worker.takes} == {"AI"}
    assert (await served.get(f"video/{UUID.upper()}.mp4"))[0] == 200


async def test_the_first_writer_of_a_name_wins(publish: Publish, serve: Serve):
    publish()
    served = await serve(film_client=TOLD)
    statuses = await asyncio.gather(*(add(served, photo=b"%d" % n) for n in range(4)))
    assert sorted(statuses) == [200, 409, 409, 409]
    winner = b"face of %d" % statuses.index(200)
    assert winner in (await served.get(f"video/{UUID}.mp4"))[2]


@pytest.mark.parametrize(
    "name",
    [
        "photo.png",
        f"{UUID}.jpg",
        f"{UUID}.png.exe",
        f"../{UUID}.png",
        UUID,
        "3f2b8c1e-7d4a-1e6b-9c2d-0a1b2c3d4e5f.png",
        "3f2b8c1e-7d4a-4e6b-1c2d-0a1b2c3d4e5f.png",
        "00000000-0000-0000-0000-000000000000.png",
    ],
)
async def test_only_random_uuids_are_names(publish: Publish, serve: Serve, name: str):
    publish()
    served = await serve(film_client=TOLD)
    assert await add(served, name) == 400
    assert served.worker.examined == 0


async def test_a_refused_photo_leaves_the_name_free(publish: Publish, serve: Serve):
    publish()
    served = await serve(film_client=TOLD)
    assert await add(served, photo=b"nobody") == 422
    assert await add(served, photo=b"%PDF-1.7") == 415
    assert (await served.get(f"video/{UUID}.mp4"))[0] == 404
    assert await add(served) == 200


async def test_a_video_that_is_not_finished_is_waited_for_a_little_and_then_not_there_yet(
    publish: Publish, serve: Serve, monkeypatch
):
    publish()
    monkeypatch.setattr("mediaserver.filmclient.PATIENCE_S", 0.3)
    worker = ScriptedFaceWorker()
    worker.go.clear()
    served = await serve(worker, film_client=TOLD)
    assert await add(served) == 200
    status, headers, sent = await served.get(f"video/{UUID}.mp4")
    assert (status, json.loads(sent)["code"], headers["Retry-After"]) == (404, "not_yet", "2")
    waiting = asyncio.create_task(served.get(f"video/{UUID}.mp4"))
    await asyncio.sleep(0.05)
    worker.go.set()
    assert (await waiting)[0] == 200


async def test_it_expires_and_is_deleted_like_every_session(publish: Publish, serve: Serve, tmp_path: Path):
    publish()
    now = [1_800_000_000.0]
    served = await serve(film_client=TOLD, clock=lambda: now[0])
    for name in (UUID, OTHER):
        assert await add(served, f"{name}.png") == 200
        assert (await served.get(f"video/{name}.mp4"))[0] == 200
    async with served.client.delete(f"{served.url}video/{UUID}.mp4") as answer:
        assert answer.status == 204
    assert (await served.get(f"video/{UUID}.mp4"))[0] == 404
    now[0] += 2.1 * 3600
    assert (await served.get(f"video/{OTHER}.mp4"))[0] == 410
    assert [path for path in (tmp_path / "state" / "inserts").iterdir() if path.is_dir()] == []
    for path in (tmp_path / "state").rglob("*"):
        assert path.is_dir() or UUID.encode() not in path.read_bytes()


async def test_the_receipt_records_the_operators_statement(publish: Publish, serve: Serve, tmp_path: Path):
    publish()
    served = await serve(film_client=TOLD)
    await add(served)
    assert any(TOLD.encode() in path.read_bytes() for path in (tmp_path / "state").glob("sessions.sqlite*"))


async def test_a_finished_video_is_there_after_a_restart(publish: Publish, serve: Serve):
    publish()
    first = await serve(film_client=TOLD)
    await add(first)
    sent = (await first.get(f"video/{UUID}.mp4"))[2]
    await serve.stop(first)
    second = await serve(film_client=TOLD)
    assert (await second.get(f"video/{UUID}.mp4"))[2] == sent


async def test_the_slot_is_that_of_the_settings(publish: Publish, serve: Serve):
    publish(chapter="part1")
    publish(chapter="part2")
    served = await serve(film_client=TOLD, film_slot="part2/you")
    assert await add(served) == 200
    assert (await served.get(f"video/{UUID}.mp4"))[0] == 200
    assert [take.folder.parent.name for take in served.worker.takes] == ["part2"]
    unknown = await serve(film_client=TOLD, film_slot="part2/nobody")
    assert await add(unknown, f"{OTHER}.png") == 404


async def test_this_route_never_has_a_photo_in_a_file_either(publish: Publish, serve: Serve, tmp_path: Path):
    publish(slots=(SLOT,))
    served = await serve(film_client=TOLD)
    secret = b"the viewer's own face " * 290_000
    before, seen = open_files(), set[str]()

    async def slowly():
        for start in range(0, len(secret), 300_000):
            yield secret[start : start + 300_000]
            await asyncio.sleep(0.02)
            seen.update(open_files())

    assert await add(served, photo=slowly()) == 200
    new = {name for name in seen - before if name.startswith("/") and not name.startswith("/dev/")}
    assert {name for name in new if not name.startswith(str(tmp_path / "state" / "sessions.sqlite"))} == set()
    assert (await served.get(f"video/{UUID}.mp4"))[0] == 200
    for path in (tmp_path / "state").rglob("*"):
        assert path.is_dir() or secret[:22] not in path.read_bytes().replace(b"face of " + secret[:20], b"")


def open_files() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return found
