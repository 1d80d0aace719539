"""What server and worker say to each other: a JSON header and bytes, each with its length in front; no pickle."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from lipsync import errors
from lipsync.errors import LipsyncError, PhotoRefused, RenderFailed
from lipsync.protocols import Stamp, Take

Header = dict[str, Any]

LENGTHS = struct.Struct(">II")
"""Bytes of the header, bytes of the payload."""
LONGEST_HEADER, LONGEST_PAYLOAD = 1 << 20, 1 << 28


class BadMessage(Exception):
    """The other side said what cannot be."""


def packed(header: Header, payload: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return LENGTHS.pack(len(text), len(payload)) + text + payload


def lengths_of(start: bytes) -> tuple[int, int]:
    """Return the lengths of header and payload; raises BadMessage."""
    header, payload = LENGTHS.unpack(start)
    if header > LONGEST_HEADER or payload > LONGEST_PAYLOAD:
        raise BadMessage(f"lengths {header} and {payload}")
    return header, payload


def take_header(take: Take) -> Header:
    return {
        "folder": str(take.folder),
        "slot": take.slot,
        "renditions": take.renditions,
        "segments": [take.segments.start, take.segments.stop],
        "render_id": take.render_id,
        "stamp": [take.stamp.text, take.stamp.place],
    }


def take_of(header: Header) -> Take:
    """Return what `take_header` described."""
    return Take(
        Path(header["folder"]),
        header["slot"],
        tuple(header["renditions"]),
        range(*header["segments"]),
        header["render_id"],
        Stamp(*header["stamp"]),
    )


def error_header(error: LipsyncError) -> Header:
    header: Header = {"event": "error", "code": error.code, "sentence": str(error), "hint": error.hint}
    if isinstance(error, PhotoRefused):
        header["verdict"] = error.verdict
    return header


def error_of(header: Header) -> LipsyncError:
    """Return the exception that `error_header` described."""
    if header["code"] == PhotoRefused.code:
        return PhotoRefused(header["verdict"], header["sentence"], header["hint"])
    family = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LipsyncError)]
    kind = {kind.code: kind for kind in family}.get(header["code"], RenderFailed)
    error = kind.__new__(kind, header["sentence"])
    error.args, error.hint = (header["sentence"],), header["hint"]
    return error
