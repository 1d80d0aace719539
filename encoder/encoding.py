"""The encodes themselves: chunks of the picture, the sound, what the slots need; a hung program is tried once more."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from encoder import damage, webm
from encoder.chunk import Chunk, Growth, check_chunk
from encoder.commands import audio_command, chunk_command, mezzanine_command, narration_command
from encoder.errors import BadBoxes, MasterTruncated, ToolFailed, VerificationFailed
from encoder.guard import Care
from encoder.model import Grid, Ladder, Master, Rung, Slot
from encoder.tools import Tools, run_guarded

UNDER_WAY = ".part"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an encode is: frames done of all, speed in frames per second, and the seconds that remain.

    `rungs` has the frames of each rung that lie on the disk, by its rendition.
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


class Tally:
    """Adds up the progress of a chapter's chunks, which may be encoded at the same time, from any thread.

    `rungs` are the renditions that are encoded.
    """

    def __init__(self, of_frames: int, rungs: Sequence[str], listener: Listener) -> None:
        self._of_frames, self._rungs, self._listener = of_frames, tuple(rungs), listener
        self._parts: dict[int, Progress] = {}
        self._fps = 0.0
        self._adding = threading.Lock()

    def of(self, chunk: Chunk) -> Listener:
        """Return who listens to one chunk."""

        def hear(part: Progress) -> None:
            with self._adding:
                self._parts[chunk.number] = part
                self._listener(self._sum())

        return hear

    def done(self, chunk: Chunk) -> None:
        """A chunk is finished, now or in an earlier run."""
        count = len(chunk.frames)
        self.of(chunk)(Progress(count, count, 0.0, tuple((rung, count) for rung in self._rungs)))

    def _sum(self) -> Progress:
        parts = self._parts.values()
        rungs = Counter(dict.fromkeys(self._rungs, 0))
        for part in parts:
            rungs.update(dict(part.rungs))
        # Between two chunks nothing moves; the speed of the one before is the best guess.
        self._fps = sum(part.fps for part in parts) or self._fps
        frames = sum(part.frames for part in parts)
        return Progress(frames, self._of_frames, self._fps, tuple(rungs.items()))


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
        try:
            frames, errors = _encoded(master, ladder, chunk, part, tools, seek=seek, on_progress=on_progress, care=care)
        except ToolFailed as failure:
            raise damage.refusal(master.path, failure) or failure from failure
        try:
            for rung in ladder.rungs:
                _check(part / rung.file, chunk.thinned(rung.every), ladder.grid.thinned(rung.every))
        except (VerificationFailed, BadBoxes):
            continue
        damage.write(part, errors)
        keep(part, final)
        return
    if frames >= len(chunk.frames):
        raise VerificationFailed(chunk.folder, "its pictures do not lie on the grid.")
    found = chunk.frames.start + frames
    raise MasterTruncated(master.path, f"only {found} of {ladder.grid.frames} pictures are in it.")


def _encoded(
    master: Master,
    ladder: Ladder,
    chunk: Chunk,
    part: Path,
    tools: Tools,
    *,
    seek: bool,
    on_progress: Listener,
    care: Care,
) -> tuple[int, int]:
    """Encode all rungs into `part`; return how many frames every one of them got, and how many errors were counted."""
    files = tuple((rung.rendition, _growth(part / rung.file, chunk, ladder.grid, rung.every)) for rung in ladder.rungs)
    goes = goes_of(ladder)
    readers = []
    for number, rungs in enumerate(goes):
        reader = ProgressReader(len(chunk.frames), on_progress, files, go=(number, len(goes)))
        command = chunk_command(master, replace(ladder, rungs=rungs), chunk.frames, part, tools, seek=seek)
        _run(command, reader, care)
        readers.append(reader)
    return min(reader.frames for reader in readers), max(reader.errors for reader in readers)


def goes_of(ladder: Ladder) -> tuple[tuple[Rung, ...], ...]:
    """Return the rungs of each process that is run, one after the other.

    One that decodes once for all, but for a transparent film: its twelve encoders together would need 3 GiB at 1080p.
    """
    if not any(rung.alpha for rung in ladder.rungs):
        return (ladder.rungs,)
    codecs = dict.fromkeys(rung.codec for rung in ladder.rungs)
    return tuple(tuple(rung for rung in ladder.rungs if rung.codec == codec) for codec in codecs)


def _growth(file: Path, chunk: Chunk, grid: Grid, every: int) -> Growth:
    return (webm.Growth if file.suffix == ".webm" else Growth)(file, chunk, grid, every)


def _check(file: Path, chunk: Chunk, grid: Grid) -> None:
    if file.suffix == ".webm":
        webm.check(file, grid, chunk.segments)
    else:
        check_chunk(file, chunk, grid)


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


def encode_sound(ladder: Ladder, work: Path, tools: Tools, care: Care) -> None:
    """Encode the whole sound at once, if there is any; raises ToolFailed, ToolStalled, ToolCancelled."""
    if ladder.tracks:
        _run(audio_command(ladder, work, tools), ProgressReader(1), care)


def encode_mezzanine(master: Master, ladder: Ladder, slot: Slot, work: Path, *, tools: Tools, care: Care) -> None:
    """Make a slot's mezzanine; raises ToolFailed, ToolStalled, ToolCancelled."""
    _run(mezzanine_command(master, ladder, slot, work, tools), ProgressReader(1), care)


def encode_narration(ladder: Ladder, slot: Slot, own: Path | None, work: Path, *, tools: Tools, care: Care) -> None:
    """Make a slot's narration; raises ToolFailed, ToolStalled, ToolCancelled."""
    _run(narration_command(ladder, slot, own, work, tools), ProgressReader(1), care)


def _run(command: Sequence[str], reader: ProgressReader, care: Care) -> None:
    run_guarded(command, care, on_line=reader.line, on_complaints=reader.complaints)


class ProgressReader:
    """Collects ffmpeg's key=value lines; a block ends with `progress=`. `files` are what it writes, by rendition.

    `go` says which of how many processes it reads that make the same frames, one after the other.
    """

    def __init__(
        self,
        of_frames: int,
        on_progress: Listener = lambda _: None,
        files: tuple[tuple[str, Growth], ...] = (),
        go: tuple[int, int] = (0, 1),
    ) -> None:
        self._of_frames, self._on_progress, self._files, self._go = of_frames, on_progress, files, go
        self.frames = self.errors = 0
        self._block: dict[str, str] = {}

    def complaints(self, text: str) -> None:
        self.errors = damage.decode_errors(text)

    def line(self, line: str) -> None:
        key, _, value = line.partition("=")
        self._block[key] = value.strip()
        if key == "progress":
            self.frames = int(_number(self._block.get("frame")))
            rungs = tuple((rendition, file.frames()) for rendition, file in self._files)
            before, goes = self._go
            done = (before * self._of_frames + min(self.frames, self._of_frames)) // goes
            self._on_progress(Progress(done, self._of_frames, _number(self._block.get("fps")) / goes, rungs))


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
