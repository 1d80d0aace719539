"""The words of the domain as frozen values; `presentation.json` is their only form on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

from encoder.errors import BadPresentation
from encoder.grid import Grid
from encoder.master import Footage, Master, Sound, Track, Transfer
from encoder.rung import CODECS, Choices, Codec, Ladder, Layer, Rung
from encoder.slot import Placement, Slot
from encoder.storyboard import INDEX, Storyboard

__all__ = [
    "CODECS",
    "Caption",
    "Choices",
    "Codec",
    "Footage",
    "Grid",
    "InsertFormat",
    "Ladder",
    "Layer",
    "Marker",
    "Master",
    "Picture",
    "Placement",
    "Presentation",
    "Rendition",
    "Rung",
    "Segment",
    "Slot",
    "Sound",
    "Storyboard",
    "Track",
    "Transfer",
    "target_s",
]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Segment:
    """Byte range of one segment (moof + mdat) in its rendition's file; duration in the rendition's timescale."""

    offset: int
    size: int
    duration: int


def target_s(durations_s: Iterable[Fraction]) -> int:
    """Return the target duration of segments: the longest, rounded to whole seconds (RFC 8216bis, 4.4.3.1)."""
    return max(1, floor(max(durations_s) + Fraction(1, 2)))


@dataclass(frozen=True, slots=True)
class Picture:
    """Size in pixels, exact frames per second and curve of light of a video rendition."""

    width: int
    height: int
    rate: Fraction
    transfer: Transfer = "sdr"


@dataclass(frozen=True, slots=True)
class InsertFormat:
    """What an insert must be to need no init segment of its own: the parameter sets reserved in this init.

    `sps` and `pps` are NAL units without start code (ITU-T H.264, 7.3.2.1 and 7.3.2.2); an insert whose own differ by
    one byte must not be served. `composition_offset` (in the timescale) is added to every sample so that presentation
    times continue the chapter's while decode times do too.
    """

    x264_params: str
    preset: str
    sps: bytes
    pps: bytes
    composition_offset: int


@dataclass(frozen=True, slots=True)
class Rendition:
    """One encoded rung or language as one flat fragmented MP4: init, sidx, then the segments in order.

    Of a WebM, cues stand for sidx and clusters for segments. In a trick-play rendition every segment is one key frame.
    `bandwidth_bps` is the peak over any run of segments, `average_bandwidth_bps` the mean over the whole file.
    """

    file: str
    mime: str
    codecs: str
    timescale: int
    init_size: int
    index_offset: int
    index_size: int
    segments: tuple[Segment, ...]
    bandwidth_bps: int
    average_bandwidth_bps: int
    picture: Picture | None = None
    sound: Sound | None = None
    insert: InsertFormat | None = None
    alpha: Layer = ""
    trick: bool = False

    @property
    def id(self) -> str:
        """The file's stem: the name of the rendition in URLs."""
        return Path(self.file).stem

    @property
    def size(self) -> int:
        last = self.segments[-1]
        return last.offset + last.size

    def to_json(self) -> Json:
        return _rendition_to(self)

    @classmethod
    def from_json(cls, said: Json) -> Rendition:
        """Raises KeyError, TypeError or ValueError on anything but what `to_json` gave."""
        return _rendition_from(said)


@dataclass(frozen=True, slots=True)
class Caption:
    """One language's captions as one WebVTT file of `size` bytes; `language` is a BCP 47 tag."""

    file: str
    language: str
    size: int = 0

    @property
    def id(self) -> str:
        return Path(self.file).stem


@dataclass(frozen=True, slots=True)
class Marker:
    """A place in the chapter that has a name."""

    at_s: Fraction
    title: str


@dataclass(frozen=True, slots=True)
class Presentation:
    """All renditions of one chapter version: everything the server needs to know of it.

    `notes` tells the editor in sentences what is not as in the master. `progressive` is the WebM with picture and
    sound of a transparent chapter, for pages that play it without any script.
    """

    chapter: str
    version: str
    title: str
    grid: Grid
    renditions: tuple[Rendition, ...]
    slots: tuple[Slot, ...] = ()
    notes: tuple[str, ...] = ()
    captions: tuple[Caption, ...] = ()
    progressive: str | None = None
    poster: str | None = None
    storyboard: Storyboard | None = None
    markers: tuple[Marker, ...] = ()

    @property
    def videos(self) -> tuple[Rendition, ...]:
        """The opaque renditions that every client plays and inserts fit into, largest picture first.

        A transparent chapter has them only where it has slots: for sessions, to be shown below it.
        """
        return self._videos_in("h264", "")

    @property
    def transparent(self) -> bool:
        return any(r.alpha for r in self.renditions)

    @property
    def dash_sets(self) -> tuple[tuple[Rendition, ...], ...]:
        """The renditions that everybody gets by DASH: a transparent chapter in a codec with an alpha layer."""
        return (self._videos_in("vp9", "own"),) if self.transparent else self.video_sets

    @property
    def video_sets(self) -> tuple[tuple[Rendition, ...], ...]:
        """What everybody gets codec by codec: H.264, then those that some clients prefer.

        Those of a transparent chapter are stacked: HLS has them, for a page that draws them.
        """
        alpha: Layer = "stacked" if self.transparent else ""
        return tuple(videos for codec in CODECS if (videos := self._videos_in(codec, alpha)))

    @property
    def layered_hevc(self) -> tuple[Rendition, ...]:
        """The renditions of a transparent chapter that Apple's players show without a page's help."""
        return self._videos_in("hevc", "own")

    def _videos_in(self, codec: Codec, alpha: Layer) -> tuple[Rendition, ...]:
        found = (r for r in self.renditions if r.alpha == alpha and r.codecs.startswith(CODECS[codec]))
        return tuple(r for r in found if r.picture and not r.trick)

    @property
    def tricks(self) -> tuple[Rendition, ...]:
        """The renditions of key frames alone, for seeking and fast playing."""
        return tuple(r for r in self.renditions if r.trick)

    @property
    def audios(self) -> tuple[Rendition, ...]:
        return tuple(r for r in self.renditions if r.sound)

    @property
    def has_surround(self) -> bool:
        return any(audio.sound.is_surround for audio in self.audios if audio.sound)

    @property
    def files(self) -> frozenset[str]:
        """The names of all files that are served."""
        stills = (*self.storyboard.files, INDEX) if self.storyboard else ()
        single = (name for name in (self.poster, self.progressive) if name)
        return frozenset((*(r.file for r in self.renditions), *(c.file for c in self.captions), *stills, *single))

    def rendition(self, id: str) -> Rendition | None:
        return next((r for r in self.renditions if r.id == id), None)

    def caption(self, id: str) -> Caption | None:
        return next((c for c in self.captions if c.id == id), None)

    def slot(self, id: str) -> Slot | None:
        return next((s for s in self.slots if s.id == id), None)

    def segments_of(self, slot: Slot) -> range:
        """Return the numbers of the segments in which `slot` is seen."""
        return self.grid.touched_by(slot.start_s, slot.duration_s)

    def carried_by(self, slot: Slot) -> range:
        """Return the segments that the insert of `slot` replaces: those that no slot before it touches.

        So every personal segment belongs to one insert; a shared one shows the faces of all slots that touch it.
        """
        touched, first = self.segments_of(slot), self.segments_of(slot).start
        for earlier in self.slots_in_order:
            if earlier.id == slot.id:
                break
            first = max(first, self.segments_of(earlier).stop)
        return range(min(first, touched.stop), touched.stop)

    @property
    def slots_in_order(self) -> tuple[Slot, ...]:
        """The slots by the time at which they begin."""
        return tuple(sorted(self.slots, key=lambda slot: (slot.start_s, slot.id)))

    def slot_at(self, segment: int) -> Slot | None:
        """Return the slot whose insert replaces `segment`, if any."""
        return next((s for s in self.slots if segment in self.carried_by(s)), None)

    @property
    def personal_segments(self) -> frozenset[int]:
        return frozenset(n for slot in self.slots for n in self.segments_of(slot))

    def to_json(self) -> str:
        return json.dumps(_presentation_to(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Presentation:
        """Raises KeyError, TypeError or ValueError on anything but what `to_json` wrote."""
        return _presentation_from(json.loads(text))

    @classmethod
    def load(cls, folder: Path) -> Presentation:
        """Read `presentation.json` of a version's folder; raises BadPresentation."""
        path = folder / "presentation.json"
        try:
            return cls.from_json(path.read_text("utf-8"))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise BadPresentation(path, str(error)) from error


def _presentation_to(p: Presentation) -> Json:
    return {
        "chapter": p.chapter,
        "version": p.version,
        "title": p.title,
        "grid": {"rate": str(p.grid.rate), "frames_per_segment": p.grid.frames_per_segment, "frames": p.grid.frames},
        "renditions": [_rendition_to(r) for r in p.renditions],
        "slots": [s.to_json() for s in p.slots],
        "notes": list(p.notes),
        "captions": [{"file": c.file, "language": c.language, "size": c.size} for c in p.captions],
        "progressive": p.progressive,
        "poster": p.poster,
        "storyboard": p.storyboard.to_json() if p.storyboard else None,
        "markers": [{"at_s": str(m.at_s), "title": m.title} for m in p.markers],
    }


def _presentation_from(d: Json) -> Presentation:
    grid = d["grid"]
    return Presentation(
        chapter=d["chapter"],
        version=d["version"],
        title=d["title"],
        grid=Grid(Fraction(grid["rate"]), int(grid["frames_per_segment"]), int(grid["frames"])),
        renditions=tuple(_rendition_from(r) for r in d["renditions"]),
        slots=tuple(Slot.from_json(s) for s in d["slots"]),
        notes=tuple(d.get("notes", ())),
        captions=tuple(Caption(**c) for c in d.get("captions", ())),
        progressive=d.get("progressive"),
        poster=d.get("poster"),
        storyboard=Storyboard.from_json(d["storyboard"]) if d.get("storyboard") else None,
        markers=tuple(Marker(Fraction(m["at_s"]), m["title"]) for m in d.get("markers", ())),
    )


def _rendition_to(r: Rendition) -> Json:
    d: Json = {
        "file": r.file,
        "mime": r.mime,
        "codecs": r.codecs,
        "timescale": r.timescale,
        "init_size": r.init_size,
        "index_offset": r.index_offset,
        "index_size": r.index_size,
        "bandwidth_bps": r.bandwidth_bps,
        "average_bandwidth_bps": r.average_bandwidth_bps,
        "segments": [[s.offset, s.size, s.duration] for s in r.segments],
    }
    if r.picture:
        d["picture"] = {"width": r.picture.width, "height": r.picture.height, "rate": str(r.picture.rate)}
        if r.picture.transfer != "sdr":
            d["picture"]["transfer"] = r.picture.transfer
    if r.sound:
        d["sound"] = {
            "channels": r.sound.channels,
            "sample_rate_hz": r.sound.sample_rate_hz,
            "language": r.sound.language,
        }
    if r.insert:
        d["insert"] = {
            "x264_params": r.insert.x264_params,
            "preset": r.insert.preset,
            "sps": r.insert.sps.hex(),
            "pps": r.insert.pps.hex(),
            "composition_offset": r.insert.composition_offset,
        }
    if r.alpha:
        d["alpha"] = r.alpha
    if r.trick:
        d["trick"] = True
    return d


def _rendition_from(d: Json) -> Rendition:
    picture, sound, insert = d.get("picture"), d.get("sound"), d.get("insert")
    return Rendition(
        file=d["file"],
        mime=d["mime"],
        codecs=d["codecs"],
        timescale=d["timescale"],
        init_size=d["init_size"],
        index_offset=d["index_offset"],
        index_size=d["index_size"],
        segments=tuple(Segment(*s) for s in d["segments"]),
        bandwidth_bps=d["bandwidth_bps"],
        average_bandwidth_bps=d["average_bandwidth_bps"],
        picture=Picture(**{**picture, "rate": Fraction(picture["rate"])}) if picture else None,
        sound=Sound(**sound) if sound else None,
        insert=InsertFormat(
            insert["x264_params"],
            insert["preset"],
            bytes.fromhex(insert["sps"]),
            bytes.fromhex(insert["pps"]),
            insert["composition_offset"],
        )
        if insert
        else None,
        alpha=d.get("alpha", ""),
        trick=d.get("trick", False),
    )
