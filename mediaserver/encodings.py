"""Which codings of a text a client takes (RFC 9110, 12.5.3), and the text in them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module

Pack = Callable[[bytes], bytes]

_WEIGHT = r"(?:[ \t]*;[ \t]*[qQ]=(?P<q>0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
_ITEM = re.compile(rf"(?P<coding>[A-Za-z0-9-]+|\*){_WEIGHT}")
# Below this a packed text is hardly shorter than the plain one.
LEAST_BYTES = 256


def _coders() -> dict[str, Pack]:
    """Return what packs, by coding, what packs best first: br and zstd where a library of them is installed."""
    found: dict[str, Pack] = {}
    with suppress(ImportError):
        found["br"] = partial(import_module("brotli").compress, quality=6)
    for name in ("backports.zstd", "compression.zstd"):
        with suppress(ImportError):
            found["zstd"] = partial(import_module(name).compress, level=12)
    found["gzip"] = partial(gzip.compress, compresslevel=9, mtime=0)
    return found


CODERS = _coders()


def codings_for(field: str | None) -> tuple[str, ...]:
    """Return the codings that Accept-Encoding names, or takes with everything, and prefers to none; the best first."""
    weights: dict[str, float] = {}
    for part in (field or "").split(","):
        if found := _ITEM.fullmatch(part.strip(" \t")):
            weights[found["coding"].lower().removeprefix("x-")] = float(found["q"] or 1)
    least, others = weights.get("identity", 0.0), weights.get("*", 0.0)
    taken = [(weights.get(coding, others), coding) for coding in CODERS]
    best = sorted((item for item in taken if item[0] >= least and item[0] > 0), key=lambda item: -item[0])
    return tuple(coding for _, coding in best)


def packed(body: bytes) -> dict[str, bytes]:
    """Return the text in every coding in which it is shorter, the same bytes every time."""
    if len(body) < LEAST_BYTES:
        return {}
    return {coding: short for coding, pack in CODERS.items() if len(short := pack(body)) < len(body)}
