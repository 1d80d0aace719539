from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mediaserver.house import House, furnish, housed
from tests.mediaserver.wire import connected

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
SMALL = b"GET /part2/v1/video_432p_h264.mp4 HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    root = tmp_path_factory.mktemp("ordinary")
    furnish(root)
    with housed(root) as house:
        yield house


def framework(house: House) -> tuple[int, int]:
    """How many requests the framework has seen, and how many connections it has."""
    assert house.runner.server
    return house.runner.server.requests_count, len(house.runner.server.connections)


def test_a_client_of_published_files_is_no_connection_of_the_framework(house: House):
    before = framework(house)
    with connected(house.host, house.port) as wire:
        wire.write(SMALL)
        assert wire.answer().status == 200
        assert framework(house) == before
        assert house.connections() == 1


def test_a_connection_is_left_to_the_framework_and_comes_back(house: House):
    seen, _ = framework(house)
    with connected(house.host, house.port) as wire:
        for request, by_framework in ((HEALTH, 1), (HEALTH, 2), (SMALL, 2), (SMALL, 2), (HEALTH, 3), (SMALL, 3)):
            wire.write(request)
            assert wire.answer().status == 200
            assert framework(house)[0] - seen == by_framework
        while framework(house)[1]:
            time.sleep(0.01)
        assert house.connections() == 1


@pytest.mark.parametrize("before", [BODY, HEALTH + HEALTH, HEALTH + SMALL])
def test_after_what_leaves_its_parser_elsewhere_the_framework_keeps_the_connection(house: House, before: bytes):
    with connected(house.host, house.port) as wire:
        wire.write(before)
        for _ in range(2 if before.count(b"HTTP/1.1") == 2 else 1):
            wire.answer()
        seen, _ = framework(house)
        wire.write(SMALL)
        assert wire.answer().status == 200
        assert framework(house)[0] - seen == 1


def test_what_comes_back_is_counted_and_limited_as_before(tmp_path: Path):
    furnish(tmp_path)
    with housed(tmp_path, connections_max=1, keepalive_s=0.6) as house, connected(house.host, house.port) as wire:
        for request in (SMALL, HEALTH, SMALL, HEALTH, SMALL):
            wire.write(request)
            assert wire.answer().status == 200
        with connected(house.host, house.port) as refused:
            refused.write(SMALL)
            assert refused.answer().status == 503
        assert wire.ended()
