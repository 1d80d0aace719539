"""The voice network and its training: `python -m lipsync.train.voice OUT.npz [--hours H] [--steps N]`.

Speech of synthetic voices whose phones are known, made different in pitch, pace, level, room, noise and bandwidth; the
network learns the states that `visemes` gives for it. A few causal convolutions over time with growing gaps (van den
Oord et al., WaveNet, arXiv 1609.03499): about 70,000 weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as f

from lipsync.mel import BANDS, HOP, heard
from lipsync.narration import PARAMETERS, SAMPLE_RATE_HZ, Floats
from lipsync.train.speech import EspeakVoice, HeldVoice, HibariVoice, Spoken, pause
from lipsync.train.visemes import targets
from lipsync.voicenet import AHEAD, DILATIONS, KERNEL

WIDTH = 64
CLIP = 400
"""Frames in a training clip: 4 s."""
CLIPS = 1200
"""Clips of about 14 s that are made ahead."""
PRICES = (1.5, 1.0, 2.0, 0.7)
"""What a wrong opening, spread, press and teeth cost."""
ESPEAK = tuple(
    f"{language}+{variant}"
    for language, variants in {
        "en-us": ("f1", "f2", "f3", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "klatt", "klatt2", "Alicia", "Michael"),
        "en-gb-x-rp": ("f2", "m3", "Andy"),
        "ar": ("m1", "f2", "m3", "f1", "Andrea"),
        "de": ("f1", "m2"), "es": ("f2", "m1"), "it": ("f3",), "fr": ("f1", "m4"), "tr": ("m2", "f2"),
    }.items()
    for variant in variants
)  # fmt: skip
ARABIC_LETTERS, ARABIC_VOWELS = "بتجحدرزسشصطعفقكلمنهوي", "َُِاوي"
LATIN_ONSETS = ("b", "p", "m", "t", "d", "k", "g", "f", "v", "s", "l", "n", "r", "z", "h", "br", "pl", "st", "w", "sh")


class Voice(nn.Module):
    """bands (n, frames, BANDS) -> states before their limits (n, frames, 4); see VoiceNet.run."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        sizes = [(BANDS, width), *((width, width) for _ in DILATIONS), (width, len(PARAMETERS))]
        self.layers = nn.ModuleList(nn.Conv1d(a, b, KERNEL) for a, b in sizes)

    def forward(self, bands: Tensor) -> Tensor:
        x = f.relu(_causal(self.layers[0], bands.transpose(1, 2), 1))
        for layer, dilation in zip(list(self.layers)[1:-1], DILATIONS, strict=True):
            x = x + f.relu(_causal(layer, x, dilation))
        out = _causal(self.layers[-1], x, 1).transpose(1, 2)
        return torch.cat([torch.sigmoid(out[..., :1]), torch.tanh(out[..., 1:2]), torch.sigmoid(out[..., 2:])], -1)


def _causal(layer: nn.Module, x: Tensor, dilation: int) -> Tensor:
    assert isinstance(layer, nn.Conv1d)
    padded = f.pad(x, ((KERNEL - 1) * dilation, 0), mode="replicate")
    return f.conv1d(padded, layer.weight, layer.bias, dilation=dilation)


def save(net: Voice, path: Path) -> None:
    """Write the weights as VoiceNet reads them, in 16 bits."""
    arrays = {}
    for n, layer in enumerate(net.layers):
        assert isinstance(layer, nn.Conv1d)
        assert layer.bias is not None
        arrays[f"weight{n}"] = layer.weight.detach().permute(2, 1, 0).numpy().astype(np.float16)
        arrays[f"bias{n}"] = layer.bias.detach().numpy().astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """What is heard (frames, BANDS) and shown (frames, 4) in clips of worn speech, ready to be cut."""

    clips: list[tuple[Floats, Floats]]
    chance: np.random.Generator

    @classmethod
    def of(cls, pieces: list[Spoken], clips: int, chance: np.random.Generator) -> Corpus:
        wear = Wear(pieces, chance)
        return cls([wear.clip() for _ in range(clips)], chance)

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Return bands (size, CLIP + AHEAD, BANDS) and states (size, CLIP, 4)."""
        bands, states = zip(*(self._cut() for _ in range(size)), strict=True)
        return torch.from_numpy(np.stack(bands)), torch.from_numpy(np.stack(states))

    def _cut(self) -> tuple[Floats, Floats]:
        bands, states = self.clips[int(self.chance.integers(len(self.clips)))]
        start = int(self.chance.integers(0, len(bands) - CLIP - AHEAD))
        return bands[start : start + CLIP + AHEAD], states[start : start + CLIP]


@dataclass(frozen=True, slots=True, eq=False)
class Wear:
    """Pieces of clean speech made into clips as rooms, microphones and lines leave them."""

    pieces: list[Spoken]
    chance: np.random.Generator

    def clip(self) -> tuple[Floats, Floats]:
        piece = self._piece()
        while len(piece.samples) < 3 * CLIP * HOP:
            gap = int(self.chance.integers(0, SAMPLE_RATE_HZ * 3 // 2))
            piece = self._piece().after(pause(gap).after(piece))
        frames = len(piece.samples) // HOP
        return heard(self._worn(piece.samples))[:frames], targets(piece, frames)

    def _piece(self) -> Spoken:
        spoken = self.pieces[int(self.chance.integers(len(self.pieces)))]
        return spoken.faster(float(np.exp(self.chance.uniform(-0.22, 0.22))))

    def _worn(self, samples: Floats) -> Floats:
        """Return the speech as a room, a microphone and a line would leave it."""
        chance = self.chance
        samples = samples * np.float32(10 ** chance.uniform(-1.2, 0.1) / (abs(samples).max() + 1e-6))
        size = _fast(len(samples))
        spectrum = np.fft.rfft(samples, size)
        hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
        decibels = chance.uniform(-4, 4) * np.log2((hz + 60) / 1000) / 2 + chance.uniform(0, 4) * np.cos(
            hz / chance.uniform(300, 2000) + chance.uniform(0, 6)
        )
        if chance.random() < 0.12:
            decibels = decibels - 60.0 * (hz > chance.choice([3400, 3900, 5000]))
        samples = np.fft.irfft(spectrum * 10 ** (decibels / 20), size)[: len(samples)].astype(np.float32)
        if chance.random() < 0.35:
            samples = _echoing(samples, chance)
        if chance.random() < 0.08:
            samples = np.clip(samples, -0.3 * abs(samples).max(), 0.3 * abs(samples).max())
        if chance.random() < 0.75:
            samples = samples + _noise(len(samples), chance) * abs(samples).std() * 10 ** (-chance.uniform(8, 45) / 20)
        return samples.astype(np.float32)


def _fast(count: int) -> int:
    """Return a length that a Fourier transform likes, not below count."""
    return -(-count // 8192) * 8192


def _echoing(samples: Floats, chance: np.random.Generator) -> Floats:
    length = int(SAMPLE_RATE_HZ * chance.uniform(0.05, 0.35))
    tail = chance.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length) * chance.uniform(0.01, 0.06)
    tail[0] = 1
    size = _fast(len(samples) + length)
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: len(samples)]


def _noise(count: int, chance: np.random.Generator) -> Floats:
    """White to brown noise of deviation 1, with or without a hum."""
    size = _fast(count)
    spectrum = np.fft.rfft(chance.standard_normal(size))
    spectrum *= (np.arange(len(spectrum)) + 10.0) ** -chance.uniform(0, 1)
    noise = np.fft.irfft(spectrum, size)[:count]
    noise /= noise.std() + 1e-9
    if chance.random() < 0.2:
        noise += np.sin(2 * np.pi * chance.choice([50, 60, 100, 120]) * np.arange(count) / SAMPLE_RATE_HZ)
    return noise


def gather(hours: float, chance: np.random.Generator, tell: Callable[[str], None]) -> list[Spoken]:
    """Let the voices speak: half of the time those of espeak-ng, an eighth held vowels, else hibari."""
    pieces: list[Spoken] = []
    makers = [HibariVoice(speed) for speed in (0.85, 1.0, 1.2)]
    wanted, made = hours * 3600 * SAMPLE_RATE_HZ, 0
    words = _english_words()
    while made < wanted:
        if len(pieces) % 8 == 0:
            spoken = HeldVoice(chance).say(int(chance.integers(3, 9)))
        elif len(pieces) % 2:
            name = str(chance.choice(ESPEAK))
            rate, pitch = int(chance.integers(120, 210)), int(chance.integers(20, 80))
            spoken = EspeakVoice(name, rate, pitch).say(_text(name, words, chance))
        else:
            spoken = makers[int(chance.integers(len(makers)))].say(_text("en", words, chance))
        pieces.append(spoken)
        made += len(spoken.samples)
        if len(pieces) % 100 == 0:
            tell(f"{len(pieces)} pieces, {made / SAMPLE_RATE_HZ / 60:.0f} min")
    return pieces


def _english_words() -> list[str]:
    """Return the words of hibari's own lexicon."""
    import gzip  # noqa: PLC0415
    import json  # noqa: PLC0415

    from hibari.tts import ASSETS  # noqa: PLC0415

    with gzip.open(Path(ASSETS) / "lexicon_us_gold.json.gz", "rt", encoding="utf-8") as lexicon:
        return [word for word in json.load(lexicon) if word.isascii() and word.isalpha() and word.islower()]


def _text(voice: str, words: list[str], chance: np.random.Generator) -> str:
    """Return a sentence without sense: words in English, syllables elsewhere."""
    count = int(chance.integers(5, 12))
    if voice.startswith("en"):
        some = [str(word) for word in chance.choice(words, count)]
        small = ("the", "a", "of", "to", "you", "we", "my", "be", "who", "me", "by", "up", "in", "so", "may")
        some = [word for pair in zip(some, chance.choice(small, count), strict=True) for word in pair]
    elif voice.startswith("ar"):
        some = ["".join(_syllable(chance) for _ in range(int(chance.integers(1, 4)))) for _ in range(count)]
    else:
        some = [
            "".join(
                str(chance.choice(LATIN_ONSETS)) + str(chance.choice(list("aeiou")))
                for _ in range(int(chance.integers(1, 4)))
            )
            for _ in range(count)
        ]
    if len(some) > 6:
        some[5] += ","
    return " ".join(some) + "."


def _syllable(chance: np.random.Generator) -> str:
    return str(chance.choice(list(ARABIC_LETTERS))) + str(chance.choice(list(ARABIC_VOWELS)))


def train(corpus: Corpus, steps: int, tell: Callable[[str], None], net: Voice, *, rate: float = 2e-3) -> None:
    """Train in place: AdamW, the rate falling to nothing along a cosine."""
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.05)
    prices, mean = torch.tensor(PRICES), 0.0
    begun = time.monotonic()
    for step in range(steps):
        bands, wanted = corpus.batch(12)
        off = net(bands)[:, AHEAD:] - wanted
        # a closed mouth is a small part of all speech and the part that is missed first
        insisting = 1 + 2 * wanted[..., 2:3]
        loss = ((off.abs() + 2 * off**2) * prices * insisting).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        plan.step()
        mean += 0.02 * (float(loss.detach()) - mean)
        if (step + 1) % 100 == 0:
            tell(f"step {step + 1}: {mean:.4f}, {time.monotonic() - begun:.0f} s")


def tell(line: str) -> None:
    """Write a line at once."""
    print(line, flush=True)  # noqa: T201 - a program of its own


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("out", type=Path)
    words.add_argument("--hours", type=float, default=1.0)
    words.add_argument("--steps", type=int, default=3000)
    words.add_argument("--clips", type=int, default=CLIPS)
    chosen = words.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(2)
    chance = np.random.default_rng(1)
    net = Voice()
    tell(f"{sum(p.numel() for p in net.parameters())} weights")
    pieces = gather(chosen.hours, chance, tell)
    corpus = Corpus.of(pieces, chosen.clips, chance)
    train(corpus, chosen.steps, tell, net)
    save(net, chosen.out)


if __name__ == "__main__":
    main()
