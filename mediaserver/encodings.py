"""Which coding of a text a client takes (RFC 9110, 12.5.3), and the text in it."""

from __future__ import annotations

import gzip
import re

_WEIGHT = r"(?:[ \t]*;[ \t]*[qQ]=(?P<q>0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
_ITEM = re.compile(rf"(?P<coding>[A-Za-z0-9-]+|\*){_WEIGHT}")
# Below this a packed text is hardly shorter than the plain one.
LEAST_BYTES = 256


def takes_gzip(field: str | None) -> bool:
    """Whether Accept-Encoding names gzip, or everything, with a weight above 0."""
    if not field:
        return False
    weights: dict[str, float] = {}
    for part in field.split(","):
        if found := _ITEM.fullmatch(part.strip(" \t")):
            weights[found["coding"].lower()] = float(found["q"] or 1)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def packed(body: bytes) -> bytes | None:
    """Return the text in gzip, the same bytes every time, or None if that would not be shorter."""
    if len(body) < LEAST_BYTES:
        return None
    short = gzip.compress(body, 9, mtime=0)
    return short if len(short) < len(body) else None
