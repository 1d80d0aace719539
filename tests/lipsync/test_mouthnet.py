"""The painted mouth and how it is laid on the photo."""

from __future__ import annotations

import numpy as np
import pytest

from lipsync.conditioning import CROP_PX, WINDOW, Floats
from lipsync.engine import engine_of
from lipsync.errors import ModelMissing
from lipsync.face import Face
from lipsync.gestures import Gestures
from lipsync.mouthnet import BATCH, MouthNet, MouthPainter, Paint


class Red:
    """Paints everything red, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Floats]] = []

    def run(self, inputs: dict[str, Floats]) -> Floats:
        self.asked.append(inputs)
        painted = np.zeros((BATCH, 4, 72, 72), np.float32)
        painted[:, 2] = 1
        painted[:, 3] = inputs["labels"][:, 2]
        return painted


@pytest.fixture
def paint() -> Paint:
    """Two states: nothing covered, and a square covered with 200."""
    cover = np.zeros((2, 72, 72), np.float32)
    cover[1, 30:42, 30:42] = 1
    return Paint(np.full((2, 72, 72, 3), 200, np.float32), cover)


def test_paint_changes_what_it_covers_and_nothing_else(paint):
    warped = np.random.default_rng(1).integers(0, 150, (2, CROP_PX, CROP_PX, 3), np.uint8)
    crops = paint.laid_on(warped)
    assert np.array_equal(crops[0], warped[0])
    square = np.zeros((CROP_PX, CROP_PX), bool)
    square[58:70, 58:70] = True
    assert (crops[1][square] == 200).all()
    assert np.array_equal(crops[1][~square], warped[1][~square])


def test_states_are_painted_in_batches_of_a_fixed_size(man: Face):
    engine = Red()
    painter = MouthPainter(MouthNet(engine), man.picture, man.landmarks)
    states = [(0.1 * n, 0.0, 0.0, 0.0) for n in range(BATCH + 3)]
    condition, paint = painter.paint(Gestures(man).of(states))
    assert [len(asked["warped"]) for asked in engine.asked] == [BATCH, BATCH]
    assert len(condition.warped) == len(paint.colour) == BATCH + 3
    opening = paint.cover.reshape(BATCH + 3, -1).sum(axis=1)
    assert (np.diff(opening) > 0).all()


def test_the_network_sees_the_photo_and_its_own_labels_in_the_window(man: Face):
    engine = Red()
    painter = MouthPainter(MouthNet(engine), man.picture, man.landmarks)
    painter.paint(man.landmarks[None])
    source = engine.asked[0]["source"]
    photo = painter.crop.cut(man.picture)[WINDOW, WINDOW]
    assert abs(source[0, :3].transpose(1, 2, 0) * 255 - photo).max() < 0.01
    assert source[0, 3:5].max() > 0.99


def test_weights_that_are_not_there_are_missed_by_name(tmp_path):
    with pytest.raises(ModelMissing, match=r"gone\.onnx"):
        engine_of(tmp_path / "gone.onnx")
