"""ffprobe's JSON to a Master, or a refusal with its reason."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any, Literal

from encoder.errors import (
    CodecUnsupported,
    MasterForbidden,
    MasterMissing,
    MasterTruncated,
    MasterUnreadable,
    NoPicture,
    PictureTooLarge,
    PictureTooSmall,
    ToolFailed,
)
from encoder.guard import ANY, Care
from encoder.languages import UNKNOWN, shortened
from encoder.model import Footage, Master, Sound, Track, Transfer
from encoder.screen import with_screen
from encoder.timing import Timing, timing_of
from encoder.tools import Tools, run_tool
from encoder.transparency import with_alpha

SMALLEST, LARGEST = 64, 16384
FIRST_BOXES = (b"ftyp", b"wide", b"mdat", b"free", b"skip", b"pnot")
MOST_TRACKS = 16
# At its end a picture stands for longer than this only in a file whose clock is wrong.
LONGEST_STILL_S = 60
LONGEST_LOOK_S = 120
FIELDS: dict[str, Literal["tff", "bff"]] = {"tt": "tff", "tb": "tff", "bb": "bff", "bt": "bff"}
TRANSFERS: dict[str, Transfer] = {"smpte2084": "pq", "arib-std-b67": "hlg"}


def probe(path: Path, tools: Tools, care: Care = ANY) -> Master:
    """Look at a master; raises MasterMissing, MasterForbidden, MasterUnreadable, MasterTruncated, CodecUnsupported,
    NoPicture, PictureTooSmall, PictureTooLarge, ToolCancelled.
    """
    _check_open(path)
    brief = replace(care, timeout_s=LONGEST_LOOK_S)
    answer = _ask(path, tools, brief)
    master = master_of(path, answer, path.stat().st_size)
    _check_end(path, answer, tools, brief)
    return with_screen(with_alpha(master, _first_picture(master, tools, brief), tools, care), tools, brief)


def probe_tracks(path: Path, tools: Tools) -> tuple[Track, ...]:
    """Return the sounds of any file; raises what `probe` raises of files that are none."""
    _check_open(path)
    return _tracks(path, _ask(path, tools, Care(timeout_s=LONGEST_LOOK_S)).get("streams", []))


def _check_open(path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise MasterMissing(path) from error
    except OSError as error:
        raise MasterForbidden(path) from error


def _ask(path: Path, tools: Tools, care: Care) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(run_tool(command(path, tools), care=care))
    except ToolFailed as failure:
        raise _refusal(path, failure) from failure
    return answer


def _check_end(path: Path, said: dict[str, Any], tools: Tools, care: Care) -> None:
    """Find out in milliseconds what would else fail after a long encode: pictures cut off, and a clock that lies."""
    video = next(s for s in said["streams"] if _is_picture(s))
    end_s = timing_of(video, said.get("format", {})).end_s
    if end_s is None:
        return
    ask = ("-v", "quiet", "-select_streams", f"{video['index']}", "-show_entries", "packet=pts_time", "-of", "csv=p=0")
    last = f"{float(max(Fraction(0), end_s - 1)):.3f}%"
    words = (str(tools.ffprobe), *ask, "-read_intervals", last, "-i", f"file:{path}")
    try:
        shown = run_tool(words, care=care).decode().replace(",", "\n").split()
        times = [float(word) for word in shown if word != "N/A"]
    except ToolFailed:
        times = []
    if not times:
        raise MasterTruncated(path, f"it claims to be {float(end_s):.1f} s long, but its last second is missing.")
    for before_s, after_s in pairwise((*sorted(times), float(end_s))):
        if after_s - before_s > LONGEST_STILL_S:
            gap = f"between {before_s:.1f} s and {after_s:.1f} s there is no picture."
            raise MasterTruncated(path, f"it claims to be {float(end_s):.1f} s long, but {gap}")


def _first_picture(master: Master, tools: Tools, care: Care) -> str:
    """Decode one picture, so that a codec that nobody here knows is refused and does not fail; return a line on it."""
    source = ("-i", f"file:{master.path}", "-map", f"0:v:{master.footage.number}")
    shown, said = ("-frames:v", "1", "-vf", "showinfo", "-f", "null", "-"), list[str]()
    words = (str(tools.ffmpeg), "-hide_banner", "-nostdin", *source, *shown)
    try:
        run_tool(words, care=replace(care, said=None), on_complaints=said.append)
    except ToolFailed as failure:
        if "ecoder" in failure.stderr_tail and "not found" in failure.stderr_tail:
            raise CodecUnsupported(master.path, "its pictures") from failure
        raise MasterUnreadable(master.path, "none of its pictures can be decoded.") from failure
    return said[0]


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
    """Read ffprobe's answer; pure. Raises what `probe` raises of what can be read."""
    streams = said.get("streams", [])
    video = next((s for s in streams if _is_picture(s)), None)
    if video is None:
        if any(s.get("codec_type") == "audio" for s in streams):
            raise NoPicture(path)
        raise MasterUnreadable(path, "no video or audio track in it.")
    if not _is_known(video):
        raise CodecUnsupported(path, f"its pictures ({video['codec_tag_string']})")
    width, height = _displayed_size(video)
    if width < SMALLEST or height < SMALLEST:
        raise PictureTooSmall(width, height)
    if max(width, height) > LARGEST:
        raise PictureTooLarge(width, height)
    timing, tracks = timing_of(video, said.get("format", {})), _tracks(path, streams)
    footage = _footage(streams, video)
    notes = (*timing.notes, *_picture_notes(footage), *_layer_notes(video), *_track_notes(streams, tracks))
    rate, frames = _planned(path, timing)
    return Master(path, width, height, rate, frames, tracks, size, footage, notes)


def _planned(path: Path, timing: Timing) -> tuple[Fraction, int]:
    if timing.rate is None:
        raise MasterUnreadable(path, "its frame rate is unknown.")
    if timing.frames is None or timing.frames < 1:
        raise MasterTruncated(path, "no duration can be found.")
    return timing.rate, timing.frames


def _is_picture(stream: dict[str, Any]) -> bool:
    """Cover pictures are video streams too, but no film."""
    return stream.get("codec_type") == "video" and not stream.get("disposition", {}).get("attached_pic")


def _is_known(stream: dict[str, Any]) -> bool:
    """ffprobe leaves the name out where it has only the container's tag."""
    return "codec_name" in stream or "codec_tag_string" not in stream


def _displayed_size(video: dict[str, Any]) -> tuple[int, int]:
    """Apply pixel aspect and rotation, since the ladder is about what is seen."""
    width, height = int(video.get("width", 0)), int(video.get("height", 0))
    aspect = str(video.get("sample_aspect_ratio", "1:1")).split(":")
    if len(aspect) == 2 and all(part.isdigit() and int(part) for part in aspect):
        width = ceil(width * Fraction(int(aspect[0]), int(aspect[1])) - Fraction(1, 2))
    rotation = next((int(d["rotation"]) for d in video.get("side_data_list", []) if "rotation" in d), 0)
    return (height, width) if rotation % 180 else (width, height)


def _footage(streams: list[dict[str, Any]], video: dict[str, Any]) -> Footage:
    number = [s for s in streams if s.get("codec_type") == "video"].index(video)
    transfer = TRANSFERS.get(str(video.get("color_transfer")), "sdr")
    return Footage(number, FIELDS.get(str(video.get("field_order")), ""), transfer)


def _picture_notes(footage: Footage) -> tuple[str, ...]:
    fields = ("The picture is interlaced; whole pictures are made of its fields.",) if footage.fields else ()
    wide = {"pq": "HDR10", "hlg": "HLG"}.get(footage.transfer)
    return (*fields, f"The picture is {wide}; it is tone-mapped for common screens.") if wide else fields


def _tracks(path: Path, streams: list[dict[str, Any]]) -> tuple[Track, ...]:
    """Return the first audio stream of each language, as a sound of two channels at most."""
    tracks: dict[str, Track] = {}
    heard = [s for s in streams if s.get("codec_type") == "audio"]
    for number, audio in enumerate(heard):
        if not int(audio.get("channels", 0)) or not _is_known(audio):
            continue
        language = shortened(str(audio.get("tags", {}).get("language", UNKNOWN))) or UNKNOWN
        channels = int(audio["channels"])
        tracks.setdefault(language, Track(path, number, Sound(min(2, channels), 48000, language), channels=channels))
    return tuple(tracks.values())[:MOST_TRACKS]


def _layer_notes(video: dict[str, Any]) -> tuple[str, ...]:
    """ffmpeg's own decoders of VP8 and VP9 do not look at the second layer, in which WebM keeps alpha."""
    layered = {name.lower(): value for name, value in video.get("tags", {}).items()}.get("alpha_mode") == "1"
    return ("Its transparency is left out: of WebM it is not read. ProRes 4444 keeps it.",) if layered else ()


def _track_notes(streams: list[dict[str, Any]], tracks: tuple[Track, ...]) -> tuple[str, ...]:
    heard = sum(s.get("codec_type") == "audio" for s in streams)
    if heard <= len(tracks):
        return ()
    return (f"It has {heard} sound tracks; the first of each language is taken, {len(tracks)} in all.",)
