"""Names: which chapter a master makes, and which names none can have."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from encoder.errors import BadChapterName, ReservedChapterName, SameChapterTwice

MASTER_SUFFIXES = frozenset({".mov", ".mp4", ".mkv", ".mxf", ".webm"})
RESERVED = frozenset(
    {
        *("s", "consent", "sessions", "editor", "add-video", "video", "trust", "verify", "avatar", "healthz"),
        *("readyz", "version", "metrics", "api", "assets", "watch", "you"),
    }
)
_SEPARATORS = re.compile(r"[\s'\"`\u2018\u2019\u201c\u201d\u00ab\u00bb]+")
_VALID = re.compile(r"[\w-][\w.-]{0,79}")


def chapter_id(master: Path) -> str:
    """Return the id that a master's file name gives: NFC, runs of spaces and quotes as one '-'.

    Raises BadChapterName, ReservedChapterName.
    """
    stem = unicodedata.normalize("NFC", master.stem)
    name = _SEPARATORS.sub("-", stem).strip("-")
    if not _VALID.fullmatch(name) or ".." in name or name.endswith("."):
        raise BadChapterName(stem)
    if name.casefold() in RESERVED:
        raise ReservedChapterName(name)
    return name


def is_master(path: Path) -> bool:
    """Say whether a file name is one that the watch folder takes; unfinished copies and hidden files are not."""
    return path.suffix.lower() in MASTER_SUFFIXES and not path.name.startswith((".", "~$"))


def check_alone(master: Path, others: Iterable[Path]) -> None:
    """Raise SameChapterTwice if an earlier master of the same folder makes the same chapter (case does not tell apart).

    Earlier means the older file, so that dropping a second one never takes over the first one's chapter.
    """
    own = chapter_id(master).casefold()
    for other in others:
        if other != master and is_master(other) and _folded(other) == own and _is_older(other, master):
            raise SameChapterTwice(master, other, chapter_id(master))


def _folded(master: Path) -> str | None:
    try:
        return chapter_id(master).casefold()
    except (BadChapterName, ReservedChapterName):
        return None


def _is_older(path: Path, than: Path) -> bool:
    """A file that vanishes meanwhile is nobody's rival."""
    try:
        return (path.stat().st_mtime_ns, path.name) < (than.stat().st_mtime_ns, than.name)
    except OSError:
        return False
