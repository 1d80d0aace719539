"""SubRip and WebVTT beside a master, in any script and with the habits of many programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from encoder.captions import captions_of, to_webvtt
from encoder.errors import BadSidecar

SRT = (
    "1\n00:00:01,000 --> 00:00:02,500\nGood evening.\n\n2\n00:00:03,000 --> 00:00:04,000\n<i>I am</i> you & <b>me</b>\n"
)
ARABIC = "1\n00:00:01,000 --> 00:00:02,000\nمساء الخير، أنا أنت.\n"


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_subrip_becomes_webvtt(tmp_path: Path):
    assert to_webvtt(written(tmp_path / "part2.en.srt", SRT)) == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.500\nGood evening.\n\n"
        "00:00:03.000 --> 00:00:04.000\n<i>I am</i> you &amp; <b>me</b>\n"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_arabic_stays_arabic_in_every_unicode(tmp_path: Path, encoding: str):
    assert "مساء الخير، أنا أنت." in to_webvtt(written(tmp_path / "part2.ar.srt", ARABIC, encoding))


def test_fonts_places_and_markup_of_other_programs_are_left_out_and_angles_stay(tmp_path: Path):
    odd = '1\r\n0:00:01.000 --> 0:00:02.000\r\n{\\an8}<font color="red">a < b --> c</font>\r\n'
    assert to_webvtt(written(tmp_path / "part2.en.srt", odd)).splitlines()[2:] == [
        "00:00:01.000 --> 00:00:02.000",
        "a &lt; b --&gt; c",
    ]


def test_webvtt_stays_as_it_is(tmp_path: Path):
    text = "WEBVTT - notes\n\nSTYLE\n::cue { color: red }\n\n00:01.000 --> 00:02.000 line:0\nHello\n"
    assert to_webvtt(written(tmp_path / "part2.en.vtt", text)) == text


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("part2.en.srt", b"\x89PNG\xff\xff", "neither UTF-8 nor UTF-16"),
        ("part2.en.srt", b"Dear editor, here is no time.", "no caption"),
        ("part2.en.srt", b"", "no caption"),
        ("part2.en.vtt", b"1\n00:00:01.000 --> 00:00:02.000\nHello", "first line"),
        ("part2.en.vtt", b"WEBVTT\n", "no caption"),
    ],
)
def test_what_are_no_captions_is_refused_in_words(tmp_path: Path, name: str, content: bytes, says: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadSidecar, match=says):
        captions_of(tmp_path / "part2.mov")


def test_each_language_is_found_by_its_shortest_tag(tmp_path: Path):
    written(tmp_path / "part2.ara.srt", ARABIC)
    written(tmp_path / "part2.en.srt", SRT)
    written(tmp_path / "part3.fr.srt", SRT)
    found = [(caption.language, caption.id, file.name) for caption, file in captions_of(tmp_path / "part2.mov")]
    assert found == [("ar", "captions_ar", "part2.ara.srt"), ("en", "captions_en", "part2.en.srt")]


def test_two_files_of_one_language_are_refused(tmp_path: Path):
    written(tmp_path / "part2.fra.srt", SRT)
    written(tmp_path / "part2.fr.srt", SRT)
    with pytest.raises(BadSidecar, match="same language"):
        captions_of(tmp_path / "part2.mov")
