"""The rungs of a ladder as frozen values: sizes, codecs, qualities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from encoder.grid import Grid
from encoder.master import Sound, Track, Transfer

Codec = Literal["h264", "av1", "hevc", "vp9"]
# What the codecs parameter (RFC 6381) of each begins with, in the order of their sets.
CODECS: dict[Codec, str] = {"h264": "avc1.", "av1": "av01.", "hevc": "hvc1.", "vp9": "vp09."}
# Where a rendition's transparency lies: nowhere, in the codec's own second layer, or in the picture, below the colours.
Layer = Literal["", "own", "stacked"]


@dataclass(frozen=True, slots=True)
class Choices:
    """What an installation wants of every ladder.

    `ladder` is "title" (each rung's quality chosen for this film) or "film" (the fixed 8, 5 and 2.5 Mb/s); `loudness`
    brings every sound to EBU R128.
    """

    ladder: Literal["title", "film"] = "title"
    av1: bool = True
    hevc: bool = False
    loudness: bool = False


@dataclass(frozen=True, slots=True)
class Rung:
    """One picture size of the ladder in one codec; rates in bits per second. `level` is H.264's.

    Without `crf` the rate is always about `maxrate_bps`. A `transfer` that is not "sdr" is the master's own. A stacked
    picture is higher than `height`, which is what is seen of it. A trick-play rung has one frame in `every`, all key
    frames.
    """

    name: str
    width: int
    height: int
    crf: int | None
    maxrate_bps: int
    level: str
    codec: Codec = "h264"
    transfer: Transfer = "sdr"
    alpha: Layer = ""
    every: int = 1

    @property
    def rendition(self) -> str:
        kind = "video" if self.every == 1 else "trick"
        return f"{kind}_{self.name}_{self.codec}" + ("_stacked" if self.alpha == "stacked" else "")

    @property
    def file(self) -> str:
        return f"{self.rendition}.{'webm' if self.codec == 'vp9' else 'mp4'}"


@dataclass(frozen=True, slots=True)
class Ladder:
    """The rungs, codec by codec, largest first, on one grid, with the sounds beside them, the main one first."""

    grid: Grid
    rungs: tuple[Rung, ...]
    tracks: tuple[Track, ...]

    @property
    def sound(self) -> Sound | None:
        return self.tracks[0].sound if self.tracks else None
