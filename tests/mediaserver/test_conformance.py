"""The server against RFC 9110 and RFC 9112, over sockets, on both of its ways to send bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.mediaserver.house import FILM_BYTES, House, film_target, furnish, housed
from tests.mediaserver.rfc9110 import Case, Facts, Target, run
from tests.mediaserver.rfc9110_cases import cases
from tests.mediaserver.wire import Answer, connected

MANIFEST = "/part2/master.m3u8"


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    root = tmp_path_factory.mktemp("conformance")
    return root, furnish(root)


@pytest.fixture(scope="module", params=["ordinary", "fast"])
def house(request: pytest.FixtureRequest, furnished: tuple[Path, bytes]) -> Iterator[House]:
    with housed(furnished[0], fast_path=request.param == "fast") as house:
        yield house


@pytest.fixture(scope="module")
def film(house: House, furnished: tuple[Path, bytes]) -> Facts:
    return Facts.of(film_target(house, furnished[1]))


@pytest.fixture(scope="module")
def manifest(house: House) -> Facts:
    """A manifest comes from memory and has no date."""
    return Facts.of(manifest_target(house))


def manifest_target(house: House) -> Target:
    with connected(house.host, house.port) as wire:
        wire.write(f"GET {MANIFEST} HTTP/1.1\r\nHost: {house.host}\r\n\r\n".encode())
        text = wire.answer().body
    return Target(house.host, house.port, MANIFEST, text, "/part2/v1/audio_en.mp4", "/part2/v1/none.mp4")


@pytest.mark.parametrize("case", cases(FILM_BYTES), ids=str)
def test_a_file_is_answered_as_the_rfc_says(film: Facts, case: Case):
    assert run(case, film) == []


def test_a_manifest_is_answered_as_the_rfc_says(manifest: Facts):
    assert not manifest.dated
    found = {str(case): run(case, manifest) for case in cases(len(manifest.target.data), dated=False)}
    assert {name: findings for name, findings in found.items() if findings} == {}


def test_a_small_file_is_answered_as_the_rfc_says(house: House, furnished: tuple[Path, bytes]):
    small = replace(film_target(house, furnished[1][:20_000]), film="/part2/v1/video_432p_h264.mp4")
    found = {str(case): run(case, Facts.of(small)) for case in cases(20_000)}
    assert {name: findings for name, findings in found.items() if findings} == {}


def ask(target: Target, *lines: str) -> Answer:
    with connected(target.host, target.port) as wire:
        head = "\r\n".join((f"GET {target.film} HTTP/1.1", f"Host: {target.authority}", *lines, "", ""))
        wire.write(head.encode("latin-1"))
        return wire.answer()


specs = st.one_of(
    st.builds("{}-{}".format, st.integers(0, FILM_BYTES + 9), st.integers(0, FILM_BYTES + 9)),
    st.builds("{}-".format, st.integers(0, FILM_BYTES + 9)),
    st.builds("-{}".format, st.integers(0, FILM_BYTES + 9)),
)
sets = st.lists(specs, min_size=1, max_size=20).map(lambda listed: "bytes=" + ",".join(listed))
unhurried = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def wanted(text: str, size: int) -> list[range] | None:
    """Read a Range as 14.1.2 says, position by position: [] if nothing exists, None if it is no byte range."""
    if not re.fullmatch(r"bytes=(\d+-\d*|-\d+)(,(\d+-\d*|-\d+))*", text, re.ASCII):
        return None
    found = []
    for spec in text[6:].split(","):
        first, last = spec.split("-")
        if first and last and int(last) < int(first):
            return None
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        found.append(range(start, stop))
    return [span for span in found if span]


def parts(answer: Answer) -> list[tuple[int, bytes]]:
    kind = answer.fields["content-type"]
    if not kind.startswith("multipart/byteranges"):
        return [(int(answer.fields["content-range"][6:].split("-")[0]), answer.body)]
    boundary = kind.partition("boundary=")[2].encode()
    found = []
    for piece in answer.body.split(b"\r\n--" + boundary)[1:-1]:
        head, _, body = piece.partition(b"\r\n\r\n")
        at = re.search(rb"Content-Range: bytes (\d+)-", head)
        assert at
        found.append((int(at[1]), body))
    return found


@given(text=sets)
@unhurried
def test_what_is_sent_of_a_file_is_what_a_slice_of_it_is(film: Facts, text: str):
    data, answer = film.target.data, ask(film.target, f"Range: {text}")
    spans = wanted(text, len(data))
    if spans is None or len(text.split(",")) > 16:
        assert (answer.status, answer.body) == (200, data)
    elif not spans:
        assert (answer.status, answer.fields["content-range"]) == (416, f"bytes */{len(data)}")
    else:
        assert answer.status == 206
        sent = parts(answer)
        assert all(body == data[at : at + len(body)] for at, body in sent)
        covered = sorted((at, at + len(body)) for at, body in sent)
        assert all(one[1] < other[0] for one, other in pairwise(covered))
        assert all(any(a <= span.start and span.stop <= b for a, b in covered) for span in spans)
        edges = {span.start for span in spans} | {span.stop for span in spans}
        assert {edge for pair in covered for edge in pair} <= edges


field_text = st.text(st.characters(codec="latin-1", exclude_categories=("Cc",)), max_size=60)


@given(
    text=st.one_of(
        field_text, field_text.map("bytes={}".format), st.from_regex(r"bytes=[-0-9, ]{0,30}", fullmatch=True)
    )
)
@unhurried
def test_no_text_of_a_range_breaks_an_answer(film: Facts, text: str):
    data, answer = film.target.data, ask(film.target, f"Range: {text}")
    assert answer.status in (200, 206, 416)
    if answer.status == 200:
        assert answer.body == data
    elif answer.status == 206:
        assert all(body == data[at : at + len(body)] for at, body in parts(answer))


@given(tag=field_text, field=st.sampled_from(["If-None-Match", "If-Match", "If-Range", "If-Modified-Since"]))
@unhurried
def test_no_text_of_a_condition_lets_another_file_through(film: Facts, tag: str, field: str):
    if film.words["etag"] in tag or tag.strip() == "*":
        return
    answer = ask(film.target, f"{field}: {tag}", "Range: bytes=5-9")
    expected = {"If-None-Match": 206, "If-Match": 412, "If-Range": 200, "If-Modified-Since": 206}[field]
    assert answer.status == expected


def test_a_client_that_resets_in_the_middle_disturbs_nobody(house: House, film: Facts):
    for size in (1, 1000, 300_000):
        with connected(house.host, house.port, receive_bytes=4096) as wire:
            wire.write(f"GET {film.target.film} HTTP/1.1\r\nHost: x.localhost\r\n\r\n".encode())
            wire.exactly(size)
            wire.reset()
    assert ask(film.target).body == film.target.data


def test_a_client_that_has_closed_its_side_gets_every_byte(house: House, film: Facts):
    with connected(house.host, house.port, receive_bytes=4096) as wire:
        wire.write(f"GET {film.target.film} HTTP/1.1\r\nHost: {film.target.authority}\r\n\r\n".encode())
        wire.half_close()
        assert wire.answer().body == film.target.data


def test_both_ways_to_send_carry_the_same_headers(furnished: tuple[Path, bytes]):
    found = []
    for fast in (False, True):
        with housed(furnished[0], fast_path=fast) as house:
            target = film_target(house, furnished[1])
            small = replace(target, film="/part2/v1/video_432p_h264.mp4")
            asked = [(target, ()), (target, ("Range: bytes=5-9",)), (small, ()), (replace(target, film=MANIFEST), ())]
            answers = [ask(of, *lines) for of, lines in asked]
            found.append([(a.status, {**a.fields, "date": ""}, a.body) for a in answers])
    assert found[0] == found[1]
