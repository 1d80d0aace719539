"""The network's mouth over the drawn one: where, how much, and that it is painted in batches ahead of need."""

from __future__ import annotations

import numpy as np
import pytest

from lipsync.conditioning import WINDOW_PX, Floats
from lipsync.mouthnet import BATCH, MouthNet
from lipsync.paintwork import KEPT, STEPS, Paintwork
from lipsync.planes import part_of, planes_of
from lipsync.renderer import Renderer
from tests.lipsync.conftest import seen, speaking

STATES = [(n / STEPS, 0.0, 0.0, 0.0) for n in range(BATCH + 4)]


class Blue:
    """Paints everything blue and covers all of the window."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, inputs: dict[str, Floats]) -> Floats:
        self.runs += 1
        painted = np.zeros((BATCH, 4, 72, 72), np.float32)
        painted[:, [0, 3]] = 1
        return painted


@pytest.fixture
def engine() -> Blue:
    return Blue()


@pytest.fixture
def work(man, engine) -> Paintwork:
    return Paintwork(man, MouthNet(engine))


def laid(work: Paintwork, state, share: float) -> np.ndarray:
    grey = planes_of(np.full((work.box.h, work.box.w, 3), 100, np.uint8))
    work.lay(grey, state, np.full((WINDOW_PX, WINDOW_PX), share, np.float32))
    return seen(grey)


def test_the_mouth_takes_the_networks_colour_as_far_as_its_share(work):
    half, whole = (laid(work, STATES[3], share)[work.box.h // 2, work.box.w // 2] for share in (0.5, 1.0))
    assert abs(whole.astype(int) - [255, 0, 0]).max() <= 2
    assert abs(half.astype(int) - [178, 50, 50]).max() <= 2
    assert abs(laid(work, STATES[3], 0.0).astype(int) - 100).max() <= 1


def test_the_border_of_the_window_is_soft(work):
    blue = laid(work, STATES[3], 1.0)[work.box.h // 2, :, 0].astype(int)
    assert blue[0] < blue.max() - 80
    assert abs(np.diff(blue)).max() < 10


def test_awaited_states_are_painted_together(work, engine):
    work.expect(STATES)
    for state in STATES:
        laid(work, state, 1.0)
    assert engine.runs == 2


def test_a_state_that_nobody_announced_is_painted_alone(work, engine):
    work.expect(STATES[:2])
    laid(work, STATES[5], 1.0)
    laid(work, STATES[0], 1.0)
    laid(work, STATES[1], 1.0)
    assert engine.runs == 2


def test_states_that_nearly_agree_share_one_painting(work, engine):
    first, second = (laid(work, (0.5 + away, 0.0, 0.0, 0.0), 1.0) for away in (0, 0.005))
    assert engine.runs == 1
    assert np.array_equal(first, second)


def test_painted_states_are_not_kept_for_ever(work, engine):
    for number in range(KEPT + 1):
        laid(work, (0.0, number / STEPS, 0.0, 0.0), 1.0)
    runs = engine.runs
    laid(work, (0.0, 0.0, 0.0, 0.0), 1.0)
    assert engine.runs == runs + 1


@pytest.mark.parametrize("which", ["man", "laughing"])
def test_with_a_network_no_pixel_outside_the_box_changes(request, which, engine):
    renderer = Renderer(request.getfixturevalue(which), MouthNet(engine))
    photo = planes_of(renderer.face.picture)
    patch = renderer.patch((0.8, 0.3, 0, 0))
    assert renderer.box == renderer.box.with_(renderer._paintwork.box)
    assert [plane.shape for plane in patch] == [plane.shape for plane in part_of(photo, renderer.box)]


def test_a_closed_mouth_is_the_photo_itself_and_one_that_hardly_moves_nearly(man, engine):
    renderer = Renderer(man, MouthNet(engine))
    assert all(map(np.array_equal, speaking(renderer, (0, 0, 0, 0)), planes_of(man.picture)))
    moved, drawn = (seen(speaking(one, (0, 0.01, 0, 0))).astype(int) for one in (renderer, Renderer(man)))
    assert 0 < abs(moved - drawn).max() < 30
