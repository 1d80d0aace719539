"""The sample master: a short film with a slot, made by the project itself so that nothing has to be downloaded."""

from __future__ import annotations

import os
import wave
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoder.errors import ToolFailed
from encoder.tools import find_tools, open_tool
from mediaserver.dusk import MIRROR, Dusk
from mediaserver.errors import SampleFailed

CHAPTER = "part2"
RATE = 25
SPEECH_HZ = 24_000
SEED = 2

Line = tuple[float, str]


@dataclass(frozen=True, slots=True)
class Script:
    """What is shown and said: `lines` are (start in seconds, sentence); the slot is a window in seconds."""

    width: int
    height: int
    seconds: int
    slot_start_s: float
    slot_duration_s: float
    lines: tuple[Line, ...]


FILM = Script(
    width=1920,
    height=1080,
    seconds=26,
    slot_start_s=12.6,
    slot_duration_s=7.0,
    lines=(
        (0.9, "Every evening, when the sun goes down, the hills keep an old promise."),
        (6.1, "Up here stands a mirror. It remembers everybody who stops to look."),
        (13.0, "Good evening. I am you."),
        (15.6, "Tonight, this story is told with your own face."),
        (20.6, "Then the light is gone, and the mirror waits for the next traveller."),
    ),
)

SMALL = Script(
    width=640,
    height=360,
    seconds=20,
    slot_start_s=11.3,
    slot_duration_s=4.0,
    lines=(
        (0.8, "Every evening, the hills keep an old promise."),
        (5.2, "Up here stands a mirror. It remembers everybody."),
        (11.6, "Good evening. This is your own face."),
        (16.2, "Then the mirror waits for the next traveller."),
    ),
)

SIDECAR = """\
# Lies beside the master {chapter}.mov; the README shows every key.
title = "The Mirror on the Hill"
language = "en"

[[slot]]
id = "you"
start = {start}
duration = {duration}
speaker_consent = "The voice is synthetic (hibari-tts, Apache-2.0); nobody's voice was recorded."
face = {{ x = {x}, y = {y}, w = {w}, h = {h} }}
"""


def make(folder: Path, *, small: bool = False, on_progress: Callable[[float], None] = lambda percent: None) -> Path:
    """Make `part2.mov` and `part2.toml` in `folder` and return the master's path; the same bytes of picture every time.

    The master is ProRes 422 with 48 kHz PCM. It appears under its name when it is complete.
    Raises SampleFailed, ToolMissing, ToolFailed.
    """
    script = SMALL if small else FILM
    master = folder / f"{CHAPTER}.mov"
    part, speech = (folder / f".{CHAPTER}.{os.getpid()}.{kind}" for kind in ("part", "wav"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_speech(script, speech)
        draw(script, speech, part, on_progress)
        (folder / f"{CHAPTER}.toml").write_text(sidecar(script), "utf-8")
        part.replace(master)
    except OSError as error:
        raise SampleFailed(f"{folder}: {error.strerror or error}") from error
    finally:
        for left in (part, speech):
            with suppress(OSError):
                left.unlink()
    return master


def sidecar(script: Script) -> str:
    """Return the text of `part2.toml`."""
    return SIDECAR.format(
        chapter=CHAPTER,
        start=script.slot_start_s,
        duration=script.slot_duration_s,
        x=MIRROR.x,
        y=MIRROR.y,
        w=MIRROR.w,
        h=MIRROR.h,
    )


def write_speech(script: Script, path: Path) -> None:
    """Speak every line at its time into a mono WAV of the film's length; raises SampleFailed."""
    speak = _voice()
    track = np.zeros(script.seconds * SPEECH_HZ, np.float32)
    for start_s, sentence in script.lines:
        sound = speak(sentence)
        first = round(start_s * SPEECH_HZ)
        room = track[first : first + len(sound)]
        room += sound[: len(room)]
    track *= 0.8 / max(1e-6, float(np.abs(track).max()))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SPEECH_HZ)
        file.writeframes((track * 32767).astype("<i2").tobytes())


def _voice() -> Callable[[str], Any]:
    """Return what turns a sentence into float32 samples at 24 kHz."""
    try:
        from hibari import Hibari  # noqa: PLC0415 - an extra: its absence gets a sentence
    except ImportError as error:
        raise SampleFailed("its voice, the package hibari-tts, is not installed.") from error
    voice = Hibari()
    return lambda sentence: voice(sentence, speed=0.92, seed=SEED)


def draw(
    script: Script, speech: Path, target: Path, on_progress: Callable[[float], None] = lambda percent: None
) -> None:
    """Draw every frame into ffmpeg's standard input, and lay the speech under it. Raises ToolFailed."""
    scene = Dusk(script.width, script.height, script.seconds, SEED)
    frames = script.seconds * RATE
    with open_tool(_command(script, speech, target), stdin=True) as ffmpeg:
        assert ffmpeg.stdin is not None
        try:
            for number in range(frames):
                ffmpeg.stdin.write(scene.frame(number / RATE).data)
                on_progress(100 * (number + 1) / frames)
            ffmpeg.stdin.close()
        except BrokenPipeError as error:
            ffmpeg.check()
            raise ToolFailed(ffmpeg.command, 0, "it stopped reading") from error
        ffmpeg.check()


def _command(script: Script, speech: Path, target: Path) -> tuple[str, ...]:
    size = f"{script.width}x{script.height}"
    raw = ("-f", "rawvideo", "-pix_fmt", "bgr24", "-s", size, "-r", str(RATE), "-i", "pipe:0")
    tags = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
    matrix = f"scale=out_color_matrix=bt709:out_range=tv,format=yuv422p10le,{tags}"
    # a fixed quantiser: no rate control to search for, which is three times faster and smaller for a drawn picture
    prores = ("-c:v", "prores_ks", "-profile:v", "2", "-vendor", "apl0", "-qscale:v", "6")
    sound = ("-c:a", "pcm_s16le", "-ar", "48000", "-ac", "2", "-metadata:s:a:0", "language=eng")
    quiet = ("-hide_banner", "-loglevel", "error", "-nostdin", "-y")
    inputs = (*raw, "-i", str(speech), "-map", "0:v", "-map", "1:a")
    return (str(find_tools().ffmpeg), *quiet, *inputs, "-vf", matrix, *prores, *sound, "-f", "mov", str(target))
