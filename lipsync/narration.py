"""Speech -> mouth track: what the lips do at every picture, from the sound alone; NumPy is all it needs.

There is no trained network here yet. Loudness over the room's own noise opens the mouth, the first formant says how
far, the second how wide; hiss above 3 kHz shows the teeth, and a short hole in the voice presses the lips together.
Formants: G. Fant, Acoustic Theory of Speech Production (1960); prediction: J. Makhoul, Proc. IEEE 63 (1975).
"""

from __future__ import annotations

import hashlib
import io
import os
import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from encoder.errors import ToolFailed
from encoder.tools import Tools, run_tool
from lipsync.errors import SpeechUnreadable

Floats = NDArray[np.floating[Any]]

FORMAT, ENGINE = 1, "formants-1"
PARAMETERS = ("open", "spread", "press", "teeth")
"""A mouth's state: jaw 0..1, corners -1 (round) .. 1 (wide), lips pressed 0..1, lips apart over closed teeth 0..1."""

SAMPLE_RATE_HZ = 16_000
SHORTEST_S, LONGEST_S = 1, 600
HOP, WINDOW, BINS = 80, 480, 512
"""Analysis every 5 ms over 30 ms."""
HOPS_PER_S = SAMPLE_RATE_HZ // HOP
SILENT_DBFS = -44.0
"""Whatever is below it is a quiet room, however even."""
OVER_ROOM_DB, UNDER_LOUD_DB = 10.0, 24.0
LOOK_AHEAD_S = 0.085
"""The lips lead the sound by what remains of this after the delay of the smoothing."""
JAW_HZ, LIPS_HZ = 5.5, 9.0
STILL = 0.035
"""Below it a mouth is at rest: no trembling in pauses."""


@dataclass(frozen=True, slots=True, eq=False)
class MouthTrack:
    """States (frames, PARAMETERS) of the mouth at a picture rate; `audio_sha256` is of the speech it was made from."""

    rate: Fraction
    states: Floats
    audio_sha256: str
    engine: str = ENGINE

    def save(self, path: Path) -> None:
        """Write atomically; the file needs no pickle to be read."""
        into = io.BytesIO()
        np.savez(
            into, format=FORMAT, engine=self.engine, rate=str(self.rate), audio_sha256=self.audio_sha256,
            parameters=np.array(PARAMETERS), states=self.states,
        )  # fmt: skip
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.write_bytes(into.getvalue())
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> MouthTrack:
        """Raises OSError if it cannot be read, ValueError if it is not a track of this format."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                if int(stored["format"]) != FORMAT or tuple(stored["parameters"].tolist()) != PARAMETERS:
                    raise ValueError(f"{path.name} is a mouth track of another format")
                states = stored["states"].astype(np.float32)
                if states.ndim != 2 or states.shape[1] != len(PARAMETERS):
                    raise ValueError(f"{path.name} holds no mouth states")
                rate = Fraction(str(stored["rate"]))
                return cls(rate, states, str(stored["audio_sha256"]), str(stored["engine"]))
        except (KeyError, BadZipFile, EOFError) as error:
            raise ValueError(f"{path.name} is not a mouth track") from error


def bake(speech_wav: Path, rate: Fraction, frames: int, early: Fraction = Fraction(0)) -> MouthTrack:
    """Analyse a 16 kHz mono WAV (16 bits) for `frames` pictures at `rate`; raises SpeechUnreadable.

    `early` is how much of the first picture (0..1) passes before the speech begins.
    """
    try:
        data = speech_wav.read_bytes()
        with wave.open(io.BytesIO(data)) as sound:
            if (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) != (SAMPLE_RATE_HZ, 1, 2):
                raise SpeechUnreadable(speech_wav.name, "it is not 16 kHz mono with 16 bits")
            samples = _floats(sound.readframes(sound.getnframes()))
    except (OSError, EOFError, wave.Error) as error:
        raise SpeechUnreadable(speech_wav.name, "it is not a WAV file") from error
    return MouthTrack(rate, analyse(samples, rate, frames, early), hashlib.sha256(data).hexdigest())


def read_speech(path: Path, tools: Tools) -> Floats:
    """Decode the sound of any audio or video file to 16 kHz mono, -1..1; raises SpeechUnreadable."""
    if not path.is_file():
        raise SpeechUnreadable(path.name, "there is no such file")
    command = [
        str(tools.ffmpeg), "-nostdin", "-v", "error", "-t", str(LONGEST_S + 1), "-i", f"file:{path}",
        "-map", "0:a:0", "-ac", "1", "-ar", str(SAMPLE_RATE_HZ), "-f", "s16le", "pipe:1",
    ]  # fmt: skip
    try:
        samples = _floats(run_tool(command))
    except ToolFailed as error:
        raise SpeechUnreadable(path.name, "no sound could be decoded") from error
    if len(samples) < SHORTEST_S * SAMPLE_RATE_HZ:
        raise SpeechUnreadable(path.name, f"it is shorter than {SHORTEST_S} s")
    if len(samples) > LONGEST_S * SAMPLE_RATE_HZ:
        raise SpeechUnreadable(path.name, f"it is longer than {LONGEST_S // 60} min")
    return samples


def _floats(pcm: bytes) -> Floats:
    return np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2").astype(np.float32) / np.float32(32768)


def analyse(samples: Floats, rate: Fraction, frames: int, early: Fraction = Fraction(0)) -> Floats:
    """Return the states (frames, PARAMETERS) for 16 kHz mono samples; picture k shows (k + 1/2 - early) / rate."""
    sound = _Sound.of(samples)
    targets = np.stack([_open(sound), _spread(sound), _press(sound), _teeth(sound)], axis=1)
    smooth = np.stack([_damped(targets[:, n], hz) for n, hz in enumerate((JAW_HZ, JAW_HZ, LIPS_HZ, LIPS_HZ))], axis=1)
    at_s = (np.arange(frames) + 0.5 - float(early)) / float(rate) + LOOK_AHEAD_S
    hops = np.arange(len(smooth)) / HOPS_PER_S
    states = np.stack([np.interp(at_s, hops, column, right=0.0) for column in smooth.T], axis=1)
    return _at_rest(states)


@dataclass(frozen=True, slots=True, eq=False)
class _Sound:
    """Features of every hop (n,): level in dBFS, loudness 0..1 over the room, formant centroids in Hz, and shares."""

    level_db: Floats
    loud: Floats
    voiced: Floats
    hiss: Floats
    first_hz: Floats
    second_hz: Floats
    treble_db: Floats

    @classmethod
    def of(cls, samples: Floats) -> _Sound:
        padded = np.pad(samples, (WINDOW // 2, WINDOW // 2 + HOP))
        hops = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
        count = len(hops)
        level, bass, treble, first, second = (np.empty(count, np.float32) for _ in range(5))
        for start in range(0, count, 4096):
            part = slice(start, start + 4096)
            level[part], bass[part], treble[part], first[part], second[part] = _spectral(hops[part])
        level_db, treble_db = _decibel(level), _decibel(treble)
        loud = _over_room(level_db)
        hiss = np.clip((treble / (level + 1e-12) - 0.25) / 0.4, 0, 1)
        voiced = np.clip((bass / (level + 1e-12) - 0.15) / 0.35, 0, 1)
        return cls(level_db, loud, voiced, hiss, first, second, treble_db)


def _spectral(hops: Floats) -> tuple[Floats, ...]:
    """Return level, energy below 1.2 kHz and above 3.2 kHz (all mean squares), and the two formant centroids in Hz."""
    window = np.hanning(WINDOW).astype(np.float32)
    power = np.abs(np.fft.rfft(hops * window, BINS, axis=1)) ** 2 * (2 / (BINS * float((window**2).sum())))
    hz = np.fft.rfftfreq(BINS, 1 / SAMPLE_RATE_HZ)
    level, bass, treble = (
        power[:, (hz >= low) & (hz < high)].sum(axis=1) for low, high in ((90, 8001), (90, 1200), (3200, 8001))
    )
    envelope = _envelope(hops * window)
    first = _centroid(envelope / (1.02 - np.cos(2 * np.pi * hz / SAMPLE_RATE_HZ)), hz, 220, 1000)  # emphasis undone
    second = _centroid(envelope, hz, 850, 2700)
    return level, bass, treble, first, second


def _envelope(hops: Floats, order: int = 14) -> Floats:
    """Return the power spectra (n, BINS // 2 + 1) of linear prediction, after pre-emphasis (Levinson-Durbin)."""
    sharp = hops.astype(np.float64)
    sharp[:, 1:] -= 0.95 * sharp[:, :-1]
    spectrum = np.abs(np.fft.rfft(sharp, 2 * BINS, axis=1)) ** 2
    lags = np.fft.irfft(spectrum, axis=1)[:, : order + 1]
    lags[:, 0] = lags[:, 0] * 1.0005 + 1e-9
    filters = np.zeros((len(hops), order + 1))
    filters[:, 0] = 1
    error = lags[:, 0].copy()
    for n in range(1, order + 1):
        reflection = -(filters[:, :n] * lags[:, n:0:-1]).sum(axis=1) / error
        filters[:, 1 : n + 1] += reflection[:, None] * filters[:, n - 1 :: -1][:, :n]
        error *= 1 - reflection**2
    return np.asarray(error[:, None] / np.abs(np.fft.rfft(filters, BINS, axis=1)) ** 2, np.float32)


def _centroid(envelope: Floats, hz: Floats, low: float, high: float) -> Floats:
    """Return the mean frequency of the peaks between low and high; squaring lets the strongest one speak."""
    band = (hz >= low) & (hz < high)
    weight = envelope[:, band] ** 2 + 1e-30
    return np.asarray((weight * hz[band]).sum(axis=1) / weight.sum(axis=1), np.float32)


def _decibel(mean_square: Floats) -> Floats:
    return np.asarray(10 * np.log10(mean_square + 1e-10), np.float32)


def _over_room(level_db: Floats) -> Floats:
    """Return 0 where only the room is heard, 1 at the loudest; the room is what the quietest tenth sounds like."""
    room, loudest = np.percentile(level_db, [10, 97])
    gate = max(SILENT_DBFS, min(room + OVER_ROOM_DB, loudest - UNDER_LOUD_DB))
    return np.asarray(np.clip((level_db - gate) / max(6.0, loudest - 7 - gate), 0, 1), np.float32)


def _open(sound: _Sound) -> Floats:
    """The jaw follows loudness, and the first formant says how far; hiss is made with the teeth nearly closed."""
    spoken = sound.first_hz[sound.loud * sound.voiced > 0.3]
    low, high = np.percentile(spoken, [10, 92]) if len(spoken) else (330, 710)
    low, high = (low + 330) / 2, (max(high, low + 200) + 710) / 2
    far = np.clip((sound.first_hz - low) / (high - low), 0, 1)
    wide = sound.loud**0.8 * (0.34 + 0.63 * far)
    return np.asarray(wide * (1 - 0.75 * sound.hiss), np.float32)


def _spread(sound: _Sound) -> Floats:
    """A high second formant draws the corners apart (ee), a low one rounds the lips (oh, oo)."""
    spoken = sound.second_hz[sound.loud * sound.voiced > 0.3]
    middle = 0.5 * 1500 + 0.5 * (float(np.median(spoken)) if len(spoken) else 1500)
    side = np.clip((sound.second_hz - middle) / 550, -1, 1)
    return np.asarray(side * np.sqrt(sound.loud) * sound.voiced, np.float32)


def _teeth(sound: _Sound) -> Floats:
    return np.asarray(np.clip(sound.hiss * np.minimum(1, 2.2 * sound.loud), 0, 1), np.float32)


def _press(sound: _Sound) -> Floats:
    """A hole of less than 0.2 s in the voice closes the lips; not one that ends in hiss, as t, k and s do."""
    reach = round(0.1 * HOPS_PER_S)
    before, after = _loudest(sound.level_db, reach, -1), _loudest(sound.level_db, reach, 1)
    depth = np.minimum(before, after) - sound.level_db
    spoken = np.minimum(_loudest(sound.loud, reach, -1), _loudest(sound.loud, reach, 1)) > 0.25
    hissing = _loudest(sound.hiss * np.sqrt(sound.loud), reach, 1)
    return np.asarray(np.clip((depth - 9) / 9, 0, 1) * spoken * (1 - np.clip(2 * hissing, 0, 1)), np.float32)


def _loudest(values: Floats, reach: int, way: int) -> Floats:
    """Return the largest value within `reach` hops before (way -1) or after (way 1) each hop, itself included."""
    padding = (reach, 0) if way < 0 else (0, reach)
    padded = np.pad(values, padding, constant_values=float(values.min()))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, reach + 1).max(axis=1), np.float32)


def _damped(target: Floats, hz: float) -> Floats:
    """Let a critically damped spring of that frequency follow the target: no overshoot, no jerk."""
    omega = 2 * np.pi * hz
    at_s = np.arange(round(HOPS_PER_S * 10 / omega)) / HOPS_PER_S
    kernel = at_s * np.exp(-omega * at_s)
    kernel /= kernel.sum()
    return np.convolve(target, kernel)[: len(target)].astype(np.float32)


def _at_rest(states: NDArray[np.float64]) -> Floats:
    """Take what is below STILL for rest, without a step above it, and keep all within its range."""
    moved = np.sign(states) * np.maximum(0, abs(states) - STILL) / (1 - STILL)
    return np.clip(moved, [0, -1, 0, 0], 1).astype(np.float32)
