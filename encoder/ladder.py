"""Pure: a master and the grid to the rungs of its ladder."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from encoder.model import Choices, Codec, Grid, Ladder, Master, Rung, Transfer

# Name, height, CRF, and the rate of the fixed ladder. Lower rungs are seen enlarged, so they get a lower CRF.
STEPS = (
    ("1080p", 1080, 22, 8_000_000),
    ("720p", 720, 21, 5_000_000),
    ("432p", 432, 20, 2_500_000),
)
# What looks as good as H.264: the CRF that is equal to 24, a step of H.264's in the codec's own scale, and the share of
# a fixed rate in tenths.
EQUALS: dict[Codec, tuple[int, int, int]] = {"av1": (40, 3, 6), "hevc": (28, 1, 7), "vp9": (27, 3, 10)}
FINEST = 15
# Grain is hard for every codec: a ceiling is not lower than so many tenths of H.264's.
LEAST_CEILING = 8
# However hard a film is, its rungs stay so much below the fixed rates.
CEILING = Fraction(19, 20)
PLAIN = Choices()
# Pictures that are seen for a moment, and a little less than a second, so that 30000/1001 divides as 30 does.
TRICK_CRF, TRICK_S = 26, Fraction(9, 10)
# Level, macroblocks per second, macroblocks per frame (ITU-T H.264, table A-1).
LEVELS = (
    ("3.0", 40_500, 1_620),
    ("3.1", 108_000, 3_600),
    ("3.2", 216_000, 5_120),
    ("4.0", 245_760, 8_192),
    ("4.2", 522_240, 8_704),
    ("5.1", 983_040, 36_864),
    ("5.2", 2_073_600, 36_864),
    ("6.2", 16_711_680, 139_264),
)


def ladder_for(master: Master, choices: Choices = PLAIN) -> Ladder:
    """Return the rungs that are not larger than the master; a master below them all is its own single rung."""
    fitting = [step for step in STEPS if step[1] <= master.height]
    if not fitting:
        fitting = [(f"{_even(master.height)}p", master.height, 20, 2_500_000)]
    rungs = tuple(_rung(master, *step) for step in fitting)
    if choices.ladder == "film":
        rungs = tuple(replace(rung, crf=None, maxrate_bps=int(rung.maxrate_bps / CEILING)) for rung in rungs)
    others: tuple[tuple[Codec, bool], ...] = (("av1", choices.av1), ("hevc", choices.hevc))
    wanted = [
        in_codec(rung, codec, master.footage.transfer) for codec, is_wanted in others if is_wanted for rung in rungs
    ]
    return Ladder(Grid.near(master.rate, master.frames), (*rungs, *wanted), master.tracks)


def _rung(master: Master, name: str, height: int, crf: int, fixed_bps: int) -> Rung:
    width, height = _even(master.width * height / master.height), _even(height)
    return Rung(name, width, height, crf, int(fixed_bps * CEILING), level_for(width, height, master.rate))


def in_codec(rung: Rung, codec: Codec, transfer: Transfer) -> Rung:
    """Return the same picture of H.264 in another codec, at the CRF that looks as good (docs/decisions/0018)."""
    equal, step, share = EQUALS[codec]
    rate = rung.maxrate_bps
    if rung.crf is None:
        return replace(rung, codec=codec, maxrate_bps=rate * share // 10, transfer=transfer)
    crf, ceiling = max(FINEST, equal + step * (rung.crf - 24)), rate * max(share, LEAST_CEILING) // 10
    return replace(rung, codec=codec, crf=crf, maxrate_bps=ceiling, transfer=transfer)


def with_trick_play(ladder: Ladder) -> Ladder:
    """Add key frames of the smallest H.264 rung at about one a second; a film of one a second needs none.

    Their distance divides a segment, so that every segment and every chunk begins with one.
    """
    grid, smallest = ladder.grid, [rung for rung in ladder.rungs if rung.codec == "h264"][-1]
    divisors = (n for n in range(1, grid.frames_per_segment + 1) if grid.frames_per_segment % n == 0)
    every = next((n for n in divisors if n >= TRICK_S * grid.rate), grid.frames_per_segment)
    if every == 1:
        return ladder
    return replace(ladder, rungs=(*ladder.rungs, replace(smallest, crf=TRICK_CRF, every=every)))


def _even(length: float) -> int:
    """4:2:0 needs even sizes."""
    return max(2, 2 * round(length / 2))


def level_for(width: int, height: int, rate: Fraction) -> str:
    """Return the lowest of the common H.264 levels that allows this picture at this rate."""
    per_frame = -(-width // 16) * -(-height // 16)
    for level, per_second_limit, per_frame_limit in LEVELS:
        if per_frame <= per_frame_limit and per_frame * rate <= per_second_limit:
            return level
    return LEVELS[-1][0]
