"""Turns one face and one speech into pictures that fill a slot of a chapter for one viewer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lipsync.studio import Studio

__all__ = ["Studio"]

# read when NumPy is first imported: for matrices of some hundred rows more threads only wait for each other, busily
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def __getattr__(name: str) -> object:
    """Import the pipeline when it is first asked for: its picture code does not belong to the server's start."""
    if name == "Studio":
        from lipsync.studio import Studio  # noqa: PLC0415 - that is the purpose

        return Studio
    raise AttributeError(name)
