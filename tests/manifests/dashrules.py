"""What ISO/IEC 23009-1 and DASH-IF's interoperability points (IOP 4.3) ask of a static MPD that a program can see.

`faults_of` looks at the text alone; `media_of` names every address and byte range in it, for a test to fetch.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from urllib.parse import urljoin

NAMESPACE = "{urn:mpeg:dash:schema:mpd:2011}"
ON_DEMAND, FULL = "urn:mpeg:dash:profile:isoff-on-demand:2011", "urn:mpeg:dash:profile:full:2011"
TRICK, TILES = "http://dashif.org/guidelines/trickmode", "http://dashif.org/guidelines/thumbnail_tile"
# Order of children (annex B), as far as elements occur here.
COMMON = ("AudioChannelConfiguration", "EssentialProperty", "SupplementalProperty", "Label")
SEGMENTS = ("SegmentBase", "SegmentList", "SegmentTemplate")
CHILDREN = {
    "MPD": ("ProgramInformation", "BaseURL", "Period"),
    "ProgramInformation": ("Title",),
    "Period": ("BaseURL", "EventStream", "AdaptationSet"),
    "AdaptationSet": (*COMMON, "Role", "BaseURL", *SEGMENTS, "Representation"),
    "Representation": (*COMMON, "BaseURL", *SEGMENTS),
    "SegmentBase": ("Initialization",),
    "SegmentList": ("Initialization", "SegmentURL"),
}
# The attributes of annex B that occur here, with the form of their values.
DURATION, NUMBER, RATE, RATIO = r"PT\d+(\.\d+)?S", r"\d+", r"\d+(/[1-9]\d*)?", r"\d+:\d+"
RANGE, LANGUAGE, WORD = r"\d+-\d+", r"[a-zA-Z]{1,8}(-[a-zA-Z0-9]{1,8})*", r"\S+"
SAP, TRUE, FALSE = "1", "true", "false"
DESCRIPTORS = ("Role", "EssentialProperty", "AudioChannelConfiguration")
ATTRIBUTES: dict[str, dict[str, str]] = {
    "MPD": {
        "profiles": r"urn:\S+",
        "type": "static",
        **dict.fromkeys(("mediaPresentationDuration", "maxSegmentDuration", "minBufferTime"), DURATION),
    },
    "Period": {"id": WORD, "start": DURATION, "duration": DURATION},
    "AdaptationSet": {
        **dict.fromkeys(("id", "maxWidth", "maxHeight", "selectionPriority"), NUMBER),
        "profiles": r"urn:\S+",
        "contentType": "video|audio|text|image",
        "mimeType": r"\w+/\w+",
        "lang": LANGUAGE,
        "par": RATIO,
        "maxFrameRate": RATE,
        "segmentAlignment": TRUE,
        "startWithSAP": SAP,
        "subsegmentAlignment": TRUE,
        "subsegmentStartsWithSAP": SAP,
        "maxPlayoutRate": r"\d+(\.\d+)?",
        "codingDependency": FALSE,
    },
    "Representation": {
        **dict.fromkeys(("bandwidth", "width", "height", "audioSamplingRate"), NUMBER),
        "id": WORD,
        "codecs": r"[a-z0-9]{4}\.[A-Za-z0-9.]+",
        "frameRate": RATE,
        "sar": RATIO,
    },
    "SegmentBase": {"indexRange": RANGE, "indexRangeExact": TRUE, "timescale": NUMBER},
    "SegmentList": {"timescale": NUMBER, "duration": NUMBER},
    "SegmentTemplate": {"timescale": NUMBER, "duration": NUMBER, "startNumber": NUMBER, "media": r"\S*\$Number\$\S*"},
    "Initialization": {"sourceURL": WORD, "range": RANGE},
    "SegmentURL": {"media": WORD, "mediaRange": RANGE},
    **{name: {"schemeIdUri": WORD, "value": r".+"} for name in DESCRIPTORS},
}
REQUIRED = {
    "MPD": {"profiles", "type", "mediaPresentationDuration", "minBufferTime", "maxSegmentDuration"},
    "AdaptationSet": {"id", "contentType", "mimeType"},
    "Representation": {"id", "bandwidth"},
    "SegmentTemplate": {"media", "duration", "timescale", "startNumber"},
    **{name: {"schemeIdUri", "value"} for name in DESCRIPTORS},
}
# DASH-IF IOP 4.3, 3.2.4: of a set, and of each of its Representations.
OF_CONTENT = {
    "video": (
        {"par", "maxWidth", "maxHeight", "maxFrameRate", "segmentAlignment"},
        {"codecs", "width", "height", "frameRate", "sar"},
    ),
    "audio": ({"lang", "segmentAlignment"}, {"codecs", "audioSamplingRate"}),
    "text": ({"lang"}, set[str]()),
    "image": (set[str](), {"width", "height"}),
}


def faults_of(text: str, *, personal: bool) -> list[str]:
    """Return in sentences what is wrong with an MPD."""
    root = ET.fromstring(text)
    found = [*_grammar(root), *_identities(root), *_profiles(root, personal)]
    if found:
        return found
    for one in root.iter(f"{NAMESPACE}AdaptationSet"):
        found += [f"set {one.get('id')}: {fault}" for fault in (*_set(one), *_addressing(one, root, personal))]
        found += [f"set {one.get('id')}: {fault}" for fault in _special(one, root)]
    found += _times(root)
    return found


def _name(element: ET.Element) -> str:
    return element.tag.removeprefix(NAMESPACE)


def _grammar(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        name = _name(element)
        order = CHILDREN.get(name, ())
        children = [_name(child) for child in element]
        if unknown := set(children) - set(order):
            yield f"{name} holds {unknown}"
        elif children != sorted(children, key=order.index):
            yield f"children of {name} in the order {children}"
        for key, value in element.attrib.items():
            if not re.fullmatch(ATTRIBUTES.get(name, {}).get(key, r"(?!)"), value):
                yield f"{name}@{key}={value!r}"
        if missing := REQUIRED.get(name, set()) - set(element.attrib):
            yield f"{name} lacks {missing}"


def _identities(root: ET.Element) -> Iterator[str]:
    for name in ("AdaptationSet", "Representation"):
        ids = [element.get("id") for element in root.iter(f"{NAMESPACE}{name}")]
        if len(set(ids)) < len(ids):
            yield f"{name}@id twice: {ids}"
    if len(list(root.iter(f"{NAMESPACE}Period"))) != 1:
        yield "not one Period"


def _profiles(root: ET.Element, personal: bool) -> Iterator[str]:
    said = root.get("profiles", "").split(",")
    if personal and ON_DEMAND in said:
        yield "a list of segments is not of the on-demand profile"
    if not personal and ON_DEMAND not in said:
        yield "not of the on-demand profile"
    for element in root.iter():
        if element is not root and not set(element.get("profiles", said[0]).split(",")) <= set(said):
            yield f"{_name(element)}@profiles is no part of MPD@profiles"


def _set(one: ET.Element) -> Iterator[str]:
    of_set, of_each = OF_CONTENT[one.get("contentType", "video")]
    if missing := of_set - set(one.attrib):
        yield f"lacks {missing}"
    if one.get("contentType") != "image" and one.find(f"{NAMESPACE}Role") is None:
        yield "has no Role"
    if one.get("contentType") in ("audio", "text") and not one.findtext(f"{NAMESPACE}Label"):
        yield "has no Label"
    for each in one.findall(f"{NAMESPACE}Representation"):
        if missing := of_each - set(each.attrib):
            yield f"{each.get('id')} lacks {missing}"
        if one.get("contentType") == "audio" and each.find(f"{NAMESPACE}AudioChannelConfiguration") is None:
            yield f"{each.get('id')} does not tell its channels"
        for key, most in (("width", "maxWidth"), ("height", "maxHeight")):
            if one.get(most) and int(each.get(key, 0)) > int(one.get(most, 0)):
                yield f"{each.get('id')} is larger than {most}"
        if one.get("maxFrameRate") and Fraction(each.get("frameRate", 0)) > Fraction(one.get("maxFrameRate", 0)):
            yield f"{each.get('id')} is faster than maxFrameRate"


def _addressing(one: ET.Element, root: ET.Element, personal: bool) -> Iterator[str]:
    """8.3 for sets of the on-demand profile; a personal main set is a list of segments."""
    if one.get("contentType") not in ("video", "audio"):
        if not personal and ON_DEMAND in one.get("profiles", root.get("profiles", "")):
            yield "is not of the on-demand profile, and does not say so"
        return
    for each in one.findall(f"{NAMESPACE}Representation"):
        listed, base = each.find(f"{NAMESPACE}SegmentList"), each.find(f"{NAMESPACE}SegmentBase")
        if personal and one.get("id") == "0":
            if listed is None or not {"timescale", "duration"} <= set(listed.attrib):
                yield f"{each.get('id')} has no list of segments with its timescale and duration"
            if one.get("startWithSAP") is None:
                yield "does not tell startWithSAP"
            continue
        if base is None or "indexRange" not in base.attrib or base.find(f"{NAMESPACE}Initialization") is None:
            yield f"{each.get('id')} has no SegmentBase with index and initialization"
        if one.get("subsegmentAlignment") is None or one.get("subsegmentStartsWithSAP") is None:
            yield "does not tell subsegmentAlignment and subsegmentStartsWithSAP"
        if each.find(f"{NAMESPACE}BaseURL") is None:
            yield f"{each.get('id')} has no BaseURL"


def _special(one: ET.Element, root: ET.Element) -> Iterator[str]:
    """Trick mode (IOP 4.3, 3.2.9) and thumbnails (6.2.6)."""
    ids = {other.get("id") for other in root.iter(f"{NAMESPACE}AdaptationSet") if other is not one}
    told = {e.get("schemeIdUri"): e.get("value", "") for e in one.iter(f"{NAMESPACE}EssentialProperty")}
    if TRICK in told:
        if told[TRICK] not in ids:
            yield "trick mode of a set that does not exist"
        if one.get("codingDependency") != "false" or one.get("maxPlayoutRate") is None:
            yield "trick mode without codingDependency and maxPlayoutRate"
    if one.get("contentType") == "image" and not re.fullmatch(r"\d+x\d+", told.get(TILES, "")):
        yield "does not tell how its pictures are laid on the sheet"


def _times(root: ET.Element) -> Iterator[str]:
    whole_s = seconds(root.get("mediaPresentationDuration", ""))
    (period,) = root.iter(f"{NAMESPACE}Period")
    if seconds(period.get("duration", "")) != whole_s:
        yield "the Period is not as long as the presentation"
    for listed in root.iter(f"{NAMESPACE}SegmentList"):
        each_s = Fraction(int(listed.get("duration", 0)), int(listed.get("timescale", 1)))
        count = len(listed.findall(f"{NAMESPACE}SegmentURL"))
        if not (count - 1) * each_s < whole_s + Fraction(1, 1_000_000) <= count * each_s + Fraction(1, 500_000):
            yield f"{count} segments of {each_s} s in {whole_s} s"
        if each_s > seconds(root.get("maxSegmentDuration", "")) + Fraction(1, 1_000_000):
            yield "a segment is longer than maxSegmentDuration"


def seconds(duration: str) -> Fraction:
    """Return the seconds of an xs:duration of seconds alone."""
    return Fraction(duration.removeprefix("PT").removesuffix("S"))


@dataclass(frozen=True, slots=True)
class Media:
    """One thing to fetch: `kind` is "init", "index", "segment" (numbered) or "whole"; first and last byte, if told."""

    representation: str
    kind: str
    url: str
    bytes: tuple[int, int] | None = None
    number: int = 0


def media_of(text: str, base: str) -> list[Media]:
    """Return everything that an MPD names, with absolute addresses, Representation by Representation."""
    root, found = ET.fromstring(text), []
    whole_s = seconds(root.get("mediaPresentationDuration", ""))
    for each in root.iter(f"{NAMESPACE}Representation"):
        name, url = each.get("id", ""), urljoin(base, each.findtext(f"{NAMESPACE}BaseURL") or "")
        if (single := each.find(f"{NAMESPACE}SegmentBase")) is not None:
            found.append(Media(name, "index", url, _range(single.get("indexRange"))))
        initialization = each.find(f".//{NAMESPACE}Initialization")
        if initialization is not None:
            source = urljoin(url, initialization.get("sourceURL", ""))
            found.append(Media(name, "init", source, _range(initialization.get("range"))))
        for number, segment in enumerate(each.iter(f"{NAMESPACE}SegmentURL")):
            address = urljoin(url, segment.get("media", ""))
            found.append(Media(name, "segment", address, _range(segment.get("mediaRange")), number))
        if (sheets := each.find(f"{NAMESPACE}SegmentTemplate")) is not None:
            each_s = Fraction(int(sheets.get("duration", 0)), int(sheets.get("timescale", 1)))
            for number in range(1, -(-whole_s // each_s) + 1):
                address = urljoin(url, sheets.get("media", "").replace("$Number$", str(number)))
                found.append(Media(name, "whole", address, number=number))
        elif initialization is None:
            found.append(Media(name, "whole", url))
    return found


def _range(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, last = text.split("-")
    return int(first), int(last)
