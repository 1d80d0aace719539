"""WebM as ffmpeg writes it for DASH: one cluster per segment, cues in front, the alpha layer beside every picture.

Elements after RFC 8794 (EBML) and RFC 9559 (Matroska); alpha after the WebM container guidelines (AlphaMode,
BlockAdditional with BlockAddID 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from encoder import chunk
from encoder.boxes import Layout
from encoder.errors import BadBoxes, VerificationFailed
from encoder.model import Grid, Segment
from encoder.tools import Tools

TIMESCALE = 1000
EBML, SEGMENT, TRACKS, CUES, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1654AE6B, 0x1C53BB6B, 0x1F43B675
ENTRY, VIDEO, ALPHA_MODE = 0xAE, 0xE0, 0x53C0
TIMESTAMP, SIMPLE_BLOCK, GROUP, BLOCK, REFERENCE, ADDITIONS = 0xE7, 0xA3, 0xA0, 0xA1, 0xFB, 0x75A1
KEY_FLAG = 0x80
# So that ffmpeg begins a cluster at key pictures alone.
CLUSTERS = {"cluster_time_limit": 30_000, "cluster_size_limit": 2**31 - 1}
OPUS_BPS = 128_000
# Level, luma samples per second and per picture (VP9 bitstream specification, annex A).
LEVELS = (
    (10, 829_440, 36_864),
    (11, 2_764_800, 73_728),
    (20, 4_608_000, 122_880),
    (21, 9_216_000, 245_760),
    (30, 20_736_000, 552_960),
    (31, 36_864_000, 983_040),
    (40, 83_558_400, 2_228_224),
    (41, 160_432_128, 2_228_224),
    (50, 311_951_360, 8_912_896),
    (51, 588_251_136, 8_912_896),
    (52, 1_176_502_272, 8_912_896),
    (60, 1_176_502_272, 35_651_584),
    (61, 2_353_004_544, 35_651_584),
    (62, 4_706_009_088, 35_651_584),
)


@dataclass(frozen=True, slots=True)
class Element:
    """One EBML element: body [body, end) of the file or of the bytes that it was read from."""

    id: int
    start: int
    body: int
    end: int


@dataclass(frozen=True, slots=True)
class Block:
    """One picture: its time in ms, whether it can be entered there, whether it has an alpha layer, its bytes."""

    time_ms: int
    key: bool
    alpha: bool
    data: bytes


def elements(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Element]:
    """Yield the elements side by side in a stretch of bytes; raises BadBoxes if one is cut off."""
    at, end = start, len(data) if end is None else end
    while at < end:
        element = _element(data[at : at + 12], at)
        if element.end > end:
            raise BadBoxes(f"element {element.id:#x} is cut off")
        yield element
        at = element.end


def _element(head: bytes, at: int) -> Element:
    """Read an id and a size (RFC 8794, 5 and 6); raises BadBoxes if there is none."""
    try:
        id_length, size_length = _length(head[0]), _length(head[_length(head[0])])
    except IndexError as error:
        raise BadBoxes("an element is cut off") from error
    size = int.from_bytes(head[id_length : id_length + size_length], "big") & ((1 << 7 * size_length) - 1)
    body = at + id_length + size_length
    return Element(int.from_bytes(head[:id_length], "big"), at, body, body + size)


def _length(first: int) -> int:
    if not first:
        raise BadBoxes("an element does not begin as one")
    return 9 - first.bit_length()


def children(file: BinaryIO) -> Iterator[Element]:
    """Yield the elements of the Segment by their places in the file; one that is not whole yet ends the walk."""
    length = file.seek(0, 2)
    at = 0
    while at < length:
        file.seek(at)
        try:
            element = _element(file.read(12), at)
        except BadBoxes:
            return
        if element.id == SEGMENT:
            at = element.body
            continue
        if element.end > length:
            return
        yield element
        at = element.end


def read_blocks(cluster: bytes) -> tuple[Block, ...]:
    """Return the pictures of one Cluster element; raises BadBoxes."""
    (outer,) = elements(cluster)
    found, base_ms = [], 0
    for element in elements(cluster, outer.body, outer.end):
        if element.id == TIMESTAMP:
            base_ms = int.from_bytes(cluster[element.body : element.end], "big")
        elif element.id == SIMPLE_BLOCK:
            key = bool(cluster[element.body + 3] & KEY_FLAG)
            found.append(_block(cluster, element, base_ms, key=key, alpha=False))
        elif element.id == GROUP:
            inside = {part.id: part for part in elements(cluster, element.body, element.end)}
            key, alpha = REFERENCE not in inside, ADDITIONS in inside
            found.append(_block(cluster, inside[BLOCK], base_ms, key=key, alpha=alpha))
    return tuple(found)


def _block(cluster: bytes, block: Element, base_ms: int, *, key: bool, alpha: bool) -> Block:
    """Read a block's time, which counts from its cluster's (RFC 9559, 10.1); the track's number takes one byte."""
    relative = int.from_bytes(cluster[block.body + 1 : block.body + 3], "big", signed=True)
    return Block(base_ms + relative, key, alpha, cluster[block.body + 4 : block.end])


def clusters(path: Path) -> Iterator[tuple[Element, tuple[Block, ...]]]:
    """Yield every cluster with its pictures, one after the other; raises BadBoxes."""
    with path.open("rb") as file:
        for element in [child for child in children(file) if child.id == CLUSTER]:
            file.seek(element.start)
            yield element, read_blocks(file.read(element.end - element.start))


def read_layout(path: Path, grid: Grid) -> Layout:
    """Return where head, cues and clusters lie; a picture's time has whole milliseconds. Raises BadBoxes."""
    with path.open("rb") as file:
        found = tuple(children(file))
    cues = next((element for element in found if element.id == CUES), None)
    first = next((element for element in found if element.id == CLUSTER), None)
    if cues is None or first is None or cues.end > first.start:
        raise BadBoxes(f"{path.name} has no cues in front")
    starts = [(element, blocks[0].time_ms) for element, blocks in clusters(path)]
    ends = [*(time for _, time in starts[1:]), round(grid.duration_s * TIMESCALE)]
    segments = tuple(Segment(e.start, e.end - e.start, end - time) for (e, time), end in zip(starts, ends, strict=True))
    return Layout(TIMESCALE, cues.start, cues.start, cues.end - cues.start, segments)


def listing(files: Iterable[tuple[chunk.Chunk, Path]], folder: Path, grid: Grid) -> str:
    """Return the list of chunks for ffmpeg's concat demuxer, with exact lengths: a file's own is rounded to 1 ms."""
    lines = ["ffconcat version 1.0"]
    for part, file in files:
        end_s, start_s = part.frames.stop / grid.rate, part.frames.start / grid.rate
        microseconds = round(end_s * 1_000_000) - round(start_s * 1_000_000)
        seconds = f"{microseconds // 1_000_000}.{microseconds % 1_000_000:06d}"
        lines += [f"file {file.relative_to(folder).as_posix()}", f"duration {seconds}"]
    return "\n".join(lines) + "\n"


def join_command(chunks: Path, target: Path, tools: Tools) -> list[str]:
    """Return the process that joins the WebM files of a list into one with its cues in front."""
    source = ("-f", "concat", "-safe", "0", "-i", str(chunks))
    clusters = [word for name, value in CLUSTERS.items() for word in (f"-{name}", str(value))]
    return [*_ffmpeg(tools), *source, "-c", "copy", "-dash", "1", *clusters, *_written(target)]


def progressive_command(picture: Path, sound: Path, target: Path, tools: Tools) -> list[str]:
    """Return the process that puts a film's picture and a sound together, for `<video src>`."""
    sources = ("-i", f"file:{picture}", "-i", f"file:{sound}", "-map", "0:v", "-map", "1:a")
    codecs = ("-c:v", "copy", "-c:a", "libopus", "-b:a", str(OPUS_BPS))
    return [*_ffmpeg(tools), *sources, *codecs, *_written(target)]


def _ffmpeg(tools: Tools) -> tuple[str, ...]:
    return (str(tools.ffmpeg), "-hide_banner", "-nostdin", "-v", "error", "-y")


def _written(target: Path) -> tuple[str, ...]:
    return ("-cues_to_front", "1", "-f", "webm", f"file:{target}")


def codecs_of(width: int, height: int, rate: Fraction) -> str:
    """Return the codecs parameter of VP9, profile 0, 8 bits (VP Codec ISO Media File Format Binding), at this size."""
    fitting = (level for level, samples, size in LEVELS if width * height <= size and width * height * rate <= samples)
    return f"vp09.00.{next(fitting, LEVELS[-1][0])}.08"


class Growth(chunk.Growth):
    """Counts the pictures of a chunk while it is written: those of all clusters that are whole."""

    def _look(self, opened: BinaryIO, end: int) -> None:
        self._fragments = sum(element.id == CLUSTER for element in children(opened))


def has_alpha_mode(path: Path) -> bool:
    """Say whether the head tells players of the alpha layer; without that they show an opaque picture."""
    with path.open("rb") as file:
        tracks = next((element for element in children(file) if element.id == TRACKS), None)
        if tracks is None:
            return False
        file.seek(tracks.body)
        data = file.read(tracks.end - tracks.body)
    for entry in elements(data):
        for video in elements(data, entry.body, entry.end) if entry.id == ENTRY else ():
            for word in elements(data, video.body, video.end) if video.id == VIDEO else ():
                if word.id == ALPHA_MODE:
                    return data[word.body : word.end] == b"\x01"
    return False


def check(file: Path, grid: Grid, segments: range) -> None:
    """Make sure that a file has one cluster for each of these segments, whole and with alpha.

    Times count from the first of `segments`. Raises VerificationFailed, BadBoxes.
    """
    found = list(clusters(file))
    if [len(blocks) for _, blocks in found] != [len(grid.frames_of(segment)) for segment in segments]:
        raise VerificationFailed(file.name, "its pictures do not lie on the grid.")
    first = grid.frames_of(segments.start).start
    for segment, (_, blocks) in zip(segments, found, strict=True):
        expected_ms = (grid.frames_of(segment).start - first) / grid.rate * TIMESCALE
        if not blocks[0].key or abs(blocks[0].time_ms - expected_ms) > 1:
            raise VerificationFailed(file.name, f"segment {segment} does not begin with a key picture at its time.")
        if not all(block.alpha for block in blocks):
            raise VerificationFailed(file.name, f"segment {segment} has lost its transparency.")
    if not has_alpha_mode(file):
        raise VerificationFailed(file.name, "its head does not tell of its transparency.")
