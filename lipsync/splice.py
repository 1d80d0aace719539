"""Pictures to the fragments of an insert that need no init segment of their own (docs/decisions/0005)."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from encoder.bitstreams import ParameterSets, parameter_sets
from encoder.boxes import Sample, boxes, read_samples, write_fragment
from encoder.insert import frames_command, insert_command
from encoder.model import Grid, Presentation, Rendition, Slot
from encoder.tools import Tools, open_tool
from lipsync.errors import InsertDoesNotFit, RenderFailed
from lipsync.protocols import Fragment

Frame = NDArray[np.uint8]


def mezzanine_frames(
    folder: Path, presentation: Presentation, slot: Slot, tools: Tools, *, segments: range, size: tuple[int, int]
) -> Iterator[Frame]:
    """Yield the chapter's own pictures of `segments`, all of which `slot` touches, in order.

    Each is I420, uint8 of shape (height * 3 // 2, width), at `size` (width, height). Raises ToolFailed.
    """
    grid, (width, height) = presentation.grid, size
    skipped = segments.start - presentation.segments_of(slot).start
    count = sum(len(grid.frames_of(number)) for number in segments)
    command = frames_command(folder / slot.mezzanine, grid, tools, size=size, skipped=skipped, frames=count)
    length = width * height * 3 // 2
    with open_tool(command) as child:
        while len(data := child.stdout.read(length)) == length:
            yield np.frombuffer(bytearray(data), np.uint8).reshape(height * 3 // 2, width)
        child.check()


@lru_cache(maxsize=4)
def own_picture(folder: Path, slot: str, number: int, size: tuple[int, int], tools: Tools) -> Frame:
    """Return picture `number` of the chapter, which `slot` touches, I420 of `size`; kept for later viewers.

    Do not write to it. Raises ToolFailed.
    """
    presentation = Presentation.load(folder)
    found = presentation.slot(slot)
    assert found is not None
    segment = number // presentation.grid.frames_per_segment
    skipped = number - presentation.grid.frames_of(segment).start
    own = mezzanine_frames(folder, presentation, found, tools, segments=range(segment, segment + 1), size=size)
    with closing(own):  # type: ignore[type-var]
        picture = next(islice(own, skipped, None))
    picture.flags.writeable = False
    return picture


def encode_insert(
    frames: Iterable[Frame],
    presentation: Presentation,
    tools: Tools,
    *,
    renditions: Sequence[Rendition],
    numbers: range,
    size: tuple[int, int],
) -> Iterator[Fragment]:
    """Encode pictures of `size` of the segments `numbers`; yield each fragment as soon as it is whole.

    Closing the iterator ends the encoder at once. Raises InsertDoesNotFit if the encoder's parameter sets are not the
    reserved ones, RenderFailed if a segment is missing or has too few pictures, ToolFailed.
    """
    pipes = [(r, *os.pipe()) for r in renditions]
    arrived = Arrivals()
    command = insert_command(presentation.grid, size, tuple((r, write) for r, _, write in pipes), tools)
    with open_tool(command, stdin=True, pass_fds=[write for _, _, write in pipes]) as child:
        readers = [
            Reader(os.fdopen(read, "rb"), Regridder(r, presentation.grid), numbers, arrived).start()
            for r, read, _ in pipes
        ]
        for _, _, write in pipes:
            os.close(write)
        assert child.stdin is not None
        feeder = Feeder(((frame,) for frame in frames), (child.stdin,), arrived).start()
        yield from arrived.until_ended(len(readers) + 1)
        child.check()
        for thread in (*readers, feeder):
            thread.join()


class Arrivals:
    """What the threads of one encode hand over: fragments, errors, and that they have ended."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Fragment | BaseException | None] = queue.Queue()
        self.put = self._queue.put

    def until_ended(self, running: int) -> Iterator[Fragment]:
        """Yield fragments until `running` threads have ended; raises the first error."""
        while running:
            item = self._queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield item


class Feeder:
    """Writes pictures to encoders in a thread, one for each of `pipes`, so that fragments can be taken meanwhile."""

    def __init__(self, frames: Iterator[Sequence[Frame]], pipes: Sequence[IO[bytes]], arrived: Arrivals) -> None:
        self._frames, self._pipes, self._arrived = frames, pipes, arrived

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        try:
            for pictures in self._frames:
                for picture, pipe in zip(pictures, self._pipes, strict=True):
                    pipe.write(picture.data)
        except BrokenPipeError:
            pass  # the encoder has ended; `check` knows why
        except BaseException as error:
            self._arrived.put(error)
        finally:
            for pipe in self._pipes:
                with suppress(OSError):
                    pipe.close()
            if hasattr(self._frames, "close"):
                self._frames.close()
            self._arrived.put(None)


class Format(Protocol):
    """What becomes of one rendition's fragments."""

    @property
    def rendition(self) -> Rendition: ...

    def check(self, sets: ParameterSets) -> None:
        """Raise InsertDoesNotFit if pictures of these parameter sets need an init segment of their own."""

    def finished(self, fragment: bytes, number: int) -> bytes:
        """Return an encoder's moof and mdat as segment `number` of the chapter."""
        ...


@dataclass(frozen=True, slots=True)
class Regridder:
    """Puts whole pictures on the chapter's grid."""

    rendition: Rendition
    grid: Grid

    def check(self, sets: ParameterSets) -> None:
        reserved = self.rendition.insert
        if reserved is None or sets.sps != (reserved.sps,) or sets.pps != (reserved.pps,):
            raise InsertDoesNotFit(self.rendition.id)

    def finished(self, fragment: bytes, number: int) -> bytes:
        return regrid(read_samples(fragment), number, self.rendition, self.grid)


class Reader:
    """Reads one rendition's fragmented MP4 in a thread and hands out its fragments on the chapter's grid."""

    def __init__(self, pipe: IO[bytes], form: Format, numbers: range, arrived: Arrivals) -> None:
        self._pipe, self._form, self._numbers, self._arrived = pipe, form, numbers, arrived

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self._arrived.put(error)
        finally:
            self._pipe.close()
            self._arrived.put(None)

    def _read(self) -> None:
        left, moof, rendition = list(self._numbers), b"", self._form.rendition.id
        for type_, box in _top_level(self._pipe):
            if type_ == b"moov":
                self._form.check(parameter_sets(box))
            elif type_ == b"moof":
                moof = box
            elif type_ == b"mdat" and left:
                number = left.pop(0)
                self._arrived.put(Fragment(rendition, number, self._form.finished(moof + box, number)))
        if left:
            raise RenderFailed(f"{len(left)} segments of {rendition} are missing.")


def _top_level(pipe: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and bytes of the boxes of a stream."""
    while len(head := pipe.read(8)) == 8:
        size = int.from_bytes(head[:4], "big")
        box = head + pipe.read(size - 8)
        if len(box) < size:
            return
        yield next(boxes(box)).type, box


def regrid(samples: Sequence[Sample], number: int, rendition: Rendition, grid: Grid) -> bytes:
    """Return pictures as segment `number` of the chapter: its times, its timescale, one track.

    Decode times continue the chapter's; presentation times are moved by the rendition's composition offset. Raises
    RenderFailed if it has not the segment's number of pictures or does not begin with a key picture.
    """
    assert rendition.insert is not None
    frames = grid.frames_of(number)
    if len(samples) != len(frames) or not samples[0].sync:
        raise RenderFailed(f"segment {number} of {rendition.id} has {len(samples)} pictures instead of {len(frames)}.")
    ticks = rendition.timescale / grid.rate
    offset = rendition.insert.composition_offset
    timed = tuple(
        replace(s, duration=int(ticks), composition_offset=offset, sync=i == 0) for i, s in enumerate(samples)
    )
    return write_fragment(number + 1, 1, int(frames.start * ticks), timed)
