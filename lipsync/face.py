"""A checked picture -> the one face in it with its 478 landmarks, or the verdict why it cannot speak."""

from __future__ import annotations

import io
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from encoder.tools import cache_folder
from lipsync.errors import ModelMissing, PhotoRefused
from lipsync.photo import Pixels

Points = NDArray[np.float32]

DETECTOR = "face_detection_yunet_2023mar.onnx"
LANDMARKER = "face_landmarker.task"

MIN_PICTURE_PX = 48
MIN_PUPILS_PX = 36.0
"""Distance of the pupils below which a mouth has too few pixels to speak."""
DETECTOR_SIDE = 640
BORDER = 0.3
"""Border added round the photo for the detector, as a share of its longer side: tight crops have no context."""
SURE, RIVAL = 0.7, 0.5
"""Score from which a find is a face; share of the largest face's width from which another one is a rival."""
MIN_LANDMARK_LOGIT = 0.0
DARK_LUMA, FLAT_LUMA = 38.0, 8.0
BLUR_SIDE, MIN_SHARPNESS = 160, 12.0
MAX_TURN = 0.24

RIGHT_PUPIL, LEFT_PUPIL = 468, 473
"""Of the person: the right pupil lies left in the picture."""
NOSE_TIP, CHIN, FOREHEAD, RIGHT_CHEEK, LEFT_CHEEK = 1, 152, 10, 234, 454
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)

MIDDLE_LIPS, UPPER_CHEEKS = (0, 17, 37, 267, 84, 314), (50, 280, 117, 346, 101, 330, 9, 151)
ROUND_LIPS = (205, 425, 207, 427, 206, 426, 92, 322, 164, 18, 200, 201, 421)
ONE_COLOUR, LEAST_COLOUR = 1.2, 8.0

HEAD_BOX = (2.3, 2.6, 3.1)
"""How far the head crop reaches from the middle of the pupils, in pupil distances: to either side, up, down."""
HEAD_PUPILS_PX = 220.0
"""A head is never kept larger than this distance of the pupils."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A picture with one face: pixels (h, w, 3) BGR, and 478 landmarks x, y, z in them (z grows away from us)."""

    picture: Pixels
    landmarks: Points

    @property
    def pupils_px(self) -> float:
        """Distance of the pupils: the unit of everything that is drawn on a face."""
        return float(np.linalg.norm(self.landmarks[LEFT_PUPIL, :2] - self.landmarks[RIGHT_PUPIL, :2]))

    def moved(self, matrix: NDArray[np.float64], width: int, height: int) -> Face:
        """Return the face seen through a similarity (2x3, old to new pixels); missing border is mirrored."""
        scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
        picture, step = self.picture, matrix.copy()
        if scale < 0.6:
            # by its size: by factors the last row would not be where the picture's last row is
            size = tuple(max(1, round(side * scale)) for side in picture.shape[1::-1])
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            shrink = np.array([small.shape[1] / picture.shape[1], small.shape[0] / picture.shape[0]])
            step[:, :2] /= shrink
            step[:, 2] += step[:, :2] @ (0.5 * shrink - 0.5) * -1
            picture = np.asarray(small, np.uint8)
        border = cv2.BORDER_REFLECT_101
        turned = cv2.warpAffine(picture, step, (width, height), flags=cv2.INTER_CUBIC, borderMode=border)
        flat = self.landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        points = np.column_stack([flat, self.landmarks[:, 2] * scale]).astype(np.float32)
        return Face(np.asarray(turned, np.uint8), points)

    def scaled(self, width: int, height: int) -> Face:
        """Return the face with its whole picture at another size."""
        old_height, old_width = self.picture.shape[:2]
        if (width, height) == (old_width, old_height):
            return self
        way = cv2.INTER_AREA if width < old_width else cv2.INTER_CUBIC
        factors = np.array([width / old_width, height / old_height, width / old_width], np.float32)
        picture = cv2.resize(self.picture, (width, height), interpolation=way)
        return Face(np.asarray(picture, np.uint8), self.landmarks * factors)

    def head(self) -> Face:
        """Return the upright crop round the head: as much of HEAD_BOX as the photo has, never less than the face."""
        right, left = (self.landmarks[i, :2].astype(np.float64) for i in (RIGHT_PUPIL, LEFT_PUPIL))
        scale = min(1.0, HEAD_PUPILS_PX / self.pupils_px)
        cos, sin = (left - right) / self.pupils_px * scale
        turn = np.array([[cos, sin], [-sin, cos]])
        x0, y0, x1, y1 = self._head_box(turn, turn @ (left + right) / 2, scale * self.pupils_px)
        return self.moved(np.column_stack([turn, [-x0, -y0]]), round(x1 - x0), round(y1 - y0))

    def _head_box(self, turn: NDArray[np.float64], centre: NDArray[np.float64], unit: float) -> tuple[float, ...]:
        """Return x0, y0, x1, y1 of the head in the turned photo's coordinates."""
        height, width = self.picture.shape[:2]
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ turn.T
        photo_x, photo_y = np.sort(corners[:, 0]), np.sort(corners[:, 1])
        face = self.landmarks[:468, :2] @ turn.T
        side, above, below = HEAD_BOX
        return (
            min(max(centre[0] - side * unit, photo_x[:2].mean()), float(face[:, 0].min())),
            min(max(centre[1] - above * unit, photo_y[:2].mean()), float(face[:, 1].min())),
            max(min(centre[0] + side * unit, photo_x[2:].mean()), float(face[:, 0].max())),
            max(min(centre[1] + below * unit, photo_y[2:].mean()), float(face[:, 1].max())),
        )

    def to_bytes(self) -> bytes:
        into = io.BytesIO()
        np.savez(into, picture=self.picture, landmarks=self.landmarks)
        return into.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Face:
        """Raises ValueError, KeyError or BadZipFile on anything but what `to_bytes` made."""
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return cls(stored["picture"].astype(np.uint8), stored["landmarks"].astype(np.float32))


class FaceFinder:
    """The two models, loaded once; raises ModelMissing if `mediaserver setup` has not fetched them."""

    def __init__(self, folder: Path | None = None) -> None:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        models = folder or cache_folder() / "models"
        for name in (DETECTOR, LANDMARKER):
            if not (models / name).is_file():
                raise ModelMissing(name)
        self._detector = cv2.FaceDetectorYN.create(str(models / DETECTOR), "", (320, 320), RIVAL, 0.3, 50)
        self._landmarks = _landmark_network(models / LANDMARKER)

    def find(self, photo: Pixels) -> Face:
        """Return the one face of a photo, landmarks in the photo's pixels; raises PhotoRefused."""
        if min(photo.shape[:2]) < MIN_PICTURE_PX:
            raise PhotoRefused.of("too_small")
        found = self._detect(photo)
        if found[0, 2] < MIN_PUPILS_PX:
            raise PhotoRefused.of("too_small")
        landmarks = self._refine(photo, _first_region(found[0]))
        face = Face(photo, landmarks)
        judge(face)
        return face

    def _detect(self, photo: Pixels, *, alone: bool = True) -> NDArray[np.float64]:
        """Return YuNet's rows (box x, y, w, h, five points, score) in photo pixels, the largest face first.

        Raises PhotoRefused where there is none, and with `alone` where another is nearly as large.
        """
        border = round(BORDER * max(photo.shape[:2]))
        framed = cv2.copyMakeBorder(photo, border, border, border, border, cv2.BORDER_CONSTANT, value=(128, 128, 128))
        scale = min(1.0, DETECTOR_SIDE / max(framed.shape[:2]))
        small = cv2.resize(framed, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        self._detector.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._detector.detect(small)
        faces = np.zeros((0, 15)) if rows is None else rows.astype(np.float64)
        faces = faces[np.argsort(-faces[:, 2])]
        sure = faces[faces[:, 14] >= SURE]
        if not len(sure):
            raise PhotoRefused.of("no_face")
        if alone and len(sure) > 1 and sure[1, 2] > RIVAL * sure[0, 2]:
            raise PhotoRefused.of("several_faces")
        sure[:, :14] /= scale
        sure[:, [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]] -= border
        return sure

    def follow(self, picture: Pixels, last: Points | None) -> Points | None:
        """Return the landmarks in the next picture of a video, `last` those of the picture before; None without a face.

        Of several faces it is the largest where there is no last one.
        """
        if last is not None:
            found = self._landmarks_in(picture, _tracked_region(last))
            if found is not None:
                return found
        try:
            return self._refine(picture, _first_region(self._detect(picture, alone=False)[0]))
        except PhotoRefused:
            return None

    def _refine(self, photo: Pixels, region: Region) -> Points:
        """Find the landmarks in the detector's region, then once more in the region of the landmarks themselves."""
        landmarks = np.zeros((478, 3), np.float32)
        for _ in range(3):
            found = self._landmarks_in(photo, region)
            if found is None:
                raise PhotoRefused.of("no_face")
            landmarks, region = found, _tracked_region(found)
        return landmarks

    def _landmarks_in(self, photo: Pixels, region: Region) -> Points | None:
        """Ask the landmark network once; None where it sees no face."""
        crop = cv2.warpAffine(
            photo, region.matrix(), (256, 256), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        self._landmarks.setInput(cv2.dnn.blobFromImage(crop, 1 / 255, (256, 256), swapRB=True))
        points, logit = self._landmarks.forward(["Identity", "Identity_1"])
        seen = float(np.ravel(logit)[0]) >= MIN_LANDMARK_LOGIT
        return region.outside(np.reshape(points, (478, 3))) if seen else None


@dataclass(frozen=True, slots=True)
class Region:
    """A rotated square of the photo, as MediaPipe's landmark model wants it: centre, side, angle in radians."""

    x: float
    y: float
    side: float
    angle: float

    def matrix(self) -> NDArray[np.float64]:
        """Return the 2x3 matrix from photo pixels to the 256 x 256 crop."""
        cos, sin = np.cos(self.angle) * 256 / self.side, np.sin(self.angle) * 256 / self.side
        turn = np.array([[cos, sin], [-sin, cos]])
        return np.column_stack([turn, np.array([128.0, 128.0]) - turn @ np.array([self.x, self.y])])

    def outside(self, points: NDArray[np.floating]) -> Points:
        """Return crop points (n, 3) in photo pixels."""
        scale = self.side / 256
        back = cv2.invertAffineTransform(self.matrix())
        flat = points[:, :2] @ back[:, :2].T + back[:, 2]
        return np.column_stack([flat, points[:, 2] * scale]).astype(np.float32)


def _landmark_network(task: Path) -> cv2.dnn.Net:
    """Load the network from inside the task file; OpenCV 5 honours the engine for a file, not for bytes.

    That file has no name in any folder: whoever is killed here leaves nothing.
    """
    with zipfile.ZipFile(task) as bundle, tempfile.TemporaryFile() as inside:
        inside.write(bundle.read("face_landmarks_detector.tflite"))
        inside.flush()
        return cv2.dnn.readNetFromTFLite(f"/dev/fd/{inside.fileno()}", engine=cv2.dnn.ENGINE_CLASSIC)


def _first_region(row: NDArray[np.float64]) -> Region:
    x, y, width, height = row[:4]
    right, left = row[4:6], row[6:8]
    angle = float(np.arctan2(left[1] - right[1], left[0] - right[0]))
    return Region(x + width / 2, y + height / 2, 1.5 * max(width, height), angle)


def _tracked_region(landmarks: Points) -> Region:
    """Return the square of 1.5 times the landmarks' box, turned so that the outer eye corners (33, 263) are level."""
    across = landmarks[263, :2] - landmarks[33, :2]
    angle = float(np.arctan2(across[1], across[0]))
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    level = landmarks[:468, :2] @ turn.T
    low, high = level.min(axis=0), level.max(axis=0)
    x, y = turn.T @ ((low + high) / 2)
    return Region(float(x), float(y), 1.5 * float((high - low).max()), angle)


def judge(face: Face, *, light: bool = True) -> None:
    """Refuse, for the first reason that applies, a face that could not speak well; without `light` by its place alone.

    Raises PhotoRefused.
    """
    if face.pupils_px < MIN_PUPILS_PX:
        raise PhotoRefused.of("too_small")
    if _outside(face):
        raise PhotoRefused.of("cut_off")
    if _turn(face.landmarks) > MAX_TURN:
        raise PhotoRefused.of("turned_away")
    if not light:
        return
    luma = _face_luma(face)
    if luma.mean() < DARK_LUMA or luma.std() < FLAT_LUMA:
        raise PhotoRefused.of("too_dark")
    if _sharpness(luma) < MIN_SHARPNESS:
        raise PhotoRefused.of("blurred")
    if _mouth_covered(face):
        raise PhotoRefused.of("mouth_covered")


def _outside(face: Face) -> bool:
    """Eyes and lips must lie inside the picture, the chin nearly so; a cropped forehead does no harm."""
    height, width = face.picture.shape[:2]
    slack = 0.12 * face.pupils_px
    needed = face.landmarks[[RIGHT_PUPIL, LEFT_PUPIL, *OUTER_LIPS], :2]
    chin = face.landmarks[CHIN, :2]
    inside = (needed >= 0).all() and (needed < (width, height)).all()
    return not (inside and (chin >= -slack).all() and (chin < (width + slack, height + slack)).all())


def _turn(landmarks: Points) -> float:
    """Return how far the nose stands from the middle between the cheeks: 0 frontal, 0.5 profile."""
    right, left, nose = (landmarks[i, :2] for i in (RIGHT_CHEEK, LEFT_CHEEK, NOSE_TIP))
    across = left - right
    return abs(float((nose - right) @ across / (across @ across)) - 0.5)


def _face_luma(face: Face) -> NDArray[np.uint8]:
    """Return the luma between forehead and chin at a fixed size, so that the thresholds fit every photo."""
    x0, y0 = np.floor(face.landmarks[:468, :2].min(axis=0)).astype(int).clip(0)
    x1, y1 = np.ceil(face.landmarks[:468, :2].max(axis=0)).astype(int)
    crop = cv2.cvtColor(face.picture[y0:y1, x0:x1], cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(crop, (BLUR_SIDE, BLUR_SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _mouth_covered(face: Face) -> bool:
    """Whether lips and the skin round them are of one colour, as under a mask; not told of pictures without colour.

    Of 261 uncovered faces the least difference was 1.8 (Lab, without lightness), 2.8 at the first percentile.
    """
    lips, skin, cheeks = (_colour(face, points) for points in (MIDDLE_LIPS, ROUND_LIPS, UPPER_CHEEKS))
    coloured = float(np.hypot(*(cheeks - 128))) > LEAST_COLOUR
    return coloured and float(np.hypot(*(lips - skin))) < ONE_COLOUR


def _colour(face: Face, points: tuple[int, ...]) -> Points:
    """Return the median a and b (CIE Lab, 128 is neutral) of small squares round landmarks."""
    reach, found = max(1, int(0.04 * face.pupils_px)), []
    for x, y in face.landmarks[list(points), :2].astype(int).clip(0):
        square = face.picture[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        if square.size:
            found.append(np.median(cv2.cvtColor(square, cv2.COLOR_BGR2LAB)[..., 1:].reshape(-1, 2), axis=0))
    return np.median(found, axis=0).astype(np.float32) if found else np.full(2, 128, np.float32)


def _sharpness(luma: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian, relative to the contrast of the face."""
    spread = max(float(luma.std()), 1.0)
    return float(cv2.Laplacian(luma, cv2.CV_32F).var()) * (50.0 / spread) ** 2
