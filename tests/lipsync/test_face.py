"""Which photos hold a face that can speak, and what is known of it."""

from __future__ import annotations

import unicodedata

import cv2
import numpy as np
import pytest

from lipsync.errors import REFUSALS, ModelMissing, PhotoRefused
from lipsync.face import CHIN, LEFT_PUPIL, RIGHT_PUPIL, Face, FaceFinder
from tests.lipsync.conftest import demo_photo

NOTHING = np.full((400, 600, 3), 200, np.uint8)


def verdict_of(finder: FaceFinder, picture: np.ndarray) -> str:
    with pytest.raises(PhotoRefused) as refusal:
        finder.find(np.ascontiguousarray(picture))
    assert str(refusal.value)
    assert refusal.value.hint
    return refusal.value.verdict


def landscape() -> np.ndarray:
    """Sky, sun, hills."""
    picture = np.full((480, 640, 3), (220, 180, 120), np.uint8)
    cv2.circle(picture, (480, 120), 60, (80, 220, 250), -1)
    hills = np.array([[0, 300], [160, 220], [330, 320], [500, 240], [640, 300], [640, 480], [0, 480]])
    cv2.fillPoly(picture, [hills.astype(np.int32)], (60, 140, 70))
    return picture


@pytest.mark.parametrize("name", ["man", "woman", "older-woman"])
def test_the_face_is_found_with_its_landmarks_in_place(finder, name):
    face = finder.find(demo_photo(name))
    assert face.landmarks.shape == (478, 3)
    pupils = face.landmarks[[RIGHT_PUPIL, LEFT_PUPIL], :2]
    assert pupils[0, 0] < pupils[1, 0]
    assert face.landmarks[CHIN, 1] > face.landmarks[13, 1] > face.landmarks[1, 1] > pupils[:, 1].max()
    assert 240 < face.pupils_px < 280


def test_there_is_no_face_in_a_landscape(finder):
    assert verdict_of(finder, landscape()) == "no_face"


def test_two_people_side_by_side_are_too_many(finder):
    assert verdict_of(finder, np.hstack([demo_photo("man"), demo_photo("woman")])) == "several_faces"


def test_somebody_small_in_the_background_does_no_harm(finder):
    picture = demo_photo("man").copy()
    picture[20:220, 800:1000] = cv2.resize(demo_photo("woman"), (200, 200), interpolation=cv2.INTER_AREA)
    assert finder.find(picture).pupils_px > 240


@pytest.mark.parametrize("side", [1, 100])
def test_a_face_of_few_pixels_is_too_small(finder, side):
    small = cv2.resize(demo_photo("man"), (side, side), interpolation=cv2.INTER_AREA)
    assert verdict_of(finder, small) == "too_small"


def test_a_face_without_its_chin_is_cut_off(finder):
    assert verdict_of(finder, demo_photo("man")[:800]) == "cut_off"


def test_a_face_in_the_dark_is_told_so(finder):
    assert verdict_of(finder, (demo_photo("woman") * 0.13).astype(np.uint8)) == "too_dark"


def test_a_blurred_face_is_told_so(finder):
    assert verdict_of(finder, cv2.GaussianBlur(demo_photo("man"), (0, 0), 12)) == "blurred"


def test_a_face_turned_to_the_side_is_told_so(finder):
    """The right half is squeezed: what a camera sees of a head that looks away."""
    picture = demo_photo("woman")
    x, y = np.meshgrid(np.arange(1024, dtype=np.float32), np.arange(1024, dtype=np.float32))
    squeezed = np.where(x < 480, x, 480 + (x - 480) * 2.6).astype(np.float32)
    assert verdict_of(finder, cv2.remap(picture, squeezed, y, cv2.INTER_LINEAR)) == "turned_away"


def test_a_tight_crop_works(finder):
    whole = finder.find(demo_photo("man"))
    x0, y0 = whole.landmarks[:, :2].min(axis=0).astype(int)
    x1, y1 = whole.landmarks[:, :2].max(axis=0).astype(int)
    tight = finder.find(np.ascontiguousarray(whole.picture[y0:y1, x0:x1]))
    assert abs(tight.landmarks[:, :2] + [x0, y0] - whole.landmarks[:, :2]).mean() < 0.02 * whole.pupils_px
    assert tight.head().picture.shape[0] <= y1 - y0 + 2


@pytest.mark.parametrize("angle", [-25, 18])
def test_a_tilted_head_is_set_upright(finder, angle):
    photo = demo_photo("man")
    turn = cv2.getRotationMatrix2D((512, 560), angle, 0.8)
    face = finder.find(cv2.warpAffine(photo, turn, (1024, 1024)))
    across = face.landmarks[LEFT_PUPIL] - face.landmarks[RIGHT_PUPIL]
    assert abs(across[1]) > 0.2 * abs(across[0])
    head = face.head()
    level = head.landmarks[LEFT_PUPIL] - head.landmarks[RIGHT_PUPIL]
    assert abs(level[1]) < 0.02 * level[0]
    assert abs(head.landmarks - finder.find(head.picture).landmarks)[:, :2].mean() < 0.02 * head.pupils_px


def test_a_large_head_is_kept_at_working_size(finder):
    photo = cv2.resize(demo_photo("woman"), (2000, 2000), interpolation=cv2.INTER_CUBIC)
    head = finder.find(photo).head()
    assert head.pupils_px == pytest.approx(220, abs=2)
    assert abs(head.landmarks - finder.find(head.picture).landmarks)[:, :2].mean() < 0.02 * head.pupils_px


def test_a_face_survives_its_own_bytes(man):
    again = Face.from_bytes(man.to_bytes())
    assert np.array_equal(again.picture, man.picture)
    assert np.array_equal(again.landmarks, man.landmarks)


def test_bytes_that_are_no_face_are_refused():
    with pytest.raises(ValueError, match=r"."):
        Face.from_bytes(b"cos\nsystem\n(S'echo'\ntR.")


def test_missing_models_are_named(tmp_path):
    with pytest.raises(ModelMissing, match="yunet"):
        FaceFinder(tmp_path)


FACE_UNDER_A_MASK = (
    234,
    93,
    132,
    58,
    172,
    136,
    150,
    149,
    176,
    148,
    152,
    377,
    400,
    378,
    379,
    365,
    397,
    288,
    361,
    323,
    454,
    5,
)


@pytest.mark.parametrize("name", ["man", "older-woman"])
@pytest.mark.parametrize("colour", [(200, 160, 90), (60, 60, 60)])
def test_a_mask_over_the_mouth_is_seen(finder, name, colour):
    photo = cv2.resize(demo_photo(name), (512, 512), interpolation=cv2.INTER_AREA)
    mask = finder.find(photo).landmarks[list(FACE_UNDER_A_MASK), :2].astype(int)
    covered = cv2.GaussianBlur(cv2.fillPoly(photo.copy(), [mask], colour), (0, 0), 1)
    with pytest.raises(PhotoRefused) as refused:
        finder.find(covered)
    assert refused.value.verdict == "mouth_covered"


def test_a_photo_without_colour_is_no_covered_mouth(finder):
    grey = cv2.cvtColor(demo_photo("woman"), cv2.COLOR_BGR2GRAY)
    finder.find(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))


@pytest.mark.parametrize("verdict", REFUSALS)
def test_every_verdict_has_its_sentence_in_english_and_arabic(verdict):
    english, arabic = PhotoRefused.of(verdict), PhotoRefused.of(verdict, "ar-EG,en;q=0.5")
    assert str(english).isascii()
    assert english.hint.isascii()
    for text in (str(arabic), arabic.hint):
        assert all(unicodedata.bidirectional(c) == "AL" for c in text if c.isalpha())
    assert str(PhotoRefused.of(verdict, "fi")) == str(english)
