"""Blinks and sway: there, slight, the same every time, and nothing at the border."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from lipsync.compose import Compositor
from lipsync.face import Face
from lipsync.life import BLINK, SWAY_RAD, Eyelids, Sway, life_of
from lipsync.planes import planes_of

SEED = "5f" * 32
TALK = np.full((1500, 4), 0.3, np.float32)
REST = (0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def face(man: Face) -> Face:
    return man.scaled(320, 2 * round(320 * man.picture.shape[0] / man.picture.shape[1] / 2))


def test_life_is_the_same_for_the_same_narration_and_another_for_another():
    assert np.array_equal(life_of(SEED, Fraction(25), TALK[:400]), life_of(SEED, Fraction(25), TALK[:400]))
    assert not np.array_equal(life_of(SEED, Fraction(25), TALK[:400]), life_of("60" * 32, Fraction(25), TALK[:400]))


def test_a_speaker_blinks_every_few_seconds_and_briefly():
    closed = life_of(SEED, Fraction(25), TALK)[:, BLINK]
    blinks = np.count_nonzero(np.diff((closed > 0.5).astype(int)) == 1)
    assert 8 <= blinks <= 28
    assert (closed > 0.5).mean() < 0.08


def test_nobody_blinks_in_a_pause():
    """So that whatever moves in silence is the head alone."""
    talk = TALK.copy()
    talk[200:1300] = 0
    closed = life_of(SEED, Fraction(25), talk)[:, BLINK]
    assert closed[200:1300].max() == 0
    assert closed[:200].max() > 0.5
    assert closed[1300:].max() > 0.5
    assert life_of(SEED, Fraction(25), np.zeros((5, 4), np.float32))[:, BLINK].max() == 0


def test_a_head_sways_slowly_and_begins_and_ends_in_the_photos_pose():
    pose = life_of(SEED, Fraction(25), TALK[:400])[:, BLINK + 1 :]
    assert (abs(pose).max(axis=0) <= SWAY_RAD).all()
    assert abs(np.diff(pose, axis=0)).max() < 0.003
    assert abs(pose[[0, -1]]).max() < 1e-3
    assert abs(pose).max() > 0.005


def test_a_blink_covers_the_eyes_and_leaves_the_rest(face):
    lids = Eyelids(face)
    assert len(lids.boxes) == 2
    for (box, (shut, *_)), (_, (own, *_)) in zip(lids.patches(1), lids.patches(0), strict=True):
        assert np.array_equal(own, planes_of(face.picture)[0][box.rows, box.columns])
        assert abs(shut.astype(int) - own).max() > 25
        rim = np.ones(shut.shape[:2], bool)
        rim[1:-1, 1:-1] = False
        assert np.array_equal(shut[rim], own[rim])


def test_eyes_that_are_closed_already_do_not_blink(face):
    flat = face.landmarks.copy()
    for upper, lower in (
        (159, 145),
        (386, 374),
        (158, 153),
        (385, 380),
        (160, 144),
        (387, 373),
        (161, 163),
        (157, 154),
    ):
        flat[upper, 1] = flat[lower, 1] - 0.5
    assert Eyelids(Face(face.picture, flat)).boxes == []


def test_a_sway_moves_the_face_and_never_the_border(face):
    planes = planes_of(face.picture)
    moved = [plane.copy() for plane in planes]
    Sway(face, planes[0]).over(moved, np.array(SWAY_RAD, np.float32))
    for plane, other in zip(planes, moved, strict=True):
        away = abs(other.astype(int) - plane)
        assert away.mean() > 0.3
        away[2:-2, 2:-2] = 0
        assert away.max() <= 1


def test_without_life_a_portrait_is_the_photo_but_for_mouth_and_label(face):
    compositor = Compositor.portrait(face)
    alive, still = (compositor.compose(compositor.blank(), (0, 0, 0, 0), signs) for signs in ((1, *SWAY_RAD), REST))
    assert abs(alive.astype(int) - still).mean() > 0.5
    again = compositor.compose(compositor.blank(), (0, 0, 0, 0), REST)
    assert np.array_equal(still, again)
