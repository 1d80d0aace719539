"""Speech -> mouth track: what the lips do at every picture, from the sound alone; NumPy is all it needs.

The network of voicenet says what the lips do; where nothing is heard but the room, they rest whatever it says.
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
from lipsync.mel import FRAMES_PER_S, HOP
from lipsync.voicenet import voice_net

Floats = NDArray[np.floating[Any]]

FORMAT, ENGINE = 1, "voice-1"
PARAMETERS = ("open", "spread", "press", "teeth")
"""A mouth's state: jaw 0..1, corners -1 (round) .. 1 (wide), lips pressed 0..1, lips apart over closed teeth 0..1."""

SAMPLE_RATE_HZ = 16_000
SHORTEST_S, LONGEST_S = 1, 600
SILENT_DBFS = -44.0
"""Whatever is below it is a quiet room, however even."""
OVER_ROOM_DB, UNDER_LOUD_DB = 10.0, 24.0
BEFORE_S, AFTER_S, SOFT_S = 0.14, 0.10, 0.06
"""How long before and after what is heard the lips may move, and how softly that begins and ends."""
STILL = 0.05
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
    samples, sha256 = read_narration(speech_wav)
    return MouthTrack(rate, analyse(samples, rate, frames, early), sha256)


def read_narration(speech_wav: Path) -> tuple[Floats, str]:
    """Return samples and SHA-256 of a WAV that is 16 kHz mono with 16 bits. Raises SpeechUnreadable."""
    try:
        data = speech_wav.read_bytes()
        with wave.open(io.BytesIO(data)) as sound:
            if (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) != (SAMPLE_RATE_HZ, 1, 2):
                raise SpeechUnreadable(speech_wav.name, "it is not 16 kHz mono with 16 bits")
            samples = _floats(sound.readframes(sound.getnframes()))
    except (OSError, EOFError, wave.Error) as error:
        raise SpeechUnreadable(speech_wav.name, "it is not a WAV file") from error
    return samples, hashlib.sha256(data).hexdigest()


def read_speech(path: Path, tools: Tools) -> Floats:
    """Decode the sound of any audio or video file to 16 kHz mono, -1..1; raises SpeechUnreadable.

    Sound that begins later than the file, or stops for a while, is silent there: it stays where a player plays it.
    """
    if not path.is_file():
        raise SpeechUnreadable(path.name, "there is no such file")
    command = [
        str(tools.ffmpeg), "-nostdin", "-v", "error", "-t", str(LONGEST_S + 1), "-i", f"file:{path}",
        "-map", "0:a:0", "-af", f"aresample={SAMPLE_RATE_HZ}:async=1:first_pts=0", "-ac", "1", "-f", "s16le", "pipe:1",
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
    states = voice_net().states(samples)
    states *= _speaking(samples, len(states))[:, None]
    return _at_rest(np.stack([_at_pictures(column, rate, frames, early) for column in states.T], axis=1))


def presence(samples: Floats, rate: Fraction, frames: int, early: Fraction = Fraction(0)) -> Floats:
    """Return (frames,) at the times of `analyse`: 1 where somebody speaks, falling softly to 0 where lips rest."""
    return _at_pictures(_speaking(samples, -(-len(samples) // HOP)), rate, frames, early).astype(np.float32)


def _at_pictures(track: Floats, rate: Fraction, frames: int, early: Fraction) -> Floats:
    """Return a track at FRAMES_PER_S in the middle of each picture."""
    at_s = (np.arange(frames) + 0.5 - float(early)) / float(rate)
    return np.asarray(np.interp(at_s, np.arange(len(track)) / FRAMES_PER_S, track, right=0.0))


def _speaking(samples: Floats, count: int) -> Floats:
    """Return (count,) at FRAMES_PER_S: 1 round everything that is louder than the room, 0 where only that is heard.

    The room is what the quietest tenth sounds like.
    """
    hops = np.pad(samples, (0, max(0, count * HOP - len(samples))))[: count * HOP].reshape(count, HOP)
    level_db = 10 * np.log10((hops.astype(np.float64) ** 2).mean(axis=1) + 1e-10)
    room, loudest = np.percentile(level_db, [10, 97])
    heard = level_db > max(SILENT_DBFS, min(room + OVER_ROOM_DB, loudest - UNDER_LOUD_DB))
    before, after, soft = (round(length_s * FRAMES_PER_S) for length_s in (BEFORE_S, AFTER_S, SOFT_S))
    reach = np.convolve(heard, np.ones(before + after + 1))[before : before + count] > 0
    ramp = np.hanning(2 * soft + 1)
    inside = np.convolve(np.pad(reach, soft, mode="edge"), ramp / ramp.sum(), "valid")
    return np.asarray(np.clip(2 * inside - 1, 0, 1), np.float32)


def _at_rest(states: NDArray[np.float64]) -> Floats:
    """Take what is below STILL for rest, without a step above it, and keep all within its range."""
    moved = np.sign(states) * np.maximum(0, abs(states) - STILL) / (1 - STILL)
    return np.clip(moved, [0, -1, 0, 0], 1).astype(np.float32)
