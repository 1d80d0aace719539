"""The operator's Wav2Lip checkpoint -> the files that the product runs: `mediaserver doctor --convert CHECKPOINT`.

The network is the published one (Prajwal et al., A Lip Sync Expert Is All You Need, arXiv 2008.10010), with the names
of its checkpoints. For a still face most of it is constant: the face encoder runs once, and where the decoder joins its
own features with the face's, the convolution over both is a sum whose second term is the face's alone. Of the decoder's
picture only the lower half is used, so each layer makes only the rows that lead there.
"""

from __future__ import annotations

import pickle
import tempfile
import warnings
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as f

from lipsync.checkpoint import FILES
from lipsync.errors import WeightsUnusable
from lipsync.wav2lip import BATCH, FACE_PX, MEL_BANDS, MEL_STEPS, Wav2LipSpeaker

OPSET = 17
KEPT_ROWS = FACE_PX // 2


class Conv(nn.Module):
    """A convolution with batch normalisation; `residual` adds its input."""

    def __init__(
        self, into: int, out: int, kernel: int, stride: int | tuple[int, int], padding: int, *, residual: bool = False
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(into, out, kernel, stride, padding), nn.BatchNorm2d(out))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv_block(x)
        return f.relu(out + x if self.residual else out)


class Rise(nn.Module):
    """A transposed convolution with batch normalisation."""

    def __init__(self, into: int, out: int, stride: int, padding: int) -> None:
        super().__init__()
        layer = nn.ConvTranspose2d(into, out, 3, stride, padding, output_padding=padding)
        self.conv_block = nn.Sequential(layer, nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        return f.relu(self.conv_block(x))


def _with_residuals(first: nn.Module, width: int, count: int) -> nn.Sequential:
    return nn.Sequential(first, *(Conv(width, width, 3, 1, 1, residual=True) for _ in range(count)))


class Wav2Lip(nn.Module):
    """mels (n, 1, 80, 16), faces (n, 6, 96, 96) BGR 0..1, first the one to paint, its lower half black, then the
    reference -> pictures (n, 3, 96, 96), 0..1.
    """

    def __init__(self) -> None:
        super().__init__()
        down = ((16, 32, 2), (32, 64, 3), (64, 128, 2), (128, 256, 2), (256, 512, 1))
        self.face_encoder_blocks = nn.ModuleList([
            nn.Sequential(Conv(6, 16, 7, 1, 3)),
            *(_with_residuals(Conv(into, out, 3, 2, 1), out, count) for into, out, count in down),
            nn.Sequential(Conv(512, 512, 3, 1, 0), Conv(512, 512, 1, 1, 0)),
        ])  # fmt: skip
        self.audio_encoder = nn.Sequential(
            *_with_residuals(Conv(1, 32, 3, 1, 1), 32, 2),
            *_with_residuals(Conv(32, 64, 3, (3, 1), 1), 64, 2),
            *_with_residuals(Conv(64, 128, 3, 3, 1), 128, 2),
            *_with_residuals(Conv(128, 256, 3, (3, 2), 1), 256, 1),
            *(Conv(256, 512, 3, 1, 0), Conv(512, 512, 1, 1, 0)),
        )
        up = ((1024, 512), (768, 384), (512, 256), (320, 128), (160, 64))
        self.face_decoder_blocks = nn.ModuleList([
            nn.Sequential(Conv(512, 512, 1, 1, 0)),
            _with_residuals(Rise(1024, 512, 1, 0), 512, 1),
            *(_with_residuals(Rise(into, out, 2, 1), out, 2) for into, out in up),
        ])  # fmt: skip
        self.output_block = nn.Sequential(Conv(80, 32, 3, 1, 1), nn.Conv2d(32, 3, 1, 1, 0), nn.Sigmoid())

    def forward(self, mels: Tensor, faces: Tensor) -> Tensor:
        x, seen = self.audio_encoder(mels), self.features(faces)
        for block in self.face_decoder_blocks:
            x = torch.cat([block(x), seen.pop()], 1)
        return cast(Tensor, self.output_block(x))

    def features(self, faces: Tensor) -> list[Tensor]:
        """Return what every stage of the face encoder sees, the widest picture first."""
        seen = []
        for block in self.face_encoder_blocks:
            faces = block(faces)
            seen.append(faces)
        return seen


def load(checkpoint: Path) -> Wav2Lip:
    """Read a checkpoint of the published code; nothing in it is run. Raises WeightsUnusable."""
    try:
        found: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
        weights = {name.removeprefix("module."): value for name, value in found["state_dict"].items()}
        network = Wav2Lip()
        network.load_state_dict(weights)
    except FileNotFoundError as error:
        raise WeightsUnusable(checkpoint.name, "there is no such file") from error
    except (OSError, EOFError, KeyError, TypeError, AttributeError, RuntimeError, pickle.UnpicklingError) as error:
        raise WeightsUnusable(checkpoint.name, "it is not a checkpoint of Wav2Lip") from error
    return network.eval().requires_grad_(False)


class Sounds(nn.Module):
    """mels (n, 1, 80, 16) -> what the decoder begins with (n, 512)."""

    def __init__(self, network: Wav2Lip) -> None:
        super().__init__()
        self.encoder, self.first = network.audio_encoder, network.face_decoder_blocks[0]

    def forward(self, mels: Tensor) -> Tensor:
        return cast(Tensor, self.first(self.encoder(mels)).flatten(1))


class Joined:
    """The convolution behind a join, as one over the decoder's own features and one over the face's."""

    def __init__(self, block: nn.Sequential, own: int) -> None:
        """`own` is the number of the decoder's channels, which come first."""
        layer, norm = cast("tuple[nn.Conv2d | nn.ConvTranspose2d, nn.BatchNorm2d]", (block[0], block[1]))
        self._up = isinstance(layer, nn.ConvTranspose2d)
        assert norm.running_var is not None
        assert norm.running_mean is not None
        assert layer.bias is not None
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = layer.weight * (gain[None, :, None, None] if self._up else gain[:, None, None, None])
        axis = 0 if self._up else 1
        self.own, self.other = (
            part.contiguous() for part in torch.split(weight, [own, weight.shape[axis] - own], axis)
        )
        self.bias = (layer.bias - norm.running_mean) * gain + norm.bias
        self._stride, self._padding = layer.stride[0], cast(int, layer.padding[0])

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if self._up:
            return f.conv_transpose2d(x, weight, bias, self._stride, self._padding, output_padding=self._padding)
        return f.conv2d(x, weight, bias, self._stride, self._padding)


def _joins(network: Wav2Lip) -> list[Joined]:
    """Return the six joins of the decoder that have a convolution behind them, and that of the output."""
    blocks = [cast("nn.Sequential", block) for block in network.face_decoder_blocks]
    widths = [512, 512, 512, 384, 256, 128, 64]
    firsts = [cast("Conv | Rise", block[0]) for block in (*blocks[1:], network.output_block)]
    return [Joined(first.conv_block, own) for first, own in zip(firsts, widths, strict=True)]


class Faces(nn.Module):
    """faces (1, 6, 96, 96) -> the constant terms of all joins one behind the other (1, n)."""

    def __init__(self, network: Wav2Lip) -> None:
        super().__init__()
        self._network, self._joins = network, _joins(network)

    def forward(self, faces: Tensor) -> Tensor:
        seen = reversed(self._network.features(faces))
        terms = [join.apply(x, join.other, join.bias) for join, x in zip(self._joins, seen, strict=True)]
        return torch.cat([term.flatten(1) for term in terms], 1)


TERMS = ((512, 3), (512, 6), (384, 12), (256, 24), (128, 48), (64, 96), (32, 96))
"""Channels and side of the constant terms."""


class Mouths(nn.Module):
    """sounds (n, 512) and the constant terms of one face -> the lower half of its pictures (n, 3, 48, 96), 0..1."""

    def __init__(self, network: Wav2Lip) -> None:
        super().__init__()
        self._joins = _joins(network)
        self._residuals = [list(cast("nn.Sequential", block))[1:] for block in network.face_decoder_blocks[1:]]
        self._last = list(network.output_block)[1:]
        self._tops = _tops([len(blocks) for blocks in self._residuals])

    def forward(self, sounds: Tensor, face: Tensor) -> Tensor:
        x, top = sounds[:, :, None, None], 0
        parts = torch.split(face, [channels * side * side for channels, side in TERMS], 1)
        constants = [part.reshape(1, *(c, side, side)) for part, (c, side) in zip(parts, TERMS, strict=True)]
        for join, blocks, constant, begin in zip(self._joins, self._residuals, constants, self._tops, strict=False):
            x, top = self._joined(join, x, top, constant, begin)
            for block in blocks:
                x = block(x)
        x, top = self._joined(self._joins[-1], x, top, constants[-1], self._tops[-1])
        for layer in self._last:
            x = layer(x)
        return x[:, :, KEPT_ROWS - top :]

    @staticmethod
    def _joined(join: Joined, x: Tensor, top: int, constant: Tensor, begin: int) -> tuple[Tensor, int]:
        """Return the join's rows from `begin` on, given those of its input from `top` on."""
        scale = constant.shape[2] // (x.shape[2] + top)
        made = join.apply(x, join.own)[:, :, begin - scale * top :]
        return f.relu(made + constant[:, :, begin:]), begin


def _tops(residuals: list[int]) -> list[int]:
    """Return for every join the first row that is needed of what it makes, some more for the zeros at a cut.

    A 3x3 convolution behind a cut spoils one row, so each layer gets as many more as layers follow at its size.
    """
    need, tops = KEPT_ROWS, [KEPT_ROWS]
    need -= 1
    for count in reversed(residuals):
        need = max(0, need - count)
        tops.append(need)
        need = max(0, need // 2 - 1)
    return tops[::-1]


def convert(checkpoint: Path, folder: Path) -> float:
    """Write sound, face and mouth networks as ONNX into `folder`, all or none.

    Return how far their pictures are from the plain network's, in levels 0..255, on noise. Raises WeightsUnusable.
    """
    network = load(checkpoint)
    mels, face = (
        torch.rand(BATCH, 1, MEL_BANDS, MEL_STEPS) * 8 - 4,
        torch.rand(1, 3, FACE_PX, FACE_PX).repeat(1, 2, 1, 1),
    )
    face[:, :3, KEPT_ROWS:] = 0
    parts: dict[str, tuple[nn.Module, dict[str, Tensor]]] = {
        "sounds": (Sounds(network), {"mels": mels}),
        "faces": (Faces(network), {"face": face}),
    }
    with torch.no_grad():
        made = {name: part(*inputs.values()) for name, (part, inputs) in parts.items()}
        plain = network(mels, face.expand(BATCH, -1, -1, -1))[:, :, KEPT_ROWS:]
    parts["mouths"] = (Mouths(network), {"sounds": made["sounds"], "face": made["faces"]})
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        for name, (part, inputs) in parts.items():
            _export(part.eval(), inputs, Path(temporary) / FILES[name])
        speaker = Wav2LipSpeaker(Path(temporary), exact=True)
        apart = _apart(speaker, mels, face, plain)
        if not apart <= 1:
            raise WeightsUnusable(checkpoint.name, f"what was made of it is {apart:.1f} of 255 levels from it")
        folder.mkdir(exist_ok=True)
        for name in FILES.values():
            (Path(temporary) / name).replace(folder / name)
    return apart


def _apart(speaker: Wav2LipSpeaker, mels: Tensor, face: Tensor, plain: Tensor) -> float:
    terms = speaker.look((face[0, 3:].permute(1, 2, 0) * 255).numpy())
    shown = speaker.speak(speaker.hear_windows(mels.numpy()), terms)
    return float(abs(torch.from_numpy(shown) - plain.permute(0, 2, 3, 1) * 255).max())


def _export(part: nn.Module, inputs: dict[str, Tensor], out: Path) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            part, tuple(inputs.values()), str(out), opset_version=OPSET, dynamo=False,
            input_names=list(inputs), output_names=["out"],
            # a photo's mouths are painted several at once, a video's one by one
            dynamic_axes={"sounds": {0: "n"}, "out": {0: "n"}} if "sounds" in inputs else None,
        )  # fmt: skip
