"""Inputs of this folder's tests, all made here: voices of known vowels, photos from lipsync/demo, a small chapter."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from encoder import stages
from encoder.tools import Tools, run_tool
from lipsync.face import Face, FaceFinder
from lipsync.photo import Pixels, read_photo
from lipsync.planes import TO_YUV, Planes, part_of, planes_of
from lipsync.renderer import Renderer

DEMO = Path(__file__).resolve().parents[2] / "lipsync" / "demo"
RATE_HZ = 16_000
FORMANTS = {"a": (750, 1200), "i": (290, 2300), "u": (320, 850)}

SIDECAR = """language = "en"
[[slot]]
id = "you"
start = 2.5
duration = 2
face = {x = 0.25, y = 0.1, w = 0.5, h = 0.8}
life = false
"""


def vowel(name: str, duration_s: float) -> NDArray[np.float32]:
    """A steady voice: harmonics of 120 Hz that fall by 6 dB an octave, weighted by two resonances."""
    at_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    sound = np.zeros_like(at_s)
    for hz in range(120, 5000, 120):
        gain = sum(1 / (1 + ((hz - formant) / 90) ** 2) for formant in FORMANTS[name]) + 0.004
        sound += gain * 120 / hz * np.sin(2 * np.pi * hz * at_s + hz)
    return (0.3 * sound / abs(sound).max()).astype(np.float32)


def room(duration_s: float, level_dbfs: float = -90) -> NDArray[np.float32]:
    """The noise of a room."""
    noise = np.random.default_rng(3).standard_normal(round(duration_s * RATE_HZ))
    return (noise * 10 ** (level_dbfs / 20)).astype(np.float32)


def hiss(duration_s: float) -> NDArray[np.float32]:
    """An s: noise above 4 kHz."""
    spectrum = np.fft.rfft(room(duration_s, -16))
    spectrum[np.fft.rfftfreq(round(duration_s * RATE_HZ), 1 / RATE_HZ) < 4000] = 0
    return np.fft.irfft(spectrum).astype(np.float32)


def spoken(*parts: NDArray[np.float32]) -> NDArray[np.float32]:
    """The parts after each other, over a quiet room."""
    sound = np.concatenate(parts)
    return sound + room(len(sound) / RATE_HZ, -70)[: len(sound)]


def write_wav(path: Path, samples: NDArray[np.float32], rate_hz: int = RATE_HZ) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, rate_hz, 0, "NONE", ""))
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def demo_photo(name: str) -> Pixels:
    return read_photo((DEMO / f"{name}.jpg").read_bytes())


def even(face: Face) -> Face:
    """The face in a picture with even sides, as those have that are shown."""
    height, width = (side // 2 * 2 for side in face.picture.shape[:2])
    return Face(np.ascontiguousarray(face.picture[:height, :width]), face.landmarks)


def speaking(renderer: Renderer, state: Sequence[float]) -> Planes:
    """The planes of the whole picture with the mouth in `state`."""
    planes = planes_of(renderer.face.picture)
    for part, new in zip(part_of(planes, renderer.box), renderer.patch(state), strict=True):
        part[:] = new
    return planes


def seen(planes: Planes) -> Pixels:
    """Planes as a BGR picture, as a screen shows them."""
    luma, *chroma = (plane.astype(np.float32) for plane in planes)
    yuv = np.dstack([luma, *(cv2.resize(plane, luma.shape[::-1], interpolation=cv2.INTER_LINEAR) for plane in chroma)])
    back = np.linalg.inv(TO_YUV[:, :3])
    return np.rint((yuv - TO_YUV[:, 3]) @ back.T).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def finder() -> FaceFinder:
    return FaceFinder()


@pytest.fixture(scope="session")
def man(finder: FaceFinder) -> Face:
    return even(finder.find(demo_photo("man")).head())


@pytest.fixture(scope="session")
def laughing(finder: FaceFinder) -> Face:
    """A photo whose lips are open and show the teeth."""
    return even(finder.find(demo_photo("older-woman")).head())


@pytest.fixture(scope="session")
def chapter(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published chapter of 6 s, 640x360: a voice says `a` from 2.5 s to 3.5 s, the slot lasts from 2.5 s to 4.5 s."""
    folder = tmp_path_factory.mktemp("speaking")
    raw, media = folder / "raw", folder / "media"
    raw.mkdir()
    media.mkdir()
    voice = write_wav(folder / "voice.wav", spoken(room(2.5), vowel("a", 1), room(2.5)))
    picture = ["-f", "lavfi", "-i", "gradients=s=640x360:r=25:d=6:c0=0x204060:c1=0x806040:seed=1:speed=0.02"]
    codec = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "pcm_s16le", "-shortest"]
    run_tool([str(tools.ffmpeg), "-v", "error", *picture, "-i", str(voice), *codec, str(raw / "part.mov")])
    (raw / "part.toml").write_text(SIDECAR)
    plan = stages.plan(raw / "part.mov", tools)
    stages.encode(plan, media, tools)
    stages.assemble(plan, media, tools)
    stages.verify(plan, media, tools)
    return stages.publish_version(plan, media)
