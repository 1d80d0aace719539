"""What a rendered mouth looks like, in pixels."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from lipsync.face import Face
from lipsync.planes import part_of, planes_of
from lipsync.renderer import KEPT, Renderer
from tests.lipsync.conftest import even, seen, speaking

CLOSED, WIDE_OPEN, ROUND, TEETH, PRESSED = (
    (0, 0, 0, 0),
    (1, 0, 0, 0),
    (0.6, -1, 0, 0),
    (0.15, 0.6, 0, 1),
    (0.6, 0, 1, 0),
)


@pytest.fixture(scope="module")
def renderer(man) -> Renderer:
    return Renderer(man)


@pytest.fixture(scope="module")
def laugher(laughing) -> Renderer:
    return Renderer(laughing)


def frame(renderer: Renderer, state: Sequence[float]) -> np.ndarray:
    return seen(speaking(renderer, state))


def mouth_pixels(renderer: Renderer, picture: np.ndarray) -> np.ndarray:
    """The pixels between the lips of the face's own photo, and what lies below them as far as a jaw can sink."""
    inner = renderer.face.landmarks[[78, 308, 13, 14], :2]
    unit = renderer.face.pupils_px
    x0, x1 = (inner[:, 0].mean() + np.array([-0.15, 0.15]) * unit).astype(int)
    y0, y1 = (inner[:, 1].mean() + np.array([-0.02, 0.25]) * unit).astype(int)
    return picture[y0:y1, x0:x1]


def dark_share(pixels: np.ndarray) -> float:
    return float((cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) < 45).mean())


def test_a_closed_mouth_is_the_photo_itself(renderer, man):
    for plane, own in zip(speaking(renderer, CLOSED), planes_of(man.picture), strict=True):
        assert np.array_equal(plane, own)


@pytest.mark.parametrize("state", [CLOSED, WIDE_OPEN, ROUND, TEETH, PRESSED])
@pytest.mark.parametrize("which", ["renderer", "laugher"])
def test_what_changes_lies_in_even_pixels_below_the_eyes(request, which, state):
    renderer = request.getfixturevalue(which)
    box = renderer.box
    assert box == box.even
    photo = planes_of(renderer.face.picture)
    assert [plane.shape for plane in renderer.patch(state)] == [plane.shape for plane in part_of(photo, box)]
    eyes = renderer.face.landmarks[[33, 133, 362, 263], 1].max()
    assert box.y > eyes


def test_an_open_mouth_is_dark_inside_and_a_closed_one_is_not(renderer):
    shares = [dark_share(mouth_pixels(renderer, frame(renderer, (jaw, 0, 0, 0)))) for jaw in (0, 0.3, 0.6, 1)]
    assert shares[0] < 0.06  # the line between the lips
    assert shares == sorted(shares)
    assert shares[-1] > 0.3


def test_bared_teeth_are_brighter_than_the_dark_behind_them(renderer):
    open_, teeth = (mouth_pixels(renderer, frame(renderer, state)) for state in ((0.4, 0, 0, 0), TEETH))
    bright = [np.percentile(cv2.cvtColor(p, cv2.COLOR_BGR2HSV)[..., 1], 5) for p in (open_, teeth)]
    assert bright[1] < 80  # teeth have little colour, lips much


def test_the_open_mouth_of_a_photo_is_closed_and_its_teeth_hidden(laugher, laughing):
    def pale(picture: np.ndarray) -> float:
        hsv = cv2.cvtColor(mouth_pixels(laugher, picture), cv2.COLOR_BGR2HSV)
        return float(((hsv[..., 1] < 70) & (hsv[..., 2] > 120)).mean())

    assert pale(laughing.picture) > 0.1
    assert pale(frame(laugher, CLOSED)) < 0.02


def test_pressed_lips_stay_shut_whatever_the_jaw_wants(renderer):
    assert dark_share(mouth_pixels(renderer, frame(renderer, (1, 0, 1, 0)))) < 0.05


def test_a_round_mouth_is_narrower_than_a_wide_one(renderer):
    def width(state: tuple[float, ...]) -> int:
        patch = seen(renderer.patch(state))
        dark = cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY) < 45
        columns = np.flatnonzero(dark[:, patch.shape[1] // 4 : -patch.shape[1] // 4].any(axis=0))
        return int(np.ptp(columns))

    assert width((0.6, -1, 0, 0)) < 0.8 * width((0.6, 1, 0, 0))


def test_the_chin_sinks_with_the_jaw(renderer, man):
    """The picture of the chin is found again, lower."""
    x, y = man.landmarks[152, :2].astype(int)
    chin = man.picture[y - 50 : y - 10, x - 40 : x + 40]
    sunken = frame(renderer, WIDE_OPEN)
    found = cv2.minMaxLoc(cv2.matchTemplate(sunken[y - 80 : y + 80, x - 60 : x + 60], chin, cv2.TM_CCOEFF_NORMED))
    sunk = found[3][1] - 30
    assert 0.15 < sunk / man.pupils_px < 0.35


def test_equal_states_are_rendered_once_and_not_kept_for_ever(renderer):
    first = renderer.patch((0.51, 0, 0, 0))
    assert renderer.patch((0.5101, 0, 0, 0)) is first
    for step in range(KEPT + 1):
        renderer.patch((0, step / 100, 0, 0))
    assert renderer.patch((0.51, 0, 0, 0)) is not first


def test_a_kept_patch_cannot_be_written_to(renderer):
    with pytest.raises(ValueError, match="read-only"):
        renderer.patch((0.2, 0, 0, 0))[0][0, 0] = 0


def test_a_tilted_face_speaks_along_its_own_axes(finder, man):
    """The renderer needs no upright photo: the flat file shows the photo as it was taken."""
    height, width = man.picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 20, 0.75)
    tilted = man.moved(turn, width, height)
    upright = frame(Renderer(man), WIDE_OPEN)
    expected = cv2.warpAffine(upright, turn, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101)
    shown = frame(Renderer(tilted), WIDE_OPEN)
    x, y = tilted.landmarks[14, :2].astype(int)
    near = (slice(y - 60, y + 80), slice(x - 70, x + 70))
    before = abs(expected[near].astype(int) - tilted.picture[near]).mean()
    assert abs(expected[near].astype(int) - shown[near]).mean() < 0.25 * before


def test_a_face_at_the_edge_of_its_photo_is_rendered(finder, man):
    """A tight crop ends at the chin; the box must end with it."""
    x0, y0 = man.landmarks[:, :2].min(axis=0).astype(int)
    x1, y1 = man.landmarks[:, :2].max(axis=0).astype(int)
    tight = even(Face(man.picture[y0:y1, x0:x1], man.landmarks - np.array([x0, y0, 0], np.float32)))
    renderer = Renderer(tight)
    assert frame(renderer, WIDE_OPEN).shape == tight.picture.shape
    assert renderer.box.y + renderer.box.h == tight.picture.shape[0]
