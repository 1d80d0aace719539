"""The invisible mark: read after each attack, seen by nobody, found in nothing that is unmarked.

    .venv/bin/python benchmarks/mark.py [--renders 20] [--unmarked 100] [--photos FOLDER] [--slot-only | --still]

Every render is a face (those of lipsync/demo, then the pictures below FOLDER) that speaks in a slot of 0.36 x 0.8 of a
moving scene, 1920x1080, 4.4 s, encoded as an insert is. Nothing of the original is given to the reader. With `--still`
the first picture of each scene stands still for 4 s, and its slices are spliced (docs/decisions/0015).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import compress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from encoder.insert import insert_encoder, insert_x264  # noqa: E402
from encoder.model import Placement, Presentation  # noqa: E402
from encoder.tools import find_tools, open_tool, run_tool  # noqa: E402
from lipsync.box import Box  # noqa: E402
from lipsync.compose import Compositor, Frame, rectangle_of  # noqa: E402
from lipsync.errors import LipsyncError  # noqa: E402
from lipsync.face import Face, FaceFinder  # noqa: E402
from lipsync.mark import Mark, new_render_id  # noqa: E402
from lipsync.markreader import read_mark  # noqa: E402
from lipsync.narration import SAMPLE_RATE_HZ, analyse  # noqa: E402
from lipsync.photo import read_photo  # noqa: E402
from lipsync.slicing import encode_still  # noqa: E402
from lipsync.still import StillScene, changes  # noqa: E402
from mediaserver.measuring import publish  # noqa: E402
from mediaserver.settings import Settings  # noqa: E402

TOOLS = find_tools()
RATE, FRAMES = Fraction(25), 110
PLACES = [Placement(0.32, 0.1, 0.36, 0.8), Placement(0.6, 0.15, 0.36, 0.8), Placement(0.05, 0.2, 0.36, 0.8)]
KINDS = ("pan", "hand camera", "zoom and discs", "fast pan, grain", "shaking, discs, grain", "smooth and almost still")
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf")
ATTACKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "our 432p rung, as streamed": ("432p", ()),
    "240p of the 1080p rung, x264 crf 28": ("1080p", ("-vf", "scale=426:240", "-c:v", "libx264", "-crf", "28")),
    "240p of the 432p rung, x264 crf 28": ("432p", ("-vf", "scale=426:240", "-c:v", "libx264", "-crf", "28")),
    "10 % off each side, scaled to 720p": ("1080p", ("-vf", "crop=iw*.8:ih*.8,scale=1280:720", *X264, "23")),
    "10 % off left, 7 % off top, not scaled": ("1080p", ("-vf", "crop=iw*.9:ih*.93:iw*.1:ih*.07", *X264, "23")),
    "border of 5 % on each side, 720p": ("1080p", ("-vf", "pad=iw*1.1:ih*1.1:-1:-1,scale=1280:720", *X264, "23")),
    "25 to 30 pictures/s of the 432p rung": ("432p", ("-vf", "fps=30", *X264, "23")),
    "25 to 24 pictures/s of the 432p rung": ("432p", ("-vf", "fps=24", *X264, "23")),
    "432p, cropped by 10 %, 240p, 30 pictures/s": (
        "432p",
        ("-vf", "crop=iw*.8:ih*.8,scale=426:240,fps=30", *X264, "26"),
    ),
}


def cloud(rng: np.random.Generator, height: int, width: int, fall: float) -> NDArray[np.float32]:
    """Noise whose amplitude falls with the frequency to that power, as in pictures of the world."""
    spectrum = np.fft.rfft2(rng.standard_normal((height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    noise = np.fft.irfft2(spectrum / frequency**fall, (height, width))
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)


def scene(seed: int, width: int, height: int) -> Iterator[Frame]:
    """Yield FRAMES pictures that move in one of the KINDS."""
    rng, kind = np.random.default_rng(seed), seed % len(KINDS)
    fall, depth = (2.2, 20.0) if kind == 5 else (rng.uniform(0.9, 1.5), rng.uniform(20, 45))
    ground = rng.uniform(60, 150) + depth * cloud(rng, 2 * height, 2 * width, fall)
    if kind != 5:
        for _ in range(12):
            x, y, w, h = (int(v) for v in rng.uniform(0.05, 1, 4) * [1.9 * width, 1.9 * height, width / 3, height / 2])
            cv2.rectangle(ground, (x, y), (x + w, y + h), float(rng.uniform(30, 220)), -1)
    ground = cv2.GaussianBlur(ground, (0, 0), height / 1080)
    tint = [np.clip(128 + 6 * cloud(rng, height // 2, width // 2, 1.6), 16, 240).astype(np.uint8) for _ in range(2)]
    grain, film = (0, 2, 0, 4, 1, 0)[kind], rng.standard_normal((2 * height, 2 * width)).astype(np.float32)
    speed, turn = rng.uniform(1, 9) * height / 1080, rng.uniform(0, 6.28)
    for k in range(FRAMES):
        x, y, zoom = (
            (speed * k * np.cos(turn), speed * k * np.sin(turn), 1),
            (height / 27 * np.sin(k / 9 + seed), height / 43 * np.cos(k / 13), 1 + 0.1 * np.sin(k / 50)),
            (0, 0, 1 + 0.003 * k),
            (speed * k, height / 72 * np.sin(k / 5), 1),
            (height / 360 * np.sin(k / 4), height / 360 * np.cos(k / 5.3), 1),
            (0.3 * k, 0, 1),
        )[kind]
        matrix = np.array([[zoom, 0, width / 2 + x], [0, zoom, height / 2 + y]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        luma = cv2.warpAffine(ground, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
        for j in range(4 if kind in {2, 4} else 0):
            centre = (
                width * (0.2 + 0.2 * j) + 0.1 * width * np.sin(k / 12 + j),
                height * (0.5 + 0.3 * np.cos(k / 15 + 2 * j)),
            )
            cv2.circle(luma, (int(centre[0]), int(centre[1])), height * (4 + j) // 50, 60.0 + 40 * j, -1, cv2.LINE_AA)
        if grain:
            down, right = rng.integers(0, height), rng.integers(0, width)
            luma = luma + grain * film[down : down + height, right : right + width]
        yield np.concatenate([np.clip(luma, 16, 235).astype(np.uint8), *(t.reshape(-1, width) for t in tint)])


def speech(seed: int) -> NDArray[np.float32]:
    """Syllables of a voice-like sound, four a second, with pauses."""
    at_s = np.arange(int(FRAMES / RATE * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    voice = sum(np.sin(2 * np.pi * 120 * n * at_s) / n for n in range(1, 30))
    open_ = np.clip(np.sin(2 * np.pi * (4 + 0.1 * (seed % 7)) * at_s) + 0.2, 0, 1) * (
        np.sin(2 * np.pi * 0.4 * at_s) > -0.7
    )
    return (0.1 * voice * open_ + 1e-4 * np.random.default_rng(seed).standard_normal(len(at_s))).astype(np.float32)


def composed(face: Face, seed: int, width: int, height: int) -> Iterator[Frame]:
    """Yield the scene with the face speaking in it."""
    compositor = Compositor.into_slot(face, PLACES[seed % len(PLACES)], width, height)
    states = analyse(speech(seed), RATE, FRAMES)
    for frame, state in zip(scene(seed, width, height), states, strict=True):
        yield compositor.compose(frame, state)


@dataclass
class Seen:
    """What a viewer could see of the mark, over all renders."""

    psnr_db: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    swings: list[float] = field(default_factory=list)
    put_ms: list[float] = field(default_factory=list)
    box_db: list[float] = field(default_factory=list)


def marked(frames: Iterator[Frame], mark: Mark, first: int, seen: Seen, *area: slice) -> Iterator[Frame]:
    before: NDArray[np.int16] | None = None
    for number, frame in enumerate(frames, first):
        plain, lines = frame.copy(), frame.shape[0] * 2 // 3
        begun = time.thread_time()
        mark.put(frame, number, *area)
        seen.put_ms.append(1000 * (time.thread_time() - begun))
        if number % 4 < 2:
            difference = frame[:lines].astype(np.int16) - plain[:lines]
            seen.psnr_db.append(float(10 * np.log10(255**2 / np.mean(difference.astype(np.float32) ** 2))))
            if number % 4 == 1 and before is not None:
                seen.steps.append(int(np.percentile(np.abs(difference - before), 99.9)))
                seen.swings.append(abs(float(difference.mean() - before.mean())))
            before = difference
        yield frame


def encoded(frames: Iterator[Frame], width: int, height: int, outputs: dict[str, Path]) -> None:
    """Encode pictures for rungs (`1080p`: file), as inserts are."""
    words = [str(TOOLS.ffmpeg), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p"]
    words += ["-s", f"{width}x{height}", "-r", str(RATE), "-i", "pipe:0"]
    for rung, file in outputs.items():
        lines = int(rung[:-1])
        peak = 8_000_000 * lines // 1080
        words += ["-vf", f"scale={2 * round(lines * 8 / 9)}:{lines}:flags=bicubic"]
        words += [*insert_encoder("veryfast", insert_x264(50, "40", peak, Fraction(2))), str(file)]
    with open_tool(words, stdin=True) as child:
        assert child.stdin is not None
        for frame in frames:
            child.stdin.write(frame.data)
        child.stdin.close()
        child.check()


class WeighedMark:
    """The mark of a still scene's box, as StillScene asks for it; without a number it leaves pictures as they are."""

    def __init__(self, render_id: int | None, seen: Seen, width: int, height: int) -> None:
        self._mark = None if render_id is None else Mark(render_id, width, height, RATE)
        self._seen, self._size = seen, (width, height)

    def patch(self, luma: Frame, rows: slice, columns: slice) -> WeighedMark:
        self._patch = self._mark and self._mark.patch(luma, rows, columns)
        return self

    def step(self, number: int) -> int:
        return self._patch.step(number) if self._patch else 0

    def put(self, luma: Frame, step: int, into: Frame, part: Box) -> None:
        if self._patch is None:
            into[part.rows, part.columns] = luma[part.rows, part.columns]
            return
        begun = time.thread_time()
        self._patch.put(luma, step, into, part)
        if self._size[1] == 1080:
            self._seen.put_ms.append(1000 * (time.thread_time() - begun))
            squares = float(np.sum((into.astype(np.float32) - luma) ** 2))
            self._seen.psnr_db.append(float(10 * np.log10(255**2 * 1920 * 1080 / squares)))
            self._seen.box_db.append(float(10 * np.log10(255**2 * luma.size / squares)))


def still(
    face: Face, seed: int, chapter: Path, outputs: dict[str, Path], *, render_id: int | None = None, seen: Seen
) -> None:
    """Splice 4 s of a face in front of a picture that stands still into the rungs of a chapter (`1080p`: file)."""
    p = Presentation.load(chapter)
    rungs = [r for r in p.videos if f"{r.picture and r.picture.height}p" in outputs]
    size = rungs[0].picture
    assert size
    ground, frames = next(scene(seed, size.width, size.height)), range(50 * seed, 50 * seed + 100)
    compositor = Compositor.into_slot(face, PLACES[seed % len(PLACES)], size.width, size.height)
    states = analyse(speech(seed), RATE, FRAMES)[: len(frames)]
    compositor.expect(states)
    stage = StillScene(compositor, ground, states[0], lambda w, h: WeighedMark(render_id, seen, w, h))
    fresh = changes(states, frames.start, p.grid)
    timed = compress(zip(frames, states, strict=True), fresh)
    fragments = list(encode_still(stage, timed, fresh, p.grid, TOOLS, renditions=rungs, numbers=range(2)))
    for rung in rungs:
        init = (chapter / rung.file).read_bytes()[: rung.init_size]
        own = sorted((f for f in fragments if f.rendition == rung.id), key=lambda f: f.number)
        assert rung.picture
        outputs[f"{rung.picture.height}p"].write_bytes(init + b"".join(f.data for f in own))


def still_chapter(folder: Path) -> Path:
    """Publish a chapter whose rungs and parameter sets still scenes are spliced into."""
    return publish(folder, Settings(ladder="film", av1=False), 1080, 4)[0]


def attacked(source: Path, words: Sequence[str], target: Path) -> Path:
    if not words:
        return source
    run_tool((str(TOOLS.ffmpeg), "-v", "error", "-y", "-i", str(source), "-an", *words, str(target)))
    return target


def faces(folder: Path | None) -> Iterator[Face]:
    """Yield all faces that are found, over and over."""
    photos = sorted((ROOT / "lipsync" / "demo").glob("*.jpg"))
    photos += sorted(folder.rglob("photo.jpg")) if folder else []
    finder, found = FaceFinder(), []
    for photo in photos:
        try:
            found.append(finder.find(read_photo(photo.read_bytes())).head())
        except LipsyncError:
            continue
        yield found[-1]
    while True:
        yield from found


def read_all(count: int, photos: Path | None, folder: Path, chapter: Path | None, *, slot_only: bool) -> None:
    results: dict[str, list[str]] = {name: [] for name in ATTACKS}
    seen = Seen()
    for seed, face in zip(range(count), faces(photos), strict=False):
        render_id = new_render_id()
        rungs = {rung: folder / f"{seed}_{rung}.mp4" for rung in ("1080p", "432p")}
        if chapter:
            still(face, seed, chapter, rungs, render_id=render_id, seen=seen)
        else:
            frames = composed(face, seed, 1920, 1080)
            box = rectangle_of(PLACES[seed % len(PLACES)], 1920, 1080)
            area = (box.rows, box.columns) if slot_only else ()
            encoded(marked(frames, Mark(render_id, 1920, 1080, RATE), 37 * seed, seen, *area), 1920, 1080, rungs)
        for name, (rung, words) in ATTACKS.items():
            reading = read_mark(attacked(rungs[rung], words, folder / f"{seed}_attacked.mp4"), TOOLS)
            right = reading is not None and reading.render_id == render_id
            results[name].append("read" if right else "nothing" if reading is None else "WRONG")
        print(f"render {seed} ({KINDS[seed % len(KINDS)]}): " + " ".join(r[-1] for r in results.values()), flush=True)
    print(f"\n| attack | read without a wrong bit, of {count} | read wrongly |\n|---|---|---|")
    for name, outcomes in results.items():
        print(f"| {name} | {outcomes.count('read')} | {outcomes.count('WRONG')} |")
    print(f"\nPSNR of the luma: {min(seen.psnr_db):.1f} dB at least, {np.mean(seen.psnr_db):.1f} dB on average.")
    if seen.box_db:
        print(
            f"In the box that changes alone: {min(seen.box_db):.1f} dB at least, {np.mean(seen.box_db):.1f} on average."
        )
    else:
        print(f"From picture to picture: 99.9 % of pixels change by at most {max(seen.steps)} grey levels,", end=" ")
        print(f"the mean of a picture by at most {max(seen.swings):.3f}.")
    print(f"Putting it into a 1080p picture: {np.median(seen.put_ms):.1f} ms of one core (median).")


def read_none(count: int, photos: Path | None, folder: Path, chapter: Path | None) -> None:
    found = 0
    for seed, face in zip(range(1000, 1000 + count), faces(photos), strict=False):
        clip = folder / f"{seed}.mp4"
        if chapter:
            still(face, seed, chapter, {"432p": clip}, seen=Seen())
        else:
            encoded(composed(face, seed, 960, 540), 960, 540, {"432p": clip})
        found += read_mark(clip, TOOLS) is not None
    print(f"\nMarks found in {count} unmarked clips: {found}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renders", type=int, default=20)
    parser.add_argument("--unmarked", type=int, default=100)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--slot-only", action="store_true", help="mark the slot's rectangle instead of the picture")
    parser.add_argument("--still", action="store_true", help="scenes that stand still, spliced of slices")
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        chapter = still_chapter(folder) if asked.still else None
        read_all(asked.renders, asked.photos, folder, chapter, slot_only=asked.slot_only)
        read_none(asked.unmarked, asked.photos, folder, chapter)


if __name__ == "__main__":
    main()
