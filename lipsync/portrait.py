"""A face that speaks by itself, in its own photo or video: the pictures of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from encoder.tools import Tools
from lipsync.box import Area
from lipsync.clip import Clip
from lipsync.compose import Compositor, Frame, PlacedLabel
from lipsync.errors import NotAPicture, PictureTooLarge
from lipsync.face import Face, FaceFinder
from lipsync.movement import Floats
from lipsync.photo import MAX_BYTES, read_header, read_photo
from lipsync.planes import Planes, part_of, planes_of
from lipsync.protocols import Stamp
from lipsync.speaker import Mouth, Speaker
from lipsync.toning import Toning

RATE = Fraction(25)
"""Pictures in a second of the file."""


class Portrait(Protocol):
    """Pictures of one size, `width` by `height`."""

    width: int
    height: int

    def frames(self, states: Floats, life: Floats) -> Iterator[Frame]:
        """Yield an I420 picture with its label for every state of the mouth."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Means:
    """What portraits are made with."""

    tools: Tools
    finder: FaceFinder
    speaker: Speaker


def portrait_of(path: Path, lines: int, frames: int, stamp: Stamp, means: Means) -> Portrait:
    """Return the face in a picture or video, `lines` high, for as many frames.

    Raises NotAPicture, PictureTooLarge, PhotoRefused.
    """
    try:
        with path.open("rb") as file:
            start = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise NotAPicture(f"{path.name!r} cannot be opened") from error
    if _is_picture(start):
        photo = read_photo(start)
        height, width = photo.shape[:2]
        face = means.finder.find(photo).scaled(max(2, 2 * round(width * lines / height / 2)), lines)
        return PhotoPortrait(face, stamp, means.speaker)
    clip = Clip.read(path, lines, frames, rate=RATE, tools=means.tools, finder=means.finder)
    if len(clip) == 1:  # a picture of another kind, which FFmpeg could read
        only = clip.frame(0)[1]
        clip.close()
        assert only is not None
        return PhotoPortrait(only, stamp, means.speaker)
    return ClipPortrait(clip, stamp, means.speaker)


def _is_picture(start: bytes) -> bool:
    """Whether a file begins as one of the picture kinds does, be it damaged or not."""
    try:
        read_header(start)
    except PictureTooLarge:
        return True
    except NotAPicture:
        return start.startswith((b"\xff\xd8\xff", b"\x89PNG")) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
    return True


class PhotoPortrait:
    """A photo: all but the mouth stands still, but for the signs of life."""

    def __init__(self, face: Face, stamp: Stamp, speaker: Speaker) -> None:
        self._compositor = Compositor.portrait(face, stamp, speaker.mouth)
        self.height, self.width = face.picture.shape[:2]

    def frames(self, states: Floats, life: Floats) -> Iterator[Frame]:
        still = self._compositor.blank()
        self._compositor.expect(states)
        for state, signs in zip(states, life, strict=True):
            yield self._compositor.compose(still, state, signs)

    def close(self) -> None:
        """Nothing is open."""


class ClipPortrait:
    """A video: head and eyes move as they do there, the mouth alone is replaced, where the face is seen."""

    def __init__(self, clip: Clip, stamp: Stamp, speaker: Speaker) -> None:
        self._clip, self._speaker = clip, speaker
        self.height, self.width = clip.frame(0)[0].shape[:2]
        self._label = PlacedLabel(Area(0, 0, self.width, self.height), self.height, stamp)
        picture, face, _ = next(seen for number in range(len(clip)) if (seen := clip.frame(number))[1] is not None)
        assert face is not None
        self._toning = Toning.of(face, planes_of(picture))

    def frames(self, states: Floats, life: Floats) -> Iterator[Frame]:
        for number, state in enumerate(states):
            picture, face, strength = self._clip.frame(number)
            mouth = None if face is None else self._speaker.passing_mouth(face)
            planes = planes_of(picture)
            if mouth:
                _replace_mouth(planes, mouth, state, strength)
                if self._toning:
                    self._toning.over(planes, mouth.box)
            frame = np.concatenate([plane.ravel() for plane in planes]).reshape(-1, self.width)
            self._label.stamp(frame)
            yield frame

    def close(self) -> None:
        self._clip.close()


def _replace_mouth(planes: Planes, mouth: Mouth, state: Floats, strength: float) -> None:
    for part, new in zip(part_of(planes, mouth.box), mouth.patch(state.tolist()), strict=True):
        cv2.addWeighted(new, strength, part, 1 - strength, 0, part)
