"""A face in a video: followed, smoothed, let alone where it is not seen, shown back and forth."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from encoder.tools import run_tool
from lipsync.clip import RAMP_FRAMES, Clip, _presence, back_and_forth, smoothed
from lipsync.errors import NotAPicture, PhotoRefused
from lipsync.face import LEFT_PUPIL, RIGHT_PUPIL
from lipsync.portrait import ClipPortrait, Means, PhotoPortrait, portrait_of
from lipsync.protocols import Stamp
from lipsync.speaker import DrawnSpeaker
from tests.lipsync.conftest import demo_photo

FRAMES, LINES = 24, 240


def film(pictures: list[np.ndarray], path: Path, tools) -> Path:
    """A lossless video of the pictures at 25 pictures/s."""
    height, width = pictures[0].shape[:2]
    raw = path.with_suffix(".raw")
    raw.write_bytes(b"".join(picture.tobytes() for picture in pictures))
    source = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", "25", "-i", str(raw)]
    run_tool(
        [str(tools.ffmpeg), "-v", "error", *source, "-c:v", "libx264", "-qp", "1", "-preset", "ultrafast", str(path)]
    )
    return path


@pytest.fixture(scope="module")
def leaving(tools, tmp_path_factory) -> Path:
    """A face that turns its head a little and is away in pictures 10 to 13."""
    photo = cv2.resize(demo_photo("woman"), (240, 240), interpolation=cv2.INTER_AREA)
    pictures = []
    for n in range(FRAMES):
        matrix = cv2.getRotationMatrix2D((120, 120), 4 * np.sin(n / 4), 1)
        matrix[0, 2] += 40 + (1000 if 10 <= n < 14 else 0)
        pictures.append(cv2.warpAffine(photo, matrix, (320, 240), borderValue=(90, 110, 90)))
    return film(pictures, tmp_path_factory.mktemp("clip") / "leaving.mp4", tools)


@pytest.fixture(scope="module")
def clip(leaving, tools, finder):
    found = Clip.read(leaving, LINES, 60, rate=Fraction(25), tools=tools, finder=finder)
    yield found
    found.close()


def test_a_short_clip_goes_back_and_forth():
    assert [back_and_forth(n, 4) for n in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert back_and_forth(7, 1) == 0


def test_a_face_is_followed_and_missed_where_it_is_not(clip):
    seen = [clip.frame(n)[1] is not None for n in range(FRAMES)]
    assert seen == [not 10 <= n < 14 for n in range(FRAMES)]


def test_the_new_mouth_fades_before_the_face_leaves_and_after_it_returns():
    strength = _presence([True] * 10 + [False] * 4 + [True] * 10)
    assert strength[:5].min() == strength[-5:].min() == 1
    assert strength[9] == strength[14] == pytest.approx(1 / RAMP_FRAMES)
    assert strength[10:14].max() == 0


def _points(x: float) -> np.ndarray:
    points = np.zeros((478, 3), np.float32)
    points[:, 0] = x
    points[LEFT_PUPIL, 0], points[RIGHT_PUPIL, 0] = x + 100, x
    return points


def test_landmarks_lose_their_trembling_and_keep_a_jump():
    trembling = [_points(n % 2) for n in range(12)]
    calm = smoothed(trembling)
    assert np.ptp([points[0, 0] for points in calm[3:9]]) < 0.4
    jump = smoothed([_points(0)] * 6 + [_points(80)] * 6)
    assert [round(float(points[0, 0])) for points in jump] == [0] * 6 + [80] * 6


def test_the_mouth_alone_is_replaced_and_the_head_moves_on(clip):
    portrait = ClipPortrait(clip, Stamp(), DrawnSpeaker())
    states = np.tile(np.array([0.8, 0, 0, 0], np.float32), (FRAMES, 1))
    for n, frame in enumerate(portrait.frames(states, np.zeros((FRAMES, 4), np.float32))):
        picture, face, strength = clip.frame(n)
        shown = cv2.cvtColor(frame, cv2.COLOR_YUV2GRAY_I420).astype(int)
        own = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV)[..., 0] * (219 / 255) + 16
        changed = abs(shown - own)
        changed[:30, 260:] = 0  # the label
        if face is None:
            assert changed.max() < 4
            continue
        mouth = face.landmarks[[13, 14], :2].mean(axis=0)
        rows, columns = np.nonzero(changed > 25)
        if strength == 1:
            assert len(rows) > 30
        assert all(abs(columns - mouth[0]) < 1.15 * face.pupils_px)
        assert all(abs(rows - mouth[1]) < 1.2 * face.pupils_px)


@pytest.mark.parametrize("kind", [".bmp", ".tiff"])
def test_a_picture_of_another_kind_speaks_as_a_photo_does(tools, finder, tmp_path, kind):
    photo = cv2.resize(demo_photo("man"), (240, 240), interpolation=cv2.INTER_AREA)
    path = tmp_path / f"face{kind}"
    assert cv2.imwrite(str(path), photo)
    portrait = portrait_of(path, 200, 25, Stamp(), Means(tools, finder, DrawnSpeaker()))
    assert isinstance(portrait, PhotoPortrait)
    assert (portrait.width, portrait.height) == (200, 200)


def test_the_mouth_in_a_video_without_colours_has_none(tools, finder, tmp_path):
    grey = cv2.cvtColor(cv2.resize(demo_photo("man"), (240, 240)), cv2.COLOR_BGR2GRAY)
    path = film([cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)] * 3, tmp_path / "grey.mp4", tools)
    clip = Clip.read(path, LINES, 3, rate=Fraction(25), tools=tools, finder=finder)
    portrait = ClipPortrait(clip, Stamp(), DrawnSpeaker())
    states = np.tile(np.array([0.8, 0, 0, 0], np.float32), (3, 1))
    for frame in portrait.frames(states, np.zeros((3, 4), np.float32)):
        assert abs(frame[LINES:].astype(int) - 128).max() <= 2
    portrait.close()


def test_a_video_without_a_face_is_refused_with_a_verdict(tools, finder, tmp_path):
    path = film([np.full((240, 320, 3), 90, np.uint8)] * 5, tmp_path / "empty.mp4", tools)
    with pytest.raises(PhotoRefused) as refused:
        Clip.read(path, LINES, 5, rate=Fraction(25), tools=tools, finder=finder)
    assert refused.value.verdict == "no_face"


def test_what_is_no_video_is_told(tools, finder, tmp_path):
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(NotAPicture, match="neither a picture nor a video"):
        Clip.read(tmp_path / "noise.mp4", LINES, 5, rate=Fraction(25), tools=tools, finder=finder)
