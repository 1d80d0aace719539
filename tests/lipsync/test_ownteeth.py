"""The teeth that a photo shows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lipsync.face import Face
from lipsync.movement import Lips, MouthFrame
from lipsync.ownteeth import OwnTeeth
from lipsync.renderer import Renderer
from tests.lipsync.conftest import seen, speaking


def found(face: Face) -> tuple[OwnTeeth | None, Lips]:
    frame = MouthFrame.of(face.landmarks)
    lips = Lips.of(face, frame)
    x, y = np.meshgrid(np.arange(face.picture.shape[1]), np.arange(face.picture.shape[0]))
    return OwnTeeth.of(face, frame, lips, np.dstack([x, y]).astype(np.float32)), lips


def recoloured_teeth(face: Face, colour: tuple[int, int, int]) -> Face:
    """The face with everything between its lips in one colour."""
    picture = face.picture.copy()
    inner = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]
    cv2.fillPoly(picture, [np.round(face.landmarks[inner, :2]).astype(np.int32)], colour)
    return Face(picture, face.landmarks)


def test_a_laugh_shows_teeth_between_the_lips(laughing):
    teeth, lips = found(laughing)
    assert teeth is not None
    inside = laughing.landmarks[[13, 14], 1]
    rows = np.flatnonzero(teeth.layer[..., 3].max(axis=1) > 128)
    assert inside[0] - 3 < rows[0]
    assert rows[-1] < inside[1] + 3
    assert lips.rest[32] < teeth.edge
    assert teeth.colour.min() > 120


def test_the_row_ends_softly_towards_the_corners(laughing):
    """Else the photo's bright teeth stop beside drawn ones in the shade as if they were broken off."""
    teeth, _ = found(laughing)
    assert teeth is not None
    best = teeth.layer[..., 3].max(axis=0) / 255
    columns = np.flatnonzero(best > 0)
    for end in (best[columns[0] :], best[columns[-1] :: -1]):
        whole = int(np.argmax(end > 0.95))
        assert whole > 0.02 * laughing.pupils_px
        assert np.diff(end[: whole + 1]).max() < 0.35


def test_a_closed_mouth_shows_none(man):
    assert found(man)[0] is None


@pytest.mark.parametrize("colour", [(20, 15, 30), (110, 100, 190)])
def test_a_dark_mouth_or_a_tongue_is_no_teeth(laughing, colour):
    assert found(recoloured_teeth(laughing, colour))[0] is None


def test_the_photos_teeth_stay_where_they_are_when_the_jaw_sinks(laughing):
    """The same gaps between the teeth are seen at the same places, in other light."""
    teeth, _ = found(laughing)
    frame = seen(speaking(Renderer(laughing), (1, 0, 0, 0)))
    rows, columns = (np.flatnonzero((teeth.layer[..., 3] > 250).any(axis=axis)) for axis in (1, 0))
    row, third = rows[-1] - 8, len(columns) // 3
    middle = slice(columns[0] + third, columns[-1] - third)
    new, own = (
        cv2.cvtColor(p, cv2.COLOR_BGR2GRAY)[row - 2 : row + 3, middle].mean(axis=0) for p in (frame, laughing.picture)
    )
    gaps = [(line - cv2.GaussianBlur(line, (0, 0), 6)).ravel() for line in (new, own)]
    assert np.corrcoef(*gaps)[0, 1] > 0.9
    assert new.mean() > 0.5 * own.mean()
