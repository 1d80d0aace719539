"""Masters that the tests make with ffmpeg: small, seeded by nothing, of every kind an editor may drop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from encoder.model import Presentation, Rendition, Segment
from encoder.tools import Tools, find_tools, run_tool


def make_master(
    path: Path,
    *,
    size: str = "320x180",
    rate: str = "25",
    frames: int = 100,
    channels: int = 2,
    picture: bool = True,
    codec: tuple[str, ...] = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25"),
    extra: tuple[str, ...] = (),
    tools: Tools | None = None,
) -> Path:
    """Write a master with a moving test picture of `frames` frames and a tone in each channel; 0 channels is silent."""
    ffmpeg = str((tools or find_tools()).ffmpeg)
    seconds = frames / eval_rate(rate)
    command = [ffmpeg, "-v", "error", "-y"]
    if picture:
        command += ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}"]
    if channels:
        command += ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds:.6f}"]
    if picture:
        command += ["-map", "0:v", "-frames:v", str(frames), "-pix_fmt", "yuv420p", *codec]
    if channels:
        command += ["-map", f"{int(picture)}:a", "-c:a", "aac", "-ac", str(channels)]
    path.parent.mkdir(parents=True, exist_ok=True)
    run_tool([*command, *extra, f"file:{path}"])
    return path


def eval_rate(rate: str) -> float:
    numerator, _, denominator = rate.partition("/")
    return int(numerator) / int(denominator or 1)


def with_slot(master: Path, *, start: float = 1.0, duration: float = 1.5, id: str = "you", more: str = "") -> Path:
    """Write a sidecar with one slot beside `master` and return its path."""
    sidecar = master.with_name(master.stem + ".toml")
    sidecar.write_text(
        f'title = "Part two"\nlanguage = "en"\n{more}\n[[slot]]\nid = "{id}"\nstart = {start}\nduration = {duration}\n'
        "face = {x = 0.3, y = 0.1, w = 0.4, h = 0.8}\n",
        "utf-8",
    )
    return sidecar


def truncated(master: Path, target: Path, share: float = 0.6) -> Path:
    data = master.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def structure(p: Presentation) -> Presentation:
    """Everything of a chapter but its sizes in bytes: with several threads x264 does not always repeat itself."""
    return replace(p, renditions=tuple(map(_without_sizes, p.renditions)))


def _without_sizes(r: Rendition) -> Rendition:
    segments = tuple(Segment(0, 0, segment.duration) for segment in r.segments)
    insert = r.insert and replace(r.insert, x264_params="")
    return replace(r, segments=segments, bandwidth_bps=0, average_bandwidth_bps=0, insert=insert)
