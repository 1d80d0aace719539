"""The published chapters: an index of media/ that opens files, so that no request path ever does."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from encoder.errors import BadPresentation
from encoder.model import Presentation
from mediaserver.encodings import codings_for, packed
from mediaserver.errors import ChapterUnknown, NotFound
from mediaserver.ranges import Representation, mime_of

IMMUTABLE = "public, max-age=31536000, immutable"
SHORT_LIVED = "public, max-age=2"
PRIVATE = "private, no-store"

# A folder that is still being written ends in ".part" and is no version yet.
_NAME = re.compile(r"(?!\.)(?!.*\.part$)[\w.-]{1,80}")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file that may be sent; its path was found by listing the folder, not by asking for it."""

    path: Path
    representation: Representation

    def open(self) -> BinaryIO:
        """Open it for reading; raises NotFound if it has been taken away since it was listed."""
        return open_plain(self.path)


def open_plain(path: Path) -> BinaryIO:
    """Open a regular file without following a last symbolic link; raises NotFound."""
    try:
        return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0)
    except OSError as error:
        raise NotFound from error


@dataclass(frozen=True, slots=True)
class Manifest:
    """The text of an MPD or playlist with its representation; `packed` are shorter ones of the same text, by coding."""

    body: bytes
    representation: Representation
    packed: Mapping[str, Manifest] = field(default_factory=dict)

    @classmethod
    def of(cls, body: bytes, mime: str, cache: str, etag: str | None) -> Manifest:
        """Return a text with its packed forms; `etag` is that of the plain one."""
        plain = Representation(len(body), mime, cache, etag, varies="Accept-Encoding")
        short = {
            coding: cls(text, replace(plain, size=len(text), etag=etag and f"{etag}-{coding}", coding=coding))
            for coding, text in packed(body).items()
        }
        return cls(body, plain, short)

    def for_client(self, accepted: str | None) -> Manifest:
        """Return the form that a client with such an Accept-Encoding takes best."""
        return next((self.packed[coding] for coding in codings_for(accepted) if coding in self.packed), self)


@dataclass(frozen=True, slots=True)
class Edition:
    """One version of a chapter: its presentation and exactly the files that the presentation's renditions name."""

    presentation: Presentation
    folder: Path
    files: Mapping[str, PublishedFile]
    _manifests: dict[str, Manifest] = field(default_factory=dict)

    def manifest(self, name: str, cache: str, write: Callable[[], str]) -> Manifest:
        """Return the manifest kept under `name`, written the first time it is asked for.

        What may be cached gets a strong ETag; what may not is never asked for conditionally.
        """
        kept = self._manifests.get(name)
        if kept is None:
            body = write().encode()
            etag = None if cache == PRIVATE else sha256(body).hexdigest()[:32]
            kept = Manifest.of(body, mime_of(name), cache, etag)
            self._manifests[name] = kept
        return kept


def load_edition(folder: Path) -> Edition:
    """Read a version's folder; raises BadPresentation."""
    presentation = Presentation.load(folder)
    names = presentation.files
    with os.scandir(folder) as entries:
        regular = [e for e in entries if e.name in names and e.is_file(follow_symlinks=False)]
    files = {entry.name: _published(folder / entry.name, entry.stat(follow_symlinks=False)) for entry in regular}
    return Edition(presentation, folder, MappingProxyType(files))


def _published(path: Path, status: os.stat_result) -> PublishedFile:
    etag = f"{status.st_mtime_ns:x}-{status.st_size:x}"
    return PublishedFile(
        path, Representation(status.st_size, mime_of(path.name), IMMUTABLE, etag, int(status.st_mtime))
    )


class Shelf:
    """All versions of one chapter; looks at its folder again whenever the folder or `current` has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: tuple[int, ...] = ()
        self._generation = 0
        self._versions: frozenset[str] = frozenset()
        self._editions: dict[str, Edition] = {}
        self._current: str | None = None

    def current(self) -> Edition | None:
        """Return the edition that `current` names, or the last good one if that cannot be read."""
        self._look()
        return self._editions.get(self._current) if self._current else None

    def edition(self, version: str) -> Edition | None:
        """Return a version that still lies in the folder, current or not."""
        self._look()
        return self._load(version)

    def look(self) -> int:
        """Return a number that is another one whenever the folder or `current` has changed."""
        self._look()
        return self._generation

    def _look(self) -> None:
        stamp = _stamp(self._folder, self._folder / "current")
        if stamp == self._stamp:
            return
        self._versions = _folders(self._folder)
        self._editions = {name: e for name, e in self._editions.items() if name in self._versions}
        named = _read_name(self._folder / "current")
        if named and self._load(named):
            self._current = named
        elif self._current not in self._editions or not stamp:
            self._current = None
        self._stamp = stamp
        self._generation += 1

    def _load(self, version: str) -> Edition | None:
        if version not in self._versions:
            return None
        if version not in self._editions:
            try:
                self._editions[version] = load_edition(self._folder / version)
            except (BadPresentation, OSError) as error:
                _log.warning("%s", error)
                return None
        return self._editions[version]


class Looked(dict[Shelf, int]):
    """The generations of shelves; each folder is looked at once in a round of the loop."""

    def __missing__(self, shelf: Shelf) -> int:
        if not self:
            asyncio.get_running_loop().call_soon(self.clear)
        generation = self[shelf] = shelf.look()
        return generation


def _stamp(*paths: Path) -> tuple[int, ...]:
    """Return what changes when one of the paths is replaced; () if the folder or `current` is missing."""
    try:
        found = [os.stat(path, follow_symlinks=False) for path in paths]
    except OSError:
        return ()
    return tuple(number for s in found for number in (s.st_ino, s.st_mtime_ns, s.st_ctime_ns))


def _folders(folder: Path) -> frozenset[str]:
    """Return the names of real sub-folders; symbolic links are not followed out of media/."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(e.name for e in entries if _NAME.fullmatch(e.name) and e.is_dir(follow_symlinks=False))
    except OSError:
        return frozenset()


def _read_name(path: Path) -> str | None:
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if _NAME.fullmatch(text) else None


class Library:
    """Every chapter under `media`; a newly published one is there at the next request."""

    def __init__(self, media: Path) -> None:
        self._media = media
        self._shelves: dict[str, Shelf] = {}

    def current(self, chapter: str) -> Edition:
        """Return the edition that a new viewer gets; raises ChapterUnknown."""
        edition = self.shelf(chapter).current()
        if edition is None:
            raise ChapterUnknown(chapter)
        return edition

    def edition(self, chapter: str, version: str) -> Edition:
        """Return a version that still exists; raises ChapterUnknown or NotFound."""
        edition = self.shelf(chapter).edition(version)
        if edition is None:
            raise NotFound(f"{chapter}/{version}")
        return edition

    def chapters(self) -> list[Edition]:
        """Return the current edition of every published chapter, by name."""
        self._list()
        found = (self._shelves[name].current() for name in sorted(self._shelves))
        return [edition for edition in found if edition]

    def shelf(self, chapter: str) -> Shelf:
        """Return the versions of a chapter; raises ChapterUnknown."""
        if chapter not in self._shelves:
            self._list()
        shelf = self._shelves.get(chapter)
        if shelf is None:
            raise ChapterUnknown(chapter)
        return shelf

    def _list(self) -> None:
        names = _folders(self._media)
        self._shelves = {name: self._shelves.get(name) or Shelf(self._media / name) for name in sorted(names)}
