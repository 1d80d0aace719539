"""What an HDR10 master says of the screen that it was made on and of its own light (SMPTE ST 2086, CTA-861.3)."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

from encoder.errors import ToolFailed
from encoder.guard import Care
from encoder.master import Master, Screen
from encoder.tools import Tools, run_tool

# Both encoders name the points of `Screen` so.
NAMES = ("G", "B", "R", "WP")


def with_screen(master: Master, tools: Tools, care: Care) -> Master:
    """Ask the first picture; a master without a word of it, or of which none can be had, stays as it is."""
    if master.footage.transfer != "pq":
        return master
    ask = ("-v", "error", "-select_streams", f"v:{master.footage.number}", "-show_frames", "-read_intervals", "%+#1")
    try:
        answer = run_tool((str(tools.ffprobe), *ask, "-of", "json", "-i", f"file:{master.path}"), care=care)
    except ToolFailed:
        return master
    pictures = json.loads(answer).get("frames", [])
    told = pictures[0].get("side_data_list", []) if pictures else []
    return replace(master, footage=replace(master.footage, screen=screen_of(told)))


def screen_of(told: list[dict[str, Any]]) -> Screen | None:
    """Read the side data of one picture as ffprobe prints it; None unless primaries and luminance are there. Pure."""
    by_type = {str(one.get("side_data_type")): one for one in told}
    display, light = by_type.get("Mastering display metadata"), by_type.get("Content light level metadata")
    if display is None or "red_x" not in display or "max_luminance" not in display:
        return None
    names = ("green", "blue", "red", "white_point")
    points = tuple((Fraction(display[f"{name}_x"]), Fraction(display[f"{name}_y"])) for name in names)
    nits = Fraction(display["max_luminance"]), Fraction(display["min_luminance"])
    return Screen(points, nits, (int(light["max_content"]), int(light["max_average"])) if light else None)


def svt_words(screen: Screen) -> str:
    """Return the parameters of SVT-AV1: coordinates and cd/m2 as decimals."""
    display = "".join(
        f"{name}({float(x):.5f},{float(y):.5f})" for name, (x, y) in zip(NAMES, screen.points, strict=True)
    )
    most, least = screen.nits
    light = ":content-light={},{}".format(*screen.content) if screen.content else ""
    return f":mastering-display={display}L({float(most):.4f},{float(least):.4f}){light}"


def x265_words(screen: Screen) -> str:
    """Return the parameters of x265: coordinates in 1/50000, luminance in 1/10000 cd/m2."""
    display = "".join(
        f"{name}({round(x * 50_000)},{round(y * 50_000)})" for name, (x, y) in zip(NAMES, screen.points, strict=True)
    )
    most, least = (round(nits * 10_000) for nits in screen.nits)
    light = ":max-cll={},{}".format(*screen.content) if screen.content else ""
    return f":master-display={display}L({most},{least}){light}"
