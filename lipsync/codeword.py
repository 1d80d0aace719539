"""The number of a render as bits that survive errors: CRC-16, then a convolutional code of rate 1/3, decoded softly.

The code is the rate 1/3 code of constraint length 9 with generators 557, 663, 711 (octal), free distance 18, as in 3GPP
TS 25.212, 4.2.3.1; its register starts and ends at zero.
"""

from __future__ import annotations

import binascii
from functools import cache

import numpy as np
from numpy.typing import NDArray

ID_BITS, CHECK_BITS, TAIL_BITS = 32, 16, 8
STEPS = ID_BITS + CHECK_BITS + TAIL_BITS
GENERATORS = (0o557, 0o663, 0o711)
LENGTH = STEPS * len(GENERATORS)
STATES = 1 << TAIL_BITS

Signs = NDArray[np.int8]


def encode(render_id: int) -> Signs:
    """Return the codeword of a number of 32 bits as LENGTH signs, +1 and -1."""
    register, signs = 0, []
    for bit in _message(render_id):
        register = (register << 1 | bit) & (2 * STATES - 1)
        signs += [1 - 2 * ((register & taps).bit_count() & 1) for taps in GENERATORS]
    return np.array(signs, np.int8)


def decode(soft: NDArray[np.float32]) -> int | None:
    """Return the number whose codeword is likeliest, or None if its check does not fit.

    `soft` are LENGTH values, positive where +1 was sent, larger where that is surer.
    """
    before, outputs = _trellis()
    gains = soft.reshape(STEPS, len(GENERATORS)) @ outputs.T  # (STEPS, 2 * STATES): what each register would earn
    score = np.full(STATES, -np.inf)
    score[0] = 0
    choices = np.zeros((STEPS, STATES), np.int64)
    every = np.arange(STATES)
    for step in range(STEPS):
        ways = score[before] + gains[step][before << 1 | (every & 1)]
        choices[step] = ways.argmax(axis=0)
        score = ways.max(axis=0)
    return _checked(_walked_back(choices, before))


def _walked_back(choices: NDArray[np.int64], before: NDArray[np.int64]) -> list[int]:
    state, bits = 0, []
    for step in reversed(range(STEPS)):
        bits.append(state & 1)
        state = int(before[choices[step, state], state])
    return bits[::-1]


def _message(render_id: int) -> list[int]:
    check = binascii.crc_hqx(render_id.to_bytes(ID_BITS // 8, "big"), 0xFFFF)
    word = (render_id << CHECK_BITS | check) << TAIL_BITS
    return [word >> (STEPS - 1 - i) & 1 for i in range(STEPS)]


def _checked(bits: list[int]) -> int | None:
    render_id = int("".join(map(str, bits[:ID_BITS])), 2)
    return render_id if _message(render_id) == bits else None


@cache
def _trellis() -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the two states before each state (2, STATES), and the signs that each register sends (2 * STATES, 3)."""
    states = np.arange(STATES)
    before = np.stack([states >> 1, states >> 1 | STATES >> 1])
    outputs = [[1 - 2 * ((r & taps).bit_count() & 1) for taps in GENERATORS] for r in range(2 * STATES)]
    return before, np.array(outputs, np.float32)
