"""The distillation set: a folder per face, with its photo's crop, states of its mouth, and the teacher's pictures."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lipsync.conditioning import CROP_PX, WINDOW, Conditioning, Floats, Pixels, labels

MOUTH_MARGIN_PX = 5
"""The figures are taken over the mouth's labels, grown by so much."""
POOR_HOLE_PX = 60
"""Gap pixels from which the teacher's own picture is poor."""
LEFT_OUT = frozenset({"astronaut"})
"""A real person."""
SHIFT_PX = 6
WIDE_WINDOW = slice(WINDOW.start - SHIFT_PX, WINDOW.stop + SHIFT_PX)
"""What is read of every crop, so that training may move the window by SHIFT_PX any way."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One face: crop (128, 128, 3) BGR, landmarks (478, 2) in crop pixels; n states, teacher's pictures and masks."""

    name: str
    crop: Pixels
    points: Floats
    moved: Floats
    teacher: Pixels
    mouth: Pixels
    holes: Floats

    @classmethod
    def read(cls, folder: Path) -> Example:
        """Read a face's folder. Raises FileNotFoundError or KeyError when it is not one."""
        with np.load(folder / "meta.npz") as meta:
            arrays = {name: meta[name] for name in meta.files}
        x0, y0, x1, _ = arrays["rect"]
        points = (arrays["landmarks"][:, :2] - [x0, y0]) * (CROP_PX / (x1 - x0))
        states = len(arrays["coefs"])
        moved = np.repeat(points[None], states, axis=0)
        steps = np.tensordot(arrays["coefs"], arrays["lm_basis"].astype(np.float32), 1)
        moved[:, arrays["lm_idx"]] = arrays["lm_zero"] + steps
        label = _strip(folder / "cond.webp", states)[..., 2]
        return cls(
            folder.name, _picture(folder / "src.webp"), points.astype(np.float32), moved.astype(np.float32),
            _strip(folder / "teacher.jpg", states), np.stack([mouth_mask(one) for one in label]),
            arrays["hole_px"].astype(np.float32),
        )  # fmt: skip


def mouth_mask(label: Pixels) -> Pixels:
    """Return 1 where the mouth's labels (2 and above) are, grown by MOUTH_MARGIN_PX, else 0."""
    side = 2 * MOUTH_MARGIN_PX + 1
    return np.asarray(cv2.dilate((label >= 2).astype(np.uint8), np.ones((side, side), np.uint8)), np.uint8)


def faces(dataset: Path, part: str) -> list[Path]:
    """Return the folders of the faces of `part` ("train" or "val"), without those that are left out."""
    return sorted(path for path in (dataset / part).iterdir() if path.is_dir() and path.name not in LEFT_OUT)


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Everything that training reads, in memory: n samples of f faces, of the wide window (w = 84), 0..255, BGR.

    face (n) index into source and source_labels (f, w, w, 3); warped, labels, teacher (n, w, w, 3);
    mouth (n, w, w); places (n, PLACES); weight (n).
    """

    face: NDArray[np.int64]
    source: Pixels
    source_labels: Pixels
    warped: Pixels
    labels: Pixels
    places: Floats
    teacher: Pixels
    mouth: Pixels
    weight: Floats

    @classmethod
    def of(cls, examples: Iterator[Example]) -> Samples:
        parts = [_windowed(number, example) for number, example in enumerate(examples)]
        return cls(**{field.name: np.concatenate([part[field.name] for part in parts]) for field in fields(cls)})

    @classmethod
    def load(cls, dataset: Path, part: str, threads: int = 1) -> Samples:
        """Read and condition a part of the dataset."""
        with ThreadPoolExecutor(threads) as pool:
            return cls.of(pool.map(Example.read, faces(dataset, part)))

    def __len__(self) -> int:
        return len(self.face)


def _windowed(number: int, example: Example) -> dict[str, NDArray[Any]]:
    conditioning = Conditioning(example.points)
    condition = conditioning.of(example.crop, example.moved)
    n = len(example.moved)
    return {
        "face": np.full(n, number, np.int64),
        "source": example.crop[None, WIDE_WINDOW, WIDE_WINDOW],
        "source_labels": labels(example.points, WIDE_WINDOW)[None],
        "warped": condition.warped[:, WIDE_WINDOW, WIDE_WINDOW],
        "labels": np.stack([labels(points, WIDE_WINDOW) for points in example.moved]),
        "places": condition.places,
        "teacher": example.teacher[:, WIDE_WINDOW, WIDE_WINDOW],
        "mouth": example.mouth[:, WIDE_WINDOW, WIDE_WINDOW],
        "weight": np.where(example.holes > POOR_HOLE_PX, 0.5, 1).astype(np.float32),
    }


def _picture(path: Path) -> Pixels:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise FileNotFoundError(path)
    return np.asarray(picture, np.uint8)


def _strip(path: Path, pictures: int) -> Pixels:
    return _picture(path).reshape(pictures, CROP_PX, CROP_PX, 3)
