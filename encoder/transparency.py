"""Whether anything in a master is transparent: many files have an alpha channel in which nothing is."""

from __future__ import annotations

import re
from dataclasses import replace

from encoder.guard import Care
from encoder.master import Alpha
from encoder.model import Footage, Master
from encoder.tools import Tools, run_tool

# Of 255: what an editor's program rounds is no transparency.
OPAQUE = 254
# ffmpeg's pixel formats with alpha, in the report of its filter showinfo; ffprobe does not decode everything.
_ALPHA = re.compile(r"\bfmt:(yuva|gbrap|rgba|bgra|argb|abgr|ya8|ya16|yaf)")
_MATRIX = re.compile(r"\bcolor_space:(\w+)")
_MODE = re.compile(r"\balpha_mode:(\w+)")
ORDINARY = "It has an alpha channel, but nothing in it is transparent; it becomes an ordinary film."
HDR = "Its transparency is left out: that of HDR pictures is not supported."


def with_alpha(master: Master, first_picture: str, tools: Tools, care: Care) -> Master:
    """Return the master with what its alpha channel is, from the report on its first picture, or a note that says why
    it is taken for an ordinary one. Raises ToolFailed.
    """
    footage = told_of(first_picture, master.footage)
    if not footage.alpha:
        return master
    note = HDR if footage.transfer != "sdr" else "" if is_transparent(master, tools, care) else ORDINARY
    return replace(master, notes=(*master.notes, note)) if note else replace(master, footage=footage)


def told_of(first_picture: str, footage: Footage) -> Footage:
    """Read the filter's report; YUV without a matrix is taken for BT.709. Pure."""
    if not (found := _ALPHA.search(first_picture)):
        return footage
    mode = _MODE.search(first_picture)
    kept: Alpha = "premultiplied" if mode and mode[1] == "premultiplied" else "straight"
    told = _MATRIX.search(first_picture)
    untold = found[1] == "yuva" and (told is None or told[1] == "unknown")
    return replace(footage, alpha=kept, matrix="bt709" if untold else "")


class _Transparent(Exception):
    """Nothing more has to be looked at."""


def is_transparent(master: Master, tools: Tools, care: Care) -> bool:
    """Decode until a picture is not opaque; raises ToolFailed, ToolStalled, ToolCancelled."""

    def look(line: str) -> None:
        if lowest(line) < OPAQUE:
            raise _Transparent

    try:
        run_tool(command(master, tools), on_line=look, care=replace(care, silent=True))
    except _Transparent:
        return True
    return False


def lowest(line: str) -> float:
    """Return the least alpha of a picture from a line of the filter's report; 255 of any other line."""
    key, _, value = line.strip().partition("=")
    return float(value) if key == "lavfi.signalstats.YMIN" else 255.0


def command(master: Master, tools: Tools) -> list[str]:
    """Return the process that prints the least alpha of every picture, from 0 to 255."""
    graph = "alphaextract,format=gray,signalstats,metadata=print:key=lavfi.signalstats.YMIN:file=-"
    source = ("-i", f"file:{master.path}", "-map", f"0:v:{master.footage.number}")
    return [str(tools.ffmpeg), "-hide_banner", "-nostdin", "-v", "error", *source, "-vf", graph, "-f", "null", "-"]
