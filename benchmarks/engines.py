"""Wav2Lip as its authors run it beside the engine of this product, on random weights: 400 mouths of one face.

    .venv/bin/python -m benchmarks.engines [--runs 3]      (needs the extra `train`)

The plain network makes everything for every picture, 128 at once, in PyTorch with all cores; the engine hears the
speech once, looks at the face once, and makes the lower half. Medians of the runs; how far the pictures are apart.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lipsync.train.wav2lip import Wav2Lip, convert
from lipsync.wav2lip import FACE_PX, ROWS, Wav2LipSpeaker, windows

FRAMES, RATE, BATCH = 400, Fraction(25), 128
Floats = NDArray[np.float32]


def checkpoint(into: Path) -> Wav2Lip:
    """Write one of random weights whose normalisation has seen something, and return its network."""
    torch.manual_seed(3)
    network = Wav2Lip().train()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        network(torch.rand(8, 1, 80, 16) * 8 - 4, torch.rand(8, 6, FACE_PX, FACE_PX))
    torch.save({"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}, into)
    return network.eval()


@torch.no_grad()
def plain(network: Wav2Lip, mels: Floats, face: NDArray[np.uint8]) -> Floats:
    seen = torch.from_numpy(face.astype(np.float32).transpose(2, 0, 1) / 255)
    hidden = seen.clone()
    hidden[:, ROWS] = 0
    both, parts = torch.cat([hidden, seen])[None], torch.from_numpy(mels).split(BATCH)
    made = torch.cat([network(part, both.expand(len(part), -1, -1, -1)) for part in parts])
    return np.asarray(made[:, :, ROWS].permute(0, 2, 3, 1).numpy() * 255)


def timed(runs: int, make: Callable[[], Floats]) -> tuple[float, float, Floats]:
    """Return median seconds, processor seconds of the last run, and what was made."""
    took_s = []
    for _ in range(runs):
        began_s, used_s = time.perf_counter(), time.process_time()
        made = make()
        took_s.append(time.perf_counter() - began_s)
    return statistics.median(took_s), time.process_time() - used_s, made


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--runs", type=int, default=3)
    runs = words.parse_args().runs
    torch.set_num_threads(os.cpu_count() or 1)
    chance = np.random.default_rng(7)
    face = chance.integers(0, 256, (FACE_PX, FACE_PX, 3), np.uint8)
    speech = chance.normal(0, 0.1, 16 * 16_000).astype(np.float32)
    with tempfile.TemporaryDirectory() as temporary:
        at = Path(temporary)
        network = checkpoint(at / "wav2lip.pth")
        convert(at / "wav2lip.pth", at / "made")
        mels = np.ascontiguousarray(windows(speech, RATE, FRAMES))
        whole_s, used_s, wanted = timed(runs, lambda: plain(network, mels, face))
        print(f"plain network, 32 bits: {whole_s:.2f} s, {used_s:.2f} s of processor, {os.cpu_count()} cores")
        for name, exact in (("32 bits", True), ("as the processor has it", False)):
            speaker = Wav2LipSpeaker(at / "made", exact=exact)
            hear_s, _, heard = timed(runs, lambda: speaker.hear_windows(mels))  # noqa: B023
            took_s, used_s, made = timed(runs, lambda: speaker.speak(heard, speaker.look(face)))  # noqa: B023
            apart = abs(made - wanted)
            psnr_db = 20 * np.log10(255) - 10 * np.log10((apart**2).mean())
            print(
                f"engine, {name}: {took_s:.2f} s ({whole_s / took_s:.1f}x), {used_s:.2f} s of processor; hearing, once "
                f"for a narration: {hear_s:.2f} s; at most {apart.max():.2g} of 255 apart, {psnr_db:.1f} dB"
            )


if __name__ == "__main__":
    main()
