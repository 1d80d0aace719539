from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

import pytest

from tests.mediaserver.conftest import Publish, Serve, Served


async def raw(served: Served, head: str) -> tuple[int, dict[str, str], bytes]:
    """Send a request exactly as written and read its answer."""
    host, port = served.url.removeprefix("http://").rstrip("/").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"{head}\r\nHost: {host}\r\n\r\n".encode("latin-1"))
        answer = await reader.readuntil(b"\r\n\r\n")
        line, *fields = answer.decode().split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        body = b"" if head.startswith("HEAD") else await reader.readexactly(int(headers.get("content-length", 0)))
        return int(line.split()[1]), headers, body
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_published_file_is_sent_whole_and_may_be_kept_for_ever(publish: Publish, serve: Serve):
    chapter, served = publish(), await serve()
    status, headers, sent = await served.get(f"{chapter.path}/video_1080p_h264.mp4")
    assert (status, sent) == (200, chapter.bytes_of("video_1080p_h264.mp4"))
    assert headers["Content-Type"] == "video/mp4"
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert headers["ETag"].startswith('"')
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_a_range_is_cut_out_of_the_file(publish: Publish, serve: Serve):
    chapter, served = publish(), await serve()
    status, headers, sent = await served.get(f"{chapter.path}/audio_en.mp4", Range="bytes=100-299")
    assert (status, sent) == (206, chapter.bytes_of("audio_en.mp4")[100:300])
    assert (headers["Content-Range"], headers["Content-Type"]) == ("bytes 100-299/9000", "audio/mp4")


async def test_several_ranges_come_as_parts(publish: Publish, serve: Serve):
    chapter, served = publish(), await serve()
    status, headers, sent = await served.get(f"{chapter.path}/audio_en.mp4", Range="bytes=0-9,100-109")
    data = chapter.bytes_of("audio_en.mp4")
    assert (status, len(sent)) == (206, int(headers["Content-Length"]))
    assert data[:10] in sent
    assert data[100:110] in sent


async def test_a_connection_lives_on_after_416_304_and_404(publish: Publish, serve: Serve):
    chapter, served = publish(), await serve()
    host, port = served.url.removeprefix("http://").rstrip("/").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    path = f"/{chapter.path}/audio_en.mp4"
    for line, expected in [
        (f"GET {path} HTTP/1.1\r\nRange: bytes=9000-", 416),
        (f"GET {path} HTTP/1.1\r\nIf-None-Match: *", 304),
        ("GET /nothing/here HTTP/1.1", 404),
        (f"HEAD {path} HTTP/1.1", 200),
        (f"GET {path} HTTP/1.1\r\nRange: bytes=0-0", 206),
    ]:
        writer.write(f"{line}\r\nHost: {host}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert int(head.split()[1]) == expected
        length = head.lower().partition("content-length: ")[2].split("\r\n")[0]
        if length and not line.startswith("HEAD"):
            await reader.readexactly(int(length))
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(("name", "mime"), [("stream.mpd", "dash+xml"), ("master.m3u8", "vnd.apple.mpegurl")])
async def test_manifests_are_short_lived_and_answer_304_to_their_tag(
    publish: Publish, serve: Serve, name: str, mime: str
):
    chapter, served = publish(), await serve()
    status, headers, sent = await served.get(f"part2/{name}")
    assert status == 200
    assert headers["Content-Type"] == f"application/{mime}"
    assert headers["Cache-Control"] == "public, max-age=2"
    assert chapter.presentation.version.encode() in sent
    again, validators, nothing = await served.get(f"part2/{name}", **{"If-None-Match": headers["ETag"]})
    assert (again, validators["ETag"], nothing) == (304, headers["ETag"], b"")


async def test_a_media_playlist_is_as_immutable_as_its_version(publish: Publish, serve: Serve):
    chapter, served = publish(), await serve()
    status, headers, sent = await served.get(f"{chapter.path}/video_432p_h264.m3u8")
    assert (status, headers["Content-Type"]) == (200, "application/vnd.apple.mpegurl")
    assert "immutable" in headers["Cache-Control"]
    assert sent.startswith(b"#EXTM3U")


@pytest.mark.parametrize(
    "name",
    [
        "presentation.json",
        "slot_you.mezzanine.mp4",
        "slot_you.narration.wav",
        "slot_you.track.npz",
        "nothing.mp4",
        "nothing.m3u8",
        "stray.mp4",
        "outside.mp4",
        "presentation.m3u8",
    ],
)
async def test_only_files_of_renditions_are_served(publish: Publish, serve: Serve, tmp_path, name: str):
    chapter, served = publish(), await serve()
    (chapter.folder / "stray.mp4").write_bytes(b"stray")
    (tmp_path / "secret").write_bytes(b"secret")
    (chapter.folder / "outside.mp4").symlink_to(tmp_path / "secret")
    status, _, sent = await served.get(f"{chapter.path}/{name}")
    assert status == 404
    assert json.loads(sent)["code"] == "not_found"


async def test_a_rendition_that_is_a_symbolic_link_is_not_followed(publish: Publish, serve: Serve, tmp_path):
    chapter, served = publish(), await serve()
    (tmp_path / "secret").write_bytes(b"secret")
    (chapter.folder / "audio_en.mp4").unlink()
    (chapter.folder / "audio_en.mp4").symlink_to(tmp_path / "secret")
    assert (await served.get(f"{chapter.path}/audio_en.mp4"))[0] == 404


async def test_a_chapter_folder_that_is_a_symbolic_link_is_not_followed(publish: Publish, serve: Serve, tmp_path):
    chapter, served = publish(), await serve()
    chapter.folder.parent.rename(tmp_path / "elsewhere")
    (tmp_path / "media" / "part2").symlink_to(tmp_path / "elsewhere")
    assert (await served.get("part2/stream.mpd"))[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/..%2f..%2fetc%2fpasswd",
        "/part2/v1/..%2f..%2fsecret",
        "/part2/v1/../../secret",
        "/part2/v1/%2e%2e/%2e%2e/secret",
        "/part2/v1/%2E%2E%2Fsecret",
        "/part2%2fv1%2faudio_en.mp4",
        "/part2/v1/audio_en.mp4%00",
        "/part2/v1/%00",
        "/part2/v1/a%0d%0aSet-Cookie:x",
        "/part2/v1\\audio_en.mp4",
        "/part2/v1%5caudio_en.mp4",
        "/part2/v1/" + "a" * 4096,
        "/" + "a" * 4096,
        "/" + "a" * 4096 + "/stream.mpd",
        "/s/" + "a" * 4096,
        "/part2//audio_en.mp4",
        "/part2/v1/audio_en.mp4/",
        "/part2/v1/%ff%fe",
        "/part2/current",
        "/part2/v1",
        "/part2",
        "//",
        "/assets/0/viewer.js",
        "/s/",
        "/s//",
    ],
)
async def test_odd_paths_get_a_sentence_and_a_hint_and_the_server_lives_on(publish: Publish, serve: Serve, path: str):
    publish()
    served = await serve()
    status, headers, sent = await raw(served, f"GET {path} HTTP/1.1")
    assert status in (400, 404)
    problem = json.loads(sent)
    assert problem["sentence"]
    assert problem["hint"]
    assert headers["access-control-allow-origin"] == "*"
    assert (await served.get("part2/stream.mpd"))[0] == 200


@pytest.mark.parametrize("byte", ["\x00", "\x7f", "\x01"])
async def test_a_raw_control_character_in_the_path_is_refused_and_the_server_lives_on(
    publish: Publish, serve: Serve, byte: str
):
    publish()
    served = await serve()
    status, _, _ = await raw(served, f"GET /part2/{byte}stream.mpd HTTP/1.1")
    assert status == 400
    assert (await served.get("part2/stream.mpd"))[0] == 200


async def test_another_method_is_answered_with_those_that_are_possible(publish: Publish, serve: Serve):
    publish()
    served = await serve()
    async with served.client.post(served.url + "part2/stream.mpd") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert (await answer.json())["hint"] == "Possible are: GET, HEAD."


async def test_every_origin_may_read_streams_and_see_what_players_need(publish: Publish, serve: Serve):
    publish()
    served = await serve()
    for path in ("part2/stream.mpd", "nothing/stream.mpd", "s/forged/", "consent", "healthz"):
        _, headers, _ = await served.get(path, Origin="https://film.example")
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert {"Content-Range", "ETag"} <= set(headers["Access-Control-Expose-Headers"].split(", "))


async def test_a_preflight_for_range_and_cmcd_headers_is_answered(serve: Serve):
    served = await serve()
    asked = {
        "Origin": "https://film.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "range, cmcd-request",
    }
    for path in ("part2/v1/audio_en.mp4", "s/any/part2/stream.mpd", "sessions"):
        async with served.client.options(served.url + path, headers=asked) as answer:
            assert answer.status == 204
            allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
            assert {"range", "cmcd-request", "cmcd-object", "cmcd-session", "cmcd-status"} <= set(allowed)
            assert {"PUT", "DELETE"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))


async def test_only_named_origins_may_read_when_some_are_named(publish: Publish, serve: Serve):
    publish()
    served = await serve(cors_origins=("https://film.example",))
    _, named, _ = await served.get("part2/stream.mpd", Origin="https://film.example")
    _, other, _ = await served.get("part2/stream.mpd", Origin="https://other.example")
    assert (named["Access-Control-Allow-Origin"], named["Vary"]) == (
        "https://film.example",
        "Accept-Encoding, Origin",
    )
    assert named["Timing-Allow-Origin"] == "https://film.example"
    assert ("Access-Control-Allow-Origin" in other, other["Vary"]) == (False, "Accept-Encoding, Origin")
    assert "Timing-Allow-Origin" not in other
    assert named["Cross-Origin-Resource-Policy"] == other["Cross-Origin-Resource-Policy"] == "cross-origin"


async def test_no_other_origin_reads_the_editors_jobs(serve: Serve):
    served = await serve()
    status, headers, _ = await served.get("api/jobs", Origin="https://film.example")
    assert (status, "Access-Control-Allow-Origin" in headers) == (200, False)


async def test_a_client_that_leaves_in_the_middle_disturbs_nobody(publish: Publish, serve: Serve):
    chapter, served = publish(), await serve()
    big = chapter.folder / "video_1080p_h264.mp4"
    big.write_bytes(bytes(8_000_000))
    host, port = served.url.removeprefix("http://").rstrip("/").split(":")
    for _ in range(3):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /{chapter.path}/{big.name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await reader.readexactly(1000)
        writer.transport.abort()
    assert len((await served.get(f"{chapter.path}/{big.name}"))[2]) == 8_000_000


async def test_a_chapter_may_have_a_name_in_any_script(publish: Publish, serve: Serve):
    chapter = publish(chapter="الجزء-2.é")
    served = await serve()
    status, _, sent = await served.get("الجزء-2.é/master.m3u8")
    assert status == 200
    line = next(line for line in sent.decode().splitlines() if line and not line.startswith("#"))
    status, _, _ = await served.get(f"{quote('الجزء-2.é')}/{line}")
    assert status == 200
    assert (await served.get(f"{chapter.path}/video_432p_h264.mp4"))[0] == 200
    session = await served.begin()
    assert (await served.get(f"{session}{quote('الجزء-2.é')}/v1/video_432p_h264/5.m4s"))[0] == 200


async def test_the_list_of_chapters_tells_pages_what_there_is(publish: Publish, serve: Serve):
    publish()
    publish(chapter="part1", slots=())
    served = await serve()
    _, _, sent = await served.get("api/chapters")
    first, second = json.loads(sent)["chapters"]
    assert (first["chapter"], first["slots"]) == ("part1", [])
    assert (second["chapter"], second["title"], second["duration_s"]) == ("part2", "Part two", 20.0)
    assert (second["markers"], second["poster"]) == ([], None)
    assert second["slots"] == [{"slot": "you", "start_s": 11.0, "duration_s": 4.0}]
