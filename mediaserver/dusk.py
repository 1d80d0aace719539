"""The picture of the sample master: hills at dusk, a slow walk past them, and an old mirror. Drawn, not filmed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from encoder.model import Placement

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Draw = Callable[[Pixels, float], None]

MIRROR = Placement(x=0.54, y=0.09, w=0.36, h=0.8)
SUBPIXEL_BITS = 4

# colours are (blue, green, red), as OpenCV wants them
SKY = ((96, 46, 34), (124, 58, 66), (138, 88, 150), (116, 138, 226), (122, 186, 250))
HILLS = ((118, 84, 116), (96, 60, 82), (70, 42, 54), (44, 28, 32), (26, 18, 16))
GOLD_DARK, GOLD, GOLD_LIGHT = (34, 62, 92), (70, 124, 176), (150, 206, 240)


class Dusk:
    """One scene of `seconds` length at any size; `frame(t_s)` is BGR, uint8, height x width x 3."""

    def __init__(self, width: int, height: int, seconds: float, seed: int = 2) -> None:
        self.width, self.height, self.seconds = width, height, seconds
        chance = np.random.default_rng(seed)
        self._sky = _sky(width, height)
        self._clouds = _clouds(width // 4, height // 4, chance)
        self._stars = [tuple(row) for row in chance.random((160, 4))]
        self._hills = [_hill(depth, height, chance) for depth in range(len(HILLS))]
        self._flies = [tuple(row) for row in chance.random((26, 5))]
        self._grain = [_grain(width, height, chance) for _ in range(3)]
        self._mirror = _Mirror(width, height)

    def frame(self, t_s: float) -> Pixels:
        """Draw the picture at `t_s` seconds."""
        picture = self._sky.copy()
        self._draw_stars(picture, t_s)
        self._draw_clouds(picture, t_s)
        for depth in range(len(HILLS)):
            self._draw_hill(picture, depth, t_s)
        self._draw_flies(picture, t_s, near=False)
        self._mirror.draw(picture, t_s)
        self._draw_flies(picture, t_s, near=True)
        return np.asarray(cv2.add(picture, self._grain[round(t_s * 25) % 3]), np.uint8)

    def _draw_stars(self, picture: Pixels, t_s: float) -> None:
        dusk = 0.25 + 0.75 * t_s / self.seconds
        for x, y, size, phase in self._stars:
            light = dusk * (1 - y) * (0.6 + 0.4 * np.sin(6.28 * (phase + t_s * (0.15 + 0.3 * size))))
            centre = _fixed(x * self.width, y * 0.5 * self.height)
            radius = round((0.5 + size) * self.height / 1080 * (1 << SUBPIXEL_BITS))
            below = picture[min(self.height - 1, int(y * 0.5 * self.height)), min(self.width - 1, int(x * self.width))]
            colour = [float(b) + (250 - float(b)) * light for b in below]
            cv2.circle(picture, centre, max(8, radius), colour, -1, cv2.LINE_AA, SUBPIXEL_BITS)

    def _draw_clouds(self, picture: Pixels, t_s: float) -> None:
        high, wide = self.height // 4, self.width // 4
        move = np.array([[1, 0, -t_s * wide * 0.006], [0, 1, 0]], np.float32)
        thin = cv2.warpAffine(self._clouds, move, (wide, high), flags=cv2.INTER_LINEAR)
        soft = cv2.resize(thin, (self.width, high * 4), interpolation=cv2.INTER_LINEAR)
        cv2.add(picture[: high * 4], soft, dst=picture[: high * 4])

    def _draw_hill(self, picture: Pixels, depth: int, t_s: float) -> None:
        outline = self._hills[depth]
        speed = 0.008 * 2.0**depth
        shifted = outline.copy()
        shifted[:, 0] = (shifted[:, 0] - t_s * speed) * self.height
        shifted[:, 1] *= self.height
        seen = (shifted[:, 0] > -0.2 * self.height) & (shifted[:, 0] < self.width + 0.2 * self.height)
        line = shifted[seen]
        ends = np.array([[line[-1, 0], self.height + 4], [line[0, 0], self.height + 4]], np.float32)
        shape = np.concatenate((line, ends)) * (1 << SUBPIXEL_BITS)
        cv2.fillPoly(picture, [shape.astype(np.int32)], HILLS[depth], cv2.LINE_AA, SUBPIXEL_BITS)

    def _draw_flies(self, picture: Pixels, t_s: float, *, near: bool) -> None:
        for number, (x, y, pace, phase, size) in enumerate(self._flies):
            if (number % 4 == 0) is not near:
                continue
            turn = 6.28 * (phase + t_s * (0.05 + 0.09 * pace))
            at_x = (x + 0.03 * np.sin(turn) - t_s * 0.004) % 1.0 * self.width
            at_y = (0.62 + 0.34 * y + 0.025 * np.cos(1.7 * turn)) * self.height
            if near and self._mirror.covers(at_x, at_y):
                continue
            light = max(0.0, float(np.sin(turn * 3 + 9 * phase)))
            _glow(picture, at_x, at_y, (0.006 + 0.008 * size) * self.height, light)


class _Mirror:
    """A framed mirror that fills MIRROR; what a viewer without a session sees in it is a shape that waits."""

    def __init__(self, width: int, height: int) -> None:
        self._left, self._top = round(MIRROR.x * width), round(MIRROR.y * height)
        self._wide, self._high = round(MIRROR.w * width), round(MIRROR.h * height)
        self._border = round(0.026 * height)
        self._frame = _frame(self._wide, self._high, self._border)
        self._glass = _glass(self._wide, self._high)
        self._figure = _figure(self._wide, self._high)
        self._shine = _shine(self._wide, self._high)

    def covers(self, x: float, y: float) -> bool:
        """Say whether a pixel lies on the frame or the glass, with room for a glow."""
        room = 2 * self._border
        across = self._left - room < x < self._left + self._wide + room
        return across and self._top - room < y < self._top + self._high + room

    def draw(self, picture: Pixels, t_s: float) -> None:
        b = self._border
        outer = picture[self._top - b : self._top + self._high + b, self._left - b : self._left + self._wide + b]
        outer[:] = self._frame
        inner = outer[b:-b, b:-b]
        breath = 0.75 + 0.25 * np.sin(6.28 * t_s / 5)
        cv2.addWeighted(self._glass, 1.0, self._figure, float(breath), 0, dst=inner)
        slide = np.array([[1, 0, (t_s * 0.07 % 2.0 - 0.9) * self._wide], [0, 1, 0]], np.float32)
        cv2.add(inner, cv2.warpAffine(self._shine, slide, (self._wide, self._high)), dst=inner)


def _sky(width: int, height: int) -> Pixels:
    """Five colours from the zenith to the horizon, with a glow where the sun went down."""
    stops = np.linspace(0, 0.72, len(SKY))
    rows = np.linspace(0, 1, height)
    column = np.stack([np.interp(rows, stops, [colour[c] for colour in SKY]) for c in range(3)], axis=1)
    sky = np.repeat(column[:, None], width, axis=1)
    y, x = np.mgrid[0:height, 0:width] / height
    glow = np.exp(-(((x - 0.5) / 0.55) ** 2 + ((y - 0.64) / 0.3) ** 2))[..., None]
    return np.asarray(np.clip(sky + glow * (26, 52, 62), 0, 255), np.uint8)


def _clouds(width: int, height: int, chance: np.random.Generator) -> Pixels:
    """Thin streaks to be added to the sky; wider than the picture, because they drift."""
    field = np.zeros((height, width * 2), np.float32)
    for octave in (3, 5, 9, 17):
        coarse = chance.random((octave * 2, octave)).astype(np.float32)
        field += cv2.resize(coarse, (width * 2, height), interpolation=cv2.INTER_CUBIC) / octave
    field = np.clip((field - field.mean()) / field.std() - 0.4, 0, 2) / 2
    fade = np.interp(np.arange(height) / height, (0.0, 0.15, 0.45, 0.66), (0.2, 1, 0.8, 0))[:, None, None]
    return np.asarray(field[..., None] * fade * (60, 52, 78), np.uint8)


def _hill(depth: int, height: int, chance: np.random.Generator) -> Floats:
    """Return an outline (x, y in picture heights) as long as the walk; near ones bear trees."""
    base = (0.60, 0.665, 0.74, 0.83, 0.93)[depth]
    x = np.arange(-0.3, 8.0, 0.004 if depth > 1 else 0.01).astype(np.float32)
    y = np.full_like(x, base)
    for wave in range(1, 6):
        size = (0.055, 0.05, 0.05, 0.035, 0.02)[depth] / wave
        y += size * np.sin(x * wave * (1.3 + 0.5 * depth) + 6.28 * chance.random()).astype(np.float32)
    line = np.stack((x, y), axis=1)
    return _with_trees(line, depth, chance) if depth in (2, 3, 4) else line


def _with_trees(line: Floats, depth: int, chance: np.random.Generator) -> Floats:
    """Splice firs, or grass in front, into the outline where it reaches their feet."""
    many, tall, thin = {2: (90, 0.035, 0.3), 3: (46, 0.11, 0.28), 4: (900, 0.035, 0.08)}[depth]
    parts, done, free_x = [], 0, -0.2
    for foot_x in np.sort(chance.uniform(-0.2, 7.9, many)):
        size = tall * float(chance.uniform(0.5, 1.0))
        lean = float(chance.uniform(-0.4, 0.4)) * size
        half = thin * size
        if foot_x - half < free_x:
            continue
        foot_y = float(np.interp(foot_x, line[:, 0], line[:, 1])) + 0.004
        first, last = np.searchsorted(line[:, 0], (foot_x - half, foot_x + half))
        tree = _blade(foot_x, foot_y, size, half, lean) if depth == 4 else _fir(foot_x, foot_y, size, half)
        parts += [line[done:first], tree]
        done, free_x = int(last), foot_x + half
    return np.concatenate((*parts, line[done:]))


def _fir(x: float, y: float, size: float, half: float) -> Floats:
    left, right = [], []
    for step in range(5):
        low, high, wide = y - size * step / 5, y - size * (step + 0.62) / 5, half * (1 - step / 5)
        left += [(x - wide, low), (x - wide * 0.45, high)]
        right += [(x + wide, low), (x + wide * 0.45, high)]
    return np.array([*left, (x, y - size), *reversed(right)], np.float32)


def _blade(x: float, y: float, size: float, half: float, lean: float) -> Floats:
    return np.array([(x - half, y), (x + lean, y - size), (x + half, y)], np.float32)


def _grain(width: int, height: int, chance: np.random.Generator) -> Pixels:
    """One step of brightness at random, which hides the steps of an 8 bit gradient."""
    return np.repeat(chance.integers(0, 3, (height, width, 1), dtype=np.uint8), 3, axis=2)


def _frame(wide: int, high: int, border: int) -> Pixels:
    """A gilded moulding: light outside edge, dark groove, light inside edge."""
    depth = np.minimum.outer(_edge(high + 2 * border), _edge(wide + 2 * border)) / border
    stops = (0, 0.06, 0.3, 0.5, 0.62, 0.8, 0.9, 1.0, 1.05)
    shades = (GOLD_DARK, GOLD, GOLD_LIGHT, GOLD, GOLD_DARK, GOLD, GOLD_LIGHT, GOLD_DARK, (12, 10, 10))
    frame = np.stack([np.interp(depth, stops, [shade[c] for shade in shades]) for c in range(3)], axis=2)
    rows = np.linspace(1.06, 0.72, frame.shape[0])[:, None, None]
    return np.asarray(np.clip(frame * rows, 0, 255), np.uint8)


def _edge(length: int) -> NDArray[Any]:
    steps = np.arange(length)
    return np.minimum(steps, length - 1 - steps)


def _glass(wide: int, high: int) -> Pixels:
    """The evening behind the viewer, dim and out of focus, and before it the shadow of nobody."""
    y, x = np.mgrid[0:high, 0:wide] / high
    stops, shades = (0, 0.45, 0.7, 1), ((62, 34, 26), (110, 70, 66), (104, 92, 130), (46, 34, 38))
    glass = np.stack([np.interp(y, stops, [shade[c] for shade in shades]) for c in range(3)], axis=2)
    corners = 1 - 0.9 * ((x - wide / high / 2) ** 2 + (y - 0.5) ** 2)[..., None]
    shadow = 1 - 0.62 * _shape(wide, high, 0.008)[..., None]
    return np.asarray(np.clip(glass * corners * shadow, 0, 255), np.uint8)


def _figure(wide: int, high: int) -> Pixels:
    """The light of the evening around that shadow, to be added to the glass."""
    outside = 1 - _shape(wide, high, 0.006)
    light = outside * (_shape(wide, high, 0.05) * 0.55 + _shape(wide, high, 0.014) * 0.5)
    return np.asarray(np.clip(light[..., None] * (96, 112, 190), 0, 255), np.uint8)


def _shape(wide: int, high: int, blur: float) -> Floats:
    """Head and shoulders, 0..1, with edges that are `blur` of the height soft."""
    shape = np.zeros((high, wide), np.uint8)
    cx = wide // 2
    cv2.ellipse(shape, (cx, round(0.42 * high)), (round(0.185 * wide), round(0.19 * high)), 0, 0, 360, 255, -1)
    neck = ((cx - round(0.095 * wide), round(0.5 * high)), (cx + round(0.095 * wide), round(0.85 * high)))
    cv2.rectangle(shape, *neck, 255, -1)
    cv2.ellipse(shape, (cx, round(1.02 * high)), (round(0.43 * wide), round(0.31 * high)), 0, 180, 360, 255, -1)
    return np.asarray(cv2.GaussianBlur(shape, (0, 0), blur * high) / 255, np.float32)


def _shine(wide: int, high: int) -> Pixels:
    """A slanted reflex that wanders over the glass."""
    y, x = np.mgrid[0:high, 0:wide] / wide
    near = np.exp(-(((x + 0.35 * y - 0.70) / 0.05) ** 2)) + 0.6 * np.exp(-(((x + 0.35 * y - 0.83) / 0.02) ** 2))
    return np.asarray(near[..., None] * (16, 15, 17), np.uint8)


def _glow(picture: Pixels, x: float, y: float, radius: float, light: float) -> None:
    """Add a soft warm spot; x, y and radius in pixels."""
    reach = max(2, round(radius * 2))
    left, top = int(x) - reach, int(y) - reach
    if light < 0.02 or left < 0 or top < 0 or left + 2 * reach > picture.shape[1] or top + 2 * reach > picture.shape[0]:
        return
    rows, columns = np.mgrid[0 : 2 * reach, 0 : 2 * reach]
    far = ((columns + left - x) ** 2 + (rows + top - y) ** 2) / radius**2
    spot = (np.exp(-far * 2)[..., None] * np.array((120, 225, 255)) * light).astype(np.uint8)
    patch = picture[top : top + 2 * reach, left : left + 2 * reach]
    cv2.add(patch, spot, dst=patch)


def _fixed(x: float, y: float) -> tuple[int, int]:
    return round(x * (1 << SUBPIXEL_BITS)), round(y * (1 << SUBPIXEL_BITS))
