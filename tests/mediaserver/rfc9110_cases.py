"""The conformance table, written from RFC 9110 (sections 5.6.7, 8.8, 9.3, 13, 14, 15) and RFC 9112."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tests.mediaserver.rfc9110 import Case, Expect, Span

MALFORMED = (400, 416)


def request(*lines: str, method: str = "GET", path: str = "{film}", version: str = "HTTP/1.1", body: str = "") -> str:
    return "\r\n".join((f"{method} {path} {version}", "Host: {host}", *lines, "", "")) + body


def simple(name: str, section: str, lines: tuple[str, ...], *status: int, **rest: object) -> Case:
    """One request for the film, one answer, and a connection that goes on; a Range may always be ignored (14.2)."""
    if status[0] in (206, 416) and "range:" in "".join(lines).lower():
        status = (*status, 200)
    method = str(rest.pop("method", "GET"))
    of = rest.pop("of", "film")
    spans: tuple[Span, ...] = rest.pop("spans", ())  # type: ignore[assignment]
    path = str(rest.pop("path", "{empty}" if of == "empty" else "{film}"))
    sent = request(*lines, method=method, path=path)
    alike = bool(rest.pop("alike", False))
    return Case(name, section, (sent,), (Expect(status, spans, method, of, alike),), **rest)  # type: ignore[arg-type]


def cases(size: int, *, dated: bool = True) -> list[Case]:
    """Return the table for a film of `size` bytes (at least 1,000); undated ones have no Last-Modified."""
    table = [*_ranges(size), *_ignored(), *_several(size), *_conditions(), *_if_range(size), *_methods(), *_empty()]
    table += [*_paths(), *_heads(), *_bodies(), *_connections(size)]
    if dated:
        table += [*_dates(), *_dated_if_range(size)]
    names = [str(case) for case in table]
    assert len(set(names)) == len(names), {name for name in names if names.count(name) > 1}
    return table


def _ranges(n: int) -> Iterator[Case]:
    """One satisfiable range, and none."""
    for asked, start, stop in (
        ("0-0", 0, 1),
        ("0-1", 0, 2),
        ("1-1", 1, 2),
        ("100-299", 100, 300),
        (f"{n - 1}-{n - 1}", n - 1, n),
        (f"{n - 1}-", n - 1, n),
        ("0-", 0, n),
        ("500-", 500, n),
        (f"0-{n - 1}", 0, n),
        (f"0-{n}", 0, n),
        (f"10-{n + 1000}", 10, n),
        ("10-18446744073709551616", 10, n),
        ("10-" + "9" * 40, 10, n),
        ("-1", n - 1, n),
        ("-500", n - 500, n),
        (f"-{n}", 0, n),
        (f"-{n + 1}", 0, n),
        ("-18446744073709551616", 0, n),
        ("00-09", 0, 10),
        ("000000000000000000000005-6", 5, 7),
        ("-007", n - 7, n),
    ):
        yield simple(f"bytes={asked}", "14.1.2", (f"Range: bytes={asked}",), 206, spans=((start, stop),))
    yield simple("name and unit in any case", "14.1", ("RANGE: BYTES=3-4",), 206, spans=((3, 5),))
    yield simple("blanks round the value", "5.5", ("Range: \t bytes=3-4 \t",), 206, spans=((3, 5),))
    yield simple("no blank before the value", "5.5", ("Range:bytes=3-4",), 206, spans=((3, 5),))
    yield simple("an empty list element before", "5.6.1", ("Range: bytes=,3-4",), 206, *MALFORMED, 200, spans=((3, 5),))
    yield simple("empty list elements after", "5.6.1", ("Range: bytes=3-4,,",), 206, *MALFORMED, 200, spans=((3, 5),))
    for asked in (f"{n}-", f"{n}-{n + 9}", f"{n + 1}-", "-0", "-000", "18446744073709551616-", "9" * 40 + "-"):
        yield simple(f"bytes={asked}", "15.5.17", (f"Range: bytes={asked}",), 416)
    yield simple("two unsatisfiable", "15.5.17", (f"Range: bytes={n}-{n + 5},{n + 10}-",), 416)


def _ignored() -> Iterator[Case]:
    """A Range that is none is as good as absent (14.2); a refusal is lawful but breaks players."""
    for asked in ("seconds=0-1", "items=0-5", "bytes-x=0-1", "none=0-1", "x"):
        yield simple(f"unit {asked}", "14.2", (f"Range: {asked}",), 200)
    for asked in (
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=--1",
        "bytes=a-b",
        "bytes=0-a",
        "bytes=0x0-0x5",
        "bytes=5-2",
        "bytes=0-1,5-2",
        "bytes=0-1,x",
        "bytes=0-1 2-3",
        "bytes=0 - 1",
        "bytes= 0-1",
        "bytes =0-1",
        "bytes=+1-2",
        "bytes=1.0-2.0",
        "bytes=1e2-",
        "bytes=0-1;q=1",
        "bytes=0-1-2",
        "bytes 0-1",
        "bytes:0-1",
        "bytes=0-1,bytes=2-3",
        "bytes=*",
        "bytes=1_0-2_0",
        "0-1",
        "=0-1",
    ):
        yield simple(f"malformed {asked}", "14.2", (f"Range: {asked}",), 200, *MALFORMED)
    yield simple("malformed, with a byte above 127", "14.2", ("Range: bytes=\xb2-5",), 200, *MALFORMED)
    yield simple("an empty value", "14.2", ("Range:",), 200, *MALFORMED)
    twice = ("Range: bytes=0-1", "Range: bytes=5-6")
    yield simple("two lines", "5.3", twice, 200, *MALFORMED)


def _several(n: int) -> Iterator[Case]:
    """Several ranges: parts, joined where they overlap or touch, and no attack (14.2, 14.6, 15.3.7.2, 17.15)."""
    for asked, *spans in (
        ("0-0,-1", (0, 1), (n - 1, n)),
        ("0-9,20-29", (0, 10), (20, 30)),
        ("0-9, 20-29 ,40-49", (0, 10), (20, 30), (40, 50)),
        ("20-29,0-9", (0, 10), (20, 30)),
        ("0-9,5-19", (0, 20)),
        ("0-9,10-19", (0, 20)),
        ("0-99,10-19", (0, 100)),
        ("5-,0-9", (0, n)),
        ("0-,-1", (0, n)),
        ("-10,-20", (n - 20, n)),
        (f"0-9,{n}-", (0, 10)),
        (f"{n + 5}-,0-9,30-39", (0, 10), (30, 40)),
        ("0-0,2-2,4-4,6-6,8-8", (0, 1), (2, 3), (4, 5), (6, 7), (8, 9)),
        ("3-3,3-3,3-3", (3, 4)),
    ):
        yield simple(f"bytes={asked}", "14.6", (f"Range: bytes={asked}",), 206, 200, spans=tuple(spans))
    every_other = ",".join(f"{at}-{at}" for at in range(0, 800, 2))
    spread = tuple((at, at + 1) for at in range(0, 800, 2))
    yield simple("400 small ranges", "17.15", (f"Range: bytes={every_other}",), 200, 206, 416, spans=spread)
    yield simple("1,000 times the whole", "17.15", (f"Range: bytes={'0-,' * 999}0-",), 200, 206, 416, spans=((0, n),))
    steps = ",".join(f"{at}-" for at in range(500))
    yield simple("500 nested ranges", "17.15", (f"Range: bytes={steps}",), 200, 206, 416, spans=((0, n),))


def _conditions() -> Iterator[Case]:
    """Tags (13.1.1, 13.1.2) and the order of everything (13.2.2); strings in braces are the target's own."""
    part = "Range: bytes=0-9"
    for name, status, *lines in (
        ("If-None-Match, the tag", 304, "If-None-Match: {etag}"),
        ("If-None-Match, weakly the tag", 304, "If-None-Match: {weak}"),
        ("If-None-Match, in a list", 304, 'If-None-Match: "x", {etag}, "y"'),
        ("If-None-Match, in a list without blanks", 304, 'If-None-Match: "x",{etag}'),
        ("If-None-Match, in a list with empty elements", 304, 'If-None-Match: ,"x",, {etag} ,'),
        ("If-None-Match, on two lines", 304, 'If-None-Match: "x"', "If-None-Match: {etag}"),
        ("If-None-Match, *", 304, "If-None-Match: *"),
        ("If-None-Match, another tag", 200, 'If-None-Match: "x"'),
        ("If-None-Match, two other tags", 200, 'If-None-Match: "x", W/"y"'),
        ("If-None-Match, a tag that holds commas", 200, 'If-None-Match: "a,b", "c, d"'),
        ("If-None-Match, not in quotes", 200, "If-None-Match: x"),
        ("If-None-Match before a range", 304, "If-None-Match: {etag}", part),
        ("If-None-Match before an impossible range", 304, "If-None-Match: {etag}", "Range: bytes={size}-"),
        ("If-Match, the tag", 200, "If-Match: {strong}"),
        ("If-Match, in a list", 200, 'If-Match: "x", {strong}'),
        ("If-Match, *", 200, "If-Match: *"),
        ("If-Match, another tag", 412, 'If-Match: "x"'),
        ("If-Match, only weakly the tag", 412, "If-Match: {weak}"),
        ("If-Match, another tag, before a range", 412, 'If-Match: "x"', part),
        ("If-Match, another tag, before an impossible range", 412, 'If-Match: "x"', "Range: bytes={size}-"),
        ("If-Match before If-None-Match", 412, 'If-Match: "x"', "If-None-Match: {etag}"),
        ("If-Match holds, then If-None-Match", 304, "If-Match: {strong}", "If-None-Match: {etag}"),
    ):
        yield simple(name, "13.2.2", lines, status)  # type: ignore[arg-type]
    both = ("If-Match: {strong}", part)
    yield simple("If-Match holds, then the range", "13.2.2", both, 206, spans=((0, 10),))
    neither = ('If-None-Match: "x"', part)
    yield simple("If-None-Match fails, then the range", "13.2.2", neither, 206, spans=((0, 10),))


def _dates() -> Iterator[Case]:
    """Dates in their three forms (5.6.7, 13.1.3, 13.1.4)."""
    for form, end in (("IMF-fixdate", ""), ("RFC 850", "_850"), ("asctime", "_asctime")):
        for name, field, word, *status in (
            ("the date", "If-Modified-Since", "date", 304),
            ("a later date", "If-Modified-Since", "later", 304, 200),
            ("an earlier date", "If-Modified-Since", "earlier", 200),
            ("the date", "If-Unmodified-Since", "date", 200),
            ("a later date", "If-Unmodified-Since", "later", 200),
            ("an earlier date", "If-Unmodified-Since", "earlier", 412),
        ):
            yield simple(f"{field}, {name} as {form}", "5.6.7", (f"{field}: {{{word}{end}}}",), *status)
    for text in ("yesterday", "0", "Sun, 06 Nov 1994", "Sun, 31 Feb 2094 08:49:37 GMT", "2094-11-06T08:49:37Z"):
        yield simple(f"If-Modified-Since: {text}", "13.1.3", (f"If-Modified-Since: {text}",), 200)
    yield simple("If-Unmodified-Since: yesterday", "13.1.4", ("If-Unmodified-Since: yesterday",), 200)
    part, fails = "Range: bytes=0-9", "If-Modified-Since: {earlier}"
    for name, status, *lines in (
        ("If-None-Match before If-Modified-Since", 200, 'If-None-Match: "x"', "If-Modified-Since: {date}"),
        ("If-None-Match before an earlier date", 304, "If-None-Match: {etag}", fails),
        ("If-Match before If-Unmodified-Since", 200, "If-Match: {strong}", "If-Unmodified-Since: {earlier}"),
        ("If-Match before a later date", 412, 'If-Match: "x"', "If-Unmodified-Since: {later}"),
        ("If-Unmodified-Since before If-None-Match", 412, "If-Unmodified-Since: {earlier}", "If-None-Match: {etag}"),
        ("If-Unmodified-Since before a range", 412, "If-Unmodified-Since: {earlier}", part),
        ("If-Modified-Since before a range", 304, "If-Modified-Since: {date}", part),
        (
            "If-Unmodified-Since, then If-Modified-Since",
            304,
            "If-Unmodified-Since: {date}",
            "If-Modified-Since: {date}",
        ),
    ):
        yield simple(name, "13.2.2", lines, status)  # type: ignore[arg-type]
    yield simple("If-Modified-Since fails, then the range", "13.2.2", (fails, part), 206, spans=((0, 10),))


def _if_range(n: int) -> Iterator[Case]:
    """If-Range: only what is certainly the same file may be continued (13.1.5)."""
    part, beyond = "Range: bytes=0-9", f"Range: bytes={n}-"
    yield simple("If-Range, the tag", "13.1.5", ("If-Range: {strong}", part), 206, spans=((0, 10),))
    several = ("If-Range: {strong}", "Range: bytes=0-9,20-29")
    yield simple("If-Range, the tag, two ranges", "13.1.5", several, 206, 200, spans=((0, 10), (20, 30)))
    yield simple("If-Range, the tag, an impossible range", "13.1.5", ("If-Range: {strong}", beyond), 416)
    for name, value in (
        ("another tag", '"x"'),
        ("only weakly the tag", "{weak}"),
        ("another weak tag", 'W/"x"'),
        ("no tag and no date", "x"),
        ("*", "*"),
        ("a list with the tag", '{etag}, "x"'),
        ("a date that is none", "yesterday"),
        ("a date of another day", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ):
        yield simple(f"If-Range, {name}", "13.1.5", (f"If-Range: {value}", part), 200)
        yield simple(f"If-Range, {name}, an impossible range", "13.1.5", (f"If-Range: {value}", beyond), 200)
    yield simple("If-Range without a range", "13.1.5", ('If-Range: "x"',), 200)
    gone = ("If-Range: {etag}", "If-None-Match: {etag}", part)
    yield simple("If-Range after If-None-Match", "13.2.2", gone, 304)


def _dated_if_range(n: int) -> Iterator[Case]:
    part = "Range: bytes=0-9"
    yield simple("If-Range, the date", "13.1.5", ("If-Range: {date}", part), 206, 200, spans=((0, 10),))
    for end in ("850", "asctime"):
        lines = (f"If-Range: {{date_{end}}}", part)
        yield simple(f"If-Range, the date as {end}", "13.1.5", lines, 206, 200, spans=((0, 10),))
    yield simple("If-Range, a later date", "13.1.5", ("If-Range: {later}", part), 200)
    yield simple("If-Range, an earlier date", "13.1.5", ("If-Range: {earlier}", part), 200)
    yield simple("If-Range, a later date, impossible", "13.1.5", ("If-Range: {later}", f"Range: bytes={n}-"), 200)


def _methods() -> Iterator[Case]:
    """HEAD is GET without body and without ranges (9.3.2, 14.2); other methods say what is possible (15.5.6)."""
    for name, status, *lines in (
        ("HEAD", 200),
        ("HEAD with a range", 200, "Range: bytes=0-9"),
        ("HEAD with an impossible range", 200, "Range: bytes={size}-"),
        ("HEAD with two ranges", 200, "Range: bytes=0-9,20-29"),
        ("HEAD with If-Range", 200, 'If-Range: "x"', "Range: bytes=0-9"),
        ("HEAD with If-None-Match", 304, "If-None-Match: {etag}"),
        ("HEAD with If-Match", 412, 'If-Match: "x"'),
    ):
        yield simple(name, "9.3.2", lines, status, method="HEAD")  # type: ignore[arg-type]
    yield simple("HEAD of nothing", "9.3.2", (), 404, method="HEAD", path="{missing}", of="")
    yield simple("GET of nothing", "15.5.5", (), 404, path="{missing}", of="")
    yield simple("a range of nothing", "14.2", ("Range: bytes=0-1",), 404, path="{missing}", of="")
    yield simple("If-None-Match * of nothing", "13.2.1", ("If-None-Match: *",), 404, path="{missing}", of="")
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        yield simple(method, "15.5.6", ("Content-Length: 0",), 405, 501, 404, 403, method=method)
    yield simple("an unknown method", "15.6.2", (), 405, 501, 404, 400, method="BREW", after="any", alike=True)
    yield simple("a method in small letters", "9.1", (), 405, 501, 404, 400, method="get", after="any", alike=True)
    yield simple("TRACE", "9.3.8", (), 405, 501, 404, 400, 403, method="TRACE", after="any")
    yield simple("OPTIONS", "9.3.7", (), 204, 200, 405, 404, method="OPTIONS", of="")


def _empty() -> Iterator[Case]:
    """A file of no bytes: no Content-Range can name a part of it."""
    yield simple("no bytes: whole", "15.3.1", (), 200, of="empty")
    yield simple("no bytes: HEAD", "9.3.2", (), 200, of="empty", method="HEAD")
    yield simple("no bytes: bytes=0-", "14.1.2", ("Range: bytes=0-",), 416, of="empty")
    yield simple("no bytes: bytes=0-0", "14.1.2", ("Range: bytes=0-0",), 416, of="empty")
    yield simple("no bytes: bytes=-0", "14.1.2", ("Range: bytes=-0",), 416, of="empty")
    yield simple("no bytes: bytes=-5", "14.1.2", ("Range: bytes=-5",), 200, 416, of="empty")
    yield simple("no bytes: bytes=5-2", "14.2", ("Range: bytes=5-2",), 200, 416, 400, of="empty")
    yield simple("no bytes: If-None-Match *", "13.1.2", ("If-None-Match: *",), 304, of="empty")
    yield simple("no bytes: If-Match", "13.1.1", ('If-Match: "x"',), 412, of="empty")


def _paths() -> Iterator[Case]:
    """Names that no file has; nothing outside is reached, and the connection goes on where the head was whole."""
    for name, path in (
        ("a name of 4,096 bytes", "/" + "a" * 4096),
        ("a path of many names", "/a" * 1500),
        ("NUL", "/part2/a%00.mp4"),
        ("an encoded slash", "{missing}%2fa"),
        ("an encoded backslash", "{missing}%5ca"),
        ("encoded dots", "/%2e%2e/%2e%2e/etc/passwd"),
        ("dots and encoded slashes", "/..%2f..%2fetc%2fpasswd"),
        ("dots", "/../../etc/passwd"),
        ("bytes that are no UTF-8", "/%ff%fe"),
        ("a broken escape", "/%zz"),
        ("a line break in an escape", "/a%0d%0aSet-Cookie:%20a=b"),
    ):
        yield simple(name, "4.2.3", (), 404, 400, 403, 414, path=path, of="", alike=True)
    yield simple(
        "a path of 20,000 bytes", "15.5.15", (), 414, 400, 404, 431, path="/" + "a" * 20_000, of="", after="any"
    )
    yield simple("the file's name behind an encoded slash", "4.2.3", (), 404, 400, path="/%2f{film}", of="", alike=True)
    yield simple("a query", "4.2.3", ("Range: bytes=0-9",), 206, path="{film}?CMCD=bl%3D2000", spans=((0, 10),))
    sent = "GET http://{host}{film} HTTP/1.1\r\nHost: {host}\r\nRange: bytes=0-9\r\n\r\n"
    yield Case("a whole URL as target", "RFC 9112 3.2.2", (sent,), (Expect((206,), ((0, 10),)),))


def _heads() -> Iterator[Case]:
    """Heads that are malformed: 400, and nothing behind them is believed (RFC 9112)."""
    line, host = "GET {film} HTTP/1.1\r\n", "Host: {host}\r\n"
    for name, section, sent in (
        ("no Host", "3.2", line + "\r\n"),
        ("two Hosts", "3.2", line + host + host + "\r\n"),
        ("two different Hosts", "3.2", line + host + "Host: other.example\r\n\r\n"),
        ("a Host with a blank", "3.2", line + "Host: a b\r\n\r\n"),
        ("a Host with a path", "3.2", line + "Host: {host}/x\r\n\r\n"),
        ("a blank before the colon", "5.1", line + host + "Range : bytes=0-1\r\n\r\n"),
        ("a field without a colon", "5", line + host + "Range\r\n\r\n"),
        ("a field without a name", "5", line + host + ": x\r\n\r\n"),
        ("a blank in a name", "5", line + host + "Ra nge: bytes=0-1\r\n\r\n"),
        ("a bracket in a name", "5", line + host + "R(nge: bytes=0-1\r\n\r\n"),
        ("a byte above 127 in a name", "5", line + host + "R\xe4nge: bytes=0-1\r\n\r\n"),
        ("NUL in a value", "5.5", line + host + "X: a\0b\r\n\r\n"),
        ("a lone CR in a value", "2.2", line + host + "X: a\rb\r\n\r\n"),
        ("a first field that is indented", "2.2", line + " " + host + "\r\n"),
        ("no version", "3", "GET {film}\r\n" + host + "\r\n"),
        ("a version of three parts", "2.3", "GET {film} HTTP/1.1.1\r\n" + host + "\r\n"),
        ("a protocol in small letters", "2.3", "GET {film} http/1.1\r\n" + host + "\r\n"),
        ("another protocol", "2.3", "GET {film} FTP/1.1\r\n" + host + "\r\n"),
        ("a blank in the target", "3.2", "GET {film} x HTTP/1.1\r\n" + host + "\r\n"),
        ("NUL in the target", "3.2", "GET {film}\0 HTTP/1.1\r\n" + host + "\r\n"),
        ("a method with a bracket", "3.1", "GE(T {film} HTTP/1.1\r\n" + host + "\r\n"),
        ("no HTTP at all", "3", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        ("two different lengths", "6.3", line + host + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ("a length with a sign", "6.2", line + host + "Content-Length: +1\r\n\r\na"),
        ("a negative length", "6.2", line + host + "Content-Length: -1\r\n\r\n"),
        ("a length in hexadecimal", "6.2", line + host + "Content-Length: 0x1\r\n\r\na"),
        ("a length that is no number", "6.2", line + host + "Content-Length: one\r\n\r\n"),
        ("a chunk without a size", "7.1", line + host + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n"),
        ("chunked not last", "6.3", line + host + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ):
        lawful = (400, 505) if "version" in name or "protocol" in name else (400, 405, 501)
        lawful = (*lawful, 200) if name == "a chunk without a size" else lawful
        after: Literal["any", "closed"] = "any" if "Host" in name else "closed"
        yield Case(name, f"RFC 9112 {section}", (sent,), (Expect(lawful, of="", alike=True),), after)
    long = line + host + "X: " + "a" * 70_000 + "\r\n\r\n"
    yield Case(
        "a field of 70,000 bytes", "RFC 9110 5.4", (long,), (Expect((431, 400, 413, 494), of="", alike=True),), "closed"
    )
    many = line + host + "".join(f"X-{number}: a\r\n" for number in range(5000)) + "\r\n"
    yield Case("5,000 fields", "RFC 9110 5.4", (many,), (Expect((431, 400, 413, 494), of="", alike=True),), "closed")
    both = line + host + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    yield Case("length and chunks", "RFC 9112 6.3", (both,), (Expect((400, 200), alike=True),), "closed")
    strange = line + host + "Transfer-Encoding: strange\r\n\r\n"
    yield Case(
        "a coding that nobody knows", "RFC 9112 6.1", (strange,), (Expect((400, 501), of="", alike=True),), "closed"
    )
    two = "GET {film} HTTP/2.0\r\n" + host + "\r\n"
    yield Case("HTTP/2.0 in a line", "RFC 9112 2.3", (two,), (Expect((400, 505), of="", alike=True),), "closed")
    folded = line + host + "X: a\r\n b\r\n\r\n"
    yield Case("a folded value", "RFC 9112 5.2", (folded,), (Expect((400, 200), alike=True),), "any")
    feeds = "GET {film} HTTP/1.1\nHost: {host}\nRange: bytes=0-9\n\n"
    yield Case("lines that end in LF", "RFC 9112 2.2", (feeds,), (Expect((400, 206), ((0, 10),), alike=True),), "any")
    blank = "\r\n" + request("Range: bytes=0-9")
    yield Case("an empty line before the request", "RFC 9112 2.2", (blank,), (Expect((206,), ((0, 10),)),))


def _bodies() -> Iterator[Case]:
    """A GET with a body: it means nothing, but the next request begins behind it (9.3.1, RFC 9112 6)."""
    part, whole = "Range: bytes=0-9", Expect((206, 400, 413, 405), ((0, 10),))
    yield Case("a GET with a body", "9.3.1", (request(part, "Content-Length: 5", body="hello"),), (whole,))
    chunks = request(part, "Transfer-Encoding: chunked", body="5\r\nhello\r\n0\r\n\r\n")
    yield Case("a GET with chunks", "9.3.1", (chunks,), (whole,))
    hidden = "GET /hidden HTTP/1.1\r\nHost: hidden.example\r\n\r\n"
    smuggled = request(part, f"Content-Length: {len(hidden)}", body=hidden)
    yield Case("a request in a body is no request", "RFC 9112 11.2", (smuggled,), (whole,))
    late = (request(part, "Content-Length: 5"), "hel", "lo")
    yield Case("a body that comes late", "RFC 9112 6.3", late, (whole,))
    agreed = request(part, "Content-Length: 5", "Content-Length: 5", body="hello")
    yield Case("the same length twice", "RFC 9112 6.3", (agreed,), (Expect((400, 206), ((0, 10),), alike=True),), "any")


def _connections(n: int) -> Iterator[Case]:
    """Split and pipelined requests, and who closes (RFC 9112, 9)."""
    whole, ten = Expect((200,)), Expect((206,), ((0, 10),))
    sent = request("Range: bytes=0-9")
    yield Case("a request in two segments", "RFC 9112 2.2", (sent[:20], sent[20:]), (ten,))
    yield Case("a request split in its last line", "RFC 9112 2.2", (sent[:-2], sent[-2:]), (ten,))
    yield Case("a request split between CR and LF", "RFC 9112 2.2", (sent[:-1], sent[-1:]), (ten,))
    cut = sent.index("Range") + 9
    yield Case("a request split in a value", "RFC 9112 2.2", (sent[:cut], sent[cut:]), (ten,))
    yield Case(
        "a request in many segments",
        "RFC 9112 2.2",
        ("G", "E", "T {film}", *" HTTP/1.1\r\nHost: ", "{host}", *"\r\nRange: bytes=0-9\r\n\r\n"),
        (ten,),
    )
    yield Case("two requests at once", "RFC 9112 9.3.2", (sent + sent,), (ten, ten))
    yield Case("three whole files at once", "RFC 9112 9.3.2", (request() * 3,), (whole, whole, whole))
    yield Case("twenty requests at once", "RFC 9112 9.3.2", (sent * 20,), (ten,) * 20)
    mixed = (
        request()
        + request(f"Range: bytes={n}-")
        + request(method="HEAD")
        + request(path="{missing}")
        + request("If-None-Match: *")
        + request('If-Match: "x"')
        + sent
    )
    answers = (
        whole,
        Expect((416,)),
        Expect((200,), method="HEAD"),
        Expect((404,), of=""),
        Expect((304,)),
        Expect((412,)),
        ten,
    )
    yield Case("requests of every kind at once", "RFC 9112 9.3.2", (mixed,), answers)
    yield Case("a request and half of the next", "RFC 9112 9.3.2", (sent + sent[:26], sent[26:]), (ten, ten))
    yield Case("a file, and a request while it is sent", "RFC 9112 9.3.2", (request(), sent, sent), (whole, ten, ten))
    closing = request("Connection: close", "Range: bytes=0-9")
    yield Case("Connection: close", "RFC 9112 9.6", (closing,), (ten,), "closed")
    listed = request("Connection: x, Close", "Range: bytes=0-9")
    yield Case("close in a list", "RFC 9112 9.6", (listed,), (ten,), "closed")
    yield Case("close after a whole file", "RFC 9112 9.6", (request("Connection: close"),), (whole,), "closed")
    behind = (request("Connection: close") + sent,)
    yield Case("what follows close is not answered", "RFC 9112 9.6", behind, (whole,), "closed")
    old = "GET {film} HTTP/1.0\r\n\r\n"
    yield Case("HTTP/1.0 without Host", "RFC 9112 9.3", (old,), (whole,), "closed")
    kept = "GET {film} HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\nRange: bytes=0-9\r\n\r\n"
    yield Case("HTTP/1.0 with keep-alive", "RFC 9112 9.3", (kept,), (Expect((206, 200), ((0, 10),)),), "any")
    minor = "GET {film} HTTP/1.9\r\nHost: {host}\r\nRange: bytes=0-9\r\n\r\n"
    yield Case("HTTP/1.9", "RFC 9110 2.5", (minor,), (Expect((206, 400, 505), ((0, 10),), alike=True),), "any")
    expects = request("Expect: 100-continue", "Content-Length: 5", "Range: bytes=0-9", body="hello")
    yield Case("Expect: 100-continue", "10.1.1", (expects,), (Expect((206, 417, 413), ((0, 10),)),), "any")
    upgrade = request("Connection: Upgrade", "Upgrade: strange/1", "Range: bytes=0-9")
    yield Case("an upgrade that is not taken", "7.8", (upgrade,), (ten,))
    two = request(
        "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ", "Range: bytes=0-9"
    )
    yield Case("an upgrade to h2c that is not taken", "7.8", (two,), (ten,))
