"""Reads the heads that the fast path answers, strictly (RFC 9112, 3 and 5); every other one is for aiohttp."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from mediaserver.encodings import codings_for
from mediaserver.errors import ServerError
from mediaserver.hosts import Hosts

# The longest head and the most fields that are read here.
HEAD_BYTES, FIELDS = 8 * 1024, 100
# Everybody who has the same browser says the same of himself: so many sets of fields are kept.
_KEPT, _KEPT_BYTES = 256, 1024

# A viewer's own addresses are secrets, also as a Referer: what holds one is not to be remembered.
_PERSONAL = b"/s/"
# One blank, visible ASCII, no fragment; no folding, no bare CR or LF, no blank before a colon.
_LINE = re.compile(rb"GET (/[!\"$-~]*) HTTP/1\.1\r\n")
_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)+")
_RANGE_LINE = re.compile(rb"^range:([^\r\n]*)\r\n", re.IGNORECASE | re.MULTILINE)
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))")
_CMCD = re.compile(r"(?:^|&)CMCD=([^&]*)")
# Fields that change an answer in ways that only the ordinary path knows.
_FOREIGN = re.compile(r"if-.*|content-.*|transfer-encoding|expect|upgrade|te|trailer|http2-settings")


def first_head(data: bytes) -> bytes:
    """Return the first head in what was read of a connection, with its empty line; of half a head, what is no head."""
    return data[: data.find(b"\r\n\r\n") + 4]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a head comes to; `span` is (first, last), (first, None) or (None, suffix length), `codings` best first."""

    path: bytes
    span: tuple[int | None, int | None] | None
    codings: tuple[str, ...]
    cmcd: str
    referer: str
    agent: str
    forwarded_for: str | None


class Heads:
    """All heads of one address."""

    def __init__(self, hosts: Hosts, origins: tuple[str, ...]) -> None:
        self._hosts, self._any_origin = hosts, "*" in origins
        self._blocks: dict[bytes, dict[str, str]] = {}

    def read(self, head: bytes) -> Asked | None:
        """Return what a whole head asks for, or None if it is not for the fast path."""
        line = _LINE.match(head) if len(head) <= HEAD_BYTES else None
        if line is None:
            return None
        ranged, block = _without_range(head[line.end() : -2])
        if (fields := self._blocks.get(block)) is None:
            if (fields := self._fields(block)) is None:
                return None
            self._keep_block(block, fields)
        path, _, query = line[1].partition(b"?")
        said = _CMCD.search(query.decode("ascii"))
        cmcd = unquote(said[1]) if said else ",".join(v for name, v in fields.items() if name.startswith("cmcd-"))
        span = _span(ranged) if ranged is not None else None
        if (span is None) != (ranged is None) or "range" in fields:
            return None
        words = (fields.get("referer", ""), fields.get("user-agent", ""), fields.get("x-forwarded-for"))
        return Asked(path, span, codings_for(fields.get("accept-encoding")), cmcd, *words)

    def _keep_block(self, block: bytes, fields: dict[str, str]) -> None:
        """Remember the fields of a head that is not remembered itself."""
        if len(block) <= _KEPT_BYTES and b"cmcd" not in block.lower() and _PERSONAL not in block:
            if len(self._blocks) >= _KEPT:
                self._blocks.clear()
            self._blocks[block] = fields

    def _fields(self, block: bytes) -> dict[str, str] | None:
        """Return the fields by lower-case names; None if one is malformed, stands there twice or is foreign here."""
        if not _FIELDS.fullmatch(block):
            return None
        lines = block[:-2].decode("latin-1").split("\r\n")
        fields: dict[str, str] = {}
        for line in lines:
            written, _, value = line.partition(":")
            name = written.lower()
            if name in fields or _FOREIGN.fullmatch(name):
                return None
            fields[name] = value.strip("\t ")
        kept = fields.get("connection", "keep-alive").lower() == "keep-alive"
        return fields if kept and len(lines) < FIELDS and self._are_ours(fields) else None

    def _are_ours(self, fields: dict[str, str]) -> bool:
        if "host" not in fields or ("origin" in fields and not self._any_origin):
            return False
        try:
            return self._hosts.takes(fields["host"])
        except ServerError:
            return False


def _without_range(block: bytes) -> tuple[str | None, bytes]:
    """Take the first Range out of the fields, since it is what differs in every request of a player."""
    found = _RANGE_LINE.search(block)
    if found is None:
        return None, block
    return found[1].decode("latin-1").strip("\t "), block[: found.start()] + block[found.end() :]


def _span(text: str) -> tuple[int | None, int | None] | None:
    found = _RANGE.fullmatch(text)
    if not found:
        return None
    if found[3]:
        return None, int(found[3])
    return int(found[1]), int(found[2]) if found[2] else None
