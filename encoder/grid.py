"""The constant grid on which every rendition of a chapter is cut (docs/decisions/0004-constant-grid.md)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from encoder.errors import SlotOutsideChapter


@dataclass(frozen=True, slots=True)
class Grid:
    """Segments of the same whole number of frames; the last one may be shorter.

    Times are exact: `rate` is frames per second as a Fraction (30000/1001 stays itself).
    """

    rate: Fraction
    frames_per_segment: int
    frames: int

    @classmethod
    def near(cls, rate: Fraction, frames: int, segment_s: Fraction = Fraction(2)) -> Grid:
        """Return the grid whose segments come nearest to `segment_s` seconds."""
        return cls(rate, max(1, round(rate * segment_s)), frames)

    @property
    def segments(self) -> int:
        return -(-self.frames // self.frames_per_segment)

    @property
    def duration_s(self) -> Fraction:
        return self.frames / self.rate

    def thinned(self, every: int) -> Grid:
        """Return the grid of one frame in `every`, each of which is a segment of its own; of 1 it is this one."""
        return self if every == 1 else Grid(self.rate / every, 1, -(-self.frames // every))

    def frames_of(self, segment: int) -> range:
        first = segment * self.frames_per_segment
        return range(first, min(first + self.frames_per_segment, self.frames))

    def touched_by(self, start_s: Fraction, duration_s: Fraction) -> range:
        """Return the numbers of all segments that share a frame with [start_s, start_s + duration_s).

        Raises SlotOutsideChapter if the window does not lie inside the chapter.
        """
        frames = self.frames_within(start_s, duration_s)
        return range(frames.start // self.frames_per_segment, -(-frames.stop // self.frames_per_segment))

    def frames_within(self, start_s: Fraction, duration_s: Fraction) -> range:
        """Return the frames that the window touches; raises SlotOutsideChapter."""
        first, end = start_s * self.rate, (start_s + duration_s) * self.rate
        if not 0 <= first < end <= self.frames:
            raise SlotOutsideChapter(start_s, duration_s, self.duration_s)
        return range(floor(first), ceil(end))
