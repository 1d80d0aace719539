"""Trained weights -> the ONNX file that the product runs: `python -m lipsync.train.export WEIGHTS.pt OUT.onnx`."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from lipsync.conditioning import WINDOW_PX
from lipsync.mouthnet import BATCH
from lipsync.train.mouth import Mouth, places_mirrored

OPSET = 17


class Exported(nn.Module):
    """One output (n, 4, 72, 72): painted colour and cover, so that the photo may lie beneath at any resolution.

    Each picture is painted as it is and mirrored, and the mean of both is shown: what the network has from single faces
    of its training differs between them and is halved.
    """

    def __init__(self, mouth: Mouth) -> None:
        super().__init__()
        self.mouth = mouth
        self.mirror: Tensor
        # a product rather than a step backwards, which OpenCV does not know
        self.register_buffer("mirror", torch.eye(WINDOW_PX).flip(0), persistent=False)

    def forward(self, source: Tensor, warped: Tensor, labels: Tensor, places: Tensor) -> Tensor:
        colour, cover = self.mouth.painted(source, warped, labels, places)
        planes = (source @ self.mirror, warped @ self.mirror, labels @ self.mirror)
        other, others = (out @ self.mirror for out in self.mouth.painted(*planes, places_mirrored(places)))
        both = cover + others
        return torch.cat([(cover * colour + others * other) / (both + 1e-6), both / 2], 1)


def examples(batch: int = BATCH) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return inputs of the right shapes, from noise."""
    side = WINDOW_PX
    chance = torch.Generator().manual_seed(1)
    pictures = (torch.rand(batch, channels, side, side, generator=chance) for channels in (6, 3, 6))
    source, warped, labels = pictures
    return source, warped, labels, torch.tensor([[64.0, 58.0, 0.0, -3.0, 5.0]]).repeat(batch, 1)


def export(mouth: Mouth, out: Path) -> None:
    """Write the network with fixed shapes for BATCH pictures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Exported(mouth).eval(), examples(), str(out), opset_version=OPSET, dynamo=False,
            input_names=["source", "warped", "labels", "places"], output_names=["painted"],
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lipsync.train.export", description="Write the mouth network as ONNX."
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    mouth = Mouth()
    mouth.load_state_dict(torch.load(chosen.weights, weights_only=True))
    export(mouth, chosen.out)


if __name__ == "__main__":
    main()
