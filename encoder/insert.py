"""Inserts: the settings that their parameter sets are reserved for, and the processes that make them. Pure."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from encoder.commands import COLOUR, FRAGMENTS, TAGGED
from encoder.model import Grid, Rendition
from encoder.rung import Rung
from encoder.tools import Tools

# The insert has no B-frames, so decode and presentation times are equal, and a set of parameters of its own.
INSERT_X264 = (
    "keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:bframes=0:ref=1:weightp=0:8x8dct=1:cabac=0:"
    "rc-lookahead=10:sync-lookahead=0:stitchable=1:sps-id=1:level={level}:vbv-maxrate={maxrate}:vbv-bufsize={bufsize}"
)
INSERT_PRESET, INSERT_CRF = "veryfast", 21


def insert_x264(gop: int, level: str, peak_bps: int, shortest_s: Fraction) -> str:
    """Return x264's parameters for inserts, none of whose segments of at least `shortest_s` needs more than the peak.

    Of t seconds come 0.8 t at the peak and the buffer, at most; what is left is for the boxes of MP4.
    """
    maxrate, bufsize = peak_bps * 8 // 10_000, int(peak_bps * shortest_s * 18) // 100_000
    return INSERT_X264.format(gop=gop, level=level, maxrate=maxrate, bufsize=bufsize)


def insert_encoder(preset: str, x264_params: str) -> list[str]:
    """Return the output options of every H.264 insert; the same ones give the parameter sets at publication."""
    colour = [word for key, value in COLOUR.items() for word in (f"-{key}", value)]
    return [
        *("-c:v", "libx264", "-preset", preset, "-crf", str(INSERT_CRF), "-profile:v", "high"),
        *("-pix_fmt", "yuv420p", *colour, "-x264-params", x264_params),
    ]


def parameter_sets_command(rung: Rung, grid: Grid, preset: str, x264_params: str, tools: Tools) -> list[str]:
    """Return the command that prints one black picture as Annex B, to read the reserved parameter sets from."""
    source = f"color=black:s={rung.width}x{rung.height}:r={grid.rate},format=yuv420p,{TAGGED},setsar=1"
    return [
        *(str(tools.ffmpeg), "-hide_banner", "-v", "error", "-f", "lavfi", "-i", source, "-frames:v", "1"),
        *insert_encoder(preset, x264_params),
        *("-f", "h264", "pipe:1"),
    ]


def raw_pictures(size: tuple[int, int], rate: Fraction) -> list[str]:
    """Return the input options of I420 pictures of `size` (width, height) that come on standard input."""
    return ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{size[0]}x{size[1]}", "-r", str(rate), "-i", "pipe:0"]


def insert_command(
    grid: Grid, size: tuple[int, int], renditions: tuple[tuple[Rendition, int], ...], tools: Tools
) -> list[str]:
    """Return the process that encodes one insert for several renditions at once.

    It reads I420 pictures of `size` (width, height) on standard input and writes, for each (rendition, descriptor), a
    fragmented MP4 with one fragment per segment to that descriptor.
    """
    parts, outputs = [], []
    for i, (rendition, descriptor) in enumerate(renditions):
        assert rendition.picture is not None
        assert rendition.insert is not None
        scale = f"scale={rendition.picture.width}:{rendition.picture.height}:flags=bicubic"
        parts.append(f"[s{i}]{scale},setsar=1[v{i}]")
        outputs += ["-map", f"[v{i}]", *insert_encoder(rendition.insert.preset, rendition.insert.x264_params)]
        outputs += ["-flush_packets", "1", "-movflags", FRAGMENTS, "-f", "mp4", f"pipe:{descriptor}"]
    split = f"[0:v]{TAGGED},split={len(renditions)}" + "".join(f"[s{i}]" for i in range(len(renditions)))
    return [
        *(str(tools.ffmpeg), "-hide_banner", "-v", "error", *raw_pictures(size, grid.rate)),
        *("-filter_complex", ";".join([split, *parts]), *outputs),
    ]


def frames_command(
    file: Path, grid: Grid, tools: Tools, *, size: tuple[int, int], skipped: int, frames: int
) -> list[str]:
    """Return the command that prints `frames` pictures of a mezzanine as I420 of `size`, after `skipped` segments.

    A mezzanine has a key picture at the beginning of every segment, so what is skipped is not decoded either.
    """
    # Half a picture early, so that no rounding leads past the key picture.
    start_s = max(0.0, float((skipped * grid.frames_per_segment - Fraction(1, 2)) / grid.rate))
    seek = ("-ss", f"{start_s:.6f}") if skipped else ()
    return [
        *(str(tools.ffmpeg), "-hide_banner", "-v", "error", *seek, "-i", f"file:{file}"),
        *("-vf", f"scale={size[0]}:{size[1]}:flags=bicubic", "-frames:v", str(frames)),
        *("-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "pipe:1"),
    ]
