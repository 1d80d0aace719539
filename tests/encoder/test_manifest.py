"""Golden manifests and the rules that hold for every one of them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from fractions import Fraction

import pytest

from encoder.manifest import dash, hls_captions, hls_media, hls_multivariant
from encoder.model import Caption, Grid, InsertFormat, Picture, Placement, Presentation, Rendition, Segment, Slot, Sound

MPD = "{urn:mpeg:dash:schema:mpd:2011}"


def video(name: str = "video_360p_h264", width: int = 640, height: int = 360) -> Rendition:
    segments = tuple(Segment(1000 + 5000 * n, 5000, 25600 if n < 4 else 12800) for n in range(5))
    insert = InsertFormat("sps-id=1", "veryfast", b"\x67", b"\x68", 0)
    picture = Picture(width, height, Fraction(25))
    return Rendition(
        f"{name}.mp4",
        "video/mp4",
        "avc1.64001e",
        12800,
        880,
        880,
        120,
        segments,
        900_000,
        20_000,
        picture,
        None,
        insert,
    )


def audio(language: str = "en", channels: int = 2) -> Rendition:
    segments = tuple(Segment(900 + 300 * n, 300, 96256 if n < 4 else 46976) for n in range(5))
    sound = Sound(channels, 48000, language)
    return Rendition(
        f"audio_{language}{'_surround' if channels > 2 else ''}.mp4",
        "audio/mp4",
        "mp4a.40.2",
        48000,
        800,
        800,
        100,
        segments,
        128_000,
        100_000,
        None,
        sound,
    )


def chapter(**changes: object) -> Presentation:
    slot = Slot("you", Fraction(31, 10), Fraction(2), Placement(0.3, 0.1, 0.4, 0.8))
    values: dict[str, object] = {
        "chapter": "part2",
        "version": "0123456789ab",
        "title": "Part <2>",
        "grid": Grid(Fraction(25), 50, 225),
        "renditions": (video(), audio()),
        "slots": (slot,),
    }
    return Presentation(**(values | changes))  # type: ignore[arg-type]


def test_the_shared_mpd_word_for_word():
    assert dash(chapter()) == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" type="static"'
        ' mediaPresentationDuration="PT9S" maxSegmentDuration="PT2.005333S" minBufferTime="PT2.005333S">\n'
        " <ProgramInformation><Title>Part &lt;2&gt;</Title></ProgramInformation>\n"
        ' <Period id="0" start="PT0S" duration="PT9S">\n'
        '  <AdaptationSet id="0" contentType="video" mimeType="video/mp4" segmentAlignment="true"'
        ' subsegmentAlignment="true" subsegmentStartsWithSAP="1" par="16:9" maxWidth="640" maxHeight="360"'
        ' maxFrameRate="25">\n'
        '   <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>\n'
        '   <Representation id="video_360p_h264" codecs="avc1.64001e" width="640" height="360" frameRate="25"'
        ' sar="1:1" bandwidth="900000">\n'
        "    <BaseURL>0123456789ab/video_360p_h264.mp4</BaseURL>\n"
        '    <SegmentBase indexRange="880-999" indexRangeExact="true" timescale="12800">\n'
        '     <Initialization range="0-879"/>\n'
        "    </SegmentBase>\n"
        "   </Representation>\n"
        "  </AdaptationSet>\n"
        '  <AdaptationSet id="1" contentType="audio" mimeType="audio/mp4" lang="en" segmentAlignment="true"'
        ' subsegmentAlignment="true" subsegmentStartsWithSAP="1">\n'
        "   <Label>English</Label>\n"
        '   <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>\n'
        '   <Representation id="audio_en" codecs="mp4a.40.2" audioSamplingRate="48000" bandwidth="128000">\n'
        '    <AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011"'
        ' value="2"/>\n'
        "    <BaseURL>0123456789ab/audio_en.mp4</BaseURL>\n"
        '    <SegmentBase indexRange="800-899" indexRangeExact="true" timescale="48000">\n'
        '     <Initialization range="0-799"/>\n'
        "    </SegmentBase>\n"
        "   </Representation>\n"
        "  </AdaptationSet>\n"
        " </Period>\n"
        "</MPD>\n"
    )


def test_the_personal_media_playlist_word_for_word():
    shared = "../../../../part2/0123456789ab/video_360p_h264.mp4"
    assert hls_media(chapter(), "video_360p_h264", personal=True).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:2",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{shared}",BYTERANGE="880@0"',
        *("#EXTINF:2.000000,", "#EXT-X-BYTERANGE:5000@1000", shared),
        *("#EXTINF:2.000000,", "video_360p_h264/1.m4s"),
        *("#EXTINF:2.000000,", "video_360p_h264/2.m4s"),
        *("#EXTINF:2.000000,", "#EXT-X-BYTERANGE:5000@16000", shared),
        *("#EXTINF:1.000000,", "#EXT-X-BYTERANGE:5000@21000", shared),
        "#EXT-X-ENDLIST",
    ]


def test_the_multivariant_playlist_word_for_word():
    assert hls_multivariant(chapter()).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-SESSION-DATA:DATA-ID="com.apple.hls.title",VALUE="Part <2>"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="English",LANGUAGE="en",AUTOSELECT=YES,DEFAULT=YES,CHANNELS="2"'
        ',STABLE-RENDITION-ID="audio_en",URI="0123456789ab/audio_en.m3u8"',
        '#EXT-X-STREAM-INF:BANDWIDTH=1028000,AVERAGE-BANDWIDTH=120000,CODECS="avc1.64001e,mp4a.40.2",'
        'RESOLUTION=640x360,FRAME-RATE=25.000,VIDEO-RANGE=SDR,AUDIO="audio",CLOSED-CAPTIONS=NONE,'
        'STABLE-VARIANT-ID="video_360p_h264"',
        "0123456789ab/video_360p_h264.m3u8",
    ]


def test_a_personal_mpd_has_one_period_and_own_addresses_for_the_slot_alone():
    mpd = ET.fromstring(dash(chapter(), personal=True))
    assert "full" in mpd.get("profiles", "")
    (period,) = mpd.iter(f"{MPD}Period")
    urls = list(period.iter(f"{MPD}SegmentURL"))
    assert [url.get("media") for url in urls] == [
        "../../../part2/0123456789ab/video_360p_h264.mp4",
        "0123456789ab/video_360p_h264/1.m4s",
        "0123456789ab/video_360p_h264/2.m4s",
        "../../../part2/0123456789ab/video_360p_h264.mp4",
        "../../../part2/0123456789ab/video_360p_h264.mp4",
    ]
    assert [url.get("mediaRange") for url in urls] == ["1000-5999", None, None, "16000-20999", "21000-25999"]
    (segment_list,) = period.iter(f"{MPD}SegmentList")
    assert Fraction(int(segment_list.get("duration", "0")), int(segment_list.get("timescale", "1"))) == 2


def test_a_personal_manifest_never_has_a_discontinuity_and_leads_to_the_shared_sound():
    text = hls_multivariant(chapter(), personal=True) + hls_media(chapter(), "video_360p_h264", personal=True)
    assert "DISCONTINUITY" not in text
    assert 'URI="../../../part2/0123456789ab/audio_en.m3u8"' in text
    assert hls_media(chapter(), "audio_en", personal=True).count("../../../../part2/0123456789ab/audio_en.mp4") == 6


def test_a_chapter_name_in_any_script_is_percent_encoded_where_it_is_part_of_an_address():
    text = dash(chapter(chapter="الفصل-2"), personal=True)
    assert "../../../%D8%A7%D9%84%D9%81%D8%B5%D9%84-2/0123456789ab/" in text
    ET.fromstring(text)


def test_languages_that_are_unknown_have_a_name_and_no_tag_in_hls():
    text = hls_multivariant(chapter(renditions=(video(), audio("und"))))
    assert 'NAME="Original",AUTOSELECT' in text
    assert "LANGUAGE" not in text


def test_surround_is_there_for_who_chooses_it_and_nobody_gets_it_by_itself():
    p = chapter(renditions=(video(), audio(), audio(channels=6)))
    stereo, wide = [line for line in hls_multivariant(p).splitlines() if "TYPE=AUDIO" in line]
    assert 'NAME="English",LANGUAGE="en",AUTOSELECT=YES,DEFAULT=YES,CHANNELS="2"' in stereo
    assert 'NAME="English 5.1",LANGUAGE="en",AUTOSELECT=NO,DEFAULT=NO,CHANNELS="6"' in wide
    sets = [s for s in ET.fromstring(dash(p)).iter(f"{MPD}AdaptationSet") if s.get("contentType") == "audio"]
    told = [
        (s.get("selectionPriority"), s.find(f"{MPD}Role").get("value"), s.findtext(f"{MPD}Label"), *channels(s))
        for s in sets
    ]
    assert told == [("2", "main", "English", "2"), (None, "alternate", "English 5.1", "6")]


def channels(one: ET.Element) -> list[str | None]:
    return [configuration.get("value") for configuration in one.iter(f"{MPD}AudioChannelConfiguration")]


def test_a_silent_chapter_names_no_audio_group():
    text = hls_multivariant(chapter(renditions=(video(),)))
    assert "AUDIO" not in text
    assert 'CODECS="avc1.64001e"' in text
    assert not list(ET.fromstring(dash(chapter(renditions=(video(),)))).iter(f"{MPD}AudioChannelConfiguration"))


def test_the_target_duration_is_not_below_any_rounded_segment():
    for rendition in ("video_360p_h264", "audio_en"):
        text = hls_media(chapter(), rendition)
        target = int(re.search(r"TARGETDURATION:(\d+)", text).group(1))  # type: ignore[union-attr]
        assert all(round(float(d)) <= target for d in re.findall(r"#EXTINF:([\d.]+)", text))


def test_a_rendition_that_does_not_exist_has_no_playlist():
    with pytest.raises(KeyError):
        hls_media(chapter(), "video_9999p_h264")


def test_a_presentation_survives_its_json():
    p = chapter(renditions=(video(), video("video_180p_h264", 320, 180), audio()))
    assert Presentation.from_json(p.to_json()) == p


def test_captions_are_in_both_formats_for_everybody_and_for_a_session():
    p = chapter(captions=(Caption("captions_ar.vtt", "ar"), Caption("captions_en.vtt", "en")))
    for personal, base in ((False, "9f2c/"), (True, "../../../part2/9f2c/")):
        root = ET.fromstring(dash(p, personal=personal))
        texts = [s for s in root.iter(f"{MPD}AdaptationSet") if s.get("contentType") == "text"]
        assert [s.get("lang") for s in texts] == ["ar", "en"]
        url = base.replace("9f2c", p.version)
        assert [s.findtext(f".//{MPD}BaseURL") for s in texts] == [f"{url}captions_ar.vtt", f"{url}captions_en.vtt"]
        ids = [s.get("id") for s in root.iter(f"{MPD}AdaptationSet")]
        assert len(set(ids)) == len(ids)
        text = hls_multivariant(p, personal=personal)
        assert (
            f'LANGUAGE="ar",AUTOSELECT=YES,DEFAULT=NO,FORCED=NO,STABLE-RENDITION-ID="captions_ar",URI="{url}captions_ar.m3u8"'
            in text
        )
        assert 'SUBTITLES="captions"' in text
    assert hls_captions(p, p.captions[0]).splitlines()[-3:] == [
        "#EXTINF:9.000000,",
        "captions_ar.vtt",
        "#EXT-X-ENDLIST",
    ]


def test_av1_is_a_set_of_its_own_with_a_better_score_and_never_personal():
    av1 = replace(video(), file="video_360p_av1.mp4", codecs="av01.0.01M.08", insert=None)
    p = chapter(renditions=(video(), audio(), av1))
    sets = [s for s in ET.fromstring(dash(p)).iter(f"{MPD}AdaptationSet") if s.get("contentType") == "video"]
    assert [[r.get("codecs") for r in s] for s in (s.findall(f"{MPD}Representation") for s in sets)] == [
        ["avc1.64001e"],
        ["av01.0.01M.08"],
    ]
    assert [s.get("selectionPriority") for s in sets] == [None, "2"]
    scores = re.findall(r'SCORE=([0-9.]+),CODECS="(av01|avc1)', hls_multivariant(p))
    assert scores == [("1.0", "avc1"), ("2.0", "av01")]
    for personal in (dash(p, personal=True), hls_multivariant(p, personal=True)):
        assert "av01" not in personal
        assert "SCORE" not in personal
