"""Samples between samples: exact where pixels are, cubic between them, and up to date."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lipsync.box import Box
from lipsync.halfsamples import HalfSamples

BOX = Box(6, 4, 40, 30)


@pytest.fixture
def plane():
    noise = np.random.default_rng(3).integers(0, 256, (40, 60), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1)


def test_pixels_are_kept_and_what_lies_between_them_is_cubic(plane):
    part, samples = plane[BOX.rows, BOX.columns], HalfSamples(plane, BOX).samples
    assert np.array_equal(samples[::2, ::2], part)
    matrix, size = np.array([[0.5, 0, 0], [0, 0.5, 0]]), (2 * BOX.w - 1, 2 * BOX.h - 1)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    cubic = cv2.warpAffine(part, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    assert abs(samples.astype(int) - cubic).max() <= 1


@pytest.mark.parametrize("part", [Box(12, 10, 6, 4), Box(0, 0, 8, 8), Box(40, 30, 20, 10), Box(0, 0, 60, 40)])
def test_after_a_change_they_are_as_if_made_anew(plane, part):
    kept = HalfSamples(plane, BOX)
    plane[part.rows, part.columns] = 255 - plane[part.rows, part.columns]
    kept.renew(plane, part)
    assert np.array_equal(kept.samples, HalfSamples(plane, BOX).samples)


def test_a_change_far_away_is_nothing(plane):
    kept = HalfSamples(plane, Box(0, 0, 10, 10))
    before = kept.samples.copy()
    kept.renew(255 - plane, Box(30, 30, 6, 6))
    assert np.array_equal(kept.samples, before)
