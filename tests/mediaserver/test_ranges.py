from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.httpdate import format_date
from mediaserver.ranges import MAX_RANGES, Representation, mime_of, plan

MODIFIED_S = 784_111_777
BYTES = bytes(range(200))
FILE = Representation(len(BYTES), "video/mp4", "public", "abc", MODIFIED_S)


def body(method: str, headers: dict[str, str], file: Representation = FILE) -> tuple[int, dict[str, str], bytes]:
    planned = plan(method, headers, file)
    parts = [part.head + BYTES[part.start : part.start + part.size] for part in planned.parts]
    return planned.status, dict(planned.headers), b"".join(parts) + planned.tail


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-0", range(1)),
        ("bytes=0-9", range(10)),
        ("bytes=190-", range(190, 200)),
        ("bytes=-5", range(195, 200)),
        ("bytes=-500", range(200)),
        ("bytes=150-1000", range(150, 200)),
        ("bytes=199-199", range(199, 200)),
        ("bytes=0-99999999999999999999999999", range(200)),
        ("BYTES=3-4", range(3, 5)),
        ("bytes=0-4,5-9", range(10)),
        ("bytes=5-9 , 0-6", range(10)),
        ("bytes=,0-4,,", range(5)),
        ("bytes=0-4,900-", range(5)),
    ],
)
def test_one_span_is_answered_with_206_and_exactly_its_bytes(asked: str, expected: range):
    status, headers, sent = body("GET", {"range": asked})
    assert status == 206
    assert sent == BYTES[expected.start : expected.stop]
    assert headers["Content-Range"] == f"bytes {expected.start}-{expected.stop - 1}/200"
    assert headers["Content-Length"] == str(len(expected))
    assert headers["ETag"] == '"abc"'


@pytest.mark.parametrize("asked", ["bytes=200-", "bytes=200-300", "bytes=-0", "bytes=999999999999999999999999-"])
def test_what_does_not_exist_is_answered_with_416_and_the_length(asked: str):
    status, headers, sent = body("GET", {"range": asked})
    assert (status, headers["Content-Range"], sent) == (416, "bytes */200", b"")


@pytest.mark.parametrize(
    "asked",
    [
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-2",
        "bytes=0-1,5-2",
        "bytes=0-1 2-3",
        "bytes= 0-1",
        "bytes=0 -1",
        "bytes=+1-2",
        "bytes=0x1-2",
        "bytes=٠-٩",
        "seconds=0-1",
        "bytes 0-1",
        "bytes=0-1, bytes=2-3",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 4 * MAX_RANGES, 4)) + ",199-199",
    ],
)
def test_a_range_that_is_malformed_or_excessive_is_ignored(asked: str):
    status, headers, sent = body("GET", {"range": asked})
    assert (status, sent) == (200, BYTES)
    assert "Content-Range" not in headers


def test_several_spans_are_framed_as_multipart_with_a_true_length():
    status, headers, sent = body("GET", {"range": "bytes=0-1,10-19,-1"})
    kind, boundary = headers["Content-Type"].split("; boundary=")
    assert (status, kind) == (206, "multipart/byteranges")
    assert "Content-Range" not in headers
    assert len(sent) == int(headers["Content-Length"])
    parts = sent.split(f"--{boundary}".encode())
    assert parts[-1] == b"--\r\n"
    found = [part.partition(b"\r\n\r\n") for part in parts[1:-1]]
    assert [content.removesuffix(b"\r\n") for _, _, content in found] == [BYTES[:2], BYTES[10:20], BYTES[199:]]
    assert b"Content-Range: bytes 10-19/200" in found[1][0]


def test_head_is_get_without_body_and_without_range():
    status, headers, sent = body("HEAD", {"range": "bytes=0-9"})
    assert (status, headers["Content-Length"], sent) == (200, "200", b"")
    assert headers == body("GET", {})[1]


DATE = format_date(MODIFIED_S)
EARLIER, LATER = format_date(MODIFIED_S - 1), format_date(MODIFIED_S + 1)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-none-match": '"abc"'}, 304),
        ({"if-none-match": 'W/"abc"'}, 304),
        ({"if-none-match": '"x", "abc"'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"x"'}, 200),
        ({"if-none-match": "abc"}, 200),
        ({"if-none-match": '"x"', "if-modified-since": LATER}, 200),
        ({"if-none-match": '"abc"', "if-modified-since": EARLIER}, 304),
        ({"if-modified-since": DATE}, 304),
        ({"if-modified-since": LATER}, 304),
        ({"if-modified-since": EARLIER}, 200),
        ({"if-modified-since": "yesterday"}, 200),
        ({"if-modified-since": "Sunday, 06-Nov-94 08:49:37 GMT"}, 304),
        ({"if-modified-since": "Sun Nov  6 08:49:37 1994"}, 304),
        ({"if-match": '"abc"'}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"x"'}, 412),
        ({"if-match": 'W/"abc"'}, 412),
        ({"if-match": '"abc"', "if-unmodified-since": EARLIER}, 200),
        ({"if-unmodified-since": EARLIER}, 412),
        ({"if-unmodified-since": DATE}, 200),
        ({"if-match": '"abc"', "if-none-match": '"abc"'}, 304),
        ({"if-none-match": '"abc"', "range": "bytes=0-1"}, 304),
        ({"if-match": '"x"', "range": "bytes=900-"}, 412),
        ({"if-range": '"abc"', "range": "bytes=0-1"}, 206),
        ({"if-range": 'W/"abc"', "range": "bytes=0-1"}, 200),
        ({"if-range": '"x"', "range": "bytes=0-1"}, 200),
        ({"if-range": '"x"', "range": "bytes=900-"}, 200),
        ({"if-range": DATE, "range": "bytes=0-1"}, 206),
        ({"if-range": LATER, "range": "bytes=0-1"}, 200),
        ({"if-range": "yesterday", "range": "bytes=0-1"}, 200),
        ({"if-range": '"abc"'}, 200),
    ],
)
def test_conditions_are_judged_in_the_order_of_rfc_9110(headers: dict[str, str], status: int):
    assert body("GET", headers)[0] == status


def test_304_repeats_the_validators_and_has_no_length():
    _, headers, sent = body("GET", {"if-none-match": "*"})
    assert headers == {"Accept-Ranges": "bytes", "Cache-Control": "public", "ETag": '"abc"', "Last-Modified": DATE}
    assert sent == b""


def test_bytes_without_a_strong_tag_are_never_sent_in_part():
    unbound = Representation(200, "video/iso.segment", "private, no-store")
    status, headers, sent = body("GET", {"range": "bytes=0-1"}, unbound)
    assert (status, headers["Accept-Ranges"], sent) == (200, "none", BYTES)


@pytest.mark.parametrize(("asked", "status"), [("bytes=0-", 416), ("bytes=0-0", 416), ("bytes=-5", 200)])
def test_an_empty_file_has_no_ranges(asked: str, status: int):
    assert body("GET", {"range": asked}, Representation(0, "video/mp4", "public", "abc"))[0] == status


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("stream.mpd", "application/dash+xml"),
        ("master.m3u8", "application/vnd.apple.mpegurl"),
        ("video_432p_h264.mp4", "video/mp4"),
        ("audio_en.mp4", "audio/mp4"),
        ("5.m4s", "video/iso.segment"),
        ("unknown.bin", "application/octet-stream"),
    ],
)
def test_every_file_has_the_media_type_that_players_expect(name: str, mime: str):
    assert mime_of(name) == mime


SPECS = st.one_of(
    st.builds(lambda a, b: f"{a}-{b}", st.integers(0, 250), st.integers(0, 250)),
    st.builds(lambda a: f"{a}-", st.integers(0, 250)),
    st.builds(lambda a: f"-{a}", st.integers(0, 250)),
)


def expected_bytes(specs: list[str]) -> set[int] | None:
    """Positions asked for by a plain reading of the grammar; None for an invalid set."""
    wanted: set[int] = set()
    for spec in specs:
        first, _, last = spec.partition("-")
        if not first:
            wanted |= set(range(200)[max(0, 200 - int(last)) :]) if int(last) else set()
        elif last and int(last) < int(first):
            return None
        else:
            wanted |= set(range(int(first), min(int(last) + 1 if last else 200, 200)))
    return wanted


@given(st.lists(SPECS, min_size=1, max_size=MAX_RANGES))
def test_any_set_of_ranges_sends_every_asked_byte_once_and_no_other(specs: list[str]):
    planned = plan("GET", {"range": "bytes=" + ",".join(specs)}, FILE)
    wanted = expected_bytes(specs)
    if wanted is None:
        assert planned.status == 200
    elif not wanted:
        assert planned.status == 416
    else:
        sent = [n for part in planned.parts for n in range(part.start, part.start + part.size)]
        assert planned.status == 206
        assert sent == sorted(wanted)
        length = sum(len(part.head) + part.size for part in planned.parts) + len(planned.tail)
        assert dict(planned.headers)["Content-Length"] == str(length)


@given(st.text(alphabet="bytes=-, 0123456789\t;x", max_size=60))
def test_any_text_as_range_has_one_of_three_answers(text: str):
    assert plan("GET", {"range": text}, FILE).status in (200, 206, 416)
