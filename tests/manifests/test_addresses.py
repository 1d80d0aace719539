"""Every address and byte range of every manifest, fetched from a running server: it starts where the manifest says."""

from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ET
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from urllib.parse import urljoin

import pytest

from encoder.bitstreams import codecs_of
from encoder.boxes import boxes, decode_time, edit_start, find, read_samples
from tests.manifests.conftest import Site
from tests.manifests.dashrules import NAMESPACE, Media, faults_of, media_of, seconds
from tests.manifests.hlsrules import (
    Playlist,
    Tag,
    multivariant_faults,
    peak_bps,
    playlist_faults,
    playlist_of,
    tags_of,
)

EVERYBODY_AND_SESSION = pytest.mark.parametrize("personal", [False, True], ids=["everybody", "session"])
IMMUTABLE = "public, max-age=31536000, immutable"


def mpd_of(site: Site, personal: bool) -> str:
    answer = site.get(site.base(personal=personal) + "stream.mpd")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/dash+xml")
    return answer.body.decode()


def multivariant_of(site: Site, personal: bool) -> str:
    answer = site.get(site.base(personal=personal) + "master.m3u8")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/vnd.apple.mpegurl")
    return answer.body.decode()


def part(site: Site, url: str, span: tuple[int, int] | None) -> bytes:
    """Return a byte range, which must come as such, or a whole address."""
    answer = site.get(url, span)
    if span is None:
        assert answer.status == 200, url
        return answer.body
    first, last = span
    assert answer.status == 206, url
    assert answer.headers["Content-Range"].startswith(f"bytes {first}-{last}/")
    assert len(answer.body) == last - first + 1
    return answer.body


def size_of(site: Site, url: str) -> int:
    return int(site.get(url, (0, 0)).headers["Content-Range"].rpartition("/")[2])


def types(data: bytes) -> list[bytes]:
    return [box.type for box in boxes(data)]


def index_of(data: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Read a whole sidx (ISO/IEC 14496-12, 8.16.3): timescale and (bytes, ticks) of every subsegment, each a SAP 1."""
    (box,) = boxes(data)
    assert box.type == b"sidx"
    version, timescale = data[box.body], struct.unpack_from(">I", data, box.body + 8)[0]
    times = struct.unpack_from(">II" if version == 0 else ">QQ", data, box.body + 12)
    assert times == (0, 0)
    at = box.body + (20 if version == 0 else 28)
    entries = [struct.unpack_from(">III", data, at + 4 + 12 * n) for n in range(int.from_bytes(data[at + 2 : at + 4]))]
    assert at + 4 + 12 * len(entries) == box.end
    assert all(reference >> 31 == 0 and sap >> 28 == 0b1001 for reference, _, sap in entries)
    return timescale, [(reference, ticks) for reference, ticks, _ in entries]


def timescale_of(init: bytes) -> int:
    mdhd = find(init, b"moov", b"trak", b"mdia", b"mdhd")
    return int(struct.unpack_from(">I", init, mdhd.body + (20 if init[mdhd.body] else 12))[0])


def shown(fragment: bytes, early: int) -> tuple[int, int]:
    """Return when a fragment begins to be presented, and for how many ticks."""
    begins = decode_time(fragment) - early
    ends = begins + sum(sample.duration for sample in read_samples(fragment))
    return max(0, begins), ends - max(0, begins)


@EVERYBODY_AND_SESSION
def test_the_mpd_keeps_all_rules(site: Site, personal: bool):
    assert faults_of(mpd_of(site, personal), personal=personal) == []


@EVERYBODY_AND_SESSION
def test_everything_in_the_mpd_lies_where_it_says(site: Site, personal: bool):
    text = mpd_of(site, personal)
    root, named = ET.fromstring(text), defaultdict[str, list[Media]](list)
    for one in media_of(text, site.base(personal=personal)):
        named[one.representation].append(one)
    buffer_s = seconds(root.get("minBufferTime", ""))
    for each in root.iter(f"{NAMESPACE}Representation"):
        found, bandwidth = named[each.get("id", "")], int(each.get("bandwidth", 0))
        if any(one.kind == "whole" for one in found):
            for one in found:
                answer = site.get(one.url)
                assert answer.status == 200
                assert 8 * len(answer.body) <= bandwidth * buffer_s
            continue
        (init,) = (one for one in found if one.kind == "init")
        start = part(site, init.url, init.bytes)
        timed = (_indexed if found[0].kind == "index" else _listed)(site, found, start)
        assert types(start) == [b"ftyp", b"moov"]
        assert codecs_of(start) == each.get("codecs")
        holds(timed, bandwidth, buffer_s)
        total_s, whole_s = sum(s for _, s in timed), seconds(root.get("mediaPresentationDuration", ""))
        assert abs(total_s - whole_s) < Fraction(1024, 48000)


def _indexed(site: Site, found: list[Media], init: bytes) -> list[tuple[int, Fraction]]:
    """Follow the index; return bytes and seconds of every subsegment."""
    index = found[0]
    assert index.bytes is not None
    timescale, subsegments = index_of(part(site, index.url, index.bytes))
    at, ticks = index.bytes[1] + 1, 0
    for size, duration in subsegments:
        fragment = part(site, index.url, (at, at + size - 1))
        assert types(fragment) == [b"moof", b"mdat"]
        assert shown(fragment, edit_start(init)) == (ticks, duration)
        at, ticks = at + size, ticks + duration
    assert at == size_of(site, index.url)
    return [(size, Fraction(duration, timescale)) for size, duration in subsegments]


def _listed(site: Site, found: list[Media], init: bytes) -> list[tuple[int, Fraction]]:
    """Fetch a list of segments; return bytes and seconds of each."""
    ticks, timed = 0, []
    for one in (one for one in found if one.kind == "segment"):
        fragment = part(site, one.url, one.bytes)
        assert types(fragment) == [b"moof", b"mdat"]
        begins, duration = shown(fragment, edit_start(init))
        assert begins == ticks
        ticks += duration
        timed.append((len(fragment), Fraction(duration, timescale_of(init))))
    return timed


def holds(timed: list[tuple[int, Fraction]], bandwidth_bps: int, buffer_s: Fraction) -> None:
    """Whoever begins at any segment after `buffer_s` at this rate never waits (ISO/IEC 23009-1, 5.3.5.2)."""
    for first in range(len(timed)):
        bits, played_s = 0, Fraction(0)
        for size, length_s in timed[first:]:
            bits += 8 * size
            assert bits <= bandwidth_bps * (buffer_s + played_s)
            played_s += length_s


@EVERYBODY_AND_SESSION
def test_the_multivariant_playlist_keeps_all_rules(site: Site, personal: bool):
    assert multivariant_faults(multivariant_of(site, personal)) == []


@EVERYBODY_AND_SESSION
def test_everything_in_the_playlists_lies_where_it_says_and_needs_no_more_than_it_says(site: Site, personal: bool):
    base, rates = site.base(personal=personal), dict[str, tuple[Decimal, Decimal]]()
    text, targets = multivariant_of(site, personal), set[int]()
    for tag in tags_of(text):
        if uri := tag.uri or tag.attributes.get("URI"):
            url = urljoin(base, uri)
            texts = tag.attributes.get("TYPE") == "SUBTITLES"
            playlist, sizes = _playlist(site, url, tag, texts=texts)
            times_s = [entry.duration_s for entry in playlist.entries]
            peak = peak_bps(sizes, times_s, playlist.target_s)
            rates[uri] = peak, 8 * sum(sizes) / playlist.duration_s
            targets |= set() if texts or playlist.key_frames else {playlist.target_s}
            assert abs(playlist.duration_s - Decimal(133 * 1001) / 30000) < Decimal("0.03")
    assert len(targets) == 1
    _rates_hold(tags_of(text), rates)


def _playlist(site: Site, url: str, tag: Tag, *, texts: bool) -> tuple[Playlist, list[int]]:
    """Fetch a media playlist and all that it names; return it with the bytes of every segment."""
    answer = site.get(url)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/vnd.apple.mpegurl")
    assert playlist_faults(answer.body.decode(), url, texts=texts) == []
    playlist = playlist_of(answer.body.decode(), url)
    assert playlist.key_frames == (tag.name == "#EXT-X-I-FRAME-STREAM-INF")
    if texts:
        (entry,) = playlist.entries
        assert site.get(entry.url).body.startswith(b"WEBVTT\n")
        return playlist, [len(site.get(entry.url).body)]
    assert playlist.map is not None
    init = part(site, playlist.map.url, playlist.map.bytes)
    assert types(init) == [b"ftyp", b"moov"]
    codecs = tag.attributes.get("CODECS", codecs_of(init)).split(",")
    assert codecs_of(init) == codecs[0]
    return playlist, _segments(site, playlist, init)


def _segments(site: Site, playlist: Playlist, init: bytes) -> list[int]:
    sizes, ticks = [], 0
    for entry in playlist.entries:
        fragment = part(site, entry.url, entry.bytes)
        assert types(fragment) == [b"moof", b"mdat"]
        samples = read_samples(fragment)
        assert samples[0].sync
        assert len(samples) == 1 or not playlist.key_frames
        begins, duration = shown(fragment, edit_start(init))
        assert begins == ticks
        assert abs(entry.duration_s - Decimal(duration) / timescale_of(init)) < Decimal("0.000001")
        sizes.append(len(fragment))
        ticks += duration
    return sizes


def _rates_hold(tags: list[Tag], rates: dict[str, tuple[Decimal, Decimal]]) -> None:
    """BANDWIDTH is the peak of the worst combination of renditions; averages are true (RFC 8216bis, 4.4.6.2)."""
    beside = [Decimal(0), Decimal(0)]
    for kind in ("AUDIO", "SUBTITLES"):
        of_kind = [rates[tag.attributes["URI"]] for tag in tags if tag.attributes.get("TYPE") == kind]
        beside = [beside[i] + max(rate[i] for rate in of_kind) for i in (0, 1)]
    for tag in tags:
        if "BANDWIDTH" not in tag.attributes:
            continue
        more = beside if tag.name == "#EXT-X-STREAM-INF" else [Decimal(0), Decimal(0)]
        peak, average = rates[tag.uri or tag.attributes["URI"]]
        assert peak + more[0] <= int(tag.attributes["BANDWIDTH"])
        assert average + more[1] <= int(tag.attributes["AVERAGE-BANDWIDTH"]) + 1


def test_the_storyboard_shows_where_each_of_its_pictures_lies(site: Site):
    p, base = site.presentation, site.base(personal=False) + site.presentation.version + "/"
    assert p.storyboard is not None
    answer = site.get(base + "storyboard.vtt")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/vtt; charset=utf-8")
    assert answer.headers["Cache-Control"] == IMMUTABLE
    cues = answer.body.decode().split("\n\n")[1:]
    assert len(cues) == p.storyboard.pictures == 5
    for cue in cues:
        file, _, place = cue.strip().splitlines()[1].partition("#xywh=")
        x, y, w, h = map(int, place.split(","))
        sheet = site.get(base + file)
        assert sheet.headers["Content-Type"] == "image/jpeg"
        width, height = jpeg_size(sheet.body)
        assert x + w <= width
        assert y + h <= height


def test_the_poster_is_a_picture_as_large_as_the_film(site: Site):
    p = site.presentation
    answer = site.get(f"{site.base(personal=False)}{p.version}/poster.jpg")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert answer.headers["Cache-Control"] == IMMUTABLE
    assert jpeg_size(answer.body) == (320, 180)


def test_pages_are_told_of_markers_and_poster(site: Site):
    (chapter,) = json.loads(site.get("http://here/api/chapters").body)["chapters"]
    assert chapter["markers"] == [{"at_s": 1.5, "title": "The door"}]
    assert chapter["poster"] == f"{site.presentation.version}/poster.jpg"


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Read width and height from a JPEG's frame header (ITU-T T.81, B.2.2)."""
    at = 2
    while data[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    height, width = struct.unpack_from(">HH", data, at + 5)
    return width, height
