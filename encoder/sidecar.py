"""The optional files beside a master: title, language and slots (`part2.toml`), narrations (`part2.slot.you.wav`)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

from encoder.errors import BadSidecar, SlotOutsideChapter
from encoder.languages import shortened
from encoder.model import Grid, Marker, Placement, Slot

KEYS = frozenset({"title", "language", "slot", "alpha", "marker"})
MARKER_KEYS = frozenset({"at", "title"})
AlphaTold = Literal["straight", "premultiplied", "none"]
ALPHAS = frozenset(get_args(AlphaTold))
SLOT_KEYS = frozenset({"id", "start", "duration", "speaker_consent", "face", "mask", "compose", "grain", "life"})


MOST_GRAIN = 32


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What the editor says of a chapter; `narrations` maps slot ids to files (else the chapter's own sound).

    `sounds` maps languages to files beside the master. `alpha` says how the colours of a transparent master are kept,
    or with "none" that it is to be an opaque film.
    """

    title: str
    language: str | None = None
    slots: tuple[Slot, ...] = ()
    narrations: tuple[tuple[str, Path], ...] = ()
    sounds: tuple[tuple[str, Path], ...] = ()
    alpha: AlphaTold | None = None
    markers: tuple[Marker, ...] = ()

    def narration(self, slot: Slot) -> Path | None:
        return dict(self.narrations).get(slot.id)


def sidecar_path(master: Path) -> Path:
    return master.with_name(master.stem + ".toml")


def read_sidecar(master: Path, grid: Grid) -> Sidecar:
    """Read and check what lies beside `master`; raises BadSidecar."""
    path = sidecar_path(master)
    sounds = beside(master, ".wav")
    if not path.is_file():
        return Sidecar(title=master.stem, sounds=sounds)
    try:
        said = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSidecar(path, f"{error}.") from error
    slots = parse_slots(path, said, grid)
    language = said.get("language")
    if language is not None and (not isinstance(language, str) or shortened(language) is None):
        raise BadSidecar(path, f"the language {language!r} is no tag such as en, fr or pt-BR.")
    alpha = said.get("alpha")
    if alpha is not None and alpha not in ALPHAS:
        raise BadSidecar(path, f"alpha must be one of {', '.join(sorted(ALPHAS))}, not {alpha!r}.")
    narrations = ((s.id, master.with_name(f"{master.stem}.slot.{s.id}.wav")) for s in slots)
    return Sidecar(
        title=str(said.get("title", master.stem)),
        language=None if language is None else shortened(language),
        slots=slots,
        narrations=tuple((slot_id, file) for slot_id, file in narrations if file.is_file()),
        sounds=sounds,
        alpha=alpha,
        markers=parse_markers(path, said, grid),
    )


def beside(master: Path, *suffixes: str) -> tuple[tuple[str, Path], ...]:
    """Return the files `<stem>.<language><suffix>` by language, in its order; raises BadSidecar if two are of one."""
    found: dict[str, Path] = {}
    for file in sorted(master.parent.iterdir()):
        stem, _, tag = file.stem.rpartition(".")
        if stem != master.stem or file.suffix.lower() not in suffixes or not file.is_file():
            continue
        if (language := shortened(tag)) is None:
            continue
        if language in found:
            raise BadSidecar(file, f"{found[language].name!r} is in the same language.")
        found[language] = file
    return tuple(sorted(found.items()))


def parse_slots(path: Path, said: dict[str, Any], grid: Grid) -> tuple[Slot, ...]:
    """Check the slots against the chapter's grid; pure but for the mask's existence. Raises BadSidecar."""
    _only(path, said, KEYS)
    entries = said.get("slot", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadSidecar(path, "a slot is a table of its own: begin it with the line [[slot]].")
    slots = tuple(_slot(path, entry, grid) for entry in entries)
    if len({slot.id for slot in slots}) < len(slots):
        raise BadSidecar(path, "two slots have the same id.")
    return slots


def speaker_notes(slots: Sequence[Slot]) -> tuple[str, ...]:
    """Tell the editor whose agreement is not on record: a narration is somebody's voice."""
    return tuple(
        f"Nothing says that the speaker of slot {slot.id!r} has agreed; write it down as speaker_consent."
        for slot in slots
        if not slot.speaker_consent.strip()
    )


def parse_markers(path: Path, said: dict[str, Any], grid: Grid) -> tuple[Marker, ...]:
    """Return the named places of the chapter in their order; raises BadSidecar."""
    entries = said.get("marker", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BadSidecar(path, "a marker is a table of its own: begin it with the line [[marker]].")
    return tuple(sorted((_marker(path, entry, grid) for entry in entries), key=lambda marker: marker.at_s))


def _marker(path: Path, said: dict[str, Any], grid: Grid) -> Marker:
    _only(path, said, MARKER_KEYS)
    try:
        marker = Marker(_exact(said["at"], "seconds"), str(said["title"]))
    except KeyError as missing:
        raise BadSidecar(path, f"a marker lacks the key {missing}.") from missing
    except ValueError as error:
        raise BadSidecar(path, f"a value of a marker is of the wrong kind: {error}.") from error
    if not 0 <= marker.at_s < grid.duration_s:
        raise BadSidecar(path, f"the marker {marker.title!r} lies outside the chapter.")
    return marker


def _only(path: Path, said: dict[str, Any], known: frozenset[str]) -> None:
    for key in said:
        if key not in known:
            raise BadSidecar(path, f"the key {key!r} is unknown; known are {', '.join(sorted(known))}.")


def _slot(path: Path, said: dict[str, Any], grid: Grid) -> Slot:
    _only(path, said, SLOT_KEYS)
    try:
        slot = Slot(
            id=str(said["id"]),
            start_s=_exact(said["start"], "seconds"),
            duration_s=_exact(said["duration"], "seconds"),
            face=_placement(path, said["face"]),
            compose=said.get("compose", "moving"),
            speaker_consent=str(said.get("speaker_consent", "")),
            mask=said.get("mask"),
            grain=float(_exact(said.get("grain", 0), "levels")),
            life=said.get("life", True),
        )
        grid.touched_by(slot.start_s, slot.duration_s)
    except KeyError as missing:
        raise BadSidecar(path, f"a slot lacks the key {missing}.") from missing
    except (TypeError, ValueError) as error:
        raise BadSidecar(path, f"a value of a slot is of the wrong kind: {error}.") from error
    except SlotOutsideChapter as error:
        raise BadSidecar(path, str(error)) from error
    _check_words(path, slot)
    return slot


def _check_words(path: Path, slot: Slot) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", slot.id):
        raise BadSidecar(path, f"{slot.id!r} cannot be the id of a slot: use a-z, 0-9, '-' and '_'.")
    if slot.compose not in ("moving", "still"):
        raise BadSidecar(path, f"compose must be 'moving' or 'still', not {slot.compose!r}.")
    if not 0 <= slot.grain <= MOST_GRAIN:
        raise BadSidecar(path, f"grain must be between 0 and {MOST_GRAIN} levels, not {slot.grain:g}.")
    if not isinstance(slot.life, bool):
        raise BadSidecar(path, f"life must be true or false, not {slot.life!r}.")
    if slot.mask is not None:
        named = isinstance(slot.mask, str) and re.fullmatch(r"[^/\\\0]+\.png", slot.mask)
        if not named or not path.with_name(slot.mask).is_file():
            raise BadSidecar(path, f"the mask {slot.mask!r} is not the name of a .png file beside it.")


def _exact(value: object, of: str) -> Fraction:
    """A TOML number as an exact decimal: 12.6 is 63/5, not its nearest double."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{value!r} is not a number of {of}")
    return Fraction(str(value))


def _placement(path: Path, said: dict[str, Any]) -> Placement:
    try:
        face = Placement(*(float(said[key]) for key in "xywh"))
    except (KeyError, TypeError, ValueError) as error:
        raise BadSidecar(path, "face must be {x, y, w, h} as fractions of the picture.") from error
    inside = 0 <= face.x < face.x + face.w <= 1 and 0 <= face.y < face.y + face.h <= 1
    if not inside:
        raise BadSidecar(path, "face lies outside the picture: x + w and y + h must not exceed 1.")
    return face
