"""What RFC 8216bis and Apple's authoring specification ask of on-demand playlists, as far as a program can see."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import urljoin

ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(?:,|$)')
OF_VARIANT = {
    *("BANDWIDTH", "AVERAGE-BANDWIDTH", "CODECS", "RESOLUTION", "FRAME-RATE", "VIDEO-RANGE", "CLOSED-CAPTIONS"),
    "STABLE-VARIANT-ID",
}
OF_KEY_FRAMES = {"BANDWIDTH", "AVERAGE-BANDWIDTH", "CODECS", "RESOLUTION", "VIDEO-RANGE", "STABLE-VARIANT-ID", "URI"}
OF_MEDIA = {"TYPE", "GROUP-ID", "NAME", "AUTOSELECT", "DEFAULT", "URI", "STABLE-RENDITION-ID"}
QUOTED = {
    *("CODECS", "AUDIO", "SUBTITLES", "URI", "GROUP-ID", "NAME", "LANGUAGE", "CHANNELS", "BYTERANGE", "VALUE"),
    *("DATA-ID", "STABLE-VARIANT-ID", "STABLE-RENDITION-ID"),
}
FORMS = {
    **dict.fromkeys(("BANDWIDTH", "AVERAGE-BANDWIDTH"), r"[1-9]\d*"),
    **dict.fromkeys(("AUTOSELECT", "DEFAULT", "FORCED"), "YES|NO"),
    **dict.fromkeys(("STABLE-VARIANT-ID", "STABLE-RENDITION-ID"), r"[A-Za-z0-9+/=._-]+"),
    "RESOLUTION": r"\d+x\d+",
    "FRAME-RATE": r"\d+\.\d{3}",
    "VIDEO-RANGE": "SDR|PQ|HLG",
    "SCORE": r"\d+\.\d+",
    "CODECS": r"[a-z0-9]{4}\.[\w.]+(,[a-z0-9]{4}\.[\w.]+)*",
    "CHANNELS": r"\d+",
    "TYPE": "AUDIO|SUBTITLES",
    "CLOSED-CAPTIONS": "NONE",
    "LANGUAGE": r"[a-zA-Z]{2,8}(-[a-zA-Z0-9]{1,8})*",
}
OF_PLAYLIST_ALONE = ("#EXTINF", "#EXT-X-TARGETDURATION", "#EXT-X-MAP", "#EXT-X-ENDLIST", "#EXT-X-BYTERANGE")


@dataclass(frozen=True, slots=True)
class Tag:
    name: str
    attributes: dict[str, str]
    uri: str = ""


def attributes(text: str) -> dict[str, str]:
    """Return an attribute list without its quotes (RFC 8216bis, 4.2); raises ValueError if it is none."""
    found = dict[str, str]()
    at = 0
    while at < len(text):
        match = ATTRIBUTE.match(text, at)
        if not match or match[1] in found or (match[1] in QUOTED) != match[2].startswith('"'):
            raise ValueError(text[at:])
        found[match[1]], at = match[2].strip('"'), match.end()
    return found


def tags_of(text: str) -> list[Tag]:
    """Return the tags with attributes of a multivariant playlist; a variant's address belongs to its tag."""
    lines, found = text.splitlines(), []
    for i, line in enumerate(lines):
        if line.startswith(
            ("#EXT-X-STREAM-INF:", "#EXT-X-I-FRAME-STREAM-INF:", "#EXT-X-MEDIA:", "#EXT-X-SESSION-DATA:")
        ):
            name, _, said = line.partition(":")
            found.append(Tag(name, attributes(said), lines[i + 1] if name == "#EXT-X-STREAM-INF" else ""))
    return found


def multivariant_faults(text: str) -> list[str]:
    """Return in sentences what is wrong with a multivariant playlist."""
    found = list(_head(text))
    tags = tags_of(text)
    variants = [tag for tag in tags if tag.name == "#EXT-X-STREAM-INF"]
    key_frames = [tag for tag in tags if tag.name == "#EXT-X-I-FRAME-STREAM-INF"]
    media = [tag for tag in tags if tag.name == "#EXT-X-MEDIA"]
    for of, needed in ((variants, OF_VARIANT), (key_frames, OF_KEY_FRAMES), (media, OF_MEDIA)):
        found += [f"{tag.name} lacks {missing}" for tag in of if (missing := needed - set(tag.attributes))]
    found += [
        f"{tag.name} says {key}={value}"
        for tag in tags
        for key, value in tag.attributes.items()
        if not re.fullmatch(FORMS.get(key, r".+"), value)
    ]
    found += _variants(variants, key_frames, media)
    found += _groups(media)
    if any(line.startswith(OF_PLAYLIST_ALONE) for line in text.splitlines()):
        found.append("tags of media playlists")
    return found


def _head(text: str) -> Iterator[str]:
    lines = text.splitlines()
    if lines[0] != "#EXTM3U":
        yield "does not begin with #EXTM3U"
    if lines.count("#EXT-X-INDEPENDENT-SEGMENTS") != 1:
        yield "does not tell once that its segments are independent"
    versions = [int(line.partition(":")[2]) for line in lines if line.startswith("#EXT-X-VERSION:")]
    if len(versions) != 1 or versions[0] < 6:
        yield "EXT-X-MAP needs one EXT-X-VERSION of 6 or more"
    if not text.endswith("\n") or "\r" in text:
        yield "lines do not end as they should"


def _variants(variants: list[Tag], key_frames: list[Tag], media: list[Tag]) -> Iterator[str]:
    groups = {(tag.attributes["TYPE"], tag.attributes["GROUP-ID"]) for tag in media}
    if not variants or not key_frames:
        yield "no variant, or none of key frames"
    for tag in (*variants, *key_frames):
        if int(tag.attributes.get("AVERAGE-BANDWIDTH", 0)) > int(tag.attributes.get("BANDWIDTH", 0)):
            yield "the average is above the peak"
    for tag in variants:
        told = {(kind, tag.attributes[kind]) for kind in ("AUDIO", "SUBTITLES") if kind in tag.attributes}
        if told != groups:
            yield f"a variant names {told}, there is {groups}"
        if ("AUDIO" in tag.attributes) != ("mp4a." in tag.attributes.get("CODECS", "")):
            yield "CODECS do not tell of the sound"
    scored = ["SCORE" in tag.attributes for tag in variants]
    codecs = {tag.attributes.get("CODECS", "")[:4] for tag in variants}
    if any(scored) != all(scored) or (len(codecs) > 1 and not all(scored)):
        yield "several codecs need a SCORE on every variant"
    ids = [tag.attributes.get("STABLE-VARIANT-ID") for tag in (*variants, *key_frames)]
    if len(set(ids)) < len(ids):
        yield "STABLE-VARIANT-ID twice"


def _groups(media: list[Tag]) -> Iterator[str]:
    """4.4.6.1.1 of RFC 8216bis."""
    names = Counter((tag.attributes["TYPE"], tag.attributes["GROUP-ID"], tag.attributes.get("NAME")) for tag in media)
    chosen = [tag for tag in media if tag.attributes.get("AUTOSELECT") == "YES"]
    languages = Counter((tag.attributes["TYPE"], tag.attributes.get("LANGUAGE")) for tag in chosen)
    yield from (f"{name} twice" for name, count in (names + languages).items() if count > 1)
    for tag in media:
        if tag.attributes["TYPE"] == "AUDIO" and "CHANNELS" not in tag.attributes:
            yield "a sound does not tell its channels"
        if tag.attributes.get("DEFAULT") == "YES" and tag.attributes.get("AUTOSELECT") != "YES":
            yield "DEFAULT without AUTOSELECT"
        if "FORCED" in tag.attributes and tag.attributes["TYPE"] != "SUBTITLES":
            yield "FORCED of something that is not text"
    defaults = Counter(tag.attributes["TYPE"] for tag in media if tag.attributes.get("DEFAULT") == "YES")
    if any(count > 1 for count in defaults.values()):
        yield "two defaults in a group"
    if any(tag.attributes["TYPE"] == "AUDIO" for tag in media) and not defaults["AUDIO"]:
        yield "no sound is the default"


@dataclass(frozen=True, slots=True)
class Entry:
    """One segment: its duration in seconds, address, and first and last byte if it is a part of a file."""

    duration_s: Decimal
    url: str
    bytes: tuple[int, int] | None


@dataclass
class Playlist:
    """A media playlist as it is written; `map` is the init segment."""

    target_s: int = 0
    map: Entry | None = None
    entries: list[Entry] = field(default_factory=list)
    key_frames: bool = False

    @property
    def duration_s(self) -> Decimal:
        return sum((entry.duration_s for entry in self.entries), Decimal(0))


def playlist_of(text: str, url: str) -> Playlist:
    """Read a media playlist that was found at `url`."""
    made, duration, span = Playlist(), Decimal(0), None
    for line in text.splitlines():
        name, _, said = line.partition(":")
        match name:
            case "#EXT-X-TARGETDURATION":
                made.target_s = int(said)
            case "#EXT-X-I-FRAMES-ONLY":
                made.key_frames = True
            case "#EXT-X-MAP":
                told = attributes(said)
                made.map = Entry(Decimal(0), urljoin(url, told["URI"]), _span(told["BYTERANGE"]))
            case "#EXTINF":
                duration = Decimal(said.removesuffix(","))
            case "#EXT-X-BYTERANGE":
                span = _span(said)
            case _ if line and not line.startswith("#"):
                made.entries.append(Entry(duration, urljoin(url, line), span))
                span = None
    return made


def _span(text: str) -> tuple[int, int]:
    size, _, first = text.partition("@")
    return int(first), int(first) + int(size) - 1


def playlist_faults(text: str, url: str, *, texts: bool = False) -> list[str]:
    """Return what is wrong with a media playlist; `texts` for one of captions."""
    found, made = list(_head(text)) if not texts else [], playlist_of(text, url)
    lines = text.splitlines()
    for line in ("#EXTM3U", "#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-ENDLIST"):
        if lines.count(line) != 1:
            found.append(f"{line} is not there once")
    if lines[-1] != "#EXT-X-ENDLIST":
        found.append("does not end with its end")
    if "DISCONTINUITY" in text:
        found.append("a discontinuity")
    if made.map is None and not texts:
        found.append("no EXT-X-MAP")
    found += [
        f"{entry.duration_s} s in a target duration of {made.target_s}"
        for entry in made.entries
        if entry.duration_s <= 0 or int(entry.duration_s + Decimal("0.5")) > made.target_s
    ]
    return found


def peak_bps(sizes: list[int], durations_s: list[Decimal], target_s: int) -> Decimal:
    """Return the peak segment bit rate: of all runs that last 0.5 to 1.5 target durations (RFC 8216bis, 4.4.6.2)."""
    rates = [Decimal(0)]
    for first in range(len(sizes)):
        for end in range(first + 1, len(sizes) + 1):
            length_s = sum(durations_s[first:end], Decimal(0))
            if Decimal(target_s) / 2 <= length_s <= Decimal(target_s) * 3 / 2:
                rates.append(8 * sum(sizes[first:end]) / length_s)
    return max(rates)
