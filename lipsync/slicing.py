"""A box of a still picture to the fragments of an insert: it is encoded, and its slices spliced (docs/decisions/0015).

The background is encoded once as a key picture of every rendition; each segment repeats its slices, and every other
picture leaves it as it is. So a segment costs little more than its mouth.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from encoder.bitstreams import ParameterSets, annexb_units
from encoder.boxes import read_samples
from encoder.commands import FRAGMENTS, TAGGED
from encoder.insert import insert_encoder, raw_pictures
from encoder.model import Grid, Rendition
from encoder.tools import Tools, open_tool
from lipsync.compose import Frame
from lipsync.errors import InsertDoesNotFit
from lipsync.inlay import MACROBLOCK_PX, MOTION_PX, Backdrop, Inlay, spread
from lipsync.protocols import Fragment
from lipsync.slices import KEY_SLICE, BadSlice, Format, format_of, same_but_for_size
from lipsync.splice import Arrivals, Feeder, Reader, regrid
from lipsync.still import StillScene, scaled_picture

PRESET = "ultrafast"
BACKDROP_SHARE, BOX_SHARE, BUFFER_SHARE = 0.45, 0.4, 0.1
"""Of a segment at the declared peak the backdrop takes 0.45 at most, the box 0.4 at its rate and 0.1 from a buffer."""
COMMON = f"threads=1:no-deblock=1:mbtree=0:rc-lookahead=0:aud=0:mvrange={MOTION_PX}"


def fits(rendition: Rendition) -> bool:
    """Tell whether the reserved parameter sets of a rendition are of the kind that slices can be spliced in."""
    try:
        return rendition.insert is not None and bool(format_of(rendition.insert.sps, rendition.insert.pps))
    except BadSlice:
        return False


def encode_still(
    scene: StillScene,
    states: Iterable[tuple[int, Sequence[float]]],
    fresh: Sequence[bool],
    grid: Grid,
    tools: Tools,
    *,
    renditions: Sequence[Rendition],
    numbers: range,
) -> Iterator[Fragment]:
    """Encode the pictures of segments `numbers`; yield each fragment as soon as it is whole.

    `states` are (number of the picture, state of the mouth) of those that differ from the one before, as `fresh` tells
    of all pictures: the encoders see no others. Closing the iterator ends the encoders at once. Raises
    InsertDoesNotFit, RenderFailed, ToolFailed.
    """
    arrived = Arrivals()
    work = [SlicedRung.of(r, scene.inlay(r.picture.width, r.picture.height), grid) for r in renditions if r.picture]
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(work)))
        parts = _parts(fresh, grid, numbers)
        keys = list(accumulate(map(sum, parts.values())))[:-1]
        forms = [_Splicer(rung, pool.submit(backdrop, scene.picture, rung, tools), parts) for rung in work]
        children = [stack.enter_context(open_tool(box_command(rung, tools, keys), stdin=True)) for rung in work]
        readers = [
            Reader(child.stdout, form, numbers, arrived).start() for child, form in zip(children, forms, strict=True)
        ]
        pipes = [child.stdin for child in children if child.stdin]
        feeder = Feeder(scene.boxes(states, [rung.inlay for rung in work]), pipes, arrived).start()
        yield from arrived.until_ended(len(readers) + 1)
        for child in children:
            child.check()
        for thread in (*readers, feeder):
            thread.join()


def _parts(fresh: Sequence[bool], grid: Grid, numbers: range) -> dict[int, Sequence[bool]]:
    """Return what belongs to each segment."""
    start = grid.frames_of(numbers.start).start
    frames = {number: grid.frames_of(number) for number in numbers}
    return {number: fresh[part.start - start : part.stop - start] for number, part in frames.items()}


@dataclass(frozen=True, slots=True)
class SlicedRung:
    """One rendition with its box."""

    rendition: Rendition
    grid: Grid
    inlay: Inlay
    form: Format
    x264: str

    @classmethod
    def of(cls, rendition: Rendition, inlay: Inlay, grid: Grid) -> SlicedRung:
        assert rendition.insert
        form = format_of(rendition.insert.sps, rendition.insert.pps)
        return cls(rendition, grid, inlay, form, f"{rendition.insert.x264_params}:{COMMON}")

    def rate_kbps(self, share: float) -> int:
        """Return that share of the declared peak, as x264 counts."""
        return max(1, int(self.rendition.bandwidth_bps * share / 1000))

    def segment_kbit(self, share: float) -> int:
        """Return that share of what a segment may have at the declared peak."""
        return max(1, int(self.rate_kbps(share) * self.grid.frames_per_segment / self.grid.rate))


@dataclass(frozen=True, slots=True)
class _Splicer:
    """Makes whole pictures of those of a box, and puts them on the chapter's grid."""

    rung: SlicedRung
    backdrop: Future[Backdrop]
    fresh: Mapping[int, Sequence[bool]]

    @property
    def rendition(self) -> Rendition:
        return self.rung.rendition

    def check(self, sets: ParameterSets) -> None:
        reserved = self.rendition.insert
        assert reserved
        if sets.pps != (reserved.pps,) or not same_but_for_size(sets.sps[0], reserved.sps):
            raise InsertDoesNotFit(self.rendition.id)

    def finished(self, fragment: bytes, number: int) -> bytes:
        rung, behind = self.rung, self.backdrop.result()
        whole = spread(read_samples(fragment), self.fresh[number], rung.inlay, behind, rung.form)
        return regrid(whole, number, rung.rendition, rung.grid)


def box_command(rung: SlicedRung, tools: Tools, keys: Sequence[int] = ()) -> list[str]:
    """Return the process that encodes the box of one rendition from I420 pictures on standard input.

    `keys` counts the pictures before each segment but the first, where these are not the grid's.
    """
    box = rung.inlay.pixels
    x264 = f"{rung.x264}:slice-max-mbs={-(-box.w // MACROBLOCK_PX)}"
    vbv = f":vbv-maxrate={rung.rate_kbps(BOX_SHARE)}:vbv-bufsize={rung.segment_kbit(BUFFER_SHARE)}"
    # half a picture early, so that no rounding leads past it
    times = ",".join(f"{float((key - Fraction(1, 2)) / rung.grid.rate):.6f}" for key in keys)
    forced = ("-forced-idr", "1", "-force_key_frames", times) if keys else ()
    return [
        *(str(tools.ffmpeg), "-hide_banner", "-v", "error", *raw_pictures((box.w, box.h), rung.grid.rate)),
        *(
            "-vf",
            TAGGED,
            *insert_encoder(PRESET, x264 + vbv),
            *forced,
            "-flush_packets",
            "1",
            "-movflags",
            FRAGMENTS,
            "-f",
            "mp4",
            "pipe:1",
        ),
    ]


def backdrop_command(rung: SlicedRung, outputs: Sequence[int], tools: Tools) -> list[str]:
    """Return the process that encodes what surrounds the box, each part to one of the descriptors."""
    inlay = rung.inlay
    parts = inlay.surroundings
    split = f"[0:v]{TAGGED},split={len(parts)}" + "".join(f"[s{i}]" for i in range(len(parts)))
    crops = [f"[s{i}]crop={p.w}:{p.h}:{p.x}:{p.y}:exact=1[v{i}]" for i, p in enumerate(parts)]
    pictures = raw_pictures((inlay.width, inlay.height), rung.grid.rate)
    command = [
        str(tools.ffmpeg),
        "-hide_banner",
        "-v",
        "error",
        *pictures,
        "-filter_complex",
        ";".join([split, *crops]),
    ]
    kbit = rung.segment_kbit(BACKDROP_SHARE)
    for i, (part, output) in enumerate(zip(parts, outputs, strict=True)):
        share = max(8, kbit * part.w * part.h // (inlay.width * inlay.height))
        x264 = f"{rung.x264}:vbv-maxrate={share}:vbv-bufsize={share}"
        if part.w < inlay.width:
            x264 += f":slice-max-mbs={-(-part.w // MACROBLOCK_PX)}"
        command += ["-map", f"[v{i}]", *insert_encoder(PRESET, x264), "-f", "h264", f"pipe:{output}"]
    return command


def backdrop(picture: Frame, rung: SlicedRung, tools: Tools) -> Backdrop:
    """Encode the surroundings of a rendition's box in an I420 picture of any size. Raises ToolFailed."""
    inlay = rung.inlay
    parts = inlay.surroundings
    if not parts:
        return Backdrop(inlay, (), rung.form)
    pipes = [os.pipe() for _ in parts]
    command = backdrop_command(rung, [write for _, write in pipes], tools)
    with (
        ThreadPoolExecutor(len(parts)) as pool,
        open_tool(command, stdin=True, pass_fds=[write for _, write in pipes]) as child,
    ):
        streams = [pool.submit(_all_of, read) for read, _ in pipes]
        for _, write in pipes:
            os.close(write)
        assert child.stdin
        child.stdin.write(scaled_picture(picture, inlay.width, inlay.height).data)
        child.stdin.close()
        units = [list(annexb_units(stream.result())) for stream in streams]
        child.check()
    keys = ((part, (u for u in units[i] if u[0] & 31 == KEY_SLICE)) for i, part in enumerate(parts))
    return Backdrop(inlay, keys, rung.form)


def _all_of(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as pipe:
        return pipe.read()
