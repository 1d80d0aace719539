from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mediaserver.app import FIGURES
from mediaserver.heads import Heads
from mediaserver.ready import Index
from tests.mediaserver.house import House, furnish, housed
from tests.mediaserver.test_fastpath import by_aiohttp, descriptors, head
from tests.mediaserver.wire import Answer, Wire, connected

NAMES = ("stream.mpd", "master.m3u8", "v1/video_432p_h264.m3u8")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own")
    furnish(root)
    return root


@pytest.fixture
def house(root: Path) -> Iterator[House]:
    with housed(root) as house:
        yield house


def begin(wire: Wire) -> str:
    """Open a session; from then on aiohttp alone reads that connection."""
    wire.write(head("/consent"))
    consent = json.loads(wire.answer().body)
    agreed = json.dumps({"consent": consent["sha256"], "boxes": {box["id"]: True for box in consent["boxes"]}})
    wire.write(f"POST /sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(agreed)}\r\n\r\n{agreed}".encode())
    return str(json.loads(wire.answer().body)["session"])


def ask(wire: Wire, path: str, *lines: str) -> Answer:
    wire.write(head(path, *lines))
    return wire.answer()


def opened(house: House) -> str:
    with connected(house.host, house.port) as wire:
        session = begin(wire)
        assert ask(wire, f"{session}part2/stream.mpd").status == 200
    return session


def plain(answer: Answer, timed: str = "app") -> tuple[int, dict[str, str], bytes]:
    """Return what does not differ between two times; `timed` is what Server-Timing names."""
    assert answer.fields["server-timing"].startswith(f"{timed};dur=")
    return answer.status, {**answer.fields, "date": "", "server-timing": ""}, answer.body


def test_a_viewers_own_manifests_go_past_the_framework_once_one_was_asked_for(house: House):
    session = opened(house)
    with connected(house.host, house.port) as wire:
        seen = by_aiohttp(house)
        found = [ask(wire, f"{session}part2/{name}") for name in NAMES]
        assert {answer.status for answer in found} == {200}
        assert by_aiohttp(house) == seen


def test_both_ways_answer_alike_packed_or_not_and_whatever_the_range(root: Path):
    found = []
    for fast in (False, True):
        with housed(root, fast_path=fast) as house, connected(house.host, house.port) as wire:
            session, lines = opened(house), ("Range: bytes=0-9", "Accept-Encoding: gzip", "X-Any: thing")
            found.append([plain(ask(wire, f"{session}part2/{name}", line)) for name in NAMES for line in lines])
    assert found[0] == found[1]


def test_the_first_request_is_the_frameworks_because_it_begins_the_scene(house: House):
    with connected(house.host, house.port) as wire, connected(house.host, house.port) as other:
        session = begin(wire)
        seen = by_aiohttp(house)
        assert ask(other, f"{session}part2/stream.mpd").status == 200
        assert by_aiohttp(house) == seen + 1


@pytest.mark.parametrize("name", ["none.mpd", "v1/none.m3u8", "v9/video_432p_h264.m3u8", "v1/stream.mpd", "%2e/x"])
def test_what_is_no_manifest_is_refused_by_the_ordinary_path(house: House, name: str):
    session = opened(house)
    with connected(house.host, house.port) as wire:
        assert ask(wire, f"{session}part2/{name}").status in (400, 404)


def test_a_deleted_session_is_gone_for_a_connection_that_has_just_read_from_it(house: House):
    session = opened(house)
    with connected(house.host, house.port) as wire, connected(house.host, house.port) as other:
        assert ask(wire, f"{session}part2/stream.mpd").status == 200
        other.write(f"DELETE {session} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert other.answer().status == 204
        assert ask(wire, f"{session}part2/stream.mpd").status == 410


def test_no_capability_is_remembered_not_even_as_a_referer(house: House):
    session = opened(house)
    secret = session.split("/")[2].encode()
    with connected(house.host, house.port) as wire:
        for path in (f"{session}part2/stream.mpd", "/part2/stream.mpd"):
            assert ask(wire, path, f"Referer: http://localhost{session}").status == 200
    found = gc.get_objects()
    kept = [key for heads in found if type(heads) is Heads for key in heads._blocks]
    kept += [key for index in found if type(index) is Index for key in index.known]
    assert not [key for key in kept if secret in key]


# --- segments bound when they are requested ---


def finished(house: House) -> str:
    """Open a session and wait until its insert is whole."""
    session = opened(house)
    with connected(house.host, house.port) as wire:
        wire.write(f"PUT {session}photo HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n".encode())
        wire.write(b"Content-Length: 4\r\n\r\njpeg")
        assert wire.answer().status == 202
        while json.loads(ask(wire, session).body)["state"] != "ready":
            pass
    return session


LATE = "part2/v1/video_432p_h264/6.m4s"


def test_a_segment_of_a_finished_insert_goes_past_the_framework_and_is_counted(house: House):
    session = finished(house)
    with connected(house.host, house.port) as wire:
        seen = by_aiohttp(house)
        bodies = {ask(wire, session + LATE).body for _ in range(3)}
        assert bodies == {b"insert face of jpeg video_432p_h264 6"}
        assert ask(wire, f"{session}{LATE}?CMCD=bl%3D4000").body in bodies
        assert by_aiohttp(house) == seen
    figures = house.app[FIGURES].text()
    assert 'mediaserver_scenes_total{scene="personal"} 4' in figures
    assert "mediaserver_cmcd_requests_total 1" in figures


def test_both_ways_answer_a_late_bound_segment_alike(root: Path):
    found = []
    for fast in (False, True):
        with housed(root, fast_path=fast) as house, connected(house.host, house.port) as wire:
            session, lines = finished(house), ("X-Any: thing", "Range: bytes=0-1", "Accept-Encoding: gzip")
            found.append([plain(ask(wire, session + LATE, line), "wait") for line in lines for _ in range(2)])
    assert found[0] == found[1]


def test_a_segment_is_gone_with_its_session_and_no_file_of_it_stays_open(house: House):
    session = finished(house)
    with connected(house.host, house.port) as wire, connected(house.host, house.port) as other:
        # the answer to a second request follows the end of the first
        assert [ask(wire, path).status for path in (session + LATE, "/part2/stream.mpd")] == [200, 200]
        assert not [name for name in descriptors() if "/inserts/" in name]
        other.write(f"DELETE {session} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert other.answer().status == 204
        assert ask(wire, session + LATE).status == 410


def test_a_new_photo_ends_what_the_former_one_was_made_into(house: House):
    session = finished(house)
    with connected(house.host, house.port) as wire, connected(house.host, house.port) as other:
        assert ask(wire, session + LATE).body.startswith(b"insert face of jpeg ")
        other.write(f"PUT {session}photo HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n".encode())
        other.write(b"Content-Length: 6\r\n\r\nsecond")
        assert other.answer().status == 202
        assert ask(wire, session + LATE).body.startswith(b"insert face of second ")


@pytest.mark.parametrize("name", ["v2/video_432p_h264/6.m4s", "v1/none/6.m4s", "v1/video_432p_h264/0.m4s"])
def test_what_is_no_segment_of_the_slot_is_refused_by_the_ordinary_path(house: House, name: str):
    session = finished(house)
    with connected(house.host, house.port) as wire:
        seen = by_aiohttp(house)
        assert ask(wire, f"{session}part2/{name}").status == 404
        assert by_aiohttp(house) == seen + 1


def test_no_viewer_gets_the_segment_of_another(house: House):
    mine, theirs = finished(house), opened(house)
    with connected(house.host, house.port) as wire:
        assert ask(wire, mine + LATE).fields["x-scene"] == "personal"
        assert ask(wire, theirs + LATE).fields["x-scene"] == "chapter"
