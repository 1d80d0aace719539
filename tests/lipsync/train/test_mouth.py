"""The network: what it covers, what it can learn, and that the exported file does the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lipsync.conditioning import Condition
from lipsync.engine import OpenCvEngine
from lipsync.mouthnet import MouthNet
from lipsync.train.data import Samples
from lipsync.train.export import examples, export
from lipsync.train.mouth import Mouth, Plan, View, augmented, batch_of, train


@pytest.fixture(scope="module")
def samples() -> Samples:
    """Sixteen samples of two faces: noise, an opening in the middle that the teacher paints red."""
    dice = np.random.default_rng(5)
    n, f, side = 16, 2, 84
    labels = np.zeros((n, side, side, 3), np.uint8)
    labels[:, 36:51, 26:56, 2] = 255
    warped = dice.integers(90, 160, (n, side, side, 3), np.uint8)
    teacher = np.where(labels[..., 2:] > 0, np.array([30, 30, 200], np.uint8), warped)
    source = dice.integers(90, 160, (f, side, side, 3), np.uint8)
    return Samples(
        np.arange(n) % f, source, labels[:f], warped, np.concatenate([labels, labels], axis=-1),
        np.tile(np.float32([64, 60, 0.5, -3, 4]), (n, 1)), teacher, (labels[..., 2] > 0).astype(np.uint8),
        np.ones(n, np.float32),
    )  # fmt: skip


def test_the_network_is_small():
    assert 300_000 < sum(weights.numel() for weights in Mouth().parameters()) < 1_000_000


def test_the_opening_is_painted_wholly_whatever_the_moved_photo_shows_there(samples):
    net, batch = Mouth().eval(), batch_of(samples, np.arange(4))
    other = batch.warped.clone()
    other[:, :, 32:43, 22:48] = 0.9
    with torch.no_grad():
        first, cover = net(batch.source, batch.warped, batch.labels, batch.places)
        second, _ = net(batch.source, other, batch.labels, batch.places)
    assert float(cover[:, :, 32:43, 22:48].min()) == 1
    assert torch.equal(first[:, :, 32:43, 22:48], second[:, :, 32:43, 22:48])


def test_training_brings_the_picture_nearer_to_the_teacher(samples, tmp_path):
    torch.set_num_threads(1)
    net = train(samples, tmp_path / "w.pt", Plan(steps=30, batch=8, rate=3e-3))
    batch = batch_of(samples, np.arange(16))
    inside = batch.labels[:, 2:3] > 0
    with torch.no_grad():
        away = [
            float(
                ((one(batch.source, batch.warped, batch.labels, batch.places)[0] - batch.teacher).abs() * inside).mean()
            )
            for one in (Mouth(), net)
        ]
    assert away[1] < 0.7 * away[0]
    assert (tmp_path / "w.pt").is_file()


def test_another_light_and_place_are_alike_for_photo_moved_photo_and_teacher(samples):
    plain = batch_of(samples, np.arange(4))
    other = batch_of(samples, np.arange(4), np.random.default_rng(1))
    assert not torch.equal(plain.warped, other.warped)
    outside = (other.labels[:, 2:3] == 0).expand_as(other.warped)
    assert torch.equal(other.warped[outside], other.teacher[outside])
    assert float(((other.mouth[:, 0] > 0) != (other.labels[:, 2] > 0.5)).float().mean()) < 0.005


@pytest.mark.parametrize(
    "view", [View(), View(5, -4), View(3, 2, 1.1, 0.92), View(-1, 1, 0.95, 1.1), View(0, -2, 1.0, 0.9)]
)
def test_the_edge_of_the_teeth_moves_and_stretches_with_the_window(view):
    places = np.float32([66, 58, 0.8, -3, 5])
    rows, columns = np.mgrid[0:84, 0:84] + 22.5
    wide = np.clip(20 * _below_the_edge(places, rows, columns) + 128, 0, 255).astype(np.uint8)
    seen, new = view.cut(wide), view.places(places)
    rows, columns = np.mgrid[0:72, 0:72] + 28.5
    near = abs(seen.astype(int) - 128) < 60
    assert near.any()
    away = 20 / view.sy * _below_the_edge(new, rows, columns) - (seen.astype(int) - 128)
    assert abs(away[near]).max() < 2
    assert new[[0, 4]] == pytest.approx([64 + (2 - view.dx) * view.sx, 5 * view.sy])


def _below_the_edge(places, rows, columns):
    _, level, slope, bend, _ = places
    along = (columns - 64) / 20
    return rows - (level + slope * along + bend * along**2)


def test_mirroring_twice_is_nothing_and_once_mirrors_the_middle_of_the_teeth(samples):
    batch = batch_of(samples, np.arange(16))
    seen = augmented(batch, np.random.default_rng(8))
    mirrored = ~torch.isclose(seen.labels, batch.labels).flatten(1).all(1)
    assert 0 < int(mirrored.sum()) < 16
    assert torch.equal(seen.labels[mirrored].flip(-1), batch.labels[mirrored])


def test_the_exported_file_paints_what_torch_paints(samples, tmp_path: Path):
    torch.manual_seed(2)
    net = Mouth().eval()
    torch.nn.init.normal_(net.leave.weight, 0, 0.05)
    export(net, tmp_path / "mouth.onnx")
    batch = batch_of(samples, np.array([0, 2, 4, 6, 8]))
    windows = samples.warped[[0, 2, 4, 6, 8], 6:78, 6:78]
    source = np.zeros((128, 128, 3), np.uint8)
    source[28:100, 28:100] = samples.source[0, 6:78, 6:78]
    condition = Condition(windows, samples.labels[:5, 6:78, 6:78], samples.places[:5])
    paint = MouthNet(OpenCvEngine(tmp_path / "mouth.onnx")).paint(
        source, samples.source_labels[0, 6:78, 6:78], condition
    )
    with torch.no_grad():
        colour, cover = net.painted(batch.source, batch.warped, batch.labels, batch.places)
    assert paint.colour.shape == (5, 72, 72, 3)
    assert abs(paint.colour.transpose(0, 3, 1, 2) / 255 - colour.numpy()).max() < 1e-3
    assert abs(paint.cover - cover[:, 0].numpy()).max() < 1e-3


def test_examples_have_the_shapes_that_the_network_takes():
    colour, cover = Mouth().painted(*examples(2))
    assert tuple(colour.shape) == (2, 3, 72, 72)
    assert tuple(cover.shape) == (2, 1, 72, 72)
