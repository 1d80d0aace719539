"""A number of 32 bits through a bad channel."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lipsync.codeword import LENGTH, decode, encode

NUMBERS = st.integers(0, 2**32 - 1)


@given(NUMBERS)
def test_a_number_is_read_from_its_own_codeword(number: int):
    assert decode(encode(number).astype(np.float32)) == number


@given(NUMBERS, st.integers(0, 2**32 - 1))
def test_twenty_wrong_signs_of_168_far_from_each_other_are_corrected(number: int, seed: int):
    signs = encode(number).astype(np.float32)
    at = np.arange(20) * 8 + np.random.default_rng(seed).integers(0, 2)
    signs[at] *= -1
    assert decode(signs) == number


@given(NUMBERS, st.integers(0, 2**32 - 1))
def test_what_is_not_known_at_all_is_filled_in(number: int, seed: int):
    signs = encode(number).astype(np.float32)
    signs[np.random.default_rng(seed).permutation(LENGTH)[:60]] = 0
    assert decode(signs) == number


def test_noise_is_no_number():
    rng = np.random.default_rng(1)
    assert [decode(rng.standard_normal(LENGTH).astype(np.float32)) for _ in range(300)].count(None) >= 299


def test_codewords_of_neighbours_differ_in_many_places():
    assert min(int((encode(7) != encode(7 ^ 1 << bit)).sum()) for bit in range(32)) >= 18
