from __future__ import annotations

from pathlib import Path

import pytest

from mediaserver.errors import BadRequest
from mediaserver.hosts import Hosts
from tests.mediaserver.house import furnish, housed
from tests.mediaserver.wire import Answer, connected


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST",
        "a.localhost",
        "127.0.0.1:8080",
        "192.0.2.7",
        "[::1]:8080",
        "localhost.",
    ],
)
def test_this_machine_may_be_called_by_its_own_names_and_by_numbers(host: str):
    assert Hosts((), "127.0.0.1").takes(host)


@pytest.mark.parametrize(
    "host", ["film.example", "localhost.film.example", "127.0.0.1.film.example", "0x7f000001", "xlocalhost"]
)
def test_other_names_are_not_ours(host: str):
    assert not Hosts((), "127.0.0.1").takes(host)


def test_names_are_ours_when_they_are_configured():
    hosts = Hosts(("film.example", ".cdn.example"), "0.0.0.0")
    assert all(hosts.takes(host) for host in ("film.example", "FILM.example:443", "a.cdn.example", "a.b.cdn.example"))
    assert not hosts.takes("www.film.example")
    assert not hosts.takes("cdn.example.org")
    assert Hosts(("*",), "127.0.0.1").takes("any.example")


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "[::1", "a:b", "a:80:80", "a#", "\xe4", "a,b"[:1] + "?"])
def test_what_is_no_host_is_malformed(host: str):
    with pytest.raises(BadRequest):
        Hosts(("*",), "127.0.0.1").takes(host)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("path", ["/part2/stream.mpd", "/part2/v1/video_432p_h264.mp4", "/consent", "/api/jobs"])
def test_a_page_that_rebinds_its_name_reads_nothing(tmp_path: Path, fast: bool, path: str):
    furnish(tmp_path)

    def get(house, host: str, target: str = path) -> Answer:
        with connected(house.host, house.port) as wire:
            wire.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            return wire.answer()

    with housed(tmp_path, fast_path=fast, allowed_hosts=("film.example",)) as house:
        assert get(house, "film.example").status == 200
        assert get(house, "localhost").status == 200
        assert get(house, "attacker.example").status == 421
        assert get(house, "localhost", f"http://attacker.example{path}").status == 421
