"""Masters that the tests make with ffmpeg: small, seeded by nothing, of every kind an editor may drop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from encoder import stages
from encoder.chunk import CHUNK_S
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
    board = p.storyboard and replace(p.storyboard, sizes=())
    return replace(p, renditions=tuple(map(_without_sizes, p.renditions)), storyboard=board)


def _without_sizes(r: Rendition) -> Rendition:
    segments = tuple(Segment(0, 0, segment.duration) for segment in r.segments)
    insert = r.insert and replace(r.insert, x264_params="")
    return replace(r, segments=segments, bandwidth_bps=0, average_bandwidth_bps=0, insert=insert)


@dataclass
class Published:
    plan: stages.Plan
    media: Path
    folder: Path
    presentation: Presentation


def publish(master: Path, media: Path, tools: Tools, chunk_s: Fraction = CHUNK_S) -> Published:
    """Take a master through all stages of the encoder."""
    plan = stages.plan(master, tools, chunk_s=chunk_s)
    stages.encode(plan, media, tools)
    stages.assemble(plan, media, tools)
    stages.verify(plan, media, tools)
    folder = stages.publish_version(plan, media)
    return Published(plan, media, folder, Presentation.load(folder))


# Colours of the four patches of a transparent master from left to right, and their alpha.
PATCHES = ((200, 40, 60), (40, 180, 60), (60, 80, 220), (230, 220, 60))
ALPHAS = (0, 64, 128, 255)
KINDS = {
    "prores": ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le", "-alpha_bits", "16"),
    "animation": ("-c:v", "qtrle", "-pix_fmt", "argb"),
    "png": ("-c:v", "png", "-pix_fmt", "rgba"),
}


def make_transparent(
    path: Path,
    *,
    kind: str = "png",
    size: tuple[int, int] = (128, 96),
    rate: str = "25",
    frames: int = 100,
    alphas: tuple[int, ...] = ALPHAS,
    premultiplied: bool = False,
    sound: bool = False,
) -> Path:
    """Write a master of upright patches with an alpha each; a white bar of 16 rows at the bottom wanders over them.

    The bar is opaque and stands at x = 2 * frame modulo the width, 8 pixels wide. Nothing else moves.
    """
    width, height = size
    masters = Path(path.parent)
    masters.mkdir(parents=True, exist_ok=True)
    colours = [
        tuple(c * a // 255 for c in rgb) if premultiplied else rgb for rgb, a in zip(PATCHES, alphas, strict=True)
    ]
    words = {"r": [c[0] for c in colours], "g": [c[1] for c in colours], "b": [c[2] for c in colours], "a": alphas}
    bar = f"gt(Y,{height - 17})*between(mod(X-2*N+1000*{width},{width}),0,7)"
    patch = f"trunc(4*X/{width})"
    values = (
        f"{name}='if({bar},255," + "".join(f"if(eq({patch},{i}),{v}," for i, v in enumerate(of)) + "0" + ")" * 5 + "'"
        for name, of in words.items()
    )
    source = f"color=black:s={width}x{height}:r={rate},format=rgba,geq={':'.join(values)}"
    command = [str(find_tools().ffmpeg), "-v", "error", "-y", "-f", "lavfi", "-i", source]
    seconds = frames / eval_rate(rate)
    tone = f"sine=frequency=440:sample_rate=48000:duration={seconds:.6f}"
    command += ["-f", "lavfi", "-i", tone, "-map", "0:v", "-map", "1:a", "-c:a", "aac"] if sound else []
    matrix = ["-vf", "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd"] if kind == "prores" else []
    run_tool([*command, "-frames:v", str(frames), *matrix, *KINDS[kind], f"file:{path}"])
    return path
