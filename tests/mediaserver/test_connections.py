from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from mediaserver import connections as connections_module
from tests.mediaserver.house import House, furnish, housed
from tests.mediaserver.wire import Wire, connected

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
FILM = b"GET /part2/v1/video_1080p_h264.mp4 HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(params=["ordinary", "fast"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, bool]:
    furnish(tmp_path, 24_000_000)
    return tmp_path, request.param == "fast"


def test_more_clients_than_the_cap_are_told_so_and_find_room_later(root: tuple[Path, bool]):
    with housed(root[0], fast_path=root[1], connections_max=3) as house, ExitStack() as stack:
        first = [stack.enter_context(connected(house.host, house.port)) for _ in range(3)]
        for wire in first:
            wire.write(HEALTH)
            assert wire.answer().status == 200
        with connected(house.host, house.port) as refused:
            refused.write(FILM)
            answer = refused.answer()
            assert (answer.status, json.loads(answer.body)["code"]) == (503, "server_full")
            assert (answer.fields["retry-after"], answer.fields["connection"]) == ("30", "close")
            assert refused.ended()
        first.pop().close()
        until_room(house)


def until_room(house: House) -> None:
    """Ask until there is room; the test's own time-out ends a vain wait."""
    while True:
        with connected(house.host, house.port) as wire:
            wire.write(HEALTH)
            if wire.answer().status == 200:
                return
        time.sleep(0.02)


@pytest.mark.parametrize("begun", [b"G", b"GET /part2/v1/", b"POST /sessions HT", HEALTH[:-2]])
def test_a_head_that_never_ends_is_given_up(root: tuple[Path, bool], begun: bytes):
    with housed(root[0], fast_path=root[1], head_timeout_s=0.3) as house, connected(house.host, house.port) as wire:
        wire.write(begun)
        answer = wire.answer()
        assert (answer.status, json.loads(answer.body)["code"]) == (408, "head_too_slow")
        assert wire.ended()


def test_half_a_head_behind_a_whole_one_is_given_up_with_the_idle_connection(root: tuple[Path, bool]):
    with housed(root[0], fast_path=root[1], keepalive_s=0.4) as house, connected(house.host, house.port) as wire:
        wire.write(HEALTH + HEALTH[:20])
        assert wire.answer().status == 200
        assert wire.ended()


def test_a_head_that_comes_byte_by_byte_has_one_time_for_all(root: tuple[Path, bool]):
    with housed(root[0], fast_path=root[1], head_timeout_s=0.5) as house, connected(house.host, house.port) as wire:
        for at in range(20):
            wire.write(HEALTH[at : at + 1])
            time.sleep(0.05)
        assert wire.answer().status == 408


def test_a_client_that_says_nothing_is_let_go(root: tuple[Path, bool]):
    with housed(root[0], fast_path=root[1], keepalive_s=0.4) as house, connected(house.host, house.port) as wire:
        assert wire.ended()


def test_a_body_is_no_head_and_may_take_its_time(root: tuple[Path, bool]):
    with housed(root[0], fast_path=root[1], head_timeout_s=0.3) as house, connected(house.host, house.port) as wire:
        body = b'{"consent": "x"}'
        wire.write(b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body))
        time.sleep(0.8)
        wire.write(body)
        assert wire.answer().status == 403


def test_a_body_that_trickles_is_given_up_and_one_that_flows_is_not(root: tuple[Path, bool], monkeypatch):
    monkeypatch.setattr(connections_module, "BODY_S", 0.3)
    monkeypatch.setattr(connections_module, "BODY_BYTES", 100)
    request = b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000\r\n\r\n"
    with housed(root[0], fast_path=root[1]) as house:
        with connected(house.host, house.port) as wire:
            wire.write(request, b" " * 90)
            assert wire.ended()
        with connected(house.host, house.port) as wire:
            wire.write(request)
            for _ in range(20):
                wire.write(b" " * 2000)
                time.sleep(0.05)
            assert wire.answer().status == 403


def test_a_client_that_waits_for_leave_to_send_a_body_gets_it(root: tuple[Path, bool]):
    with housed(root[0], fast_path=root[1]) as house, connected(house.host, house.port) as wire:
        wire.write(b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        leave = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert wire.exactly(len(leave)) == leave
        wire.write(b"{}")
        assert wire.answer().status == 403


def test_a_client_that_takes_nothing_is_dropped(root: tuple[Path, bool]):
    with (
        housed(root[0], fast_path=root[1], stall_s=1.0) as house,
        connected(house.host, house.port, receive_bytes=4096) as wire,
    ):
        wire.write(FILM)
        wire.exactly(1000)
        while house.connections():
            time.sleep(0.05)


def test_refusals_of_heads_are_in_our_words_and_name_no_program(root: tuple[Path, bool], caplog):
    with housed(root[0], fast_path=root[1]) as house:
        for sent, status in (
            (b"rubbish\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
            (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
            (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        ):
            wire = Wire(house.host, house.port)
            wire.write(sent)
            answer = wire.answer()
            wire.close()
            assert (answer.status, answer.fields["server"]) == (status, "mediaserver")
            assert set(json.loads(answer.body)) == {"code", "sentence", "hint"}
            assert answer.fields["x-content-type-options"] == "nosniff"
    assert [record for record in caplog.records if record.exc_info] == []
