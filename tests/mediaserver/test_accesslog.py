from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from mediaserver.accesslog import AccessLog, Line, Proxies
from tests.mediaserver.house import furnish, housed
from tests.mediaserver.wire import connected

LINE = Line(
    "192.0.2.7", "GET", "/s/secret/part2/stream.mpd", "1.1", 200, 1234, 0.0125, "http://a/s/secret/?x=1", 'a "b"'
)


def test_the_combined_form_is_that_of_other_servers():
    line = LINE.combined()
    assert line.startswith("192.0.2.7 - - [")
    assert line.endswith('] "GET /s/…/part2/stream.mpd HTTP/1.1" 200 1234 "http://a/s/…/" "a \\x22b\\x22" 12')


def test_the_json_form_holds_the_same():
    found = json.loads(LINE.json())
    assert (found["path"], found["referer"]) == ("/s/…/part2/stream.mpd", "http://a/s/…/")
    assert (found["status"], found["sent_bytes"], found["took_ms"], found["client"]) == (200, 1234, 12.5, "192.0.2.7")


@pytest.mark.parametrize("form", ["combined", "json"])
@pytest.mark.parametrize("fast", [True, False])
def test_no_capability_and_no_query_is_ever_written(tmp_path: Path, caplog, form: str, fast: bool):
    furnish(tmp_path)
    caplog.set_level(logging.INFO, logger="aiohttp.access")
    with (
        housed(tmp_path, access_log=form, fast_path=fast) as house,
        connected(house.host, house.port) as wire,
    ):
        for path in ("/s/secret/part2/stream.mpd?CMCD=x", "/%73/secret", "/part2/stream.mpd?CMCD=secret"):
            wire.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nReferer: http://h/s/secret/\r\n\r\n".encode())
            wire.answer()
    lines = [record.getMessage() for record in caplog.records if record.name == "aiohttp.access"]
    assert len(lines) == 3
    assert not any("secret" in line or "CMCD" in line for line in lines)


def test_nothing_is_written_unless_it_is_asked_for(tmp_path: Path, caplog):
    furnish(tmp_path)
    caplog.set_level(logging.INFO, logger="aiohttp.access")
    with housed(tmp_path) as house, connected(house.host, house.port) as wire:
        wire.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wire.answer()
    assert [record for record in caplog.records if record.name == "aiohttp.access"] == []


@pytest.mark.parametrize(
    ("trusted", "peer", "said", "client"),
    [
        ((), "127.0.0.1", "192.0.2.7", "127.0.0.1"),
        (("127.0.0.1",), "127.0.0.1", "192.0.2.7", "192.0.2.7"),
        (("127.0.0.1",), "127.0.0.1", None, "127.0.0.1"),
        (("127.0.0.1",), "203.0.113.1", "192.0.2.7", "203.0.113.1"),
        (("127.0.0.0/8", "10.0.0.0/8"), "127.0.0.1", "198.51.100.1, 192.0.2.7, 10.0.0.3", "192.0.2.7"),
        (("127.0.0.1",), "127.0.0.1", "6.6.6.6, rubbish", "127.0.0.1"),
        (("127.0.0.1", "2001:db8::/32"), "127.0.0.1", "2001:db8::1", "2001:db8::1"),
    ],
)
def test_only_trusted_proxies_say_who_the_client_is(trusted: tuple[str, ...], peer: str, said: str | None, client: str):
    assert Proxies(trusted).client(peer, said) == client


def test_the_line_names_the_client_behind_a_trusted_proxy(tmp_path: Path, caplog):
    furnish(tmp_path)
    caplog.set_level(logging.INFO, logger="aiohttp.access")
    for fast in (True, False):
        caplog.clear()
        with (
            housed(tmp_path, access_log="json", trusted_proxies=("127.0.0.1",), fast_path=fast) as house,
            connected(house.host, house.port) as wire,
        ):
            wire.write(b"GET /part2/stream.mpd HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")
            wire.answer()
        assert [json.loads(r.getMessage())["client"] for r in caplog.records if r.name == "aiohttp.access"] == [
            "192.0.2.7"
        ]


def test_a_log_that_nobody_reads_is_off():
    assert not AccessLog("off").enabled
