"""Pictures as planes, laid over each other."""

from __future__ import annotations

import numpy as np
import pytest

from lipsync.box import Box
from lipsync.planes import blank, blend, part_of, planes_of


@pytest.fixture
def dice() -> np.random.Generator:
    return np.random.default_rng(4)


def test_a_picture_laid_over_itself_is_itself_whatever_it_covers(dice):
    planes = planes_of(dice.integers(0, 256, (32, 48, 3), np.uint8))
    laid = tuple(plane.copy() for plane in planes)
    blend(laid, planes, dice.integers(0, 256, (32, 48), np.uint8))
    assert max(abs(new.astype(int) - own).max() for new, own in zip(laid, planes, strict=True)) <= 1


def test_what_is_covered_is_hidden_and_what_is_not_stays(dice):
    planes, black = planes_of(dice.integers(0, 256, (32, 48, 3), np.uint8)), blank(Box(0, 0, 48, 32))
    laid = tuple(plane.copy() for plane in planes)
    cover = np.zeros((32, 48), np.uint8)
    cover[:, :24] = 255
    blend(laid, black, cover)
    for new, own, over in zip(laid, planes, black, strict=True):
        half = own.shape[1] // 2
        assert np.array_equal(new[:, :half], over[:, :half])
        assert np.array_equal(new[:, half:], own[:, half:])


def test_a_part_of_planes_is_written_through(dice):
    planes, where = blank(Box(0, 0, 48, 32)), Box(8, 6, 10, 4)
    for plane in part_of(planes, where):
        plane[:] = 200
    assert [int((plane == 200).sum()) for plane in planes] == [40, 10, 10]
