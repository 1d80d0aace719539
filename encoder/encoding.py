"""The encodes themselves: chunks of the picture, the sound, what the slots need; a hung program is tried once more."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from encoder import damage
from encoder.chunk import Chunk, check_chunk
from encoder.commands import audio_command, chunk_command, mezzanine_command, narration_command
from encoder.errors import BadBoxes, MasterTruncated, ToolFailed, ToolStalled, VerificationFailed
from encoder.guard import Care
from encoder.model import Ladder, Master, Slot
from encoder.tools import Tools, run_tool

STALL_S = 60.0
UNDER_WAY = ".part"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an encode is: frames done of all, speed in frames per second, and the seconds that remain.

    `rungs` has the frames that are done of each rung, by its name.
    """

    frames: int
    of_frames: int
    fps: float
    rungs: tuple[tuple[str, int], ...] = ()

    @property
    def percent(self) -> float:
        return 100 * self.frames / self.of_frames

    @property
    def eta_s(self) -> float | None:
        return (self.of_frames - self.frames) / self.fps if self.fps > 0 else None


Listener = Callable[[Progress], None]


def encode_chunk(
    master: Master, ladder: Ladder, chunk: Chunk, work: Path, tools: Tools, *, on_progress: Listener, care: Care
) -> None:
    """Encode all rungs of a chunk into a folder of its own below `work`, and look at what has come out.

    A chunk that is there is kept. Raises MasterTruncated if fewer frames come than the container claims, MasterDamaged
    if too many cannot be decoded, ToolFailed, ToolStalled, ToolCancelled.
    """
    final = work / chunk.folder
    if final.is_dir():
        return
    # A name of its own: who was taken for dead and wakes up must not meet its successor's files.
    part = final.with_name(f"{final.name}.{secrets.token_hex(4)}{UNDER_WAY}")
    # Some containers cannot be entered in the middle: the second way reads them from their beginning.
    for seek in (True, False) if chunk.frames.start else (True,):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        reader = ProgressReader(len(chunk.frames), on_progress)
        try:
            _run(chunk_command(master, ladder, chunk.frames, part, tools, seek=seek), reader, care)
        except ToolFailed as failure:
            raise damage.refusal(master.path, failure) or failure from failure
        try:
            for rung in ladder.rungs:
                check_chunk(part / f"{rung.rendition}.mp4", chunk, ladder.grid)
        except (VerificationFailed, BadBoxes):
            continue
        damage.write(part, reader.errors)
        keep(part, final)
        return
    if reader.frames >= len(chunk.frames):
        raise VerificationFailed(chunk.folder, "its pictures do not lie on the grid.")
    found = chunk.frames.start + reader.frames
    raise MasterTruncated(master.path, f"only {found} of {ladder.grid.frames} pictures are in it.")


def keep(part: Path, final: Path) -> None:
    """Make sure that a folder of files outlives a power failure, and give it its own name."""
    for path in (*part.iterdir(), part):
        sync(path)
    try:
        part.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        shutil.rmtree(part)
    sync(final.parent)


@contextmanager
def aside(work: Path) -> Iterator[Path]:
    """Give a new folder to write into; what lies in it at the end takes its place in `work`, file by file."""
    part = work / f"{secrets.token_hex(4)}{UNDER_WAY}"
    part.mkdir(parents=True)
    yield part
    for file in part.iterdir():
        sync(file)
        file.replace(work / file.name)
    part.rmdir()


def sync(path: Path) -> None:
    """Write a file or folder through to the disk (fsync(2))."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def encode_sound(master: Master, ladder: Ladder, work: Path, tools: Tools, care: Care) -> None:
    """Encode the whole sound at once, if there is any; raises ToolFailed, ToolStalled, ToolCancelled."""
    if ladder.sound is not None:
        _run(audio_command(ladder, work, tools), ProgressReader(1), care)


def encode_slot(
    master: Master, ladder: Ladder, slot: Slot, own: Path | None, work: Path, *, tools: Tools, care: Care
) -> None:
    """Make a slot's mezzanine and narration; raises ToolFailed, ToolStalled, ToolCancelled."""
    _run(mezzanine_command(master, ladder, slot, work, tools), ProgressReader(1), care)
    _run(narration_command(ladder, slot, own, work, tools), ProgressReader(1), care)


def _run(command: Sequence[str], reader: ProgressReader, care: Care) -> None:
    """Run ffmpeg; one that hangs is killed and gets one more try."""
    care = replace(care, stall_s=care.stall_s or STALL_S)
    try:
        run_tool(command, on_line=reader.line, care=care, on_complaints=reader.complaints)
    except ToolStalled:
        run_tool(command, on_line=reader.line, care=care, on_complaints=reader.complaints)


class ProgressReader:
    """Collects ffmpeg's key=value lines; a block ends with `progress=`."""

    def __init__(self, of_frames: int, on_progress: Listener = lambda _: None) -> None:
        self._of_frames, self._on_progress = of_frames, on_progress
        self.frames = self.errors = 0
        self._block: dict[str, str] = {}

    def complaints(self, text: str) -> None:
        self.errors = damage.decode_errors(text)

    def line(self, line: str) -> None:
        key, _, value = line.partition("=")
        self._block[key] = value.strip()
        if key == "progress":
            self.frames = int(_number(self._block.get("frame")))
            self._on_progress(
                Progress(min(self.frames, self._of_frames), self._of_frames, _number(self._block.get("fps")))
            )


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
