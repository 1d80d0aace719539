"""Inserts: the personal segments that fill a slot, in memory as a set of names and on disk as fragments."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Literal

import aiofiles

from encoder.model import Presentation, Slot
from lipsync.protocols import Fragment, Stamp
from mediaserver.pulse import Pulse
from mediaserver.vault import not_to_be_kept, private_folder

State = Literal["waiting", "rendering", "ready", "failed"]
Name = tuple[str, int]


@dataclass(slots=True)
class Insert:
    """What is known of one slot of one session: which fragments it needs and which of them can be served.

    A name is (rendition id, number of the segment). `renditions` are ids, the largest picture first; `segments` are
    those that the insert replaces. `first` is the rung that is made first, `near` the segment that the viewer is about
    to need, `due_s` the loop's time at which that will be on screen. `render_id` is the number of the invisible mark,
    `stamp` the visible label. `pulse` belongs to the session and is fired at
    every change.
    """

    session: str
    chapter: str
    version: str
    slot: str
    compose: str
    renditions: tuple[str, ...]
    segments: range
    pulse: Pulse
    render_id: int = field(default_factory=lambda: secrets.randbits(32))
    stamp: Stamp = field(default_factory=Stamp)
    state: State = "waiting"
    done: set[Name] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    near: int = 0
    due_s: float = inf

    @classmethod
    def of(cls, session: str, presentation: Presentation, slot: Slot, pulse: Pulse) -> Insert:
        """Return the insert of a slot, of which nothing is made yet."""
        p, segments = presentation, presentation.carried_by(slot)
        renditions = tuple(r.id for r in p.videos if r.insert)
        return cls(session, p.chapter, p.version, slot.id, slot.compose, renditions, segments, pulse)

    @property
    def wanted(self) -> frozenset[Name]:
        return frozenset((rendition, number) for rendition in self.renditions for number in self.segments)

    @property
    def first(self) -> str:
        """The rung asked for first; the middle one until a segment is asked for."""
        return self.asked[0] if self.asked else self.renditions[len(self.renditions) // 2]

    @property
    def others(self) -> tuple[str, ...]:
        return tuple(rendition for rendition in self.renditions if rendition != self.first)

    def become(self, state: State) -> None:
        self.state = state
        self.pulse.fire()

    def add(self, name: Name) -> None:
        self.done.add(name)
        self.pulse.fire()

    def ask(self, rendition: str, number: int, due_s: float) -> None:
        """Note what the viewer's player has asked for, and when it will be on screen."""
        if rendition not in self.asked:
            self.asked.append(rendition)
        self.near, self.due_s = number, due_s

    @property
    def complete(self) -> bool:
        return self.done >= self.wanted

    @property
    def watchable(self) -> bool:
        """Whether one rung is whole: the viewer no longer waits for a first one."""
        return not self.missing((self.first,))

    def missing(self, renditions: Sequence[str]) -> list[int]:
        """Return the segments that at least one of the renditions lacks."""
        return [n for n in self.segments if any((rendition, n) not in self.done for rendition in renditions)]

    def piece(self) -> tuple[tuple[str, ...], range]:
        """Return what is to be made next, renditions and segments: the first rung alone, then the others.

        A rung that has been asked for goes before those that have not; segments from the one that is needed next.
        """
        lacking = [rendition for rendition in self.others if self.missing((rendition,))]
        asked = [rendition for rendition in self.asked if rendition in lacking]
        renditions = (self.first,) if not self.watchable else tuple(asked[:1] or lacking)
        watched = bool(self.asked) and renditions[0] in self.asked
        return renditions, _run(self.missing(renditions), self.near if watched else self.segments.start)


def _run(numbers: list[int], near: int) -> range:
    """Return the consecutive numbers from the first that is not before `near`, else from the smallest."""
    if not numbers:
        return range(0)
    first = end = next((number for number in numbers if number >= near), numbers[0])
    while end in numbers:
        end += 1
    return range(first, end)


@dataclass(frozen=True, slots=True)
class SlotView:
    """One slot as its viewer is told of it: its fragments, and the inserts that hold them.

    A segment that two slots share lies in the insert of the first.
    """

    chapter: str
    slot: str
    names: frozenset[Name]
    inserts: tuple[Insert, ...]

    @property
    def progress(self) -> float:
        """Share of the fragments that can be served, 0..1."""
        done = set[Name]().union(*(insert.done for insert in self.inserts)) & self.names
        return len(done) / len(self.names) if self.names else 1.0

    @property
    def state(self) -> State:
        states = {insert.state for insert in self.inserts}
        if "failed" in states:
            return "failed"
        if self.progress == 1:
            return "ready"
        return "rendering" if states - {"waiting"} else "waiting"


def views_of(presentation: Presentation, inserts: dict[str, Insert]) -> list[SlotView]:
    """Return every slot of the chapter, given the inserts by the id of their slot."""
    views = []
    for slot in presentation.slots:
        numbers = presentation.segments_of(slot)
        carriers = {found.id for number in numbers if (found := presentation.slot_at(number))}
        held = tuple(insert for carrier, insert in inserts.items() if carrier in carriers)
        names = frozenset((r.id, number) for r in presentation.videos if r.insert for number in numbers)
        views.append(SlotView(presentation.chapter, slot.id, names, held))
    return views


@dataclass(frozen=True, slots=True)
class Stored:
    """A fragment on disk."""

    path: Path
    size: int


class InsertStore:
    """state/inserts/<session>/<chapter>/<version>/<slot>/<rendition>/<n>.m4s, for the server alone."""

    def __init__(self, state: Path) -> None:
        self._folder = not_to_be_kept(private_folder(state / "inserts"))

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

    def fragment_bytes(self, insert: Insert, name: Name) -> bytes:
        """Return a fragment as it is streamed; raises OSError if it is not there."""
        return self._path(insert, name).read_bytes()

    def keep_number(self, insert: Insert) -> None:
        """Write down the number of the mark beside the fragments, for the credentials of the finished file."""
        path = self._slot(insert) / "render_id"
        path.write_text(f"{insert.render_id:08x}", "ascii")

    def number_of(self, insert: Insert) -> int | None:
        try:
            return int((self._slot(insert) / "render_id").read_text("ascii"), 16)
        except (OSError, ValueError):
            return None

    def finished(self, insert: Insert, slot: str) -> Path:
        """Return where the signed file of a slot lies or will lie; it goes with the insert."""
        return self._slot(insert) / f"{slot}.mp4"

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
        return [path.name for path in self._folder.iterdir() if path.name not in known and path.is_dir()]

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
