"""The index of what can be sent without thinking: heads written once, files held open, checked when `current` moves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from urllib.parse import unquote

from aiohttp import web

from mediaserver.errors import ServerError
from mediaserver.httpdate import format_date
from mediaserver.library import Looked, Manifest, PublishedFile
from mediaserver.ranges import Representation, plan

if TYPE_CHECKING:
    from mediaserver.heads import Asked
    from mediaserver.library import Library, Shelf
    from mediaserver.manners import Manners
    from mediaserver.own import OwnAnswers
    from mediaserver.streams import Streams

Span = tuple[int | None, int | None]
Fields = tuple[tuple[str, str], ...]
_MOST, _MOST_REPLIES = 4096, 512
# The same film is asked for with the same words by everybody who has the same browser: so many heads are kept.
_KNOWN, _KNOWN_BYTES = 2048, 1024
# A viewer's own addresses are secrets, also as a Referer: what holds one is not to be remembered.
_PERSONAL = b"/s/"
_ODD = re.compile(rb"%(?:2[ef]|5c|[01].|7f)", re.IGNORECASE)
# First names of addresses that are no chapters, whatever lies in media/.
_FIXED = frozenset({"", "s", "api", "assets"})


class Clock:
    """The last field of every head, with the empty line behind it; written once a second."""

    __slots__ = ("_second", "date")

    def __init__(self) -> None:
        self.date, self._second = b"", 0

    def tick(self) -> None:
        now_s = int(time())
        if now_s != self._second:
            self._second, self.date = now_s, f"Date: {format_date(now_s)}\r\n\r\n".encode()


CLOCK = Clock()


class OpenFile:
    """A file that stays open while it is published or being sent."""

    __slots__ = ("_file", "_retired", "_users", "fd")

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.fd = self._file.fileno()
        self._users, self._retired = 0, False

    def hold(self) -> None:
        self._users += 1

    def release(self) -> None:
        self._users -= 1
        self._end()

    def retire(self) -> None:
        self._retired = True
        self._end()

    def _end(self) -> None:
        if self._retired and not self._users:
            self._file.close()


@dataclass(slots=True, eq=False)
class Reply:
    """One answer: its status, where the `size` bytes of its body lie, and its head without the time.

    `body` is sent from memory; with a `file` they begin at `start` of it. `scene` is what a late-bound segment is.
    """

    status: int
    size: int
    head: bytes
    body: bytes
    file: OpenFile | None
    start: int
    scene: str = ""
    _date: bytes = b""
    _text: bytes = b""

    def text(self, date: bytes) -> bytes:
        """Return the head with its time and what is sent from memory, put together once a second."""
        if self._date is not date:
            self._date, self._text = date, self.head + date + self.body
        return self._text


class Known(NamedTuple):
    """What a head that was answered before asks for, and its answer while the shelf is of that generation."""

    asked: Asked
    reply: Reply
    shelf: Shelf
    generation: int


class Ready:
    """One representation with the heads of its answers, written once; `body` if it is sent from memory."""

    __slots__ = ("_part", "_ranged", "_replies", "_whole", "body", "file", "packed", "size")

    def __init__(
        self, r: Representation, manners: Manners, body: bytes = b"", file: OpenFile | None = None, more: Fields = ()
    ) -> None:
        self.size, self.body, self.file = r.size, body, file
        self.packed: dict[str, Ready] = {}
        self._replies: dict[Span | None, Reply] = {}
        # without a tag Range means nothing
        self._ranged = r.etag is not None
        self._whole = _head("200 OK", (*plan("GET", {}, r).headers, *more), manners)
        ranged = plan("GET", {"range": "bytes=0-0"}, r).headers
        fixed = tuple(field for field in ranged if field[0] not in ("Content-Range", "Content-Length"))
        self._part = _head("206 Partial Content", fixed, manners)

    def reply_to(self, asked: Asked) -> Reply | None:
        """Return the answer, packed for whoever takes it so; None if it has no byte."""
        ready = next((self.packed[coding] for coding in asked.codings if coding in self.packed), self)
        return ready.reply(asked.span)

    def reply(self, asked: Span | None) -> Reply | None:
        """Return the answer to (first, last), (first, None), (None, suffix) or no Range; None if it has no byte.

        Players ask for the same segments, so the last ones are kept.
        """
        if not self._ranged:
            asked = None
        found = self._replies.get(asked)
        if found is None and (found := self._made(asked)):
            if len(self._replies) >= _MOST_REPLIES:
                self._replies.clear()
            self._replies[asked] = found
        return found

    def _made(self, asked: Span | None) -> Reply | None:
        if asked is None:
            return Reply(200, self.size, self._whole, self.body, self.file, 0) if self.size else None
        first, last = asked
        if first is None:
            first, last = max(0, self.size - (last or 0)), None
        size = (self.size if last is None else min(last + 1, self.size)) - first
        if size <= 0:
            return None
        sized = f"Content-Range: bytes {first}-{first + size - 1}/{self.size}\r\nContent-Length: {size}\r\n"
        return Reply(206, size, self._part + sized.encode(), self.body[first : first + size], self.file, first)


def _head(status: str, fields: Fields, manners: Manners) -> bytes:
    dressed = dict(fields)
    manners.dress(dressed, "/", None)
    lines = "".join(f"{name}: {value}\r\n" for name, value in dressed.items())
    return f"HTTP/1.1 {status}\r\n{lines}".encode()


def ready_manifest(manifest: Manifest, manners: Manners, more: Fields = ()) -> Ready:
    """Return a manifest with its packed forms; `more` are further fields of its head."""
    ready = Ready(manifest.representation, manners, manifest.body, more=more)
    ready.packed = {coding: ready_manifest(short, manners, more) for coding, short in manifest.packed.items()}
    return ready


class Index:
    """What is ready, by the path of its address; one for all connections of a process.

    `own` has what is ready below /s/, where this process knows the sessions.
    """

    def __init__(self, library: Library, streams: Streams, manners: Manners, own: OwnAnswers | None = None) -> None:
        self.own = own
        self.known: dict[bytes, Known] = {}
        self.looked = Looked()
        self._library, self._streams, self._manners = library, streams, manners
        self._ready: dict[bytes, tuple[Ready, Shelf]] = {}
        self._seen: dict[Shelf, int] = {}

    def find(self, path: bytes) -> Ready | None:
        """Return what is published under `path` now; a chapter is looked at once in a round of the loop."""
        found = self._ready.get(path)
        if found is not None and self._is_unchanged(found[1]):
            return found[0]
        return self._fetch(path)

    def keep(self, head: bytes, asked: Asked, reply: Reply) -> None:
        """Know a head that has been answered, if it is likely to come again."""
        if len(head) > _KNOWN_BYTES or asked.cmcd or _PERSONAL in head or asked.path not in self._ready:
            return
        if len(self.known) >= _KNOWN:
            self.known.clear()
        shelf = self._ready[asked.path][1]
        self.known[head] = Known(asked, reply, shelf, self.looked[shelf])

    def _is_unchanged(self, shelf: Shelf) -> bool:
        generation = self.looked[shelf]
        if self._seen.get(shelf) == generation:
            return True
        self._seen[shelf] = generation
        self._forget(shelf)
        return False

    def _forget(self, shelf: Shelf | None = None) -> None:
        """Let go of what lies on one shelf, or on all; what is known names files that are closed then."""
        self.known.clear()
        for path in [path for path, (_, owner) in self._ready.items() if shelf in (owner, None)]:
            ready, _ = self._ready.pop(path)
            if ready.file:
                ready.file.retire()

    def _fetch(self, path: bytes) -> Ready | None:
        names = unquote(path.decode("ascii")).split("/")[1:]
        if names[0] in _FIXED or _ODD.search(path):
            return None
        try:
            published, shelf = self._streams.published(names), self._library.shelf(names[0])
            ready = self._prepare(published)
        except ServerError:
            return None
        if len(self._ready) >= _MOST:
            self._forget()
        self._is_unchanged(shelf)
        self._ready[path] = ready, shelf
        return ready

    def _prepare(self, published: PublishedFile | Manifest) -> Ready:
        """Raises NotFound if the file is gone."""
        if isinstance(published, PublishedFile):
            return Ready(published.representation, self._manners, file=OpenFile(published.open()))
        return ready_manifest(published, self._manners)

    def close(self) -> None:
        """Close every file, those that are being sent when they have been."""
        self._forget()


INDEX = web.AppKey("index", Index)
