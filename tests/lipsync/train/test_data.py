"""The reader of the distillation set, on a tiny one that is made here."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lipsync.conditioning import CROP_PX
from lipsync.face import Face
from lipsync.train.data import LEFT_OUT, Example, Samples, faces, mouth_mask

STATES = 3
LIPS = (0, 13, 14, 17, 61, 291)


@pytest.fixture(scope="module")
def dataset(man: Face, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One face whose lower lip sinks by 0, 1 and 2 pixels of the crop; teacher's pictures of one grey each."""
    root = tmp_path_factory.mktemp("set")
    folder = root / "train" / "one"
    folder.mkdir(parents=True)
    x0, y0 = np.floor(man.landmarks[1, :2] - 100).astype(int)
    rect = np.array([x0, y0, x0 + 256, y0 + 256], np.int32)
    place = (man.landmarks[:, :2] - rect[:2]) * (CROP_PX / 256)
    basis = np.zeros((6, len(LIPS), 2), np.float16)
    basis[0, 2:4, 1] = 1
    coefs = np.zeros((STATES, 6), np.float32)
    coefs[:, 0] = range(STATES)
    arrays = {
        "coefs": coefs, "landmarks": man.landmarks, "rect": rect, "lm_idx": np.array(LIPS, np.int16),
        "lm_zero": place[list(LIPS)].astype(np.float32), "lm_basis": basis, "hole_px": np.array([0, 0, 90], np.int32),
    }  # fmt: skip
    np.savez(folder / "meta.npz", **arrays)
    grey = np.repeat(np.arange(STATES, dtype=np.uint8) * 50, CROP_PX)[:, None, None]
    strip = np.ascontiguousarray(np.broadcast_to(grey, (STATES * CROP_PX, CROP_PX, 3)))
    label = np.full_like(strip, 128)
    label[..., 2] = 0
    label[60, 64, 2] = 6
    cv2.imwrite(str(folder / "teacher.jpg"), strip)
    cv2.imwrite(str(folder / "cond.webp"), label, [cv2.IMWRITE_WEBP_QUALITY, 101])
    cv2.imwrite(str(folder / "src.webp"), cv2.resize(man.picture[:256, :256], (CROP_PX, CROP_PX)))
    for name in LEFT_OUT:
        (root / "train" / name).mkdir()
    return root


def test_a_real_person_is_left_out(dataset):
    assert [path.name for path in faces(dataset, "train")] == ["one"]


def test_states_move_the_landmarks_that_the_basis_names(dataset):
    example = Example.read(dataset / "train" / "one")
    sunk = example.moved[:, 17, 1] - example.points[17, 1]
    assert sunk == pytest.approx([0, 1, 2], abs=0.02)
    assert np.array_equal(example.moved[2, 2], example.moved[0, 2])


def test_strips_are_cut_into_pictures(dataset):
    example = Example.read(dataset / "train" / "one")
    assert [int(one.mean().round()) for one in example.teacher] == [0, 50, 100]
    assert example.mouth[0].sum() == 11 * 11


def test_the_mask_is_the_mouth_and_five_pixels_round_it():
    label = np.ones((40, 40), np.uint8)
    label[20, 20] = 2
    mask = mouth_mask(label)
    assert mask[20, 25] == 1
    assert mask[20, 26] == 0


def test_samples_hold_the_window_of_every_state(dataset):
    samples = Samples.load(dataset, "train")
    assert samples.warped.shape == samples.teacher.shape == (2 * STATES, 72, 72, 3)
    assert samples.labels.shape == (2 * STATES, 72, 72, 6)
    assert samples.source.shape == samples.source_labels.shape == (1, 72, 72, 3)
    assert samples.face.tolist() == [0] * 2 * STATES


def test_every_state_is_there_moved_by_our_fields_and_by_the_teachers_mesh(dataset):
    samples = Samples.load(dataset, "train")
    ours, mesh = samples.warped[:STATES], samples.warped[STATES:]
    assert np.array_equal(samples.teacher[:STATES], samples.teacher[STATES:])
    moved = Example.read(dataset / "train" / "one").mesh[:, 28:100, 28:100]
    assert np.array_equal(mesh, moved)
    assert not np.array_equal(ours, mesh)


def test_states_that_the_teacher_paints_poorly_weigh_less(dataset):
    assert Samples.load(dataset, "train").weight.tolist() == [1, 1, 0.5] * 2
