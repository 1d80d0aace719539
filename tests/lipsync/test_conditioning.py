"""Landmarks and a moved mouth -> moved pixels, soft labels, places."""

from __future__ import annotations

import numpy as np
import pytest

from lipsync.conditioning import CROP_PX, LOWER_LIP, UPPER_LIP, WINDOW, Conditioning, Crop, labels, lines
from lipsync.face import CHIN, Face


@pytest.fixture(scope="module")
def crop(man: Face) -> Crop:
    return Crop.of(man.landmarks)


@pytest.fixture(scope="module")
def points(man: Face, crop: Crop):
    return crop.points(man.landmarks)


@pytest.fixture(scope="module")
def picture(man: Face, crop: Crop):
    return crop.cut(man.picture)


def opened(points, by_px: float):
    """The lower lip, and the jaw with everything on it, sink; the corners of the mouth stay."""
    moved = points.copy()
    below = points[:, 1] > points[[61, 291], 1].mean() + 8
    below[[*LOWER_LIP, CHIN]] = True
    below[[61, 291, *UPPER_LIP]] = False
    moved[below, 1] += by_px
    return moved


def test_the_lips_lie_in_the_window(points):
    lips = points[[*UPPER_LIP, *LOWER_LIP]]
    assert lips.min() > WINDOW.start
    assert lips.max() < WINDOW.stop


def test_the_crop_follows_a_face_that_is_moved_and_enlarged(man):
    here = Crop.of(man.landmarks)
    there = Crop.of(man.landmarks[:, :2] * 2 + np.float32(30))
    assert (there.x, there.y, there.side) == pytest.approx((here.x * 2 + 30, here.y * 2 + 30, here.side * 2), abs=0.01)


def test_cutting_keeps_the_places_of_pixels(man, crop, picture):
    at = crop.points(man.landmarks)[1]
    x, y = (man.landmarks[1, :2]).astype(int)
    block = man.picture[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).mean(axis=0)
    assert abs(picture[int(at[1]), int(at[0])] - block).max() < 12


def test_a_mouth_that_does_not_move_leaves_every_pixel(points, picture):
    condition = Conditioning(points).of(picture, points[None])
    assert np.array_equal(condition.warped[0], picture)


def test_pixels_follow_their_landmarks(points):
    moved = opened(points, 8)
    back = Conditioning(points).displacements(moved[None])[0]
    for landmark in (17, 0, 2):
        x, y = moved[landmark]
        assert back[int(y), int(x), 1] == pytest.approx(moved[landmark, 1] - points[landmark, 1], abs=0.9)


def test_the_two_lips_part_sharply(points):
    moved = opened(points, 10)
    back = Conditioning(points).displacements(moved[None])[0]
    middle = int(moved[13, 0])
    upper, lower = (float(moved[landmark, 1]) for landmark in (13, 14))
    assert abs(back[int(upper) - 1, middle, 1]) < 1.5
    assert back[int(lower) + 1, middle, 1] == pytest.approx(10, abs=1.5)


def test_the_opening_grows_with_the_mouth_and_a_pressed_one_is_a_hairs_line(points):
    cover = [int(labels(opened(points, by_px))[..., 2].sum()) // 255 for by_px in (-4, 0, 4, 8)]
    assert cover[0] < points[291, 0] - points[61, 0]
    assert cover[0] <= cover[1] < cover[2] < cover[3]


def test_labels_share_the_pixels_of_their_borders(points):
    cover = labels(opened(points, 6))[..., :3].astype(int)
    assert (cover.sum(axis=-1) > 255 + 96).mean() < 0.002
    soft = (cover > 0) & (cover < 255)
    assert soft.any()


def test_the_middle_of_a_pixel_lies_in_one_label_and_in_the_one_that_covers_it(points):
    shown = labels(opened(points, 6))
    cover, stepped = shown[..., :3], shown[..., 3:] > 0
    assert set(np.unique(shown[..., 3:])) == {0, 255}
    assert stepped.sum(axis=-1).max() == 1
    for which in range(3):
        assert stepped[..., which][cover[..., which] == 255].all()
        assert not stepped[..., which][cover[..., which] == 0].any()


def test_lips_that_cross_meet_in_the_middle(points):
    upper, lower = lines(opened(points, -6))
    assert (lower[:, 1] >= upper[:, 1]).all()


def test_upper_teeth_stay_with_the_skull_and_lower_ones_sink_with_the_chin(points):
    places = Conditioning(points).places(np.stack([points, opened(points, 7)]))
    assert places[0, :4] == pytest.approx(places[1, :4])
    assert places[:, 4] == pytest.approx([0, 7], abs=1e-3)
    assert points[13, 1] - 3 < places[0, 1] < points[17, 1]


def test_states_do_not_influence_each_other(points, picture):
    moved = np.stack([opened(points, by_px) for by_px in (0, 3, 9)])
    conditioning = Conditioning(points)
    together, alone = conditioning.of(picture, moved), conditioning.of(picture, moved[2:])
    assert abs(together.warped[2].astype(int) - alone.warped[0]).max() <= 1
    assert np.array_equal(together.labels[2], alone.labels[0])


def test_nothing_moves_at_the_crops_upper_border(points):
    back = Conditioning(points).displacements(opened(points, 8)[None])[0]
    assert abs(back[: CROP_PX // 8]).max() < 1


def test_the_window_alone_is_conditioned_as_in_the_whole_crop(points, picture):
    moved = np.stack([opened(points, by_px) for by_px in (0, 9)])
    whole, part = Conditioning(points).of(picture, moved), Conditioning(points, WINDOW).of(picture, moved)
    assert np.array_equal(part.warped, whole.warped[:, WINDOW, WINDOW])
    assert np.array_equal(part.labels, whole.labels)
    assert np.array_equal(part.places, whole.places)
