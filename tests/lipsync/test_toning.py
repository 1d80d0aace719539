"""In a photo without colours nothing that is drawn has any."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lipsync.compose import Compositor, views_of
from lipsync.face import Face
from lipsync.planes import planes_of
from lipsync.toning import Toning

AH, EE = (0.9, 0.0, 0.0, 0.0), (0.2, 0.8, 0.0, 0.6)


def toned(face: Face, colour: tuple[float, float, float]) -> Face:
    """The face in shades of one colour (blue, green, red), as a JPEG."""
    grey = cv2.cvtColor(cv2.cvtColor(face.picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    jpeg = cv2.imencode(".jpg", cv2.transform(grey, np.diag(colour)), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return Face(np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8), face.landmarks)


@pytest.fixture(scope="module")
def even(man) -> Face:
    return man.scaled(320, 400)


def test_a_photo_in_colour_is_not_toned(even, laughing):
    for face in (even, laughing.scaled(320, 400)):
        assert Toning.of(face, planes_of(face.picture)) is None


@pytest.mark.parametrize("colour", [(1, 1, 1), (0.7, 0.88, 1), (1, 0.9, 0.8)])
@pytest.mark.parametrize("state", [AH, EE])
def test_the_mouth_in_a_toned_photo_is_toned_alike(even, colour, state):
    face = toned(even, colour)
    toning = Toning.of(face, planes_of(face.picture))
    assert toning is not None
    compositor = Compositor.portrait(face)
    luma, blue, red = views_of(compositor.compose(compositor.blank(), state))
    below = (slice(240, 400), slice(0, 320))  # where the mouth is, and no label
    half = cv2.resize(luma[below], (160, 80), interpolation=cv2.INTER_AREA).astype(float)
    for plane, slope, base in zip((blue, red), toning.slopes, toning.bases, strict=True):
        apart = abs(plane[120:200].astype(float) - (slope * half + base))
        assert np.percentile(apart, 99) < 4
        assert apart.mean() < 1


def test_the_mouth_in_a_colour_photo_has_colour(even):
    compositor = Compositor.portrait(even)
    red = [views_of(compositor.compose(compositor.blank(), state))[2][120:200].astype(int) for state in ((0,) * 4, AH)]
    assert abs(red[1] - red[0]).max() > 10
