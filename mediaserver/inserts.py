"""Inserts: the personal segments that fill a slot, in memory as a set of names and on disk as fragments."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import aiofiles

from encoder.model import Presentation, Slot
from lipsync.protocols import Fragment
from mediaserver.pulse import Pulse
from mediaserver.vault import private_folder

State = Literal["waiting", "rendering", "ready", "failed"]
Name = tuple[str, int]


@dataclass(slots=True)
class Insert:
    """What is known of one slot of one session: which fragments it needs and which of them can be served.

    A name is (rendition id, number of the segment). `pulse` belongs to the session and is fired at every change.
    """

    session: str
    chapter: str
    version: str
    slot: str
    wanted: frozenset[Name]
    pulse: Pulse
    state: State = "waiting"
    done: set[Name] = field(default_factory=set)
    began_s: float | None = None

    def become(self, state: State) -> None:
        self.state = state
        self.pulse.fire()

    def add(self, name: Name) -> None:
        self.done.add(name)
        self.pulse.fire()

    @property
    def complete(self) -> bool:
        return self.done >= self.wanted

    @property
    def progress(self) -> float:
        """Share of the fragments that can be served, 0..1."""
        return len(self.done) / len(self.wanted) if self.wanted else 1.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A fragment on disk."""

    path: Path
    size: int


def fragments_of(presentation: Presentation, slot: Slot) -> frozenset[Name]:
    """Return the names of all fragments that the personal manifests name inside `slot`."""
    renditions = [r.id for r in presentation.videos if r.insert]
    return frozenset((rendition, number) for rendition in renditions for number in presentation.segments_of(slot))


class InsertStore:
    """state/inserts/<session>/<chapter>/<version>/<slot>/<rendition>/<n>.m4s, for the server alone."""

    def __init__(self, state: Path) -> None:
        self._folder = private_folder(state / "inserts")

    async def write(self, insert: Insert, fragment: Fragment) -> None:
        """Write a fragment whole; from the return on it can be served.

        A write under way cannot be cancelled: who cancels this call gets control only when nothing can appear on disk
        any more.
        """
        path = self._path(insert, (fragment.rendition, fragment.number))
        writing = asyncio.ensure_future(_write(path, fragment.data))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise

    async def drop(self, insert: Insert) -> None:
        """Delete what there is of one insert."""
        await asyncio.to_thread(shutil.rmtree, self._slot(insert), ignore_errors=True)

    async def drop_session(self, session: str) -> None:
        """Delete everything of a session; raises OSError if any of it could not be deleted."""
        await asyncio.to_thread(_remove, self._folder / session)

    def found(self, insert: Insert) -> set[Name]:
        """Return the wanted fragments that lie on disk and are not empty."""
        return {name for name in insert.wanted if self.stored(insert, name)}

    def stored(self, insert: Insert, name: Name) -> Stored | None:
        """Return the file of a fragment, or None if there is none or an empty one."""
        path = self._path(insert, name)
        try:
            size = path.stat().st_size
        except OSError:
            return None
        return Stored(path, size) if size else None

    def strays(self, sessions: Iterable[str]) -> list[str]:
        """Return the folders of sessions that are none of `sessions`: left by a crash in the middle of a delete."""
        known = set(sessions)
        return [path.name for path in self._folder.iterdir() if path.name not in known]

    def _path(self, insert: Insert, name: Name) -> Path:
        rendition, number = name
        return self._slot(insert) / rendition / f"{number}.m4s"

    def _slot(self, insert: Insert) -> Path:
        return self._folder / insert.session / insert.chapter / insert.version / insert.slot


async def _write(path: Path, data: bytes) -> None:
    for folder in reversed(path.parents[:5]):
        folder.mkdir(mode=0o700, exist_ok=True)
    part = path.with_suffix(".part")
    async with aiofiles.open(part, "wb") as file:
        await file.write(data)
    part.rename(path)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
