"""Wav2Lip as an engine, from files that were converted once from the operator's own checkpoint (lipsync.train.wav2lip).

A picture of its track holds narration.PARAMETERS, by which the skin round the mouth is moved as the shipped engine does
it; PRESENCE, how far anybody speaks: in a pause the photo's own mouth rests; and SOUND numbers that the network has
heard. The 96-pixel mouth is laid over that face: whole on the lips, round them as a tone alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lipsync.ahead import Ahead
from lipsync.box import Box
from lipsync.checkpoint import FILES, check_converted
from lipsync.conditioning import shrunk
from lipsync.engine import Engine, engine_of
from lipsync.face import CHIN, Face
from lipsync.mel import filters
from lipsync.movement import JAW_DROP, LEFT_CORNER, LIP_BOTTOM, LIP_TOP, RIGHT_CORNER, UNDER_NOSE, MouthFrame, fall
from lipsync.narration import PARAMETERS, analyse, presence
from lipsync.photo import Pixels
from lipsync.planes import Planes, channels_of, halved, yuv_of
from lipsync.renderer import Renderer

Floats = NDArray[np.float32]

BATCH, FACE_PX, SOUND = 8, 96, 512
ROWS = slice(FACE_PX // 2, FACE_PX)
"""What the network paints of a face."""
PRESENCE = len(PARAMETERS)
THREADS = 4
UNDER_CHIN = 0.05
"""Share of the face's height that its square has below the chin."""

# --- what it hears: the spectrogram of the published code (hparams.py), which its weights were trained with ---

SAMPLE_RATE_HZ, WINDOW, HOP = 16_000, 800, 200
MEL_BANDS, MEL_STEPS, MEL_HZ = 80, 16, (55.0, 7600.0)
STEPS_PER_S = SAMPLE_RATE_HZ // HOP
EMPHASIS, REFERENCE_DB, FLOOR_DB, LARGEST = 0.97, 20.0, -100.0, 4.0


def spectrogram(samples: NDArray[np.floating[Any]]) -> Floats:
    """Return (MEL_BANDS, steps) of 16 kHz mono samples, -LARGEST..LARGEST; 80 steps a second."""
    sharp = np.append(samples[:1], samples[1:] - EMPHASIS * samples[:-1])
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sharp, WINDOW // 2), WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    bands = np.empty((MEL_BANDS, len(frames)))
    for first in range(0, len(frames), 4096):
        part = slice(first, first + 4096)
        bands[:, part] = filters(WINDOW, MEL_BANDS, *MEL_HZ) @ abs(np.fft.rfft(frames[part] * hann, axis=1)).T
    level_db = 20 * np.log10(np.maximum(1e-5, bands)) - REFERENCE_DB
    scaled = 2 * LARGEST * (level_db - FLOOR_DB) / -FLOOR_DB - LARGEST
    return np.clip(scaled, -LARGEST, LARGEST).astype(np.float32)


def windows(samples: NDArray[np.floating[Any]], rate: Fraction, frames: int, early: Fraction = Fraction(0)) -> Floats:
    """Return what each of `frames` pictures hears (frames, 1, MEL_BANDS, MEL_STEPS): 0.2 s from its own beginning.

    It is a view: nothing is copied.
    """
    mel = spectrogram(samples)
    starts = [max(0, int((k - early) * STEPS_PER_S / rate)) for k in range(frames)]
    quiet = np.full((MEL_BANDS, MEL_STEPS + max(0, starts[-1] - mel.shape[1])), -LARGEST, np.float32)
    every = np.lib.stride_tricks.sliding_window_view(np.concatenate([mel, quiet], axis=1), MEL_STEPS, axis=1)
    return every.transpose(1, 0, 2)[starts][:, None]


class Wav2LipSpeaker:
    """The networks, loaded once. What is done once for a narration or a face is always done in 32 bits.

    `exact` keeps the mouths to 32 bits, too: twice the time where the processor has 16-bit arithmetic. Raises
    NotConverted.
    """

    track = "wav2lip-1"

    def __init__(self, folder: Path, *, exact: bool = False) -> None:
        check_converted(folder)
        # the mouths cost more than all else together: they may have every core of a small machine
        self._threads = min(THREADS, os.cpu_count() or 1)
        self._sounds, self._faces = (engine_of(folder / FILES[name], exact=True) for name in ("sounds", "faces"))
        self._mouths_file, self._exact = folder / FILES["mouths"], exact
        self._mouths: dict[int, Engine] = {}
        self.ahead = ThreadPoolExecutor(1, "mouth")

    def analyse(
        self, samples: NDArray[np.floating[Any]], rate: Fraction, frames: int, early: Fraction = Fraction(0)
    ) -> Floats:
        """Return (frames, PRESENCE + 1 + SOUND); the part of the work that every viewer of a slot shares."""
        shown = analyse(samples, rate, frames, early)
        present = presence(samples, rate, frames, early)[:, None]
        return np.concatenate([shown, present, self.hear(samples, rate, frames, early)], axis=1)

    def mouth(self, face: Face) -> Wav2LipMouth:
        return Wav2LipMouth(face, self, BATCH)

    def passing_mouth(self, face: Face) -> Wav2LipMouth:
        return Wav2LipMouth(face, self, 1)

    def hear(
        self, samples: NDArray[np.floating[Any]], rate: Fraction, frames: int, early: Fraction = Fraction(0)
    ) -> Floats:
        """Return (frames, SOUND) for 16 kHz mono samples."""
        return self.hear_windows(windows(samples, rate, frames, early))

    def hear_windows(self, mels: Floats) -> Floats:
        """Return (n, SOUND) for (n, 1, MEL_BANDS, MEL_STEPS)."""
        heard = [self._sounds.run({"mels": part}) for part in _batches(mels, BATCH)]
        return np.concatenate(heard)[: len(mels)]

    def look(self, face: NDArray[Any]) -> Floats:
        """Return what is constant for a face (96, 96, 3), BGR, 0..255."""
        seen = face.astype(np.float32).transpose(2, 0, 1) / np.float32(255)
        hidden = seen.copy()
        hidden[:, ROWS] = 0
        return self._faces.run({"face": np.concatenate([hidden, seen])[None]})

    def speak(self, sounds: Floats, face: Floats, batch: int = BATCH) -> Floats:
        """Return the lower halves (n, 48, 96, 3), BGR, 0..255, of the face with what it says."""
        if batch not in self._mouths:
            self._mouths[batch] = engine_of(
                self._mouths_file, exact=self._exact, batch=("sounds", batch), threads=self._threads
            )
        mouths = self._mouths[batch]
        shown = [mouths.run({"sounds": part, "face": face}) for part in _batches(sounds, batch)]
        return np.concatenate(shown)[: len(sounds)].transpose(0, 2, 3, 1) * np.float32(255)


def _batches(inputs: Floats, batch: int) -> Iterator[Floats]:
    """Yield as many at once as a network takes; the last of them is repeated until its batch is full."""
    for first in range(0, len(inputs), batch):
        part = inputs[first : first + batch]
        yield np.ascontiguousarray(np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)]))


class Wav2LipMouth:
    """One face (lipsync.speaker.Mouth): drawn as the shipped engine moves it, with the network's mouth in it."""

    def __init__(self, face: Face, speaker: Wav2LipSpeaker, batch: int) -> None:
        self._drawn = Renderer(face)
        self.box = self._drawn.box
        self._square = Square(face, self.box)
        seen = speaker.look(self._square.cut_whole(face.picture))

        def paint(sounds: list[bytes]) -> list[Floats]:
            mouths = speaker.speak(np.stack([np.frombuffer(sound, np.float32) for sound in sounds]), seen, batch)
            return [yuv_of(mouth) for mouth in mouths]

        self._painted = Ahead(paint, speaker.ahead, batch, kept=2 * batch)
        self._last: tuple[bytes, Planes] | None = None

    def expect(self, states: Iterable[Sequence[float]]) -> None:
        self._painted.expect(_sound(state) for state in states if state[PRESENCE])

    def patch(self, state: Sequence[float]) -> Planes:
        """Return the planes of `box` with the mouth in `state`, a row of Wav2LipSpeaker.analyse. Do not write to it."""
        drawn = self._drawn.patch(state[:PRESENCE])
        if not state[PRESENCE]:
            return drawn
        key = np.asarray(state, np.float32).tobytes()
        if self._last is None or self._last[0] != key:
            patch = self._square.laid(drawn, self._painted.of(_sound(state)), float(state[PRESENCE]))
            for plane in patch:
                plane.flags.writeable = False
            self._last = key, patch
        return self._last[1]


def _sound(state: Sequence[float]) -> bytes:
    return np.asarray(state[PRESENCE + 1 :], np.float32).tobytes()


class Square:
    """The part of a picture that the network sees as 96x96, upright; and how its lower half gets back into a box."""

    def __init__(self, face: Face, box: Box) -> None:
        frame = MouthFrame.of(face.landmarks)
        points = frame.inside(face.landmarks[:468, :2])
        low, high = points.min(axis=0), points.max(axis=0)
        high[1] += UNDER_CHIN * (high[1] - low[1])
        step = (high - low) / FACE_PX
        matrix = np.column_stack([frame.unit * step[0] * frame.across, frame.unit * step[1] * frame.down])
        self._whole = np.column_stack([matrix, frame.outside(low + step / 2)]).astype(np.float64)
        """2x3, from the square's pixels to those of the picture."""
        half = self._whole.copy()
        half[:, 2] += half[:, 1] * ROWS.start - [box.x, box.y]
        self._halves = tuple(shrunk(half, scale) for scale in (1, 0.5, 0.5))
        """The same from its lower half to the planes of the box."""
        self._shrink = 1 / (frame.unit * float(step.max()))
        x, y = np.meshgrid(np.arange(FACE_PX), np.arange(ROWS.start, FACE_PX))
        places = low + (np.stack([x, y], axis=-1) + 0.5) * step
        inward = np.minimum.reduce([x, FACE_PX - 1 - x, y - ROWS.start, FACE_PX - 1 - y])
        self._tone = _toned(points, places) * np.clip(inward[..., None] / 4, 0, 1).astype(np.float32)
        x, y = np.meshgrid(np.arange(box.w, dtype=np.float32), np.arange(box.h, dtype=np.float32))
        lips = _lips(points, frame.inside(np.stack([x + box.x, y + box.y], axis=-1)))[..., 0]
        self._lips = lips, halved(lips), halved(lips)
        ring = self._tone * (1 - self._tone)
        self._ring = ring / max(1e-6, float(ring.sum()))

    def cut_whole(self, picture: Pixels) -> Pixels:
        """Return the square (96, 96, 3) of a whole picture."""
        return np.rint(_cut(picture, self._whole, FACE_PX, self._shrink)).clip(0, 255).astype(np.uint8)

    def seen(self, planes: Planes) -> Floats:
        """Return the lower half (48, 96, 3), Y, Cb and Cr, as it is in the box."""
        cuts = zip(planes, self._halves, (1, 2, 2), strict=True)
        return np.dstack([_cut(plane, half, FACE_PX // 2, self._shrink * size) for plane, half, size in cuts])

    def laid(self, drawn: Planes, mouth: Floats, strength: float) -> Planes:
        """Return the box `drawn` with the network's lower half (48, 96, 3), Y, Cb and Cr, in it, 0..1 strong.

        Its colours are brought to those of the skin round it, and it ends before the half does: nowhere is a seam.
        """
        seen = self.seen(drawn)
        step = mouth - seen
        step -= (step * self._ring).sum(axis=(0, 1))
        step *= np.float32(strength) * self._tone
        flat = [np.float32(strength) * lips for lips in self._lips]
        layers = (drawn, channels_of(seen), channels_of(step), flat, self._halves)
        luma, blue, red = (_laid(*layer) for layer in zip(*layers, strict=True))
        return luma, blue, red


def _laid(drawn: Pixels, seen: Floats, step: Floats, flat: Floats, half: NDArray[np.float64]) -> Pixels:
    """Return a plane of the box with the step in it, and as much of its own detail taken away as `flat` says."""
    detail = drawn - _spread(seen, half, *drawn.shape)
    shown = drawn + _spread(step, half, *drawn.shape) - flat * detail
    return np.asarray(np.rint(shown).clip(0, 255), np.uint8)


def _cut(picture: Pixels, matrix: NDArray[np.float64], rows: int, scale: float) -> Floats:
    """Return (rows, 96) or (rows, 96, 3) through a matrix from there to the picture, which is `scale` times as coarse.

    What is finer than a pixel is averaged.
    """
    shrink = min(1.0, scale)
    coarse = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    way, small = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, shrunk(matrix, shrink)
    cut = cv2.warpAffine(coarse, small, (FACE_PX, rows), flags=way, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut, np.float32)


def _spread(half: Floats, matrix: NDArray[np.float64], height: int, width: int) -> Floats:
    """Return a lower half in the pixels of a plane (height, width)."""
    way, border = cv2.INTER_CUBIC, cv2.BORDER_REPLICATE
    return np.asarray(cv2.warpAffine(half, matrix, (width, height), flags=way, borderMode=border), np.float32)


def _toned(points: Floats, places: Floats) -> Floats:
    """Return 1 round mouth and chin, falling to 0 at nose and cheeks (..., 1); all in the mouth's frame."""
    top, bottom = points[UNDER_NOSE, 1], points[CHIN, 1] + 0.15
    return _oval(places, np.array([0, (top + bottom) / 2]), np.array([0.95, (bottom - top) / 2]), 0.7, 1.0)


def _lips(points: Floats, places: Floats) -> Floats:
    """Return 1 where the lips may be, open or not, falling to 0 round them (..., 1)."""
    left, right = points[LEFT_CORNER, 0] + 0.12, points[RIGHT_CORNER, 0] - 0.12
    top, bottom = points[LIP_TOP, 1] - 0.05, points[LIP_BOTTOM, 1] + JAW_DROP
    centre, radii = np.array([left + right, top + bottom]) / 2, np.array([left - right, bottom - top]) / 2
    return _oval(places, centre, radii, 0.85, 1.1)


def _oval(places: Floats, centre: NDArray[Any], radii: NDArray[Any], start: float, end: float) -> Floats:
    away = (places - centre) / radii
    return fall(np.hypot(away[..., :1], away[..., 1:]), start, end).astype(np.float32)
