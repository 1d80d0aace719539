"""A part of a picture."""

from __future__ import annotations

from dataclasses import dataclass


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
