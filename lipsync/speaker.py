"""What lets faces speak: the shipped engine, or Wav2Lip on the operator's own checkpoint; both are one type here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Protocol

from lipsync.box import Box
from lipsync.face import Face
from lipsync.mouthnet import MouthNet
from lipsync.narration import ENGINE, Floats, analyse
from lipsync.planes import Planes
from lipsync.protocols import EngineName
from lipsync.renderer import Renderer


class Mouth(Protocol):
    """One face, ready to speak. `box`, in even pixels, is the part of its picture that ever changes."""

    box: Box

    def expect(self, states: Iterable[Sequence[float]]) -> None:
        """Be told which states will be asked for, in their order."""
        ...

    def patch(self, state: Sequence[float]) -> Planes:
        """Return the planes of `box`; for the state asked for last the same object. Do not write to it."""
        ...


class Speaker(Protocol):
    """An engine, loaded once for all faces. `track` names the kind of its mouth tracks."""

    track: str

    def analyse(self, samples: Floats, rate: Fraction, frames: int, early: Fraction = Fraction(0)) -> Floats:
        """Return (frames, n), what a mouth wants to know of each picture: first narration.PARAMETERS, at its times."""
        ...

    def mouth(self, face: Face) -> Mouth:
        """Return the mouth of a photo."""
        ...

    def passing_mouth(self, face: Face) -> Mouth:
        """Return the mouth of one picture of a video, which will be asked for one state."""
        ...


class DrawnSpeaker:
    """The shipped engine: the photo's own pixels moved, and the tone of the mouth network over them.

    In videos it draws without the network, whose conditioning takes longer than a picture may, for every new face.
    Raises ModelMissing.
    """

    track = ENGINE

    def __init__(self) -> None:
        self._net = MouthNet.load()

    def analyse(self, samples: Floats, rate: Fraction, frames: int, early: Fraction = Fraction(0)) -> Floats:
        return analyse(samples, rate, frames, early)

    def mouth(self, face: Face) -> Mouth:
        return Renderer(face, self._net)

    def passing_mouth(self, face: Face) -> Mouth:
        return Renderer(face)


def speaker_of(engine: EngineName) -> Speaker:
    """Return an engine, loaded. Raises ModelMissing, NotConverted."""
    if engine == "drawn":
        return DrawnSpeaker()
    from lipsync.checkpoint import converted  # noqa: PLC0415 - for those who have one
    from lipsync.wav2lip import Wav2LipSpeaker  # noqa: PLC0415

    return Wav2LipSpeaker(converted())
