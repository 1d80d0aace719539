"""What takes have cost so far, by slot and by kind of slot; recent ones count more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from mediaserver.inserts import Insert

GUESS_S = {"still": 0.25, "moving": 0.6}
"""Seconds for a segment of one rung, before anything has been measured."""
RECENT = 0.4
KNOWN = 500
"""Kinds that are remembered."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds until the first segment of a take is there, and for each one behind it."""

    lead_s: float
    each_s: float

    def of(self, segments: int) -> float:
        return self.lead_s + self.each_s * (segments - 1) if segments else 0.0

    def towards(self, measured: Cost) -> Cost:
        """Return the cost after another measurement."""
        lead_s = self.lead_s + RECENT * (measured.lead_s - self.lead_s)
        return Cost(lead_s, self.each_s + RECENT * (measured.each_s - self.each_s))


class Pace:
    """Costs of takes; kept in a file of state/, where they are figures of the machine, not of anybody."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._costs: dict[str, Cost] = {}
        if file:
            with suppress(OSError, ValueError, TypeError, AttributeError):
                said = json.loads(file.read_text("utf-8"))
                self._costs = {str(kind): Cost(float(lead), float(each)) for kind, (lead, each) in said.items()}

    def cost(self, insert: Insert, renditions: Sequence[str]) -> Cost:
        """Return what takes of these renditions cost: by this slot's own past, else by its kind's, else by a guess."""
        known = (self._costs[kind] for kind in _kinds(insert, renditions) if kind in self._costs)
        guess_s = GUESS_S[insert.compose] * len(renditions)
        return next(known, Cost(guess_s, guess_s))

    def learn(self, insert: Insert, renditions: Sequence[str], ends_s: Sequence[float]) -> None:
        """Note after how many seconds of a take, which may have been cut short, each of its segments was there."""
        if not ends_s:
            return
        lead_s, others = ends_s[0], len(ends_s) - 1
        for kind in _kinds(insert, renditions):
            before = self._costs.pop(kind, None)
            each_s = (ends_s[-1] - lead_s) / others if others else before.each_s if before else lead_s
            measured = Cost(lead_s, each_s)
            self._costs[kind] = before.towards(measured) if before else measured
        for oldest in list(self._costs)[:-KNOWN]:
            del self._costs[oldest]

    def save(self) -> None:
        if self._file:
            part = self._file.with_suffix(".part")
            part.write_text(json.dumps({kind: astuple(cost) for kind, cost in self._costs.items()}, indent=1), "utf-8")
            part.chmod(0o600)
            part.replace(self._file)


def _kinds(insert: Insert, renditions: Sequence[str]) -> tuple[str, str]:
    """Return the slot's own name and that of all slots like it, both for these renditions."""
    made = " ".join(sorted(renditions))
    return f"{insert.chapter}/{insert.version}/{insert.slot} {made}", f"{insert.compose} {made}"
