"""A slot: the time window of a chapter that is personal, and where in the picture the face is."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Placement:
    """A rectangle in the picture; all four are fractions 0..1 of its width or height."""

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True)
class Slot:
    """The time window of a chapter that is personal; files are names inside the version's folder.

    `mezzanine` holds the chapter's own frames of all touched segments, near-lossless, at the size of the top rung.
    `narration` is the window's speech as 16 kHz mono WAV, `track` its baked mouth track; none of the three is served.
    `grain` is the strength of the film's grain that the face gets, in 8-bit levels (standard deviation); `life` says
    whether it blinks and its head sways a little, where `compose` is "moving".
    """

    id: str
    start_s: Fraction
    duration_s: Fraction
    face: Placement
    compose: Literal["moving", "still"] = "moving"
    speaker_consent: str = ""
    mask: str | None = None
    grain: float = 0.0
    life: bool = True

    @property
    def mezzanine(self) -> str:
        return f"slot_{self.id}.mezzanine.mp4"

    @property
    def narration(self) -> str:
        return f"slot_{self.id}.narration.wav"

    @property
    def track(self) -> str:
        return f"slot_{self.id}.track.npz"

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "start_s": str(self.start_s),
            "duration_s": str(self.duration_s),
            "face": {"x": self.face.x, "y": self.face.y, "w": self.face.w, "h": self.face.h},
            "compose": self.compose,
            "speaker_consent": self.speaker_consent,
            "mask": self.mask,
            "grain": self.grain,
            "life": self.life,
        }

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Slot:
        """Raises KeyError, TypeError or ValueError on anything but what `to_json` gave."""
        return cls(
            id=said["id"],
            start_s=Fraction(said["start_s"]),
            duration_s=Fraction(said["duration_s"]),
            face=Placement(**said["face"]),
            compose=said["compose"],
            speaker_consent=said["speaker_consent"],
            mask=said["mask"],
            grain=said.get("grain", 0.0),
            life=said.get("life", True),
        )
