"""Do the lips of a finished MP4 do what its sound says? `python -m benchmarks.sync [--size 432p] [--keep FOLDER]`.

Landmarks are found again in the decoded pictures, the sound is that of the same file. The phones are those that the
synthetic voices report of themselves; voices and sentences are none that the mouth track was trained on.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from encoder.tools import find_tools, open_tool, run_tool
from lipsync.face import FaceFinder
from lipsync.narration import SAMPLE_RATE_HZ, Floats, read_speech
from lipsync.portrait import RATE
from lipsync.protocols import Signing
from lipsync.studio import Studio
from lipsync.train.speech import EspeakVoice, HibariVoice, Spoken, pause, write_wav

ENGLISH = (
    "Bob put a warm apple pie on top of the map. Maybe my mother will buy both of them a big blue boat.",
    "People in the park were moving boxes up the ramp, and a puppy jumped over the bench to meet Sam.",
    "You see, the moon was above the pool, but we never saw who opened the door to the stable.",
)
ARABIC = (
    "مرحبا بكم في برنامجنا الجديد. نتحدث اليوم عن المدينة القديمة وعن بيوتها الجميلة.",
    "كان الرجل يمشي في السوق مع ابنه الصغير، ثم بدأ المطر فذهبا إلى البيت مسرعين.",
)
BILABIALS, VOWELS = frozenset("pbm"), frozenset("ɑaæʌɐɛeəɜɪiɔoʊuɒ")
ROUNDED, SPREAD = frozenset("uoʊɔ"), frozenset("iɪeɛ")
SHORTEST_S = 0.045
"""Vowels shorter than this are passed over: they have hardly a picture of their own."""
EYES = (33, 133, 362, 263)
LIPS = (
    61,
    185,
    40,
    39,
    37,
    0,
    267,
    269,
    270,
    409,
    291,
    375,
    321,
    405,
    314,
    17,
    84,
    181,
    91,
    146,
    13,
    14,
    82,
    87,
    312,
    317,
)
SCALE_PX = 150.0
LAGS = range(-4, 5)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What is measured in a video: opening and width of the lips, and lip points (frames, n, 2), in eye distances."""

    opening: Floats
    width: Floats
    lips: Floats
    envelope: Floats

    def at(self, values: Floats, sample: int, lag: int = 0) -> float:
        """Return a value at a sample of the sound, `lag` pictures later."""
        frame = sample / SAMPLE_RATE_HZ * float(RATE) - 0.5 + lag
        return float(np.interp(frame, np.arange(len(values)), values))


def look(video: Path, finder: FaceFinder) -> Seen:
    """Find the landmarks in every picture of a video and bring them to the frame of the eyes."""
    first, points = None, []
    for picture in pictures(video):
        found = finder.follow(picture, first)  # always from the same region: else its own trembling would be measured
        assert found is not None, f"no face in {video.name}"
        first = found if first is None else first
        points.append(upright(found[:, :2]))
    all_points = np.stack(points)
    gaps = [
        np.linalg.norm(all_points[:, low] - all_points[:, high], axis=1)
        for low, high in ((14, 13), (87, 82), (317, 312))
    ]
    width = np.linalg.norm(all_points[:, 61] - all_points[:, 291], axis=1)
    return Seen(np.mean(gaps, axis=0), width, all_points[:, LIPS], envelope_of(video, len(points)))


def pictures(video: Path, *words: str) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Yield the pictures of a video (height, width, 3), blue first; `words` are more options of ffmpeg's output."""
    tools = find_tools()
    width, height = (
        int(side)
        for side in run_tool(
            [
                str(tools.ffprobe),
                "-v",
                "error",
                "-select_streams",
                "v:0",
                "-show_entries",
                "stream=width,height",
                "-of",
                "csv=p=0",
                str(video),
            ]
        )
        .decode()
        .strip()
        .rstrip(",")
        .split(",")[:2]
    )
    raw = ["-f", "rawvideo", "-pix_fmt", "bgr24", "pipe:1"]
    with open_tool([str(tools.ffmpeg), "-v", "error", "-i", str(video), *words, *raw]) as child:
        stdout = child.stdout
        assert stdout is not None
        while len(data := stdout.read(width * height * 3)) == width * height * 3:
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
        child.check()


def upright(points: Floats) -> Floats:
    """Return points with the eyes level and their corners' middles one apart, seen from between the eyes."""
    right, left = points[list(EYES[:2])].mean(axis=0), points[list(EYES[2:])].mean(axis=0)
    across = left - right
    unit = float(across @ across)
    turn = np.array([[across[0], across[1]], [-across[1], across[0]]]) / unit
    return (points - (right + left) / 2) @ turn.T


def envelope_of(video: Path, frames: int) -> Floats:
    """Return the loudness of the video's own sound at every picture, in dB over -45 dBFS, smoothed over 80 ms."""
    samples = read_speech(video, find_tools())
    hop = SAMPLE_RATE_HZ // int(RATE)
    energy = np.convolve(samples**2, np.hanning(2 * hop) / hop, "same")
    at = np.minimum(((np.arange(frames) + 0.5) * hop).astype(int), len(energy) - 1)
    return np.maximum(0, 10 * np.log10(energy[at] + 1e-9) + 45)


def auc(high: list[float], low: list[float]) -> float:
    """Return how often one of `high` is larger than one of `low`."""
    above = np.subtract.outer(np.array(high), np.array(low))
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def vowels_against_bilabials(spoken: Spoken, seen: Seen, lag: int) -> tuple[list[float], list[float]]:
    vowels = [
        seen.at(seen.opening, p.middle, lag) for p in spoken.phones if p.letter and p.letter in VOWELS and lasts(p)
    ]
    bilabials = [seen.at(seen.opening, p.middle, lag) for p in spoken.phones if p.letter and p.letter in BILABIALS]
    return vowels, bilabials


def lasts(phone: object) -> bool:
    return (phone.end - phone.start) >= SHORTEST_S * SAMPLE_RATE_HZ  # type: ignore[attr-defined]


def rounded_and_spread(spoken: Spoken, seen: Seen) -> tuple[list[float], list[float]]:
    return tuple(  # type: ignore[return-value]
        [seen.at(seen.width, p.middle) for p in spoken.phones if p.letter and p.letter in letters and lasts(p)]
        for letters in (ROUNDED, SPREAD)
    )


def motion(seen: Seen, first: int, last: int) -> float:
    """Return the 95th percentile of how far the lips go from picture to picture, in pixels at SCALE_PX."""
    steps = np.linalg.norm(np.diff(seen.lips[first:last], axis=0), axis=-1).mean(axis=1)
    return float(np.percentile(steps, 95) * SCALE_PX)


class Maker(Protocol):
    def __call__(self, samples: Floats, name: str, *, life: bool = True) -> Path: ...


def sync(make: Maker, finder: FaceFinder) -> None:
    voices = {
        "hibari": HibariVoice(),
        "hibari, 18 % lower": HibariVoice(speed=1.18),
        "espeak f4": EspeakVoice("en-us+f4", 150),
        "espeak m7": EspeakVoice("en-us+m7", 160),
    }
    pooled: dict[int, tuple[list[float], list[float]]] = {lag: ([], []) for lag in LAGS}
    for name, voice in voices.items():
        spoken = pause(SAMPLE_RATE_HZ // 5)
        for sentence in ENGLISH:
            spoken = voice.say(sentence).after(spoken)
        if "lower" in name:
            spoken = spoken.faster(1 / 1.18)
        seen = look(make(spoken.samples, name), finder)
        by_lag = {lag: vowels_against_bilabials(spoken, seen, lag) for lag in LAGS}
        for lag, (vowels, bilabials) in by_lag.items():
            pooled[lag][0].extend(vowels)
            pooled[lag][1].extend(bilabials)
        figures = {lag: auc(*by_lag[lag]) for lag in LAGS}
        narrow, wide = rounded_and_spread(spoken, seen)
        best = max(figures, key=lambda lag: figures[lag])
        print(
            f"{name}: {len(by_lag[0][1])} bilabials, AUC {figures[0]:.3f} at lag 0,"
            f" best {figures[best]:.3f} at {best:+d};"
            f" rounded narrower than spread {auc(wide, narrow):.3f}"
            f" ({np.mean(narrow):.3f} against {np.mean(wide):.3f} eye distances); opening range"
            f" {np.percentile(seen.opening, 5):.3f} to {np.percentile(seen.opening, 95):.3f}; with envelope"
            f" {np.corrcoef(seen.opening, seen.envelope)[0, 1]:.2f}"
        )
    print("all: " + ", ".join(f"{lag:+d} {auc(*pooled[lag]):.3f}" for lag in LAGS) + f"; {len(pooled[0][1])} bilabials")


def silence(make: Maker, finder: FaceFinder) -> None:
    """Two seconds after a sentence: digital silence, a room; less the motion that is found in a frozen picture."""
    spoken = HibariVoice().say(ENGLISH[0])
    two_s = 2 * SAMPLE_RATE_HZ
    room = np.random.default_rng(5).standard_normal(two_s).astype(np.float32) * 10 ** (-50 / 20)
    frozen = look(make(np.zeros(two_s, np.float32), "frozen", life=False), finder)
    noise = motion(frozen, 5, len(frozen.lips))
    for name, end in (("digital", np.zeros(two_s, np.float32)), ("room at -50 dBFS", room)):
        seen = look(make(np.concatenate([spoken.samples, end]), f"silence, {name}"), finder)
        first = round((len(spoken.samples) / SAMPLE_RATE_HZ + 0.2) * float(RATE))
        moved = motion(seen, first, len(seen.lips))
        print(f"silence, {name}: lips move {moved:.2f} px, less {noise:.2f} px found in a frozen picture")


def arabic(make: Maker, finder: FaceFinder) -> None:
    spoken = pause(SAMPLE_RATE_HZ // 5)
    for sentence in ARABIC:
        spoken = EspeakVoice("ar", 150).say(sentence).after(spoken)
    seen = look(make(spoken.samples, "arabic"), finder)
    r = np.corrcoef(seen.opening, seen.envelope)[0, 1]
    lags = {lag: auc(*vowels_against_bilabials(spoken, seen, lag)) for lag in (-1, 0, 1)}
    print(
        f"Arabic: correlation with the envelope {r:.2f}; AUC " + ", ".join(f"{k:+d} {v:.3f}" for k, v in lags.items())
    )


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--face", type=Path, default=Path("lipsync/demo/man.jpg"))
    words.add_argument("--size", default="432p")
    words.add_argument("--keep", type=Path, help="where the videos stay")
    chosen = words.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        out = chosen.keep or Path(folder)
        studio, finder = Studio(Signing(Path(folder) / "keys")), FaceFinder()

        def make(samples: Floats, name: str, *, life: bool = True) -> Path:
            wav = write_wav(Path(folder) / "speech.wav", samples)
            video = out / f"{''.join(c if c.isalnum() else '-' for c in name)}.mp4"
            studio.render_file(chosen.face, wav, video, size=chosen.size, life=life)
            return video

        sync(make, finder)
        silence(make, finder)
        arabic(make, finder)


if __name__ == "__main__":
    main()
