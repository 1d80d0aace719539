"""Masters of every kind that an editor may drop: what the chapter made of each is like, judged by frames and pixels."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from encoder import stages
from encoder.errors import (
    MasterForbidden,
)
from encoder.ladder import PLAIN
from encoder.manifest import dash, hls_multivariant
from encoder.model import Choices, Presentation
from encoder.probe import probe
from encoder.tools import Tools, run_tool
from tests.masters import make_master
from tests.oddmasters import X264, drawn, ffmpeg, locked

PQ = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc")
# What a mastering display could show (SMPTE ST 2086), in the words of x265.
STATIC = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
HLG = ("-color_primaries", "bt2020", "-color_trc", "arib-std-b67", "-colorspace", "bt2020nc")


def chapter(master: Path, tools: Tools, choices: Choices = PLAIN) -> tuple[Presentation, Path, stages.Plan]:
    """Take a master through all stages."""
    media = master.parent / "media"
    plan = stages.plan(master, tools, choices=choices)
    stages.encode(plan, media, tools)
    stages.assemble(plan, media, tools)
    stages.verify(plan, media, tools)
    folder = stages.publish_version(plan, media)
    return Presentation.load(folder), folder, plan


def pixel(file: Path, frame: int, at: tuple[float, float], tools: Tools) -> tuple[int, int, int]:
    """One picture's colour at a place (fractions of the picture), as 8-bit RGB."""
    graph = f"select=eq(n\\,{frame}),crop=8:8:(iw-8)*{at[0]}:(ih-8)*{at[1]},scale=1:1:flags=area,format=rgb24"
    out = run_tool(
        (
            *(str(tools.ffmpeg), "-v", "error", "-i", str(file), "-vf", graph),
            *("-frames:v", "1", "-f", "rawvideo", "-"),
        )
    )
    return out[0], out[1], out[2]


def top(p: Presentation, folder: Path) -> Path:
    return folder / p.videos[0].file


def test_frames_of_varying_length_are_shown_as_long_as_in_the_master(tools: Tools, tmp_path: Path):
    """50 black frames in 2 s, then 10 white ones in 2 s."""
    times = "setpts='if(lt(N,50),N/25,2+(N-50)/5)/TB'"
    graph = f"geq=lum='if(lt(N,50),16,235)':cb=128:cr=128,{times}"
    master = drawn(
        *(tools, tmp_path / "phone.mp4", "color=black:s=160x90:r=25", "-frames:v", "60", "-vf", graph),
        *("-fps_mode", "vfr", "-enc_time_base", "1:1000", *X264),
    )
    p, folder, plan = chapter(master, tools)
    assert "frame rate varies" in plan.master.notes[0]
    assert p.notes == plan.master.notes
    assert abs(float(p.grid.duration_s) - 4) < 0.25
    border = round(2 * p.grid.rate)
    assert pixel(top(p, folder), border - 2, (0.5, 0.5), tools)[0] < 30
    assert pixel(top(p, folder), border + 2, (0.5, 0.5), tools)[0] > 220


def test_a_turned_master_is_upright(tools: Tools, tmp_path: Path):
    """The left half is white; turned by 90 degrees to the right it is on top."""
    lying = drawn(
        *(tools, tmp_path / "a.mp4", "color=black:s=160x90:r=25", "-frames:v", "10"),
        *("-vf", "drawbox=w=80:h=90:color=white:t=fill", *X264),
    )
    ffmpeg(tools, "-display_rotation", "-90", "-i", str(lying), "-c", "copy", str(tmp_path / "turned.mp4"))
    p, folder, _ = chapter(tmp_path / "turned.mp4", tools)
    picture = p.videos[0].picture
    assert picture is not None
    assert (picture.width, picture.height) == (90, 160)
    assert pixel(top(p, folder), 5, (0.5, 0.1), tools)[0] > 220
    assert pixel(top(p, folder), 5, (0.5, 0.9), tools)[0] < 30


def test_wide_pixels_become_square_ones(tools: Tools, tmp_path: Path):
    master = drawn(
        tools, tmp_path / "wide.mov", "testsrc2=s=180x144:r=25", "-frames:v", "10", "-vf", "setsar=16/15", *X264
    )
    p, _, _ = chapter(master, tools)
    picture = p.videos[0].picture
    assert picture is not None
    assert (picture.width, picture.height) == (192, 144)


def test_fields_become_whole_pictures(tools: Tools, tmp_path: Path):
    """A white bar moves by 8 pixels from field to field: combed lines alternate, deinterlaced ones do not."""
    bar = "geq=lum='if(between(X,8*N,8*N+40),235,16)':cb=128:cr=128,tinterlace=interleave_top,setfield=tff"
    flags = ("-flags", "+ildct+ilme", "-x264-params", "tff=1")
    master = drawn(
        tools, tmp_path / "tv.mov", "color=black:s=320x180:r=50", "-frames:v", "15", "-vf", bar, *X264, *flags
    )
    assert comb(master, tools) > 20
    p, folder, plan = chapter(master, tools)
    assert comb(top(p, folder), tools) < 8
    assert "interlaced" in plan.master.notes[0]


def comb(file: Path, tools: Tools) -> float:
    """How much neighbouring lines of one picture differ more than lines two apart, in levels (mean of the row sums)."""
    words = (str(tools.ffmpeg), "-v", "error", "-i", str(file), "-vf", "select=eq(n\\,6),format=gray", "-frames:v", "1")
    grey = run_tool((*words, "-f", "rawvideo", "-"))
    rows = [grey[y * 320 : y * 320 + 320] for y in range(180)]
    near = sum(abs(a - b) for y in range(60, 120) for a, b in zip(rows[y], rows[y + 1], strict=True))
    far = sum(abs(a - b) for y in range(60, 120) for a, b in zip(rows[y], rows[y + 2], strict=True))
    return (near - far) / 60 / 10


@pytest.mark.parametrize(("curve", "name"), [(PQ, "HDR10"), (HLG, "HLG")], ids=["HDR10", "HLG"])
def test_hdr_is_tone_mapped_in_h264_and_kept_in_the_other_codecs(
    tools: Tools, tmp_path: Path, curve: tuple[str, ...], name: str
):
    """Reference white (58 % of PQ, 75 % of HLG: ITU-R BT.2408) is light and not burnt out; colour stays neutral."""
    luma = 64 + round((0.58 if name == "HDR10" else 0.75) * 876)
    graph = f"format=yuv420p10le,geq=lum='if(lt(X,160),64,{luma})':cb=512:cr=512"
    tags = f"setparams=color_primaries=bt2020:color_trc={curve[3]}:colorspace=bt2020nc:range=tv"
    master = drawn(
        *(tools, tmp_path / "hdr.mkv", "color=black:s=320x180:r=25", "-frames:v", "5", "-vf", f"{graph},{tags}"),
        *("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", f"log-level=none:{STATIC}", *curve),
    )
    p, folder, plan = chapter(master, tools, Choices(hevc=True))
    assert name in plan.master.notes[0]
    red, green, blue = pixel(top(p, folder), 2, (0.8, 0.5), tools)
    assert 150 < green < 245
    assert max(red, green, blue) - min(red, green, blue) < 8
    assert pixel(top(p, folder), 2, (0.2, 0.5), tools)[1] < 20
    assert light(top(p, folder), tools) == ("yuv420p", "bt709", "bt709", "bt709", False)
    _, (av1,), (hevc,) = p.video_sets
    for wide in (folder / av1.file, folder / hevc.file):
        assert light(wide, tools) == ("yuv420p10le", curve[3], "bt2020", "bt2020nc", name == "HDR10")
        assert abs(luma10(wide, tools) - (luma - 64) * 1023 / 876) < 8
    number = {"HDR10": 16, "HLG": 18}[name]
    assert av1.codecs.endswith(f".10.0.110.09.{number}.09.0")
    assert hevc.codecs.startswith("hvc1.2.4.L")
    assert dash(p).count(f'cicp:TransferCharacteristics" value="{number}"') == 2
    ranges = re.findall(r'EXT-X-STREAM-INF:.*CODECS="(avc1|av01|hvc1).*VIDEO-RANGE=([A-Z]+)', hls_multivariant(p))
    told = {"HDR10": "PQ", "HLG": "HLG"}[name]
    assert ranges == [("avc1", "SDR"), ("av01", told), ("hvc1", told)]


def light(file: Path, tools: Tools) -> tuple[str, str, str, str, bool]:
    """Pixel format, curve, primaries, matrix of the decoded picture, and whether it tells its mastering display."""
    words = (str(tools.ffmpeg), "-hide_banner", "-i", str(file), "-vf", "showinfo", "-frames:v", "1", "-f", "null", "-")
    heard: list[str] = []
    run_tool(words, on_complaints=heard.append)
    found = re.search(r"color_space:(\S+) color_primaries:(\S+) color_trc:(\S+)", heard[0])
    assert found
    depth = re.search(r"fmt:(\S+)", heard[0])
    assert depth
    return depth[1], found[3], found[2], found[1], "Mastering display metadata: has_primaries:1" in heard[0]


def luma10(file: Path, tools: Tools) -> int:
    """The luma of one point of the third picture, its limited range spread over 10 bits."""
    graph = "select=eq(n\\,2),crop=2:2:(iw-2)*0.8:(ih-2)*0.5,format=gray10le"
    words = (str(tools.ffmpeg), "-v", "error", "-i", str(file), "-vf", graph, "-frames:v", "1", "-f", "rawvideo", "-")
    return int(struct.unpack("<H", run_tool(words)[:2])[0])


def test_each_language_is_a_sound_of_its_own_and_a_file_beside_the_master_replaces_the_one_inside(
    tools: Tools, tmp_path: Path
):
    sines = [word for hz in (300, 600, 900) for word in ("-f", "lavfi", "-i", f"sine={hz}:r=48000:d=2")]
    tags = [w for i, tag in enumerate(("eng", "fra", "fra")) for w in (f"-metadata:s:a:{i}", f"language={tag}")]
    maps = [word for i in range(4) for word in ("-map", str(i))]
    master = tmp_path / "part1.mov"
    picture = ("-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=2")
    ffmpeg(tools, *picture, *sines, *maps, *X264, "-c:a", "aac", *tags, str(master))
    ffmpeg(tools, "-f", "lavfi", "-i", "sine=1200:r=44100:d=1", str(tmp_path / "part1.ara.wav"))
    behind = ("-af", "pan=5.1|BR=c0")
    ffmpeg(tools, "-f", "lavfi", "-i", "sine=1500:r=48000:d=2", *behind, str(tmp_path / "part1.fr.wav"))
    p, folder, _ = chapter(master, tools)
    heard = {"audio_en.mp4": 300, "audio_fr.mp4": 1500, "audio_ar.mp4": 1200, "audio_fr_surround.mp4": 1500}
    assert {audio.file: round(pitch(folder / audio.file, tools), -2) for audio in p.audios} == heard
    assert [audio.sound.channels for audio in p.audios if audio.sound] == [1, 2, 1, 6]
    assert [loud_channels(folder / f"audio_fr{which}.mp4", tools) for which in ("", "_surround")] == [[1], [5]]
    assert {sum(s.duration for s in audio.segments) // 1024 for audio in p.audios} <= {93, 94, 95}
    assert "3 sound tracks" in p.notes[0]
    assert p.notes[1:] == ("Sound of 6 channels is published in stereo, and in 5.1 for who chooses it.",)


def pitch(file: Path, tools: Tools) -> float:
    """Crossings of zero from below, per second, in the first half second."""
    words = (str(tools.ffmpeg), "-v", "error", "-i", str(file), "-t", "0.5", "-ac", "1", "-f", "s16le", "-")
    raw = run_tool(words)
    samples = struct.unpack(f"<{len(raw) // 2}h", raw)[2400:]
    crossings = sum(a < 0 <= b for a, b in pairwise(samples))
    return crossings * 48000 / len(samples)


def loud_channels(file: Path, tools: Tools) -> list[int]:
    """The numbers of the channels in which something is to be heard."""
    shown = "astats=metadata=1:measure_overall=none:measure_perchannel=RMS_level,ametadata=print:file=-"
    said = run_tool((str(tools.ffmpeg), "-v", "error", "-i", str(file), "-af", shown, "-f", "null", "-")).decode()
    levels_db = re.findall(r"astats\.(\d+)\.RMS_level=(\S+)", said)
    return sorted({int(number) - 1 for number, level_db in levels_db if float(level_db) > -50})


def test_a_sound_beside_a_silent_master_is_its_sound(tools: Tools, tmp_path: Path):
    master = make_master(tmp_path / "part1.mov", channels=0, frames=30, tools=tools)
    ffmpeg(tools, "-f", "lavfi", "-i", "sine=r=48000:d=1", str(tmp_path / "part1.deu.wav"))
    p, _, _ = chapter(master, tools)
    assert [audio.id for audio in p.audios] == ["audio_de"]


def test_a_master_that_may_not_be_read_is_refused(tools: Tools, tmp_path: Path):
    path = locked(tmp_path, tools)
    with as_anybody(tmp_path), pytest.raises(MasterForbidden, match="may not be read") as caught:
        probe(path, tools)
    assert "right to read" in caught.value.hint


@contextmanager
def as_anybody(folder: Path) -> Iterator[None]:
    """Root may read everything: be somebody who may not, for as long as the block lasts."""
    if os.geteuid() != 0:
        yield
        return
    for parent in (folder, *folder.parents):
        if "pytest" in parent.name:
            parent.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
