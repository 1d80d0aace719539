"""Slices taken apart and put together again, bit by bit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipsync.slices import BadSlice, Format, escaped, format_of, moved, read_slice, skipped, unescaped

FORM = Format(1, 4)
ZEROS = st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 255]), max_size=40).map(lambda values: bytes([*values, 0x80]))


def with_prevention(payload: bytes) -> bytes:
    """What 7.4.1 says, byte by byte."""
    out, zeros = bytearray(), 0
    for value in payload:
        if zeros >= 2 and value <= 3:
            out.append(3)
            zeros = 0
        out.append(value)
        zeros = zeros + 1 if value == 0 else 0
    return bytes(out)


@given(ZEROS)
def test_no_start_code_appears_in_a_unit(payload: bytes):
    assert escaped(payload) == with_prevention(payload)
    assert unescaped(escaped(payload)) == payload


@given(first=st.integers(0, 40_000), to=st.integers(0, 40_000), rest=ZEROS)
def test_a_slice_moves_there_and_back(first: int, to: int, rest: bytes):
    unit = moved(b"\x65" + escaped(b"\x80" + rest), first)
    assert moved(moved(unit, to), first) == unit
    assert unit[:1] == moved(unit, to)[:1]


def test_a_skipped_slice_says_what_it_should():
    # first_mb 3: 00100; P: 1; set 1: 010; frame_num 5: 0101; flags 0 0 0; qp 1; filter off 010; run 7: 0001000; stop
    bits = "00100" + "1" + "010" + "0101" + "000" + "1" + "010" + "0001000" + "1"
    bits += "0" * (-len(bits) % 8)
    assert skipped(3, 7, 5, 2, FORM) == bytes([2 << 5 | 1]) + int(bits, 2).to_bytes(len(bits) // 8, "big")
    piece = read_slice(skipped(3, 7, 5, 2, FORM), FORM)
    assert (piece.first, piece.type, piece.frame_num, piece.idr) == (3, 0, 5, None)
    assert piece.placed(3, FORM) == skipped(3, 7, 5, 2, FORM)


def test_another_number_of_the_key_picture_changes_nothing_else():
    key = bytes([0x65]) + bytes([0b1_00110_0_0, 0b100_0000_1, 0b1_0110101, 0x80])
    form = Format(1, 4)
    with pytest.raises(BadSlice, match="parameter set"):
        read_slice(key, Format(9, 4))
    piece = read_slice(moved(bytes([0x65, 0b1_0001000, 0b010_0000_1, 0b0110101_1]), 0), form)
    other = read_slice(piece.placed(17, form, idr=1), form)
    assert (other.first, other.idr) == (17, 1)
    assert (other.rest, other.rest_bits, other.type) == (piece.rest, piece.rest_bits, piece.type)


@pytest.mark.parametrize("unit", [b"\x67\x80", b"\x65", b"\x06\x05\x80"])
def test_what_is_no_slice_is_refused(unit: bytes):
    with pytest.raises(BadSlice):
        read_slice(unit, FORM)


def test_parameter_sets_with_arithmetic_coding_are_refused():
    sps = bytes.fromhex("6764001facd9405005bb011000000300100000030320f18319 60".replace(" ", ""))
    with pytest.raises(BadSlice, match="CAVLC"):
        format_of(sps, bytes.fromhex("68ebe3cb22c0"))
