"""What the mark does to pictures; how it is read is in test_markreader.py."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from lipsync.codeword import LENGTH
from lipsync.compose import Frame
from lipsync.mark import Mark, cells, grid_of, new_render_id
from tests.lipsync.scenery import clouds

RATE = Fraction(25)


def luma_of(frame: Frame) -> np.ndarray:
    return frame[: frame.shape[0] * 2 // 3].astype(np.int16)


def differences(plain: Frame, count: int) -> list[np.ndarray]:
    """What the mark adds to `count` pictures that are all the same."""
    height = plain.shape[0] * 2 // 3
    mark, found = Mark(0xC0FFEE, plain.shape[1], height, RATE), []
    for number in range(count):
        frame = plain.copy()
        mark.put(frame, number)
        assert (frame[height:] == plain[height:]).all()
        found.append(luma_of(frame) - luma_of(plain))
    return found


def flat(width: int, height: int, level: int) -> Frame:
    frame = np.full((height * 3 // 2, width), 128, np.uint8)
    frame[:height] = level
    return frame


@pytest.mark.parametrize("size", [(1920, 1080), (640, 360), (608, 1080), (720, 720)])
def test_a_busy_picture_keeps_42_db_at_every_moment(size: tuple[int, int]):
    frame = np.random.default_rng(1).integers(16, 236, (size[1] * 3 // 2, size[0]), np.uint8)
    worst = max(float((d.astype(float) ** 2).mean()) for d in differences(frame, 34)[::4])
    assert 10 * np.log10(255**2 / worst) >= 44


def test_a_flat_picture_is_touched_less_than_a_busy_one():
    quiet = np.std(differences(flat(960, 540, 120), 10)[-1])
    busy = np.std(differences(np.random.default_rng(1).integers(16, 236, (810, 960), np.uint8), 10)[-1])
    assert 0 < quiet < 0.6 * busy


def test_nothing_flickers():
    """A pixel moves by at most one level from picture to picture, and the picture's mean does not move."""
    for plain in (flat(960, 540, 120), next(clouds(960, 540, 1))):
        marks = differences(plain, 67)
        assert max(int(abs(b - a).max()) for a, b in pairwise(marks)) <= 1
        assert max(abs(float(b.mean() - a.mean())) for a, b in pairwise(marks)) < 0.02


def test_black_and_white_do_not_wrap_around():
    assert max(int(abs(d).max()) for d in differences(flat(320, 180, 0), 34)) <= 3
    assert max(int(abs(d).max()) for d in differences(flat(320, 180, 255), 34)) <= 3


def test_the_mark_of_a_picture_depends_on_its_number_alone():
    mark, plain = Mark(5, 640, 360, RATE), next(clouds(640, 360, 1))
    first, again = plain.copy(), plain.copy()
    mark.put(first, 1000)
    for number in (3, 77):
        mark.put(plain.copy(), number)
    mark.put(again, 1000)
    assert (first == again).all()


def test_any_13_by_13_cells_carry_every_bit():
    bits = cells().bit
    for row, column in ((0, 0), (5, 9), (40, 3)):
        assert set(bits[row : row + 13, column : column + 13].ravel()) == set(range(LENGTH))


def test_marks_of_today_stay_readable():
    """The cells are part of the format: another hash here means that no old mark can be read any more."""
    fixed = cells()
    whole = np.concatenate([fixed.pilot.real.ravel(), fixed.pilot.imag.ravel(), fixed.sign.ravel(), fixed.bit.ravel()])
    assert hashlib.sha256(whole.astype("<i2").tobytes()).hexdigest()[:16] == "84a8a90a5471298a"


def test_every_shape_has_as_many_cells():
    for width, height in ((1920, 1080), (1080, 1920), (400, 400), (2560, 1080)):
        across, down = grid_of(width, height)
        assert across * down == pytest.approx(36 * 36)
        assert across / down == pytest.approx(width / height)


def test_numbers_of_renders_are_random():
    drawn = {new_render_id() for _ in range(50)}
    assert len(drawn) == 50
    assert max(drawn) < 2**32
    assert max(drawn) > 2**28
