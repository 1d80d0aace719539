"""What a player says of its buffer with a request: Common Media Client Data (CTA-5004), query or headers."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Left to the segment's own way to the player once it has been decided.
TRANSFER_S = 0.3

_FIELDS = ("cmcd-request", "cmcd-object", "cmcd-session", "cmcd-status")
_MOST_BYTES = 2048
_MEASURES = {
    "bl": ("mediaserver_cmcd_buffer_ms", "Length of the buffer that players report."),
    "mtp": ("mediaserver_cmcd_throughput_kbps", "Throughput that players measure."),
    "br": ("mediaserver_cmcd_bitrate_kbps", "Encoded bitrate that players ask for."),
    "rtp": ("mediaserver_cmcd_requested_throughput_kbps", "Throughput that players ask to be served with."),
}

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


def spoken(query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """Return all keys of a request, from its query or its four header fields; headers in any case."""
    return query.get("CMCD") or ",".join(filter(None, (headers.get(name) for name in _FIELDS)))


class Players:
    """Figures of all players together, as Prometheus reads them; nobody's session id is kept."""

    def __init__(self) -> None:
        self.requests = self.starved = 0
        self._sums: dict[str, int] = dict.fromkeys(_MEASURES, 0)
        self._counts: dict[str, int] = dict.fromkeys(_MEASURES, 0)

    def note(self, said: str) -> None:
        """Take up the keys of one request: `bs` (the buffer ran dry) and the values of `bl`, `mtp`, `br` and `rtp`."""
        self.requests += 1
        for part in said[:_MOST_BYTES].split(","):
            key, _, value = part.strip().partition("=")
            if key == "bs" and value in ("", "?1", "true"):
                self.starved += 1
            elif key in _MEASURES and value.isdecimal() and len(value) < 12:
                self._sums[key] += int(value)
                self._counts[key] += 1

    def taken(self) -> list[dict[str, int]]:
        """Return all counts and begin at nought again."""
        counts = [{"requests": self.requests, "starved": self.starved}, self._sums, self._counts]
        self.__init__()  # type: ignore[misc]
        return counts

    def add(self, counts: list[dict[str, int]]) -> None:
        """Add what `taken` has returned elsewhere."""
        self.requests += counts[0]["requests"]
        self.starved += counts[0]["starved"]
        for key in _MEASURES:
            self._sums[key] += counts[1][key]
            self._counts[key] += counts[2][key]

    def lines(self) -> list[str]:
        """Return the figures in Prometheus' text form."""
        lines = _counter("mediaserver_cmcd_requests_total", "Requests with CMCD.", self.requests)
        lines += _counter("mediaserver_cmcd_starvations_total", "Requests of players that ran dry.", self.starved)
        for key, (name, meaning) in _MEASURES.items():
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} summary"]
            lines += [f"{name}_sum {self._sums[key]}", f"{name}_count {self._counts[key]}"]
        return lines


def _counter(name: str, meaning: str, value: int) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} counter", f"{name} {value}"]
