"""Files that editors drop by mistake, and odd ones that are films all the same; every maker returns the path."""

from __future__ import annotations

import random
import struct
from pathlib import Path

from encoder.tools import Tools, run_tool
from tests.masters import make_master, truncated, with_slot

X264 = ("-c:v", "libx264", "-preset", "ultrafast")


def ffmpeg(tools: Tools, *words: str) -> None:
    run_tool((str(tools.ffmpeg), "-hide_banner", "-v", "error", "-y", *words))


def drawn(tools: Tools, path: Path, source: str, *words: str) -> Path:
    ffmpeg(tools, "-f", "lavfi", "-i", source, *words, str(path))
    return path


# --- what is no film, or none any more --------------------------------------------------------------------------------


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
    whole.unlink()
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


def only_text(folder: Path, _: Tools) -> Path:
    path = folder / "notes.mov"
    path.write_text("Dear editor, " * 100)
    return path


def without_moov(folder: Path, tools: Tools) -> Path:
    whole = make_master(folder / "whole", frames=30, channels=0, tools=tools, extra=("-f", "mov"))
    truncated(whole, folder / "cut.mov")
    whole.unlink()
    return folder / "cut.mov"


def only_sound(folder: Path, tools: Tools) -> Path:
    return make_master(folder / "song.mov", picture=False, frames=50, tools=tools)


def locked(folder: Path, tools: Tools) -> Path:
    path = make_master(folder / "locked.mov", frames=5, channels=0, tools=tools)
    path.chmod(0)
    return path


# --- what lies beside a film and cannot be used -----------------------------------------------------------------------


def late_slot(folder: Path, tools: Tools) -> Path:
    path = make_master(folder / "late.mov", frames=30, tools=tools)
    with_slot(path, start=2, duration=9)
    return path


def silent_slot(folder: Path, tools: Tools) -> Path:
    path = make_master(folder / "silent.mov", frames=50, channels=0, tools=tools)
    with_slot(path, start=0, duration=1)
    return path


def no_toml(folder: Path, tools: Tools) -> Path:
    path = make_master(folder / "sidecar.mov", frames=10, channels=0, tools=tools)
    path.with_suffix(".toml").write_text("title is: mine", "utf-8")
    return path


def no_captions(folder: Path, tools: Tools) -> Path:
    path = make_master(folder / "captions.mov", frames=10, channels=0, tools=tools)
    (folder / "captions.en.srt").write_text("nothing is said here", "utf-8")
    return path


def no_dub(folder: Path, tools: Tools) -> Path:
    path = make_master(folder / "dubbed.mov", frames=10, channels=0, tools=tools)
    (folder / "dubbed.fr.wav").write_text("no sound", "utf-8")
    return path


# --- what is odd, and a film ------------------------------------------------------------------------------------------


def corrupt_middle(folder: Path, tools: Tools, codec: str = "prores_ks", share: float = 0.04) -> Path:
    path = make_master(
        folder / f"worn_{codec}_{share}.mov", size="640x360", channels=0, codec=("-c:v", codec), tools=tools
    )
    data = bytearray(path.read_bytes())
    first = len(data) // 2
    noise = random.Random(1)
    data[first : first + int(len(data) * share)] = noise.randbytes(int(len(data) * share))
    path.write_bytes(data)
    return path


def corrupt_h264(folder: Path, tools: Tools) -> Path:
    return corrupt_middle(folder, tools, "libx264")


def mostly_corrupt(folder: Path, tools: Tools) -> Path:
    return corrupt_middle(folder, tools, share=0.3)


def one_frame(folder: Path, tools: Tools) -> Path:
    return make_master(folder / "one.webm", frames=1, channels=0, codec=("-c:v", "libvpx-vp9"), tools=tools)


def picture_of_8k(folder: Path, tools: Tools) -> Path:
    codec = (*X264, "-tune", "zerolatency")
    return make_master(folder / "8k.mov", size="7680x4320", frames=2, channels=0, codec=codec, tools=tools)


def three_hundred_a_second(folder: Path, tools: Tools) -> Path:
    return make_master(folder / "fast.mov", rate="300", frames=300, size="160x90", tools=tools)


def early(folder: Path, tools: Tools, suffix: str = "mkv") -> Path:
    """Its first second lies before time zero."""
    whole = make_master(folder / "whole", frames=75, size="160x90", channels=0, tools=tools, extra=("-f", "mov"))
    path = folder / f"early_{suffix}.{suffix}"
    shift = ("-output_ts_offset", "-1", "-avoid_negative_ts", "disabled")
    ffmpeg(tools, "-i", str(whole), "-c", "copy", *shift, str(path))
    whole.unlink()
    return path


def early_mp4(folder: Path, tools: Tools) -> Path:
    return early(folder, tools, "mp4")


def edited(folder: Path, tools: Tools) -> Path:
    """Cut in the middle of a group of pictures: the file still holds those before, and an edit list hides them."""
    codec = (*X264, "-g", "50")
    whole = make_master(folder / "whole", frames=100, size="160x90", codec=codec, tools=tools, extra=("-f", "mov"))
    ffmpeg(tools, "-ss", "1.32", "-i", str(whole), "-c", "copy", str(folder / "edited.mp4"))
    whole.unlink()
    return folder / "edited.mp4"


def forty_tracks(folder: Path, tools: Tools) -> Path:
    maps = ("-map", "0:v", *(word for _ in range(40) for word in ("-map", "1:a")))
    inputs = ("-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=1", "-f", "lavfi", "-i", "sine=r=48000:d=1")
    ffmpeg(tools, *inputs, *maps, *X264, "-c:a", "aac", str(folder / "many.mov"))
    return folder / "many.mov"
