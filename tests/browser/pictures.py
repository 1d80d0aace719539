"""What a picture ought to look like: mean colours of its regions, decoded by ffmpeg instead of a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoder.tools import find_tools, run_tool
from tests.browser.driver import Region

WIDTH, HEIGHT = 320, 180


def means_of(video: Path, regions: list[Region]) -> NDArray[np.float64]:
    """Return (pictures, regions, 3): the mean red, green and blue of each region of each picture of a file."""
    scaled = f"scale={WIDTH}:{HEIGHT}:flags=area,format=rgb24"
    command = (str(find_tools().ffmpeg), "-v", "error", "-i", str(video), "-vf", scaled, "-f", "rawvideo", "pipe:1")
    shown = np.frombuffer(run_tool(command), np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
    return np.stack([shown[:, *_box(region)].mean((1, 2)) for region in regions], axis=1)


def _box(region: Region) -> tuple[slice, slice]:
    x, y = round(region.x * WIDTH), round(region.y * HEIGHT)
    return slice(y, y + round(region.h * HEIGHT)), slice(x, x + round(region.w * WIDTH))
