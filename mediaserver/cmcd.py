"""What a player says of its buffer with a request: Common Media Client Data (CTA-5004), query or headers."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Left to the segment's own way to the player once it has been decided.
TRANSFER_S = 0.3

_KEYS = re.compile(r"(?:^|,)\s*(?P<key>dl|bl)=(?P<ms>[0-9]{1,9})(?=\s*(?:,|$))")


def deadline_s(query: Mapping[str, str], headers: Mapping[str, str]) -> float | None:
    """Return the seconds until the player runs dry without the answer, or None if it does not say.

    `dl`, the deadline itself, goes before `bl`, the length of the buffer; both are in milliseconds. Headers by
    lower-case names.
    """
    said = query.get("CMCD") or headers.get("cmcd-request") or ""
    found = {match["key"]: int(match["ms"]) for match in _KEYS.finditer(said)}
    ms = found.get("dl", found.get("bl"))
    return None if ms is None else ms / 1000


def patience_s(deadline: float | None, default_s: float, most_s: float) -> float:
    """Return how long a segment may wait: until the player's deadline less the transfer, never above `most_s`."""
    wait_s = default_s if deadline is None else deadline - TRANSFER_S
    return min(max(wait_s, 0.0), most_s)
