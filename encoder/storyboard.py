"""A chapter at a glance: small pictures on sheets, and the WebVTT that says where on which sheet each one is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from encoder.grid import Grid

WIDTH = 160
COLUMNS = ROWS = 10
INDEX = "storyboard.vtt"


@dataclass(frozen=True, slots=True)
class Storyboard:
    """Pictures at equal distances of time, `columns` x `rows` on each sheet, numbered from 1.

    `width` and `height` are those of one picture; `sizes` has the bytes of every sheet.
    """

    every_s: Fraction
    pictures: int
    columns: int
    rows: int
    width: int
    height: int
    sizes: tuple[int, ...] = ()

    @classmethod
    def of(cls, grid: Grid, width: int, height: int) -> Storyboard:
        """Plan one picture for each frame of a trick-play grid, in the proportions of a picture of that size."""
        columns = min(COLUMNS, grid.frames)
        rows = min(ROWS, -(-grid.frames // columns))
        return cls(1 / grid.rate, grid.frames, columns, rows, WIDTH, max(2, 2 * round(WIDTH * height / width / 2)))

    @property
    def on_sheet(self) -> int:
        return self.columns * self.rows

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(f"storyboard_{n}.jpg" for n in range(1, -(-self.pictures // self.on_sheet) + 1))

    def webvtt(self, duration_s: Fraction) -> str:
        """Return a cue for each picture: its sheet and its place there as a media fragment (W3C, `#xywh=`)."""
        cues = ["WEBVTT"]
        for n in range(self.pictures):
            row, column = divmod(n % self.on_sheet, self.columns)
            place = f"{column * self.width},{row * self.height},{self.width},{self.height}"
            end_s = min((n + 1) * self.every_s, duration_s)
            times = f"{webvtt_time(n * self.every_s)} --> {webvtt_time(end_s)}"
            cues.append(f"{times}\n{self.files[n // self.on_sheet]}#xywh={place}")
        return "\n\n".join(cues) + "\n"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "every_s": str(self.every_s)}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Storyboard:
        """Raises KeyError, TypeError or ValueError on anything but what `to_json` gave."""
        return cls(**{**said, "every_s": Fraction(said["every_s"]), "sizes": tuple(said["sizes"])})


def webvtt_time(seconds: Fraction) -> str:
    """Return hours, minutes, seconds and milliseconds (W3C WebVTT, 4.1)."""
    milli = round(seconds * 1000)
    minutes, rest = divmod(milli, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
