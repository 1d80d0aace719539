"""The figures and the contact sheets: `python -m lipsync.train.evaluate DATASET WEIGHTS.onnx [--sheets FOLDER]`.

Against the teacher, on faces that training never saw, over the mouth's labels grown by 5 px: it measures imitation.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from lipsync.conditioning import WINDOW, Conditioning, Doubles, Floats, Pixels
from lipsync.mouthnet import MouthNet
from lipsync.train.data import Example, faces

SHEET_STATES = 8
SHEET_SCALE = 2


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over pictures: PSNR in dB and SSIM over the mouth, for the network and for the moved photo alone."""

    pictures: int
    psnr_db: float
    ssim: float
    worst_face_psnr_db: float
    psnr_moved_db: float
    ssim_moved: float


def psnr_db(picture: Pixels, teacher: Pixels, mouth: Pixels) -> float:
    away = picture.astype(np.float64) - teacher
    return float(10 * np.log10(255**2 / max(1e-9, (away[mouth > 0] ** 2).mean())))


def ssim(picture: Pixels, teacher: Pixels, mouth: Pixels) -> float:
    """Return the mean structural similarity over the mouth, in three colours.

    Wang et al., IEEE TIP 13 (2004), with its window of 11 x 11 and sigma 1.5.
    """
    a, b = picture.astype(np.float64), teacher.astype(np.float64)
    mean_a, mean_b = _smooth(a), _smooth(b)
    var_a, var_b = _smooth(a * a) - mean_a**2, _smooth(b * b) - mean_b**2
    both = _smooth(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similar = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return float(similar[mouth > 0].mean())


def _smooth(
    values: Doubles,
) -> Doubles:
    return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT), np.float64)


def figures(
    dataset: Path, net: MouthNet, part: str = "val", *, by_mesh: bool = False
) -> tuple[Figures, dict[str, float]]:
    """Return the figures, and the PSNR of every face.

    The photo is moved by our own fields, as in the product; `by_mesh`, as the teacher's own mesh moved it.
    """
    rows: list[tuple[float, ...]] = []
    of_face: dict[str, float] = {}
    for folder in faces(dataset, part):
        example = Example.read(folder)
        painted, moved = pictures(example, net, by_mesh=by_mesh)
        triples = list(zip(example.teacher, example.mouth, strict=True))
        new = [
            (psnr_db(p, t, m), ssim(p, t, m), psnr_db(w, t, m), ssim(w, t, m))
            for p, w, (t, m) in zip(painted, moved, triples, strict=True)
        ]
        of_face[example.name] = float(np.mean([row[0] for row in new]))
        rows += new
    means = np.mean(rows, axis=0)
    return Figures(len(rows), means[0], means[1], min(of_face.values()), means[2], means[3]), of_face


def pictures(example: Example, net: MouthNet, *, by_mesh: bool = False) -> tuple[Pixels, Pixels]:
    """Return the network's crops (n, 128, 128, 3) and those of the moved photo alone."""
    conditioning = Conditioning(example.points)
    condition = conditioning.of(example.crop, example.moved)
    if by_mesh:
        condition = replace(condition, warped=example.mesh)
    seen = replace(condition, warped=condition.warped[:, WINDOW, WINDOW])
    paint = net.paint(example.crop, conditioning.labels, seen)
    return paint.laid_on(condition.warped), condition.warped


def sheet(dataset: Path, net: MouthNet, folder: Path, part: str = "val") -> list[Path]:
    """Write one picture a face: above the photo and the teacher's states, below the network's own."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for place in faces(dataset, part):
        example = Example.read(place)
        painted, _ = pictures(example, net)
        chosen = _spread(example.moved)
        rows = [np.hstack([example.crop, *pics[chosen]]) for pics in (example.teacher, painted)]
        both = np.vstack(rows)
        large = cv2.resize(both, None, fx=SHEET_SCALE, fy=SHEET_SCALE, interpolation=cv2.INTER_CUBIC)
        path = folder / f"{example.name}.png"
        cv2.imwrite(str(path), large)
        written.append(path)
    return written


def _spread(moved: Floats) -> list[int]:
    """Return states from closed to wide open, in equal steps of rank."""
    order = np.argsort(moved[:, 14, 1] - moved[:, 13, 1])
    return [int(order[i]) for i in np.linspace(0, len(order) - 1, SHEET_STATES).round().astype(int)]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lipsync.train.evaluate", description="Figures against the teacher."
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--sheets", type=Path)
    chosen = parser.parse_args()
    net = MouthNet.load(chosen.weights)
    report = {}
    for name, by_mesh in (("moved by our fields", False), ("moved by the teacher's mesh", True)):
        found, of_face = figures(chosen.dataset, net, by_mesh=by_mesh)
        report[name] = asdict(found) | {"psnr_db_of_face": {face: round(db, 2) for face, db in of_face.items()}}
    print(json.dumps(report, indent=1))  # noqa: T201
    if chosen.sheets:
        sheet(chosen.dataset, net, chosen.sheets)


if __name__ == "__main__":
    main()
