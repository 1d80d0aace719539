"""LSE-D and LSE-C of speaking faces: `python -m benchmarks.syncnet CHECKPOINT VIDEO…` (needs the extra `train`).

For whoever brings the weights of SyncNet (Chung and Zisserman, "Out of time", ACCV workshop 2016; the published
`syncnet_v2.model` is a plain dictionary of tensors). Layers, cepstra, crop and distances are those of its authors'
evaluation; one thing is not: the box round the face comes from our landmarks, theirs from a detector of their own.
So figures of this script are to be compared with each other, and with the literature's only roughly.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.sync import pictures
from encoder.tools import find_tools
from lipsync.errors import LipsyncError
from lipsync.face import FaceFinder, Points
from lipsync.narration import SAMPLE_RATE_HZ, Floats, read_speech
from lipsync.photo import Pixels

RATE_HZ, HOP, WINDOW, FFT = 25, 160, 400, 512
FILTERS, CEPSTRA, LIFTER, EMPHASIS = 26, 13, 22, 0.97
FRAMES, COLUMNS = 5, 20
"""What one embedding sees: pictures, and cepstra at 100 a second."""
SIDE_PX, CROP, BORDER, STEADY_FRAMES = 224, 0.4, 110, 13
SHIFT = 15
"""How far sound and picture are moved against each other, in pictures either way."""
WIDTH = 1024
BATCH = 20


class WrongCheckpoint(Exception):
    """The file holds no weights of this network; the text says why."""


def _stream(
    conv: type[nn.Module], norm: type[nn.Module], *layers: tuple[dict[str, object], nn.Module | None]
) -> nn.Sequential:
    """Return convolutions, each normalised and rectified, some with a pool behind; numbered as in checkpoints."""
    made: list[nn.Module] = []
    for words, pool in layers:
        made += [conv(**words), norm(words["out_channels"]), nn.ReLU()]
        made += [pool] if pool is not None else []
    return nn.Sequential(*made)


def _conv(into: int, out: int, kernel: object, stride: object = 1, padding: object = 0) -> dict[str, object]:
    return {"in_channels": into, "out_channels": out, "kernel_size": kernel, "stride": stride, "padding": padding}


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, WIDTH))


class SyncNet(nn.Module):
    """pictures (n, 3, 5, 224, 224), BGR 0..255, and cepstra (n, 1, 13, 20) -> embeddings (n, 1024)."""

    def __init__(self) -> None:
        super().__init__()
        flat = (0, 1, 1)
        self.netcnnaud = _stream(
            nn.Conv2d, nn.BatchNorm2d,
            (_conv(1, 64, 3, padding=1), nn.MaxPool2d(1)),  # it pools nothing, but has a number
            (_conv(64, 192, 3, padding=1), nn.MaxPool2d(3, stride=(1, 2))),
            (_conv(192, 384, 3, padding=1), None),
            (_conv(384, 256, 3, padding=1), None),
            (_conv(256, 256, 3, padding=1), nn.MaxPool2d(3, stride=2)),
            (_conv(256, 512, (5, 4)), None),
        )  # fmt: skip
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = _stream(
            nn.Conv3d, nn.BatchNorm3d,
            (_conv(3, 96, (5, 7, 7), (1, 2, 2)), nn.MaxPool3d((1, 3, 3), (1, 2, 2))),
            (_conv(96, 256, (1, 5, 5), (1, 2, 2), flat), nn.MaxPool3d((1, 3, 3), (1, 2, 2), flat)),
            (_conv(256, 256, (1, 3, 3), padding=flat), None),
            (_conv(256, 256, (1, 3, 3), padding=flat), None),
            (_conv(256, 256, (1, 3, 3), padding=flat), nn.MaxPool3d((1, 3, 3), (1, 2, 2))),
            (_conv(256, 512, (1, 6, 6)), None),
        )  # fmt: skip

    def lips(self, seen: Tensor) -> Tensor:
        return torch.as_tensor(self.netfclip(self.netcnnlip(seen).flatten(1)))

    def sounds(self, heard: Tensor) -> Tensor:
        return torch.as_tensor(self.netfcaud(self.netcnnaud(heard).flatten(1)))


def load(checkpoint: Path) -> SyncNet:
    """Return the network with the weights of a file, from which no code is run. Raises WrongCheckpoint."""
    try:
        stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WrongCheckpoint(f"{checkpoint.name!r} cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise WrongCheckpoint(f"{checkpoint.name!r} holds more than weights, or is no checkpoint of torch") from error
    except (RuntimeError, ValueError, EOFError, KeyError) as error:
        raise WrongCheckpoint(f"{checkpoint.name!r} is damaged, or no checkpoint of torch") from error
    net = SyncNet()
    _check(stored, net.state_dict(), checkpoint.name)
    net.load_state_dict(stored, strict=False)
    return net.eval()


def _check(stored: object, wanted: dict[str, Tensor], name: str) -> None:
    """Raise WrongCheckpoint unless `stored` has every tensor that is wanted and no other one."""
    if not isinstance(stored, dict) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise WrongCheckpoint(f"{name!r} is not a dictionary of tensors")
    # torch counts batches since 0.4.1 only; nothing that is asked of the network depends on it
    needed = {key for key in wanted if not key.endswith("num_batches_tracked")}
    if lacking := sorted(needed - stored.keys()):
        raise WrongCheckpoint(f"{name!r} lacks {len(lacking)} of SyncNet's tensors, the first is {lacking[0]}")
    if foreign := sorted(stored.keys() - wanted.keys()):
        raise WrongCheckpoint(f"{name!r} holds {len(foreign)} tensors that SyncNet has not, the first is {foreign[0]}")
    for key, tensor in stored.items():
        if tensor.shape != wanted[key].shape:
            shapes = f"{tuple(tensor.shape)}, and {tuple(wanted[key].shape)} is wanted"
            raise WrongCheckpoint(f"the tensor {key} of {name!r} has the shape {shapes}")


def cepstra(samples: Floats) -> Floats:
    """Return the mel cepstra (m, 13) of 16 kHz mono, -1..1, 100 a second, as python_speech_features has them.

    Samples count as 16-bit integers; no window; 26 triangles of whole bins; c0 is the log of the energy; sine lifter.
    """
    sound = samples.astype(np.float64) * 32768
    sound = np.append(sound[:1], sound[1:] - EMPHASIS * sound[:-1])
    count = 1 + max(0, -(-(len(sound) - WINDOW) // HOP))
    sound = np.pad(sound, (0, max(0, (count - 1) * HOP + WINDOW - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP][:count]
    power = abs(np.fft.rfft(frames, FFT)) ** 2 / FFT
    tiny = np.finfo(np.float64).eps
    bands = power @ _triangles().T
    n = np.arange(FILTERS)
    cosines = np.cos(np.pi * np.arange(CEPSTRA)[:, None] * (2 * n + 1) / (2 * FILTERS)) * np.sqrt(2 / FILTERS)
    found = np.log(np.where(bands == 0, tiny, bands)) @ cosines.T
    found *= 1 + LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / LIFTER)
    energy = power.sum(axis=1)
    found[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return np.asarray(found)


def _triangles() -> Floats:
    """Return the filters (26, 257) of the mel scale; their corners are whole bins."""
    top = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    corners_hz = 700 * (10 ** (np.linspace(0, top, FILTERS + 2) / 2595) - 1)
    corners = np.floor((FFT + 1) * corners_hz / SAMPLE_RATE_HZ)
    bins, filters = np.arange(FFT // 2 + 1), np.zeros((FILTERS, FFT // 2 + 1))
    for row, (low, middle, high) in zip(filters, zip(corners, corners[1:], corners[2:], strict=False), strict=True):
        rising, falling = (bins >= low) & (bins < middle), (bins >= middle) & (bins < high)
        row[rising] = (bins[rising] - low) / max(middle - low, 1)
        row[falling] = (high - bins[falling]) / max(high - middle, 1)
    return filters


def faces_in(video: Path, finder: FaceFinder) -> list[Pixels]:
    """Return the pictures (224, 224, 3) of the face in a video, 25 a second. Raises LipsyncError where none is seen."""
    boxes: list[Floats | None] = []
    last: Points | None = None
    for picture in pictures(video, "-vf", f"fps={RATE_HZ}"):
        last = finder.follow(picture, last)
        boxes.append(None if last is None else _box(last))
    seen = [number for number, box in enumerate(boxes) if box is not None]
    if not seen:
        raise LipsyncError(f"No face is seen in {video.name!r}.")
    known = np.stack([box for box in boxes if box is not None])
    whole = np.stack([np.interp(np.arange(len(boxes)), seen, column) for column in known.T], axis=1)
    steady = _median(whole)
    return [_crop(picture, *box) for picture, box in zip(pictures(video, "-vf", f"fps={RATE_HZ}"), steady, strict=True)]


def _box(landmarks: Points) -> Floats:
    """Return middle x, y and half the longer side of the box round a face."""
    low, high = landmarks[:468, :2].min(axis=0), landmarks[:468, :2].max(axis=0)
    return np.array([*(low + high) / 2, (high - low).max() / 2])


def _median(boxes: Floats) -> Floats:
    reach = STEADY_FRAMES // 2
    padded = np.pad(boxes, ((reach, reach), (0, 0)), mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, STEADY_FRAMES, axis=0), axis=-1))


def _crop(picture: Pixels, x: float, y: float, half: float) -> Pixels:
    """Return the square from the top of a face to below its chin, on grey where the picture ends."""
    room = int(half * (1 + 2 * CROP))
    framed = cv2.copyMakeBorder(picture, room, room, room, room, cv2.BORDER_CONSTANT, value=(BORDER,) * 3)
    x, y, wide = x + room, y + room, half * (1 + CROP)
    part = framed[int(y - half) : int(y + half * (1 + 2 * CROP)), int(x - wide) : int(x + wide)]
    return np.asarray(cv2.resize(part, (SIDE_PX, SIDE_PX)), np.uint8)


@torch.no_grad()
def embeddings(net: SyncNet, faces: Sequence[Pixels], heard: Floats) -> tuple[Tensor, Tensor]:
    """Return what the network makes of lips and of sounds, each (n, 1024), at every picture that both cover."""
    step = SAMPLE_RATE_HZ // RATE_HZ // HOP
    count = min(len(faces), (len(heard) + 1) // step) - FRAMES
    sound = torch.from_numpy(np.asarray(heard, np.float32)).T
    lips, sounds = [], []
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        seen = [torch.from_numpy(np.stack(faces[n : n + FRAMES])).permute(3, 0, 1, 2).float() for n in numbers]
        lips.append(net.lips(torch.stack(seen)))
        sounds.append(net.sounds(torch.stack([sound[None, :, step * n : step * n + COLUMNS] for n in numbers])))
    return torch.cat(lips), torch.cat(sounds)


def distances(lips: Tensor, sounds: Tensor, shift: int = SHIFT) -> Tensor:
    """Return (n, 2 * shift + 1): how far lips are from the sounds `shift` pictures before to `shift` after them.

    Beyond the ends there is an embedding of zeros, as in the authors' evaluation.
    """
    padded = nn.functional.pad(sounds, (0, 0, shift, shift))
    return torch.stack(
        [nn.functional.pairwise_distance(lips, padded[k : k + len(lips)]) for k in range(2 * shift + 1)], dim=1
    )


@dataclass(frozen=True, slots=True)
class Score:
    """`offset`: pictures by which the sound has to be moved later to fit; `lse_d`, the least mean distance: less is
    better; `lse_c`, how far the median over all shifts lies above it: more is better (arXiv 2008.10010, section 4)."""

    offset: int
    lse_d: float
    lse_c: float

    @classmethod
    def of(cls, apart: Tensor) -> Score:
        mean = apart.mean(dim=0)
        least, at = mean.min(dim=0)
        return cls(apart.shape[1] // 2 - int(at), float(least), float(mean.median() - least))


def score(net: SyncNet, video: Path, finder: FaceFinder) -> Score:
    """Look at a video and listen to it. Raises LipsyncError."""
    faces, heard = faces_in(video, finder), cepstra(read_speech(video, find_tools()))
    if len(faces) <= FRAMES:
        raise LipsyncError(f"{video.name!r} has too few pictures.")
    return Score.of(distances(*embeddings(net, faces, heard)))


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="LSE-D and LSE-C of speaking faces.")
    parser.add_argument("checkpoint", type=Path, help="weights of SyncNet, syncnet_v2.model")
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    chosen = parser.parse_args(words)
    cv2.setNumThreads(1)
    found = []
    try:
        net, finder = load(chosen.checkpoint), FaceFinder()
        for video in chosen.videos:
            found.append(score(net, video, finder))
            print(
                f"{video.name}: LSE-D {found[-1].lse_d:.3f}, LSE-C {found[-1].lse_c:.3f}, offset {found[-1].offset:+d}"
            )
    except (WrongCheckpoint, LipsyncError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    mean_d, mean_c = (np.mean([getattr(one, name) for one in found]) for name in ("lse_d", "lse_c"))
    print(f"mean of {len(found)}: LSE-D {mean_d:.3f}, LSE-C {mean_c:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
