"""What was made already: every file of every version by what it was made from, so that nothing is made twice."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from encoder import alpha, damage
from encoder.commands import audio_file
from encoder.encoding import UNDER_WAY, keep
from encoder.errors import BadPresentation, ToolCancelled
from encoder.guard import ANY, LOOK_S, Care
from encoder.model import Caption, Ladder, Master, Presentation, Rendition, Slot, Track
from encoder.publish import PART

# Part of every key and of every version's name: change it when the same master would give other files.
RECIPE = "12"
RECEIPT, DESCRIBED = "made_from.json", "renditions.json"
BLOCK_BYTES = 4 * 1024 * 1024
Qualities = dict[str, int]


@dataclass(frozen=True, slots=True)
class Sources:
    """The content of the master and of everything beside it: a SHA-256 of each file that there is."""

    master: Path
    digests: Mapping[Path, str]

    @classmethod
    def read(cls, master: Path, beside: tuple[Path, ...], care: Care = ANY) -> Sources:
        """Read all files to their ends, with a rest while `care` holds it; raises ToolCancelled."""
        files = dict.fromkeys((master, *beside))
        return cls(master, {file: _digest(file, care) for file in files if file.is_file()})

    def __getitem__(self, file: Path) -> str:
        return self.digests[file]

    @property
    def content(self) -> tuple[tuple[str, str], ...]:
        """What lies there, each under the part of its name that says what it is for."""
        stem = self.master.stem
        return tuple((file.name.removeprefix(stem), digest) for file, digest in self.digests.items())


def _digest(file: Path, care: Care) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(BLOCK_BYTES):
            while (cancelled := care.cancelled is not None and care.cancelled()) or (care.held and care.held()):
                if cancelled:
                    raise ToolCancelled
                time.sleep(LOOK_S)
            digest.update(block)
    return digest.hexdigest()


def key(*made_from: object) -> str:
    """Return the key of what is made from values that print themselves."""
    return hashlib.sha256(repr((RECIPE, *made_from)).encode()).hexdigest()[:32]


def qualities_key(master: Master, ladder: Ladder, sources: Sources, measure: str | None) -> str:
    """Return the key of the qualities measured so, from the ladder as it is before they are measured."""
    h264 = tuple(rung for rung in ladder.rungs if rung.codec == "h264")
    return key("qualities", sources[master.path], master.footage, ladder.grid, h264, measure)


def picture_keys(master: Master, ladder: Ladder, sources: Sources) -> dict[str, str]:
    """Return the key of every rung's file."""
    film = (sources[master.path], master.footage, ladder.grid)
    # The light of HDR is mapped at the size of the top rung, so a rung without it would be another picture.
    light = None if master.footage.transfer == "sdr" else ladder.rungs
    return {rung.file: key(film, rung, light) for rung in ladder.rungs}


def progressive_key(master: Master, ladder: Ladder, sources: Sources, *, loudness: bool) -> dict[str, str]:
    """Return the key of a transparent film's one file with picture and sound, if it gets one."""
    film = next((rung for rung in ladder.rungs if rung.codec == "vp9"), None)
    if not film or not ladder.tracks:
        return {}
    picture = key(sources[master.path], master.footage, ladder.grid, film)
    sound = sound_keys(ladder.tracks[:1], ladder, sources, loudness=loudness)
    return {alpha.PROGRESSIVE: key(picture, sorted(sound.values()))}


def sound_keys(tracks: tuple[Track, ...], ladder: Ladder, sources: Sources, *, loudness: bool) -> dict[str, str]:
    """Return the key of every track's file; it needs no measured gain."""
    length_s = ladder.grid.duration_s
    return {audio_file(t): key(sources[t.path], t.number, t.sound, length_s, loudness) for t in tracks}


def slot_keys(
    master: Master, ladder: Ladder, slots: tuple[tuple[Slot, Path | None], ...], sources: Sources
) -> dict[str, str]:
    """Return the keys of mezzanine, narration and mouth track of every slot, and of its mask."""
    keys, top = {}, ladder.rungs[0]
    for slot, own in slots:
        touched = ladder.grid.touched_by(slot.start_s, slot.duration_s)
        film = (sources[master.path], master.footage, ladder.grid)
        keys[slot.mezzanine] = key("mezzanine", film, top.width, top.height, touched)
        window = (slot.start_s, slot.duration_s)
        main = ladder.tracks[0] if ladder.tracks else None
        speech = (sources[own],) if own else (main and (sources[main.path], main.number), window)
        keys[slot.narration] = key("narration", speech)
        keys[slot.track] = key("track", speech, window, ladder.grid.rate)
        if slot.mask:
            keys[slot.mask] = key("mask", sources[master.path.with_name(slot.mask)])
    return keys


def caption_keys(captions: tuple[tuple[Caption, Path], ...], sources: Sources) -> dict[str, str]:
    return {caption.file: key("captions", file.suffix.lower(), sources[file]) for caption, file in captions}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What lies beside a version's files and is not served: their keys by name, and what was measured for them.

    `qualities` are the CRFs of the H.264 rungs by name; `decode_errors` is what the chunks have counted.
    """

    files: dict[str, str]
    qualities_key: str
    qualities: Qualities
    decode_errors: int = 0

    def write(self, folder: Path) -> None:
        said = {name: getattr(self, name) for name in self.__slots__}
        (folder / RECEIPT).write_text(json.dumps(said, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Receipt | None:
        """Read the receipt of a version's folder; None if it has none that can be used."""
        try:
            return cls(**json.loads((folder / RECEIPT).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Stock:
    """Where a file of each key lies, and what was measured, in all versions that are whole on disk."""

    files: Mapping[str, Path] = field(default_factory=dict)
    qualities: Mapping[str, Qualities] = field(default_factory=dict)

    @classmethod
    def of(cls, media: Path) -> Stock:
        """Read the receipts of all chapters; what cannot be read is not in stock."""
        files: dict[str, Path] = {}
        qualities: dict[str, Qualities] = {}
        for folder in sorted(path.parent for path in media.glob(f"*/*/{RECEIPT}") if path.parent.suffix != PART):
            if receipt := Receipt.load(folder):
                lying = {file.name for file in folder.iterdir()}
                files |= {made_from: folder / name for name, made_from in receipt.files.items() if name in lying}
                qualities[receipt.qualities_key] = receipt.qualities
        return cls(files, qualities)


def take(stock: Stock, wanted: Mapping[str, str], folder: Path) -> None:
    """Make `folder` with a hard link to everything of `wanted` (names to keys) that is in stock, and its description.

    Safe to run twice: a folder that is there stays as it is.
    """
    if folder.is_dir():
        return
    part = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}{UNDER_WAY}")
    part.mkdir(parents=True)
    try:
        found, errors = _linked(stock, wanted, part)
    except (OSError, BadPresentation):
        # A version went while we looked: pictures of one film must not come half from it.
        shutil.rmtree(part)
        part.mkdir()
        found, errors = [], 0
    damage.write(part, errors)
    (part / DESCRIBED).write_text(json.dumps([rendition.to_json() for rendition in found]), "utf-8")
    keep(part, folder)


def _linked(stock: Stock, wanted: Mapping[str, str], folder: Path) -> tuple[list[Rendition], int]:
    """Link what there is; return the renditions among it, and the decode errors that were counted with it."""
    found, errors = [], 0
    for name, made_from in wanted.items():
        if source := stock.files.get(made_from):
            described = Presentation.load(source.parent).rendition(source.stem)
            link(source, folder / name)
            receipt = Receipt.load(source.parent)
            if described and receipt:
                found.append(described)
                errors = max(errors, receipt.decode_errors)
    return found, errors


def link(source: Path, target: Path) -> None:
    """Give a file a second name in place of whatever `target` was; a copy where the disk knows no hard links."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


@dataclass(frozen=True, slots=True)
class Kept:
    """What `take` has put into a folder: names of files, the renditions among them, decode errors counted before."""

    folder: Path
    names: frozenset[str] = frozenset()
    renditions: tuple[Rendition, ...] = ()

    @classmethod
    def load(cls, folder: Path) -> Kept:
        """Read the folder; nothing is kept if there is none."""
        try:
            said = json.loads((folder / DESCRIBED).read_text("utf-8"))
        except FileNotFoundError:
            return cls(folder)
        names = frozenset(file.name for file in folder.iterdir()) - {DESCRIBED, damage.FILE}
        return cls(folder, names, tuple(map(Rendition.from_json, said)))

    def rendition(self, name: str) -> Rendition | None:
        return next((rendition for rendition in self.renditions if rendition.file == name), None)
