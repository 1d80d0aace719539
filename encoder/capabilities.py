"""What an ffmpeg binary can do, asked of the binary itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Literal

from encoder.errors import ToolFailed
from encoder.tools import run_tool

# name here -> the list that ffmpeg prints, and the word in it
_WORDS = {
    "x264": ("encoders", "libx264"),
    "aac": ("encoders", "aac"),
    "prores": ("decoders", "prores"),
    "png": ("decoders", "png"),
    "x265": ("encoders", "libx265"),
    "svt_av1": ("encoders", "libsvtav1"),
    "vp9": ("encoders", "libvpx-vp9"),
    "dav1d": ("decoders", "libdav1d"),
    "zscale": ("filters", "zscale"),
    "xpsnr": ("filters", "xpsnr"),
    "libvmaf": ("filters", "libvmaf"),
}
LAYERED = {"vp9": "libvpx-vp9", "hevc": "libx265"}
NEEDED = ("x264", "aac", "prores")
# What it costs to be without the others, until a build has them all.
COSTS = {
    "png": "masters in PNG are refused",
    "x265": "HEVC is left out",
    "svt_av1": "AV1 is left out",
    # It could not be verified.
    "dav1d": "AV1 is left out",
    "vp9": "transparent films become opaque",
    "zscale": "HDR masters are refused",
}
Measure = Literal["libvmaf", "xpsnr"]
REMEDY = "`mediaserver setup` fetches an ffmpeg that can do all of it"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """True for each encoder, decoder or filter that is compiled in."""

    x264: bool
    aac: bool
    prores: bool
    png: bool
    x265: bool
    svt_av1: bool
    vp9: bool
    dav1d: bool
    zscale: bool
    xpsnr: bool
    libvmaf: bool

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of those without which no chapter can be made."""
        return tuple(name for name in NEEDED if not getattr(self, name))

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of all that are not there."""
        return tuple(field.name for field in fields(self) if not getattr(self, field.name))

    @property
    def av1(self) -> bool:
        return self.svt_av1 and self.dav1d

    @property
    def measure(self) -> Measure | None:
        """The filter that tells how good a picture looks; without one, qualities are the usual ones."""
        return "libvmaf" if self.libvmaf else "xpsnr" if self.xpsnr else None

    def lacks(self, of: Collection[str]) -> str:
        """Say what is missing of the names in `of` and what that costs, as the end of a sentence; "" if nothing."""
        costs = {**COSTS, "libvmaf": "qualities are chosen by XPSNR and not by VMAF"}
        if not self.measure:
            costs |= dict.fromkeys(("libvmaf", "xpsnr"), "qualities are the usual ones and not chosen for each film")
        felt = {name: costs[name] for name in self.absent if name in of and name in costs}
        return f"lacks {', '.join(felt)}: {', '.join(dict.fromkeys(felt.values()))}" if felt else ""


def probe_capabilities(ffmpeg: Path) -> Capabilities:
    """Ask `ffmpeg`, once for each of its builds; raises ToolMissing or ToolFailed if it does not run."""
    return _asked(ffmpeg, ffmpeg.stat().st_mtime_ns if ffmpeg.is_file() else 0)


@cache
def _asked(ffmpeg: Path, _: int) -> Capabilities:
    lists = {kind: _names(ffmpeg, kind) for kind in ("encoders", "decoders", "filters")}
    return Capabilities(**{name: word in lists[kind] for name, (kind, word) in _WORDS.items()})


@cache
def layered_codecs(ffmpeg: Path) -> frozenset[str]:
    """Return those of "vp9" and "hevc" that `ffmpeg` encodes with an alpha layer, by letting it encode a picture.

    A list would not do: libx265 is asked for the layer's own build option only when it is opened.
    """
    return frozenset(codec for codec, encoder in LAYERED.items() if _encodes_alpha(ffmpeg, encoder))


def _encodes_alpha(ffmpeg: Path, encoder: str) -> bool:
    # With the plus sign a format that the encoder does not know is an error and not replaced.
    source = ("-f", "lavfi", "-i", "color=red@0.5:s=64x64,format=yuva420p", "-frames:v", "1")
    words = ("-c:v", encoder, "-pix_fmt", "+yuva420p", "-f", "null", "-")
    try:
        run_tool((str(ffmpeg), "-hide_banner", "-nostdin", "-v", "error", *source, *words), timeout_s=60)
    except ToolFailed:
        return False
    return True


def _names(ffmpeg: Path, kind: str) -> frozenset[str]:
    """Return the second word of every line of `ffmpeg -encoders` and its like."""
    output = run_tool((str(ffmpeg), "-hide_banner", f"-{kind}"), timeout_s=30).decode("utf-8", "replace")
    return frozenset(words[1] for line in output.splitlines() if len(words := line.split()) > 1)
