from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import pytest

from mediaserver import encodings
from mediaserver.encodings import codings_for, packed
from tests.mediaserver.house import furnish, housed
from tests.mediaserver.wire import Answer, Wire, connected


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server where every library is installed."""
    monkeypatch.setattr(encodings, "CODERS", {"br": bz2.compress, "zstd": lzma.compress, "gzip": gzip.compress})


@pytest.mark.parametrize(
    ("field", "taken"),
    [
        (None, ""),
        ("", ""),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br", "br gzip"),
        ("gzip, deflate, br, zstd", "br zstd gzip"),
        ("br;q=0.5, gzip;q=0.8, *;q=0.1", "gzip br zstd"),
        ("*", "br zstd gzip"),
        ("identity", ""),
        ("identity, gzip;q=0.5", ""),
        ("identity;q=0.5, gzip", "gzip"),
        ("gzip;q=0", ""),
        ("gzip; q=0.000", ""),
        ("*;q=0", ""),
        ("gzip;q=0, *", "br zstd"),
        ("br, *;q=0", "br"),
        ("gzipped", ""),
        ("gzip;q=nonsense", ""),
    ],
)
@pytest.mark.usefixtures("three")
def test_a_client_gets_the_coding_that_it_takes_best(field: str | None, taken: str):
    assert codings_for(field) == tuple(taken.split())


def test_a_text_is_packed_to_the_same_bytes_every_time_and_only_if_that_helps():
    text = b"#EXTINF:2.0,\n" * 100
    assert packed(text) == packed(text)
    assert gzip.decompress(packed(text)["gzip"]) == text
    assert packed(b"short") == {}


def get(wire: Wire, path: str, *lines: str) -> Answer:
    wire.write("\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *lines, "", "")).encode())
    return wire.answer()


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", ["stream.mpd", "master.m3u8", "v1/video_1080p_h264.m3u8"])
@pytest.mark.usefixtures("three")
def test_manifests_are_ready_in_every_coding_as_representations_of_their_own(tmp_path: Path, fast: bool, name: str):
    furnish(tmp_path)
    unpack = {"br": bz2.decompress, "zstd": lzma.decompress, "gzip": gzip.decompress}
    with housed(tmp_path, fast_path=fast) as house, connected(house.host, house.port) as wire:
        plain = get(wire, f"/part2/{name}")
        assert "content-encoding" not in plain.fields
        tags = {plain.fields["etag"]}
        for coding, unpacked in unpack.items():
            accepted = f"Accept-Encoding: {coding}, deflate"
            short = get(wire, f"/part2/{name}", accepted)
            assert short.fields["content-encoding"] == coding
            assert unpacked(short.body) == plain.body
            assert plain.fields["vary"] == short.fields["vary"] == "Accept-Encoding"
            assert plain.fields["content-type"] == short.fields["content-type"]
            tags.add(tag := short.fields["etag"])
            assert get(wire, f"/part2/{name}", accepted, f"If-None-Match: {tag}").status == 304
            assert get(wire, f"/part2/{name}", f"If-None-Match: {tag}").status == 200
            part = get(wire, f"/part2/{name}", accepted, "Range: bytes=2-9")
            assert (part.status, part.body) == (206, short.body[2:10])
        assert len(tags) == 4
        assert not any(tag.startswith("W/") for tag in tags)


@pytest.mark.parametrize("fast", [True, False])
def test_films_are_never_packed(tmp_path: Path, fast: bool):
    film = furnish(tmp_path)
    with housed(tmp_path, fast_path=fast) as house, connected(house.host, house.port) as wire:
        answer = get(wire, "/part2/v1/video_1080p_h264.mp4", "Accept-Encoding: gzip")
        assert "content-encoding" not in answer.fields
        assert answer.body == film
