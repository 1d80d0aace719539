"""The exact commands, word for word: whoever changes them changes every chapter, and should see it here."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest

from encoder import commands, insert
from encoder.ladder import ladder_for
from encoder.model import Footage, Grid, Ladder, Master, Placement, Slot, Sound, Track
from encoder.tools import Tools

TOOLS = Tools(Path("/bin/ffmpeg"), Path("/bin/ffprobe"), Path("/bin/packager"))
SLOT = Slot("you", Fraction(3), Fraction(5, 2), Placement(0.3, 0.1, 0.4, 0.8))
WORK = Path("/work")
MASTER, PLAIN = Path("/raw/it's 2.mov"), Footage()
STEREO = Sound(2, 48000, "en")


def plan(sound: Sound = STEREO, height: int = 720, footage: Footage = PLAIN) -> tuple[Master, Ladder]:
    tracks = (Track(MASTER, 0, sound),)
    master = Master(MASTER, 16 * height // 9, height, Fraction(25), 250, tracks, 1, footage)
    return master, ladder_for(master)


def command(frames: range = range(250), footage: Footage = PLAIN) -> list[str]:
    return commands.chunk_command(*plan(footage=footage), frames, WORK, TOOLS)


def narration(own: Path | None = None) -> list[str]:
    return commands.narration_command(plan()[1], SLOT, own, WORK, TOOLS)


def filters(words: list[str]) -> str:
    return words[words.index("-filter_complex") + 1]


def outputs(words: list[str]) -> list[str]:
    return [word for word in words if word.startswith("/work/")]


def test_one_process_reads_the_master_once_for_all_rungs():
    words = command()
    assert words.count("-i") == 1
    assert words[words.index("-i") + 1] == "file:/raw/it's 2.mov"
    assert outputs(words) == [
        *("/work/video_720p_h264.mp4", "/work/video_432p_h264.mp4"),
        *("/work/video_720p_av1.mp4", "/work/video_432p_av1.mp4"),
    ]


def test_a_chunk_in_the_middle_is_entered_a_second_before_and_cut_to_the_frame():
    words = command(range(100, 200))
    assert words[words.index("-ss") + 1] == "2.980000"
    assert words.index("-ss") < words.index("-i")
    assert "fps=fps=25:start_time=3.0[" in filters(words)
    assert "trim=end_pts=200:start_pts=100" in filters(words)
    assert "tpad" not in filters(words)


def test_a_sample_is_decoded_alone_and_compared_with_the_same_pictures():
    master, ladder = plan()
    for make in (commands.sample_command, partial(commands.score_command, measure="libvmaf")):
        words = make(master, ladder, ladder.rungs[:1], range(100, 116), work=WORK, tools=TOOLS)
        assert words[words.index("-ss") + 1] == "3.980000"
        assert "fps=fps=25:start_time=4.0[" in filters(words)
        assert "trim=end_pts=116:start_pts=100" in filters(words)


def test_without_an_index_a_chunk_is_cut_from_the_whole():
    words = commands.chunk_command(*plan(), range(100, 200), WORK, TOOLS, seek=False)
    assert "-ss" not in words
    assert "trim=end_pts=200:start_pts=100" in filters(words)


def test_every_rung_gets_exactly_the_planned_frames_in_bt709():
    graph = filters(command())
    assert "[0:v:0]fps=fps=25:start_time=0.0[" in graph
    assert "trim=end_pts=250:start_pts=0" in graph
    for size in ("1280:720", "768:432"):
        assert graph.count(f"scale={size}:flags=bicubic:out_color_matrix=bt709:out_range=tv") == 1


def test_the_words_for_the_top_rung():
    words = command()
    end = words.index("/work/video_720p_h264.mp4")
    assert words[words.index("-bufsize") : end] == [
        *("-bufsize", "4750000", "-c:v", "libx264"),
        *("-color_primaries", "bt709", "-color_range", "tv", "-color_trc", "bt709", "-colorspace", "bt709"),
        *("-crf", "21", "-level:v", "3.1", "-maxrate", "4750000"),
        *("-movflags", "+frag_keyframe+empty_moov+default_base_moof+negative_cts_offsets"),
        *("-preset", "veryfast", "-profile:v", "high", "-x264-params"),
        "keyint=50:min-keyint=50:scenecut=0:open-gop=0:bframes=2:b-pyramid=0:stitchable=1:sps-id=0:"
        "trellis=1:aq-strength=0.5:deblock=-1,-1",
    ]


def test_the_words_for_the_top_rung_in_av1():
    words = command()
    end = words.index("/work/video_720p_av1.mp4")
    assert words[words.index("-bufsize", end - 30) : end] == [
        *("-bufsize", "3800000", "-c:v", "libsvtav1"),
        *("-color_primaries", "bt709", "-color_range", "tv", "-color_trc", "bt709", "-colorspace", "bt709"),
        *("-crf", "31", "-g", "50", "-maxrate", "3800000"),
        *("-movflags", "+frag_keyframe+empty_moov+default_base_moof+negative_cts_offsets"),
        *("-preset", "8", "-svtav1-params", "irefresh-type=2:scd=0"),
    ]


def test_fields_become_pictures_before_anything_else():
    graph = filters(command(footage=Footage(fields="tff")))
    assert graph.startswith("[0:v:0]bwdif=deint=all:mode=send_frame:parity=tff[")


def test_hdr_is_tone_mapped_once_for_all_rungs_at_the_size_of_the_top_one():
    graph = filters(command(footage=Footage(transfer="pq")))
    assert graph.count("tonemap=") == 1
    assert "h=720" in graph
    assert "tonemap" not in filters(command())


def test_the_second_picture_track_is_read_where_the_first_one_is_a_cover():
    assert filters(command(footage=Footage(number=1))).startswith("[0:v:1]fps")


def test_the_mezzanine_is_every_frame_of_the_touched_segments_and_reads_no_others():
    words = commands.mezzanine_command(*plan(), SLOT, WORK, TOOLS)
    assert "trim=end_pts=150:start_pts=50" in filters(words)
    assert words[words.index("-ss") + 1] == "0.980000"
    assert words[words.index("-tune") + 1] == "fastdecode"
    assert outputs(words) == ["/work/slot_you.mezzanine.mp4"]


def test_the_sound_is_as_long_as_the_picture_to_the_sample():
    graph = filters(commands.audio_command(plan()[1], WORK, TOOLS))
    assert "apad=whole_len=480000" in graph
    assert "atrim=end_sample=480000" in graph
    assert "volume" not in graph


def test_each_track_is_read_where_it_lies_and_made_as_loud_as_is_wanted():
    _, ladder = plan()
    french = Track(Path("/raw/it's 2.fr.wav"), 0, replace(STEREO, language="fr"), gain_db=-3.25)
    words = commands.audio_command(replace(ladder, tracks=(*ladder.tracks, french)), WORK, TOOLS)
    assert words.count("-i") == 2
    assert outputs(words) == ["/work/audio_en.mp4", "/work/audio_fr.mp4"]
    assert "volume=-3.25dB" in filters(words)


def test_a_narration_beside_the_master_is_taken_instead_of_the_own_sound():
    words = narration(Path("/raw/part2.slot.you.wav"))
    assert words[words.index("-i") + 1] == "file:/raw/part2.slot.you.wav"
    assert "-filter_complex" not in words
    assert "/work/slot_you.narration.wav" in words
    assert "atrim=end=5.5:start=3.0" in filters(narration())


def test_mono_stays_mono():
    words = commands.audio_command(plan(Sound(1, 48000, "en"))[1], WORK, TOOLS)
    assert words[words.index("-ac") + 1] == "1"
    assert words[words.index("-b:a") + 1] == "96000"


def test_the_packager_writes_one_flat_file():
    grid = Grid(Fraction(30000, 1001), 60, 600)
    assert commands.package_command(Path("/work/a.mp4"), "audio", Path("/part/audio_en.mp4"), grid, TOOLS) == [
        "/bin/packager",
        "in=/work/a.mp4,stream=audio,output=/part/audio_en.mp4",
        *("--segment_duration", "2.002000", "--fragment_duration", "2.002000", "--temp_dir", "/work", "--quiet"),
    ]


def test_a_picture_segment_is_never_two_groups():
    words = commands.package_command(Path("/a.mp4"), "video", Path("/b.mp4"), Grid(Fraction(25), 50, 250), TOOLS)
    assert words[words.index("--segment_duration") + 1] == "1.980000"


def test_the_settings_of_inserts():
    assert insert.insert_x264(50, "4.0", 8_000_000, Fraction(2)) == (
        "keyint=50:min-keyint=50:scenecut=0:open-gop=0:bframes=0:ref=1:weightp=0:8x8dct=1:cabac=0:"
        "rc-lookahead=10:sync-lookahead=0:stitchable=1:sps-id=1:level=4.0:vbv-maxrate=6400:vbv-bufsize=2880"
    )


@pytest.mark.parametrize("name", ["-y.mov", "http:x.mov", "%d.mov", "a:b.mov"])
def test_no_file_name_is_taken_for_an_option_or_an_address(name: str):
    master = Master(Path("/raw") / name, 640, 360, Fraction(25), 250, (), 1)
    words = commands.chunk_command(master, ladder_for(master), range(250), WORK, TOOLS)
    assert words[words.index("-i") + 1] == f"file:/raw/{name}"
    assert commands.decode_command(Path("/raw") / name, TOOLS)[-6] == f"file:/raw/{name}"
