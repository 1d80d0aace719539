"""One case of the conformance table: what is written to a server, and what RFC 9110 and RFC 9112 let it answer.

Nothing here knows our server: a `Target` is any address with a file whose bytes are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from mediaserver.httpdate import format_date, parse_date
from tests.mediaserver.wire import Answer, BrokenAnswer, Wire, connected

_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)")
_LONG_DAYS = {"Mon": "Mon", "Tue": "Tues", "Wed": "Wednes", "Thu": "Thurs", "Fri": "Fri", "Sat": "Satur", "Sun": "Sun"}

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Target:
    """A server and three paths below it: a file with `data`, a file of no bytes, and nothing."""

    host: str
    port: int
    film: str
    data: bytes
    empty: str
    missing: str

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Expect:
    """An answer: the first of `status` is the one we want, the others are lawful; all are alike if `alike`.

    `spans` are the half-open byte ranges of a 206, joined where they touch.
    """

    status: tuple[int, ...]
    spans: tuple[Span, ...] = ()
    method: str = "GET"
    of: Literal["film", "empty", ""] = "film"
    alike: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """Pieces written one after the other, the answers to them, and what the connection is good for afterwards.

    Pieces are templates over `facts`. "open": it must go on; "closed": it must not; "any": both are right.
    """

    name: str
    section: str
    pieces: tuple[str, ...]
    expect: tuple[Expect, ...]
    after: Literal["open", "closed", "any"] = "open"

    def __str__(self) -> str:
        return f"{self.section} {self.name}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a case found: "wrong" by the RFC, or lawful but "felt" by a player or a CDN."""

    kind: Literal["wrong", "felt"]
    what: str


@dataclass(slots=True)
class Facts:
    """The words that templates are filled with: the target's own names, tags and dates."""

    target: Target
    words: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, target: Target) -> Facts:
        with connected(target.host, target.port) as wire:
            wire.write(f"GET {target.film} HTTP/1.1\r\nHost: {target.authority}\r\n\r\n".encode())
            fields = wire.answer().fields
        tag = fields.get("etag", '"none"')
        words = {"host": target.authority, "film": target.film, "empty": target.empty, "missing": target.missing}
        words |= {"etag": tag, "weak": "W/" + tag.removeprefix("W/"), "size": str(len(target.data))}
        modified_s = parse_date(fields.get("last-modified", ""), 0)
        for name, shift_s in (("date", 0), ("earlier", -86400), ("later", 86400)):
            if modified_s is not None:
                words[name] = preferred = format_date(modified_s + shift_s)
                words[f"{name}_850"], words[f"{name}_asctime"] = obsolete_forms(preferred)
        return cls(target, words)

    @property
    def dated(self) -> bool:
        return "date" in self.words

    def fill(self, piece: str) -> bytes:
        return piece.format_map(self.words).encode("latin-1")


def obsolete_forms(preferred: str) -> Span | tuple[str, str]:
    """Return the forms of RFC 850 and of asctime of a date in the preferred form (RFC 9110, 5.6.7)."""
    weekday, day, month, year, clock, _ = preferred.replace(",", "").split()
    return (
        f"{_LONG_DAYS[weekday]}day, {day}-{month}-{year[2:]} {clock} GMT",
        f"{weekday} {month} {int(day):2} {clock} {year}",
    )


def run(case: Case, facts: Facts) -> list[Finding]:
    """Play a case on a connection of its own."""
    target = facts.target
    if "{strong}" in "".join(case.pieces):
        facts.words["strong"] = facts.words["etag"]
        if facts.words["etag"].startswith("W/"):
            return [Finding("felt", "there is no strong tag to ask with")]
    with connected(target.host, target.port) as wire:
        wire.write(*(facts.fill(piece) for piece in case.pieces))
        try:
            return [finding for expect in case.expect for finding in _judge(expect, _read(wire, expect), facts)] + [
                *_afterwards(case, wire, target)
            ]
        except BrokenAnswer as broken:
            return [Finding("wrong", str(broken))]


def _read(wire: Wire, expect: Expect) -> Answer:
    return wire.answer(head=expect.method == "HEAD")


def _afterwards(case: Case, wire: Wire, target: Target) -> Iterator[Finding]:
    """Ask for ten bytes more on the same connection, or wait for its end."""
    if case.after == "closed":
        try:
            if not wire.ended():
                yield Finding("wrong", "bytes follow where the connection should have ended")
        except BrokenAnswer:
            yield Finding("wrong", "the connection is kept although nobody knows where the next request begins")
    if case.after == "open":
        wire.write(f"GET {target.film} HTTP/1.1\r\nHost: {target.authority}\r\nRange: bytes=7-16\r\n\r\n".encode())
        try:
            answer = wire.answer()
        except BrokenAnswer as broken:
            kind: Literal["wrong", "felt"] = "felt" if "was closed" in str(broken) else "wrong"
            yield Finding(kind, f"afterwards: {broken}")
            return
        if (answer.status, answer.body) != (206, target.data[7:17]):
            yield Finding("wrong", f"the next request on the connection is answered with {answer.status}")


def _judge(expect: Expect, answer: Answer, facts: Facts) -> Iterator[Finding]:
    status = answer.status
    if status not in expect.status:
        yield Finding("wrong", f"{status} instead of {expect.status[0]}")
        return
    if status != expect.status[0] and not expect.alike:
        yield Finding("felt", f"{status} instead of {expect.status[0]}")
    if "date" not in answer.fields and 200 <= status < 500:
        yield Finding("wrong", "no Date")
    if answer.chunked and expect.of and status in (200, 206):
        yield Finding("felt", "chunks although the length is known")
    data = {"film": facts.target.data, "empty": b"", "": None}[expect.of]
    if data is None:
        return
    if status == 206:
        yield from _judge_parts(expect, answer, data)
    elif "content-range" in answer.fields and status != 416:
        yield Finding("wrong", f"Content-Range on {status}")
    if status in (200, 206, 304) and expect.of == "film":
        yield from _judge_described(answer, facts)
    if status == 200:
        yield from _judge_whole(expect, answer, data)
    elif status == 416 and answer.fields.get("content-range") != f"bytes */{len(data)}":
        yield Finding("felt", f"Content-Range: {answer.fields.get('content-range')} on 416")
    elif status == 405 and "allow" not in answer.fields:
        yield Finding("wrong", "405 without Allow")


def _judge_described(answer: Answer, facts: Facts) -> Iterator[Finding]:
    tag = answer.fields.get("etag")
    if tag != facts.words["etag"]:
        yield Finding("wrong", f"ETag: {tag} on {answer.status}")
    if answer.status == 200 and "accept-ranges" not in answer.fields:
        yield Finding("felt", "no Accept-Ranges")


def _judge_whole(expect: Expect, answer: Answer, data: bytes) -> Iterator[Finding]:
    if answer.fields.get("content-length") not in (str(len(data)), None if answer.chunked else ""):
        yield Finding("wrong" if expect.method == "GET" else "felt", "another Content-Length than the file's")
    if "content-type" not in answer.fields:
        yield Finding("felt", "no Content-Type")
    if expect.method == "GET" and answer.body != data:
        yield Finding("wrong", "other bytes than the file's")


def _judge_parts(expect: Expect, answer: Answer, data: bytes) -> Iterator[Finding]:
    try:
        parts = [*_parts(answer, data)]
    except ValueError as error:
        yield Finding("wrong", str(error))
        return
    if _joined(span for span, _ in parts) != _joined(expect.spans):
        yield Finding("wrong", f"bytes {[span for span, _ in parts]} instead of {expect.spans}")
    elif [span for span, _ in parts] != list(expect.spans):
        yield Finding("felt", "ranges that overlap or touch are sent twice")
    for (start, stop), body in parts:
        if body != data[start:stop]:
            yield Finding("wrong", f"other bytes than those of {start}-{stop - 1}")


def _parts(answer: Answer, data: bytes) -> Iterator[tuple[Span, bytes]]:
    """Yield the ranges of a 206 with their bytes (RFC 9110, 14.6 and 15.3.7; RFC 2046, 5.1.1); raises ValueError."""
    kind = answer.fields.get("content-type", "")
    if not kind.startswith("multipart/byteranges"):
        yield _span(answer.fields.get("content-range", ""), data), answer.body
        return
    if "content-range" in answer.fields:
        raise ValueError("Content-Range beside multipart/byteranges")
    boundary = kind.partition("boundary=")[2].strip('"').encode("latin-1")
    pieces = (b"\r\n" + answer.body).split(b"\r\n--" + boundary)
    if len(pieces) < 3 or pieces[0].strip() or not pieces[-1].startswith(b"--"):
        raise ValueError("the parts are not framed by their boundary")
    for piece in pieces[1:-1]:
        head, _, body = piece.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head.decode("latin-1").strip().split("\r\n"))
        if "content-type" not in fields:
            raise ValueError("a part without Content-Type")
        yield _span(fields.get("content-range", ""), data), body


def _span(text: str, data: bytes) -> Span:
    found = _CONTENT_RANGE.fullmatch(text)
    if not found or int(found[3]) != len(data):
        raise ValueError(f"Content-Range: {text}")
    return int(found[1]), int(found[2]) + 1


def _joined(spans: Iterator[Span] | tuple[Span, ...]) -> list[Span]:
    joined: list[Span] = []
    for start, stop in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined
