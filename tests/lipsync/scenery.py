"""Moving pictures for the tests of the mark: clouds that drift behind a still oval, and their encoding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from encoder.tools import Tools, open_tool, run_tool
from lipsync.compose import Frame

FRAMES = 110
DRIFT_PX = 3


def noise(seed: int, height: int, width: int) -> NDArray[np.float32]:
    """Noise that falls with frequency, as pictures of the world do."""
    spectrum = np.fft.rfft2(np.random.default_rng(seed).standard_normal((height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    found = np.fft.irfft2(spectrum / frequency**1.2, (height, width))
    return ((found - found.mean()) / found.std()).astype(np.float32)


def clouds(width: int, height: int, seed: int, frames: int = FRAMES) -> Iterator[Frame]:
    """Yield I420 pictures: a drifting ground, and an oval of 0.36 x 0.8 that stands still, as a face does."""
    ground = np.clip(120 + 30 * noise(seed, height, width + DRIFT_PX * frames), 16, 235).astype(np.uint8)
    still = np.clip(130 + 25 * noise(seed + 1000, height, width), 16, 235).astype(np.uint8)
    oval = np.zeros((height, width), np.uint8)
    cv2.ellipse(oval, (width // 2, height // 2), (round(0.18 * width), round(0.4 * height)), 0, 0, 360, 255, -1)
    for number in range(frames):
        frame = np.full((height * 3 // 2, width), 128, np.uint8)
        frame[:height] = np.where(oval > 0, still, ground[:, DRIFT_PX * number : DRIFT_PX * number + width])
        yield frame


def encode(frames: Iterable[Frame], size: tuple[int, int], target: Path, tools: Tools, *, crf: int = 21) -> Path:
    """Encode pictures as inserts are: groups of 2 s, no B-frames."""
    words = [str(tools.ffmpeg), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p"]
    words += ["-s", f"{size[0]}x{size[1]}", "-r", "25", "-i", "pipe:0", "-c:v", "libx264", "-preset", "veryfast"]
    words += ["-crf", str(crf), "-bf", "0", "-g", "50", "-movflags", "+frag_keyframe+empty_moov+default_base_moof"]
    with open_tool([*words, str(target)], stdin=True) as child:
        assert child.stdin is not None
        for frame in frames:
            child.stdin.write(frame.data)
        child.stdin.close()
        child.check()
    return target


def changed(source: Path, words: Sequence[str], target: Path, tools: Tools) -> Path:
    run_tool((str(tools.ffmpeg), "-v", "error", "-y", "-i", str(source), *words, str(target)))
    return target
