"""A client that writes exactly the bytes it is given and reads answers as strictly as RFC 9112 frames them."""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

ANSWER_S = 20.0
# Long enough for a write to become a segment, and a read of the server, of its own.
GAP_S = 0.005

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) [\t -~\x80-\xff]*")
_FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*([^\r\n\0]*?)[\t ]*")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)[\t ]*(?:;[^\r\n]*)?")


class BrokenAnswer(Exception):
    """What came is no answer, or not all of one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer; `fields` by lower-case names, several lines of one name joined with ", "."""

    status: int
    fields: dict[str, str]
    body: bytes
    chunked: bool = False


class Wire:
    """One connection."""

    def __init__(self, host: str, port: int, receive_bytes: int | None = None) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if receive_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._socket.settimeout(ANSWER_S)
        try:
            self._socket.connect((host, port))
        except OSError:
            self._socket.close()
            raise
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = bytearray()

    def write(self, *pieces: bytes) -> None:
        """Send every piece as a segment of its own; a server that has closed already is found out when reading."""
        try:
            for number, piece in enumerate(pieces):
                if number:
                    time.sleep(GAP_S)
                self._socket.sendall(piece)
        except (ConnectionError, TimeoutError):
            return

    def answer(self, *, head: bool = False) -> Answer:
        """Read the next final answer; `head` if it answers a HEAD. Raises BrokenAnswer."""
        while True:
            status, fields = self._head()
            if status >= 200:
                break
        if head or status in (204, 304):
            return Answer(status, fields, b"")
        if "transfer-encoding" in fields:
            if fields["transfer-encoding"].lower() != "chunked" or "content-length" in fields:
                raise BrokenAnswer("Transfer-Encoding beside Content-Length, or not chunked")
            return Answer(status, fields, self._chunks(), chunked=True)
        length = fields.get("content-length")
        if length is None:
            return Answer(status, fields, self._to_the_end())
        if not re.fullmatch("[0-9]+", length):
            raise BrokenAnswer(f"Content-Length: {length}")
        return Answer(status, fields, self.exactly(int(length)))

    def exactly(self, size: int) -> bytes:
        """Read `size` bytes; raises BrokenAnswer if there are fewer."""
        while len(self._read) < size:
            if not self._more():
                raise BrokenAnswer(f"{size - len(self._read)} of {size} bytes are missing")
        taken = bytes(self._read[:size])
        del self._read[:size]
        return taken

    def ended(self) -> bool:
        """Whether the server closes without another byte."""
        return not self._read and not self._more()

    @property
    def port(self) -> int:
        """The port of this end."""
        return int(self._socket.getsockname()[1])

    def half_close(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a TCP reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._socket.close()

    def _head(self) -> tuple[int, dict[str, str]]:
        first, *lines = self._until(b"\r\n\r\n")[:-4].split(b"\r\n")
        found = _STATUS_LINE.fullmatch(first)
        if not found:
            raise BrokenAnswer(f"the status line {first[:80]!r}")
        fields: dict[str, str] = {}
        for line in lines:
            field = _FIELD_LINE.fullmatch(line)
            if not field:
                raise BrokenAnswer(f"the field line {line[:80]!r}")
            name, value = field[1].decode().lower(), field[2].decode("latin-1")
            if name in fields and name in ("content-length", "content-range", "content-type", "etag", "date"):
                raise BrokenAnswer(f"{name} twice")
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        return int(found[1]), fields

    def _chunks(self) -> bytes:
        body = b""
        while True:
            line = _CHUNK_LINE.fullmatch(self._until(b"\r\n")[:-2])
            if not line:
                raise BrokenAnswer("a chunk without a size")
            size = int(line[1], 16)
            if size == 0:
                while self._until(b"\r\n") != b"\r\n":
                    pass
                return body
            body += self.exactly(size)
            if self.exactly(2) != b"\r\n":
                raise BrokenAnswer("a chunk longer than it says")

    def _until(self, end: bytes) -> bytes:
        while (at := self._read.find(end)) < 0:
            if not self._more():
                raise BrokenAnswer("the connection was closed" + (" in the middle" if self._read else ""))
        taken = bytes(self._read[: at + len(end)])
        del self._read[: at + len(end)]
        return taken

    def _to_the_end(self) -> bytes:
        while self._more():
            pass
        taken = bytes(self._read)
        self._read.clear()
        return taken

    def _more(self) -> bool:
        try:
            block = self._socket.recv(262_144)
        except TimeoutError as error:
            raise BrokenAnswer("no answer") from error
        except ConnectionError:
            return False
        self._read += block
        return bool(block)


@contextmanager
def connected(host: str, port: int, receive_bytes: int | None = None) -> Iterator[Wire]:
    wire = Wire(host, port, receive_bytes)
    try:
        yield wire
    finally:
        wire.close()
