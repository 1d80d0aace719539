from __future__ import annotations

import asyncio
import gc
import json
import os
import sqlite3
import stat
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from aiohttp import FormData

from mediaserver.admission import Scene
from mediaserver.capability import Seal
from mediaserver.ledger import Ledger, SessionRow, pinned_versions
from mediaserver.sessions import Session
from mediaserver.steadyclock import SteadyClock
from tests.mediaserver.conftest import Publish, ScriptedFaceWorker, Serve, Served


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "CACHEDIR.TAG"]


def holds(folder: Path, needle: bytes) -> list[Path]:
    return [path for path in files_below(folder) if needle in path.read_bytes()]


async def ready_session(served: Served) -> str:
    session = await served.begin()
    assert (await served.get(f"{session}part2/stream.mpd"))[0] == 200
    assert (await served.put_photo(session))[0] == 202
    await served.until(session, "ready")
    return session


# --- consent ---


async def test_the_consent_text_comes_with_its_hash_and_two_boxes(serve: Serve):
    served = await serve()
    _, _, sent = await served.get("consent?lang=en")
    consent = json.loads(sent)
    assert consent["sha256"] == sha256(consent["text"].encode()).hexdigest()
    assert [box["id"] for box in consent["boxes"]] == ["own_face", "age"]
    assert (consent["lang"], consent["version"]) == ("en", "2")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"consent": "SHA"}',
        '{"consent": "SHA", "boxes": {}}',
        '{"consent": "SHA", "boxes": {"own_face": true}}',
        '{"consent": "SHA", "boxes": {"own_face": true, "age": false}}',
        '{"consent": "SHA", "boxes": {"own_face": true, "age": "true"}}',
        '{"consent": "SHA", "boxes": {"own_face": true, "age": 1}}',
        '{"consent": "SHA", "boxes": ["own_face", "age"]}',
        '{"consent": "0000", "boxes": {"own_face": true, "age": true}}',
        '{"consent": "é", "boxes": {"own_face": true, "age": true}}',
        '{"consent": null, "boxes": {"own_face": true, "age": true}}',
        '{"boxes": {"own_face": true, "age": true}}',
    ],
)
async def test_without_consent_to_this_text_and_both_boxes_nothing_begins(serve: Serve, body: str):
    served = await serve()
    digest = json.loads((await served.get("consent"))[2])["sha256"]
    async with served.client.post(served.url + "sessions", data=body.replace("SHA", digest)) as answer:
        assert answer.status == 403
        assert (await answer.json())["code"] == "consent_missing"


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"consent=yes"])
async def test_a_consent_that_is_not_json_is_a_bad_request(serve: Serve, body: bytes):
    served = await serve()
    async with served.client.post(served.url + "sessions", data=body) as answer:
        assert answer.status == 400


async def test_a_session_begins_with_an_address_that_works_with_and_without_its_last_slash(serve: Serve):
    served = await serve()
    session = await served.begin()
    assert session.startswith("s/")
    assert await served.state(session) == {"state": "consented", "slots": []}
    assert await served.state(session.rstrip("/")) == {"state": "consented", "slots": []}


async def test_a_forged_session_is_unknown_and_so_is_everything_below_it(publish: Publish, serve: Serve):
    publish()
    served = await serve()
    session = await served.begin()
    forged = session[:10] + ("A" if session[10] != "A" else "B") + session[11:]
    for path in (forged, forged + "part2/stream.mpd", forged + "nothing", "s/x/", "s/" + "A" * 52):
        status, _, sent = await served.get(path)
        assert (status, json.loads(sent)["code"]) == (404, "session_unknown")
    async with served.client.delete(served.url + forged) as answer:
        assert answer.status == 404


# --- photo ---


@pytest.mark.parametrize(
    ("photo", "kind", "status", "code"),
    [
        (b"jpeg", "image/jpeg", 202, None),
        (b"png", "image/png", 202, None),
        (b"webp", "image/webp", 202, None),
        (b"%PDF-1.7", "image/jpeg", 415, "not_a_picture"),
        (b"%PDF-1.7", "application/pdf", 415, "not_a_picture"),
        (b"text", "text/plain", 415, "not_a_picture"),
        (b"nobody", "image/jpeg", 422, "photo_refused"),
        (bytes(20_000), "image/jpeg", 413, "picture_too_large"),
        (bytes(200_000), "image/jpeg", 413, "picture_too_large"),
    ],
)
async def test_every_photo_has_its_answer(serve: Serve, photo: bytes, kind: str, status: int, code: str | None):
    served = await serve(photo_max_bytes=10_000)
    session = await served.begin()
    found, answer = await served.put_photo(session, photo, kind)
    assert (found, answer.get("code")) == (status, code)
    if code:
        assert answer["sentence"]
        assert answer["hint"]
    assert (await served.state(session))["state"] == {202: "captured", 422: "rejected"}.get(status, "consented")


async def test_a_refused_photo_tells_its_verdict(serve: Serve):
    served = await serve()
    _, answer = await served.put_photo(await served.begin(), b"nobody")
    assert (answer["verdict"], answer["sentence"]) == ("no_face", "There is no face in this picture.")
    assert answer["hint"] == "Look into the camera, with light on your face."


async def test_a_photo_comes_as_a_form_too(serve: Serve):
    served = await serve(photo_max_bytes=10_000)
    session = await served.begin()
    for photo, status in [(b"jpeg", 202), (b"nobody", 422), (bytes(12_000), 413)]:
        form = FormData()
        form.add_field("note", "not the photo")
        form.add_field("photo", photo, filename="me.jpg", content_type="image/jpeg")
        async with served.client.put(f"{served.url}{session}photo", data=form) as answer:
            assert answer.status == status


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (b"garbage", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\nno name\r\n--x--\r\n", "multipart/form-data; boundary=x"),
    ],
)
async def test_a_form_without_a_file_is_not_a_picture(serve: Serve, body: bytes, kind: str):
    served = await serve()
    status, answer = await served.put_photo(await served.begin(), body, kind)
    assert (status, answer["code"]) == (415, "not_a_picture")


async def test_a_body_without_a_declared_length_is_cut_at_the_limit(serve: Serve):
    served = await serve(photo_max_bytes=10_000)
    session = await served.begin()

    async def endless():
        for _ in range(1000):
            yield bytes(5000)

    async with served.client.put(
        f"{served.url}{session}photo", data=endless(), headers={"Content-Type": "image/jpeg"}
    ) as answer:
        assert answer.status == 413


@pytest.mark.parametrize("kind", ["image/jpeg", "multipart/form-data; boundary=x"])
async def test_an_upload_that_breaks_off_disturbs_nobody(serve: Serve, caplog, kind: str):
    served = await serve(queue_limit=1)
    session = await served.begin()
    host, port = served.url.removeprefix("http://").rstrip("/").split(":")
    for _ in range(3):
        _, writer = await asyncio.open_connection(host, int(port))
        head = (
            f"PUT /{session}photo HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 90000\r\n\r\n"
        )
        writer.write(head.encode() + b'--x\r\nContent-Disposition: form-data; name="photo"\r\n\r\nhalf of it')
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.sleep(0.05)
    assert (await served.put_photo(session))[0] == 202
    assert not [record for record in caplog.records if record.exc_info]


async def test_an_upload_in_broken_chunks_is_a_bad_request(serve: Serve, caplog):
    served = await serve()
    session = await served.begin()
    host, port = served.url.removeprefix("http://").rstrip("/").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"PUT /{session}photo HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode() + b"4\r\nhalf\r\nzz\r\n")
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert answer.split()[1] == b"400"
    assert (await served.put_photo(session))[0] == 202
    assert not [record for record in caplog.records if record.exc_info and record.name.startswith("mediaserver")]


@pytest.mark.parametrize("kind", ["image/jpeg", "multipart/form-data; boundary=x"])
async def test_an_upload_that_never_ends_loses_its_place(serve: Serve, monkeypatch, kind: str):
    monkeypatch.setattr("mediaserver.upload.SLOWEST_S", 0.1)
    served = await serve(queue_limit=1)
    session = await served.begin()

    async def dripping():
        yield b'--x\r\nContent-Disposition: form-data; name="photo"\r\n\r\n'
        await asyncio.sleep(0.5)
        yield b"late"

    async with served.client.put(
        f"{served.url}{session}photo", data=dripping(), headers={"Content-Type": kind}
    ) as answer:
        assert (answer.status, (await answer.json())["code"]) == (408, "too_slow")
    assert (await served.put_photo(session))[0] == 202


@pytest.mark.parametrize("form", [False, True])
async def test_a_photo_is_never_in_a_file(publish: Publish, serve: Serve, tmp_path: Path, form: bool):
    publish()
    served = await serve()
    session = await served.begin()
    await served.get(f"{session}part2/stream.mpd")
    before = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _link(fd)}
    secret = b"the viewer's own face " * 290_000
    seen: set[str] = set()

    async def slowly():
        for start in range(0, len(secret), 300_000):
            yield secret[start : start + 300_000]
            await asyncio.sleep(0.02)
            seen.update(link for fd in os.listdir("/proc/self/fd") if (link := _link(fd)))

    body: object = slowly()
    headers = {"Content-Type": "image/jpeg"}
    if form:
        body, headers = FormData(), {}
        body.add_field("photo", slowly(), filename="me.jpg", content_type="image/jpeg")
    async with served.client.put(f"{served.url}{session}photo", data=body, headers=headers) as answer:
        assert answer.status == 202
    new = {link for link in seen - before if link.startswith("/") and not link.startswith("/dev/")}
    assert {link for link in new if not link.startswith(str(tmp_path / "state" / "sessions.sqlite"))} == set()
    await served.until(session, "ready")
    assert holds(tmp_path / "state", secret[:22]) == []


def _link(fd: str) -> str | None:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None


# --- the end ---


async def test_delete_leaves_nothing_and_everything_below_is_gone(publish: Publish, serve: Serve, tmp_path: Path):
    publish()
    served = await serve()
    session = await ready_session(served)
    capability = session.split("/")[1]
    inserts = tmp_path / "state" / "inserts"
    (kept_as,) = [path.name for path in inserts.iterdir() if path.is_dir()]
    async with served.client.delete(served.url + session) as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    assert files_below(inserts) == []
    assert holds(tmp_path / "state", capability.encode()) == []
    assert holds(tmp_path / "state", kept_as.encode()) == []
    for path in ("", "events", "part2/stream.mpd", "part2/v1/video_432p_h264/5.m4s", "nothing/at/all"):
        status, headers, sent = await served.get(session + path)
        assert (status, json.loads(sent)["code"]) == (410, "session_gone")
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert headers["Referrer-Policy"] == "no-referrer"
    async with served.client.delete(served.url + session) as answer:
        assert answer.status == 410
    assert (await served.put_photo(session))[0] == 410


async def test_many_viewers_who_come_and_go_leave_no_byte_no_object_and_no_descriptor(
    publish: Publish, serve: Serve, tmp_path: Path
):
    publish()
    served = await serve(visits_per_minute=0)

    async def come_and_go(times: int) -> tuple[int, int, int]:
        for _ in range(times):
            session = await served.begin()
            await served.get(f"{session}part2/stream.mpd")
            async with served.client.delete(served.url + session) as answer:
                assert answer.status == 204
        gc.collect()
        state = sum(path.stat().st_size for path in (tmp_path / "state").rglob("*") if path.is_file())
        return state, sum(type(one) is Session for one in gc.get_objects()), len(os.listdir("/proc/self/fd"))

    assert await come_and_go(150) == await come_and_go(50)


async def test_delete_while_rendering_stops_the_render_first(publish: Publish, serve: Serve, tmp_path: Path):
    publish()
    worker = ScriptedFaceWorker(steps=asyncio.Semaphore(2))
    served = await serve(worker)
    session = await served.begin()
    await served.get(f"{session}part2/stream.mpd")
    await served.put_photo(session)
    while not files_below(tmp_path / "state" / "inserts"):
        await asyncio.sleep(0.01)
    async with served.client.delete(served.url + session) as answer:
        assert answer.status == 204
    assert worker.stopped == 1
    assert files_below(tmp_path / "state" / "inserts") == []
    worker.steps.release()
    await asyncio.sleep(0.05)
    assert files_below(tmp_path / "state" / "inserts") == []


async def test_delete_while_the_photo_is_looked_at_wins(publish: Publish, serve: Serve, tmp_path: Path):
    publish()
    worker = ScriptedFaceWorker()
    worker.look.clear()
    served = await serve(worker)
    session = await served.begin()
    await served.get(f"{session}part2/stream.mpd")
    photo = asyncio.create_task(served.put_photo(session))
    await asyncio.sleep(0.05)
    async with served.client.delete(served.url + session) as answer:
        assert answer.status == 204
    worker.look.set()
    assert (await photo)[0] == 410
    assert worker.begun == []


async def test_an_unused_session_expires_and_every_request_counts_as_use(
    publish: Publish, serve: Serve, tmp_path: Path
):
    publish()
    now = [1_800_000_000.0]
    served = await serve(clock=lambda: now[0], session_idle_h=2.0, session_max_h=5.0)
    session = await ready_session(served)
    now[0] += 1.9 * 3600
    assert (await served.get(f"{session}part2/stream.mpd"))[0] == 200
    now[0] += 1.9 * 3600
    assert (await served.get(session))[0] == 200
    now[0] += 2.1 * 3600
    assert (await served.get(session))[0] == 410
    assert files_below(tmp_path / "state" / "inserts") == []


async def test_no_use_keeps_a_session_beyond_its_longest_life(serve: Serve):
    now = [1_800_000_000.0]
    served = await serve(clock=lambda: now[0], session_idle_h=2.0, session_max_h=5.0)
    session = await served.begin()
    for _ in range(4):
        now[0] += 1.2 * 3600
        assert (await served.get(session))[0] == 200
    now[0] += 1.2 * 3600
    assert (await served.get(session))[0] == 410


# --- restart ---


async def test_a_finished_insert_plays_on_after_a_restart_and_the_face_is_gone(publish: Publish, serve: Serve):
    publish()
    first = await serve()
    session = await ready_session(first)
    path = f"{session}part2/v1/video_432p_h264/5.m4s"
    _, _, fragment = await first.get(path)
    await serve.stop(first)
    second = await serve()
    status, headers, again = await second.get(path)
    assert (status, headers["X-Scene"], again) == (200, "personal", fragment)
    assert (await second.state(session))["state"] == "ready"


async def test_an_unfinished_render_is_forgotten_at_a_restart_and_the_viewer_is_told(
    publish: Publish, serve: Serve, tmp_path: Path
):
    chapter = publish()
    first = await serve(ScriptedFaceWorker(steps=asyncio.Semaphore(1)))
    session = await first.begin()
    await first.get(f"{session}part2/stream.mpd")
    await first.put_photo(session)
    while not files_below(tmp_path / "state" / "inserts"):
        await asyncio.sleep(0.01)
    await serve.stop(first)
    second = await serve()
    state = await second.state(session)
    assert state["state"] == "consented"
    assert [(slot["slot"], slot["state"], slot["eta_s"]) for slot in state["slots"]] == [("you", "waiting", None)]
    assert files_below(tmp_path / "state" / "inserts") == []
    _, headers, sent = await second.get(f"{session}part2/v1/video_1080p_h264/5.m4s")
    assert (headers["X-Scene"], sent) == ("chapter", chapter.segment("video_1080p_h264", 5))


async def test_delete_and_expiry_survive_a_restart(publish: Publish, serve: Serve):
    publish()
    now = [1_800_000_000.0]
    first = await serve(clock=lambda: now[0])
    deleted, expired, living = await first.begin(), await first.begin(), await first.begin()
    async with first.client.delete(first.url + deleted) as answer:
        assert answer.status == 204
    now[0] += 1.5 * 3600
    assert (await first.get(living))[0] == 200
    await serve.stop(first)
    now[0] += 1.0 * 3600
    second = await serve(clock=lambda: now[0])
    assert [(await second.get(session))[0] for session in (deleted, expired, living)] == [410, 410, 200]


async def test_what_a_crash_left_of_an_unknown_session_is_deleted_at_the_start(serve: Serve, tmp_path: Path):
    left = tmp_path / "state" / "inserts" / ("0" * 64) / "part2"
    left.mkdir(parents=True)
    (left / "5.m4s").write_bytes(b"face")
    await serve()
    assert [path for path in (tmp_path / "state" / "inserts").iterdir() if path.is_dir()] == []


# --- secrets ---


async def test_state_is_for_the_server_alone_and_holds_no_capability(publish: Publish, serve: Serve, tmp_path: Path):
    publish()
    served = await serve()
    session = await ready_session(served)
    state = tmp_path / "state"
    for folder in [state, *(path for path in state.rglob("*") if path.is_dir())]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "sessions.sqlite").stat().st_mode) == 0o600
    assert stat.S_IMODE((state / "keys" / "capability.key").stat().st_mode) == 0o600
    assert holds(state, session.split("/")[1].encode()) == []


# --- events ---


async def test_events_tell_every_change_until_the_session_is_gone(publish: Publish, serve: Serve):
    publish()
    served = await serve()
    session = await served.begin()
    told: list[str] = []

    async def listen() -> None:
        async with served.client.get(f"{served.url}{session}events") as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            told.extend([line.decode().strip() async for line in answer.content])

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0.05)
    await served.get(f"{session}part2/master.m3u8")
    await served.put_photo(session)
    await served.until(session, "ready")
    async with served.client.delete(served.url + session):
        pass
    await listening
    states = [json.loads(line[6:])["state"] for line in told if line.startswith("data: {") and "state" in line]
    assert (states[0], states[-1]) == ("consented", "ready")
    assert "captured" in states
    assert "event: gone" in told


async def test_an_open_event_stream_does_not_hold_up_the_end_of_the_server(serve: Serve):
    served = await serve()
    session = await served.begin()
    answer = await served.client.get(f"{served.url}{session}events")
    await answer.content.readline()
    await asyncio.wait_for(serve.stop(served), 5)
    answer.close()


async def test_a_session_plays_its_version_on_and_names_it_to_whoever_clears_up(
    publish: Publish, serve: Serve, tmp_path: Path
):
    publish()
    served = await serve()
    session = await ready_session(served)
    publish(version="v2")
    assert pinned_versions(tmp_path / "state", "part2") == {"v1"}
    assert pinned_versions(tmp_path / "state", "part3") == set()
    assert b"v1/video_432p" in (await served.get(f"{session}part2/stream.mpd"))[2]
    assert (await served.get(f"{session}part2/v1/video_432p_h264/5.m4s"))[1]["X-Scene"] == "personal"
    async with served.client.delete(served.url + session) as answer:
        assert answer.status == 204
    assert pinned_versions(tmp_path / "state", "part2") == set()


def test_without_any_session_ever_no_version_is_pinned(tmp_path: Path):
    assert pinned_versions(tmp_path, "part2") == set()


async def test_a_consent_has_a_sealed_receipt_that_lies_with_the_session_and_dies_with_it(serve: Serve, tmp_path: Path):
    served = await serve()
    consent = json.loads((await served.get("consent"))[2])
    agreed = {"consent": consent["sha256"], "boxes": {box["id"]: True for box in consent["boxes"]}}
    async with served.client.post(served.url + "sessions", json=agreed) as answer:
        said = await answer.json()
    receipt = said["receipt"]
    seal = receipt.pop("seal")
    key = (tmp_path / "state" / "keys" / "capability.key").read_bytes()
    assert seal == Seal(key).over(json.dumps(receipt, sort_keys=True))
    assert (receipt["consent"], receipt["boxes"], receipt["via"]) == (consent["sha256"], ["own_face", "age"], "page")
    assert holds(tmp_path / "state", receipt["boxes_sha256"].encode())
    async with served.client.delete(f"{served.url}{said['session'].lstrip('/')}") as answer:
        assert answer.status == 204
    assert not holds(tmp_path / "state", receipt["boxes_sha256"].encode())


async def test_a_face_is_gone_when_its_scene_is_made_and_looked_for_again_in_the_photo_when_needed(
    publish: Publish, serve: Serve, tmp_path: Path
):
    publish(chapter="part1")
    publish(chapter="part2")
    served = await serve()
    session = await ready_session(served)
    gc.collect()
    mine = {path.name for path in (tmp_path / "state" / "inserts").iterdir()}
    scenes = [thing for thing in gc.get_objects() if type(thing) is Scene and thing.insert.session in mine]
    assert [scene for scene in scenes if scene.face or scene.photo] == []
    assert served.worker.examined == 1
    await served.get(f"{session}part1/stream.mpd")
    await served.until(session, "ready")
    assert served.worker.examined == 2


async def test_a_session_does_not_live_longer_because_the_clock_was_set_back_while_the_server_was_down(
    serve: Serve, monkeypatch
):
    now = [1_800_000_000.0]
    monkeypatch.setattr("mediaserver.steadyclock.time.time", lambda: now[0])
    monkeypatch.setattr("mediaserver.steadyclock.uptime_s", lambda: now[0])
    monkeypatch.setattr(SteadyClock.__init__, "__defaults__", (0.0, lambda: now[0], lambda: now[0]))
    first = await serve(session_idle_h=2.0)
    session = await first.begin()
    now[0] += 1.9 * 3600
    await serve.stop(first)
    now[0] -= 24 * 3600
    second = await serve(session_idle_h=2.0)
    now[0] += 0.2 * 3600
    assert (await second.get(session))[0] == 410


async def test_backups_pass_by_what_must_not_be_kept(serve: Serve, tmp_path: Path):
    await serve()
    for name in ("inserts", "keys"):
        tag = (tmp_path / "state" / name / "CACHEDIR.TAG").read_bytes()
        assert tag.startswith(b"Signature: 8a477f597d28d172789f06886806bc55")


def test_a_book_of_an_earlier_version_is_completed(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "sessions.sqlite")) as db, db:
        db.execute(
            "CREATE TABLE session (id TEXT PRIMARY KEY, created_s INTEGER, used_s INTEGER, consent_sha256 TEXT,"
            " consent_version TEXT, lang TEXT)"
        )
        db.execute("INSERT INTO session VALUES ('a', 1, 2, 'x', '1', 'en')")
    ledger = Ledger(tmp_path)
    assert ledger.sessions() == [SessionRow("a", 1, 2, "x", "1", "en", "", "page")]
    ledger.close()
