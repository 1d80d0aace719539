"""What the server needs of lip-sync, as types; no picture code is imported here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Fragment:
    """One encoded segment (moof + mdat) of an insert: rendition id, number on the chapter's grid, bytes."""

    rendition: str
    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Take:
    """One piece of a render: these segments of `slot`, of the version in `folder`, for these renditions."""

    folder: Path
    slot: str
    renditions: tuple[str, ...]
    segments: range


@dataclass(frozen=True, slots=True)
class Examined:
    """An accepted photo: the face in the renderer's own form, and the picture as it is kept, without metadata.

    Both are for memory alone; the face, with its landmarks, no longer than until its renders are done.
    """

    face: bytes
    photo: bytes


class FaceWorker(Protocol):
    """A warm process that looks at photos and renders inserts; one call at a time."""

    async def examine(self, photo: bytes) -> Examined:
        """Look for the one face of a photo; the caller keeps what is returned in memory only.

        Raises NotAPicture, PictureTooLarge, PhotoRefused, WorkerDied.
        """
        ...

    def render(self, face: bytes, take: Take) -> AsyncIterator[Fragment]:
        """Yield the fragments of the take, each as soon as it is encoded, those of a rendition in order.

        Closing the iterator stops the work at once. Raises RenderFailed, InsertDoesNotFit, WorkerDied.
        """
        ...

    async def close(self) -> None: ...
