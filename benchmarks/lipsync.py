"""A speaking face of 16 s at 720p: ours beside the path of the original Wav2Lip, with random weights of its size.

    .venv/bin/python benchmarks/lipsync.py [--speech FILE]      (needs the extra `train`)

Both run as processes of their own, from cold to the finished file, after each other; see wav2lip.py for the original.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from encoder.tools import find_tools, run_tool  # noqa: E402
from lipsync.compose import Compositor  # noqa: E402
from lipsync.face import CHIN, FOREHEAD, FaceFinder  # noqa: E402
from lipsync.narration import SAMPLE_RATE_HZ, analyse, read_speech  # noqa: E402
from lipsync.photo import read_photo  # noqa: E402
from lipsync.speaker import DrawnSpeaker  # noqa: E402

RATE, FRAMES, SECONDS = Fraction(25), 400, 16
WIDTH, HEIGHT, FACE_PX = 1280, 720, 326


def portrait(into: Path) -> Path:
    """Write a photo of 1280x720 whose face is FACE_PX high."""
    photo = read_photo((ROOT / "lipsync/demo/man.jpg").read_bytes())
    face = FaceFinder().find(photo)
    scale = 0.92 * FACE_PX / float(np.linalg.norm(face.landmarks[CHIN, :2] - face.landmarks[FOREHEAD, :2]))
    middle = face.landmarks[[CHIN, FOREHEAD], :2].mean(axis=0)
    shift = np.array([WIDTH / 2, HEIGHT / 2]) - scale * middle
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    placed = cv2.warpAffine(photo, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    cv2.imwrite(str(into), placed, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return into


def babble(into: Path) -> Path:
    """Write 16 s that sound like speech to a mouth: syllables of changing vowels, with pauses."""
    dice, at_s = np.random.default_rng(4), np.arange(SECONDS * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    syllable = (at_s * 4.5).astype(int)
    formants = dice.uniform([280, 850], [780, 2300], (syllable.max() + 1, 2))[syllable]
    loud = np.sin(np.pi * (at_s * 4.5 % 1)) ** 0.7 * (dice.random(syllable.max() + 1) > 0.15)[syllable]
    sound = np.zeros_like(at_s)
    for hz in range(130, 4000, 130):
        gain = (1 / (1 + ((hz - formants) / 90) ** 2)).sum(axis=1) + 0.004
        sound += gain * 130 / hz * np.sin(2 * np.pi * hz * at_s)
    with wave.open(str(into), "wb") as out:
        out.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        out.writeframes((20000 * sound * loud / abs(sound).max()).astype("<i2").tobytes())
    return into


def frames_ready(photo: Path, speech: Path) -> tuple[float, ...]:
    """Time 400 pictures with label, warm: warp, network, paste; without any encoder. The best of three.

    Return wall seconds, processor seconds, and those of the thread that draws while another one runs the network.
    """
    samples = read_speech(speech, find_tools())[: SECONDS * SAMPLE_RATE_HZ]
    states = analyse(samples, RATE, FRAMES)
    face, speaker = FaceFinder().find(read_photo(photo.read_bytes())), DrawnSpeaker()
    clocks, taken = (time.perf_counter, time.process_time, time.thread_time), []
    for _ in range(3):
        began = [clock() for clock in clocks]
        compositor = Compositor.portrait(face, mouth=speaker.mouth)
        still = compositor.blank()
        compositor.expect(states)
        for state in states:
            compositor.compose(still, state)
        taken.append(tuple(clock() - start for clock, start in zip(clocks, began, strict=True)))
    return min(taken)


@dataclass(frozen=True, slots=True)
class Run:
    """A process from start to end, with all that it started; `resident_mb` is the largest of any one so far."""

    wall_s: float
    used_s: float
    resident_mb: float
    printed: str

    @classmethod
    def of(cls, *command: str) -> Run:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        printed = run_tool([sys.executable, *command]).decode().strip()
        wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return cls(wall_s, used_s, after.ru_maxrss / 1024, printed)

    def __str__(self) -> str:
        return f"{self.wall_s:.2f} s, {self.used_s:.2f} s of processor, {self.resident_mb:.0f} MB resident at most"


def main() -> None:
    parser = argparse.ArgumentParser(description="A speaking face, ours beside the original's path.")
    parser.add_argument("--speech", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        photo, speech = portrait(at / "face.jpg"), chosen.speech or babble(at / "speech.wav")
        film, noise = str(at / "ours.mp4"), str(at / "theirs.mp4")
        ours = Run.of("-m", "mediaserver", "lipsync", str(photo), str(speech), "-o", film, "--size", "720p")
        print(f"ours, cold to file:     {ours}")
        wall_s, used_s, drawing_s = frames_ready(photo, speech)
        print(
            f"frames ready, warm ({FRAMES} with label, {WIDTH}x{HEIGHT}): {wall_s:.2f} s, {used_s:.2f} s of processor,"
        )
        print(f"  {drawing_s:.2f} s of that in the drawing thread")
        theirs = Run.of(str(ROOT / "benchmarks/wav2lip.py"), str(photo), str(speech), noise)
        print(f"original, cold to file: {theirs}; of that behind its imports {theirs.printed} s")
        print(f"ratio, cold to file: {theirs.wall_s / ours.wall_s:.1f} (processor {theirs.used_s / ours.used_s:.1f})")


if __name__ == "__main__":
    main()
