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
    return begun_s + sum(place.first_s for place in queue if not place.begun and place.due_s <= own.due_s)


def until_all_s(own: Place, queue: Sequence[Place], crowd: float) -> float:
    """Return the seconds until every rung of `own`, which is one of `queue`, is made.

    Before its other rungs come all first rungs, and the other rungs of those that are due earlier; and the first rungs
    of whoever comes until then. These take the share `crowd` of the time, so that all that is here already
    has what is left: the busy period of a queue whose newcomers go first, work / (1 - crowd).
    """
    if not own.rest_s:
        return until_first_s(own, queue)
    firsts_s = sum(place.first_s for place in queue)
    rests_s = sum(place.rest_s for place in queue if place.due_s <= own.due_s or (place.begun and not place.first_s))
    return (firsts_s + rests_s) / (1 - crowd)
