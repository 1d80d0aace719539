"""What is known of an editor's file once it has been looked at."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

# ITU-R BT.2100's "pq" and "hlg" are more than a common screen shows.
Transfer = Literal["sdr", "pq", "hlg"]
Alpha = Literal["", "straight", "premultiplied"]


@dataclass(frozen=True, slots=True)
class Sound:
    """One audio track; `language` is a BCP 47 tag."""

    channels: int
    sample_rate_hz: int
    language: str

    @property
    def is_surround(self) -> bool:
        """Whether it is there beside the stereo that every client gets."""
        return self.channels > 2


@dataclass(frozen=True, slots=True)
class Track:
    """Where a sound comes from: the `number`-th audio stream of a file, to be changed by `gain_db`.

    `channels` are the stream's own, of which `sound` is mixed.
    """

    path: Path
    number: int
    sound: Sound
    gain_db: float = 0.0
    channels: int = 2


@dataclass(frozen=True, slots=True)
class Screen:
    """Primaries (green, blue, red) and white as CIE 1931 x, y; the brightest and darkest light in cd/m2.

    `content` is the brightest pixel and the brightest mean of a picture, in cd/m2.
    """

    points: tuple[tuple[Fraction, Fraction], ...]
    nits: tuple[Fraction, Fraction]
    content: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Footage:
    """What the pictures of a master need before they can be scaled.

    `number` counts the file's video streams; `fields` says which field comes first if a picture is two of them;
    `transfer` is the light's curve. `alpha` says how a transparent master keeps its colours: as they are, or multiplied
    by alpha. `matrix` is theirs if the file does not tell of it. `screen` is what an HDR10 master was made on.
    """

    number: int = 0
    fields: Literal["", "tff", "bff"] = ""
    transfer: Transfer = "sdr"
    alpha: Alpha = ""
    matrix: Literal["", "bt709"] = ""
    screen: Screen | None = None


@dataclass(frozen=True, slots=True)
class Master:
    """What ffprobe says of an editor's file, checked. Sizes are of the displayed picture, in square pixels.

    `rate` and `frames` are those that the chapter gets; `notes` tells the editor in sentences what is made different.
    """

    path: Path
    width: int
    height: int
    rate: Fraction
    frames: int
    tracks: tuple[Track, ...]
    bytes: int
    footage: Footage = Footage()
    notes: tuple[str, ...] = ()

    @property
    def duration_s(self) -> Fraction:
        return self.frames / self.rate

    @property
    def sound(self) -> Sound | None:
        """The main sound."""
        return self.tracks[0].sound if self.tracks else None
