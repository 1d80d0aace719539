"""A long master in pieces that begin on the grid: each is encoded, looked at and kept; then they become one file."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from encoder.boxes import decode_time, find, read_samples
from encoder.errors import BadBoxes, VerificationFailed
from encoder.model import Grid

CHUNK_S = Fraction(60)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some segments of the grid and their frames, both counted in the whole chapter."""

    number: int
    segments: range
    frames: range

    @property
    def folder(self) -> str:
        """Its name says what is in it, so that a chapter cut otherwise is another one."""
        return f"frames_{self.frames.start}_{self.frames.stop}"

    def thinned(self, every: int) -> Chunk:
        """Return the same piece on the grid of one frame in `every`."""
        if every == 1:
            return self
        frames = range(self.frames.start // every, -(-self.frames.stop // every))
        return Chunk(self.number, frames, frames)


def chunks_of(grid: Grid, chunk_s: Fraction = CHUNK_S) -> tuple[Chunk, ...]:
    """Cut a chapter into pieces of about `chunk_s` seconds; one that is not twice as long stays whole."""
    count = 1 if grid.duration_s <= 2 * chunk_s else min(round(grid.duration_s / chunk_s), grid.segments)
    borders = [grid.segments * i // count for i in range(count + 1)]
    return tuple(
        Chunk(i, range(borders[i], borders[i + 1]), _frames(grid, borders[i], borders[i + 1])) for i in range(count)
    )


def _frames(grid: Grid, first: int, end: int) -> range:
    return range(grid.frames_of(first).start, grid.frames_of(end - 1).stop)


def check_chunk(file: Path, chunk: Chunk, grid: Grid) -> None:
    """Make sure that a fragmented MP4 has a whole fragment for each segment of the chunk; raises VerificationFailed."""
    with file.open("rb") as opened:
        counts = [_frames_in(fragment) for fragment in fragments(opened)]
    if counts != [len(grid.frames_of(segment)) for segment in chunk.segments]:
        raise VerificationFailed(file.name, f"frames {chunk.frames.start} to {chunk.frames.stop} are not all in it.")


class Growth:
    """Counts the film's pictures that are in a chunk's file while it is written: those of all whole fragments."""

    def __init__(self, file: Path, chunk: Chunk, grid: Grid, every: int = 1) -> None:
        grid, segments = grid.thinned(every), chunk.thinned(every).segments
        self._file, self._frames = file, [every * len(grid.frames_of(segment)) for segment in segments]
        self._most = len(chunk.frames)
        self._at = self._fragments = 0

    def frames(self) -> int:
        """Look on from where the last look ended."""
        try:
            with self._file.open("rb") as opened:
                self._look(opened, self._file.stat().st_size)
        except OSError:
            pass
        return min(sum(self._frames[: self._fragments]), self._most)

    def _look(self, opened: BinaryIO, end: int) -> None:
        while True:
            opened.seek(self._at)
            head = opened.read(16)
            if len(head) < 8:
                return
            size, type_ = struct.unpack(">I4s", head[:8])
            if size == 1 and len(head) == 16:
                size = struct.unpack(">Q", head[8:])[0]
            if size < 8 or self._at + size > end:
                return
            self._at += size
            self._fragments += type_ == b"mdat"


def _frames_in(fragment: bytes) -> int:
    """Return how many pictures a fragment holds; 0 if it cannot be entered at its first one."""
    samples = read_samples(fragment)
    return len(samples) if samples and samples[0].sync else 0


def fragments(file: BinaryIO) -> Iterator[bytes]:
    """Yield moof + mdat after moof + mdat of a fragmented MP4; raises BadBoxes if one is cut off."""
    moof = b""
    for type_, box in _boxes(file):
        if type_ == b"moof":
            moof = box
        elif type_ == b"mdat" and moof:
            yield moof + box
            moof = b""


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    file.seek(0)
    while head := file.read(8):
        if len(head) < 8:
            raise BadBoxes("a box is cut off")
        size, type_ = struct.unpack(">I4s", head)
        if size == 1:
            head += file.read(8)
            size = struct.unpack(">Q", head[8:])[0]
        body = file.read(max(0, size - len(head)))
        if size < len(head) or len(body) != size - len(head):
            raise BadBoxes(f"box {type_!r} is cut off")
        yield type_, head + body


def join(files: Iterable[tuple[Chunk, Path]], target: Path, grid: Grid) -> None:
    """Write the chunks of one rendition one behind the other, with the decode times of the whole chapter.

    The groups of pictures are closed and of one setting, so nothing but two numbers of each fragment changes: those of
    mfhd and tfdt (ISO/IEC 14496-12, 8.8.5 and 8.8.12). Raises BadBoxes if the chunks were not encoded alike.
    """
    entry, sequence = b"", 0
    with target.open("wb") as out:
        for chunk, file in files:
            with file.open("rb") as opened:
                init = b"".join(box for type_, box in _boxes(opened) if type_ in (b"ftyp", b"moov"))
                if not entry:
                    entry = _sample_entry(init)
                    out.write(init)
                if _sample_entry(init) != entry:
                    raise BadBoxes(f"{file.name} was not encoded as the chunk before it")
                shift = chunk.frames.start * _timescale(init) / grid.rate
                for fragment in fragments(opened):
                    sequence += 1
                    out.write(moved(fragment, sequence, shift))
        out.flush()
        os.fsync(out.fileno())


def _sample_entry(init: bytes) -> bytes:
    """Return stsd: the codec with its parameter sets."""
    stsd = find(init, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    return init[stsd.start : stsd.end]


def _timescale(init: bytes) -> int:
    mdhd = find(init, b"moov", b"trak", b"mdia", b"mdhd")
    return int(struct.unpack_from(">I", init, mdhd.body + (20 if init[mdhd.body] else 12))[0])


def moved(fragment: bytes, sequence: int, shift: Fraction) -> bytes:
    """Return the fragment with another sequence number, `shift` (in its timescale) later; raises BadBoxes."""
    if shift.denominator != 1:
        raise BadBoxes("a chunk does not begin on a tick of its timescale")
    new = bytearray(fragment)
    mfhd, tfdt = find(fragment, b"moof", b"mfhd"), find(fragment, b"moof", b"traf", b"tfdt")
    struct.pack_into(">I", new, mfhd.body + 4, sequence)
    time = decode_time(fragment) + int(shift)
    struct.pack_into(">Q" if fragment[tfdt.body] else ">I", new, tfdt.body + 4, time)
    return bytes(new)
