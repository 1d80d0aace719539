"""What a file says of its clock, made into one constant rate and a whole number of frames."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

# The rates of cinema, television and screens; a rate that varies becomes one of them.
RATES = tuple(map(Fraction, ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")))
FASTEST = Fraction(60)
# Containers that count in milliseconds cannot say 30000/1001 exactly.
SAME_RATE, STEADY = Fraction(1, 2000), Fraction(1, 200)


@dataclass(frozen=True, slots=True)
class Timing:
    """The rate and number of frames that the chapter gets; None where the file does not tell.

    `end_s` is when the last picture ends by the file's own word, in the file's own time.
    """

    rate: Fraction | None
    frames: int | None
    end_s: Fraction | None
    notes: tuple[str, ...] = ()


def timing_of(video: dict[str, Any], container: dict[str, Any]) -> Timing:
    """Read one video stream and its container as ffprobe describes them; pure."""
    average, smallest = _ratio(video.get("avg_frame_rate")), _ratio(video.get("r_frame_rate"))
    told = average or smallest
    if told is None:
        return Timing(None, None, None)
    start_s, end_s = _span(video, container)
    rate, notes = _steady(told, smallest or told)
    counted = int(video.get("nb_frames", 0))
    exact = counted > 0 and rate == _named(told) and (end_s is None or abs((end_s - start_s) * told - counted) <= 1)
    late_s = max(Fraction(0), start_s - _seconds(container.get("start_time"), start_s))
    frames = counted if exact else None if end_s is None else max(1, round((end_s - start_s) * rate))
    return Timing(rate, None if frames is None else frames + round(late_s * rate), end_s, notes)


def _steady(average: Fraction, smallest: Fraction) -> tuple[Fraction, tuple[str, ...]]:
    """Return a constant rate of at most 60 a second, and what has to be said of it.

    `smallest` is the rate of which all times in the file are multiples; interlaced streams tell that of their fields.
    """
    rate, notes = _named(average), []
    if not any(abs(average * times - smallest) <= STEADY * smallest for times in (1, 2)) and smallest <= 1000:
        rate = next((r for r in RATES if r >= average * (1 - STEADY)), FASTEST)
        notes = [f"Its frame rate varies ({_said(average)} a second in the mean); it is made {_said(rate)}."]
    elif rate > FASTEST:
        rate /= ceil(rate / FASTEST)
        notes = [f"It has {_said(average)} frames a second; {_said(rate)} are kept."]
    return rate, tuple(notes)


def _named(rate: Fraction) -> Fraction:
    """Return the usual rate that is meant, if the told one is as near as milliseconds allow."""
    return next((usual for usual in RATES if abs(rate - usual) <= usual * SAME_RATE / 2), rate)


def _said(rate: Fraction) -> str:
    return f"{float(rate):.3f}".rstrip("0").rstrip(".")


def _span(video: dict[str, Any], container: dict[str, Any]) -> tuple[Fraction, Fraction | None]:
    """Return start and end of the pictures; Matroska tells in a tag when each track ends, counted from zero."""
    start_s = _seconds(video.get("start_time"), Fraction(0))
    if (own := _seconds(video.get("duration"), Fraction(0))) > 0:
        return start_s, start_s + own
    begins_s = min(start_s, _seconds(container.get("start_time"), start_s))
    if (tagged := _tagged_duration(video)) is not None and tagged > begins_s:
        return begins_s, tagged
    whole = _seconds(container.get("duration"), Fraction(0))
    return (begins_s, begins_s + whole) if whole > 0 else (start_s, None)


def _tagged_duration(video: dict[str, Any]) -> Fraction | None:
    """Matroska tells in a tag how long each track is; the whole file is as long as its longest one."""
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", str(video.get("tags", {}).get("DURATION", "")))
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3]) if tag else None


def _ratio(text: object) -> Fraction | None:
    numerator, _, denominator = str(text or "0/0").partition("/")
    if numerator.isdigit() and denominator.isdigit() and int(numerator) and int(denominator):
        return Fraction(int(numerator), int(denominator))
    return None


def _seconds(text: object, otherwise: Fraction) -> Fraction:
    try:
        return Fraction(str(text))
    except ValueError:
        return otherwise
