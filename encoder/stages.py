"""The way of a master to a published version in stages, each of which may be run twice."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from encoder import package, publish
from encoder.chapter import chapter_id, check_alone
from encoder.commands import encode_command
from encoder.errors import (
    BadSidecar,
    MasterMissing,
    MasterTruncated,
    SameChapterTwice,
    ToolCancelled,
    VerificationFailed,
)
from encoder.ladder import ladder_for
from encoder.model import Ladder, Master, Presentation, Slot
from encoder.probe import probe
from encoder.sidecar import Sidecar, read_sidecar, sidecar_path
from encoder.tools import Tools, run_tool

# Part of every version's name: change it when the same master would give other files.
RECIPE = "2"
WORK = "work"
BLOCK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an encode is: frames done of all, speed in frames per second, and the seconds that remain."""

    frames: int
    of_frames: int
    fps: float

    @property
    def percent(self) -> float:
        return 100 * self.frames / self.of_frames

    @property
    def eta_s(self) -> float | None:
        return (self.of_frames - self.frames) / self.fps if self.fps > 0 else None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is decided before the first frame is encoded."""

    chapter: str
    version: str
    title: str
    master: Master
    ladder: Ladder
    slots: tuple[tuple[Slot, Path | None], ...]

    def folder(self, media: Path) -> Path:
        """Return the folder that is filled; it becomes the version's own by publication."""
        return publish.part_folder(media / self.chapter, self.version)


def plan(path: Path, tools: Tools, cancelled: Callable[[], bool] | None = None) -> Plan:
    """Probe a master and what lies beside it, and decide; reads the whole file for its version's name.

    Raises BadChapterName, ReservedChapterName, SameChapterTwice, BadSidecar, ToolCancelled and what `probe` raises.
    """
    chapter = chapter_id(path)
    if not path.is_file():
        raise MasterMissing(path)
    check_alone(path, path.parent.iterdir())
    master = probe(path, tools)
    ladder = ladder_for(master)
    sidecar = read_sidecar(path, ladder.grid)
    ladder = _in_language(ladder, sidecar.language)
    slots = tuple((slot, sidecar.narration(slot)) for slot in sidecar.slots)
    for slot, narration in slots:
        if narration is None and ladder.sound is None:
            raise BadSidecar(sidecar_path(path), f"slot {slot.id!r} has no speech: the master is silent.")
    return Plan(chapter, _version(path, sidecar, cancelled), sidecar.title, master, ladder, slots)


def _in_language(ladder: Ladder, language: str | None) -> Ladder:
    if language is None or ladder.sound is None:
        return ladder
    return replace(ladder, sound=replace(ladder.sound, language=language))


def _version(path: Path, sidecar: Sidecar, cancelled: Callable[[], bool] | None) -> str:
    """Name a version by its content, so that the same content is the same version."""
    masks = [path.with_name(slot.mask) for slot in sidecar.slots if slot.mask]
    beside = [sidecar_path(path), *(file for _, file in sidecar.narrations), *masks]
    whole = hashlib.sha256(RECIPE.encode())
    for file in (path, *beside):
        if file.is_file():
            whole.update(_digest(file, cancelled))
    return whole.hexdigest()[:12]


def _digest(file: Path, cancelled: Callable[[], bool] | None) -> bytes:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(BLOCK_BYTES):
            if cancelled and cancelled():
                raise ToolCancelled
            digest.update(block)
    return digest.digest()


def is_published(plan: Plan, media: Path) -> bool:
    """Say whether exactly this version is the current one already."""
    return publish.current_version(media / plan.chapter) == plan.version and is_finished(plan, media)


def is_finished(plan: Plan, media: Path) -> bool:
    """Say whether exactly this version lies complete on disk, current or superseded."""
    return (media / plan.chapter / plan.version).is_dir()


def encode(
    plan: Plan,
    media: Path,
    tools: Tools,
    on_progress: Callable[[Progress], None] = lambda _: None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Decode the master once and encode all of it; what an interrupted run left is thrown away.

    Raises MasterTruncated if fewer frames come than the container claims, ToolFailed, ToolCancelled.
    """
    folder = plan.folder(media)
    shutil.rmtree(folder, ignore_errors=True)
    work = folder / WORK
    work.mkdir(parents=True)
    reader = _ProgressReader(plan.ladder.grid.frames, on_progress)
    run_tool(
        encode_command(plan.master, plan.ladder, plan.slots, work, tools), on_line=reader.line, cancelled=cancelled
    )
    if reader.frames < plan.ladder.grid.frames:
        raise MasterTruncated(
            plan.master.path, f"only {reader.frames} of {plan.ladder.grid.frames} pictures are in it."
        )


class _ProgressReader:
    """Collects ffmpeg's key=value lines; a block ends with `progress=`."""

    def __init__(self, of_frames: int, on_progress: Callable[[Progress], None]) -> None:
        self._of_frames, self._on_progress = of_frames, on_progress
        self.frames = 0
        self._block: dict[str, str] = {}

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


def assemble(plan: Plan, media: Path, tools: Tools) -> Presentation:
    """Package what was encoded and write `presentation.json`; raises ToolFailed, BadBoxes."""
    folder, grid = plan.folder(media), plan.ladder.grid
    work = folder / WORK
    renditions = [
        package.package_video(work / f"{rung.rendition}.mp4", folder, rung, grid, tools) for rung in plan.ladder.rungs
    ]
    if plan.ladder.sound:
        renditions.append(package.package_audio(work / "audio.mp4", folder, plan.ladder.sound, grid, tools))
    for slot, _ in plan.slots:
        _keep(work / slot.mezzanine, folder / slot.mezzanine)
        _keep(work / slot.narration, folder / slot.narration)
        if slot.mask:
            shutil.copyfile(plan.master.path.with_name(slot.mask), folder / slot.mask)
    slots = tuple(slot for slot, _ in plan.slots)
    presentation = Presentation(plan.chapter, plan.version, plan.title, grid, tuple(renditions), slots)
    (folder / "presentation.json").write_text(presentation.to_json(), "utf-8")
    return presentation


def _keep(source: Path, target: Path) -> None:
    if source.exists():
        source.rename(target)


def verify(plan: Plan, media: Path, tools: Tools, cancelled: Callable[[], bool] | None = None) -> None:
    """Check everything that will be served, and what inserts are made from.

    Raises VerificationFailed, ToolFailed, ToolCancelled.
    """
    folder = plan.folder(media)
    presentation = Presentation.load(folder)
    for rendition in presentation.renditions:
        package.verify(rendition, folder, presentation.grid, tools, cancelled)
    for slot in presentation.slots:
        for name in (slot.mezzanine, slot.narration):
            if not (folder / name).is_file():
                raise VerificationFailed(name, "it is missing.")


def publish_version(plan: Plan, media: Path, pinned: Collection[str] = ()) -> Path:
    """Make the version the current one and return its folder; raises SameChapterTwice if another case spelling is.

    What was superseded long ago is deleted, but for the versions in `pinned`.
    """
    chapter = media / plan.chapter
    for other in media.iterdir():
        if other.name != plan.chapter and other.name.casefold() == plan.chapter.casefold():
            raise SameChapterTwice(plan.master.path, other, plan.chapter)
    shutil.rmtree(plan.folder(media) / WORK, ignore_errors=True)
    # The pointer's age is that of the last change, so it is asked before it changes again.
    publish.retire(chapter, pinned={plan.version, *pinned})
    return publish.publish(chapter, plan.version)
