"""The shipped network on a real photo: what it must do whatever it was trained to."""

from __future__ import annotations

import numpy as np
import pytest

from lipsync.engine import OpenCvEngine
from lipsync.mouthnet import WEIGHTS, MouthNet
from lipsync.planes import planes_of
from lipsync.renderer import Renderer
from tests.lipsync.conftest import seen, speaking

OPENINGS = [(jaw, 0.0, 0.0, 0.0) for jaw in (0.0, 0.25, 0.5, 1.0)]


@pytest.fixture(scope="module")
def net() -> MouthNet:
    return MouthNet(OpenCvEngine(WEIGHTS))


def test_a_silent_mouth_is_closed_and_it_changes_more_the_more_it_opens(man, net):
    renderer = Renderer(man, net)
    renderer.expect(OPENINGS)
    own = planes_of(man.picture)[0]
    away = [abs(speaking(renderer, state)[0].astype(int) - own).mean() for state in OPENINGS]
    assert away[0] == 0
    assert away == sorted(away)
    assert away[-1] > 0


def test_a_laugh_is_closed_in_silence(laughing, net):
    x, y = laughing.landmarks[[13, 14], :2].mean(axis=0).astype(int)
    closed = seen(speaking(Renderer(laughing, net), OPENINGS[0]))[y - 4 : y + 5, x - 15 : x + 16].astype(int)
    teeth = laughing.picture[y - 4 : y + 5, x - 15 : x + 16].astype(int)
    assert np.ptp(teeth.mean(axis=(0, 1))) < np.ptp(closed.mean(axis=(0, 1)))


def test_two_renders_are_alike_and_announcing_changes_nothing(man, net):
    first, second = Renderer(man, net), Renderer(man, net)
    first.expect(OPENINGS)
    for state in OPENINGS:
        assert all(map(np.array_equal, first.patch(state), second.patch(state)))


def test_the_tone_has_no_seam_at_its_border(man, net):
    """Toned and drawn mouth differ smoothly, and not at all where the network's part ends."""
    toned, drawn = (speaking(one, OPENINGS[2]) for one in (Renderer(man, net), Renderer(man)))
    for with_net, without, least in zip(toned, drawn, (1000, 250, 250), strict=True):
        step = with_net.astype(int) - without
        rows, columns = np.nonzero(step)
        assert len(rows) > least
        part = step[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert max(abs(edge).max() for edge in (part[0], part[-1], part[:, 0], part[:, -1])) <= 1
        # the very darkest pixels can become no darker: a few steps are larger
        assert max(np.percentile(abs(np.diff(part, axis=axis)), 99.9) for axis in (0, 1)) <= 5
