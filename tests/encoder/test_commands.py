"""The exact commands, word for word: whoever changes them changes every chapter, and should see it here."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from encoder import commands
from encoder.ladder import ladder_for
from encoder.model import Grid, Ladder, Master, Placement, Slot, Sound
from encoder.tools import Tools

TOOLS = Tools(Path("/bin/ffmpeg"), Path("/bin/ffprobe"), Path("/bin/packager"))
SLOT = Slot("you", Fraction(3), Fraction(5, 2), Placement(0.3, 0.1, 0.4, 0.8))
WORK = Path("/work")
STEREO = Sound(2, 48000, "en")


def plan(sound: Sound | None = STEREO, height: int = 720) -> tuple[Master, Ladder]:
    master = Master(Path("/raw/it's 2.mov"), 16 * height // 9, height, Fraction(25), 250, sound, 1)
    return master, ladder_for(master)


def command(slots: tuple[tuple[Slot, Path | None], ...] = (), sound: Sound | None = STEREO) -> list[str]:
    return commands.encode_command(*plan(sound), slots, WORK, TOOLS)


def filters(words: list[str]) -> str:
    return words[words.index("-filter_complex") + 1]


def outputs(words: list[str]) -> list[str]:
    return [word for word in words if word.startswith("/work/")]


def test_one_process_reads_the_master_once_for_everything():
    words = command(((SLOT, None),))
    assert words.count("-i") == 1
    assert words[words.index("-i") + 1] == "file:/raw/it's 2.mov"
    assert outputs(words) == [
        "/work/video_720p_h264.mp4",
        "/work/video_432p_h264.mp4",
        "/work/slot_you.mezzanine.mp4",
        "/work/audio.mp4",
        "/work/slot_you.narration.wav",
    ]


def test_every_rung_gets_exactly_the_planned_frames_in_bt709():
    graph = filters(command())
    assert "[0:v]fps=fps=25:start_time=0[" in graph
    assert "trim=end_frame=250" in graph
    for size in ("1280:720", "768:432"):
        assert f"scale={size}:flags=bicubic:out_color_matrix=bt709:out_range=tv" in graph


def test_the_words_for_the_top_rung():
    words = command()
    end = words.index("/work/video_720p_h264.mp4")
    assert words[words.index("-bufsize") : end] == [
        *("-bufsize", "10000000", "-c:v", "libx264"),
        *("-color_primaries", "bt709", "-color_range", "tv", "-color_trc", "bt709", "-colorspace", "bt709"),
        *("-crf", "21", "-level:v", "3.1", "-maxrate", "5000000"),
        *("-movflags", "+frag_keyframe+empty_moov+default_base_moof+negative_cts_offsets"),
        *("-preset", "fast", "-profile:v", "high", "-x264-params"),
        "keyint=50:min-keyint=50:scenecut=0:open-gop=0:bframes=2:b-pyramid=0:ref=3:stitchable=1:sps-id=0",
    ]


def test_the_mezzanine_is_every_frame_of_the_touched_segments():
    assert "trim=end_frame=150:start_frame=50" in filters(command(((SLOT, None),)))


def test_the_sound_is_as_long_as_the_picture_to_the_sample():
    graph = filters(command())
    assert "apad=whole_len=480000" in graph
    assert "atrim=end_sample=480000" in graph


def test_a_narration_beside_the_master_is_taken_instead_of_the_own_sound():
    words = command(((SLOT, Path("/raw/part2.slot.you.wav")),))
    assert "file:/raw/part2.slot.you.wav" in words
    assert "atrim=end=5.5:start=3.0" not in filters(words)
    assert "/work/slot_you.narration.wav" in words
    assert "atrim=end=5.5:start=3.0" in filters(command(((SLOT, None),)))


def test_a_silent_master_makes_no_audio():
    words = command(sound=None)
    assert "/work/audio.mp4" not in words
    assert "[0:a]" not in filters(words)


def test_mono_stays_mono():
    words = command(sound=Sound(1, 48000, "en"))
    assert words[words.index("-ac") + 1] == "1"
    assert words[words.index("-b:a") + 1] == "96000"


def test_the_packager_writes_one_flat_file():
    grid = Grid(Fraction(30000, 1001), 60, 600)
    assert commands.package_command(Path("/work/a.mp4"), "audio", Path("/part/audio_en.mp4"), grid, TOOLS) == [
        "/bin/packager",
        "in=/work/a.mp4,stream=audio,output=/part/audio_en.mp4",
        *("--segment_duration", "2.002000", "--fragment_duration", "2.002000", "--quiet"),
    ]


def test_a_picture_segment_is_never_two_groups():
    words = commands.package_command(Path("/a.mp4"), "video", Path("/b.mp4"), Grid(Fraction(25), 50, 250), TOOLS)
    assert words[words.index("--segment_duration") + 1] == "1.980000"


def test_the_settings_of_inserts():
    assert commands.insert_x264(50, "4.0", 8_000_000) == (
        "keyint=50:min-keyint=50:scenecut=0:open-gop=0:bframes=0:ref=1:weightp=0:8x8dct=1:cabac=1:"
        "rc-lookahead=10:sync-lookahead=0:stitchable=1:sps-id=1:level=4.0:vbv-maxrate=6400:vbv-bufsize=3200"
    )


@pytest.mark.parametrize("name", ["-y.mov", "http:x.mov", "%d.mov", "a:b.mov"])
def test_no_file_name_is_taken_for_an_option_or_an_address(name: str):
    master = Master(Path("/raw") / name, 640, 360, Fraction(25), 250, None, 1)
    words = commands.encode_command(master, ladder_for(master), (), WORK, TOOLS)
    assert words[words.index("-i") + 1] == f"file:/raw/{name}"
    assert commands.decode_command(Path("/raw") / name, TOOLS)[-6] == f"file:/raw/{name}"
