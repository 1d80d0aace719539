"""Room on the disk: what a chapter will need, what is free, and how to tell that it has run out."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from encoder.commands import AUDIO_BPS
from encoder.errors import ToolFailed
from encoder.model import Grid, Ladder, Rung, Slot

# Seen: encodes of constant quality take half of their ceiling at most; near-lossless takes about half a bit a pixel.
EXPECTED_SHARE = 0.5
MEZZANINE_BITS = 0.5
# What is encoded and what is packaged lie side by side until it is published.
COPIES = 2
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# ffmpeg repeats the system's words, the packager has its own for everything that a disk refuses.
FULL_WORDS = ("No space left on device", "Disk quota exceeded", "FILE_FAILURE")


def estimate_bytes(ladder: Ladder, slots: tuple[Slot, ...]) -> int:
    """Return about how many bytes the work on a chapter takes on the disk at its height."""
    duration_s = float(ladder.grid.duration_s)
    picture_bps = EXPECTED_SHARE * sum(rung.maxrate_bps for rung in ladder.rungs)
    sound_bps = sum(AUDIO_BPS[track.sound.channels] for track in ladder.tracks)
    slots_bits = sum(_mezzanine_bits(slot, top, ladder.grid) for slot in slots for top in ladder.rungs[:1])
    return round((COPIES * (picture_bps + sound_bps) * duration_s + slots_bits) / 8)


def _mezzanine_bits(slot: Slot, top: Rung, grid: Grid) -> float:
    frames = len(grid.touched_by(slot.start_s, slot.duration_s)) * grid.frames_per_segment
    return MEZZANINE_BITS * frames * top.width * top.height


def free_bytes(folder: Path) -> int:
    """Return what we may still write on the disk of `folder`, which need not be there yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def used_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder; 0 if there is none."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def is_full(error: Exception) -> bool:
    """Say whether something failed because the disk, or our share of it, is full."""
    if isinstance(error, ToolFailed):
        return any(word in error.stderr_tail for word in FULL_WORDS)
    return isinstance(error, OSError) and error.errno in FULL
