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
from lipsync.train.export import Exported, examples, export
from lipsync.train.mouth import Mouth, Plan, batch_of, mirrored, relit, train


@pytest.fixture(scope="module")
def samples() -> Samples:
    """Sixteen samples of two faces: noise, an opening in the middle that the teacher paints red."""
    dice = np.random.default_rng(5)
    n, f, side = 16, 2, 72
    labels = np.zeros((n, side, side, 3), np.uint8)
    labels[:, 30:45, 20:50, 2] = 255
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


def test_another_light_is_alike_for_photo_moved_photo_and_teacher(samples):
    plain = batch_of(samples, np.arange(16))
    other = relit(plain, np.random.default_rng(1))
    assert not torch.isclose(plain.warped, other.warped).flatten(1).all(1).any()
    assert not torch.isclose(plain.source[:, :3], other.source[:, :3]).flatten(1).all(1).any()
    outside = (other.labels[:, 2:3] == 0).expand_as(other.warped)
    assert torch.equal(other.warped[outside], other.teacher[outside])
    assert torch.equal(other.source[:, 3:], plain.source[:, 3:])


def test_mirroring_turns_all_planes_and_the_teeth_and_twice_it_is_nothing(samples):
    batch, which = batch_of(samples, np.arange(16)), torch.arange(16) % 2 == 0
    seen = mirrored(batch, which)
    for planes, own in ((seen.labels, batch.labels), (seen.teacher, batch.teacher), (seen.source, batch.source)):
        assert torch.equal(planes[which], own[which].flip(-1))
        assert torch.equal(planes[~which], own[~which])
    assert seen.places[0].tolist() == [64, 60, -0.5, -3, 4]
    assert torch.equal(mirrored(seen, which).places, batch.places)


def test_the_exported_file_paints_what_torch_paints(samples, tmp_path: Path):
    torch.manual_seed(2)
    net = Mouth().eval()
    torch.nn.init.normal_(net.leave.weight, 0, 0.05)
    export(net, tmp_path / "mouth.onnx")
    batch = batch_of(samples, np.array([0, 2, 4, 6, 8]))
    source = np.zeros((128, 128, 3), np.uint8)
    source[28:100, 28:100] = samples.source[0]
    condition = Condition(samples.warped[[0, 2, 4, 6, 8]], samples.labels[:5], samples.places[:5])
    paint = MouthNet(OpenCvEngine(tmp_path / "mouth.onnx")).paint(source, samples.source_labels[0], condition)
    with torch.no_grad():
        colour, cover = Exported(net)(batch.source, batch.warped, batch.labels, batch.places).split([3, 1], dim=1)
    assert paint.colour.shape == (5, 72, 72, 3)
    assert abs(paint.colour.transpose(0, 3, 1, 2) / 255 - colour.numpy()).max() < 1e-3
    assert abs(paint.cover - cover[:, 0].numpy()).max() < 1e-3


def test_what_is_exported_is_the_mean_of_the_picture_and_of_the_mirrored_one(samples):
    net, batch = Mouth().eval(), batch_of(samples, np.arange(4))
    torch.nn.init.normal_(net.leave.weight, 0, 0.05)
    seen = mirrored(batch, torch.ones(4, dtype=torch.bool))
    with torch.no_grad():
        painted = Exported(net)(batch.source, batch.warped, batch.labels, batch.places)
        picture = batch.warped + painted[:, 3:] * (painted[:, :3] - batch.warped)
        one, _ = net(batch.source, batch.warped, batch.labels, batch.places)
        other, _ = net(seen.source, seen.warped, seen.labels, seen.places)
    assert not torch.allclose(one, other.flip(-1), atol=1e-3)
    assert torch.allclose(picture, (one + other.flip(-1)) / 2, atol=1e-4)


def test_examples_have_the_shapes_that_the_network_takes():
    colour, cover = Mouth().painted(*examples(2))
    assert tuple(colour.shape) == (2, 3, 72, 72)
    assert tuple(cover.shape) == (2, 1, 72, 72)
