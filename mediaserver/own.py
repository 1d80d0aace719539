"""One viewer's own manifests and finished segments, for the fast path; every request looks at the session."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from encoder.errors import EncoderError
from mediaserver.capability import redacted
from mediaserver.errors import ServerError
from mediaserver.heads import Asked
from mediaserver.inserts import Insert
from mediaserver.ledger import PinRow
from mediaserver.library import PRIVATE, Library, Looked, Manifest, Shelf, open_plain
from mediaserver.manners import Manners
from mediaserver.ranges import MIME, Representation
from mediaserver.ready import OpenFile, Ready, Reply, ready_manifest
from mediaserver.scenes import own_manifest
from mediaserver.sessions import Session, Sessions

_MOST = 4096
_SEGMENT = re.compile(r"([0-9]{1,6})\.m4s")
# The ordinary path measures; here less than half of the last digit has passed.
_TIMING = (("Server-Timing", "app;dur=0.0"),)
_PERSONAL = (("X-Scene", "personal"), ("Server-Timing", "wait;dur=0.0"))


class Piece(NamedTuple):
    """A finished segment of an insert, and the head of its answer."""

    insert: Insert
    path: Path
    size: int
    head: bytes


class Own(NamedTuple):
    """What one session may have, until its session, pin, shelf or insert is another; `ready` is a Reply or a Piece."""

    session: Session
    pin: PinRow
    shelf: Shelf
    generation: int
    asked: Asked
    ready: Reply | Piece


class OwnAnswers:
    """Finds what is ready under /s/<capability>/; of a head that was answered only its hash is kept."""

    def __init__(self, sessions: Sessions, library: Library, manners: Manners) -> None:
        self._sessions, self._library, self._manners = sessions, library, manners
        self._ready: dict[tuple[str, str, str], tuple[Manifest, Ready]] = {}
        self._pieces: dict[int, bytes] = {}
        self._heads: dict[bytes, Own] = {}
        self._looked = Looked()

    def recall(self, head: bytes) -> tuple[Asked, Reply] | None:
        """Return what is to be sent to a head that was answered before, if that is still so."""
        own = self._heads.get(key := _hashed(head))
        if own is None:
            return None
        same = own.session.pins.get(own.pin.chapter) is own.pin and self._looked[own.shelf] == own.generation
        if same and _is_bound(own) and self._sessions.is_at_hand(own.session) and (reply := _reply(own.ready)):
            return own.asked, reply
        del self._heads[key]
        return None

    def find(self, head: bytes, asked: Asked) -> tuple[Asked, Reply] | None:
        """Return a manifest that the living session has asked for before, or a segment of its finished insert.

        None is the ordinary path's to answer. The file of a segment is the caller's to let go of.
        """
        _, _, capability, *names = asked.path.decode("ascii").split("/")
        if not 2 <= len(names) <= 4 or b"%" in asked.path:
            return None
        session = self._sessions.at_hand(capability)
        pin = session.pins.get(names[0]) if session else None
        if session is None or pin is None:
            return None
        try:
            shelf = self._library.shelf(names[0])
            generation = self._looked[shelf]
            ready = self._bound(session, names) if len(names) == 4 else self._written(session, pin, names, asked)
        except (ServerError, EncoderError):
            return None
        reply = _reply(ready) if ready else None
        if ready is None or reply is None:
            return None
        shown = replace(asked, path=redacted(asked.path.decode()).encode())
        if not asked.cmcd:
            if len(self._heads) >= _MOST:
                self._heads.clear()
            self._heads[_hashed(head)] = Own(session, pin, shelf, generation, shown, ready)
        return shown, reply

    def _written(self, session: Session, pin: PinRow, names: list[str], asked: Asked) -> Reply | None:
        """Return the manifest of a chapter, or of a chapter's version; raises ChapterUnknown, NotFound."""
        if not pin.asked:
            return None
        of_version = len(names) == 3
        edition = self._sessions.edition(session, names[0], names[1] if of_version else None)
        manifest = own_manifest(edition, names[-1], of_version=of_version)
        key = (names[0], edition.presentation.version, names[-1])
        found = self._ready.get(key)
        if found is None or found[0] is not manifest:
            if len(self._ready) >= _MOST:
                self._ready.clear()
            found = self._ready[key] = manifest, ready_manifest(manifest, self._manners, _TIMING)
        return found[1].reply_to(asked)

    def _bound(self, session: Session, names: list[str]) -> Piece | None:
        """Return a segment of an insert that is finished; raises ChapterUnknown, NotFound."""
        chapter, version, rendition, file = names
        if not (number := _SEGMENT.fullmatch(file)):
            return None
        presentation = self._sessions.edition(session, chapter, version).presentation
        slot = presentation.slot_at(int(number[1]))
        insert = session.inserts.get((chapter, slot.id)) if slot else None
        if insert is None or insert.state != "ready" or insert.version != version:
            return None
        stored = self._sessions.fragment(insert, (rendition, int(number[1])))
        return Piece(insert, stored.path, stored.size, self._piece_head(stored.size)) if stored else None

    def _piece_head(self, size: int) -> bytes:
        """Return the head of the answer to a segment, which its size decides."""
        if (head := self._pieces.get(size)) is None:
            reply = Ready(Representation(size, MIME[".m4s"], PRIVATE), self._manners, more=_PERSONAL).reply(None)
            assert reply
            if len(self._pieces) >= _MOST:
                self._pieces.clear()
            head = self._pieces[size] = reply.head
        return head


def _is_bound(own: Own) -> bool:
    """Whether the insert that a segment belongs to is still the session's, and finished."""
    if isinstance(own.ready, Reply):
        return True
    insert = own.ready.insert
    return own.session.inserts.get((insert.chapter, insert.slot)) is insert and insert.state == "ready"


def _reply(ready: Reply | Piece) -> Reply | None:
    """Open the file of a segment; None if it has been taken away."""
    if isinstance(ready, Reply):
        return ready
    try:
        return Reply(200, ready.size, ready.head, b"", OpenFile(open_plain(ready.path)), 0, "personal")
    except ServerError:
        return None


def _hashed(head: bytes) -> bytes:
    return blake2b(head, digest_size=16).digest()
