"""Parts of a still scene in the sizes of its renditions."""

from __future__ import annotations

import numpy as np
import pytest

from lipsync.box import Box
from lipsync.still import _Scaled, scaled


@pytest.mark.parametrize(
    ("own", "part"),
    [
        ((256, 144), Box(64, 36, 48, 32)),
        ((256, 144), Box(0, 0, 48, 32)),
        ((256, 144), Box(208, 112, 48, 32)),
        ((426, 240), Box(102, 64, 40, 32)),
        ((320, 180), Box(100, 50, 60, 40)),
        ((640, 360), Box(100, 50, 60, 40)),
    ],
)
def test_a_part_is_scaled_as_in_the_whole_picture(own, part):
    whole = np.random.default_rng(2).integers(0, 256, (360, 640), np.uint8)
    alone = _Scaled(part, (640, 360), own).of(whole)
    assert np.array_equal(alone, scaled(whole, *own)[part.rows, part.columns])
