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
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from encoder.tools import find_tools, run_tool  # noqa: E402

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


class Conv(nn.Module):
    """A convolution, or with `up` a transposed one, normalised; `straight` adds its input."""

    def __init__(
        self, into: int, out: int, kernel: int = 3, stride: int | tuple[int, int] = 1, padding: int = 1,
        *, straight: bool = False, up: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        layer: nn.Module
        if up:
            layer = nn.ConvTranspose2d(into, out, kernel, stride, padding, output_padding=int(stride == 2))
        else:
            layer = nn.Conv2d(into, out, kernel, stride, padding)
        self.layers, self.straight = nn.Sequential(layer, nn.BatchNorm2d(out)), straight

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layers(x) + x if self.straight else self.layers(x))


def stage(first: Conv, width: int, times: int) -> nn.Sequential:
    return nn.Sequential(first, *(Conv(width, width, straight=True) for _ in range(times)))


class Generator(nn.Module):
    """mels (n, 1, 80, 16), faces (n, 6, 96, 96) -> pictures (n, 3, 96, 96); 36.3 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        down = ((16, 2), (32, 3), (64, 2), (128, 2), (256, 1))
        self.faces = nn.ModuleList([
            Conv(6, 16, 7, 1, 3), *(stage(Conv(a, 2 * a, stride=2), 2 * a, times) for a, times in down),
            nn.Sequential(Conv(512, 512, 3, 1, 0), Conv(512, 512, 1, 1, 0)),
        ])  # fmt: skip
        self.sounds = nn.Sequential(
            stage(Conv(1, 32), 32, 2), stage(Conv(32, 64, stride=(3, 1)), 64, 2),
            stage(Conv(64, 128, stride=3), 128, 2),
            stage(Conv(128, 256, stride=(3, 2)), 256, 1), Conv(256, 512, 3, 1, 0), Conv(512, 512, 1, 1, 0),
        )  # fmt: skip
        up = ((1024, 512), (768, 384), (512, 256), (320, 128), (160, 64))
        self.rise = nn.ModuleList([
            Conv(512, 512, 1, 1, 0), stage(Conv(1024, 512, 3, 1, 0, up=True), 512, 1),
            *(stage(Conv(into, out, stride=2, up=True), out, 2) for into, out in up),
        ])  # fmt: skip
        self.end = nn.Sequential(Conv(80, 32), nn.Conv2d(32, 3, 1), nn.Sigmoid())

    def forward(self, mels: Tensor, faces: Tensor) -> Tensor:
        levels = []
        for step in self.faces:
            faces = step(faces)
            levels.append(faces)
        x = self.sounds(mels)
        for step in self.rise:
            x = torch.cat([step(x), levels.pop()], 1)
        return torch.as_tensor(self.end(x))


@torch.no_grad()
def main() -> None:
    began, (photo, speech, out) = time.perf_counter(), map(Path, sys.argv[1:])
    picture = cv2.imread(str(photo))
    assert picture is not None
    detector()(torch.from_numpy(picture).permute(2, 0, 1)[None].float())
    small = cv2.resize(picture[FACE], (INPUT_PX, INPUT_PX))
    seen = torch.from_numpy(np.dstack([small, small])).permute(2, 0, 1).float() / 255
    net, film = Generator().eval(), out.with_suffix(".avi")
    assert abs(sum(weights.numel() for weights in net.parameters()) - 36.3e6) < 0.2e6
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
