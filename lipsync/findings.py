"""What can be said of a video file: its Content Credentials and its invisible mark, each in a plain sentence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from encoder.errors import ToolFailed
from encoder.tools import Tools
from lipsync.markreader import Reading, read_mark
from lipsync.provenance import Credentials, read_credentials


@dataclass(frozen=True, slots=True)
class Findings:
    """`playable` is False where no picture could be decoded, and so no mark be looked for."""

    credentials: Credentials | None
    mark: Reading | None
    playable: bool

    @property
    def made_from_a_face(self) -> bool:
        """Whether anything shows that this software made the pictures: a mark, or intact credentials that say so."""
        return self.mark is not None or (
            self.credentials is not None and self.credentials.intact and self.credentials.says_ai
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """Return one sentence for each finding, the absent ones too."""
        return (*_of_credentials(self.credentials), _of_mark(self.mark, self.playable), *self._of_both())

    def _of_both(self) -> tuple[str, ...]:
        if self.mark is None or self.credentials is None or self.credentials.render_id is None:
            return ()
        if self.mark.render_id == self.credentials.render_id:
            return ("The mark in the pictures is the one that the Content Credentials name.",)
        return (
            "The mark in the pictures is not the one that the Content Credentials name: they belong to another video.",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the same for programs; numbers of renders are 8 hexadecimal digits."""
        credentials = asdict(self.credentials) if self.credentials else None
        mark = asdict(self.mark) if self.mark else None
        for part in (credentials, mark):
            if part and part["render_id"] is not None:
                part["render_id"] = f"{part['render_id']:08x}"
        return {
            "made_from_a_face": self.made_from_a_face,
            "sentences": list(self.sentences),
            "credentials": credentials,
            "mark": mark,
        }


def inspect(path: Path, anchors: str = "", tools: Tools | None = None) -> Findings:
    """Look at any file; nothing but the file itself is opened. Raises OSError if it cannot be read, ToolMissing."""
    credentials = read_credentials(path, anchors)
    try:
        return Findings(credentials, read_mark(path, tools), playable=True)
    except ToolFailed:
        return Findings(credentials, None, playable=False)


def _of_credentials(found: Credentials | None) -> tuple[str, ...]:
    if found is None:
        return ("No Content Credentials are in the file; most programs and sites take them off.",)
    if not found.intact:
        return (f"The Content Credentials do not hold: {'; '.join(found.problems) or 'they are damaged'}.",)
    signer = f"{found.signer!r}" if found.signer else "an unnamed signer"
    trust = "who is trusted here" if found.trusted else "who is not known here, so anybody may have signed"
    generator = f"{found.generator!r}" if found.generator else "an unnamed program"
    said = "parts of the pictures were made by AI" if found.says_ai else "nothing of AI"
    return (
        f"The Content Credentials are whole: nothing was changed since {signer} signed, {trust}.",
        f"They say: made with {generator}; {said}.",
    )


def _of_mark(found: Reading | None, playable: bool) -> str:
    if found is not None:
        return (
            f"An invisible mark was read between {found.start_s} s and {found.end_s} s: render {found.render_id:08x}, "
            "a scene that was made from a photo of a face."
        )
    if not playable:
        return "No picture of the file can be decoded, so no invisible mark could be looked for."
    return "No invisible mark was found in the pictures."
