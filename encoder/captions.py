"""Captions beside a master (`part2.ar.srt`, `part2.fr.vtt`) to WebVTT (W3C), in any script."""

from __future__ import annotations

import re
from pathlib import Path

from encoder.errors import BadSidecar
from encoder.model import Caption
from encoder.sidecar import beside

_TIMES = re.compile(
    r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[,.](\d{3})\s+-->\s+(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[,.](\d{3})(.*)"
)
_KEPT_TAGS = re.compile(r"&lt;(/?[biu])&gt;", re.IGNORECASE)
_OTHER_TAGS = re.compile(r"</?(?![biu]>)[a-zA-Z][^<>]*>|\{\\[^}]*\}")


def captions_of(master: Path) -> tuple[tuple[Caption, Path], ...]:
    """Return the captions beside a master by language, each with its source, after reading them all once.

    Raises BadSidecar.
    """
    found = tuple((Caption(f"captions_{tag}.vtt", tag), file) for tag, file in beside(master, ".srt", ".vtt"))
    for _, file in found:
        to_webvtt(file)
    return found


def to_webvtt(file: Path) -> str:
    """Return a file of captions as WebVTT; raises BadSidecar if it is no text, or holds no caption."""
    try:
        raw = file.read_bytes()
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSidecar(file, "its text is neither UTF-8 nor UTF-16.") from error
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    if file.suffix.lower() == ".vtt":
        return _checked(file, text)
    blocks = [_cue(block) for block in re.split(r"\n[ \t]*\n", text.strip("\n"))]
    cues = [cue for cue in blocks if cue]
    if not cues:
        raise BadSidecar(file, "there is no caption with a time such as 00:00:01,000 --> 00:00:02,000 in it.")
    return "\n\n".join(["WEBVTT", *cues]) + "\n"


def _checked(file: Path, text: str) -> str:
    """A WebVTT file stays as it is; its first line and one time must be right (W3C WebVTT, 4.1)."""
    if not re.match(r"WEBVTT([ \t\n]|$)", text):
        raise BadSidecar(file, "its first line is not WEBVTT.")
    if not _TIMES.search(text):
        raise BadSidecar(file, "there is no caption with a time in it.")
    return text if text.endswith("\n") else text + "\n"


def _cue(block: str) -> str | None:
    """One block of SubRip: a number, a line of times, then the text."""
    lines = block.split("\n")
    at = next((i for i, line in enumerate(lines[:2]) if _TIMES.match(line.strip())), None)
    if at is None or not (said := "\n".join(line for line in lines[at + 1 :] if line.strip())):
        return None
    times = _TIMES.match(lines[at].strip())
    assert times is not None
    start, end = (_time(times.groups()[i : i + 4]) for i in (0, 4))
    return f"{start} --> {end}\n{_plain(said)}" if start < end else None


def _time(parts: tuple[str | None, ...]) -> str:
    hours, minutes, seconds, milli = parts
    return f"{int(hours or 0):02d}:{int(minutes or 0):02d}:{seconds}.{milli}"


def _plain(text: str) -> str:
    """Only bold, italic and underline exist in both formats; the rest of SubRip's habits is left out."""
    text = _OTHER_TAGS.sub("", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _KEPT_TAGS.sub(lambda tag: f"<{tag[1].lower()}>", text)
