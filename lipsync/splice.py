"""Pictures to the fragments of an insert that need no init segment of their own (docs/decisions/0005)."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from encoder.boxes import boxes, parameter_sets, read_samples, write_fragment
from encoder.commands import frames_command, insert_command
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
    arrived: queue.Queue[Fragment | BaseException | None] = queue.Queue()
    command = insert_command(presentation.grid, size, tuple((r, write) for r, _, write in pipes), tools)
    with open_tool(command, stdin=True, pass_fds=[write for _, _, write in pipes]) as child:
        readers = [
            _Reader(os.fdopen(read, "rb"), r, presentation.grid, numbers, arrived).start() for r, read, _ in pipes
        ]
        for _, _, write in pipes:
            os.close(write)
        assert child.stdin is not None
        feeder = _Feeder(frames, child.stdin, arrived).start()
        running = len(readers) + 1
        while running:
            item = arrived.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
        child.check()
        for thread in (*readers, feeder):
            thread.join()


class _Feeder:
    """Writes pictures to the encoder in a thread, so that fragments can be taken meanwhile."""

    def __init__(self, frames: Iterable[Frame], pipe: IO[bytes], arrived: queue.Queue[Fragment | BaseException | None]):
        self._frames, self._pipe, self._arrived = frames, pipe, arrived

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        try:
            for frame in self._frames:
                self._pipe.write(frame.data)
        except BrokenPipeError:
            pass  # the encoder has ended; `check` knows why
        except BaseException as error:
            self._arrived.put(error)
        finally:
            with suppress(OSError):
                self._pipe.close()
            if isinstance(self._frames, Iterator) and hasattr(self._frames, "close"):
                self._frames.close()
            self._arrived.put(None)


class _Reader:
    """Reads one rendition's fragmented MP4 in a thread and hands out its fragments on the chapter's grid."""

    def __init__(
        self,
        pipe: IO[bytes],
        rendition: Rendition,
        grid: Grid,
        numbers: range,
        arrived: queue.Queue[Fragment | BaseException | None],
    ) -> None:
        self._pipe, self._rendition, self._grid = pipe, rendition, grid
        self._numbers, self._arrived = numbers, arrived

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
        left, moof = list(self._numbers), b""
        for type_, box in _top_level(self._pipe):
            if type_ == b"moov":
                self._check_parameter_sets(box)
            elif type_ == b"moof":
                moof = box
            elif type_ == b"mdat" and left:
                number = left.pop(0)
                data = regrid(moof + box, number, self._rendition, self._grid)
                self._arrived.put(Fragment(self._rendition.id, number, data))
        if left:
            raise RenderFailed(f"{len(left)} segments of {self._rendition.id} are missing.")

    def _check_parameter_sets(self, moov: bytes) -> None:
        sets, reserved = parameter_sets(moov), self._rendition.insert
        if reserved is None or sets.sps != (reserved.sps,) or sets.pps != (reserved.pps,):
            raise InsertDoesNotFit(self._rendition.id)


def _top_level(pipe: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and bytes of the boxes of a stream."""
    while len(head := pipe.read(8)) == 8:
        size = int.from_bytes(head[:4], "big")
        box = head + pipe.read(size - 8)
        if len(box) < size:
            return
        yield next(boxes(box)).type, box


def regrid(fragment: bytes, number: int, rendition: Rendition, grid: Grid) -> bytes:
    """Return the encoder's fragment as segment `number` of the chapter: its times, its timescale, one track.

    Decode times continue the chapter's; presentation times are moved by the rendition's composition offset. Raises
    RenderFailed if it has not the segment's number of pictures or does not begin with a key picture.
    """
    assert rendition.insert is not None
    frames, samples = grid.frames_of(number), read_samples(fragment)
    if len(samples) != len(frames) or not samples[0].sync:
        raise RenderFailed(f"segment {number} of {rendition.id} has {len(samples)} pictures instead of {len(frames)}.")
    ticks = rendition.timescale / grid.rate
    offset = rendition.insert.composition_offset
    timed = tuple(
        replace(s, duration=int(ticks), composition_offset=offset, sync=i == 0) for i, s in enumerate(samples)
    )
    return write_fragment(number + 1, 1, int(frames.start * ticks), timed)
