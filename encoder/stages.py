"""The way of a master to a published version in stages, each of which may be run twice."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from encoder import alpha, damage, encoding, package, publish, quality, stills, stock
from encoder.capabilities import REMEDY, Measure, layered_codecs, probe_capabilities
from encoder.captions import captions_of, to_webvtt
from encoder.chapter import chapter_id, check_alone
from encoder.chunk import CHUNK_S, Chunk, chunks_of, join
from encoder.commands import audio_file
from encoder.encoding import Listener, Tally
from encoder.errors import (
    BadSidecar,
    MasterMissing,
    SameChapterTwice,
    ToolLacks,
    VerificationFailed,
)
from encoder.guard import ANY, Care
from encoder.ladder import PLAIN, ladder_for, with_trick_play
from encoder.model import (
    Caption,
    Choices,
    Ladder,
    Marker,
    Master,
    Presentation,
    Rendition,
    Rung,
    Slot,
    Storyboard,
)
from encoder.probe import probe
from encoder.sidecar import Sidecar, read_sidecar, sidecar_path, speaker_notes
from encoder.soundtracks import channel_notes, levelled, tracks_of
from encoder.stock import Kept, Receipt, Sources, Stock
from encoder.storyboard import INDEX
from encoder.tools import Tools

WORK, KEPT = "work", "kept"
EMPTY = Stock()


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is decided before the first frame is encoded.

    `previous` is the version that the new one comes instead of, None for no version; False replaces any. `keys` say of
    every file what it is made from, and `qualities_key` what the ladder was measured from.
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
    loudness: bool = False
    keys: Mapping[str, str] = field(default_factory=dict)
    qualities_key: str = ""
    markers: tuple[Marker, ...] = ()

    def folder(self, media: Path) -> Path:
        """Return the folder that is filled; it becomes the version's own by publication."""
        return publish.part_folder(media / self.chapter, self.version)

    def work(self, media: Path) -> Path:
        """Return the folder inside it of what is not packaged yet."""
        return self.folder(media) / WORK

    def kept(self, media: Path) -> Kept:
        """Return what earlier versions had of this one; nothing before `reuse` has looked."""
        return Kept.load(self.work(media) / KEPT)

    @property
    def progressive(self) -> str | None:
        """Return the file that a page without any script plays of a transparent film."""
        film = next((rung.file for rung in self.ladder.rungs if rung.codec == "vp9"), None)
        return alpha.PROGRESSIVE if film and self.ladder.tracks else film

    def missing(self, media: Path) -> Plan:
        """Return the plan of what is still to be encoded, once `reuse` has looked."""
        names = self.kept(media).names
        rungs = tuple(rung for rung in self.ladder.rungs if rung.file not in names)
        tracks = tuple(track for track in self.ladder.tracks if audio_file(track) not in names)
        slots = tuple(pair for pair in self.slots if not {pair[0].mezzanine, pair[0].narration} <= names)
        return replace(self, ladder=replace(self.ladder, rungs=rungs, tracks=tracks), slots=slots)


def plan(
    path: Path,
    tools: Tools,
    care: Care = ANY,
    chunk_s: Fraction = CHUNK_S,
    choices: Choices = PLAIN,
    *,
    in_stock: Stock = EMPTY,
) -> Plan:
    """Probe a master and what lies beside it, and decide; reads the whole file for its version's name.

    What was measured before of the same film is taken from what is `in_stock`. What this ffmpeg cannot do is left out.

    Raises BadChapterName, ReservedChapterName, SameChapterTwice, BadSidecar, ToolLacks, ToolCancelled and what `probe`
    raises.
    """
    chapter = chapter_id(path)
    if not path.is_file():
        raise MasterMissing(path)
    check_alone(path, path.parent.iterdir())
    master, choices, measure = _as_able(probe(path, tools, care), choices, tools)
    ladder = ladder_for(master, choices)
    sidecar = read_sidecar(path, ladder.grid)
    layered = layered_codecs(tools.ffmpeg) if master.footage.alpha else frozenset()
    master = alpha.as_told(master, sidecar.alpha, layered)
    ladder = replace(ladder, tracks=tracks_of(master, sidecar, tools))
    master = replace(master, notes=(*master.notes, *channel_notes(ladder.tracks)))
    slots = tuple((slot, sidecar.narration(slot)) for slot in sidecar.slots)
    for slot, narration in slots:
        if narration is None and ladder.sound is None:
            raise BadSidecar(sidecar_path(path), f"slot {slot.id!r} has no speech: the master is silent.")
    captions = captions_of(path)
    sources = _sources(path, sidecar, captions, care)
    version = stock.key(choices, measure, sorted(layered), sidecar.title, sources.content)[:12]
    qualities_key = stock.qualities_key(master, ladder, sources, measure)
    known = in_stock.qualities.get(qualities_key)
    ladder = quality.chosen(master, ladder, measure, tools, care=care, known=known)
    ladder = with_trick_play(ladder)
    if master.footage.alpha:
        ladder = alpha.rungs_of(ladder, hevc="hevc" in layered, below=bool(slots))
    keys = _keys(master, ladder, slots, captions, sources=sources, choices=choices)
    return Plan(
        *(chapter, version, sidecar.title, master, ladder, slots, chunks_of(ladder.grid, chunk_s), captions),
        loudness=choices.loudness,
        keys=keys,
        qualities_key=qualities_key,
        markers=sidecar.markers,
    )


def _as_able(master: Master, choices: Choices, tools: Tools) -> tuple[Master, Choices, Measure | None]:
    """Return what ffmpeg can do of what is wanted, and how it measures; a note tells of the rest. Raises ToolLacks."""
    able = probe_capabilities(tools.ffmpeg)
    needed = ("x264", "aac", *(("zscale",) if master.footage.transfer != "sdr" else ()))
    if missing := [name for name in needed if name in able.absent]:
        raise ToolLacks(tools.ffmpeg, missing, master.path)
    measured = choices.ladder == "title" and master.duration_s >= quality.SHORTEST_S
    wanted = {"svt_av1": choices.av1, "dav1d": choices.av1, "x265": choices.hevc, "libvmaf": measured}
    if lacks := able.lacks([name for name, is_wanted in wanted.items() if is_wanted]):
        note = f"This ffmpeg {lacks}. {REMEDY}; then `mediaserver retry`."
        master = replace(master, notes=(*master.notes, note))
    choices = replace(choices, av1=choices.av1 and able.av1, hevc=choices.hevc and able.x265)
    return master, choices, able.measure if measured else None


def _sources(path: Path, sidecar: Sidecar, captions: tuple[tuple[Caption, Path], ...], care: Care) -> Sources:
    """Read everything that the chapter is made from: the same content is the same version."""
    masks = (path.with_name(slot.mask) for slot in sidecar.slots if slot.mask)
    speech = (file for _, file in (*sidecar.narrations, *sidecar.sounds))
    transcripts = (path.with_name(f"{path.stem}.slot.{slot.id}.txt") for slot in sidecar.slots)
    texts = (*(file for _, file in captions), *transcripts)
    return Sources.read(path, (sidecar_path(path), *speech, *masks, *texts), care)


def _keys(
    master: Master,
    ladder: Ladder,
    slots: tuple[tuple[Slot, Path | None], ...],
    captions: tuple[tuple[Caption, Path], ...],
    *,
    sources: Sources,
    choices: Choices,
) -> dict[str, str]:
    pictures = stock.picture_keys(master, ladder, sources)
    return {
        **pictures,
        **stills.still_keys(ladder, pictures),
        **stock.progressive_key(master, ladder, sources, loudness=choices.loudness),
        **stock.sound_keys(ladder.tracks, ladder, sources, loudness=choices.loudness),
        **stock.slot_keys(master, ladder, slots, sources),
        **stock.caption_keys(captions, sources),
    }


def is_published(plan: Plan, media: Path) -> bool:
    """Say whether exactly this version is the current one already."""
    return publish.current_version(media / plan.chapter) == plan.version and is_finished(plan, media)


def is_finished(plan: Plan, media: Path) -> bool:
    """Say whether exactly this version lies complete on disk, current or superseded."""
    return (media / plan.chapter / plan.version).is_dir()


def reuse(plan: Plan, media: Path, in_stock: Stock) -> None:
    """Link everything of this version that lies in another one, of whatever chapter, into its work folder."""
    stock.take(in_stock, plan.keys, plan.work(media) / KEPT)


def tally(plan: Plan, media: Path, listener: Listener) -> Tally:
    """Return who adds up the progress of the plan's chunks."""
    rungs = [rung.rendition for rung in plan.missing(media).ladder.rungs]
    return Tally(plan.ladder.grid.frames, rungs, listener)


def encode(plan: Plan, media: Path, tools: Tools, on_progress: Listener = lambda _: None, care: Care = ANY) -> None:
    """Encode all of a chapter, one thing after the other; raises what the three parts raise."""
    counted = tally(plan, media, on_progress)
    for chunk in plan.chunks:
        encode_chunk(plan, chunk, media, tools, on_progress=counted.of(chunk), care=care)
        counted.done(chunk)
    encode_sound(plan, media, tools, care)
    encode_slots(plan, media, tools, care)


def encode_chunk(
    plan: Plan, chunk: Chunk, media: Path, tools: Tools, *, on_progress: Listener = lambda _: None, care: Care = ANY
) -> None:
    """Encode one chunk's picture, unless an earlier run has; raises MasterTruncated, ToolFailed, ToolCancelled."""
    ladder = plan.missing(media).ladder
    if ladder.rungs:
        encoding.encode_chunk(plan.master, ladder, chunk, plan.work(media), tools, on_progress=on_progress, care=care)


def encode_sound(plan: Plan, media: Path, tools: Tools, care: Care = ANY) -> None:
    """Encode the sound of the whole chapter; raises ToolFailed, ToolCancelled."""
    ladder = plan.missing(media).ladder
    if plan.loudness:
        ladder = replace(ladder, tracks=levelled(ladder.tracks, tools, care))
    encoding.encode_sound(ladder, plan.work(media), tools, care)


def encode_slots(plan: Plan, media: Path, tools: Tools, care: Care = ANY) -> None:
    """Make mezzanine and narration of every slot; raises ToolFailed, ToolCancelled."""
    work, names = plan.work(media), plan.kept(media).names
    for slot, own in plan.slots:
        if slot.mezzanine not in names:
            encoding.encode_mezzanine(plan.master, plan.ladder, slot, work, tools=tools, care=care)
        if slot.narration not in names:
            encoding.encode_narration(plan.ladder, slot, own, work, tools=tools, care=care)


def assemble(plan: Plan, media: Path, tools: Tools, care: Care = ANY) -> Presentation:
    """Package what was encoded and write `presentation.json`; raises ToolFailed, ToolCancelled, BadBoxes."""
    folder, work, kept = plan.folder(media), plan.work(media), plan.kept(media)
    for name in kept.names:
        stock.link(kept.folder / name, folder / name)
    videos = [kept.rendition(rung.file) or _seen(plan, rung, media, tools, care) for rung in plan.ladder.rungs]
    audios = [
        kept.rendition(audio_file(track))
        or package.package_audio(
            work / audio_file(track), folder, track.sound, plan.ladder.grid, tools=tools, care=care
        )
        for track in plan.ladder.tracks
    ]
    if plan.progressive == alpha.PROGRESSIVE and alpha.PROGRESSIVE not in kept.names:
        package.package_progressive(folder, videos, audios[0], tools, care)
    slots = tuple(slot for slot, _ in plan.slots)
    for slot in slots:
        _keep(work / slot.mezzanine, folder / slot.mezzanine)
        _keep(work / slot.narration, folder / slot.narration)
        if slot.mask and slot.mask not in kept.names:
            shutil.copyfile(plan.master.path.with_name(slot.mask), folder / slot.mask)
    for caption, file in plan.captions:
        if caption.file not in kept.names:
            (folder / caption.file).write_text(to_webvtt(file), "utf-8")
    poster, storyboard = _stills(plan, videos, media, tools, care)
    errors = max(damage.counted([kept.folder]), damage.counted(work / chunk.folder for chunk in plan.chunks))
    presentation = Presentation(
        *(plan.chapter, plan.version, plan.title, plan.ladder.grid),
        renditions=(*videos, *audios),
        slots=slots,
        notes=(*plan.master.notes, *speaker_notes(slots), *damage.notes(errors)),
        captions=tuple(replace(caption, size=(folder / caption.file).stat().st_size) for caption, _ in plan.captions),
        progressive=plan.progressive,
        poster=poster,
        storyboard=storyboard,
        markers=plan.markers,
    )
    (folder / "presentation.json").write_text(presentation.to_json(), "utf-8")
    measured = (rung for rung in plan.ladder.rungs if rung.codec == "h264" and rung.every == 1)
    qualities = {rung.name: rung.crf for rung in measured if rung.crf is not None}
    Receipt(dict(plan.keys), plan.qualities_key, qualities, errors).write(folder)
    return presentation


def _stills(
    plan: Plan, videos: Sequence[Rendition], media: Path, tools: Tools, care: Care
) -> tuple[str | None, Storyboard | None]:
    """Make poster and storyboard from the packaged pictures; a film without trick play has none."""
    folder, kept, rung = plan.folder(media), plan.kept(media).names, stills.trick_rung(plan.ladder)
    if rung is None:
        return None, None
    trick, board = next(r for r in videos if r.trick), stills.board_for(plan.ladder, rung)
    if not {*board.files, INDEX} <= kept:
        stills.make_storyboard(trick, board, plan.ladder.grid.duration_s, folder, tools=tools, care=care)
    if stills.POSTER not in kept:
        stills.make_poster(next(r for r in videos if not r.alpha), trick, folder, tools, care)
    return stills.POSTER, replace(board, sizes=tuple((folder / name).stat().st_size for name in board.files))


def _seen(plan: Plan, rung: Rung, media: Path, tools: Tools, care: Care) -> Rendition:
    work, name, grid = plan.work(media), rung.file, plan.ladder.grid
    files = [(chunk.thinned(rung.every), work / chunk.folder / name) for chunk in plan.chunks]
    if rung.codec == "vp9":
        return package.package_webm(files, work, plan.folder(media), rung, grid, tools=tools, care=care)
    join(files, work / name, grid.thinned(rung.every))
    return package.package_video(work / name, plan.folder(media), rung, grid, tools=tools, care=care)


def _keep(source: Path, target: Path) -> None:
    if source.exists():
        source.rename(target)


def verify(plan: Plan, media: Path, tools: Tools, care: Care = ANY) -> None:
    """Check everything that is new and will be served, and what inserts are made from.

    Raises VerificationFailed, ToolFailed, ToolCancelled.
    """
    folder, kept = plan.folder(media), plan.kept(media).names
    presentation = Presentation.load(folder)
    for rendition in presentation.renditions:
        if rendition.file not in kept:
            package.verify(rendition, folder, presentation.grid, tools, care)
        elif (folder / rendition.file).stat().st_size != rendition.size:
            raise VerificationFailed(rendition.file, "it is not as long as it was when it was made.")
    if presentation.progressive == alpha.PROGRESSIVE and alpha.PROGRESSIVE not in kept:
        package.verify_pictures(folder / alpha.PROGRESSIVE, presentation.grid, tools, care)
    stills.verify_stills(presentation, folder)
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
