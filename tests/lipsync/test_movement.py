"""How lips, jaw and cheeks move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lipsync.movement import MOVES, Lips, MouthFrame


@pytest.fixture(params=["man", "laughing"])
def lips(request) -> Lips:
    face = request.getfixturevalue(request.param)
    return Lips.of(face, MouthFrame.of(face.landmarks))


def test_the_mouths_frame_goes_there_and_back(man):
    frame = MouthFrame.of(man.landmarks)
    points = man.landmarks[:, :2]
    assert abs(frame.outside(frame.inside(points)) - points).max() < 1e-2


def test_closed_lips_of_a_photo_have_no_gap_and_open_ones_have(man, laughing):
    assert Lips.of(man, MouthFrame.of(man.landmarks)).parted == 0
    assert Lips.of(laughing, MouthFrame.of(laughing.landmarks)).parted > 0.05


def test_closing_brings_both_edges_to_the_same_line(lips):
    _, up = lips.field("closed", "upper", lips.x, lips.upper)
    _, down = lips.field("closed", "lower", lips.x, lips.lower)
    assert abs((lips.upper + up) - (lips.lower + down)).max() < 1e-4


@pytest.mark.parametrize("move", MOVES)
def test_both_sides_move_alike_beyond_the_corners(lips, move):
    """Else the cheek would tear."""
    x = np.concatenate([lips.x[0] - np.linspace(0.02, 0.6, 30), lips.x[-1] + np.linspace(0.02, 0.6, 30)]).astype("f4")
    y = np.interp(x, lips.x, lips.upper).astype("f4")
    upper, lower = (np.stack(lips.field(move, side, x, y)) for side in ("upper", "lower"))
    assert abs(upper - lower).max() < 0.003


@pytest.mark.parametrize("move", MOVES)
def test_nothing_moves_above_the_nose_and_far_below_the_chin(lips, move):
    x = np.linspace(-1, 1, 40).astype("f4")
    for side, y in (("upper", lips.nose - 0.3), ("lower", lips.chin + 0.65)):
        assert abs(np.stack(lips.field(move, side, x, np.full_like(x, y)))).max() < 0.002


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("side", ["upper", "lower"])
def test_no_move_folds_the_skin(lips, move, side):
    """A field whose slope along y reached -1 would lay skin over skin and could not be inverted."""
    y = np.linspace(lips.nose, lips.chin + 0.6, 400, dtype=np.float32)
    y = y[y < np.interp(0, lips.x, lips.upper)] if side == "upper" else y[y > np.interp(0, lips.x, lips.lower)]
    for x in np.linspace(-0.8, 0.8, 17):
        _, dy = lips.field(move, side, np.full_like(y, x), y)
        assert (np.diff(dy) / np.diff(y)).min() > -0.9


@pytest.mark.parametrize("gap", [0.0, 0.1, 0.17, 0.24])
def test_a_smile_however_wide_can_be_pressed_shut(laughing, gap):
    """From a slope of 1 on the field cannot be inverted by repetition: the nose's shadow would be seen twice."""
    lips = Lips.of(laughing, MouthFrame.of(laughing.landmarks))
    wide = replace(lips, lower=np.maximum(lips.upper, lips.lower + gap - lips.parted))
    wide = replace(
        wide, rest=wide.upper + np.float32(0.4) * (wide.lower - wide.upper), nose=float(wide.upper[32]) - 0.2
    )
    y = np.linspace(wide.nose - 0.1, wide.upper[32], 300, dtype=np.float32)
    step = sum(wide.field(move, "upper", np.zeros_like(y), y)[1] for move in ("closed", "press"))
    assert (np.diff(step) / np.diff(y)).max() < 0.9
    assert abs(step[0]) < 0.02
    assert step[-1] == pytest.approx(0.4 * gap + 0.032, abs=0.003)


def test_the_jaw_takes_the_chin_along_and_leaves_the_upper_lip(lips):
    centre = len(lips.x) // 2
    x = np.zeros(1, np.float32)
    _, chin = lips.field("open", "lower", x, np.full(1, lips.chin, np.float32))
    _, lower = lips.field("open", "lower", x, lips.lower[centre : centre + 1])
    _, upper = lips.field("open", "upper", x, lips.upper[centre : centre + 1])
    assert lower[0] > 0.2
    assert chin[0] > 0.2
    assert abs(upper[0]) < 0.03


def test_wide_lips_draw_the_corners_apart_and_round_ones_together(lips):
    ends = lips.x[[0, -1]]
    wide, _ = lips.field("wide", "upper", ends, lips.upper[[0, -1]])
    round_, _ = lips.field("round", "upper", ends, lips.upper[[0, -1]])
    assert wide[0] < -0.03 < 0.03 < wide[1]
    assert round_[1] < -0.08 < 0.08 < round_[0]
