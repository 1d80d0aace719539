from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from mediaserver import fastpath
from mediaserver.app import FIGURES
from tests.mediaserver.conftest import presentation
from tests.mediaserver.house import House, furnish, housed
from tests.mediaserver.wire import BrokenAnswer, Wire, connected

# More than the buffers of both ends of a loopback connection hold.
LONG_BYTES = 24_000_000
FILM = "/part2/v1/video_1080p_h264.mp4"
SMALL = "/part2/v1/video_432p_h264.mp4"
MANIFEST = "/part2/stream.mpd"


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    root = tmp_path_factory.mktemp("fastpath")
    return root, furnish(root, LONG_BYTES)


@pytest.fixture
def house(furnished: tuple[Path, bytes]) -> Iterator[House]:
    with housed(furnished[0]) as house:
        yield house


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *lines, "", "")).encode()


def by_aiohttp(house: House) -> int:
    """How many requests the framework has seen."""
    assert house.runner.server
    return house.runner.server.requests_count


def descriptors() -> list[str]:
    """What the process has open, but for sockets of connections that are just ending."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return sorted(found)


@pytest.mark.parametrize("path", [FILM, SMALL, MANIFEST, "/part2/master.m3u8", "/part2/v1/audio_en.m3u8"])
def test_what_is_published_is_sent_past_the_framework(house: House, path: str):
    with connected(house.host, house.port) as wire:
        wire.write(head(path), head(path, "Range: bytes=5-9"), head(path + "?CMCD=bl%3D4000"))
        whole, part, again = wire.answer(), wire.answer(), wire.answer()
    assert (whole.status, part.status, again.status) == (200, 206, 200)
    assert (part.body, again.body) == (whole.body[5:10], whole.body)
    assert by_aiohttp(house) == 0


@pytest.mark.parametrize(
    "lines",
    [
        ("If-None-Match: *",),
        ("Range: bytes=0-1,5-6",),
        ("Range: bytes=99999999999-",),
        ("Connection: close",),
        ("Expect: 100-continue",),
        ("Content-Length: 0",),
        ("Range: bytes=0-1", "Range: bytes=0-1"),
        ("TE: trailers",),
    ],
)
def test_what_is_not_plain_is_left_to_the_framework(house: House, lines: tuple[str, ...]):
    with connected(house.host, house.port) as wire:
        wire.write(head(SMALL, *lines))
        wire.answer()
    assert by_aiohttp(house) == 1


def test_it_can_be_switched_off(furnished: tuple[Path, bytes]):
    with housed(furnished[0], fast_path=False) as house, connected(house.host, house.port) as wire:
        wire.write(head(SMALL))
        assert wire.answer().status == 200
        assert by_aiohttp(house) == 1


def test_an_aiohttp_that_is_not_known_is_said_and_not_relied_on(monkeypatch, caplog, furnished: tuple[Path, bytes]):
    monkeypatch.setattr(aiohttp, "__version__", "3.99.0")
    with caplog.at_level(logging.WARNING), housed(furnished[0]) as house, connected(house.host, house.port) as wire:
        wire.write(head(SMALL), head(SMALL))
        assert [wire.answer().status, wire.answer().status] == [200, 200]
        assert by_aiohttp(house) == 2
    assert [r.getMessage() for r in caplog.records if "3.99.0" in r.getMessage()] == [
        "aiohttp 3.99.0 is not known to the fast path: files are sent the ordinary way."
    ]


@pytest.mark.parametrize("fast", [True, False])
def test_a_reader_slower_than_the_keep_alive_time_gets_every_byte(furnished: tuple[Path, bytes], fast: bool):
    root, film = furnished
    with (
        housed(root, keepalive_s=1.0, fast_path=fast) as house,
        connected(house.host, house.port, receive_bytes=4096) as wire,
    ):
        wire.write(head(FILM))
        first = wire.exactly(1000)
        time.sleep(2.5)
        # asked for while much is still to come: the last bytes lie in the kernel before this end has read them
        wire.write(head(SMALL, "Range: bytes=0-0"))
        rest = wire.exactly(first.index(b"\r\n\r\n") + 4 + len(film) - 1000)
        assert (first + rest).endswith(film[-1000:])
        assert (first + rest).partition(b"\r\n\r\n")[2] == film
        assert wire.answer().status == 206


@pytest.mark.parametrize("fast", [True, False])
def test_an_idle_connection_ends_after_the_keep_alive_time(furnished: tuple[Path, bytes], fast: bool):
    with housed(furnished[0], keepalive_s=0.5, fast_path=fast) as house, connected(house.host, house.port) as wire:
        wire.write(head(SMALL))
        wire.answer()
        assert wire.ended()


@pytest.mark.parametrize("fast", [True, False])
def test_a_shutdown_waits_for_a_body_under_way(furnished: tuple[Path, bytes], fast: bool):
    root, film = furnished
    with connected_house(root, fast) as (house, wire):
        wire.write(head(FILM))
        first = wire.exactly(100_000)
        stopping = house.begin(house.runner.cleanup())
        time.sleep(0.5)
        assert not stopping.done()
        rest = wire.exactly(first.index(b"\r\n\r\n") + 4 + len(film) - 100_000)
        assert (first + rest).partition(b"\r\n\r\n")[2] == film
        assert wire.ended()
        stopping.result(20)


class connected_house:  # noqa: N801 - used as a context
    def __init__(self, root: Path, fast: bool) -> None:
        self._housed = housed(root, fast_path=fast)

    def __enter__(self) -> tuple[House, Wire]:
        house = self._housed.__enter__()
        self._wire = Wire(house.host, house.port, receive_bytes=4096)
        return house, self._wire

    def __exit__(self, *error: object) -> None:
        self._wire.close()
        self._housed.__exit__(None, None, None)


def test_clients_that_reset_in_the_middle_leave_nothing_open(house: House, furnished: tuple[Path, bytes]):
    with connected(house.host, house.port) as wire:
        wire.write(head(FILM, "Range: bytes=0-0"))
        wire.answer()
    before = [name for name in descriptors() if "socket" not in name]
    for _ in range(20):
        with connected(house.host, house.port, receive_bytes=4096) as wire:
            wire.write(head(FILM))
            wire.exactly(5000)
            wire.reset()
    until(lambda: house.connections() == 0)
    assert [name for name in descriptors() if "socket" not in name] == before
    assert sum("socket" in name for name in descriptors()) < 12


def until(holds: object) -> None:
    """Wait until something holds; the test's own time-out ends a vain wait."""
    while not holds():  # type: ignore[operator]
        time.sleep(0.02)


def test_a_new_version_is_there_at_the_next_request_and_the_old_file_is_let_go(tmp_path: Path):
    film = furnish(tmp_path)
    folder = tmp_path / "media" / "part2"
    with housed(tmp_path) as house, connected(house.host, house.port) as wire:
        wire.write(head(MANIFEST))
        assert b"v1/" in wire.answer().body
        wire.write(head(FILM))
        assert wire.answer().body == film
        shutil.copytree(folder / "v1", folder / "v2")
        (folder / "v2" / "presentation.json").write_text(presentation("part2", "v2").to_json(), "utf-8")
        pointer = folder / "current.new"
        pointer.write_text("v2\n", "utf-8")
        pointer.replace(folder / "current")
        wire.write(head(MANIFEST))
        assert b"v2/" in wire.answer().body
        assert by_aiohttp(house) == 0
        (folder / "v1").rename(tmp_path / "away")
        wire.write(head(FILM))
        assert wire.answer().status == 404
        assert not [name for name in descriptors() if name.startswith(str(tmp_path / "away"))]


def test_a_version_that_is_taken_away_is_sent_to_its_end(tmp_path: Path):
    film = furnish(tmp_path, LONG_BYTES)
    with housed(tmp_path) as house, connected(house.host, house.port, receive_bytes=4096) as wire:
        wire.write(head(FILM))
        first = wire.exactly(10_000)
        shutil.rmtree(tmp_path / "media" / "part2")
        with connected(house.host, house.port) as other:
            other.write(head(FILM))
            assert other.answer().status == 404
        rest = wire.exactly(first.index(b"\r\n\r\n") + 4 + len(film) - 10_000)
        assert (first + rest).partition(b"\r\n\r\n")[2] == film
        assert not [name for name in descriptors() if str(tmp_path) in name and name.endswith(".mp4 (deleted)")]


def test_a_file_that_has_become_shorter_ends_the_connection(tmp_path: Path):
    furnish(tmp_path)
    with housed(tmp_path) as house, connected(house.host, house.port) as wire:
        wire.write(head(FILM, "Range: bytes=0-0"))
        wire.answer()
        os.truncate(tmp_path / "media" / "part2" / "v1" / "video_1080p_h264.mp4", 1000)
        wire.write(head(FILM))
        with pytest.raises(BrokenAnswer, match="bytes are missing"):
            wire.answer()


def test_nobody_is_sent_more_than_a_turn_at_once(monkeypatch, house: House, furnished: tuple[Path, bytes]):
    asked, sendfile = [], os.sendfile

    def noted(out: int, into: int, offset: int, count: int) -> int:
        asked.append(count)
        return sendfile(out, into, offset, count)

    monkeypatch.setattr(os, "sendfile", noted)
    with connected(house.host, house.port) as wire:
        wire.write(head(FILM))
        assert wire.answer().body == furnished[1]
    assert max(asked) <= fastpath.TURN_BYTES + fastpath.REST_BYTES
    assert len(asked) >= LONG_BYTES // fastpath.TURN_BYTES


def test_requests_behind_a_transfer_are_answered_in_their_order(house: House, furnished: tuple[Path, bytes]):
    film = furnished[1]
    asked = [(SMALL, f"Range: bytes={n}-{n + 3}") for n in range(2000)]
    with connected(house.host, house.port, receive_bytes=65536) as wire:
        wire.write(head(FILM) + b"".join(head(*request) for request in asked[:5]))
        wire.write(b"".join(head(*request) for request in asked[5:]) + head("/nothing/here"))
        assert wire.answer().body == film
        assert [wire.answer().body for _ in asked] == [film[n : n + 4] for n in range(2000)]
        assert wire.answer().status == 404


def test_both_ways_count_and_log_alike(furnished: tuple[Path, bytes], caplog):
    found = []
    logging.getLogger("aiohttp.access").setLevel(logging.INFO)
    for fast in (True, False):
        caplog.clear()
        with (
            housed(furnished[0], fast_path=fast, access_log="combined") as house,
            connected(house.host, house.port) as wire,
        ):
            for path, *lines in (
                (SMALL,),
                (SMALL, "Range: bytes=0-9"),
                (MANIFEST, "User-Agent: me", "Referer: http://a/s/x/y?z"),
            ):
                wire.write(head(path, *lines))
                wire.answer()
            until(lambda: len(caplog.records) == 3)
            figures = house.app[FIGURES].text()
        lines = [record.getMessage() for record in caplog.records]
        found.append(
            (
                [line.partition("] ")[2].rpartition(" ")[0] for line in lines],
                figures.partition("# HELP mediaserver_scenes")[0],
            )
        )
    assert found[0] == found[1]
    assert found[0][0][1].startswith(f'"GET {SMALL} HTTP/1.1" 206 10 "-" "-"')
    assert found[0][0][2].endswith('"http://a/s/…/y" "me"')


def test_what_players_say_is_counted_on_both_ways(furnished: tuple[Path, bytes]):
    for fast in (True, False):
        with housed(furnished[0], fast_path=fast) as house, connected(house.host, house.port) as wire:
            wire.write(head(SMALL + "?CMCD=bl%3D4000%2Cbs%2Cmtp%3D25000"))
            wire.answer()
            wire.write(head(SMALL, "CMCD-Request: bl=2000", "CMCD-Status: bs"))
            wire.answer()
            figures = house.app[FIGURES].text()
        assert "mediaserver_cmcd_starvations_total 2" in figures
        assert "mediaserver_cmcd_buffer_ms_sum 6000\nmediaserver_cmcd_buffer_ms_count 2" in figures
        assert "mediaserver_cmcd_throughput_kbps_sum 25000" in figures
