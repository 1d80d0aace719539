"""What of the sessions must survive a restart, in SQLite: hashes and times, never a face and never a capability."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mediaserver.vault import private_folder

FILE = "sessions.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS session (
    id TEXT PRIMARY KEY,              -- SHA-256 of the capability's body
    created_s INTEGER NOT NULL,
    used_s INTEGER NOT NULL,
    consent_sha256 TEXT NOT NULL,     -- the text that was shown and agreed to
    consent_version TEXT NOT NULL,
    lang TEXT NOT NULL,
    boxes_sha256 TEXT NOT NULL DEFAULT '', -- the words of the boxes that were ticked
    via TEXT NOT NULL DEFAULT 'page'
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pin (
    session TEXT NOT NULL REFERENCES session ON DELETE CASCADE,
    chapter TEXT NOT NULL,
    version TEXT NOT NULL,
    asked INTEGER NOT NULL DEFAULT 0, -- whether a personal manifest has been asked for
    PRIMARY KEY (session, chapter)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ready (
    session TEXT NOT NULL REFERENCES session ON DELETE CASCADE,
    chapter TEXT NOT NULL,
    slot TEXT NOT NULL,
    PRIMARY KEY (session, chapter, slot)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tally (     -- how often something has happened; nobody can be found in it
    event TEXT PRIMARY KEY,
    times INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (      -- when a server last looked at its clock
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seen_s INTEGER NOT NULL
) STRICT;
"""
_COLUMNS = "id, created_s, used_s, consent_sha256, consent_version, lang, boxes_sha256, via"
_ADDED = {"boxes_sha256": "TEXT NOT NULL DEFAULT ''", "via": "TEXT NOT NULL DEFAULT 'page'"}
Event = Literal["made", "deleted", "expired", "refused"]
EVENTS: tuple[Event, ...] = ("made", "deleted", "expired", "refused")


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session; times in whole seconds since 1970."""

    id: str
    created_s: int
    used_s: int
    consent_sha256: str
    consent_version: str
    lang: str
    boxes_sha256: str = ""
    via: str = "page"


@dataclass(frozen=True, slots=True)
class PinRow:
    session: str
    chapter: str
    version: str
    asked: bool


def pinned_versions(state: Path, chapter: str) -> set[str]:
    """Return the versions of a chapter that living sessions play, whichever process serves them."""
    path = state / FILE
    if not path.is_file():
        return set()
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        return {version for (version,) in db.execute("SELECT version FROM pin WHERE chapter = ?", (chapter,))}


class Ledger:
    """The rows; every method is one short transaction. For one thread."""

    def __init__(self, state: Path) -> None:
        path = private_folder(state) / FILE
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;"
            "PRAGMA secure_delete = ON;" + _SCHEMA
        )
        self._complete()

    def _complete(self) -> None:
        """Add the columns that a book of an earlier version lacks."""
        there = {row[1] for row in self._db.execute("PRAGMA table_info(session)")}
        for column, kind in _ADDED.items():
            if column not in there:
                self._db.execute(f"ALTER TABLE session ADD COLUMN {column} {kind}")
        self._db.execute("PRAGMA user_version = 2")

    def close(self) -> None:
        self._db.close()

    def sessions(self) -> list[SessionRow]:
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM session")  # noqa: S608 - our own words
        return [SessionRow(*row) for row in rows]

    def pins(self) -> list[PinRow]:
        rows = self._db.execute("SELECT session, chapter, version, asked FROM pin")
        return [PinRow(session, chapter, version, bool(asked)) for session, chapter, version, asked in rows]

    def ready(self) -> set[tuple[str, str, str]]:
        """Return (session, chapter, slot) of every insert that was finished."""
        return set(self._db.execute("SELECT session, chapter, slot FROM ready"))

    def add(self, row: SessionRow) -> None:
        agreed = (row.consent_sha256, row.consent_version, row.lang, row.boxes_sha256, row.via)
        values = (row.id, row.created_s, row.used_s, *agreed)
        self._db.execute(f"INSERT INTO session ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608

    def pin(self, row: PinRow) -> None:
        values = (row.session, row.chapter, row.version, int(row.asked))
        self._db.execute("INSERT OR REPLACE INTO pin VALUES (?, ?, ?, ?)", values)

    def mark_ready(self, session: str, chapter: str, slot: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO ready VALUES (?, ?, ?)", (session, chapter, slot))

    def unmark(self, session: str) -> None:
        """Forget that any insert of the session was ready: its photo has been replaced."""
        self._db.execute("DELETE FROM ready WHERE session = ?", (session,))

    def touch(self, used_s: Iterable[tuple[str, int]]) -> None:
        """Note the last use of sessions, as (session, seconds)."""
        self._db.execute("BEGIN")
        self._db.executemany("UPDATE session SET used_s = ?2 WHERE id = ?1", used_s)
        self._db.execute("COMMIT")

    def count(self, event: Event) -> None:
        """Note that something has happened once more."""
        self._db.execute("INSERT INTO tally VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1", (event,))

    def tally(self) -> dict[Event, int]:
        """Return how often each event has happened, ever."""
        found = dict(self._db.execute("SELECT event, times FROM tally"))
        return {event: found.get(event, 0) for event in EVENTS}

    def seen_s(self) -> int:
        """Return the latest time that was noted, 0 if none was."""
        return next((row[0] for row in self._db.execute("SELECT seen_s FROM seen")), 0)

    def see(self, now_s: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO seen VALUES (1, max(?, ?))", (now_s, self.seen_s()))

    def delete(self, session: str, how: Event) -> None:
        """Delete the session's rows and empty the write-ahead log, so that no copy of them stays in a file."""
        if self._db.execute("DELETE FROM session WHERE id = ?", (session,)).rowcount:
            self.count(how)
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
