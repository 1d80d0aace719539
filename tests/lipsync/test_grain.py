"""The grain that is drawn is as strong and as coarse as the photo's, and no stronger."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lipsync.face import Face
from lipsync.grain import grain_of
from lipsync.renderer import Renderer
from tests.lipsync.conftest import seen, speaking


def noisy(man: Face, levels: float, coarse_px: float) -> Face:
    """A face of one colour with noise on it."""
    noise = np.random.default_rng(6).normal(0, 1, man.picture.shape[:2]).astype(np.float32)
    if coarse_px:
        noise = cv2.GaussianBlur(noise, (0, 0), coarse_px)
    picture = np.clip(128 + noise * levels / noise.std(), 0, 255)
    return Face(np.dstack([np.rint(picture).astype(np.uint8)] * 3), man.landmarks)


def fineness(sheet: np.ndarray) -> float:
    """How unlike neighbours are: 1 where they know nothing of each other."""
    return float(np.diff(sheet, axis=1).var() / (2 * sheet.var()))


@pytest.mark.parametrize("levels", [2.0, 6.0])
def test_the_grain_is_as_strong_as_that_of_the_photo(man, levels):
    sheet = grain_of(noisy(man, levels, 0), 150, 260)
    assert sheet.shape == (150, 260, 1)
    assert 0.7 * levels < sheet.std() < 1.1 * levels
    assert abs(sheet.mean()) < 0.3


def test_the_grain_is_as_coarse_as_that_of_the_photo(man):
    assert fineness(grain_of(noisy(man, 4, 0), 150, 260)) > 0.8
    assert fineness(grain_of(noisy(man, 4, 1.2), 150, 260)) < 0.5


def test_a_clean_photo_gives_no_grain(man):
    assert abs(grain_of(noisy(man, 0.1, 0), 90, 90)).max() < 0.01
    assert grain_of(man, 90, 90).std() < 3


def test_the_mouths_inside_is_as_grainy_as_the_face_around_it(man):
    """The dark between the teeth, where nothing is drawn that is fine."""
    dice = np.random.default_rng(8).normal(0, 6, man.picture.shape)
    rough = Face(np.clip(man.picture + dice, 0, 255).astype(np.uint8), man.landmarks)
    fine = []
    for face in (man, rough):
        inside = seen(speaking(Renderer(face), (0.9, 0, 0, 0)))
        x, y = (face.landmarks[13, :2] + 0.45 * (face.landmarks[17, :2] - face.landmarks[13, :2])).astype(int)
        dark = inside[y : y + 8, x - 12 : x + 12].astype(np.float32)
        fine.append((dark - cv2.GaussianBlur(dark, (0, 0), 1.5)).std())
    assert fine[0] < 2.5
    assert fine[1] > fine[0] + 1.5


def test_a_face_whose_skin_lies_outside_gives_none(man):
    assert not grain_of(Face(man.picture, man.landmarks - 5000), 20, 20).any()
