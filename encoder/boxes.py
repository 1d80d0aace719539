"""ISO base media files, as far as a flat fragmented MP4 needs it (ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encoder.errors import BadBoxes
from encoder.model import Segment

CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"edts"})
SYNC_SAMPLE, OTHER_SAMPLE = 0x02000000, 0x01010000


@dataclass(frozen=True, slots=True)
class Box:
    """A box inside a buffer: `start` and `end` enclose it, `body` is where its content begins."""

    type: bytes
    start: int
    body: int
    end: int


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Yield the boxes that lie side by side in `data[start:end]`; raises BadBoxes if one does not fit."""
    end = len(data) if end is None else end
    while start < end:
        if end - start < 8:
            raise BadBoxes(f"{end - start} stray bytes at {start}")
        size, type_ = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1 and end - start >= 16:
            size, body = struct.unpack_from(">Q", data, body)[0], body + 8
        elif size == 0:
            size = end - start
        if size < body - start or start + size > end:
            raise BadBoxes(f"box {type_!r} at {start} is {size} bytes long")
        yield Box(type_, start, body, start + size)
        start += size


def find(data: bytes, *path: bytes, start: int = 0, end: int | None = None) -> Box:
    """Return the first box at `path`, for example (b"moov", b"trak"); raises BadBoxes if there is none."""
    for box in boxes(data, start, end):
        if box.type == path[0]:
            return box if len(path) == 1 else find(data, *path[1:], start=box.body, end=box.end)
    raise BadBoxes(f"no box {path[0].decode('latin-1')}")


def make(type_: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), type_) + body


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a flat fragmented MP4; segment durations are in `timescale`."""

    timescale: int
    init_size: int
    index_offset: int
    index_size: int
    segments: tuple[Segment, ...]


def read_layout(path: Path) -> Layout:
    """Read init and `sidx` and check that every segment is one moof followed by one mdat; raises BadBoxes."""
    head = _head(path)
    moov, sidx = find(head, b"moov"), find(head, b"sidx")
    if sidx.start != moov.end:
        raise BadBoxes("sidx does not follow moov")
    timescale, segments = _sidx(head, sidx)
    _check_segments(path, segments)
    return Layout(timescale, moov.end, sidx.start, sidx.end - sidx.start, segments)


def _head(path: Path) -> bytes:
    """Return the file up to the first moof."""
    with path.open("rb") as file:
        size, position = path.stat().st_size, 0
        while position + 8 <= size:
            file.seek(position)
            length, type_ = struct.unpack(">I4s", file.read(8))
            if type_ == b"moof":
                file.seek(0)
                return file.read(position)
            if length < 8:
                break
            position += length
    raise BadBoxes(f"{path.name} has no fragment")


def _sidx(head: bytes, box: Box) -> tuple[int, tuple[Segment, ...]]:
    """Parse the segment index (ISO/IEC 14496-12, 8.16.3)."""
    version = head[box.body]
    timescale = struct.unpack_from(">I", head, box.body + 8)[0]
    at = box.body + (20 if version == 0 else 28)
    first_offset = struct.unpack_from(">I" if version == 0 else ">Q", head, at - (4 if version == 0 else 8))[0]
    count = struct.unpack_from(">H", head, at + 2)[0]
    offset, segments = box.end + first_offset, []
    for i in range(count):
        size, duration, _sap = struct.unpack_from(">III", head, at + 4 + 12 * i)
        if size >> 31:
            raise BadBoxes("sidx refers to another sidx")
        segments.append(Segment(offset, size, duration))
        offset += size
    if not segments:
        raise BadBoxes("sidx is empty")
    return timescale, tuple(segments)


def _check_segments(path: Path, segments: tuple[Segment, ...]) -> None:
    with path.open("rb") as file:
        for number, segment in enumerate(segments):
            file.seek(segment.offset)
            types = [box.type for box in boxes(file.read(segment.size))]
            if types != [b"moof", b"mdat"]:
                raise BadBoxes(f"segment {number} of {path.name} holds {types}")
    last = segments[-1]
    if last.offset + last.size != path.stat().st_size:
        raise BadBoxes(f"{path.name} does not end where its sidx says")


# --- samples of one fragment -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """One access unit: bytes, duration and composition offset in the timescale."""

    data: bytes
    duration: int
    composition_offset: int
    sync: bool


def decode_time(fragment: bytes) -> int:
    """Return baseMediaDecodeTime of a fragment (ISO/IEC 14496-12, 8.8.12)."""
    tfdt = find(fragment, b"moof", b"traf", b"tfdt")
    return int(struct.unpack_from(">Q" if fragment[tfdt.body] else ">I", fragment, tfdt.body + 4)[0])


def edit_start(init: bytes) -> int:
    """Return the media time at which the presentation begins (ISO/IEC 14496-12, 8.6.6); 0 without an edit list."""
    trak = find(init, b"moov", b"trak")
    edts = next((box for box in boxes(init, trak.body, trak.end) if box.type == b"edts"), None)
    if edts is None:
        return 0
    elst = find(init, b"elst", start=edts.body, end=edts.end)
    wide = init[elst.body] == 1
    return int(struct.unpack_from(">q" if wide else ">i", init, elst.body + (16 if wide else 12))[0])


def read_samples(fragment: bytes) -> tuple[Sample, ...]:
    """Split moof + mdat of one track into its samples; raises BadBoxes."""
    traf = find(fragment, b"moof", b"traf")
    tfhd = find(fragment, b"tfhd", start=traf.body, end=traf.end)
    trun = find(fragment, b"trun", start=traf.body, end=traf.end)
    duration, size, flags = _defaults(fragment, tfhd)
    version_flags = struct.unpack_from(">I", fragment, trun.body)[0]
    count = struct.unpack_from(">I", fragment, trun.body + 4)[0]
    at, start = trun.body + 8, find(fragment, b"moof").start
    if version_flags & 0x1:
        start += struct.unpack_from(">i", fragment, at)[0]
        at += 4
    first_flags = flags
    if version_flags & 0x4:
        first_flags = struct.unpack_from(">I", fragment, at)[0]
        at += 4
    samples = []
    for i in range(count):
        values = [duration, size, first_flags if i == 0 else flags, 0]
        for field, bit in enumerate((0x100, 0x200, 0x400, 0x800)):
            if version_flags & bit:
                values[field] = struct.unpack_from(">i" if bit == 0x800 else ">I", fragment, at)[0]
                at += 4
        data = fragment[start : start + values[1]]
        if len(data) != values[1]:
            raise BadBoxes("a sample lies outside its fragment")
        samples.append(Sample(data, values[0], values[3], not values[2] & 0x10000))
        start += values[1]
    return tuple(samples)


def _defaults(fragment: bytes, tfhd: Box) -> tuple[int, int, int]:
    """Return default duration, size and flags of tfhd (ISO/IEC 14496-12, 8.8.7)."""
    present = struct.unpack_from(">I", fragment, tfhd.body)[0]
    at, values = tfhd.body + 8 + (8 if present & 0x1 else 0) + (4 if present & 0x2 else 0), []
    for bit in (0x8, 0x10, 0x20):
        values.append(struct.unpack_from(">I", fragment, at)[0] if present & bit else 0)
        at += 4 if present & bit else 0
    return values[0], values[1], values[2]


def write_fragment(sequence: int, track: int, time: int, samples: tuple[Sample, ...]) -> bytes:
    """Return moof + mdat with signed composition offsets; `time` is the decode time of the first sample."""
    entries = b"".join(
        struct.pack(">IIIi", s.duration, len(s.data), SYNC_SAMPLE if s.sync else OTHER_SAMPLE, s.composition_offset)
        for s in samples
    )

    def moof(data_offset: int) -> bytes:
        trun = struct.pack(">IIi", 0x01000F01, len(samples), data_offset) + entries
        return make(
            b"moof",
            make(b"mfhd", struct.pack(">II", 0, sequence)),
            make(
                b"traf",
                make(b"tfhd", struct.pack(">II", 0x020000, track)),
                make(b"tfdt", struct.pack(">IQ", 0x01000000, time)),
                make(b"trun", trun),
            ),
        )

    head = moof(len(moof(0)) + 8)
    return head + make(b"mdat", *(s.data for s in samples))
