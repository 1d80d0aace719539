"""Conditionals and ranges of RFC 9110 (sections 8.8, 13 and 14) as one pure function, and the table of media types."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath

from mediaserver.httpdate import format_date, parse_date

# More ranges than any player asks for; RFC 9110, 14.2 lets a server ignore what looks like an attack.
MAX_RANGES = 16

MIME = {
    ".mpd": "application/dash+xml",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mp4": "video/mp4",
    ".m4s": "video/iso.segment",
    ".webm": "video/webm",
    ".vtt": "text/vtt; charset=utf-8",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".pem": "application/x-pem-file",
}

_ETAG = re.compile(r'(?P<weak>W/)?(?P<opaque>"[\x21\x23-\x7e\x80-\xff]*")')
_RANGE = re.compile(r"(?P<first>[0-9]+)-(?P<last>[0-9]*)|-(?P<suffix>[0-9]+)")


def mime_of(name: str) -> str:
    """Return the Content-Type of a file that the server may send; sound has a type of its own."""
    if name.startswith("audio_") and name.endswith(".mp4"):
        return "audio/mp4"
    return MIME.get(PurePosixPath(name).suffix, "application/octet-stream")


@dataclass(frozen=True, slots=True)
class Representation:
    """What is known of some bytes before any is read.

    `etag` is strong and stands without quotes; without one, nothing can be asked conditionally or in part, which is
    right for what may be other bytes the next time. `modified_s` counts from 1970; files of a version never change,
    so that the date is a strong validator, too (8.8.2.2). `coding` is its Content-Encoding; `varies` names the
    fields of a request that choose between it and others.
    """

    size: int
    mime: str
    cache: str
    etag: str | None = None
    modified_s: int | None = None
    coding: str = ""
    varies: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes [start, start + size) of the representation, preceded by `head` (the frame of a part, or nothing)."""

    start: int
    size: int
    head: bytes = b""


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole answer but for the bytes themselves: send every part in order, then `tail`."""

    status: int
    headers: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...] = ()
    tail: bytes = b""


def plan(method: str, headers: Mapping[str, str], representation: Representation) -> Plan:
    """Answer GET or HEAD; `headers` by lower-case names, several lines of one name joined with ", "."""
    status = _precondition(headers, representation)
    if status:
        return Plan(status, _describing(representation) if status == 304 else (("Content-Length", "0"),))
    wanted = _ranges(headers, representation) if method == "GET" else None
    if wanted is None:
        whole = Part(0, representation.size)
        parts = (whole,) if method == "GET" and representation.size else ()
        length = ("Content-Length", str(representation.size))
        return Plan(200, (*_describing(representation), length, *_typed(representation, representation.mime)), parts)
    if not wanted:
        star = ("Content-Range", f"bytes */{representation.size}")
        return Plan(416, (("Accept-Ranges", "bytes"), star, ("Content-Length", "0")))
    return _single(wanted[0], representation) if len(wanted) == 1 else _multipart(wanted, representation)


def _describing(r: Representation) -> tuple[tuple[str, str], ...]:
    """Headers of 200 and 206 that a 304 must repeat (RFC 9110, 15.4.5)."""
    validators = [("Accept-Ranges", "bytes" if r.etag else "none"), ("Cache-Control", r.cache)]
    if r.etag:
        validators.append(("ETag", f'"{r.etag}"'))
    if r.modified_s is not None:
        validators.append(("Last-Modified", format_date(r.modified_s)))
    if r.varies:
        validators.append(("Vary", r.varies))
    return tuple(validators)


def _typed(r: Representation, mime: str) -> tuple[tuple[str, str], ...]:
    kind = ("Content-Type", mime)
    return (kind, ("Content-Encoding", r.coding)) if r.coding else (kind,)


def _precondition(headers: Mapping[str, str], r: Representation) -> int | None:
    """Return 412 or 304 where one is due, in the order of RFC 9110, 13.2.2."""
    if (match := headers.get("if-match")) is not None:
        if not _names(match, r, weakly=False):
            return 412
    elif (since := _date(headers, "if-unmodified-since")) is not None and _modified_after(since, r):
        return 412
    if (none_match := headers.get("if-none-match")) is not None:
        return 304 if _names(none_match, r, weakly=True) else None
    since = _date(headers, "if-modified-since")
    if since is None or r.modified_s is None:
        return None
    return None if _modified_after(since, r) else 304


def _modified_after(since: int, r: Representation) -> bool:
    return r.modified_s is not None and r.modified_s > since


def _date(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    return None if text is None else parse_date(text, int(time.time()))


def _names(field: str, r: Representation, *, weakly: bool) -> bool:
    """Whether a list of entity tags holds the representation's own; `*` holds any."""
    if field.strip() == "*":
        return True
    tags = _ETAG.finditer(field)
    return any(tag["opaque"] == f'"{r.etag}"' and (weakly or not tag["weak"]) for tag in tags)


def _ranges(headers: Mapping[str, str], r: Representation) -> list[range] | None:
    """Return what is asked for, ascending and apart; [] if none of it exists; None if Range is to be ignored."""
    text = headers.get("range")
    if text is None or r.etag is None or not _same(headers.get("if-range"), r):
        return None
    unit, equals, listed = text.partition("=")
    if unit.lower() != "bytes" or not equals or listed[:1] in " \t":
        return None
    items = [item for part in listed.split(",") if (item := part.strip(" \t"))]
    matches = [_RANGE.fullmatch(item) for item in items]
    if not 0 < len(matches) <= MAX_RANGES:
        return None
    found = []
    for match in matches:
        if match is None or (match["last"] and _number(match["last"]) < _number(match["first"])):
            return None
        if r.size == 0 and match["suffix"] and _number(match["suffix"]):
            return None  # satisfiable by 14.1.2, but no Content-Range can say so
        found.append(_absolute(match, r.size))
    return _apart(span for span in found if span)


def _same(if_range: str | None, r: Representation) -> bool:
    """Whether If-Range lets Range count: the same strong tag, or exactly the same date (13.1.5)."""
    if if_range is None:
        return True
    if tag := _ETAG.fullmatch(if_range):
        return not tag["weak"] and tag["opaque"] == f'"{r.etag}"'
    return r.modified_s is not None and parse_date(if_range, int(time.time())) == r.modified_s


def _number(digits: str) -> int:
    """Positions beyond 10^18 are all beyond the end of every file."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) < 19 else 10**18


def _absolute(match: re.Match[str], size: int) -> range:
    if match["suffix"]:
        return range(max(0, size - _number(match["suffix"])), size)
    last = min(_number(match["last"]), size - 1) if match["last"] else size - 1
    return range(_number(match["first"]), last + 1)


def _apart(spans: Iterable[range]) -> list[range]:
    """Join spans that overlap or touch; one sort and one pass."""
    joined: list[range] = []
    for span in sorted(spans, key=lambda span: span.start):
        if joined and span.start <= joined[-1].stop:
            joined[-1] = range(joined[-1].start, max(joined[-1].stop, span.stop))
        else:
            joined.append(span)
    return joined


def _content_range(span: range, r: Representation) -> str:
    return f"bytes {span.start}-{span.stop - 1}/{r.size}"


def _single(span: range, r: Representation) -> Plan:
    headers = (
        *_describing(r),
        ("Content-Range", _content_range(span, r)),
        ("Content-Length", str(len(span))),
        *_typed(r, r.mime),
    )
    return Plan(206, headers, (Part(span.start, len(span)),))


def _multipart(spans: list[range], r: Representation) -> Plan:
    """Frame several spans as RFC 9110, 14.6 says; the boundary is a hash that the bytes cannot be made to hold."""
    boundary = sha256(f"{r.etag} {spans}".encode()).hexdigest()[:40]
    parts = []
    for span in spans:
        head = f"\r\n--{boundary}\r\nContent-Type: {r.mime}\r\nContent-Range: {_content_range(span, r)}\r\n\r\n"
        parts.append(Part(span.start, len(span), head.encode()))
    tail = f"\r\n--{boundary}--\r\n".encode()
    length = sum(len(part.head) + part.size for part in parts) + len(tail)
    headers = (
        *_describing(r),
        ("Content-Length", str(length)),
        *_typed(r, f"multipart/byteranges; boundary={boundary}"),
    )
    return Plan(206, headers, tuple(parts), tail)
