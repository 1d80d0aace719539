"""Published files and shared manifests, sent past the framework: one strict look at a head, one look-up, one sendfile.

What this file does not understand to the last byte it leaves to the ordinary path, which answers everything and
answers the same (docs/decisions/0012-fast-path.md). The two share `ranges.plan`, so their headers cannot differ.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

import aiohttp

from mediaserver.accesslog import AccessLog, Line
from mediaserver.connections import FAREWELL_S, TOLD, Door, HeadTooSlow, ServerFull
from mediaserver.epoll import Watch
from mediaserver.heads import HEAD_BYTES, Asked, Heads
from mediaserver.ops import Figures
from mediaserver.ready import CLOCK, Index, OpenFile, Reply

# The minor version of aiohttp that connections are left to and come back from (ordinary.py).
KNOWN_AIOHTTP = ("3", "14")
# Bytes sent before other connections get their turn; a rest of less than a quarter of that goes along.
TURN_BYTES = 1024 * 1024
REST_BYTES = TURN_BYTES // 4
# What is read of a connection at once.
READ_BYTES = 16 * 1024
_BEGINNING = b"GET /"
# A viewer's own addresses.
_PERSONAL = b"GET /s/"

_log = logging.getLogger(__name__)

# Goes on with a socket, which is then its own, and with what was read of it; and is told whether the connection has
# been answered before.
Leave = Callable[[socket.socket, bytes, bool], None]


@dataclass(frozen=True, slots=True)
class Desk:
    """What all fast connections of an address share; `log` is None if no line is wanted.

    `leave` takes connections that ask for what is not answered here; published `files` may be among that.
    """

    heads: Heads
    index: Index
    figures: Figures
    log: AccessLog | None
    watch: Watch
    door: Door
    leave: Leave
    files: bool = True

    def find(self, head: bytes) -> tuple[Asked, Reply] | None:
        """Return what is to be sent to a whole head, or None; the file of an answer below /s/ is to be retired."""
        if not head.startswith(_PERSONAL):
            asked = self.heads.read(head)
            ready = self.index.find(asked.path) if asked else None
            reply = ready.reply_to(asked) if asked and ready else None
            return (asked, reply) if asked and reply else None
        if (own := self.index.own) is None:
            return None
        if (found := own.recall(head)) is None and (asked := self.heads.read(head)):
            found = own.find(head, asked)
        return found

    def knows(self, head: bytes) -> bool:
        """Whether there is an answer, here or in a byte worker."""
        found = self.find(head)
        if found and found[1].file and head.startswith(_PERSONAL):
            found[1].file.retire()
        return found is not None

    def accept(self, connected: socket.socket, address: object) -> None:
        """Begin with a client that has just been accepted."""
        FastConnection(self, connected, address).admit()

    def go_on(self, connected: socket.socket, data: bytes, *, answered: bool) -> None:
        """Go on with a connection of which another has read `data` last."""
        connected.setblocking(False)
        with suppress(OSError):
            FastConnection(self, connected, connected.getpeername()).go_on(data, answered=answered)
            return
        connected.close()


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


class FastConnection:
    """A client's connection, from its acceptance on; ends with `close`, or is left to somebody else."""

    __slots__ = (
        "_answered",
        "_behind",
        "_desk",
        "_held",
        "_open",
        "_peer",
        "_refusal",
        "_since_s",
        "_socket",
        "_transfer",
    )

    def __init__(self, desk: Desk, connected: socket.socket, address: object) -> None:
        self._desk, self._socket = desk, connected
        self._peer = str(address[0]) if isinstance(address, tuple) else "-"
        self._held = self._behind = b""
        self._transfer: Transfer | None = None
        # what is said to whatever is asked, and b"" when it has been said
        self._refusal: bytes | None = None
        self._open, self._answered = True, False
        # since when the connection is idle, or half a head is there
        self._since_s = desk.watch.now_s
        desk.watch.add(connected.fileno(), self)
        desk.door.seats.take()

    def admit(self) -> None:
        """Let a new client in, or refuse it if there are too many."""
        door = self._desk.door
        if door.over > TOLD:
            self.close()
        elif door.over > 0:
            self._refusal = door.words(ServerFull())

    def go_on(self, data: bytes, *, answered: bool) -> None:
        """Go on where another has read `data` last."""
        self._since_s, self._answered = monotonic(), answered
        self._take(data)

    # --- reading ---

    def move(self) -> None:
        """Send what fits, or read what has come; behind a transfer requests wait in the socket."""
        if self._transfer:
            self._continue()
            return
        desk = self._desk
        index = desk.index
        while self._open and not self._transfer and not self._behind:
            try:
                data = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            known = index.known.get(data)
            if known and not self._held and self._refusal is None and index.looked[known.shelf] == known.generation:
                self._note(known.asked, known.reply, desk.watch.now_s)
                self._send(known.reply, known.asked)
            else:
                self._take(data)
            if len(data) < READ_BYTES:
                return

    # --- heads ---

    def _take(self, data: bytes) -> None:
        """Answer as many heads as can be answered here and now; leave the rest."""
        if self._refusal is not None:
            self._say_goodbye(self._refusal)
            return
        data, begun, self._held = self._held + data, bool(self._held), b""
        turn = TURN_BYTES
        while data and self._open:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4 and _may_come(data):
                self._held = data
                if not begun:
                    self._since_s = monotonic()
                return
            sent = self._answer_head(data[:end]) if end >= 4 else None
            if sent is None:
                self._leave(data)
                return
            data, turn, begun = data[end:], turn - sent, False
            if data and (self._transfer or turn <= 0):
                self._behind = data
                if not self._transfer:
                    asyncio.get_running_loop().call_soon(self._take_behind)
                return

    def _answer_head(self, head: bytes) -> int | None:
        """Answer a head, or begin to; return the length of the body, or None if another must answer."""
        CLOCK.tick()
        desk, personal = self._desk, head.startswith(_PERSONAL)
        found = desk.find(head)
        if found is None or (found[1].file and not personal and not desk.files):
            return None
        asked, reply = found
        self._note(asked, reply, monotonic())
        self._send(reply, asked)
        if not personal:
            desk.index.keep(head, asked, reply)
        elif reply.file:
            reply.file.retire()
        return reply.size

    def _take_behind(self) -> None:
        if not self._open or self._transfer:
            return
        behind, self._behind = self._behind, b""
        self._take(behind)
        if not self._open or self._transfer or self._behind:
            return
        if self._desk.watch.closing:
            self.close()
        else:
            self.move()

    # --- answers ---

    def _note(self, asked: Asked, reply: Reply, now_s: float) -> None:
        """Count the answer; the connection's time begins anew."""
        self._since_s, self._answered = now_s, True
        self._desk.figures.answers[reply.status] += 1
        if reply.scene:
            self._desk.figures.scene(reply.scene)
        if asked.cmcd:
            self._desk.figures.cmcd(asked.cmcd)

    def _send(self, reply: Reply, asked: Asked) -> None:
        """Send as much as fits at once, which is often all; the rest is a transfer.

        The head of a long body goes out with it, which saves the client a wake; beside a short one that costs more.
        """
        text, file, gone, sent = reply.text(CLOCK.date), reply.file, 0, 0
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
            self.close()
            return
        left = reply.size - sent if file else 0
        if left or gone < len(text):
            start = reply.start + sent
            self._transfer = Transfer(reply.status, text[gone:], file, start, reply.size, left, asked, began_s)
            if file:
                file.hold()
            if sent >= TURN_BYTES:
                asyncio.get_running_loop().call_soon(self._continue)
        elif self._desk.log:
            self._log(asked, reply.status, reply.size, began_s)

    def _log(self, asked: Asked, status: int, sent: int, began_s: float) -> None:
        if (log := self._desk.log) is None:
            return
        client, took_s = log.client(self._peer, asked.forwarded_for), monotonic() - began_s
        log.write(Line(client, "GET", asked.path.decode(), "1.1", status, sent, took_s, asked.referer, asked.agent))

    # --- what did not fit at once ---

    def _push(self, transfer: Transfer) -> bool:
        """Send what fits and is one turn's; True if all is sent. Raises OSError if the connection or the file broke.

        What a turn leaves is sent in the next round of the loop; what did not fit, when the watch says so.
        """
        turn = TURN_BYTES
        try:
            if transfer.head:
                sent = self._socket.send(transfer.head)
                transfer.head = transfer.head[sent:]
            while transfer.left and transfer.file and not transfer.head:
                if turn <= 0:
                    asyncio.get_running_loop().call_soon(self._continue)
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

    def _continue(self) -> None:
        if self._transfer is None:
            return
        try:
            if not self._push(self._transfer):
                return
        except OSError:
            self.close()
            return
        self._end_transfer(self._transfer)
        if self._desk.watch.closing:
            self.close()
            return
        self._since_s = monotonic()
        self._take_behind()

    def _end_transfer(self, transfer: Transfer) -> None:
        self._transfer = None
        if transfer.file:
            transfer.file.release()
        self._log(transfer.asked, transfer.status, transfer.size - transfer.left, transfer.began_s)

    # --- the end ---

    def look(self, now_s: float) -> None:
        """End what takes too long, and try again to send what has not moved since the last look."""
        if transfer := self._transfer:
            if transfer.left == transfer.left_before:
                self._continue()
            transfer.left_before = transfer.left
            return
        late_s, door = now_s - self._since_s, self._desk.door
        if self._refusal == b"":
            if late_s > FAREWELL_S:
                self.close()
        elif self._held:
            if late_s > door.head_s:
                self._say_goodbye(door.words(HeadTooSlow()))
        elif late_s > door.keepalive_s:
            self.close()

    def finish(self) -> None:
        """End as soon as what is being sent, or has been asked for, is sent."""
        if not self._transfer:
            self.move()
        if not self._transfer and not self._behind:
            self.close()

    def close(self) -> None:
        if self._open:
            self._let_go()
            self._socket.close()
        if self._transfer:
            self._end_transfer(self._transfer)

    def _let_go(self) -> None:
        self._open = False
        self._desk.watch.remove(self._socket.fileno())
        self._desk.door.seats.leave()

    def _leave(self, data: bytes) -> None:
        """Let somebody else go on; nobody does once the server is told to stop."""
        if self._desk.watch.closing:
            self.close()
            return
        self._let_go()
        self._desk.leave(self._socket, data, self._answered)

    def _say_goodbye(self, words: bytes) -> None:
        """Refuse once, and end a little later, so that no reset destroys the refusal (RFC 9112, 9.6)."""
        if words:
            self._since_s, self._held, self._refusal = monotonic(), b"", b""
            with suppress(OSError):
                self._socket.send(words)
                self._socket.shutdown(socket.SHUT_WR)


def _may_come(data: bytes) -> bool:
    """Whether this may be the beginning of a head that turns out to be ours."""
    begun = data.startswith(_BEGINNING) or _BEGINNING.startswith(data)
    framed = data.count(b"\n") == data.count(b"\r\n")
    return begun and framed and len(data) < HEAD_BYTES


def is_usable() -> bool:
    """Whether this system and this aiohttp are those that the fast path was written for; says so if not."""
    if tuple(aiohttp.__version__.split(".")[:2]) != KNOWN_AIOHTTP:
        _log.warning("aiohttp %s is not known to the fast path: files are sent the ordinary way.", aiohttp.__version__)
        return False
    if not (hasattr(os, "sendfile") and hasattr(select, "epoll")):
        _log.warning("This system lacks what the fast path needs: files are sent the ordinary way.")
        return False
    return True
