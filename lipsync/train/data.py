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


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One face: crop (128, 128, 3) BGR, landmarks (478, 2) in crop pixels; n states, teacher's pictures and masks.

    `mesh` (n, 128, 128, 3) is the crop moved as the teacher's own mesh moved it.
    """

    name: str
    crop: Pixels
    points: Floats
    moved: Floats
    mesh: Pixels
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
        condition, crop = _strip(folder / "cond.webp", states), _picture(folder / "src.webp")
        return cls(
            folder.name, crop, points.astype(np.float32), moved.astype(np.float32), _by_mesh(crop, condition),
            _strip(folder / "teacher.jpg", states), np.stack([mouth_mask(one) for one in condition[..., 2]]),
            arrays["hole_px"].astype(np.float32),
        )  # fmt: skip


def _by_mesh(crop: Pixels, condition: Pixels) -> Pixels:
    """Return the crop moved by the steps of the data set (n, 128, 128), in sixths of a pixel round 128."""
    dy, dx = ((condition[..., channel].astype(np.float32) - 128) / 6 for channel in (0, 1))
    x, y = np.meshgrid(np.arange(CROP_PX, dtype=np.float32), np.arange(CROP_PX, dtype=np.float32))
    steps = zip(dx, dy, strict=True)
    moved = [cv2.remap(crop, x - a, y - b, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for a, b in steps]
    return np.asarray(np.stack(moved), np.uint8)


def mouth_mask(label: Pixels) -> Pixels:
    """Return 1 where the mouth's labels (2 and above) are, grown by MOUTH_MARGIN_PX, else 0."""
    side = 2 * MOUTH_MARGIN_PX + 1
    return np.asarray(cv2.dilate((label >= 2).astype(np.uint8), np.ones((side, side), np.uint8)), np.uint8)


def faces(dataset: Path, part: str) -> list[Path]:
    """Return the folders of the faces of `part` ("train" or "val"), without those that are left out."""
    return sorted(path for path in (dataset / part).iterdir() if path.is_dir() and path.name not in LEFT_OUT)


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Everything that training reads, in memory: n samples of f faces, of the window (w = 72), 0..255, BGR.

    Every state is there twice: the photo moved by our own fields, and by the teacher's mesh.
    face (n) index into source and source_labels (f, w, w, 3); warped, teacher (n, w, w, 3); labels (n, w, w, 6);
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
    once: dict[str, NDArray[Any]] = {
        "labels": np.stack([labels(points) for points in example.moved]),
        "places": condition.places,
        "teacher": example.teacher[:, WINDOW, WINDOW],
        "mouth": example.mouth[:, WINDOW, WINDOW],
        "weight": np.where(example.holes > POOR_HOLE_PX, 0.5, 1).astype(np.float32),
    }
    both = np.concatenate([condition.warped, example.mesh])
    return {name: np.concatenate([values, values]) for name, values in once.items()} | {
        "face": np.full(len(both), number, np.int64),
        "source": example.crop[None, WINDOW, WINDOW],
        "source_labels": labels(example.points)[None, ..., :3],
        "warped": both[:, WINDOW, WINDOW],
    }


def _picture(path: Path) -> Pixels:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise FileNotFoundError(path)
    return np.asarray(picture, np.uint8)


def _strip(path: Path, pictures: int) -> Pixels:
    return _picture(path).reshape(pictures, CROP_PX, CROP_PX, 3)
