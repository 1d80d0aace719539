"""What a machine carries, said from what was measured on it (mediaserver.measuring): pure arithmetic and words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

SCENE_S = 16
"""Seconds of the scene for which the statement is made."""
STREAM_BPS = 5_000_000
HOURS_A_MONTH, MONTH_USD = 730, 30.0
KINDS = ("still", "moving")


@dataclass(frozen=True, slots=True)
class Pace:
    """How long scenes of two lengths take each, one after the other, for viewers who do not wait for each other."""

    short_s: float
    short_took_s: float
    long_s: float
    long_took_s: float

    def took_s(self, scene_s: float) -> float:
        """Return the seconds for a scene of that length: what each costs, and what each second of it costs."""
        a_second = max(0.0, (self.long_took_s - self.short_took_s) / (self.long_s - self.short_s))
        return self.long_took_s + a_second * (scene_s - self.long_s)


@dataclass(frozen=True, slots=True)
class Measured:
    """Paces by kind of scene; film seconds encoded in a second; bits of published files sent in a second.

    `memory_mb` is the largest that the server with its warm workers held, 0 where the system does not tell.
    """

    cores: int
    engine: str
    paces: Mapping[str, Pace]
    encode_speed: float
    delivered_bps: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """The statement; `usd_a_thousand` is what 1,000 scenes cost where the machine costs MONTH_USD and is never idle."""

    cores: int
    engine: str
    scene_s: int
    viewers_an_hour: Mapping[str, int]
    usd_a_thousand: Mapping[str, float]
    streams: int
    encode_speed: float
    memory_mb: int

    @classmethod
    def of(cls, measured: Measured, scene_s: int = SCENE_S) -> Capacity:
        rates = {kind: 3600 / pace.took_s(scene_s) for kind, pace in measured.paces.items()}
        return cls(
            measured.cores,
            measured.engine,
            scene_s,
            {kind: int(rate) for kind, rate in rates.items()},
            {kind: round(thousand_usd(rate), 4) for kind, rate in rates.items()},
            int(measured.delivered_bps / STREAM_BPS),
            round(measured.encode_speed, 2),
            round(measured.memory_mb),
        )

    def lines(self) -> list[str]:
        scene = f"scenes of {self.scene_s} s in every rung"
        held = f"{self.memory_mb} MB held by the server and its warm workers" if self.memory_mb else "not told here"
        return [
            f"{'machine':9}{self.cores} core{'' if self.cores == 1 else 's'}, engine {self.engine}",
            *(
                f"{kind:9}{self.viewers_an_hour[kind]:,} viewers an hour ({scene}), "
                f"${self.usd_a_thousand[kind]:.3f} for 1,000 at ${MONTH_USD:g} a month"
                for kind in self.viewers_an_hour
            ),
            f"{'streams':9}{self.streams:,} at {STREAM_BPS / 1e6:g} Mb/s within this machine; a network carries fewer",
            f"{'encode':9}{self.encode_speed:g} x real time (1080p, every rung)",
            f"{'memory':9}{held}",
        ]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def thousand_usd(an_hour: float, month_usd: float = MONTH_USD) -> float:
    """Return what 1,000 scenes cost: the month's price, for its share of the scenes that a month has room for."""
    return 1000 * month_usd / (HOURS_A_MONTH * an_hour)
