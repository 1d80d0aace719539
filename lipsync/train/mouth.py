"""The mouth network and its training: `python -m lipsync.train.mouth DATASET OUT`.

A U-Net of dense convolutions at 1/2, 1/4 and 1/8 of the window (Ronneberger et al., arXiv 1505.04597), folded in by
strides and out by pixel shuffle (Shi et al., arXiv 1609.05158). It paints a colour and how much of it covers the moved
photo: inside the opening all of it, on lips and skin as little as the teacher's picture allows, so that the photo's own
detail stays.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as f

from lipsync.conditioning import CROP_PX, PLACES, TEETH_SPAN_PX, WINDOW, WINDOW_PX, Floats, Pixels
from lipsync.train.data import SHIFT_PX, Samples

Picked = NDArray[np.int64]

WIDTHS = (40, 64, 88)
IN_CHANNELS, SHARP_CHANNELS = 21, 16
TEETH_PX, BREADTH_PX, EDGE_PX = 16.0, 32.0, 2.0
SQUARE_PRICE, SLOPE_PRICE, COVER_PRICE, NOISE_PRICE = 20.0, 0.15, 0.003, 0.03
STRETCH = 0.1
FAR = 0.3
"""Share of the samples whose light is made quite another one; the others keep nearly theirs."""
DROPPED = 0.1
"""Share of the deepest features that training leaves out at random: there are few faces to learn from."""
FADE = 0.6
"""From this share of the way on, what is done at random to the samples becomes less, down to nothing."""


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
        self.deep = nn.Sequential(Block(c), Block(c), nn.Dropout2d(DROPPED))
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


def batch_of(samples: Samples, picked: Picked, dice: np.random.Generator | None = None, strength: float = 1.0) -> Batch:
    """Return the picked samples; with `dice`, in another light, place and form, alike for photos and teacher.

    `strength` 0..1 is how much other light and form; the place is always another.
    """
    faces, places = samples.face[picked], samples.places[picked]
    pictures = [samples.source[faces], samples.warped[picked], samples.teacher[picked]]
    masks = [samples.source_labels[faces], samples.labels[picked], samples.mouth[picked]]
    views = [View.random(dice, strength) if dice else View() for _ in picked]
    if dice:
        pictures = _relit(pictures, dice, strength)
        places = np.stack([view.places(place) for view, place in zip(views, places, strict=True)])
    cut = [np.stack([view.cut(one) for view, one in zip(views, some, strict=True)]) for some in (*pictures, *masks)]
    source, warped, teacher, source_labels, labels, mouth = cut
    weight = torch.from_numpy(samples.weight[picked]).view(-1, 1, 1, 1)
    return Batch(
        _planes(np.concatenate([source, source_labels], axis=-1)), _planes(warped), _planes(labels),
        torch.from_numpy(places), _planes(teacher), _planes(mouth[..., None]) * 255, weight,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """How the window lies in the wide window: moved by (dx, dy) pixels, wider by sx and higher by sy."""

    dx: float = 0.0
    dy: float = 0.0
    sx: float = 1.0
    sy: float = 1.0

    @classmethod
    def random(cls, dice: np.random.Generator, strength: float) -> View:
        dx, dy = dice.integers(-SHIFT_PX, SHIFT_PX + 1, 2)
        if dice.random() > 0.5 * strength:
            return cls(float(dx), float(dy))
        return cls(float(dx), float(dy), *np.exp(dice.uniform(-STRETCH, STRETCH, 2)))

    def cut(self, wide: Pixels) -> Pixels:
        """Return the window (72, 72, ...) of planes (84, 84, ...)."""
        if wide.ndim == 3 and wide.shape[2] > 4:
            return np.dstack([self.cut(wide[..., :3]), self.cut(wide[..., 3:])])
        if self.sx == self.sy == 1:
            left, top = SHIFT_PX + int(self.dx), SHIFT_PX + int(self.dy)
            return wide[top : top + WINDOW_PX, left : left + WINDOW_PX]
        half = (WINDOW_PX - 1) / 2
        x, y = half + SHIFT_PX + self.dx, half + SHIFT_PX + self.dy
        matrix = np.array([[1 / self.sx, 0, x - half / self.sx], [0, 1 / self.sy, y - half / self.sy]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (WINDOW_PX, WINDOW_PX)
        return np.asarray(cv2.warpAffine(wide, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)

    def places(self, places: Floats) -> Floats:
        """Return the places (PLACES,) as they lie in the window now."""
        middle, level, slope, bend, sunk = places
        half = CROP_PX / 2
        # the window's centre shows what lay at u = dx / span before
        u, wide = self.dx / TEETH_SPAN_PX, 1 / self.sx
        level = level + u * (slope + u * bend)
        slope, bend = (slope + 2 * u * bend) * wide, bend * wide * wide
        moved = [
            half + (middle - half - self.dx) * self.sx, half + (level - half - self.dy) * self.sy,
            slope * self.sy, bend * self.sy, sunk * self.sy,
        ]  # fmt: skip
        return np.array(moved, np.float32)


def _relit(pictures: list[Pixels], dice: np.random.Generator, strength: float) -> list[Pixels]:
    tables = [(_other_light(dice, strength), _other_colour(dice, strength)) for _ in pictures[0]]
    return [
        np.stack(
            [cv2.transform(cv2.LUT(one, light), colour) for one, (light, colour) in zip(some, tables, strict=True)]
        )
        for some in pictures
    ]


def _other_light(dice: np.random.Generator, strength: float) -> Pixels:
    """Return a table (256, 1, 3) of other exposure, contrast and cast."""
    much = strength if dice.random() < FAR else 0.25 * strength
    value = np.linspace(0, 1, 256)[:, None] ** np.exp(much * dice.uniform(-0.35, 0.35))
    gain = (1 + much * dice.uniform(-0.3, 0.2)) * (1 + much * dice.uniform(-0.12, 0.12, 3))
    table = 255 * (value * gain + much * dice.uniform(-0.04, 0.04))
    return np.asarray(np.clip(np.rint(table), 0, 255), np.uint8)[:, None]


def _other_colour(dice: np.random.Generator, strength: float) -> NDArray[np.float64]:
    """Return a matrix (3, 3) that makes colours paler or stronger and turns them a little, and leaves grey."""
    grey = np.full((3, 3), 1 / 3)
    much = strength if dice.random() < FAR else 0.25 * strength
    angle, strength = much * dice.uniform(-0.2, 0.2), 1 + much * dice.uniform(-0.4, 0.4)
    turn = np.roll(np.eye(3), 1, axis=1) - np.roll(np.eye(3), -1, axis=1)
    turned = np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) / np.sqrt(3) * turn
    return np.asarray(grey + strength * turned, np.float64)


def _planes(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)


def augmented(batch: Batch, dice: np.random.Generator, strength: float = 1.0) -> Batch:
    """Return the batch with some pictures mirrored; now and then all are blurred or grainy, photo and teacher alike."""
    source, warped, teacher = batch.source, batch.warped, batch.teacher
    if dice.random() < 0.25 * strength:
        share = float(dice.uniform(0, 0.8))
        source = torch.cat([_softer(source[:, :3], share), source[:, 3:]], 1)
        warped, teacher = _softer(warped, share), _softer(teacher, share)
    if dice.random() < 0.25 * strength:
        grain = float(dice.uniform(0, 0.04))
        noise = grain * torch.randn_like(warped)
        source = torch.cat([source[:, :3] + grain * torch.randn_like(warped), source[:, 3:]], 1)
        warped, teacher = warped + noise, teacher + noise * (1 - batch.labels[:, 2:3])
    other = Batch(source, warped, batch.labels, batch.places, teacher, batch.mouth, batch.weight)
    return _mirrored(other, torch.from_numpy(dice.random(len(warped)) < 0.5))


def _softer(pictures: Tensor, share: float) -> Tensor:
    blurred = f.avg_pool2d(f.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.lerp(pictures, blurred, share)


def _mirrored(batch: Batch, which: Tensor) -> Batch:
    chosen = which.view(-1, 1, 1, 1)

    def flip(planes: Tensor) -> Tensor:
        return torch.where(chosen, planes.flip(-1), planes)

    other = batch.places * torch.tensor([-1, 1, -1, 1, 1]) + torch.tensor([CROP_PX, 0, 0, 0, 0])
    places = torch.where(which[:, None], other, batch.places)
    return Batch(
        flip(batch.source), flip(batch.warped), flip(batch.labels), places,
        flip(batch.teacher), flip(batch.mouth), batch.weight,
    )  # fmt: skip


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

    steps: int = 14000
    batch: int = 24
    rate: float = 1.2e-3
    minutes: float = 600.0
    seed: int = 1

    def rate_at(self, progress: float) -> float:
        """Return the learning rate at a share 0..1 of the way: a short rise, then half a cosine down to nothing."""
        return self.rate * min(1.0, 0.1 + progress / 0.03) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, progress)))


def train(samples: Samples, out: Path, plan: Plan, start: Path | None = None) -> Mouth:
    """Train and return the running mean of the weights; it is written to `out` every 500 steps."""
    torch.manual_seed(plan.seed)
    dice = np.random.default_rng(plan.seed)
    net, kept = Mouth(), Mouth()
    if start:
        net.load_state_dict(torch.load(start, weights_only=True))
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kept.load_state_dict(net.state_dict())
    optimiser = torch.optim.AdamW(net.parameters(), plan.rate, weight_decay=2e-2)
    began, step, progress, total = time.monotonic(), 0, 0.0, 0.0
    while progress < 1:
        step += 1
        progress = max(step / plan.steps, (time.monotonic() - began) / 60 / plan.minutes)
        optimiser.param_groups[0]["lr"] = plan.rate_at(progress)
        strength = min(1.0, (1 - progress) / (1 - FADE))
        batch = batch_of(samples, dice.integers(len(samples), size=plan.batch), dice, strength)
        total += _step(net, optimiser, augmented(batch, dice, strength))
        _follow(kept, net, min(0.999, 1 - 10 / (10 + step)))
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
    parser.add_argument("--start", type=Path, help="weights to go on from")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    samples = Samples.load(chosen.dataset, "train")
    train(samples, chosen.out, Plan(chosen.steps, chosen.batch, chosen.rate, chosen.minutes), chosen.start)


if __name__ == "__main__":
    main()
