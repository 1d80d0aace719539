"""Pure: a Presentation to MPEG-DASH and HLS, for everybody or for one session; the one writer of manifests.

DASH after ISO/IEC 23009-1, HLS after RFC 8216 (bis) and Apple's authoring specification. All URLs are relative to the
fixed places of the manifests: `/<chapter>/...` for everybody, `/s/<capability>/<chapter>/...` for one session. A
personal manifest is final from the first second: only the segments of slots have addresses of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from fractions import Fraction
from functools import partial
from math import ceil
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from encoder.model import Caption, Picture, Presentation, Rendition, Segment, Sound, Storyboard, target_s

ON_DEMAND, FULL = "urn:mpeg:dash:profile:isoff-on-demand:2011", "urn:mpeg:dash:profile:full:2011"
INDEXED = 'segmentAlignment="true" subsegmentAlignment="true" subsegmentStartsWithSAP="1"'
TRICK, TILES = "http://dashif.org/guidelines/trickmode", "http://dashif.org/guidelines/thumbnail_tile"
CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
Sets = tuple[tuple[Rendition, ...], ...]
CURVES = {"pq": 16, "hlg": 18}
NAMES = {"en": "English", "fr": "Français", "de": "Deutsch", "es": "Español", "it": "Italiano", "ar": "العربية"}


# --- MPEG-DASH ---------------------------------------------------------------------------------------------------


def dash(p: Presentation, *, personal: bool = False) -> str:
    """Return the MPD: on demand (`SegmentBase`) for everybody, one Period with `SegmentList` for a session."""
    duration, longest = f"PT{_decimal(p.grid.duration_s)}S", f"PT{_decimal(_longest_s(p))}S"
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="{_profiles(p, personal)}" type="static"'
        f' mediaPresentationDuration="{duration}" maxSegmentDuration="{longest}" minBufferTime="{longest}">',
        f" <ProgramInformation><Title>{escape(p.title)}</Title></ProgramInformation>",
        f' <Period id="0" start="PT0S" duration="{duration}">',
        *(line for number, write in enumerate(_sets(p, personal)) for line in write(number)),
        " </Period>",
        "</MPD>",
    ]
    return "\n".join(lines) + "\n"


def _longest_s(p: Presentation) -> Fraction:
    """Return the longest segment; a buffer of it makes every declared rate true."""
    return max(Fraction(s.duration, r.timescale) for r in p.renditions for s in r.segments)


def _profiles(p: Presentation, personal: bool) -> str:
    """Texts and pictures are outside of the on-demand profile: their sets say so (ISO/IEC 23009-1, 8.1)."""
    if personal or p.transparent:
        return FULL
    return f"{ON_DEMAND},{FULL}" if p.captions or p.storyboard else ON_DEMAND


def _sets(p: Presentation, personal: bool) -> Iterator[Callable[[int], Iterator[str]]]:
    """Who writes each set, given its number: the main picture has 0. Inserts are H.264 alone.

    A transparent chapter without slots has nothing personal, so a session gets what everybody does.
    """
    main, *others = (p.videos,) if personal and p.videos else p.dash_sets
    yield partial(_video_set, p, main, personal)
    for audio in p.audios:
        yield partial(_audio_set, p, audio, personal)
    for videos in others:
        yield partial(_video_set, p, videos, personal)
    for caption in p.captions:
        yield partial(_caption_set, p, caption, personal)
    for trick in p.tricks:
        yield partial(_trick_set, p, trick, personal)
    if p.storyboard:
        yield partial(_storyboard_set, p, p.storyboard, personal)


def _video_set(p: Presentation, videos: tuple[Rendition, ...], personal: bool, number: int) -> Iterator[str]:
    """One codec; a client that can choose takes the later one, which needs fewer bytes."""
    largest = videos[0].picture
    assert largest is not None
    alignment = 'segmentAlignment="true" startWithSAP="1"' if personal else INDEXED
    preference = _preference(p.dash_sets, videos[0])
    priority = f' selectionPriority="{1 + preference}"' if preference else ""
    yield (
        f'  <AdaptationSet id="{number}" contentType="video" mimeType="{videos[0].mime}" {alignment}'
        f" {_pictures(largest)}{priority}>"
    )
    yield from _light(largest)
    yield '   <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>'
    for video in videos:
        yield _representation(video)
        by_segment = personal and video.insert
        yield from (
            _segment_list(p, video) if by_segment else _segment_base(_shared(p, video, 3 if personal else 0), video)
        )
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


def _pictures(largest: Picture) -> str:
    proportion = Fraction(largest.width, largest.height)
    return (
        f'par="{proportion.numerator}:{proportion.denominator}" maxWidth="{largest.width}"'
        f' maxHeight="{largest.height}" maxFrameRate="{_rate(largest.rate)}"'
    )


def _representation(video: Rendition) -> str:
    assert video.picture is not None
    picture = video.picture
    return (
        f'   <Representation id="{video.id}" codecs="{video.codecs}" width="{picture.width}"'
        f' height="{picture.height}" frameRate="{_rate(picture.rate)}" sar="1:1" bandwidth="{video.bandwidth_bps}">'
    )


def _trick_set(p: Presentation, trick: Rendition, personal: bool, number: int) -> Iterator[str]:
    """Key frames of the main set for fast playing (DASH-IF IOP 4.3, 3.2.9); for a session the chapter's, too."""
    assert trick.picture is not None
    yield (
        f'  <AdaptationSet id="{number}" contentType="video" mimeType="video/mp4" {INDEXED} {_pictures(trick.picture)}'
        f' maxPlayoutRate="{float(p.grid.rate / trick.picture.rate):g}" codingDependency="false">'
    )
    yield f'   <EssentialProperty schemeIdUri="{TRICK}" value="0"/>'
    yield '   <Role schemeIdUri="urn:mpeg:dash:role:2011" value="alternate"/>'
    yield _representation(trick)
    yield from _segment_base(_shared(p, trick, 3 if personal else 0), trick)
    yield "   </Representation>"
    yield "  </AdaptationSet>"


def _storyboard_set(p: Presentation, board: Storyboard, personal: bool, number: int) -> Iterator[str]:
    """Sheets of small pictures (DASH-IF IOP 4.3, 6.2.6)."""
    up, every = _up(p, personal), board.every_s * board.on_sheet
    yield f'  <AdaptationSet id="{number}"{_outside(personal)} contentType="image" mimeType="image/jpeg">'
    yield (
        f'   <Representation id="storyboard" width="{board.columns * board.width}"'
        f' height="{board.rows * board.height}" bandwidth="{ceil(8 * max(board.sizes) / _longest_s(p))}">'
    )
    yield f'    <EssentialProperty schemeIdUri="{TILES}" value="{board.columns}x{board.rows}"/>'
    yield (
        f"    <SegmentTemplate media={quoteattr(f'{up}{quote(p.version)}/storyboard_$Number$.jpg')}"
        f' timescale="{every.denominator}" duration="{every.numerator}" startNumber="1"/>'
    )
    yield "   </Representation>"
    yield "  </AdaptationSet>"


def _caption_set(p: Presentation, caption: Caption, personal: bool, number: int) -> Iterator[str]:
    """One whole WebVTT file (ISO/IEC 23009-1, 5.3.9.2: a Representation of a single self-initializing segment)."""
    yield (
        f'  <AdaptationSet id="{number}"{_outside(personal)} contentType="text" mimeType="text/vtt"'
        f" lang={quoteattr(caption.language)}>"
    )
    yield f"   <Label>{escape(_name(caption.language, _read(p)))}</Label>"
    yield '   <Role schemeIdUri="urn:mpeg:dash:role:2011" value="subtitle"/>'
    yield f'   <Representation id="{caption.id}" bandwidth="{max(1, ceil(8 * caption.size / _longest_s(p)))}">'
    yield f"    <BaseURL>{escape(_up(p, personal) + quote(p.version) + '/' + quote(caption.file))}</BaseURL>"
    yield "   </Representation>"
    yield "  </AdaptationSet>"


def _outside(personal: bool) -> str:
    return "" if personal else f' profiles="{FULL}"'


def _audio_set(p: Presentation, audio: Rendition, personal: bool, number: int) -> Iterator[str]:
    """Sound is not personal: in both manifests it is the same file with the same index.

    Beside surround, stereo has the higher priority: some players would take what has most bits (5.3.7).
    """
    assert audio.sound is not None
    sound, wide = audio.sound, audio.sound.is_surround
    priority = ' selectionPriority="2"' if p.has_surround and not wide else ""
    role = "alternate" if wide else "main" if audio == p.audios[0] else "dub"
    yield (
        f'  <AdaptationSet id="{number}" contentType="audio" mimeType="audio/mp4" lang={quoteattr(sound.language)}'
        f" {INDEXED}{priority}>"
    )
    yield f"   <Label>{escape(_sound_name(p, sound))}</Label>"
    yield f'   <Role schemeIdUri="urn:mpeg:dash:role:2011" value="{role}"/>'
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
    yield f'    <SegmentBase indexRange="{index}" indexRangeExact="true" timescale="{r.timescale}">'
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
    sets = (p.videos,) if personal and p.videos else p.video_sets
    return _multivariant(p, sets, personal=personal)


def hls_layered(p: Presentation) -> str:
    """Return the multivariant playlist of a transparent chapter for Apple's players: HEVC with alpha.

    It is one of its own, since nothing in a playlist tells a player that stacked pictures need a page.
    """
    return _multivariant(p, (p.layered_hevc,))


def _multivariant(p: Presentation, sets: Sets, *, personal: bool = False) -> str:
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    lines.append(f'#EXT-X-SESSION-DATA:DATA-ID="com.apple.hls.title",VALUE="{_quotable(p.title)}"')
    for number, audio in enumerate(p.audios):
        lines.append(_media_tag(p, audio, first=number == 0, personal=personal))
    lines += [_caption_tag(p, caption, personal=personal) for caption in p.captions]
    for video in (video for videos in sets for video in videos):
        lines += [_variant_tag(p, video, sets, personal), f"{quote(p.version)}/{video.id}.m3u8"]
    lines += [_key_frames_tag(p, trick, personal) for trick in p.tricks]
    return "\n".join(lines) + "\n"


def _media_tag(p: Presentation, audio: Rendition, *, first: bool, personal: bool) -> str:
    """Surround is for who chooses it: of two sounds in one language only one may be chosen by itself (4.4.6.1)."""
    assert audio.sound is not None
    sound = audio.sound
    language = f'LANGUAGE="{sound.language}",' if sound.language != "und" else ""
    return (
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="{_sound_name(p, sound)}",{language}'
        f"AUTOSELECT={'NO' if sound.is_surround else 'YES'},DEFAULT={'YES' if first else 'NO'},"
        f'CHANNELS="{sound.channels}",STABLE-RENDITION-ID="{audio.id}",'
        f'URI="{_up(p, personal)}{quote(p.version)}/{audio.id}.m3u8"'
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
    text = max((ceil(8 * caption.size / p.grid.duration_s) for caption in p.captions), default=0)
    peak = video.bandwidth_bps + max((a.bandwidth_bps for a in audios), default=0) + text
    average = video.average_bandwidth_bps + max((a.average_bandwidth_bps for a in audios), default=0) + text
    codecs = ",".join([video.codecs, *sorted({a.codecs for a in audios})])
    return (
        f"#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},{_score(sets, video)}"
        f'CODECS="{codecs}",'
        f"RESOLUTION={picture.width}x{picture.height},FRAME-RATE={float(picture.rate):.3f},"
        f"VIDEO-RANGE={picture.transfer.upper()}"
        + (',AUDIO="audio"' if audios else "")
        + (',SUBTITLES="captions"' if p.captions else "")
        + f',CLOSED-CAPTIONS=NONE,STABLE-VARIANT-ID="{video.id}"'
    )


def _key_frames_tag(p: Presentation, trick: Rendition, personal: bool) -> str:
    assert trick.picture is not None
    return (
        f"#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={trick.bandwidth_bps},AVERAGE-BANDWIDTH={trick.average_bandwidth_bps},"
        f'CODECS="{trick.codecs}",RESOLUTION={trick.picture.width}x{trick.picture.height},VIDEO-RANGE=SDR,'
        f'STABLE-VARIANT-ID="{trick.id}",URI="{_up(p, personal)}{quote(p.version)}/{trick.id}.m3u8"'
    )


def _caption_tag(p: Presentation, caption: Caption, *, personal: bool) -> str:
    return (
        f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="captions",NAME="{_name(caption.language, _read(p))}",'
        f'LANGUAGE="{caption.language}",AUTOSELECT=YES,DEFAULT=NO,FORCED=NO,STABLE-RENDITION-ID="{caption.id}",'
        f'URI="{_up(p, personal)}{quote(p.version)}/{caption.id}.m3u8"'
    )


def hls_captions(p: Presentation, caption: Caption) -> str:
    """Return the playlist of one language's captions: the whole file as one segment (RFC 8216bis, 3.1.4)."""
    duration = _decimal(p.grid.duration_s, fixed=True)
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{-(-p.grid.duration_s // 1)}"]
    lines += ["#EXT-X-PLAYLIST-TYPE:VOD", f"#EXTINF:{duration},", quote(caption.file), "#EXT-X-ENDLIST"]
    return "\n".join(lines) + "\n"


def hls_media(p: Presentation, rendition_id: str, *, personal: bool = False) -> str:
    """Return one rendition's playlist; raises KeyError if the presentation has no such rendition, or as WebM only.

    All but that of key frames have one target duration (RFC 8216bis, 6.2.4).
    """
    r = p.rendition(rendition_id)
    if r is None or r.mime == "video/webm":
        raise KeyError(rendition_id)
    own = p.personal_segments if personal and r.insert else frozenset()
    shared = _shared(p, r, 4) if personal else quote(r.file)
    timed_alike = (r,) if r.trick else tuple(other for other in p.renditions if not other.trick)
    target = target_s(Fraction(s.duration, r.timescale) for r in timed_alike for s in r.segments)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{target}",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        *(["#EXT-X-I-FRAMES-ONLY"] if r.trick else []),
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


def _up(p: Presentation, personal: bool) -> str:
    """Return the way from the chapter's manifest to its shared folder."""
    return f"../../../{quote(p.chapter)}/" if personal else ""


def _sound_name(p: Presentation, sound: Sound) -> str:
    languages = {audio.sound.language for audio in p.audios if audio.sound}
    return _name(sound.language, languages) + (" 5.1" if sound.is_surround else "")


def _read(p: Presentation) -> list[str]:
    return [caption.language for caption in p.captions]


def _name(language: str, among: Collection[str]) -> str:
    """Return the language's own name for people, or its tag; where two have the same name, they have both."""
    base = language.split("-", maxsplit=1)[0]
    name = NAMES.get(base, language)
    if name != language and sum(other.split("-", maxsplit=1)[0] == base for other in among) > 1:
        name = f"{name} ({language})"
    return "Original" if name == "und" else _quotable(name)


def _quotable(text: str) -> str:
    """Quotes and line breaks would end an attribute of HLS (RFC 8216, 4.2)."""
    return " ".join(text.replace('"', "'").split())
