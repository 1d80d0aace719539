"""ffprobe's JSON to a Master, or a refusal with its reason."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from encoder.errors import MasterMissing, MasterTruncated, MasterUnreadable, NoPicture, PictureTooSmall, ToolFailed
from encoder.model import Master, Sound
from encoder.tools import Tools, run_tool

SMALLEST = 64
FIRST_BOXES = (b"ftyp", b"wide", b"mdat", b"free", b"skip", b"pnot")
LANGUAGES = {"eng": "en", "fra": "fr", "fre": "fr", "ara": "ar", "deu": "de", "ger": "de", "spa": "es", "ita": "it"}


def probe(path: Path, tools: Tools) -> Master:
    """Look at a master; raises MasterMissing, MasterUnreadable, MasterTruncated, NoPicture, PictureTooSmall."""
    if not path.is_file():
        raise MasterMissing(path)
    try:
        said = run_tool(command(path, tools), timeout_s=120)
    except ToolFailed as failure:
        raise _refusal(path, failure) from failure
    answer = json.loads(said)
    master = master_of(path, answer, path.stat().st_size)
    _check_end(path, answer, tools)
    return master


def _check_end(path: Path, said: dict[str, Any], tools: Tools) -> None:
    """Find out in milliseconds what would else fail after a long encode: an index in front, and pictures cut off."""
    video = next(s for s in said["streams"] if _is_picture(s))
    if int(video.get("nb_frames", 0)) < 1:
        return
    last_s = float(video.get("start_time", 0)) + float(video.get("duration", 0)) - 1
    ask = ("-v", "quiet", "-select_streams", f"{video['index']}", "-show_entries", "packet=size", "-of", "csv=p=0")
    if not run_tool((str(tools.ffprobe), *ask, "-read_intervals", f"{max(0, last_s):.3f}%", "-i", f"file:{path}")):
        raise MasterTruncated(path, "its last second is missing.")


def command(path: Path, tools: Tools) -> tuple[str, ...]:
    ask = ("-v", "error", "-show_streams", "-show_format", "-of", "json")
    return (str(tools.ffprobe), *ask, "-i", f"file:{path}")


def _refusal(path: Path, failure: ToolFailed) -> MasterUnreadable | MasterTruncated:
    """Tell a film that was cut off from a file that never was one."""
    with path.open("rb") as file:
        head = file.read(12)
    if not head:
        return MasterUnreadable(path, "it is empty.")
    text = failure.stderr_tail
    if "moov atom not found" in text:
        if head[4:8] in FIRST_BOXES:
            return MasterTruncated(path, "its index (moov) is missing.")
        return MasterUnreadable(path, "it does not begin as one.")
    reason = text.strip().splitlines()[-1].removeprefix(f"file:{path}: ") if text.strip() else "unknown format"
    return MasterUnreadable(path, f"{reason}.")


def master_of(path: Path, said: dict[str, Any], size: int) -> Master:
    """Read ffprobe's answer; pure. Raises NoPicture, PictureTooSmall, MasterUnreadable, MasterTruncated."""
    streams = said.get("streams", [])
    video = next((s for s in streams if _is_picture(s)), None)
    if video is None:
        if any(s.get("codec_type") == "audio" for s in streams):
            raise NoPicture(path)
        raise MasterUnreadable(path, "no video or audio track in it.")
    width, height = _displayed_size(video)
    if width < SMALLEST or height < SMALLEST:
        raise PictureTooSmall(width, height)
    rate = _rate(path, video)
    return Master(path, width, height, rate, _frames(path, video, said, rate), _sound(streams), size)


def _is_picture(stream: dict[str, Any]) -> bool:
    """Cover pictures are video streams too, but no film."""
    return stream.get("codec_type") == "video" and not stream.get("disposition", {}).get("attached_pic")


def _displayed_size(video: dict[str, Any]) -> tuple[int, int]:
    """Apply pixel aspect and rotation, since the ladder is about what is seen."""
    width, height = int(video.get("width", 0)), int(video.get("height", 0))
    aspect = str(video.get("sample_aspect_ratio", "1:1")).split(":")
    if len(aspect) == 2 and all(part.isdigit() and int(part) for part in aspect):
        width = round(width * Fraction(int(aspect[0]), int(aspect[1])))
    rotation = next((int(d["rotation"]) for d in video.get("side_data_list", []) if "rotation" in d), 0)
    return (height, width) if rotation % 180 else (width, height)


def _rate(path: Path, video: dict[str, Any]) -> Fraction:
    for name in ("avg_frame_rate", "r_frame_rate"):
        numerator, _, denominator = str(video.get(name, "0/0")).partition("/")
        if numerator.isdigit() and denominator.isdigit() and int(numerator) and int(denominator):
            return Fraction(int(numerator), int(denominator))
    raise MasterUnreadable(path, "its frame rate is unknown.")


def _frames(path: Path, video: dict[str, Any], said: dict[str, Any], rate: Fraction) -> int:
    if (counted := int(video.get("nb_frames", 0))) > 0:
        return counted
    container = said.get("format", {}).get("duration")
    seconds = Fraction(str(video.get("duration") or _tagged_duration(video) or container or 0))
    if (frames := round(seconds * rate)) < 1:
        raise MasterTruncated(path, "no duration can be found.")
    return frames


def _tagged_duration(video: dict[str, Any]) -> str | None:
    """Matroska tells in a tag how long each track is; the whole file is as long as its longest one."""
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d+)", str(video.get("tags", {}).get("DURATION", "")))
    return str(int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3])) if tag else None


def _sound(streams: list[dict[str, Any]]) -> Sound | None:
    audio = next((s for s in streams if s.get("codec_type") == "audio" and int(s.get("channels", 0))), None)
    if audio is None:
        return None
    tag = str(audio.get("tags", {}).get("language", "und"))
    language = LANGUAGES.get(tag, tag if re.fullmatch("[a-z]{2,3}", tag) else "und")
    return Sound(min(2, int(audio["channels"])), 48000, language)
