"""The way of a master to a published version in stages, each of which may be run twice."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from encoder import damage, encoding, package, publish, quality
from encoder.captions import captions_of, to_webvtt
from encoder.chapter import chapter_id, check_alone
from encoder.chunk import CHUNK_S, Chunk, chunks_of, join
from encoder.commands import audio_file
from encoder.encoding import Listener, Progress
from encoder.errors import (
    BadSidecar,
    MasterMissing,
    SameChapterTwice,
    ToolCancelled,
    VerificationFailed,
)
from encoder.guard import Care
from encoder.ladder import PLAIN, ladder_for
from encoder.model import Caption, Choices, Ladder, Master, Presentation, Slot
from encoder.probe import probe
from encoder.sidecar import Sidecar, read_sidecar, sidecar_path
from encoder.soundtracks import levelled, tracks_of
from encoder.tools import Tools

# Part of every version's name: change it when the same master would give other files.
RECIPE = "4"
WORK = "work"
BLOCK_BYTES = 4 * 1024 * 1024
ANY = Care()


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is decided before the first frame is encoded.

    `previous` is the version that the new one comes instead of, None for no version; False replaces any.
    """

    chapter: str
    version: str
    title: str
    master: Master
    ladder: Ladder
    slots: tuple[tuple[Slot, Path | None], ...]
    chunks: tuple[Chunk, ...]
    captions: tuple[tuple[Caption, Path], ...] = ()
    previous: str | Literal[False] | None = False

    def folder(self, media: Path) -> Path:
        """Return the folder that is filled; it becomes the version's own by publication."""
        return publish.part_folder(media / self.chapter, self.version)

    def work(self, media: Path) -> Path:
        """Return the folder inside it of what is not packaged yet."""
        return self.folder(media) / WORK


def plan(
    path: Path,
    tools: Tools,
    cancelled: Callable[[], bool] | None = None,
    chunk_s: Fraction = CHUNK_S,
    choices: Choices = PLAIN,
) -> Plan:
    """Probe a master and what lies beside it, and decide; reads the whole file for its version's name.

    Raises BadChapterName, ReservedChapterName, SameChapterTwice, BadSidecar, ToolCancelled and what `probe` raises.
    """
    chapter = chapter_id(path)
    if not path.is_file():
        raise MasterMissing(path)
    check_alone(path, path.parent.iterdir())
    master = probe(path, tools)
    ladder = ladder_for(master, choices)
    sidecar = read_sidecar(path, ladder.grid)
    ladder = replace(ladder, tracks=tracks_of(master, sidecar, tools))
    slots = tuple((slot, sidecar.narration(slot)) for slot in sidecar.slots)
    for slot, narration in slots:
        if narration is None and ladder.sound is None:
            raise BadSidecar(sidecar_path(path), f"slot {slot.id!r} has no speech: the master is silent.")
    captions = captions_of(path)
    texts = tuple(file for _, file in captions)
    version, chunks = _version(path, sidecar, choices, texts, cancelled), chunks_of(ladder.grid, chunk_s)
    if choices.loudness:
        ladder = replace(ladder, tracks=levelled(ladder.tracks, tools, cancelled))
    if choices.ladder == "title":
        ladder = quality.chosen(master, ladder, tools, cancelled)
    return Plan(chapter, version, sidecar.title, master, ladder, slots, chunks, captions)


def _version(
    path: Path, sidecar: Sidecar, choices: Choices, texts: tuple[Path, ...], cancelled: Callable[[], bool] | None
) -> str:
    """Name a version by its content and by what is wanted of it, so that the same content is the same version."""
    masks = [path.with_name(slot.mask) for slot in sidecar.slots if slot.mask]
    beside = [sidecar_path(path), *(file for _, file in (*sidecar.narrations, *sidecar.sounds)), *masks, *texts]
    whole = hashlib.sha256(f"{RECIPE} {choices}".encode())
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


def encode(plan: Plan, media: Path, tools: Tools, on_progress: Listener = lambda _: None, care: Care = ANY) -> None:
    """Encode all of a chapter, one thing after the other; raises what the three parts raise."""
    for chunk in plan.chunks:
        encode_chunk(plan, chunk, media, tools, on_progress=on_progress, care=care)
    encode_sound(plan, media, tools, care)
    encode_slots(plan, media, tools, care)


def encode_chunk(
    plan: Plan, chunk: Chunk, media: Path, tools: Tools, *, on_progress: Listener = lambda _: None, care: Care = ANY
) -> None:
    """Encode one chunk's picture, unless an earlier run has; raises MasterTruncated, ToolFailed, ToolCancelled."""
    done, of_frames = chunk.frames.start, plan.ladder.grid.frames

    def tell(part: Progress) -> None:
        on_progress(replace(part, frames=done + part.frames, of_frames=of_frames))

    encoding.encode_chunk(plan.master, plan.ladder, chunk, plan.work(media), tools, on_progress=tell, care=care)


def encode_sound(plan: Plan, media: Path, tools: Tools, care: Care = ANY) -> None:
    """Encode the sound of the whole chapter; raises ToolFailed, ToolCancelled."""
    encoding.encode_sound(plan.master, plan.ladder, plan.work(media), tools, care)


def encode_slots(plan: Plan, media: Path, tools: Tools, care: Care = ANY) -> None:
    """Make mezzanine and narration of every slot; raises ToolFailed, ToolCancelled."""
    for slot, own in plan.slots:
        encoding.encode_slot(plan.master, plan.ladder, slot, own, plan.work(media), tools=tools, care=care)


def assemble(plan: Plan, media: Path, tools: Tools) -> Presentation:
    """Package what was encoded and write `presentation.json`; raises ToolFailed, BadBoxes."""
    folder, grid, work = plan.folder(media), plan.ladder.grid, plan.work(media)
    for rung in plan.ladder.rungs:
        name = f"{rung.rendition}.mp4"
        join([(chunk, work / chunk.folder / name) for chunk in plan.chunks], work / name, grid)
    renditions = [
        package.package_video(work / f"{rung.rendition}.mp4", folder, rung, grid, tools) for rung in plan.ladder.rungs
    ]
    renditions += [
        package.package_audio(work / audio_file(track), folder, track.sound, grid, tools)
        for track in plan.ladder.tracks
    ]
    for slot, _ in plan.slots:
        _keep(work / slot.mezzanine, folder / slot.mezzanine)
        _keep(work / slot.narration, folder / slot.narration)
        if slot.mask:
            shutil.copyfile(plan.master.path.with_name(slot.mask), folder / slot.mask)
    slots = tuple(slot for slot, _ in plan.slots)
    captions = tuple(caption for caption, _ in plan.captions)
    for caption, file in plan.captions:
        (folder / caption.file).write_text(to_webvtt(file), "utf-8")
    notes = (*plan.master.notes, *damage.notes(work / chunk.folder for chunk in plan.chunks))
    presentation = Presentation(plan.chapter, plan.version, plan.title, grid, tuple(renditions), slots, notes, captions)
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

    What was superseded long ago is deleted, but for the versions in `pinned`. Raises CurrentMoved if another one
    became current since this one was planned.
    """
    chapter = media / plan.chapter
    for other in media.iterdir():
        if other.name != plan.chapter and other.name.casefold() == plan.chapter.casefold():
            raise SameChapterTwice(plan.master.path, other, plan.chapter)
    shutil.rmtree(plan.folder(media) / WORK, ignore_errors=True)
    # The pointer's age is that of the last change, so it is asked before it changes again.
    publish.retire(chapter, pinned={plan.version, *pinned})
    return publish.publish(chapter, plan.version, plan.previous)
