"""Where the face lands in a chapter's picture, and where nothing may change."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from encoder.model import Placement
from lipsync.box import Area
from lipsync.compose import Compositor, PlacedLabel, area_of, fitted, rectangle_of, soft_matte, views_of
from lipsync.errors import RenderFailed
from lipsync.face import CHIN, FOREHEAD
from lipsync.planes import planes_of
from lipsync.protocols import Stamp

CLOSED, WIDE_OPEN = (0, 0, 0, 0), (1, 0, 0, 0)
WIDTH, HEIGHT = 960, 540
PLACE = Placement(0.301, 0.1, 0.4, 0.8)


def scene(seed: int = 1) -> np.ndarray:
    """A chapter's frame: noise in legal range."""
    return np.random.default_rng(seed).integers(16, 236, (HEIGHT * 3 // 2, WIDTH), np.uint8)


def changed_box(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    """The bounds x0, y0, x1, y1 of all that differs, in luma pixels."""
    boxes = []
    for plane, (old, new) in enumerate(zip(views_of(before), views_of(after), strict=True)):
        rows, columns = np.nonzero(old != new)
        scale = 1 if plane == 0 else 2
        boxes.append((columns.min() * scale, rows.min() * scale, (columns.max() + 1) * scale, (rows.max() + 1) * scale))
    low, high = np.array(boxes).min(axis=0), np.array(boxes).max(axis=0)
    return int(low[0]), int(low[1]), int(high[2]), int(high[3])


@pytest.mark.parametrize("state", [CLOSED, WIDE_OPEN])
def test_everything_outside_the_placement_stays_bit_equal(man, state):
    before = scene()
    kept = before.copy()
    after = Compositor.into_slot(man, PLACE, WIDTH, HEIGHT).compose(before, state)
    assert np.array_equal(before, kept)
    x0, y0, x1, y1 = changed_box(before, after)
    assert x0 >= PLACE.x * WIDTH
    assert y0 >= PLACE.y * HEIGHT
    assert x1 <= (PLACE.x + PLACE.w) * WIDTH
    assert y1 <= (PLACE.y + PLACE.h) * HEIGHT
    assert x1 - x0 > 0.9 * PLACE.w * WIDTH


def test_the_face_itself_is_shown_in_the_middle_of_the_placement(man, finder):
    frame = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    after = Compositor.into_slot(man, Placement(0.25, 0, 0.5, 1), WIDTH, HEIGHT).compose(frame, CLOSED)
    seen = finder.find(cv2.cvtColor(after, cv2.COLOR_YUV2BGR_I420))
    middle = (seen.landmarks[CHIN, :2] + seen.landmarks[FOREHEAD, :2]) / 2
    assert abs(middle[0] / WIDTH - 0.5) < 0.06
    assert 80 < seen.pupils_px < 160


def test_frames_move_on_under_the_soft_edge(man):
    compositor = Compositor.into_slot(man, PLACE, WIDTH, HEIGHT)
    first, second = (compositor.compose(scene(seed), CLOSED) for seed in (1, 2))
    box = rectangle_of(PLACE, WIDTH, HEIGHT)
    assert not np.array_equal(first[box.y + 2, box.columns], second[box.y + 2, box.columns])
    middle = (slice(box.y + box.h // 2, box.y + box.h // 2 + 40), slice(box.x + box.w // 3, box.x + 2 * box.w // 3))
    assert np.array_equal(first[middle], second[middle])


def test_only_the_mouths_part_of_the_face_moves(man):
    frame = scene()
    compositor = Compositor.into_slot(man, PLACE, WIDTH, HEIGHT)
    closed, open_ = compositor.compose(frame, CLOSED), compositor.compose(frame, WIDE_OPEN)
    again = compositor.compose(frame, CLOSED)
    assert np.array_equal(closed, again)
    _, y0, _, _ = changed_box(closed, open_)
    assert y0 > (PLACE.y + 0.35 * PLACE.h) * HEIGHT


def test_the_label_is_there_whatever_the_face_and_the_mask(man):
    frame = np.full((HEIGHT * 3 // 2, WIDTH), 60, np.uint8)
    box = rectangle_of(PLACE, WIDTH, HEIGHT)
    nothing = np.zeros((50, 50), np.uint8)
    after = Compositor.into_slot(man, PLACE, WIDTH, HEIGHT, nothing).compose(frame, CLOSED)
    luma = views_of(after)[0]
    x0, y0, x1, y1 = changed_box(frame, after)
    assert box.x <= x0 < x1 <= box.x + box.w
    assert box.y <= y0 < y1 <= box.y + box.h
    assert (luma[y0:y1, x0:x1] > 220).sum() > 100


def test_a_mask_says_where_the_face_is(man):
    frame = scene()
    mask = np.zeros((100, 100), np.uint8)
    mask[50:] = 255
    after = Compositor.into_slot(man, PLACE, WIDTH, HEIGHT, mask).compose(frame, CLOSED)
    box = rectangle_of(PLACE, WIDTH, HEIGHT)
    above, below = (slice(box.y + 100, box.y + box.h // 2 - 6), slice(box.y + box.h // 2 + 6, box.y + box.h - 2))
    assert np.array_equal(after[above, box.columns], frame[above, box.columns])
    assert not np.array_equal(after[below, box.columns], frame[below, box.columns])


def test_the_light_of_the_scene_is_taken_over_a_little_and_not_more(man):
    def face_luma(ground: int) -> float:
        frame = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
        frame[:HEIGHT] = ground
        after = Compositor.into_slot(man, PLACE, WIDTH, HEIGHT).compose(frame, CLOSED)
        return float(after[240:300, 440:520].mean())

    dark, bright = face_luma(30), face_luma(220)
    assert 1.05 < bright / dark < 1.35


def test_the_colours_are_bt_709_in_limited_range():
    patches = np.array([[0, 0, 0], [255, 255, 255], [0, 0, 255], [0, 255, 0], [255, 0, 0]], np.uint8)
    expected = [(16, 128, 128), (235, 128, 128), (63, 102, 240), (173, 42, 26), (32, 240, 118)]
    for colour, yuv in zip(patches, expected, strict=True):
        planes = planes_of(np.full((4, 4, 3), colour, np.uint8))
        assert [abs(int(plane[0, 0]) - value) <= 1 for plane, value in zip(planes, yuv, strict=True)] == [True] * 3


@pytest.mark.parametrize(
    "place", [Placement(0, 0, 1, 1), Placement(0.333, 0.333, 0.333, 0.333), Placement(0.5, 0.5, 0.5, 0.5)]
)
@pytest.mark.parametrize("size", [(1920, 1080), (640, 360), (854, 480)])
def test_a_rectangle_is_even_and_lies_within_its_placement(place, size):
    box = rectangle_of(place, *size)
    assert [side % 2 for side in (box.x, box.y, box.w, box.h)] == [0] * 4
    assert box.x >= place.x * size[0] - 1e-6
    assert box.x + box.w <= (place.x + place.w) * size[0] + 1e-6
    assert box.y + box.h <= (place.y + place.h) * size[1] + 1e-6


def test_a_placement_too_small_for_a_face_and_a_label_is_refused():
    with pytest.raises(RenderFailed):
        rectangle_of(Placement(0.1, 0.1, 0.02, 0.5), WIDTH, HEIGHT)


@pytest.mark.parametrize("size", [(300, 300), (200, 420), (500, 280)])
def test_a_fitted_face_keeps_chin_and_forehead_in_any_rectangle(man, finder, size):
    face, covered = fitted(man, Area(0, 0, *size), *size)
    assert face.picture.shape == (size[1], size[0], 3)
    assert covered.h == size[1]
    assert abs(face.landmarks - finder.find(face.picture).landmarks)[:, :2].mean() < 0.03 * face.pupils_px
    assert face.landmarks[FOREHEAD, 1] > 0
    assert face.landmarks[CHIN, 1] < size[1]


def test_a_wide_rectangle_shows_the_scene_beside_the_head(man):
    before = scene()
    place = Placement(0.05, 0.3, 0.9, 0.4)
    after = Compositor.into_slot(man, place, WIDTH, HEIGHT).compose(before, CLOSED)
    box = rectangle_of(place, WIDTH, HEIGHT)
    edge = slice(box.y + box.h // 2, box.y + box.h)
    assert np.array_equal(after[edge, box.x : box.x + 60], before[edge, box.x : box.x + 60])
    middle = (edge, slice(WIDTH // 2 - 30, WIDTH // 2 + 30))
    assert not np.array_equal(after[middle], before[middle])


def test_the_matte_is_full_in_the_middle_and_nothing_at_the_border():
    matte = soft_matte(Area(0, 0, 400, 300), 400, 300)
    assert matte.shape == (300, 400)
    assert (matte[100:200, 100:300] == 1).all()
    assert max(matte[0].max(), matte[:, 0].max(), matte[-1].max(), matte[:, -1].max()) < 0.02


def test_grain_is_on_the_face_alone_and_moves_and_is_the_same_in_every_render(man):
    grey = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    clean = Compositor.into_slot(man, PLACE, WIDTH, HEIGHT).compose(grey, CLOSED)
    renders = [Compositor.into_slot(man, PLACE, WIDTH, HEIGHT, grain=8) for _ in range(2)]
    pictures = [[compositor.compose(grey, CLOSED) for _ in range(2)] for compositor in renders]
    assert np.array_equal(pictures[0], pictures[1])
    first, second = pictures[0]
    middle = (slice(200, 340), slice(400, 560))
    noise = first[middle].astype(int) - clean[middle]
    assert 3 < noise.std() < 5
    assert abs(noise.mean()) < 0.3
    assert abs(np.corrcoef(noise.ravel(), (second[middle].astype(int) - clean[middle]).ravel())[0, 1]) < 0.2
    assert np.array_equal(first[:40], grey[:40])


@pytest.mark.parametrize("place", ["top-right", "top-left", "bottom-right", "bottom-left"])
def test_the_label_stands_in_the_corner_that_it_is_told(man, place):
    grey = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    two = [
        Compositor.into_slot(man, PLACE, WIDTH, HEIGHT, stamp=Stamp(text, place)).compose(grey, CLOSED)
        for text in ("AI", "KI")
    ]
    rows, columns = np.nonzero(two[0][:HEIGHT] != two[1][:HEIGHT])
    x0, x1, y0, y1 = columns.min(), columns.max(), rows.min(), rows.max()
    middle_x, middle_y = (PLACE.x + PLACE.w / 2) * WIDTH, (PLACE.y + PLACE.h / 2) * HEIGHT
    assert (x0 > middle_x, x1 < middle_x) == ("right" in place, "left" in place)
    assert (y0 > middle_y, y1 < middle_y) == ("bottom" in place, "top" in place)


LARGE, SMALL = (1920, 1080), (768, 432)
# On no grid of pixels, large or small.
ODD = Placement(0.541, 0.093, 0.357, 0.799)


@pytest.mark.parametrize("masked", [False, True])
def test_face_and_label_are_the_same_part_of_the_picture_in_every_size(man, masked):
    """Rungs of different takes are composed at sizes of their own; who changes between them sees nothing move."""
    mask = cv2.circle(np.zeros((300, 300), np.uint8), (150, 150), 120, 255, -1) if masked else None
    made = []
    for width, height in (LARGE, SMALL):
        grey = np.full((height * 3 // 2, width), 128, np.uint8)
        made.append(Compositor.into_slot(man, ODD, width, height, mask).compose(grey, (0.6, 0.2, 0, 0)))
    box, halves = rectangle_of(ODD, *SMALL), (SMALL[0] // 2, SMALL[1] // 2)
    scaled = [
        cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
        for plane, size in zip(views_of(made[0]), (SMALL, halves, halves), strict=True)
    ]
    for one, other, part in zip(scaled, views_of(made[1]), (box, box.halved, box.halved), strict=True):
        assert abs(one[part.rows, part.columns].mean() - other[part.rows, part.columns].mean()) < 0.5
    large, small = (plane[box.rows, box.columns].astype(np.float32) for plane in (scaled[0], views_of(made[1])[0]))
    assert np.hypot(*shift_between(small, large)) < 0.1
    assert cv2.PSNR(small, large, 255) > 38
    label = PlacedLabel(area_of(ODD, *SMALL), SMALL[1], Stamp()).box.within(box)
    letters = [cv2.GaussianBlur(luma[label.rows, label.columns], (0, 0), 1) for luma in (small, large)]
    assert np.hypot(*shift_between(*letters)) < 0.1
    assert np.abs(letters[0] - letters[1]).max() < 20


def shift_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """By how many pixels the other one lies further right and down (Evangelidis and Psarakis, ECC, 2008)."""
    warp = np.eye(2, 3, dtype=np.float32)
    until = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-7)
    cv2.findTransformECC(one, other, warp, cv2.MOTION_TRANSLATION, until)
    return warp[:, 2]
