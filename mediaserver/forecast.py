"""When a viewer's scene will be made: who of the queue goes before it, and who is going to come and goes before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """One scene of the queue: when it will be on screen, and the seconds that its first rung and its others still take.

    What is `begun` is made to its end before anything else.
    """

    due_s: float
    first_s: float
    rest_s: float
    begun: bool = False


def until_first_s(own: Place, queue: Sequence[Place]) -> float:
    """Return the seconds until the first rung of `own`, which is one of `queue`, is whole.

    Before it come those first rungs that are due earlier, and what is begun. Nobody who comes later is due earlier.
    """
    if not own.first_s:
        return 0.0
    begun_s = sum(place.first_s or place.rest_s for place in queue if place.begun)
    return begun_s + sum(place.first_s for place in _up_to(own, queue) if not place.begun)


def _up_to(own: Place, queue: Sequence[Place]) -> list[Place]:
    """Return who is due before `own`, and `own`; of those that are due together, the first in the queue."""
    last = next(number for number, place in enumerate(queue) if place is own)
    return [place for number, place in enumerate(queue) if (place.due_s, number) <= (own.due_s, last)]


@dataclass(frozen=True, slots=True)
class Newcomers:
    """Whoever comes while one waits: the share of the time that their first rungs take, and seconds for each of them.

    `free` is how many the queue still lets in; one more comes in when one leaves.
    """

    share: float = 0.0
    first_s: float = 0.0
    free: int = 0


NOBODY = Newcomers()


def until_all_s(own: Place, queue: Sequence[Place], newcomers: Newcomers = NOBODY) -> float:
    """Return the seconds until every rung of `own`, which is one of `queue`, is made.

    Before its other rungs come all first rungs, and the other rungs of those that are due earlier; and the first rungs
    of newcomers, who leave all that is here already only a part of the time: the busy period of a queue whose newcomers
    go first, work / (1 - share). No more of them come than the queue has room for.
    """
    if not own.rest_s:
        return until_first_s(own, queue)
    before = _up_to(own, queue)
    begun = next((place for place in queue if place.begun and not place.first_s), own)
    before += [begun] if begun.due_s > own.due_s else []
    work_s = sum(place.first_s for place in queue) + sum(place.rest_s for place in before)
    most_s = newcomers.first_s * (newcomers.free + len(before) - 1)
    return work_s + min(work_s * newcomers.share / (1 - newcomers.share), most_s)
