"""Films with transparency: which renditions they get, and the pictures of each (docs/decisions/0021-alpha.md).

A browser shows transparency of VP9 in WebM by itself, Safari that of HEVC. Everywhere else a page draws it from an
ordinary picture in which alpha is stacked below the colours, both as luma and chroma of video range.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ffmpeg

from encoder.ladder import in_codec, level_for
from encoder.model import Codec, Footage, Grid, Ladder, Master, Rung
from encoder.sidecar import AlphaTold
from encoder.webm import CLUSTERS

# Between colours and alpha, half of each: what a codec smears across the seam is never drawn.
GUARD_ROWS = 16
# A second picture in the stream needs about half of the first one's bytes at most.
CEILING = 3, 2
NO_VP9 = "Its transparency is left out: this ffmpeg cannot encode VP9 with alpha."
NO_HEVC = "This ffmpeg cannot encode HEVC with alpha: Safari shows the film through the page's player alone."
VP9_SPEED = 4
ACCURATE = "bicubic+accurate_rnd+full_chroma_int"
# The film with its main sound, for `<video src>`.
PROGRESSIVE = "film_vp9.webm"
VIDEO = {"out_color_matrix": "bt709", "out_range": "tv", "flags": ACCURATE}


def as_told(master: Master, told: AlphaTold | None, layered: frozenset[str]) -> Master:
    """Return a master as its sidecar says how colours are kept, and as an opaque one where that cannot be helped.

    `layered` are the codecs that ffmpeg can encode with an alpha layer.
    """
    if not master.footage.alpha:
        return master
    if told == "none" or "vp9" not in layered:
        notes = () if told == "none" else (NO_VP9,)
        opaque = replace(master.footage, alpha="", matrix="")
        return replace(master, footage=opaque, notes=(*master.notes, *notes))
    notes = () if "hevc" in layered else (NO_HEVC,)
    kept = replace(master.footage, alpha=told or master.footage.alpha)
    return replace(master, footage=kept, notes=(*master.notes, *notes))


def stacked_height(height: int) -> int:
    return 2 * height + GUARD_ROWS


def rungs_of(ladder: Ladder, *, hevc: bool, below: bool) -> Ladder:
    """Return the ladder of a transparent film from that of an opaque one.

    VP9 and (where ffmpeg can make it) HEVC with alpha layers of their own, and all rungs of the opaque ladder stacked.
    With `below` the opaque H.264 rungs, over black, are kept in front: for what is to be shown below the film. Key
    frames for seeking stay as they are.
    """
    h264 = tuple(rung for rung in ladder.rungs if rung.codec == "h264" and rung.every == 1)
    codecs: tuple[Codec, ...] = ("vp9", "hevc") if hevc else ("vp9",)
    layered = (_layered(rung, codec) for codec in codecs for rung in h264)
    stacked = (_stacked(rung, ladder) for rung in ladder.rungs if rung.every == 1)
    tricks = (rung for rung in ladder.rungs if rung.every > 1)
    return replace(ladder, rungs=(*(h264 if below else ()), *layered, *stacked, *tricks))


def _layered(rung: Rung, codec: Codec) -> Rung:
    return replace(in_codec(rung, codec, "sdr"), alpha="own", maxrate_bps=_ceiling(rung))


def _stacked(rung: Rung, ladder: Ladder) -> Rung:
    level = level_for(rung.width, stacked_height(rung.height), ladder.grid.rate)
    return replace(rung, alpha="stacked", level=level, maxrate_bps=_ceiling(rung))


def _ceiling(rung: Rung) -> int:
    times, of = CEILING
    return rung.maxrate_bps * times // of


def premultiplied(stream: Any, footage: Footage) -> Any:
    """Bring a transparent film to RGB times alpha: the only form in which pictures can be scaled.

    `gbrap` of more than 8 bits must not be turned into `gbrp`, where swscale spoils single rows.
    """
    matrix = {"in_color_matrix": footage.matrix, "in_range": "tv"} if footage.matrix else {}
    if footage.alpha == "premultiplied":
        # Untold, it is taken for straight, and `unpremultiply` does nothing.
        stream = stream.filter("setparams", alpha_mode="premultiplied")
    stream = stream.filter("scale", flags=f"{ACCURATE}+full_chroma_inp", **matrix).filter("format", "gbrap12le")
    if footage.alpha == "straight":
        stream = stream.filter("premultiply", inplace=1)
    return stream


def layered(stream: Any, rung: Rung) -> Any:
    """Return pictures with a layer of full-range alpha, as codecs keep it: colours are not multiplied by it."""
    stream = stream.filter("scale", rung.width, rung.height, flags=ACCURATE).filter("format", "gbrap12le")
    stream = stream.filter("unpremultiply", inplace=1)
    return stream.filter("scale", **VIDEO).filter("format", "yuva420p")


def stacked(stream: Any, rung: Rung) -> Any:
    """Return pictures twice as high: colours times alpha, the guard rows, alpha in video range."""
    stream = stream.filter("scale", rung.width, rung.height, flags=ACCURATE).filter("format", "gbrap12le").split()
    half = GUARD_ROWS // 2
    colours = stream[0].filter("scale", **VIDEO).filter("format", "yuv420p")
    colours = colours.filter("pad", "iw", f"ih+{half}").filter("fillborders", bottom=half, mode="smear")
    alpha = stream[1].filter("alphaextract").filter("format", "gray10le")
    alpha = alpha.filter("scale", in_range="full", out_range="tv").filter("format", "yuv420p")
    alpha = alpha.filter("pad", "iw", f"ih+{half}", 0, half).filter("fillborders", top=half, mode="smear")
    return ffmpeg.filter([colours, alpha], "vstack")


def vp9(rung: Rung, grid: Grid) -> dict[str, Any]:
    """Return libvpx's options: key pictures of both layers on the grid, and nowhere else a cluster begins."""
    return {
        "c:v": "libvpx-vp9",
        "b:v": rung.maxrate_bps,
        **({} if rung.crf is None else {"crf": rung.crf}),
        "g": grid.frames_per_segment,
        "keyint_min": grid.frames_per_segment,
        "cpu-used": VP9_SPEED,
        "row-mt": 1,
        **CLUSTERS,
    }
