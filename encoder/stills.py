"""Pictures of a chapter that stand still: the poster and the sheets of the storyboard, made from what was encoded."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from encoder import stock
from encoder.errors import VerificationFailed
from encoder.guard import Care
from encoder.model import Ladder, Presentation, Rendition, Rung
from encoder.storyboard import INDEX, Storyboard
from encoder.tools import Tools, run_guarded

POSTER = "poster.jpg"
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"


def poster_at(trick: Rendition) -> Fraction:
    """Return the time in seconds of the picture that shows most, which is the one that needs most bytes.

    It is looked for in the first half of the chapter, so that no end is told. Pure.
    """
    half = trick.segments[: max(1, len(trick.segments) // 2)]
    fullest = max(range(len(half)), key=lambda n: half[n].size)
    return Fraction(sum(s.duration for s in half[:fullest]), trick.timescale)


def board_for(ladder: Ladder, trick: Rung) -> Storyboard:
    return Storyboard.of(ladder.grid.thinned(trick.every), trick.width, trick.height)


def trick_rung(ladder: Ladder) -> Rung | None:
    return next((rung for rung in ladder.rungs if rung.every > 1), None)


def still_keys(ladder: Ladder, made_from: Mapping[str, str]) -> dict[str, str]:
    """Return the keys of poster and storyboard from those of the renditions that they are made of."""
    trick = trick_rung(ladder)
    if trick is None:
        return {}
    opaque = next(rung for rung in ladder.rungs if not rung.alpha)
    top, small = (made_from[rung.file] for rung in (opaque, trick))
    board = board_for(ladder, trick)
    return {POSTER: stock.key(top, small), **{name: stock.key(name, small) for name in (*board.files, INDEX)}}


def make_poster(top: Rendition, trick: Rendition, folder: Path, tools: Tools, care: Care) -> None:
    """Write one picture of the largest opaque rendition as JPEG; raises ToolFailed, ToolCancelled."""
    run_guarded(poster_command(folder / top.file, poster_at(trick), folder / POSTER, tools), care)


def make_storyboard(
    trick: Rendition, board: Storyboard, duration_s: Fraction, folder: Path, *, tools: Tools, care: Care
) -> None:
    """Write the sheets and their WebVTT; raises ToolFailed, ToolCancelled."""
    run_guarded(storyboard_command(folder / trick.file, board, folder, tools), care)
    (folder / INDEX).write_text(board.webvtt(duration_s), "utf-8")


def verify_stills(p: Presentation, folder: Path) -> None:
    """Make sure that each JPEG has a beginning and an end (ITU-T T.81, B.1.1.3); raises VerificationFailed."""
    for name in (name for name in p.files if name.endswith(".jpg")):
        data = (folder / name).read_bytes()
        if not (data.startswith(JPEG_START) and data.endswith(JPEG_END)):
            raise VerificationFailed(name, "it is not a whole picture.")


def poster_command(file: Path, at_s: Fraction, target: Path, tools: Tools) -> list[str]:
    """Return the command that writes one picture of a rendition as JPEG."""
    # Half a millisecond early, so that no rounding leads past it.
    source = ("-ss", f"{max(0.0, float(at_s) - 0.0005):.6f}", "-i", f"file:{file}")
    return _jpeg(source, "null", ("-frames:v", "1", "-q:v", "3", "-update", "1"), target, tools)


def storyboard_command(file: Path, board: Storyboard, folder: Path, tools: Tools) -> list[str]:
    """Return the command that lays all pictures of a trick-play rendition on sheets in `folder`."""
    tiles = f"scale={board.width}:{board.height}:flags=bicubic,tile={board.columns}x{board.rows}"
    return _jpeg(("-i", f"file:{file}"), tiles, ("-q:v", "5"), folder / "storyboard_%d.jpg", tools)


def _jpeg(source: tuple[str, ...], graph: str, options: tuple[str, ...], target: Path, tools: Tools) -> list[str]:
    """JPEG has the matrix of BT.601 and all of the range (JFIF)."""
    graph += ",scale=out_color_matrix=bt601:out_range=pc,format=yuvj420p"
    quiet = (str(tools.ffmpeg), "-hide_banner", "-nostdin", "-v", "error", "-y")
    return [*quiet, *source, "-vf", graph, *options, "-c:v", "mjpeg", "-f", "image2", f"{target}"]
