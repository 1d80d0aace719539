from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from mediaserver.encodings import packed, takes_gzip
from tests.mediaserver.house import furnish, housed
from tests.mediaserver.wire import Answer, Wire, connected


@pytest.mark.parametrize(
    ("field", "takes"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("gzip, deflate, br", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("*", True),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("br, *;q=0", False),
        ("gzipped", False),
        ("gzip;q=nonsense", False),
    ],
)
def test_gzip_is_taken_by_whoever_says_so(field: str | None, takes: bool):
    assert takes_gzip(field) is takes


def test_a_text_is_packed_to_the_same_bytes_every_time_and_only_if_that_helps():
    text = b"#EXTINF:2.0,\n" * 100
    assert packed(text) == packed(text)
    assert gzip.decompress(packed(text) or b"") == text
    assert packed(b"short") is None


def get(wire: Wire, path: str, *lines: str) -> Answer:
    wire.write("\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *lines, "", "")).encode())
    return wire.answer()


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", ["stream.mpd", "master.m3u8", "v1/video_1080p_h264.m3u8"])
def test_manifests_are_ready_in_gzip_as_representations_of_their_own(tmp_path: Path, fast: bool, name: str):
    furnish(tmp_path)
    with housed(tmp_path, fast_path=fast) as house, connected(house.host, house.port) as wire:
        plain, short = get(wire, f"/part2/{name}"), get(wire, f"/part2/{name}", "Accept-Encoding: gzip, br")
        assert "content-encoding" not in plain.fields
        assert short.fields["content-encoding"] == "gzip"
        assert gzip.decompress(short.body) == plain.body
        assert plain.fields["vary"] == short.fields["vary"] == "Accept-Encoding"
        assert plain.fields["content-type"] == short.fields["content-type"]
        assert plain.fields["etag"] != short.fields["etag"]
        condition = f"If-None-Match: {short.fields['etag']}"
        assert get(wire, f"/part2/{name}", "Accept-Encoding: gzip", condition).status == 304
        assert get(wire, f"/part2/{name}", condition).status == 200
        part = get(wire, f"/part2/{name}", "Accept-Encoding: gzip", "Range: bytes=2-9")
        assert (part.status, part.body) == (206, short.body[2:10])


@pytest.mark.parametrize("fast", [True, False])
def test_films_are_never_packed(tmp_path: Path, fast: bool):
    film = furnish(tmp_path)
    with housed(tmp_path, fast_path=fast) as house, connected(house.host, house.port) as wire:
        answer = get(wire, "/part2/v1/video_1080p_h264.mp4", "Accept-Encoding: gzip")
        assert "content-encoding" not in answer.fields
        assert answer.body == film
