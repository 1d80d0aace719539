"""A part of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of the picture in whole pixels."""

    x: int
    y: int
    w: int
    h: int

    @property
    def rows(self) -> slice:
        return slice(self.y, self.y + self.h)

    @property
    def columns(self) -> slice:
        return slice(self.x, self.x + self.w)

    @property
    def halved(self) -> Box:
        """The same in a plane of half the size."""
        return Box(self.x // 2, self.y // 2, self.w // 2, self.h // 2)

    @property
    def even(self) -> Box:
        """The smallest box of even pixels round it."""
        x, y = self.x // 2 * 2, self.y // 2 * 2
        return Box(x, y, -(-(self.x + self.w) // 2) * 2 - x, -(-(self.y + self.h) // 2) * 2 - y)

    def within(self, other: Box) -> Box:
        """Return it as seen from the corner of a box around it."""
        return Box(self.x - other.x, self.y - other.y, self.w, self.h)

    def meets(self, other: Box) -> bool:
        return abs(2 * (self.x - other.x) + self.w - other.w) < self.w + other.w and (
            abs(2 * (self.y - other.y) + self.h - other.h) < self.h + other.h
        )

    def grown(self, reach: int) -> Box:
        """Return it with so many pixels more on every side."""
        return Box(self.x - reach, self.y - reach, self.w + 2 * reach, self.h + 2 * reach)

    def common(self, other: Box) -> Box:
        """Return what lies in both; where they do not meet, one of its sides is not positive."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        return Box(x, y, min(self.x + self.w, other.x + other.w) - x, min(self.y + self.h, other.y + other.h) - y)

    def with_(self, other: Box) -> Box:
        """Return the smallest box that holds both."""
        x, y = min(self.x, other.x), min(self.y, other.y)
        return Box(x, y, max(self.x + self.w, other.x + other.w) - x, max(self.y + self.h, other.y + other.h) - y)


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of the picture whose borders may lie inside pixels: in every size of the picture the same part."""

    x: float
    y: float
    w: float
    h: float

    def within(self, box: Box) -> Area:
        """Return it as seen from the corner of a box."""
        return Area(self.x - box.x, self.y - box.y, self.w, self.h)

    @property
    def even(self) -> Box:
        """The smallest box of even pixels round it."""
        x, y = 2 * floor(self.x / 2), 2 * floor(self.y / 2)
        return Box(x, y, 2 * ceil((self.x + self.w) / 2) - x, 2 * ceil((self.y + self.h) / 2) - y)
