"""The rules of both formats hold for chapters of every shape, and notice what is wrong."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from encoder.manifest import dash, hls_captions, hls_media, hls_multivariant
from encoder.model import Caption, Picture, Presentation, Rendition, Segment, Storyboard
from tests.encoder.test_manifest import audio, chapter, video
from tests.manifests import dashrules, hlsrules


def trick() -> Rendition:
    segments = tuple(Segment(1000 + 500 * n, 500, 12800) for n in range(9))
    picture = Picture(640, 360, Fraction(1))
    whole = replace(video("trick_360p_h264"), segments=segments, insert=None, trick=True)
    return replace(whole, picture=picture, bandwidth_bps=4000, average_bandwidth_bps=4000)


def av1(transfer: str = "sdr") -> Rendition:
    picture = Picture(640, 360, Fraction(25), transfer)  # type: ignore[arg-type]
    return replace(video("video_360p_av1"), codecs="av01.0.01M.08", insert=None, picture=picture)


BOARD = Storyboard(Fraction(1), 9, 9, 1, 160, 90, (9000,))
ENGLISH, ARABIC = Caption("captions_en.vtt", "en", 900), Caption("captions_ar.vtt", "ar", 90)
SHAPES = {
    "silent": chapter(renditions=(video(), trick())),
    "everything": chapter(
        renditions=(video(), av1(), trick(), audio(), audio(channels=6)), captions=(ENGLISH, ARABIC), storyboard=BOARD
    ),
    "several rungs": chapter(renditions=(video(), video("video_180p_h264", 320, 180), trick(), audio("und"))),
    "three sounds": chapter(renditions=(video(), trick(), audio("en-US"), audio("en-GB"), audio("ar"))),
    "HDR": chapter(renditions=(video(), av1("pq"), trick(), audio())),
    "odd names": chapter(chapter="الفصل-2", title='"A",\n<B>&', renditions=(video(), trick(), audio("tlh"))),
    "no slot": chapter(renditions=(video(), trick(), audio()), slots=()),
    "the slot at the end": chapter(
        renditions=(video(), trick(), audio()), slots=(replace(chapter().slots[0], start_s=Fraction(7)),)
    ),
}
EVERYBODY_AND_SESSION = pytest.mark.parametrize("personal", [False, True], ids=["everybody", "session"])


@EVERYBODY_AND_SESSION
@pytest.mark.parametrize("p", SHAPES.values(), ids=SHAPES)
def test_manifests_of_every_shape_keep_the_rules(p: Presentation, personal: bool):
    assert dashrules.faults_of(dash(p, personal=personal), personal=personal) == []
    assert hlsrules.multivariant_faults(hls_multivariant(p, personal=personal)) == []
    for rendition in p.renditions:
        assert hlsrules.playlist_faults(hls_media(p, rendition.id, personal=personal), "http://here/") == []
    for caption in p.captions:
        assert hlsrules.playlist_faults(hls_captions(p, caption), "http://here/", texts=True) == []


@EVERYBODY_AND_SESSION
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (' type="static"', ""),
        (' minBufferTime="PT2', ' minBufferTime="2'),
        (' id="1"', ' id="0"'),
        ('   <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>\n', ""),
        ("   <Label>English</Label>\n", ""),
        (' lang="en"', ""),
        (' par="16:9"', ""),
        (' sar="1:1"', ""),
        (' codecs="avc1.64001e"', ""),
        (' maxWidth="640"', ' maxWidth="320"'),
        (' maxFrameRate="25"', ' maxFrameRate="24"'),
        (' subsegmentStartsWithSAP="1"', ""),
        (' indexRange="800-899"', ""),
        ('range="0-799"', 'range="0-"'),
        (' value="2"/>\n    <BaseURL>', ' value="2"/>\n    <Period/><BaseURL>'),
        ('trickmode" value="0"', 'trickmode" value="77"'),
        (' codingDependency="false"', ""),
        ('value="9x1"', 'value="9"'),
        (' duration="PT9S"', ' duration="PT8S"'),
        ("</Period>", '</Period>\n <Period id="1" start="PT0S" duration="PT9S"/>'),
    ],
)
def test_a_wrong_mpd_is_noticed(right: str, wrong: str, personal: bool):
    text = dash(SHAPES["everything"], personal=personal)
    assert right in text
    assert dashrules.faults_of(text.replace(right, wrong, 1), personal=personal)


def test_profiles_that_do_not_fit_are_noticed():
    shared, own = dash(SHAPES["everything"]), dash(SHAPES["everything"], personal=True)
    assert dashrules.faults_of(shared, personal=True)
    assert dashrules.faults_of(own, personal=False)
    assert dashrules.faults_of(shared.replace(f' profiles="{dashrules.FULL}"', "", 1), personal=False)


def test_a_list_of_too_few_segments_is_noticed():
    lines = dash(SHAPES["everything"], personal=True).splitlines()
    last = max(i for i, line in enumerate(lines) if "SegmentURL" in line)
    assert dashrules.faults_of("\n".join(lines[:last] + lines[last + 1 :]), personal=True)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("#EXTM3U\n", ""),
        ("#EXT-X-INDEPENDENT-SEGMENTS\n", ""),
        ("#EXT-X-VERSION:7", "#EXT-X-VERSION:5"),
        ("AVERAGE-BANDWIDTH=", "AVERAGE-BANDWIDTH=9"),
        (",FRAME-RATE=25.000", ""),
        ("RESOLUTION=640x360,", ""),
        ("SCORE=1.0,", ""),
        (",mp4a.40.2", ""),
        ("VIDEO-RANGE=SDR", "VIDEO-RANGE=HDR"),
        ('AUDIO="audio"', 'AUDIO="sound"'),
        (',CHANNELS="2"', ""),
        ("AUTOSELECT=YES,DEFAULT=YES", "AUTOSELECT=NO,DEFAULT=YES"),
        ("AUTOSELECT=NO", "AUTOSELECT=YES"),
        ("DEFAULT=YES", "DEFAULT=NO"),
        ('LANGUAGE="ar"', 'LANGUAGE="en"'),
        ('NAME="العربية"', 'NAME="English"'),
        ("#EXT-X-I-FRAME-STREAM-INF", "#EXT-X-STREAM"),
        ('STABLE-VARIANT-ID="video_360p_av1"', 'STABLE-VARIANT-ID="video_360p_h264"'),
    ],
)
def test_a_wrong_multivariant_playlist_is_noticed(right: str, wrong: str):
    text = hls_multivariant(SHAPES["everything"])
    assert right in text
    assert hlsrules.multivariant_faults(text.replace(right, wrong, 1))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("#EXT-X-TARGETDURATION:2", "#EXT-X-TARGETDURATION:1"),
        ("#EXT-X-PLAYLIST-TYPE:VOD\n", ""),
        ("#EXT-X-ENDLIST\n", ""),
        ("#EXTINF:2.000000,\n", "#EXT-X-DISCONTINUITY\n#EXTINF:2.000000,\n"),
        ("#EXTINF:2.000000,", "#EXTINF:0,"),
        ("#EXT-X-MAP", "#EXT-X-MAPS"),
    ],
)
def test_a_wrong_media_playlist_is_noticed(right: str, wrong: str):
    text = hls_media(SHAPES["everything"], "video_360p_h264")
    assert right in text
    assert hlsrules.playlist_faults(text.replace(right, wrong, 1), "http://here/")


def test_the_peak_is_that_of_the_worst_run_of_half_to_one_and_a_half_target_durations():
    tenth = hlsrules.Decimal("0.1")
    assert hlsrules.peak_bps([100, 300, 100], [hlsrules.Decimal(2)] * 3, 2) == 1200
    assert hlsrules.peak_bps([100, 300], [hlsrules.Decimal(2), tenth], 2) == 8 * hlsrules.Decimal(400) / (2 + tenth)
