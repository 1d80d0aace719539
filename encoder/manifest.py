"""Pure: a Presentation to MPEG-DASH and HLS, for everybody or for one session; the one writer of manifests.

DASH after ISO/IEC 23009-1, HLS after RFC 8216 (bis) and Apple's authoring specification. All URLs are relative to the
fixed places of the manifests: `/<chapter>/...` for everybody, `/s/<capability>/<chapter>/...` for one session. A
personal manifest is final from the first second: only the segments of slots have addresses of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from encoder.model import Caption, Picture, Presentation, Rendition, Segment

ON_DEMAND, FULL = "urn:mpeg:dash:profile:isoff-on-demand:2011", "urn:mpeg:dash:profile:full:2011"
CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
Sets = tuple[tuple[Rendition, ...], ...]
CURVES = {"pq": 16, "hlg": 18}
NAMES = {"en": "English", "fr": "Français", "de": "Deutsch", "es": "Español", "it": "Italiano", "ar": "العربية"}


# --- MPEG-DASH ---------------------------------------------------------------------------------------------------


def dash(p: Presentation, *, personal: bool = False) -> str:
    """Return the MPD: on demand (`SegmentBase`) for everybody, one Period with `SegmentList` for a session."""
    duration = f"PT{_decimal(p.grid.duration_s)}S"
    segment_s = max(Fraction(s.duration, r.timescale) for r in p.renditions for s in r.segments)
    profile = FULL if personal or p.transparent else ON_DEMAND
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="{profile}" type="static"'
        f' mediaPresentationDuration="{duration}" minBufferTime="PT{_decimal(segment_s)}S">',
        f" <ProgramInformation><Title>{escape(p.title)}</Title></ProgramInformation>",
        f' <Period id="0" start="PT0S" duration="{duration}">',
        *_video_set(p, 0, p.videos if personal else p.dash_sets[0], personal),
        *(line for number, audio in enumerate(p.audios, start=1) for line in _audio_set(p, number, audio, personal)),
        *(line for number, videos in _other_sets(p, personal) for line in _video_set(p, number, videos, personal)),
        *(
            line
            for number, caption in _caption_sets(p, personal)
            for line in _caption_set(p, number, caption, personal)
        ),
        " </Period>",
        "</MPD>",
    ]
    return "\n".join(lines) + "\n"


def _other_sets(p: Presentation, personal: bool) -> Iterator[tuple[int, tuple[Rendition, ...]]]:
    """Number the sets of other codecs after all else; inserts are H.264 alone, so a session has no other set."""
    return iter(()) if personal else enumerate(p.dash_sets[1:], start=1 + len(p.audios))


def _video_set(p: Presentation, number: int, videos: tuple[Rendition, ...], personal: bool) -> Iterator[str]:
    """One codec; a client that can choose takes the later one, which needs fewer bytes."""
    largest = videos[0].picture
    assert largest is not None
    alignment = (
        'segmentAlignment="true" startWithSAP="1"'
        if personal
        else 'segmentAlignment="true" subsegmentAlignment="true" subsegmentStartsWithSAP="1"'
    )
    preference = _preference(p.dash_sets, videos[0])
    priority = f' selectionPriority="{1 + preference}"' if preference else ""
    yield (
        f'  <AdaptationSet id="{number}" contentType="video" mimeType="{videos[0].mime}" {alignment}'
        f' maxWidth="{largest.width}" maxHeight="{largest.height}" maxFrameRate="{_rate(largest.rate)}"{priority}>'
    )
    yield from _light(largest)
    yield '   <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>'
    for video in videos:
        assert video.picture is not None
        picture = video.picture
        yield (
            f'   <Representation id="{video.id}" codecs="{video.codecs}" width="{picture.width}"'
            f' height="{picture.height}" frameRate="{_rate(picture.rate)}" sar="1:1" bandwidth="{video.bandwidth_bps}">'
        )
        yield from _segment_list(p, video) if personal else _segment_base(_shared(p, video, 0), video)
        yield "   </Representation>"
    yield "  </AdaptationSet>"


def _light(picture: Picture) -> Iterator[str]:
    """BT.2100 in the numbers of ITU-T H.273: who does not know them takes another set (ISO/IEC 23009-1, 5.8.5)."""
    if picture.transfer == "sdr":
        return
    for name, number in (
        ("ColourPrimaries", 9),
        ("TransferCharacteristics", CURVES[picture.transfer]),
        ("MatrixCoefficients", 9),
    ):
        yield f'   <EssentialProperty schemeIdUri="urn:mpeg:mpegB:cicp:{name}" value="{number}"/>'


def _caption_sets(p: Presentation, personal: bool) -> Iterator[tuple[int, Caption]]:
    before = 1 + len(p.audios) + (0 if personal else len(p.dash_sets) - 1)
    return enumerate(p.captions, start=before)


def _caption_set(p: Presentation, number: int, caption: Caption, personal: bool) -> Iterator[str]:
    """One whole WebVTT file (ISO/IEC 23009-1, 5.3.9.2: a Representation of a single self-initializing segment)."""
    up = "../" * 3 + quote(p.chapter) + "/" if personal else ""
    yield (f'  <AdaptationSet id="{number}" contentType="text" mimeType="text/vtt" lang={quoteattr(caption.language)}>')
    yield f"   <Label>{escape(_name(caption.language))}</Label>"
    yield '   <Role schemeIdUri="urn:mpeg:dash:role:2011" value="subtitle"/>'
    yield f'   <Representation id="{caption.id}" bandwidth="1000">'
    yield f"    <BaseURL>{escape(up + quote(p.version) + '/' + quote(caption.file))}</BaseURL>"
    yield "   </Representation>"
    yield "  </AdaptationSet>"


def _audio_set(p: Presentation, number: int, audio: Rendition, personal: bool) -> Iterator[str]:
    """Sound is not personal: in both manifests it is the same file with the same index."""
    assert audio.sound is not None
    sound = audio.sound
    yield (
        f'  <AdaptationSet id="{number}" contentType="audio" mimeType="audio/mp4" lang={quoteattr(sound.language)}'
        ' segmentAlignment="true" subsegmentAlignment="true" subsegmentStartsWithSAP="1">'
    )
    yield f"   <Label>{escape(_name(sound.language))}</Label>"
    yield f'   <Role schemeIdUri="urn:mpeg:dash:role:2011" value="{"main" if number == 1 else "dub"}"/>'
    yield (
        f'   <Representation id="{audio.id}" codecs="{audio.codecs}" audioSamplingRate="{sound.sample_rate_hz}"'
        f' bandwidth="{audio.bandwidth_bps}">'
    )
    yield f'    <AudioChannelConfiguration schemeIdUri="{CHANNELS}" value="{sound.channels}"/>'
    yield from _segment_base(_shared(p, audio, 3 if personal else 0), audio)
    yield "   </Representation>"
    yield "  </AdaptationSet>"


def _segment_base(url: str, r: Rendition) -> Iterator[str]:
    index = f"{r.index_offset}-{r.index_offset + r.index_size - 1}"
    yield f"    <BaseURL>{escape(url)}</BaseURL>"
    yield f'    <SegmentBase indexRange="{index}" timescale="{r.timescale}">'
    yield f'     <Initialization range="0-{r.init_size - 1}"/>'
    yield "    </SegmentBase>"


def _segment_list(p: Presentation, r: Rendition) -> Iterator[str]:
    """Shared byte ranges outside the slots, one address per segment inside them."""
    shared, own = quoteattr(_shared(p, r, 3)), p.personal_segments
    ticks = p.grid.frames_per_segment * r.timescale / p.grid.rate
    yield f'    <SegmentList timescale="{r.timescale}" duration="{int(ticks)}">'
    yield f'     <Initialization sourceURL={shared} range="0-{r.init_size - 1}"/>'
    for number, segment in enumerate(r.segments):
        if number in own:
            yield f"     <SegmentURL media={quoteattr(f'{quote(p.version)}/{r.id}/{number}.m4s')}/>"
        else:
            yield f'     <SegmentURL media={shared} mediaRange="{_range(segment)}"/>'
    yield "    </SegmentList>"


# --- HLS ---------------------------------------------------------------------------------------------------------


def hls_multivariant(p: Presentation, *, personal: bool = False) -> str:
    """Return the multivariant playlist; a personal one leads to personal video playlists and the shared sound."""
    sets = (p.videos,) if personal else p.video_sets
    return _multivariant(p, sets, personal=personal)


def hls_layered(p: Presentation) -> str:
    """Return the multivariant playlist of a transparent chapter for Apple's players: HEVC with alpha.

    It is one of its own, since nothing in a playlist tells a player that stacked pictures need a page.
    """
    return _multivariant(p, (p.layered_hevc,))


def _multivariant(p: Presentation, sets: Sets, *, personal: bool = False) -> str:
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for number, audio in enumerate(p.audios):
        lines.append(_media_tag(p, audio, first=number == 0, personal=personal))
    lines += [_caption_tag(p, caption, personal=personal) for caption in p.captions]
    for video in (video for videos in sets for video in videos):
        lines += [_variant_tag(p, video, sets, personal), f"{quote(p.version)}/{video.id}.m3u8"]
    return "\n".join(lines) + "\n"


def _media_tag(p: Presentation, audio: Rendition, *, first: bool, personal: bool) -> str:
    assert audio.sound is not None
    sound, up = audio.sound, f"../../../{quote(p.chapter)}/" if personal else ""
    language = f'LANGUAGE="{sound.language}",' if sound.language != "und" else ""
    return (
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="{_name(sound.language)}",{language}AUTOSELECT=YES,'
        f'DEFAULT={"YES" if first else "NO"},CHANNELS="{sound.channels}",URI="{up}{quote(p.version)}/{audio.id}.m3u8"'
    )


def _score(sets: Sets, video: Rendition) -> str:
    """A larger picture is better, and of two equal ones the one in fewer bytes (RFC 8216bis, 4.4.6.2)."""
    if len(sets) == 1:
        return ""
    assert video.picture is not None
    heights = sorted({r.picture.height for videos in sets for r in videos if r.picture})
    rank = len(sets) * heights.index(video.picture.height) + 1 + _preference(sets, video)
    return f"SCORE={rank}.0,"


def _variant_tag(p: Presentation, video: Rendition, sets: Sets, personal: bool) -> str:
    assert video.picture is not None
    picture, audios = video.picture, p.audios
    peak = video.bandwidth_bps + max((a.bandwidth_bps for a in audios), default=0)
    average = video.average_bandwidth_bps + max((a.average_bandwidth_bps for a in audios), default=0)
    codecs = ",".join([video.codecs, *sorted({a.codecs for a in audios})])
    return (
        f"#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},{_score(sets, video)}"
        f'CODECS="{codecs}",'
        f"RESOLUTION={picture.width}x{picture.height},FRAME-RATE={float(picture.rate):.3f}{_video_range(p, picture)}"
        + (',AUDIO="audio"' if audios else "")
        + (',SUBTITLES="captions"' if p.captions else "")
        + ",CLOSED-CAPTIONS=NONE"
    )


def _video_range(p: Presentation, picture: Picture) -> str:
    """Told of all variants as soon as one is not SDR, which is what no word means (RFC 8216bis, 4.4.6.2)."""
    is_wide = any(r.picture and r.picture.transfer != "sdr" for r in p.renditions)
    return f",VIDEO-RANGE={picture.transfer.upper()}" if is_wide else ""


def _caption_tag(p: Presentation, caption: Caption, *, personal: bool) -> str:
    up = f"../../../{quote(p.chapter)}/" if personal else ""
    return (
        f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="captions",NAME="{_name(caption.language)}",'
        f'LANGUAGE="{caption.language}",AUTOSELECT=YES,DEFAULT=NO,FORCED=NO,'
        f'URI="{up}{quote(p.version)}/{caption.id}.m3u8"'
    )


def hls_captions(p: Presentation, caption: Caption) -> str:
    """Return the playlist of one language's captions: the whole file as one segment (RFC 8216bis, 3.1.4)."""
    duration = _decimal(p.grid.duration_s, fixed=True)
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{-(-p.grid.duration_s // 1)}"]
    lines += ["#EXT-X-PLAYLIST-TYPE:VOD", f"#EXTINF:{duration},", quote(caption.file), "#EXT-X-ENDLIST"]
    return "\n".join(lines) + "\n"


def hls_media(p: Presentation, rendition_id: str, *, personal: bool = False) -> str:
    """Return one rendition's playlist; raises KeyError if the presentation has no such rendition, or as WebM only."""
    r = p.rendition(rendition_id)
    if r is None or r.mime == "video/webm":
        raise KeyError(rendition_id)
    own = p.personal_segments if personal and r.picture else frozenset()
    shared = _shared(p, r, 4) if personal else quote(r.file)
    target = max(round(Fraction(s.duration, r.timescale)) for s in r.segments)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{max(1, target)}",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{shared}",BYTERANGE="{r.init_size}@0"',
    ]
    for number, segment in enumerate(r.segments):
        lines.append(f"#EXTINF:{_decimal(Fraction(segment.duration, r.timescale), fixed=True)},")
        if number in own:
            lines.append(f"{r.id}/{number}.m4s")
        else:
            lines += [f"#EXT-X-BYTERANGE:{segment.size}@{segment.offset}", shared]
    return "\n".join([*lines, "#EXT-X-ENDLIST"]) + "\n"


# --- words both formats share ------------------------------------------------------------------------------------


def _shared(p: Presentation, r: Rendition, up: int) -> str:
    """Return the address of a file from a manifest `up` folders below the root (0: from the chapter's own)."""
    path = f"{quote(p.version)}/{quote(r.file)}"
    return f"{'../' * up}{quote(p.chapter)}/{path}" if up else path


def _preference(sets: Sets, video: Rendition) -> int:
    """Return 0 for H.264, and the more, the fewer bytes a codec needs."""
    place = next((i for i, videos in enumerate(sets) if video in videos), 0)
    return -place % len(sets)


def _range(segment: Segment) -> str:
    return f"{segment.offset}-{segment.offset + segment.size - 1}"


def _rate(rate: Fraction) -> str:
    return f"{rate.numerator}/{rate.denominator}" if rate.denominator > 1 else str(rate.numerator)


def _decimal(seconds: Fraction, *, fixed: bool = False) -> str:
    """Return seconds with microseconds, rounded half up; trailing zeros only where `fixed`."""
    micro = int(seconds * 1_000_000 + Fraction(1, 2))
    text = f"{micro // 1_000_000}.{micro % 1_000_000:06d}"
    return text if fixed else text.rstrip("0").rstrip(".")


def _name(language: str) -> str:
    """Return the language's own name for people, or its tag; quotes would end an attribute of HLS."""
    name = NAMES.get(language.split("-", maxsplit=1)[0], language)
    return "Original" if name == "und" else name.replace('"', "'")
