"""A mouth's states -> where the face's landmarks go: what the mouth network is told of a movement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lipsync.conditioning import LOWER_INNER, LOWER_LIP, UPPER_INNER, UPPER_LIP
from lipsync.face import Face
from lipsync.movement import MOVES, Floats, Lips, MouthFrame, Side


class Gestures:
    """The landmarks of one face, and the step of each for every whole move; steps are linear in the moves.

    `still` (478, 2) is the photo's own landmarks, the inner edges of the lips where they are seen to lie.
    """

    def __init__(self, face: Face) -> None:
        frame = MouthFrame.of(face.landmarks)
        lips = Lips.of(face, frame)
        at = frame.inside(face.landmarks[:, :2])
        for indices, edge in ((UPPER_INNER, lips.upper), (LOWER_INNER, lips.lower)):
            at[list(indices), 1] = np.interp(at[list(indices), 0], lips.x, edge)
        self.still = frame.outside(at)
        upper = _with_the_upper_lip(at, lips)
        self._steps = np.stack([_steps(move, lips, frame, at, upper) for move in ("closed", *MOVES)])

    def of(self, states: Sequence[Sequence[float]]) -> Floats:
        """Return the landmarks (n, 478, 2) of n states (narration.PARAMETERS) in the picture's pixels."""
        weights = np.array([[1.0, *(moves_of(state)[move] for move in MOVES)] for state in states], np.float32)
        return (self.still + np.tensordot(weights, self._steps, 1)).astype(np.float32)


def _with_the_upper_lip(at: Floats, lips: Lips) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    above = at[:, 1] < np.interp(at[:, 0], lips.x, lips.rest)
    above[list(UPPER_LIP)] = True
    above[list(LOWER_LIP)] = False
    return np.asarray(above, np.bool_)


def _steps(
    move: str, lips: Lips, frame: MouthFrame, at: Floats, upper: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> Floats:
    sides: tuple[Side, Side] = ("upper", "lower")
    above, below = (np.stack(lips.field(move, side, at[:, 0], at[:, 1]), axis=-1) for side in sides)
    return frame.vectors(np.where(upper[:, None], above, below).astype(np.float32))


def moves_of(state: Sequence[float]) -> dict[str, float]:
    """Return the weight of every move; pressed lips are not open."""
    open_, spread, press, teeth = state
    shut = 1 - press
    return {
        "open": open_ * shut,
        "wide": max(0.0, spread),
        "round": max(0.0, -spread),
        "press": press,
        "teeth": teeth * shut,
    }
