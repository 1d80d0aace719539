"""A short video of a face: its pictures and where the face is in each, read once, shown back and forth."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO

import cv2
import numpy as np

from encoder.errors import ToolFailed
from encoder.tools import Tools, open_tool, run_tool
from lipsync.errors import NotAPicture, PhotoRefused
from lipsync.face import LEFT_PUPIL, RIGHT_PUPIL, Face, FaceFinder, Points, judge
from lipsync.movement import Floats
from lipsync.photo import MAX_PIXELS, Pixels

LONGEST_S = 60
"""What is used of a video; more would only be more to hold."""
LEAST_SEEN = 0.5
"""Share of the pictures in which the face must be seen."""
SMOOTH_FRAMES, RAMP_FRAMES = 1.0, 5
"""Standard deviation of the smoothing of landmarks over time; how softly the new mouth comes and goes with the face."""
STEADY = 0.04
"""How far, in pupil distances, a face may have gone from one picture to be smoothed with another: more blurs a jump."""
STORED_QUALITY = 96


class Clip:
    """Pictures of a video at one rate and size, compressed in a file without a name; a face is in most of them."""

    def __init__(self, pictures: IO[bytes], places: list[tuple[int, int]], faces: list[Points | None]) -> None:
        """`places` are offset and length of each picture in the file; `faces` its landmarks, smoothed, or None."""
        self._pictures, self._places, self._faces = pictures, places, faces
        self._strength = _presence([face is not None for face in faces])

    @classmethod
    def read(cls, path: Path, lines: int, frames: int, *, rate: Fraction, tools: Tools, finder: FaceFinder) -> Clip:
        """Read as many pictures as `frames` need, `lines` high.

        Raises NotAPicture where there is no video, PhotoRefused where no one face is seen in most of it.
        """
        pictures = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        try:
            return cls._filled(pictures, _decoded(path, lines, min(frames, int(LONGEST_S * rate)), rate, tools), finder)
        except BaseException:
            pictures.close()
            raise

    @classmethod
    def _filled(cls, into: IO[bytes], pictures: Iterator[Pixels], finder: FaceFinder) -> Clip:
        places: list[tuple[int, int]] = []
        found: list[Points | None] = []
        last: Points | None = None
        for picture in pictures:
            met = last is not None or any(face is not None for face in found)
            last = finder.follow(picture, last)
            if last is not None and not met:
                last = finder.find(picture).landmarks  # the first is looked at as a photo is, with all its verdicts
            found.append(last if last is not None and _whole(picture, last) else None)
            data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, STORED_QUALITY])[1].tobytes()
            places.append((into.tell(), len(data)))
            into.write(data)
        if not places:
            raise NotAPicture("no picture of it could be decoded")
        if sum(face is not None for face in found) < LEAST_SEEN * len(found):
            raise PhotoRefused.of("no_face")
        return cls(into, places, smoothed(found))

    def close(self) -> None:
        self._pictures.close()

    def __len__(self) -> int:
        return len(self._places)

    def frame(self, number: int) -> tuple[Pixels, Face | None, float]:
        """Return a picture, the face in it if it is seen, and how much of its mouth is to be replaced, 0..1."""
        at = back_and_forth(number, len(self))
        offset, size = self._places[at]
        self._pictures.seek(offset)
        picture = cv2.imdecode(np.frombuffer(self._pictures.read(size), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        points = self._faces[at]
        pixels = np.asarray(picture, np.uint8)
        return pixels, None if points is None else Face(pixels, points), float(self._strength[at])


def back_and_forth(number: int, count: int) -> int:
    """Return which of `count` pictures is the `number`-th when they are shown forwards, backwards, and so on."""
    if count == 1:
        return 0
    at = number % (2 * count - 2)
    return at if at < count else 2 * count - 2 - at


def smoothed(found: list[Points | None]) -> list[Points | None]:
    """Take the trembling out of landmarks, over every stretch in which the face is seen; what moves fast stays."""
    done = list(found)
    reach = round(3 * SMOOTH_FRAMES)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTH_FRAMES) ** 2).astype(np.float32)
    for first, last in _stretches([face is not None for face in found]):
        points = np.stack([face for face in found[first:last] if face is not None])
        padded = np.pad(points, ((reach, reach), (0, 0), (0, 0)), mode="edge")
        mean, total = np.zeros_like(points), np.zeros((len(points), 1, 1), np.float32)
        for k, weight in enumerate(bell):
            other = padded[k : k + len(points)]
            away = np.median(np.linalg.norm(other[..., :2] - points[..., :2], axis=-1), axis=1) / _pupils_px(points)
            near = weight * np.exp(-((away / STEADY) ** 2))[:, None, None]
            mean, total = mean + near * other, total + near
        done[first:last] = list(np.asarray(mean / total, np.float32))
    return done


def _pupils_px(points: Points) -> Floats:
    return np.asarray(np.linalg.norm(points[:, LEFT_PUPIL, :2] - points[:, RIGHT_PUPIL, :2], axis=-1))


def _stretches(seen: list[bool]) -> Iterator[tuple[int, int]]:
    """Yield first and end of every run of True."""
    edges = np.flatnonzero(np.diff(np.array([False, *seen, False]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _presence(seen: list[bool]) -> Floats:
    """Return 1 where the face is seen, rising from 0 where it comes, falling where it leaves; clip ends are neither."""
    strength = np.zeros(len(seen), np.float32)
    for first, last in _stretches(seen):
        at = np.arange(first, last)
        since = at - first + 1 if first > 0 else np.full(len(at), RAMP_FRAMES)
        until = last - at if last < len(seen) else np.full(len(at), RAMP_FRAMES)
        strength[first:last] = np.clip(np.minimum(since, until) / RAMP_FRAMES, 0, 1)
    return strength


def _whole(picture: Pixels, points: Points) -> bool:
    """Whether the face lies inside the picture and looks at us: else its own mouth stays."""
    try:
        judge(Face(picture, points), light=False)
    except PhotoRefused:
        return False
    return True


def _decoded(path: Path, lines: int, frames: int, rate: Fraction, tools: Tools) -> Iterator[Pixels]:
    """Yield the pictures of a video, upright, `lines` high and of even width. Raises NotAPicture."""
    width = _width(path, lines, tools)
    command = [
        *(str(tools.ffmpeg), "-nostdin", "-v", "error", "-i", f"file:{path}", "-map", "0:v:0", "-an"),
        *("-vf", f"fps={rate},scale={width}:{lines}:flags=bicubic", "-frames:v", str(frames)),
        *("-f", "rawvideo", "-pix_fmt", "bgr24", "pipe:1"),
    ]
    size = width * lines * 3
    with open_tool(command) as child:
        while len(data := child.stdout.read(size)) == size:
            yield np.frombuffer(data, np.uint8).reshape(lines, width, 3)
        try:
            child.check()
        except ToolFailed as error:
            raise NotAPicture("it is damaged") from error


def _width(path: Path, lines: int, tools: Tools) -> int:
    """Return the width that goes with `lines`, as the video is seen: turned, and with its pixels' shape."""
    entries = "stream=width,height,sample_aspect_ratio:stream_side_data=rotation"
    try:
        told = json.loads(
            run_tool(
                [str(tools.ffprobe), "-v", "error", "-select_streams", "v:0", "-show_entries", entries, "-of", "json",
                 f"file:{path}"]
            )
        )  # fmt: skip
        stream = told["streams"][0]
        width, height = int(stream["width"]), int(stream["height"])
    except (ToolFailed, ValueError, KeyError, IndexError) as error:
        raise NotAPicture("it is neither a picture nor a video") from error
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise NotAPicture("its pictures have no size that can be worked on")
    across, _, down = stream.get("sample_aspect_ratio", "1:1").partition(":")
    shape = Fraction(width * int(across), height * int(down)) if across.isdigit() and int(down or 0) else Fraction(1)
    shape = shape if shape > 0 else Fraction(width, height)
    if any(abs(int(side.get("rotation", 0))) % 180 == 90 for side in stream.get("side_data_list", ())):
        shape = 1 / shape
    return max(2, 2 * round(lines * shape / 2))
