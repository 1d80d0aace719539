"""Where the networks lie that were made of the operator's own Wav2Lip checkpoint; looked at without picture code."""

from __future__ import annotations

from pathlib import Path

from encoder.tools import cache_folder
from lipsync.errors import NotConverted

FILES = {"sounds": "sounds.onnx", "faces": "faces.onnx", "mouths": "mouths.onnx"}


def converted() -> Path:
    """Return the folder in the cache into which checkpoints are converted, be it there or not."""
    return cache_folder() / "models" / "wav2lip"


def check_converted(folder: Path) -> None:
    """Raise NotConverted if one of the networks is missing."""
    if not all((folder / file).is_file() for file in FILES.values()):
        raise NotConverted
