"""Speech whose sounds are known: synthetic voices that tell when each phone begins, for training and measurement.

hibari-tts predicts a length for every phone of a sentence; espeak-ng reports an event for every one. The phones of both
are brought to the base letters of the IPA. Nothing is recorded from anybody.
"""

from __future__ import annotations

import ctypes
import unicodedata
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lipsync.narration import SAMPLE_RATE_HZ, Floats

SILENCE = ""
PAUSE_S = 0.08
"""A gap between words that is longer is silence; a shorter one belongs to no phone."""
BETWEEN = " "

LONGER = {
    "A": "eɪ", "I": "aɪ", "W": "aʊ", "O": "oʊ", "Q": "əʊ", "Y": "ɔɪ", "ʤ": "dʒ", "ʧ": "tʃ", "ᵊ": "ə", "ᵻ": "ɪ",
    "ɝ": "ɜ", "ɚ": "ɜ", "ɫ": "l", "g": "ɡ", "T": "ɾ", "ᵿ": "ʊ",
}  # fmt: skip
"""Letters of the voices' alphabets that are no base letters of the IPA (hibari's: those of misaki)."""


@dataclass(frozen=True, slots=True)
class Phone:
    """One sound, from sample `start` to `end` at SAMPLE_RATE_HZ; SILENCE is a pause, BETWEEN a short joint."""

    letter: str
    start: int
    end: int

    @property
    def middle(self) -> int:
        return (self.start + self.end) // 2


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """Samples at SAMPLE_RATE_HZ, -1..1, and the phones in them, in order, without a gap."""

    samples: Floats
    phones: tuple[Phone, ...]

    def after(self, other: Spoken) -> Spoken:
        """Return the two behind each other, this one second."""
        shift = len(other.samples)
        moved = tuple(Phone(p.letter, p.start + shift, p.end + shift) for p in self.phones)
        return Spoken(np.concatenate([other.samples, self.samples]), other.phones + moved)

    def faster(self, factor: float) -> Spoken:
        """Return it played `factor` times as fast, and as much higher."""
        count = round(len(self.samples) / factor)
        samples = np.interp(np.arange(count) * factor, np.arange(len(self.samples)), self.samples)
        phones = tuple(Phone(p.letter, round(p.start / factor), round(p.end / factor)) for p in self.phones)
        return Spoken(samples.astype(np.float32), phones)


def pause(samples: int) -> Spoken:
    """Digital silence."""
    return Spoken(np.zeros(samples, np.float32), (Phone(SILENCE, 0, samples),))


def letters_of(symbol: str) -> str:
    """Return the base letters of a phone, without stress, length and other marks; two for a diphthong."""
    plain = unicodedata.normalize("NFD", symbol)
    longer = "".join(LONGER.get(letter, letter) for letter in plain)
    return "".join(letter for letter in longer if unicodedata.category(letter) in ("Ll", "Lo"))


def _split(symbol: str, start: int, end: int) -> Iterator[Phone]:
    """Yield the parts of a phone: of a diphthong the first takes 60 %, of an affricate half."""
    letters = letters_of(symbol)
    if len(letters) < 2:
        yield Phone(letters or BETWEEN, start, end)
        return
    for at, letter in enumerate(letters):
        yield Phone(
            letter, start + (end - start) * at // len(letters), start + (end - start) * (at + 1) // len(letters)
        )


class HibariVoice:
    """The voice inside the package hibari-tts (Apache-2.0)."""

    LENGTHS = "/Cast_32_output_0"
    """Where version 0.2.1 keeps the frames of 25 ms that each phone lasts."""

    def __init__(self, speed: float = 1.0) -> None:
        import onnx  # noqa: PLC0415 - extras of training, like hibari itself
        import onnxruntime  # noqa: PLC0415
        from hibari import Hibari  # noqa: PLC0415

        self._speed, self._tts = speed, Hibari()
        model = onnx.load(self._tts.model_path)
        model.graph.output.append(onnx.helper.make_tensor_value_info(self.LENGTHS, onnx.TensorProto.INT64, None))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._lengths = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def say(self, text: str) -> Spoken:
        whole = pause(SAMPLE_RATE_HZ // 10)
        for phonemes in self._tts.phonemize(text):
            whole = self._sentence(phonemes).after(whole)
        return whole

    def _sentence(self, phonemes: str) -> Spoken:
        known = [letter for letter in phonemes if letter in self._tts.vocab]
        ids = self._tts.ids(phonemes)
        sound = self._tts.from_ids(ids, self._speed, np.random.default_rng(1))
        inputs = {"ids": np.asarray([ids], np.int64), "speed": np.asarray([self._speed], np.float32)}
        lengths = np.ravel(self._lengths.run([self.LENGTHS], inputs)[0])
        bounds = np.round(np.cumsum([0, *lengths]) * SAMPLE_RATE_HZ / 40).astype(int).tolist()
        phones: list[Phone] = []
        for letter, start, end in zip(["", *known, ""], bounds[:-1], bounds[1:], strict=True):
            phones.extend(_split(letter, start, end))
        return _settled(resampled(sound, self._tts.sample_rate), phones)


def _settled(samples: Floats, phones: list[Phone]) -> Spoken:
    """Take joints that last for silence and join those that follow each other (stress marks, spaces, stops)."""
    merged: list[Phone] = []
    for phone in phones:
        if phone.end <= phone.start:
            continue
        if merged and merged[-1].letter == phone.letter == BETWEEN:
            phone = Phone(BETWEEN, merged.pop().start, phone.end)  # noqa: PLW2901
        merged.append(phone)
    longest = round(PAUSE_S * SAMPLE_RATE_HZ)
    silent = [
        Phone(SILENCE, p.start, p.end) if p.letter == BETWEEN and p.end - p.start > longest else p for p in merged
    ]
    return Spoken(samples, tuple(silent))


def resampled(samples: Floats, rate_hz: int) -> Floats:
    """Return samples at SAMPLE_RATE_HZ: what lies above its half is taken out of the spectrum first."""
    count = round(len(samples) * SAMPLE_RATE_HZ / rate_hz)
    spectrum = np.fft.rfft(samples)
    kept = np.zeros(count // 2 + 1, np.complex128)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    return (np.fft.irfft(kept, count) * (count / len(samples))).astype(np.float32)


class EspeakVoice:
    """A voice of espeak-ng, such as `en-us+f2` or `ar`, from the package espeakng-loader."""

    def __init__(self, name: str, rate_wpm: int = 165, pitch: int = 50) -> None:
        self._engine = _espeak()
        self._name, self._rate_wpm, self._pitch = name, rate_wpm, pitch

    def say(self, text: str) -> Spoken:
        samples, events, rate_hz = self._engine.speak(text, self._name, self._rate_wpm, self._pitch)
        to_ours = SAMPLE_RATE_HZ / rate_hz
        starts = [round(at * to_ours) for at, _ in events] + [round(len(samples) * to_ours)]
        phones: list[Phone] = [Phone(BETWEEN, 0, starts[0])]
        for (_, symbol), start, end in zip(events, starts, starts[1:], strict=False):
            phones.extend(_split(symbol, start, end))
        lead = pause(SAMPLE_RATE_HZ // 10)
        return _settled(resampled(samples, rate_hz), phones).after(lead)


FORMANTS_HZ = {
    "ɑ": (700, 1100), "a": (750, 1250), "æ": (690, 1700), "ɛ": (550, 1800), "e": (420, 2100), "i": (290, 2300),
    "ɪ": (390, 2000), "ə": (500, 1450), "ʌ": (620, 1200), "ɔ": (550, 880), "o": (430, 820), "ʊ": (400, 1000),
    "u": (320, 850), "y": (290, 1900),
}  # fmt: skip
"""First and second formant of a man's vowels: G. Fant, Acoustic Theory of Speech Production (1960)."""


class HeldVoice:
    """Long vowels of harmonics and two or three resonances, with hisses and closures between them: no text."""

    def __init__(self, chance: np.random.Generator) -> None:
        self._chance = chance

    def say(self, sounds: int) -> Spoken:
        chance = self._chance
        pitch_hz, tract = chance.uniform(80, 260), chance.uniform(0.92, 1.2)
        whole = pause(SAMPLE_RATE_HZ // 10)
        for _ in range(sounds):
            whole = self._vowel(pitch_hz, tract).after(whole)
            between = chance.random()
            if between < 0.35:
                count = int(chance.uniform(0.05, 0.13) * SAMPLE_RATE_HZ)
                whole = Spoken(np.zeros(count, np.float32), (Phone("b", 0, count),)).after(whole)
            elif between < 0.6:
                whole = self._hiss().after(whole)
            elif between < 0.9:
                whole = pause(int(chance.uniform(0.25, 1.2) * SAMPLE_RATE_HZ)).after(whole)
        return whole

    def _vowel(self, pitch_hz: float, tract: float) -> Spoken:
        chance = self._chance
        letter = str(chance.choice(list(FORMANTS_HZ)))
        count = int(chance.uniform(0.1, 1.2) * SAMPLE_RATE_HZ)
        at_s = np.arange(count) / SAMPLE_RATE_HZ
        third = (chance.uniform(2300, 3000),) if chance.random() < 0.5 else ()
        formants = [hz * tract * chance.uniform(0.96, 1.04) for hz in (*FORMANTS_HZ[letter], *third)]
        sound = np.zeros(count)
        for hz in np.arange(pitch_hz, chance.uniform(4000, 7000), pitch_hz):
            gain = sum(1 / (1 + ((hz - formant) / 90) ** 2) for formant in formants) + 0.004
            sound += gain * pitch_hz / hz * np.sin(2 * np.pi * hz * at_s + chance.uniform(0, 6))
        ends = np.clip(np.minimum(np.arange(count), count - np.arange(count)) / chance.uniform(1, 500), 0, 1)
        level = 10 ** chance.uniform(-1.5, -0.4) / (abs(sound).max() + 1e-6)
        return Spoken((sound * ends * level).astype(np.float32), (Phone(letter, 0, count),))

    def _hiss(self) -> Spoken:
        chance = self._chance
        count = int(chance.uniform(0.06, 0.4) * SAMPLE_RATE_HZ)
        letter, lowest_hz = ("s", 4000) if chance.random() < 0.6 else ("ʃ", 2200)
        spectrum = np.fft.rfft(chance.standard_normal(count))
        spectrum[np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ) < lowest_hz * chance.uniform(0.9, 1.1)] = 0
        sound = np.fft.irfft(spectrum, count) * 10 ** chance.uniform(-1.6, -0.7)
        return Spoken(sound.astype(np.float32), (Phone(letter, 0, count),))


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """espeak_EVENT of espeak-ng's speak_lib.h, version 1.52."""

    _fields_ = (
        ("type", ctypes.c_int), ("identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _Id),
    )  # fmt: skip


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)  # fmt: skip


class _Espeak:
    """The library, loaded once; it keeps one voice and one text at a time."""

    SYNCHRONOUS, EVENTS_IPA, UTF8, PHONEME, RATE, PITCH = 2, 1 | 2, 1, 7, 1, 3

    def __init__(self) -> None:
        import espeakng_loader  # noqa: PLC0415

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(Path(espeakng_loader.get_data_path())).encode()
        self.rate_hz = int(self._library.espeak_Initialize(self.SYNCHRONOUS, 0, data, self.EVENTS_IPA))
        self._samples: list[int] = []
        self._events: list[tuple[int, str]] = []
        self._heard = _CALLBACK(self._hear)
        self._library.espeak_SetSynthCallback(self._heard)

    def _hear(self, samples: Any, count: int, events: Any) -> int:
        if samples and count:
            self._samples.extend(samples[:count])
        at = 0
        while events[at].type:
            if events[at].type == self.PHONEME:
                self._events.append((events[at].sample, events[at].id.string.decode("utf-8", "ignore")))
            at += 1
        return 0

    def speak(self, text: str, voice: str, rate_wpm: int, pitch: int) -> tuple[Floats, list[tuple[int, str]], int]:
        """Return samples, (sample, symbol) of every phone, and the sample rate."""
        self._samples, self._events = [], []
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        self._library.espeak_SetParameter(self.RATE, rate_wpm, 0)
        self._library.espeak_SetParameter(self.PITCH, pitch, 0)
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 0, 0, self.UTF8, None, None)
        self._library.espeak_Synchronize()
        return np.array(self._samples, np.float32) / np.float32(32768), self._events, self.rate_hz


@cache
def _espeak() -> _Espeak:
    return _Espeak()


def write_wav(path: Path, samples: Floats) -> Path:
    """Write mono samples at SAMPLE_RATE_HZ with 16 bits."""
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path
