"""What the server needs of lip-sync, as types; no picture code is imported here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

Corner = Literal["top-right", "top-left", "bottom-right", "bottom-left"]
EngineName = Literal["drawn", "wav2lip"]
"""What lets faces speak: the shipped engine, or one on a checkpoint that the operator supplies."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """One encoded segment (moof + mdat) of an insert: rendition id, number on the chapter's grid, bytes."""

    rendition: str
    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Stamp:
    """The visible label: its words and the corner of the face's rectangle in which it stands."""

    text: str = "AI"
    place: Corner = "top-right"


@dataclass(frozen=True, slots=True)
class Take:
    """One piece of a render: these segments of `slot`, of the version in `folder`, for these renditions.

    `render_id` is the number of the invisible mark, 32 random bits: the same for every take of one render.
    """

    folder: Path
    slot: str
    renditions: tuple[str, ...]
    segments: range
    render_id: int
    stamp: Stamp = Stamp()


@dataclass(frozen=True, slots=True)
class Signing:
    """Who signs finished files: this server's own authority in the folder `keys`, or an operator's certificate.

    `certificate`, `key` and `anchors` are files in PEM; empty where there is none.
    """

    keys: Path
    certificate: str = ""
    key: str = ""
    anchors: str = ""


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

    async def sign(self, video: bytes, title: str, render_id: int | None) -> bytes:
        """Return a finished flat MP4 with Content Credentials; `title` names the scene, never the viewer.

        Raises SigningFailed, WorkerDied.
        """
        ...

    async def inspect(self, video: Path) -> dict[str, Any]:
        """Return what credentials and mark of any file tell, ready for JSON. Raises WorkerDied, RenderFailed."""
        ...

    async def close(self) -> None: ...
