"""How much one address may ask for: a token bucket each, for what costs the server most."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable

from mediaserver.errors import TooOften

MOST_ADDRESSES = 20_000
HOME_BITS = 64
"""A home or phone gets at least so many bits of an IPv6 address; what lies below is the same visitor."""


class Allowance:
    """Each address may ask `per_minute` times at once, and gets as many again every minute; 0 sets no limit.

    `clock` gives seconds that never go back.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self._size, self._per_s, self._clock = max(1.0, per_minute), per_minute / 60, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> None:
        """Count one request; raises TooOften when the address has none left."""
        if not self._per_s:
            return
        visitor, now_s = _visitor(address), self._clock()
        left, since_s = self._buckets.pop(visitor, (self._size, now_s))
        left = min(self._size, left + (now_s - since_s) * self._per_s)
        self._buckets[visitor] = (left - 1 if left >= 1 else left, now_s)
        while len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        if left < 1:
            raise TooOften(math.ceil((1 - left) / self._per_s))


def _visitor(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and not found.ipv4_mapped:
        return str(ipaddress.ip_network((found, HOME_BITS), strict=False))
    return str(found)
