"""A viewer's own manifests, for the fast path: the session is looked at in every request, the text is written once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from hashlib import blake2b
from typing import NamedTuple

from encoder.errors import EncoderError
from mediaserver.capability import redacted
from mediaserver.errors import ServerError
from mediaserver.heads import Asked
from mediaserver.ledger import PinRow
from mediaserver.library import Library, Manifest, Shelf
from mediaserver.manners import Manners
from mediaserver.ready import Ready, ready_manifest
from mediaserver.scenes import own_manifest
from mediaserver.sessions import Session, Sessions

_MOST = 4096
# The ordinary path measures; here less than half of the last digit has passed.
_TIMING = (("Server-Timing", "app;dur=0.0"),)


class Own(NamedTuple):
    """A manifest as one session may have it, until its session, pin or shelf is another."""

    session: Session
    pin: PinRow
    shelf: Shelf
    generation: int
    asked: Asked
    ready: Ready


class OwnManifests:
    """Finds what is ready under /s/<capability>/; of a head that was answered only its hash is kept."""

    def __init__(self, sessions: Sessions, library: Library, manners: Manners) -> None:
        self._sessions, self._library, self._manners = sessions, library, manners
        self._ready: dict[tuple[str, str, str], tuple[Manifest, Ready]] = {}
        self._heads: dict[bytes, Own] = {}
        self._looked: dict[Shelf, int] = {}

    def recall(self, head: bytes) -> Own | None:
        """Return what is to be sent to a head that was answered before, if that is still so."""
        own = self._heads.get(key := _hashed(head))
        if own is None:
            return None
        same = own.session.pins.get(own.pin.chapter) is own.pin and self._look(own.shelf) == own.generation
        if same and self._sessions.is_at_hand(own.session):
            return own
        del self._heads[key]
        return None

    def find(self, head: bytes, asked: Asked) -> Own | None:
        """Return a manifest that the living session has asked for before; None is the ordinary path's to answer."""
        _, _, capability, *names = asked.path.decode("ascii").split("/")
        if not 2 <= len(names) <= 3 or b"%" in asked.path:
            return None
        session = self._sessions.at_hand(capability)
        pin = session.pins.get(names[0]) if session else None
        if session is None or pin is None or not pin.asked:
            return None
        try:
            shelf = self._library.shelf(names[0])
            generation = self._look(shelf)
            ready = self._written(session, names)
        except (ServerError, EncoderError):
            return None
        if len(self._heads) >= _MOST:
            self._heads.clear()
        shown = replace(asked, path=redacted(asked.path.decode()).encode())
        own = Own(session, pin, shelf, generation, shown, ready)
        if not asked.cmcd:
            self._heads[_hashed(head)] = own
        return own

    def _written(self, session: Session, names: list[str]) -> Ready:
        """Return the manifest of a chapter, or of a chapter's version; raises ChapterUnknown, NotFound."""
        of_version = len(names) == 3
        edition = self._sessions.edition(session, names[0], names[1] if of_version else None)
        manifest = own_manifest(edition, names[-1], of_version=of_version)
        key = (names[0], edition.presentation.version, names[-1])
        found = self._ready.get(key)
        if found is None or found[0] is not manifest:
            if len(self._ready) >= _MOST:
                self._ready.clear()
            found = self._ready[key] = manifest, ready_manifest(manifest, self._manners, _TIMING)
        return found[1]

    def _look(self, shelf: Shelf) -> int:
        """Return the shelf's generation; it is looked at once in a round of the loop."""
        if (generation := self._looked.get(shelf)) is None:
            if not self._looked:
                asyncio.get_running_loop().call_soon(self._looked.clear)
            generation = self._looked[shelf] = shelf.look()
        return generation


def _hashed(head: bytes) -> bytes:
    return blake2b(head, digest_size=16).digest()
