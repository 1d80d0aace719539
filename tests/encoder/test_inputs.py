"""Masters of every kind that an editor may drop: what the chapter made of each is like, judged by frames and pixels."""

from __future__ import annotations

import os
import random
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from encoder import stages
from encoder.errors import (
    CodecUnsupported,
    EncoderError,
    MasterDamaged,
    MasterForbidden,
    MasterTruncated,
    MasterUnreadable,
    PictureTooSmall,
)
from encoder.ladder import PLAIN
from encoder.manifest import dash, hls_multivariant
from encoder.model import Choices, Presentation
from encoder.probe import probe
from encoder.tools import Tools, run_tool
from tests.masters import make_master

X264 = ("-c:v", "libx264", "-preset", "ultrafast")
PQ = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc")
# What a mastering display could show (SMPTE ST 2086), in the words of x265.
STATIC = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"
HLG = ("-color_primaries", "bt2020", "-color_trc", "arib-std-b67", "-colorspace", "bt2020nc")


def ffmpeg(tools: Tools, *words: str) -> None:
    run_tool((str(tools.ffmpeg), "-hide_banner", "-v", "error", "-y", *words))


def drawn(tools: Tools, path: Path, source: str, *words: str) -> Path:
    ffmpeg(tools, "-f", "lavfi", "-i", source, *words, str(path))
    return path


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
        assert light(wide, tools)[:4] == ("yuv420p10le", curve[3], "bt2020", "bt2020nc")
        assert abs(luma10(wide, tools) - (luma - 64) * 1023 / 876) < 8
    number = {"HDR10": 16, "HLG": 18}[name]
    assert av1.codecs.endswith(f".10.0.110.09.{number}.09.0")
    assert hevc.codecs.startswith("hvc1.2.4.L")
    assert dash(p).count(f'cicp:TransferCharacteristics" value="{number}"') == 2
    ranges = re.findall(r'CODECS="(avc1|av01|hvc1).*VIDEO-RANGE=([A-Z]+)', hls_multivariant(p))
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


def test_an_edit_list_hides_what_the_editor_cut_away(tools: Tools, tmp_path: Path):
    """The film is cut in the middle of a group of pictures: the file still holds the pictures before."""
    whole = make_master(tmp_path / "whole.mov", frames=100, codec=(*X264, "-g", "50"), tools=tools)
    ffmpeg(tools, "-ss", "1.32", "-i", str(whole), "-c", "copy", str(tmp_path / "cut.mp4"))
    p, _, _ = chapter(tmp_path / "cut.mp4", tools)
    assert abs(p.grid.frames - 67) <= 1


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_what_lies_before_time_zero_is_not_shown(tools: Tools, tmp_path: Path, suffix: str):
    whole = make_master(tmp_path / "whole.mov", frames=75, channels=0, tools=tools)
    target = tmp_path / f"early.{suffix}"
    early = ("-output_ts_offset", "-1", "-avoid_negative_ts", "disabled")
    ffmpeg(tools, "-i", str(whole), "-c", "copy", *early, str(target))
    p, _, _ = chapter(target, tools)
    assert p.grid.frames == 50


def test_three_hundred_frames_a_second_become_sixty(tools: Tools, tmp_path: Path):
    p, _, plan = chapter(make_master(tmp_path / "fast.mov", rate="300", frames=300, tools=tools), tools)
    assert (p.grid.rate, p.grid.frames) == (60, 60)
    assert "60 are kept" in plan.master.notes[0]


def test_an_8k_picture_becomes_the_usual_rungs(tools: Tools, tmp_path: Path):
    codec = (*X264, "-tune", "zerolatency")
    master = make_master(tmp_path / "8k.mov", size="7680x4320", frames=2, channels=0, codec=codec, tools=tools)
    plan = stages.plan(master, tools)
    assert [rung.height for rung in plan.ladder.rungs if rung.codec == "h264"] == [1080, 720, 432]


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
    ffmpeg(tools, "-f", "lavfi", "-i", "sine=1500:r=48000:d=2", str(tmp_path / "part1.fr.wav"))
    p, folder, plan = chapter(master, tools)
    assert [audio.file for audio in p.audios] == ["audio_en.mp4", "audio_fr.mp4", "audio_ar.mp4"]
    assert [round(pitch(folder / audio.file, tools), -2) for audio in p.audios] == [300, 1500, 1200]
    assert {sum(s.duration for s in audio.segments) // 1024 for audio in p.audios} <= {93, 94, 95}
    assert "3 sound tracks" in plan.master.notes[0]


def pitch(file: Path, tools: Tools) -> float:
    """Crossings of zero from below, per second, in the first half second."""
    words = (str(tools.ffmpeg), "-v", "error", "-i", str(file), "-t", "0.5", "-ac", "1", "-f", "s16le", "-")
    raw = run_tool(words)
    samples = struct.unpack(f"<{len(raw) // 2}h", raw)[2400:]
    crossings = sum(a < 0 <= b for a, b in pairwise(samples))
    return crossings * 48000 / len(samples)


def test_forty_sound_tracks_in_one_language_are_one_sound(tools: Tools, tmp_path: Path):
    master = tmp_path / "many.mov"
    maps = ("-map", "0:v", *(word for _ in range(40) for word in ("-map", "1:a")))
    inputs = ("-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=1", "-f", "lavfi", "-i", "sine=r=48000:d=1")
    ffmpeg(tools, *inputs, *maps, *X264, "-c:a", "aac", str(master))
    p, _, plan = chapter(master, tools)
    assert [audio.id for audio in p.audios] == ["audio_und"]
    assert "40 sound tracks" in plan.master.notes[0]


def test_a_sound_beside_a_silent_master_is_its_sound(tools: Tools, tmp_path: Path):
    master = make_master(tmp_path / "part1.mov", channels=0, frames=30, tools=tools)
    ffmpeg(tools, "-f", "lavfi", "-i", "sine=r=48000:d=1", str(tmp_path / "part1.deu.wav"))
    p, _, _ = chapter(master, tools)
    assert [audio.id for audio in p.audios] == ["audio_de"]


@pytest.mark.parametrize(("share", "codec"), [(0.04, "prores_ks"), (0.04, "libx264")])
def test_a_corrupt_middle_is_published_with_a_warning(tools: Tools, tmp_path: Path, share: float, codec: str):
    master = corrupt_middle(tmp_path, tools, codec, share)
    p, _, _ = chapter(master, tools)
    assert p.grid.frames == 100
    assert re.search(r"damaged: ffmpeg could not decode it \d+ times", p.notes[-1])


def test_a_master_of_which_much_cannot_be_decoded_fails(tools: Tools, tmp_path: Path):
    master = corrupt_middle(tmp_path, tools, "prores_ks", 0.3)
    with pytest.raises(MasterDamaged, match="% of its pictures") as caught:
        chapter(master, tools)
    assert "copy it again" in caught.value.hint
    assert not (tmp_path / "media" / "worn" / "current").exists()


def corrupt_middle(folder: Path, tools: Tools, codec: str, share: float) -> Path:
    path = make_master(folder / "worn.mov", size="640x360", channels=0, codec=("-c:v", codec), tools=tools)
    data = bytearray(path.read_bytes())
    first = len(data) // 2
    noise = random.Random(1)
    data[first : first + int(len(data) * share)] = noise.randbytes(int(len(data) * share))
    path.write_bytes(data)
    return path


# --- what is refused ---------------------------------------------------------------------------------------------


def lying_clock(folder: Path, tools: Tools) -> Path:
    """A Matroska that claims ten hours (its Duration element, ID 0x4489, is a double of milliseconds)."""
    path = make_master(folder / "lie.mkv", frames=50, channels=0, tools=tools)
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", 36_000_000.0)
    tag = data.index(b"00:00:02")
    data[tag : tag + 8] = b"10:00:00"
    path.write_bytes(data)
    return path


def long_last_sample(folder: Path, tools: Tools) -> Path:
    """A QuickTime file whose last picture stands for ten hours."""
    graph = "setpts='if(lt(N,49),N/25,36000)/TB'"
    return drawn(
        *(tools, folder / "still.mp4", "testsrc2=s=160x90:r=25", "-frames:v", "50", "-vf", graph),
        *("-fps_mode", "vfr", "-enc_time_base", "1:1000", *X264),
    )


def header_only(folder: Path, tools: Tools) -> Path:
    whole = make_master(folder / "whole.mkv", frames=50, channels=0, tools=tools)
    path = folder / "head.mkv"
    path.write_bytes(whole.read_bytes()[:600])
    return path


def unknown_codec(folder: Path, tools: Tools) -> Path:
    path = make_master(folder / "odd.mov", frames=10, channels=0, tools=tools)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zz7z").replace(b"avcC", b"zzzZ"))
    return path


def one_pixel(folder: Path, tools: Tools) -> Path:
    png = ("-pix_fmt", "rgb24", "-c:v", "png")
    return drawn(tools, folder / "dot.mkv", "color=red:s=1x1:r=25", "-frames:v", "5", *png)


def no_bytes(folder: Path, tools: Tools) -> Path:
    path = folder / "empty.mxf"
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("make", "kind", "says", "hint"),
    [
        (lying_clock, MasterTruncated, "36000.0 s long", "copy or export"),
        (long_last_sample, MasterTruncated, "between 1.9 s and 36000.0 s there is no picture", "copy or export"),
        (header_only, MasterTruncated, "last second", "copy or export"),
        (unknown_codec, CodecUnsupported, "zz7z", "ProRes"),
        (one_pixel, PictureTooSmall, "1 x 1", "64 x 64"),
        (no_bytes, MasterUnreadable, "empty", "Open it"),
    ],
    ids=["a clock that lies", "a picture of ten hours", "only a head", "unknown codec", "one pixel", "no bytes"],
)
def test_a_bad_master_is_refused_before_it_is_encoded(
    tools: Tools, tmp_path: Path, *, make: Callable[[Path, Tools], Path], kind: type[EncoderError], says: str, hint: str
):
    path = make(tmp_path, tools)
    with pytest.raises(kind, match=says) as caught:
        probe(path, tools)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_master_that_may_not_be_read_is_refused(tools: Tools, tmp_path: Path):
    path = make_master(tmp_path / "locked.mov", frames=5, channels=0, tools=tools)
    path.chmod(0)
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
