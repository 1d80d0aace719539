"""Where a mouth's states bring the landmarks."""

from __future__ import annotations

import numpy as np

from lipsync.face import Face
from lipsync.gestures import Gestures

OPEN, ROUND, WIDE, PRESSED = (0.8, 0, 0, 0), (0.3, -1, 0, 0), (0.3, 1, 0, 0), (0, 0, 1, 0)


def gap(points) -> float:
    return float(points[14, 1] - points[13, 1])


def width(points) -> float:
    return float(points[291, 0] - points[61, 0])


def test_a_resting_mouth_that_is_closed_in_the_photo_stays(man: Face):
    gestures = Gestures(man)
    assert abs(gestures.of([(0, 0, 0, 0)])[0] - gestures.still).max() < 0.5
    assert abs(gestures.still - man.landmarks[:, :2]).max() < 0.04 * man.pupils_px


def test_a_laugh_is_closed_first(laughing: Face):
    closed = Gestures(laughing).of([(0, 0, 0, 0)])[0]
    assert gap(closed) < 0.3 * gap(laughing.landmarks)


def test_lips_part_and_the_chin_sinks_when_it_opens(man: Face):
    still, opened = Gestures(man).of([(0, 0, 0, 0), OPEN])
    assert gap(opened) > gap(still) + 0.1 * man.pupils_px
    assert opened[152, 1] > still[152, 1]
    assert abs(opened[[1, 33, 263]] - still[[1, 33, 263]]).max() < 0.02 * man.pupils_px


def test_round_is_narrower_than_wide(man: Face):
    narrow, broad = Gestures(man).of([ROUND, WIDE])
    assert width(narrow) < width(broad) - 0.1 * man.pupils_px


def test_pressed_lips_have_no_gap(man: Face):
    assert gap(Gestures(man).of([PRESSED])[0]) <= 0.01 * man.pupils_px


def test_states_are_told_apart_in_their_order(man: Face):
    both = Gestures(man).of([OPEN, PRESSED])
    assert both.shape == (2, 478, 2)
    assert np.array_equal(both[1], Gestures(man).of([PRESSED])[0])
