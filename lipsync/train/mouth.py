"""The mouth network and its training: `python -m lipsync.train.mouth DATASET OUT`.

A U-Net of dense convolutions at 1/2, 1/4 and 1/8 of the window (Ronneberger et al., arXiv 1505.04597), folded in by
strides and out by pixel shuffle (Shi et al., arXiv 1609.05158). It paints a colour and how much of it covers the moved
photo: inside the opening all of it, on lips and skin as little as the teacher's picture allows, so that the photo's own
detail stays.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as f

from lipsync.conditioning import CROP_PX, PLACES, TEETH_SPAN_PX, WINDOW, WINDOW_PX, Pixels
from lipsync.train.data import Samples

Picked = NDArray[np.int64]

WIDTHS = (40, 64, 88)
IN_CHANNELS, SHARP_CHANNELS = 21, 16
TEETH_PX, BREADTH_PX, EDGE_PX = 16.0, 32.0, 2.0
SQUARE_PRICE, SLOPE_PRICE, COVER_PRICE, NOISE_PRICE = 20.0, 0.15, 0.003, 0.03
FALLS, LEVEL = 0.6, 0.4
"""The learning rate falls for so much of the way, to that share of it; from there on it stays."""
FAR = 0.33
"""Share of the samples whose light is made quite another one."""


def _silence(layer: nn.Conv2d) -> None:
    """Let a layer begin with nothing to say."""
    for weights in layer.parameters():
        nn.init.zeros_(weights)


class Block(nn.Module):
    """Two 3x3 convolutions beside a straight way."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        _silence(self.second)

    def forward(self, x: Tensor) -> Tensor:
        return f.relu(x + self.second(f.relu(self.first(x))))


class Mouth(nn.Module):
    """source (1 or n, 6, 72, 72): the photo's window and its labels; warped (n, 3, 72, 72), labels (n, 6, 72, 72): all
    0..1; places (n, PLACES) in crop pixels -> the picture (n, 3, 72, 72) and how much of it is painted (n, 1, 72, 72).
    """

    x: Tensor
    y: Tensor

    def __init__(self, widths: tuple[int, int, int] = WIDTHS) -> None:
        super().__init__()
        a, b, c = widths
        self.enter = nn.Conv2d(IN_CHANNELS, a, 6, stride=2, padding=2)
        self.fine = Block(a)
        self.down = nn.Conv2d(a, b, 2, stride=2)
        self.middle = Block(b)
        self.deeper = nn.Conv2d(b, c, 2, stride=2)
        self.deep = nn.Sequential(Block(c), Block(c))
        self.rise = nn.Conv2d(c, 4 * b, 1)
        self.middle_out = Block(b)
        self.up = nn.Conv2d(b, 4 * a, 1)
        self.fine_out = Block(a)
        self.leave = nn.Conv2d(a, 16, 3, padding=1)
        _silence(self.leave)
        last = nn.Conv2d(16, 4, 3, padding=1)
        self.sharpen = nn.Sequential(nn.Conv2d(SHARP_CHANNELS, 16, 3, padding=1), nn.ReLU(), last)
        _silence(last)
        at = torch.arange(WINDOW.start, WINDOW.stop, dtype=torch.float32) + 0.5
        self.register_buffer("x", at.view(1, 1, 1, -1).expand(1, 1, WINDOW_PX, WINDOW_PX).clone(), persistent=False)
        self.register_buffer("y", at.view(1, 1, -1, 1).expand(1, 1, WINDOW_PX, WINDOW_PX).clone(), persistent=False)

    def forward(self, source: Tensor, warped: Tensor, labels: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        colour, cover = self.painted(source, warped, labels, places)
        return warped + cover * (colour - warped), cover

    def painted(self, source: Tensor, warped: Tensor, labels: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return the colour (n, 3, 72, 72) and its cover, before the photo is laid beneath."""
        opening, inside = labels[:, 2:3], labels[:, 5:]
        painted_out = (warped - 0.5) * (1 - opening)
        source = (source - 0.5).expand(len(warped), -1, -1, -1)
        coordinates = self._coordinates(places)
        teeth = inside * (coordinates[:, 3:4] < 0)
        soft, stepped = labels[:, :3] - 0.5, labels[:, 3:] - 0.5
        out = self._network(torch.cat([painted_out, soft, coordinates, source, stepped, teeth], 1))
        out = out + self.sharpen(torch.cat([out, painted_out, soft, stepped, teeth, coordinates[:, 3:]], 1)).float()
        colour, cover = out[:, :3] + 0.5, torch.sigmoid(out[:, 3:] - 1)
        return colour, opening + (1 - opening) * cover

    def _network(self, x: Tensor) -> Tensor:
        fine = self.fine(f.relu(self.enter(x)))
        middle = self.middle(f.relu(self.down(fine)))
        deep = self.deep(f.relu(self.deeper(middle)))
        middle = self.middle_out(f.relu(middle + f.pixel_shuffle(self.rise(deep), 2)))
        fine = self.fine_out(f.relu(fine + f.pixel_shuffle(self.up(middle), 2)))
        return f.pixel_shuffle(self.leave(fine), 2).float()

    def _coordinates(self, places: Tensor) -> Tensor:
        """Return where each pixel lies by the teeth: from their middle, and coarsely and finely from both edges."""
        middle, level, slope, bend, sunk = (places[:, i].view(-1, 1, 1, 1) for i in range(PLACES))
        along = (self.x - CROP_PX / 2) / TEETH_SPAN_PX
        upper = self.y - (level + along * (slope + along * bend))
        coarse = torch.cat([(self.x - middle) / BREADTH_PX, upper / TEETH_PX, (upper - sunk) / TEETH_PX], 1)
        fine = torch.cat([upper, upper - sunk], 1) / EDGE_PX
        return torch.cat([coarse.clamp(-2, 2), fine.clamp(-1, 1)], 1)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step sees, as in Mouth.forward, with the teacher's picture, the mask and weights (n, 1, 1, 1)."""

    source: Tensor
    warped: Tensor
    labels: Tensor
    places: Tensor
    teacher: Tensor
    mouth: Tensor
    weight: Tensor


def batch_of(samples: Samples, picked: Picked, dice: np.random.Generator | None = None) -> Batch:
    """Return the picked samples; with `dice`, some mirrored and all in another light, photo and teacher alike."""
    faces = samples.face[picked]
    source = np.concatenate([samples.source[faces], samples.source_labels[faces]], axis=-1)
    batch = Batch(
        _planes(source), _planes(samples.warped[picked]), _planes(samples.labels[picked]),
        torch.from_numpy(samples.places[picked]), _planes(samples.teacher[picked]),
        _planes(samples.mouth[picked][..., None]) * 255, torch.from_numpy(samples.weight[picked]).view(-1, 1, 1, 1),
    )  # fmt: skip
    if dice is None:
        return batch
    return mirrored(relit(batch, dice), torch.from_numpy(dice.random(len(picked)) < 0.5))


def _planes(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)


def relit(batch: Batch, dice: np.random.Generator) -> Batch:
    """Return the batch with each sample brighter or darker, with a cast; some with other contrast and saturation, too.

    Nothing else is varied: what blurs, stretches or moves the pictures takes from the network what it could learn.
    """
    count = len(batch.warped)
    far = (dice.random(count) < FAR).astype(np.float32)

    def chance(least: float, most: float, planes: int = 1) -> Tensor:
        return torch.from_numpy(dice.uniform(least, most, (count, planes, 1, 1)).astype(np.float32))

    much = torch.from_numpy(far).view(-1, 1, 1, 1)
    contrast, gain, lift = (much * chance(-0.25, 0.25)).exp(), chance(0.85, 1.15, 3), much * chance(-0.03, 0.03)
    saturation = 1 + much * chance(-0.3, 0.3)

    def light(pictures: Tensor) -> Tensor:
        lit = pictures.clamp(min=0) ** contrast * gain + lift
        return torch.lerp(lit.mean(1, keepdim=True), lit, saturation)

    source = torch.cat([light(batch.source[:, :3]), batch.source[:, 3:]], 1)
    return replace(batch, source=source, warped=light(batch.warped), teacher=light(batch.teacher))


def mirrored(batch: Batch, which: Tensor) -> Batch:
    """Return the batch with left and right changed in the samples of which `which` (n) is true."""
    chosen = which.view(-1, 1, 1, 1)

    def flip(planes: Tensor) -> Tensor:
        return torch.where(chosen, planes.flip(-1), planes)

    places = torch.where(which[:, None], places_mirrored(batch.places), batch.places)
    return Batch(
        flip(batch.source), flip(batch.warped), flip(batch.labels), places,
        flip(batch.teacher), flip(batch.mouth), batch.weight,
    )  # fmt: skip


def places_mirrored(places: Tensor) -> Tensor:
    """Return the places (n, PLACES) of mirrored pictures."""
    return places * torch.tensor([-1, 1, -1, 1, 1]) + torch.tensor([CROP_PX, 0, 0, 0, 0])


def loss_of(picture: Tensor, cover: Tensor, batch: Batch) -> Tensor:
    """Return the distance from the teacher, in values and slopes, and the price of covering the photo's own pixels.

    Beside these the logarithm of each picture's squares, as PSNR counts them: a dB is worth the same on every face.
    """
    weight = batch.weight * (0.3 + 4 * batch.mouth)
    away = picture - batch.teacher
    squares = (batch.mouth * away.square()).mean((1, 2, 3)) / batch.mouth.mean((1, 2, 3)).clamp(min=1e-3)
    noise = (squares + 1e-5).log().mean()
    values = (weight * (away.abs() + SQUARE_PRICE * away.square())).mean()
    slopes = (weight[..., 1:] * away.diff(dim=-1).abs()).mean() + (weight[..., 1:, :] * away.diff(dim=-2).abs()).mean()
    covered = (cover * (1 - batch.labels[:, 2:3])).mean()
    return values + SLOPE_PRICE * slopes + COVER_PRICE * covered + NOISE_PRICE * noise


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast: it ends after `steps`, or after `minutes` on a machine that is too busy for them."""

    steps: int = 12000
    batch: int = 24
    rate: float = 2e-3
    minutes: float = 600.0
    seed: int = 1

    def rate_at(self, progress: float) -> float:
        """Return the learning rate at a share 0..1 of the way: a short rise, straight down, and level to the end."""
        return self.rate * min(1.0, 0.02 + progress / 0.03, 1 - min(progress, FALLS) * (1 - LEVEL) / FALLS)


def train(samples: Samples, out: Path, plan: Plan) -> Mouth:
    """Train and return the mean of the weights; it is written to `out` every 500 steps.

    While the rate falls the mean follows the weights; over the last part it is that of all of them, which, like several
    networks together, keeps less of what single faces taught (stochastic weight averaging, arXiv 1803.05407).
    """
    torch.manual_seed(plan.seed)
    dice = np.random.default_rng(plan.seed)
    net, kept = Mouth(), Mouth()
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kept.load_state_dict(net.state_dict())
    optimiser = torch.optim.AdamW(net.parameters(), plan.rate, weight_decay=1e-2)
    began, step, progress, total, last = time.monotonic(), 0, 0.0, 0.0, 0
    while progress < 1:
        step += 1
        progress = max(step / plan.steps, (time.monotonic() - began) / 60 / plan.minutes)
        optimiser.param_groups[0]["lr"] = plan.rate_at(progress)
        total += _step(net, optimiser, batch_of(samples, dice.integers(len(samples), size=plan.batch), dice))
        last += progress > FALLS
        _follow(kept, net, 1 - 1 / last if last else min(0.995, 1 - 10 / (10 + step)))
        if step % 500 == 0 or progress >= 1:
            torch.save(kept.state_dict(), out)
            print(f"{step}: {100 * progress:.0f} %, loss {total / (step % 500 or 500):.5f}", flush=True)  # noqa: T201
            total = 0.0
    return kept.eval()


def _step(net: Mouth, optimiser: torch.optim.Optimizer, batch: Batch) -> float:
    with torch.autocast("cpu", torch.bfloat16):
        picture, cover = net(batch.source, batch.warped, batch.labels, batch.places)
    loss = loss_of(picture, cover, batch)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), 0.5)
    optimiser.step()
    return float(loss.detach())


@torch.no_grad()
def _follow(kept: Mouth, net: Mouth, keep: float) -> None:
    for mean, new in zip(kept.parameters(), net.parameters(), strict=True):
        mean.lerp_(new, 1 - keep)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lipsync.train.mouth", description="Train the mouth network.")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path, help="where the weights go (.pt)")
    parser.add_argument("--steps", type=int, default=Plan().steps)
    parser.add_argument("--batch", type=int, default=Plan().batch)
    parser.add_argument("--rate", type=float, default=Plan().rate)
    parser.add_argument("--minutes", type=float, default=Plan().minutes)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    samples = Samples.load(chosen.dataset, "train")
    train(samples, chosen.out, Plan(chosen.steps, chosen.batch, chosen.rate, chosen.minutes))


if __name__ == "__main__":
    main()
