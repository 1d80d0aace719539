"""Which processes on which machines work on the jobs of one PostgreSQL database: each keeps a row of its own fresh."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy
from sqlalchemy import text

_SCHEMA = """
CREATE TABLE IF NOT EXISTS mediaserver_heartbeat (
    executor TEXT PRIMARY KEY,
    seen TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
)
"""
# The number of the lock under which one process at a time looks for the dead; any that nobody else uses.
INHERITANCE = 0x6D656469


class Heartbeat:
    """A name that nobody had before, and its row; the database's clock alone decides who is silent.

    A row that was not refreshed for `silent_s` seconds belongs to a process that has died or is cut off.
    """

    def __init__(self, url: str, silent_s: float) -> None:
        self.name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        # Each look has a connection of its own, so that none can be left open whatever thread ends first.
        self._engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        self._silent_s, self._held = silent_s, False

    @property
    def held(self) -> bool:
        return self._held

    def acquire(self) -> bool:
        """Begin to live; there may be any number of us."""
        with self._engine.begin() as connection:
            # Two processes that create one table at once are an error in PostgreSQL, whatever IF NOT EXISTS says.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": INHERITANCE})
            connection.execute(text(_SCHEMA))
            connection.execute(
                text(
                    "INSERT INTO mediaserver_heartbeat (executor) VALUES (:name) "
                    "ON CONFLICT (executor) DO UPDATE SET seen = clock_timestamp()"
                ),
                {"name": self.name},
            )
        self._held = True
        return True

    def beat(self) -> bool:
        """Say that we live; False if we were taken for dead meanwhile, so that our jobs are others' now."""
        with self._engine.begin() as connection:
            refreshed = connection.execute(
                text(
                    "UPDATE mediaserver_heartbeat SET seen = clock_timestamp() WHERE executor = :name "
                    "AND seen >= clock_timestamp() - make_interval(secs => :silent)"
                ),
                {"name": self.name, "silent": self._silent_s},
            )
        return bool(refreshed.rowcount)

    @contextmanager
    def inheritance(self) -> Iterator[set[str] | None]:
        """Give the names of the living to the one process that may take over jobs now, None to any other."""
        with self._engine.begin() as connection:
            key = {"key": INHERITANCE}
            if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), key).scalar():
                yield None
                return
            connection.execute(
                text(
                    "DELETE FROM mediaserver_heartbeat WHERE seen < clock_timestamp() - make_interval(secs => :silent)"
                ),
                {"silent": self._silent_s},
            )
            yield set(connection.execute(text("SELECT executor FROM mediaserver_heartbeat")).scalars())

    def leads(self) -> bool:
        """Say whether we are the one of the living that speaks for all."""
        with self._engine.begin() as connection:
            first = text(
                "SELECT min(executor) FROM mediaserver_heartbeat "
                "WHERE seen >= clock_timestamp() - make_interval(secs => :silent)"
            )
            return connection.execute(first, {"silent": self._silent_s}).scalar() == self.name

    def is_taken(self) -> bool:
        """Say whether anybody works on the jobs."""
        with self._engine.begin() as connection:
            if connection.execute(text("SELECT to_regclass('mediaserver_heartbeat')")).scalar() is None:
                return False
            alive = text(
                "SELECT count(*) FROM mediaserver_heartbeat "
                "WHERE seen >= clock_timestamp() - make_interval(secs => :silent)"
            )
            return bool(connection.execute(alive, {"silent": self._silent_s}).scalar())

    def release(self) -> None:
        """End: what we had begun is for others at once."""
        if self._held:
            with self._engine.begin() as connection:
                connection.execute(
                    text("DELETE FROM mediaserver_heartbeat WHERE executor = :name"), {"name": self.name}
                )
            self._held = False
        self._engine.dispose()
