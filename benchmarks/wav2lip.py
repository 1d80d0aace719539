"""The path of the original Wav2Lip with random weights: what lipsync.py compares with. Its pictures are noise.

    .venv/bin/python benchmarks/wav2lip.py PHOTO SPEECH OUT.mp4

Rebuilt from the published shapes (Prajwal et al., arXiv 2008.10010; the detector: Zhang et al., arXiv 1708.05237):
detector on the whole photo of 1280x720, the whole network for each of 400 frames in 32 bits, 128 at once, paste, an
intermediate file, ffmpeg with its own settings; no spectrogram of the sound. Prints the seconds behind the imports.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from encoder.tools import find_tools, run_tool  # noqa: E402
from lipsync.train.wav2lip import Wav2Lip  # noqa: E402

FRAMES, BATCH, INPUT_PX, MEL = 400, 128, 96, (80, 16)
FACE = (slice(200, 526), slice(528, 752))
VGG = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
EXTRA = ((1024, 3, 1, 3), (1024, 1, 1, 0), (256, 1, 1, 0), (512, 3, 2, 1), (128, 1, 1, 0), (256, 3, 2, 1))


def detector() -> nn.Sequential:
    """Return VGG-16's layers and those that S3FD adds: 290 GMAC for a photo of 720 lines."""
    layers: list[nn.Module] = []
    width = 3
    for stage in VGG:
        for wide in stage:
            layers += [nn.Conv2d(width, wide, 3, padding=1), nn.ReLU()]
            width = wide
        layers.append(nn.MaxPool2d(2))
    for wide, kernel, stride, padding in EXTRA:
        layers += [nn.Conv2d(width, wide, kernel, stride, padding), nn.ReLU()]
        width = wide
    return nn.Sequential(*layers).eval()


@torch.no_grad()
def main() -> None:
    began, (photo, speech, out) = time.perf_counter(), map(Path, sys.argv[1:])
    picture = cv2.imread(str(photo))
    assert picture is not None
    detector()(torch.from_numpy(picture).permute(2, 0, 1)[None].float())
    small = cv2.resize(picture[FACE], (INPUT_PX, INPUT_PX))
    seen = torch.from_numpy(np.dstack([small, small])).permute(2, 0, 1).float() / 255
    net, film = Wav2Lip().eval(), out.with_suffix(".avi")
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"DIVX"), 25.0, picture.shape[1::-1])
    for first in range(0, FRAMES, BATCH):
        count = min(BATCH, FRAMES - first)
        mouths = net(torch.rand(count, 1, *MEL), seen.expand(count, -1, -1, -1))
        for mouth in (mouths.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8):
            frame = picture.copy()
            frame[FACE] = cv2.resize(mouth, frame[FACE].shape[1::-1])
            writer.write(frame)
    writer.release()
    ffmpeg = [str(find_tools().ffmpeg), "-v", "error", "-y", "-i", str(speech), "-i", str(film)]
    run_tool([*ffmpeg, "-c:v", "libx264", str(out)])
    print(f"{time.perf_counter() - began:.2f}")


if __name__ == "__main__":
    main()
