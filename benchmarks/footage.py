"""Three short films for the encoder's benchmark, drawn from fixed seeds: animation, grainy nature, talking head.

Each is a generator of 1920x1080 pictures (BGR, uint8) at 24 a second; `write` makes ProRes 422 HQ with PCM of it, as
editors hand in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from math import pi, sin
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from encoder.tools import find_tools, open_tool

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT, RATE = 1920, 1080, 24
# In 8-bit levels (standard deviation): with it 8 Mb/s are just too few, as on real film of this kind.
GRAIN = 1.5
Picture = Any


def animation(frames: int) -> Iterator[Picture]:
    """Textured hills that pass by at three speeds, and figures with outlines that hop in front of them."""
    random = np.random.default_rng(1)
    width = WIDTH + 2 * frames * 6
    layers = [
        _hills(random, width, 420 + 170 * i, hue)
        for i, hue in enumerate(((150, 170, 120), (90, 160, 90), (50, 110, 60)))
    ]
    sky = _gradient((235, 190, 120), (250, 235, 215))
    figures = [
        (random.uniform(0, 2 * pi), int(random.integers(60, 130)), tuple(map(int, random.integers(60, 255, 3))))
        for _ in range(9)
    ]
    for number in range(frames):
        picture = sky.copy()
        for depth, layer in enumerate(layers):
            shift = _shift(-number * (1.5 + 2.2 * depth), 0)
            colour, mask = (cv2.warpAffine(part, shift, (WIDTH, HEIGHT)) for part in layer)
            picture = _over(picture, colour, mask)
        for i, (phase, size, hue) in enumerate(figures):
            _figure(picture, (i * 230 + number * 3) % (WIDTH + 300) - 150, number / RATE * 5 + phase, size, hue)
        yield picture


def nature(frames: int) -> Iterator[Picture]:
    """A slow pan over soft and sharp structure at all scales, leaves that move in the wind, and film grain."""
    random = np.random.default_rng(2)
    room = 200
    land = _fractal(random, (WIDTH + room, HEIGHT + room), 1.25, ((70, 95, 90), (130, 160, 165)))
    leaves = _fractal(random, (WIDTH + room, HEIGHT + room), 1.3, ((30, 80, 50), (110, 190, 140)))
    where = cv2.GaussianBlur(random.standard_normal((HEIGHT + room, WIDTH + room)).astype(np.float32), (0, 0), 40)
    where = np.clip(where / where.std() * 1.5, 0, 1)
    grains = [
        cv2.GaussianBlur(random.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), 0.7) for _ in range(7)
    ]
    grains = [grain / grain.std() * GRAIN for grain in grains]
    for number in range(frames):
        t = number / RATE
        pan = _shift(-30 - 9 * t + 1.5 * sin(5 * t), -30 - 4 * t + 1.2 * sin(7 * t + 1))
        wind = _shift(-30 - 9 * t - 4 * sin(2.1 * t), -30 - 4 * t + 2 * sin(3.3 * t))
        near, mask = (cv2.warpAffine(part, wind, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC) for part in (leaves, where))
        picture = _over(cv2.warpAffine(land, pan, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC), near, mask)
        grain = np.roll(grains[number % 7], (int(random.integers(HEIGHT)), int(random.integers(WIDTH))), (0, 1))
        yield cv2.add(picture, cv2.merge([grain] * 3), dtype=cv2.CV_8U)


def talk(frames: int) -> Iterator[Picture]:
    """One of the repository's computer-made faces: it sways, mouth and eyes move, the room is still."""
    random = np.random.default_rng(3)
    face = cv2.resize(
        cv2.imread(str(ROOT / "lipsync" / "demo" / "woman.jpg")), (1180, 1180), interpolation=cv2.INTER_CUBIC
    )
    room = cv2.GaussianBlur(cv2.resize(face, (WIDTH, HEIGHT)), (0, 0), 60)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    edge = np.clip((1 - ((x - 960) / 640) ** 4 - ((y - 600) / 800) ** 6) * 4, 0, 1)
    loud = np.convolve(random.standard_normal(frames + 8) ** 2, np.hanning(6) / 3, "same")
    for number in range(frames):
        t = number / RATE
        mouth = np.exp(-(((x - 960) / 130) ** 2) - ((y - 800) / 90) ** 2) * float(min(22.0, 9 * loud[number]))
        blink = np.exp(-(((y - 480) / 40) ** 2)) * (12.0 if number % 71 < 4 else 0.0)
        from_x = x - 370 + 7 * sin(1.3 * t)
        from_y = y + 50 + 4 * sin(2.2 * t) - np.sign(y - 800) * mouth + blink
        speaker = cv2.remap(
            face, from_x.astype(np.float32), from_y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        noise = random.standard_normal((HEIGHT, WIDTH, 1)).astype(np.float32)
        yield np.clip(_over(room, speaker, edge).astype(np.float32) + 1.2 * noise, 0, 255).astype(np.uint8)


FILMS: dict[str, Callable[[int], Iterator[Picture]]] = {"animation": animation, "nature": nature, "talk": talk}


def write(name: str, seconds: int, path: Path) -> Path:
    """Make one film, unless it is there; returns its path."""
    if path.is_file():
        return path
    part, tools = path.with_suffix(".part"), find_tools()
    source = ("-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE), "-i", "pipe:0")
    sound = ("-f", "lavfi", "-t", str(seconds), "-i", "anoisesrc=c=pink:a=0.1:seed=1:r=48000", "-c:a", "pcm_s16le")
    matrix = "scale=out_color_matrix=bt709:out_range=tv,format=yuv422p10le"
    tags = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
    prores = ("-vf", f"{matrix},{tags}", "-c:v", "prores_ks", "-profile:v", "3", "-vendor", "apl0", "-qscale:v", "4")
    command = (str(tools.ffmpeg), "-v", "error", "-y", *source, *sound, *prores, "-f", "mov", str(part))
    with open_tool(command, stdin=True) as ffmpeg:
        assert ffmpeg.stdin is not None
        for picture in FILMS[name](seconds * RATE):
            ffmpeg.stdin.write(np.ascontiguousarray(picture).data)
        ffmpeg.stdin.close()
        ffmpeg.check()
    return part.replace(path)


def _shift(x: float, y: float) -> Any:
    return np.array([[1, 0, x], [0, 1, y]], np.float32)


def _over(back: Picture, front: Picture, mask: Any) -> Picture:
    """Put one picture over another where the mask (0..1) says so."""
    return cv2.blendLinear(front, back, mask, 1 - mask)


def _gradient(top: tuple[int, ...], bottom: tuple[int, ...]) -> Picture:
    share = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None, None]
    one = np.float32(top) * (1 - share) + np.float32(bottom) * share
    return np.repeat(one, WIDTH, axis=1).astype(np.uint8)


def _hills(random: Any, width: int, top: int, hue: tuple[int, ...]) -> tuple[Picture, Any]:
    """A drawn layer: its colours with the texture of grass, and where it is."""
    x = np.arange(width)
    edge = top + sum(40 / k * np.sin(x * k / 190 + random.uniform(0, 6)) for k in (1, 2, 3))
    grass = cv2.GaussianBlur(random.standard_normal((HEIGHT, width)).astype(np.float32), (0, 0), 1.2, sigmaY=5)
    light = 1 + 0.35 * grass / np.abs(grass).max() + 0.1 * np.sin(x / 60)[None, :]
    colour = np.clip(light[..., None] * np.float32(hue), 0, 255).astype(np.uint8)
    return colour, np.clip((np.arange(HEIGHT)[:, None] - edge[None, :]) / 1.5, 0, 1).astype(np.float32)


def _figure(picture: Picture, x: int, phase: float, size: int, hue: tuple[int, ...]) -> None:
    """A body, a head and two eyes with dark outlines; it hops."""
    y = int(880 - abs(sin(phase)) * 150)
    tall = int(size * (1 + 0.15 * sin(2 * phase)))
    for centre, axes, colour in (((x, y), (size, tall), hue), ((x + size // 3, y - tall), (size // 2, size // 2), hue)):
        cv2.ellipse(picture, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
        cv2.ellipse(picture, centre, axes, 0, 0, 360, (30, 30, 30), 4, cv2.LINE_AA)
    for side in (0, 1):
        eye = (x + size // 4 + side * size // 4, y - tall - size // 8)
        cv2.circle(picture, eye, size // 8, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(picture, (eye[0] + 3, eye[1]), size // 16, (20, 20, 20), -1, cv2.LINE_AA)


def _fractal(
    random: Any, size: tuple[int, int], slope: float, hues: tuple[tuple[int, ...], tuple[int, ...]]
) -> Picture:
    """Noise whose amplitude falls with frequency as in pictures of nature (1/f^slope), between two colours."""
    width, height = size
    spectrum = np.fft.rfft2(random.standard_normal((height, width)))
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    f[0, 0] = 1
    field = np.fft.irfft2(spectrum / f**slope, s=(height, width))
    share = np.clip(0.5 + field / field.std() / 5, 0, 1).astype(np.float32)[..., None]
    dark, light = (np.float32(hue) for hue in hues)
    return np.clip(dark + share * (light * 1.3 - dark), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
