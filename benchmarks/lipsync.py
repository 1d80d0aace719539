"""A speaking face of 16 s at 720p: ours beside the path of the original Wav2Lip, with random weights of its size.

    .venv/bin/python benchmarks/lipsync.py [--speech FILE] [--home DIR] [--for SECONDS]      (needs the extra `train`)

Both run as processes of their own, from cold to the finished file, after each other; see wav2lip.py for the original.
Then a still slot of 16 s in a chapter of three rungs, label and mark on: one viewer alone, and viewers one after the
other in as many workers as there are cores, each with the photo looked at and the finished 720p file signed. `--home`
keeps the chapter for the next time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import sys
import tempfile
import time
import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as lipsync does, but NumPy is imported before it here

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from encoder.model import Presentation  # noqa: E402
from encoder.tools import find_tools, python_module, run_tool  # noqa: E402
from lipsync.compose import Compositor  # noqa: E402
from lipsync.face import CHIN, FOREHEAD, FaceFinder  # noqa: E402
from lipsync.narration import SAMPLE_RATE_HZ, analyse, read_speech  # noqa: E402
from lipsync.photo import read_photo  # noqa: E402
from lipsync.protocols import Signing, Take  # noqa: E402
from lipsync.speaker import DrawnSpeaker  # noqa: E402
from lipsync.worker import WarmWorker  # noqa: E402
from mediaserver.sample import make  # noqa: E402

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


SIDECAR = """language = "en"
[[slot]]
id = "you"
start = 2
duration = 16
speaker_consent = "a voice that was made"
face = {x = 0.54, y = 0.09, w = 0.36, h = 0.8}
compose = "still"
"""
RUNG = "video_720p_h264"


def still_chapter(home: Path) -> Path:
    """Publish a chapter whose picture stands still, once; return its version's folder."""
    chapter = home / "media" / "still"
    if not chapter.is_dir():
        for name in ("raw", "media", "state"):
            (home / name).mkdir(parents=True, exist_ok=True)
        sample, master = make(home, small=False), home / "raw" / "still.mov"
        frozen = ("-ss", "6", "-t", "20", "-vf", "loop=loop=-1:size=1,trim=end_frame=500,setpts=N/25/TB")
        form = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-c:a", "pcm_s16le")
        run_tool([str(find_tools().ffmpeg), "-v", "error", "-i", str(sample), *frozen, *form, str(master)])
        master.with_suffix(".toml").write_text(SIDECAR)
        flags = [word for name in ("raw", "media", "state") for word in (f"--{name}", str(home / name))]
        run_tool((*python_module("mediaserver"), "encode", str(master), *flags), timeout_s=1800)
    return chapter / (chapter / "current").read_text().strip()


@dataclass(frozen=True, slots=True)
class Viewer:
    """One viewer's slot, in seconds from the photo's arrival, and the finished file's signature."""

    first_s: float
    all_s: float
    signed_s: float


async def view(worker: WarmWorker, photo: bytes, folder: Path, rungs: tuple[str, ...]) -> Viewer:
    """Look at a photo, render all segments that lie in the slot, sign the finished file of one rung."""
    presentation = Presentation.load(folder)
    segments = presentation.carried_by(presentation.slots[0])
    began_s = time.perf_counter()
    face = (await worker.examine(photo)).face
    taken_s, parts = list[float](), list[bytes]()
    async for fragment in worker.render(face, Take(folder, "you", rungs, segments, 7)):
        taken_s.append(time.perf_counter() - began_s)
        parts += [fragment.data] * (fragment.rendition == rungs[0])
    rendition = next(r for r in presentation.videos if r.id == rungs[0])
    init = (folder / rendition.file).read_bytes()[: rendition.segments[0].offset]
    signing_s = time.perf_counter()
    await worker.sign(init + b"".join(parts), "A scene", 7)
    return Viewer(taken_s[0], taken_s[-1], time.perf_counter() - signing_s)


def worker_used(pid: int) -> tuple[float, float]:
    """Processor seconds of a worker and of all that it has started and ended; its largest resident size, MB."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK"), peak_kib / 1024


async def still_slot(folder: Path, lasts_s: float, keys: Path) -> None:
    """Print what a still slot costs one viewer alone, and how many an hour are served one after the other."""
    presentation, photo = Presentation.load(folder), (ROOT / "lipsync/demo/man.jpg").read_bytes()
    every = (RUNG, *(r.id for r in presentation.videos if r.insert and r.id != RUNG))
    workers = [WarmWorker(Signing(keys)) for _ in range(os.cpu_count() or 1)]
    try:
        for worker in workers:
            await view(worker, photo, folder, every)
        for name, rungs in (("720p alone", every[:1]), (f"{len(every)} rungs", every)):
            runs = [await view(workers[0], photo, folder, rungs) for _ in range(5)]
            first_s, all_s, signed_s = (
                statistics.median(getattr(run, key) for run in runs) for key in ("first_s", "all_s", "signed_s")
            )
            print(
                f"still slot, {name}: first segment {first_s:.2f} s, all {all_s:.2f} s from the photo; {signed_s:.2f} s"
                " to sign the file"
            )
        pids = [worker.pid for worker in workers if worker.pid]
        before, began_s = [worker_used(pid)[0] for pid in pids], time.perf_counter()

        async def serve(worker: WarmWorker) -> int:
            count = 0
            while time.perf_counter() - began_s < lasts_s:
                await view(worker, photo, folder, every)
                count += 1
            return count

        served = sum(await asyncio.gather(*map(serve, workers)))
        took_s, after = time.perf_counter() - began_s, [worker_used(pid) for pid in pids]
        used_s = sum(used for used, _ in after) - sum(before)
        peak_mb = max(peak for _, peak in after)
        print(
            f"viewers: {served} in {took_s:.0f} s by {len(workers)} workers, {3600 * served / took_s:.0f} an hour,"
            f" {used_s / served:.2f} s of processor each; a worker {peak_mb:.0f} MB resident at most"
        )
    finally:
        for worker in workers:
            await worker.close()


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
    parser.add_argument("--home", type=Path, help="folder in which the chapter of the still slot is kept")
    parser.add_argument("--for", type=float, default=30, dest="lasts_s", help="how long viewers come, in seconds")
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
        asyncio.run(still_slot(still_chapter(chosen.home or at / "home"), chosen.lasts_s, at / "keys"))
        theirs = Run.of(str(ROOT / "benchmarks/wav2lip.py"), str(photo), str(speech), noise)
        print(f"original, cold to file: {theirs}; of that behind its imports {theirs.printed} s")
        print(f"ratio, cold to file: {theirs.wall_s / ours.wall_s:.1f} (processor {theirs.used_s / ours.used_s:.1f})")


if __name__ == "__main__":
    main()
