"""Finds the mark of a render in any video file, without the original (docs/decisions/0010).

Pictures are brought to a few pixels a cell; each pixel's change from picture to picture is cut off where it is larger
than a mark's can be, and what is left is listened to in the mark's cycle, some seconds at a time. The pilot then shows
how the picture was cropped and scaled and where the cycle stands; then the cells give the codeword.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from encoder.tools import Tools, find_tools, open_tool
from lipsync.codeword import LENGTH, decode, encode
from lipsync.mark import CELLS_ACROSS_SQUARE, CYCLE_HZ, LARGEST_GRID, cells

Waves = NDArray[np.complex64]
Floats = NDArray[np.float32]
Picture = Floats
"""Luma (h, w) of a picture as fractions of grey levels: a mark is less than one level high."""

RATE = 25
"""Pictures a second that are looked at, whatever the file has."""
WINDOW_S, HOP_S, SHORTEST_S = 4, 1, 2
"""Seconds that are listened to at a time; to listen longer brings nothing, because codecs' errors last as long."""
BIN_HZ = 0.25
PX_PER_CELL, PILOT_PX_PER_CELL, SAMPLES_PER_CELL = 4, 3, 4
LARGEST_CHANGE = 0.6
"""Grey levels from one picture to the next beyond which a change tells no more of the mark."""
CONTENT_PX = 9.0
"""Radius beyond which a change is the content's, not a cell's."""
LOUDNESS_FLOOR = 0.5
"""Part of a picture's mean loudness below which no pixel counts as quiet: round a still scene's box, where there is no
mark, a codec's own noise would else count for more than the box."""
QUIET_BINS = (-2, -1, 1, 2, 3, 4, 5)
"""Frequencies, in steps of BIN_HZ from the cycle, that show how loud the content of a pixel is."""
SURE = 7.5
"""Standard deviations by which the cells must agree with a codeword; the best of 2**32 agrees with noise by 6.7."""
SHOWN = np.linspace(0.8, 1.2, 17)
"""Shares of the marked picture's sides that a picture may show: cropped below 1, with a border above."""
TRIED = 3
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,avi,flv,ogg,asf,gif,h264,hevc,ivf"
"""Containers of one file; playlists, which name other files and addresses, are not opened."""
LARGEST_PX = 8192 * 4352


@dataclass(frozen=True, slots=True)
class Reading:
    """A mark that was found: number of the render, and the window of the file in which it was read."""

    render_id: int
    start_s: int
    end_s: int


@dataclass(frozen=True, slots=True)
class Pose:
    """The cells, counted from the marked picture's corner, at which the shown picture begins and ends."""

    left: float
    right: float
    top: float
    bottom: float


def read_mark(path: Path, tools: Tools | None = None) -> Reading | None:
    """Return the first mark in a file's pictures, or None if there is none.

    Raises ToolMissing, and ToolFailed if the file holds no picture that can be decoded.
    """
    for start_s, window in _windows(pictures_of(path, tools or find_tools())):
        found = read_window(window)
        if found is not None:
            return Reading(found, start_s, start_s + len(window) // RATE)
    return None


def pictures_of(path: Path, tools: Tools) -> Iterator[Picture]:
    """Yield the luma of RATE pictures a second, PX_PER_CELL pixels for each cell of an uncropped mark.

    Nothing but the file itself is opened. Raises ToolFailed.
    """
    side = CELLS_ACROSS_SQUARE * PX_PER_CELL
    size = f"w='round({side}*sqrt(iw*sar/ih))':h='round({side}*sqrt(ih/iw/sar))'"
    chain = f"fps={RATE},setsar='if(sar,sar,1)',scale={size}:flags=area,setsar=1,format=gray16be"
    command = (
        *(str(tools.ffmpeg), "-hide_banner", "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe"),
        *("-format_whitelist", FORMATS, "-max_pixels", str(LARGEST_PX), "-i", f"file:{path}", "-map", "0:v:0"),
        *("-vf", chain, "-c:v", "pgm", "-f", "image2pipe", "pipe:1"),
    )
    with open_tool(command) as child:
        while (picture := _picture(child.stdout)) is not None:
            yield picture
        child.check()


def _picture(pipe: IO[bytes]) -> Picture | None:
    """Read one picture in the form of pgm(5) with 16 bits, as grey levels of 0 to 255."""
    pipe.readline()
    size, _ = pipe.readline().split(), pipe.readline()
    if len(size) != 2:
        return None
    width, height = int(size[0]), int(size[1])
    data = pipe.read(2 * width * height)
    if len(data) < 2 * width * height:
        return None
    return (np.frombuffer(data, ">u2").astype(np.float32) / np.float32(256)).reshape(height, width)


def _windows(pictures: Iterator[Picture]) -> Iterator[tuple[int, Floats]]:
    """Yield windows (frames, h, w) that begin HOP_S after each other, and the second at which each begins."""
    kept: list[Picture] = []
    start_s, yielded = 0, False
    for picture in pictures:
        if kept and picture.shape != kept[0].shape:
            return
        kept.append(picture)
        if len(kept) == RATE * WINDOW_S:
            yield start_s, np.stack(kept)
            del kept[: RATE * HOP_S]
            start_s, yielded = start_s + HOP_S, True
    if not yielded and len(kept) >= RATE * SHORTEST_S:
        yield 0, np.stack(kept)


def read_window(window: Floats) -> int | None:
    """Return the number in some seconds of pictures (frames, h, w) as `pictures_of` gives them."""
    waves = listen(window)
    height, width = waves.shape
    whole = Pose(0, width / PX_PER_CELL, 0, height / PX_PER_CELL)
    found = read_waves(waves, whole)
    if found is not None:
        return found
    for pose in likely_poses(waves):
        found = read_waves(waves, _refined(waves, pose))
        if found is not None:
            return found
    return None


def listen(window: Floats) -> Waves:
    """Return each pixel's part in the mark's cycle (h, w), divided by how loud its content is beside that cycle."""
    changes = np.diff(window, axis=0)
    np.clip(changes, -LARGEST_CHANGE, LARGEST_CHANGE, out=changes)
    frames, height, width = changes.shape
    turns = np.outer([float(CYCLE_HZ) + k * BIN_HZ for k in (0, *QUIET_BINS)], np.arange(frames) / RATE)
    basis = (np.hanning(frames + 2)[1:-1] * np.exp(2j * np.pi * turns)).astype(np.complex64)
    heard = (basis @ changes.reshape(frames, -1)).reshape(-1, height, width)
    loudness = cv2.blur(np.mean(np.abs(heard[1:]) ** 2, axis=0), (5, 5))
    detail = heard[0] - _both(heard[0], lambda part: cv2.GaussianBlur(part, (0, 0), CONTENT_PX))
    return np.asarray(detail / (loudness + LOUDNESS_FLOOR * loudness.mean() + 1e-3), np.complex64)


def _both(waves: Waves, change: Callable[[Floats], Any]) -> Waves:
    """Apply an operation on real pictures to both parts."""
    real, imaginary = change(np.ascontiguousarray(waves.real)), change(np.ascontiguousarray(waves.imag))
    return np.asarray(real + 1j * imaginary, np.complex64)


def likely_poses(waves: Waves) -> list[Pose]:
    """Return where the pilot stands out most clearly, best first."""
    found = [_best_shift(waves, *shown) for shown in product(SHOWN, SHOWN)]
    return [pose for _, pose in sorted(found, key=lambda one: -one[0])[:TRIED]]


def _best_shift(waves: Waves, shown_across: float, shown_down: float) -> tuple[float, Pose]:
    """Return how clearly, and where, the pilot is found in a picture that shows these shares of the marked one."""
    scale = PILOT_PX_PER_CELL / PX_PER_CELL
    height, width = round(waves.shape[0] * shown_down * scale), round(waves.shape[1] * shown_across * scale)
    seen = _both(waves, lambda part: cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR))
    rows, columns = _shifts(height, shown_down), _shifts(width, shown_across)
    shape = cv2.getOptimalDFTSize(height + len(rows)), cv2.getOptimalDFTSize(width + len(columns))
    match = np.abs(np.fft.ifft2(_pilot_spectrum(shape) * np.conj(np.fft.fft2(seen, shape))))
    part = match[np.ix_(rows, columns)]
    y, x = np.unravel_index(int(part.argmax()), part.shape)
    clear = float(part[y, x] / np.sqrt(np.mean(match * match)))
    left, top = float(columns[x]) / PILOT_PX_PER_CELL, float(rows[y]) / PILOT_PX_PER_CELL
    return clear, Pose(left, left + width / PILOT_PX_PER_CELL, top, top + height / PILOT_PX_PER_CELL)


def _shifts(side: int, shown: float) -> NDArray[np.int64]:
    """Return where a picture of `side` pixels may begin: inside the marked one if cropped, before it if bordered."""
    room = np.arange(round(side * abs(1 / shown - 1)) + 2)
    return room if shown <= 1 else -room


@cache
def _pilot_spectrum(shape: tuple[int, int]) -> Waves:
    rows, columns = (min(LARGEST_GRID, -(-side // PILOT_PX_PER_CELL)) for side in shape)
    size = (columns * PILOT_PX_PER_CELL, rows * PILOT_PX_PER_CELL)
    drawn = _both(cells().pilot[:rows, :columns], lambda part: cv2.resize(part, size, interpolation=cv2.INTER_CUBIC))
    return np.asarray(np.fft.fft2(drawn, shape), np.complex64)


def _refined(waves: Waves, pose: Pose) -> Pose:
    """Move the four sides in smaller and smaller steps as long as the pilot grows clearer."""
    best = abs(_pilot(_cell_waves(waves, pose)))
    for step in (0.4, 0.2, 0.1):
        for side, sign in product(("left", "right", "top", "bottom"), (step, -step)):
            moved = replace(pose, **{side: getattr(pose, side) + sign})
            clear = abs(_pilot(_cell_waves(waves, moved)))
            if clear > best:
                best, pose = clear, moved
    return pose


def _pilot(values: Waves) -> complex:
    rows, columns = values.shape
    return complex((values * np.conj(cells().pilot[:rows, :columns])).sum())


def _cell_waves(waves: Waves, pose: Pose) -> Waves:
    """Return the mean of each cell (rows, columns) from the marked picture's corner on; 0 where nothing is shown."""
    height, width = waves.shape
    rows, columns = (int(np.clip(np.ceil(end), 1, LARGEST_GRID)) for end in (pose.bottom, pose.right))
    x_px, y_px = width / (pose.right - pose.left), height / (pose.bottom - pose.top)
    half = 0.5 / SAMPLES_PER_CELL
    across = [x_px / SAMPLES_PER_CELL, 0, (half - pose.left) * x_px - 0.5]
    down = [0, y_px / SAMPLES_PER_CELL, (half - pose.top) * y_px - 0.5]
    fine = (columns * SAMPLES_PER_CELL, rows * SAMPLES_PER_CELL)

    def averaged(part: Floats) -> Any:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        sampled = cv2.warpAffine(part, np.array([across, down]), fine, flags=flags)
        return cv2.resize(sampled, (columns, rows), interpolation=cv2.INTER_AREA)

    return _both(waves, averaged)


def read_waves(waves: Waves, pose: Pose) -> int | None:
    """Return the number that the cells carry in that pose, if they do so beyond doubt."""
    values = _cell_waves(waves, pose)
    rows, columns = values.shape
    fixed, pilot = cells(), _pilot(values)
    if not pilot:
        return None
    bit = fixed.bit[:rows, :columns]
    straight = values * np.conj(fixed.pilot[:rows, :columns] * np.complex64(pilot / abs(pilot)))
    votes = straight.imag * fixed.sign[:rows, :columns]
    soft = np.bincount(bit.ravel(), votes.ravel(), LENGTH)
    render_id = decode(soft.astype(np.float32))
    if render_id is None:
        return None
    agreement = float((votes * encode(render_id)[bit]).sum() / np.sqrt((votes * votes).sum()))
    return render_id if agreement >= SURE else None
