"""Published files and shared manifests, sent past the framework: one strict look at a head, one look-up, one sendfile.

What this file does not understand to the last byte it leaves to the ordinary path, which answers everything and
answers the same (docs/decisions/0012-fast-path.md). The two share `ranges.plan`, so their headers cannot differ.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import aiohttp

from mediaserver.accesslog import AccessLog, Line
from mediaserver.connections import FIELDS, Connection
from mediaserver.encodings import takes_gzip
from mediaserver.errors import ServerError
from mediaserver.ready import Index, OpenFile, Ready

if TYPE_CHECKING:
    from mediaserver.hosts import Hosts
    from mediaserver.ops import Figures

# The minor version of aiohttp whose RequestHandler this was written for.
KNOWN_AIOHTTP = ("3", "14")
# Bytes sent before other connections get their turn.
TURN_BYTES = 1024 * 1024
# The longest head that is read here.
HEAD_BYTES = 8 * 1024
# Requests behind a transfer beyond which nothing more is read of a connection.
HELD_BYTES = 32 * 1024
_KEPT_HEADS, _KEPT_HEAD_BYTES = 1024, 1024

# The whole of a head that is taken (RFC 9112, 3 and 5): one blank, visible ASCII, no fragment, no folding.
_LINE = re.compile(rb"GET (/[!\"$-~]*) HTTP/1\.1\r\n")
_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)+")
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))")
_CMCD = re.compile(rb"(?:^|&)CMCD=([^&]*)")
# Fields that change what is answered in ways only the ordinary path knows.
_FOREIGN = re.compile(r"if-.*|content-.*|transfer-encoding|expect|upgrade|te|trailer|http2-settings")
_BEGINNING = b"GET /"
# A head after which the parser of aiohttp is not at the beginning of a next one.
_GOES_ON = re.compile(rb"\r\n(?:content-length|transfer-encoding|upgrade|expect):", re.IGNORECASE)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fields:
    """What the fields of a head come to; `span` is (first, last), (first, None) or (None, suffix length)."""

    span: tuple[int | None, int | None] | None
    gzip: bool
    cmcd: str
    told: dict[str, str]


class Heads:
    """Reads heads strictly; a player repeats its fields with every request, so the last ones read are kept."""

    def __init__(self, hosts: Hosts, origins: tuple[str, ...]) -> None:
        self._hosts, self._any_origin = hosts, "*" in origins
        self._known: dict[bytes, Fields] = {}

    def fields(self, block: bytes) -> Fields | None:
        """Return what a block of field lines says, or None if the ordinary path is to read it."""
        known = self._known.get(block)
        if known is None and (known := self._read(block)) and len(block) <= _KEPT_HEAD_BYTES and not known.cmcd:
            if len(self._known) >= _KEPT_HEADS:
                self._known.clear()
            self._known[block] = known
        return known

    def _read(self, block: bytes) -> Fields | None:
        if not _FIELDS.fullmatch(block):
            return None
        told: dict[str, str] = {}
        lines = block[:-2].decode("latin-1").split("\r\n")
        if len(lines) > FIELDS:
            return None
        for line in lines:
            written, _, value = line.partition(":")
            name = written.lower()
            if name in told or _FOREIGN.fullmatch(name):
                return None
            told[name] = value.strip("\t ")
        if told.get("connection", "keep-alive").lower() != "keep-alive" or not self._are_ours(told):
            return None
        span = _span(told["range"]) if "range" in told else None
        if span is None and "range" in told:
            return None
        cmcd = ",".join(value for name, value in told.items() if name.startswith("cmcd-"))
        return Fields(span, takes_gzip(told.get("accept-encoding")), cmcd, told)

    def _are_ours(self, told: dict[str, str]) -> bool:
        if "host" not in told or ("origin" in told and not self._any_origin):
            return False
        try:
            return self._hosts.takes(told["host"])
        except ServerError:
            return False


def _span(text: str) -> tuple[int | None, int | None] | None:
    found = _RANGE.fullmatch(text)
    if not found:
        return None
    if found[3]:
        return None, int(found[3])
    return int(found[1]), int(found[2]) if found[2] else None


@dataclass(frozen=True, slots=True)
class Desk:
    """What all fast connections share; `log` is None if no line is wanted."""

    heads: Heads
    index: Index
    figures: Figures
    log: AccessLog | None


@dataclass(frozen=True, slots=True)
class About:
    """What the log says of an answer besides its length."""

    status: int
    path: bytes
    fields: Fields
    began_s: float


@dataclass(slots=True)
class Transfer:
    """What is still to be sent: the rest of a head, then `left` of `size` bytes of a file."""

    head: bytes
    file: OpenFile
    offset: int
    size: int
    left: int
    about: About | None


class FastConnection(Connection):
    """A connection that answers by itself what the desk has ready, and leaves all else to aiohttp."""

    __slots__ = ("_behind", "_desk", "_fast", "_held", "_socket", "_transfer")

    def __init__(self, *given: Any, desk: Desk) -> None:
        super().__init__(*given)
        self._desk, self._fast, self._held, self._behind = desk, True, b"", b""
        self._socket: socket.socket | None = None
        self._transfer: Transfer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        connected = transport.get_extra_info("socket")
        self._fast = not self._refused and connected is not None and transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._transfer:
            self._end_transfer()
        if self._socket:
            self._socket.close()
            self._socket = None
        super().connection_lost(exc)

    # --- heads ---

    def data_received(self, data: bytes) -> None:
        if not self._fast:
            super().data_received(data)
        elif self._transfer or self._behind:
            self._behind += data
            if len(self._behind) > HELD_BYTES and self.transport:
                self.transport.pause_reading()
        elif not (self._close or self._force_close):
            held, self._held = self._held, b""
            self._take(held + data if held else data)

    def _take(self, data: bytes) -> None:
        """Answer as many heads as can be answered here and now; give the rest to aiohttp."""
        turn = TURN_BYTES
        while data:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4 and self._may_come(data):
                return
            sent = self._answer(data[:end]) if 4 <= end <= HEAD_BYTES and self._is_idle() else None
            if sent is None:
                self._leave(data)
                return
            data, turn = data[end:], turn - sent
            if data and (self._transfer or turn <= 0):
                self._behind = data
                if not self._transfer:
                    self._loop.call_soon(self._take_behind)
                return

    def _may_come(self, data: bytes) -> bool:
        """Keep the beginning of a head that may turn out to be ours."""
        begun = data.startswith(_BEGINNING) or _BEGINNING.startswith(data)
        framed = data.count(b"\n") == data.count(b"\r\n")
        if not (begun and framed and len(data) < HEAD_BYTES and self._is_idle()):
            return False
        self._held = data
        self._await_head()
        return True

    def _leave(self, data: bytes) -> None:
        """Give bytes to aiohttp; after a body or half a head only it knows where the next head begins."""
        self._fast = data.find(b"\r\n\r\n") + 4 == len(data) and not _GOES_ON.search(data)
        super().data_received(data)

    def _take_behind(self) -> None:
        if self._close or self._force_close or self._transfer:
            return
        behind, self._behind = self._behind, b""
        if len(behind) > HELD_BYTES and self.transport:
            self.transport.resume_reading()
        self._take(behind)

    def _is_idle(self) -> bool:
        """Whether aiohttp has answered all it was given and waits for more."""
        waiter = self._waiter
        return waiter is not None and not waiter.done() and not self._messages and not self._paused

    # --- answers ---

    def _answer(self, head: bytes) -> int | None:
        """Send the answer to a head, or begin to; return its length, or None if it is not for us."""
        desk, line = self._desk, _LINE.match(head)
        fields = desk.heads.fields(head[line.end() : -2]) if line else None
        if line is None or fields is None:
            return None
        path, _, query = line[1].partition(b"?")
        ready = desk.index.find(path)
        if ready is not None and ready.gzip and fields.gzip:
            ready = ready.gzip
        span = ready.span(fields.span) if ready else None
        transport = self.transport
        if ready is None or span is None or transport is None or transport.is_closing():
            return None
        if ready.file and transport.get_write_buffer_size():
            return None
        status = 200 if fields.span is None else 206
        self._note(status, fields, query)
        about = About(status, path, fields, self._loop.time()) if desk.log else None
        self._send(ready, span, (ready.whole if status == 200 else ready.ranged(*span)) + desk.index.date(), about)
        return span[1] - span[0]

    def _note(self, status: int, fields: Fields, query: bytes) -> None:
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self._request_count += 1
        if self._head_timer is not None:
            self._stop_timer()
        figures = self._desk.figures
        figures.note(status)
        if fields.cmcd:
            figures.cmcd(fields.cmcd)
        if query and (said := _CMCD.search(query)):
            figures.cmcd(unquote(said[1].decode("ascii")))

    def _log(self, about: About | None, sent: int) -> None:
        if about is None or (log := self._desk.log) is None:
            return
        told, peer = about.fields.told, self.peername
        client = log.client(str(peer[0]) if isinstance(peer, tuple) else "-", told.get("x-forwarded-for"))
        took_s = self._loop.time() - about.began_s
        words = (told.get("referer", ""), told.get("user-agent", ""))
        log.write(Line(client, "GET", about.path.decode(), "1.1", about.status, sent, took_s, *words))

    # --- bytes ---

    def _send(self, ready: Ready, span: tuple[int, int], head: bytes, about: About | None) -> None:
        assert self.transport
        start, stop = span
        if ready.file is None:
            self.transport.write(head + (ready.body if stop - start == ready.size else ready.body[start:stop]))
            self._log(about, stop - start)
            return
        if self._socket is None:
            # asyncio lets nobody wait for a descriptor of its own; a second name of the same socket is nobody's
            self._socket = socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))
            self._socket.setblocking(False)
        transfer = Transfer(head, ready.file, start, stop - start, stop - start, about)
        try:
            if self._push(transfer):
                self._log(about, stop - start)
            else:
                self._begin_transfer(transfer)
        except OSError:
            self.force_close()

    def _push(self, transfer: Transfer) -> bool:
        """Send what fits and is one turn's; True if all is sent. Raises OSError if the connection or the file broke."""
        assert self._socket
        try:
            if transfer.head:
                sent = self._socket.send(transfer.head, socket.MSG_MORE)
                transfer.head = transfer.head[sent:]
                if transfer.head:
                    return False
            sent = os.sendfile(self._socket.fileno(), transfer.file.fd, transfer.offset, min(transfer.left, TURN_BYTES))
        except (BlockingIOError, InterruptedError):
            return False
        if sent == 0:
            raise ConnectionResetError("The file is shorter than it was when it was published.")
        transfer.offset += sent
        transfer.left -= sent
        return transfer.left == 0

    def _begin_transfer(self, transfer: Transfer) -> None:
        """Go on whenever the client takes more; no timer of aiohttp's may end the connection meanwhile."""
        assert self._socket
        self._transfer = transfer
        transfer.file.hold()
        self._at_work = self._request_in_progress = True
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
            self._keepalive_handle = None
        self._loop.add_writer(self._socket.fileno(), self._go_on)

    def _go_on(self) -> None:
        assert self._transfer
        try:
            if not self._push(self._transfer):
                return
        except OSError:
            self.force_close()
        self._end_transfer()
        self._after_transfer()

    def _end_transfer(self) -> None:
        """Let go of the file, and tell whoever waits for the end of this answer: a shutdown."""
        transfer, self._transfer = self._transfer, None
        assert transfer
        assert self._socket
        self._loop.remove_writer(self._socket.fileno())
        transfer.file.release()
        self._log(transfer.about, transfer.size - transfer.left)
        self._at_work = self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)

    def _after_transfer(self) -> None:
        """Go back to being idle, or end where the client or a shutdown has asked for it."""
        if self._force_close:
            return
        if self._close:
            self.force_close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        if self._behind:
            self._take_behind()


def is_usable() -> bool:
    """Whether this machine and this aiohttp are those that the fast path was written for; says so once if not."""
    if tuple(aiohttp.__version__.split(".")[:2]) != KNOWN_AIOHTTP:
        _log.warning("aiohttp %s is not known to the fast path: files are sent the ordinary way.", aiohttp.__version__)
        return False
    if not (hasattr(os, "sendfile") and hasattr(socket, "MSG_MORE")):
        _log.warning("This system lacks what the fast path needs: files are sent the ordinary way.")
        return False
    return True
