"""Published files and shared manifests, sent past the framework: one strict look at a head, one look-up, one sendfile.

What this file does not understand to the last byte it leaves to the ordinary path, which answers everything and
answers the same (docs/decisions/0012-fast-path.md). The two share `ranges.plan`, so their headers cannot differ.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import select
import socket
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import aiohttp

from mediaserver.accesslog import AccessLog, Line
from mediaserver.connections import Connection
from mediaserver.epoll import Watch
from mediaserver.heads import HEAD_BYTES, Asked, Heads
from mediaserver.ready import CLOCK, Index, Known, OpenFile, Reply

if TYPE_CHECKING:
    from mediaserver.ops import Figures

# The minor version of aiohttp whose RequestHandler this was written for.
KNOWN_AIOHTTP = ("3", "14")
# Bytes sent before other connections get their turn; a rest of less than a quarter of that goes along.
TURN_BYTES = 1024 * 1024
REST_BYTES = TURN_BYTES // 4
# What is read of a connection at once.
READ_BYTES = 16 * 1024
_BEGINNING = b"GET /"
# A viewer's own addresses.
_PERSONAL = b"GET /s/"
# A head after which the parser of aiohttp is not at the beginning of a next one.
_GOES_ON = re.compile(rb"\r\n(?:content-length|transfer-encoding|upgrade|expect):", re.IGNORECASE)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Desk:
    """What all fast connections share; `log` is None if no line is wanted."""

    heads: Heads
    index: Index
    figures: Figures
    log: AccessLog | None
    watch: Watch


@dataclass(slots=True)
class Transfer:
    """What is still to be sent: the rest of a head or text, then `left` of `size` bytes of a file; and for the log."""

    status: int
    head: bytes
    file: OpenFile | None
    offset: int
    size: int
    left: int
    asked: Asked
    began_s: float
    left_before: int = -1


class FastConnection(Connection):
    """A connection that answers by itself what the desk has ready, and leaves all else to aiohttp."""

    __slots__ = ("_behind", "_desk", "_fast", "_held", "_socket", "_transfer", "_watched")

    def __init__(self, *given: Any, desk: Desk) -> None:
        super().__init__(*given)
        self._desk, self._fast, self._held, self._behind = desk, True, b"", b""
        self._socket: socket.socket | None = None
        self._transfer: Transfer | None = None
        self._watched = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        connected = transport.get_extra_info("socket")
        self._fast = not self._refused and connected is not None and transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._transfer:
            self._end_transfer()
        if self._socket:
            if self._watched:
                self._desk.watch.remove(self._socket.fileno())
            self._socket.close()
            self._socket = None
        super().connection_lost(exc)

    # --- reading ---

    def _open_socket(self) -> None:
        """Take a second name of the socket, read it ourselves from now on: asyncio lets nobody touch its own."""
        transport = self.transport
        assert transport
        if self._socket is None:
            self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
            self._socket.setblocking(False)
        transport.pause_reading()
        self._watched = True
        self._desk.watch.add(self._socket.fileno(), self)

    def _hand_back(self) -> None:
        """Let asyncio read the socket again: for aiohttp, or for the end of the connection."""
        if self._watched and self._socket:
            self._watched = False
            self._desk.watch.remove(self._socket.fileno())
            if self.transport:
                self.transport.resume_reading()

    def move(self) -> None:
        """Send what fits, then read what has come; behind a transfer requests wait in the socket."""
        if self._transfer:
            self._go_on()
        else:
            self._read()

    def _read(self) -> None:
        while self._watched and self._socket and not self._transfer and not self._behind:
            try:
                data = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._hand_back()
                return
            known = self._desk.index.known.get(data)
            # aiohttp is idle, or it would not be we who read
            if known is None or self._held or not self._repeat(known):
                self.data_received(data)
            if len(data) < READ_BYTES:
                return

    def _repeat(self, known: Known) -> bool:
        """Give the answer to a head that was answered before; False if it may not be given."""
        if self._close or self._force_close or not self._desk.index.is_true(known):
            return False
        self._note(known.asked, known.reply, self._desk.watch.now_s)
        self._send(known.reply, known.asked)
        return True

    # --- heads ---

    def data_received(self, data: bytes) -> None:
        if not self._fast:
            super().data_received(data)
        elif self._held:
            data, self._held = self._held + data, b""
            self._take(data)
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Answer as many heads as can be answered here and now; give the rest to aiohttp."""
        turn = TURN_BYTES
        while data:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4 and self._may_come(data):
                return
            sent = self._answer_head(data[:end]) if end >= 4 else None
            if sent is None:
                self._leave(data)
                return
            data, turn = data[end:], turn - sent
            if data and (self._transfer or turn <= 0):
                self._behind = data
                if not self._transfer:
                    self._loop.call_soon(self._take_behind)
                return

    def _answer_head(self, head: bytes) -> int | None:
        """Answer a head, or begin to; return the length of the body, or None if aiohttp must answer."""
        heads, index = self._desk.heads, self._desk.index
        if head.startswith(_PERSONAL):
            return self._answer_own(head) if index.own else None
        asked = heads.read(head)
        ready = index.find(asked.path) if asked else None
        if asked is None or ready is None:
            return None
        reply = ready.reply_to(asked)
        if reply is None or not self._give(asked, reply):
            return None
        index.keep(head, asked, reply)
        return reply.size

    def _answer_own(self, head: bytes) -> int | None:
        """Answer what is one viewer's; a fragment's file is open no longer than it is being sent."""
        own = self._desk.index.own
        assert own
        found = own.recall(head)
        if found is None and (asked := self._desk.heads.read(head)):
            found = own.find(head, asked)
        if found is None:
            return None
        asked, reply = found
        given = self._give(asked, reply)
        if reply.file:
            reply.file.retire()
        return reply.size if given else None

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
        self._hand_back()
        super().data_received(data)

    def _take_behind(self) -> None:
        if self._close or self._force_close or self._transfer:
            return
        behind, self._behind = self._behind, b""
        self._take(behind)
        self._read()

    def _is_idle(self) -> bool:
        """Whether aiohttp has answered all it was given and waits for more; never so once the connection is closing."""
        waiter = self._waiter
        return waiter is not None and not waiter.done() and not self._messages and not self._paused

    # --- answers ---

    def _give(self, asked: Asked, reply: Reply) -> bool:
        """Send an answer, or begin to; False if aiohttp must give it."""
        transport, waiter = self.transport, self._waiter
        if transport is None or waiter is None or waiter.done() or self._messages:
            return False
        # what aiohttp has not got rid of yet must go first
        if transport.get_write_buffer_size():
            return False
        if not self._watched:
            self._open_socket()
        self._note(asked, reply, monotonic())
        self._send(reply, asked)
        return True

    def _note(self, asked: Asked, reply: Reply, now_s: float) -> None:
        """Count the answer, and let the timers of the connection begin anew."""
        self._next_keepalive_close_time = now_s + self._keepalive_timeout
        if self._head_timer is not None:
            self._stop_timer()
        self._desk.figures.note(reply.status)
        if reply.scene:
            self._desk.figures.scene(reply.scene)
        if asked.cmcd:
            self._desk.figures.cmcd(asked.cmcd)

    def _send(self, reply: Reply, asked: Asked) -> None:
        """Send as much as fits at once, which is often all; the rest is a transfer.

        The head of a long body goes out with it, which saves the client a wake; beside a short one that costs more.
        """
        assert self._socket
        text, file, gone, sent = reply.text(CLOCK.date()), reply.file, 0, 0
        began_s = monotonic() if self._desk.log else 0.0
        try:
            if file is None:
                gone = self._socket.send(text)
            else:
                gone = self._socket.send(text, socket.MSG_MORE if reply.size > REST_BYTES else 0)
                if gone == len(text):
                    count = min(reply.size, TURN_BYTES + REST_BYTES)
                    sent = os.sendfile(self._socket.fileno(), file.fd, reply.start, count)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.force_close()
            return
        left = reply.size - sent if file else 0
        if left or gone < len(text):
            start = reply.start + sent
            self._begin_transfer(Transfer(reply.status, text[gone:], file, start, reply.size, left, asked, began_s))
            if sent >= TURN_BYTES:
                self._loop.call_soon(self._go_on)
        elif self._desk.log:
            self._log(asked, reply.status, reply.size, began_s)

    def _log(self, asked: Asked, status: int, sent: int, began_s: float) -> None:
        if (log := self._desk.log) is None:
            return
        peer = self.peername
        client = log.client(str(peer[0]) if isinstance(peer, tuple) else "-", asked.forwarded_for)
        took_s = monotonic() - began_s
        log.write(Line(client, "GET", asked.path.decode(), "1.1", status, sent, took_s, asked.referer, asked.agent))

    # --- what did not fit at once ---

    def _push(self, transfer: Transfer) -> bool:
        """Send what fits and is one turn's; True if all is sent. Raises OSError if the connection or the file broke.

        What a turn leaves is sent in the next round of the loop; what did not fit, when the watch says so.
        """
        assert self._socket
        turn = TURN_BYTES
        try:
            if transfer.head:
                sent = self._socket.send(transfer.head)
                transfer.head = transfer.head[sent:]
            while transfer.left and transfer.file and not transfer.head:
                if turn <= 0:
                    self._loop.call_soon(self._go_on)
                    return False
                count = transfer.left if transfer.left <= turn + REST_BYTES else turn
                sent = os.sendfile(self._socket.fileno(), transfer.file.fd, transfer.offset, count)
                if sent == 0:
                    raise ConnectionResetError("The file is shorter than it was when it was published.")
                transfer.offset += sent
                transfer.left -= sent
                turn -= sent
                if sent < count:
                    return False
        except (BlockingIOError, InterruptedError):
            return False
        return not (transfer.head or transfer.left)

    def nudge(self) -> None:
        """Try again to send what has not moved since the last time."""
        if self._transfer:
            if self._transfer.left == self._transfer.left_before:
                self._go_on()
            else:
                self._transfer.left_before = self._transfer.left

    def _begin_transfer(self, transfer: Transfer) -> None:
        """Go on whenever the client takes more; no timer of aiohttp's may end the connection meanwhile."""
        self._transfer = transfer
        if transfer.file:
            transfer.file.hold()
        self._at_work = self._request_in_progress = True
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
            self._keepalive_handle = None

    def _go_on(self) -> None:
        if self._transfer is None:
            return
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
        if transfer.file:
            transfer.file.release()
        self._log(transfer.asked, transfer.status, transfer.size - transfer.left, transfer.began_s)
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
        self._next_keepalive_close_time = monotonic() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        self._take_behind()


def is_usable() -> bool:
    """Whether this system and this aiohttp are those that the fast path was written for; says so if not."""
    if tuple(aiohttp.__version__.split(".")[:2]) != KNOWN_AIOHTTP:
        _log.warning("aiohttp %s is not known to the fast path: files are sent the ordinary way.", aiohttp.__version__)
        return False
    if not (hasattr(os, "sendfile") and hasattr(select, "epoll")):
        _log.warning("This system lacks what the fast path needs: files are sent the ordinary way.")
        return False
    return True
