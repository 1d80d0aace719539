"""What renders have cost so far: the seconds a segment takes, by slot and by kind of slot; recent ones count more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mediaserver.inserts import Insert

GUESS_S = {"still": 0.25, "moving": 0.6}
"""Seconds for a segment of one rung, before anything has been measured."""
RECENT = 0.4
KNOWN = 500
"""Kinds that are remembered."""


class Pace:
    """Costs in seconds per segment; kept in a file of state/, where they are figures of the machine, not of anybody."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._segment_s: dict[str, float] = {}
        if file:
            with suppress(OSError, ValueError, TypeError, AttributeError):
                said = json.loads(file.read_text("utf-8"))
                self._segment_s = {str(kind): float(cost) for kind, cost in said.items()}

    def cost_s(self, insert: Insert, renditions: Sequence[str], segments: int) -> float:
        """Return what a take is going to cost: by this slot's own past, else by its kind's, else by a guess."""
        if not renditions or not segments:
            return 0.0
        known = (self._segment_s[kind] for kind in _kinds(insert, renditions) if kind in self._segment_s)
        return segments * next(known, GUESS_S[insert.compose] * len(renditions))

    def learn(self, insert: Insert, renditions: Sequence[str], segments: int, took_s: float) -> None:
        """Note what a whole take of `segments` segments has cost."""
        for kind in _kinds(insert, renditions):
            before = self._segment_s.pop(kind, took_s / segments)
            self._segment_s[kind] = before + RECENT * (took_s / segments - before)
        for oldest in list(self._segment_s)[:-KNOWN]:
            del self._segment_s[oldest]

    def save(self) -> None:
        if self._file:
            part = self._file.with_suffix(".part")
            part.write_text(json.dumps(self._segment_s, indent=1), "utf-8")
            part.chmod(0o600)
            part.replace(self._file)


def _kinds(insert: Insert, renditions: Sequence[str]) -> tuple[str, str]:
    """Return the slot's own name and that of all slots like it, both for these renditions."""
    made = " ".join(sorted(renditions))
    return f"{insert.chapter}/{insert.version}/{insert.slot} {made}", f"{insert.compose} {made}"
