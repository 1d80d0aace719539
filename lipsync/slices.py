"""H.264 slices moved into a larger picture, bit by bit (ITU-T H.264, 7.3.2.8, 7.3.3, 7.3.4; CAVLC).

An encoder that sees only a box of a still picture writes one slice per macroblock row. Slices know nothing of their
neighbours, so such a row is also right inside the whole picture once its `first_mb_in_slice` is: the rest of its bits
moves along unread. What lies round the box is the background's own slices in a key picture, and skipped ones in others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KEY_SLICE, OTHER_SLICE = 5, 1
HEAD_BYTES = 16
"""More than the fields of a slice header up to frame_num ever take."""
_P_SLICE: Final = 0


class BadSlice(ValueError):
    """A bitstream that this module was not made for."""


@dataclass(frozen=True, slots=True)
class Format:
    """What of the parameter sets enters a slice header: their id and the length of frame_num in bits."""

    id: int
    frame_num_bits: int


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice NAL unit taken apart behind the fields that move; `rest` are its last `rest_bits` bits, without trailing.

    `idr` is idr_pic_id, None in a picture that is no key picture.
    """

    header: int
    first: int
    type: int
    frame_num: int
    idr: int | None
    rest: int
    rest_bits: int

    def placed(self, first: int, form: Format, idr: int | None = None) -> bytes:
        """Return the NAL unit beginning at macroblock `first`, with another idr_pic_id if one is given."""
        bits = _Writer()
        bits.ue(first)
        bits.ue(self.type)
        bits.ue(form.id)
        bits.u(self.frame_num, form.frame_num_bits)
        if self.idr is not None:
            bits.ue(self.idr if idr is None else idr)
        bits.u(self.rest, self.rest_bits)
        return bytes([self.header]) + escaped(bits.closed())


def read_slice(unit: bytes, form: Format) -> Slice:
    """Take a slice NAL unit apart; raises BadSlice if it is none, or of other parameter sets."""
    if unit[0] & 31 not in (KEY_SLICE, OTHER_SLICE):
        raise BadSlice(f"NAL unit {unit[0] & 31} is no slice")
    bits = _Reader(unescaped(unit[1:]))
    first, type_, id_ = bits.ue(), bits.ue(), bits.ue()
    if id_ != form.id:
        raise BadSlice(f"the slice uses parameter set {id_}")
    frame_num = bits.u(form.frame_num_bits)
    idr = bits.ue() if unit[0] & 31 == KEY_SLICE else None
    return Slice(unit[0], first, type_, frame_num, idr, *bits.rest())


def moved(unit: bytes, first: int) -> bytes:
    """Return a slice NAL unit that begins at macroblock `first`; all behind it stays as it is."""
    bits = _Reader(unescaped(unit[1:]))
    bits.ue()
    rest, length = bits.rest()
    out = _Writer()
    out.ue(first)
    out.u(rest, length)
    return unit[:1] + escaped(out.closed())


def renumbered(unit: bytes, first: int, frame_num: int, form: Format) -> bytes:
    """Return a slice NAL unit of no key picture that begins at macroblock `first` of a picture with that frame_num."""
    payload = unescaped(unit[1:])
    head, length = _Reader(payload[:HEAD_BYTES]), 8 * len(payload)
    before = head.left
    head.ue()
    type_, id_ = head.ue(), head.ue()
    head.u(form.frame_num_bits)
    rest = int.from_bytes(payload, "big") & (1 << length - before + head.left) - 1
    stop = (rest & -rest).bit_length()
    out = _Writer()
    out.ue(first)
    out.ue(type_)
    out.ue(id_)
    out.u(frame_num, form.frame_num_bits)
    out.u(rest >> stop, length - before + head.left - stop)
    return unit[:1] + escaped(out.closed())


def skipped(first: int, count: int, frame_num: int, reference: int, form: Format) -> bytes:
    """Return the NAL unit of `count` skipped macroblocks of a P picture: the same pixels as in the picture before.

    Each has no neighbour above in its slice, or only skipped ones, so its motion is zero (8.4.1.1). `reference` is
    nal_ref_idc, the same in all slices of a picture.
    """
    bits = _Writer()
    bits.ue(first)
    bits.ue(_P_SLICE)
    bits.ue(form.id)
    bits.u(frame_num, form.frame_num_bits)
    bits.u(0, 2)  # no override of the number of references, no other order of them
    if reference:
        bits.u(0, 1)  # references leave by the sliding window
    bits.ue(0)  # slice_qp_delta
    bits.ue(1)  # disable_deblocking_filter_idc
    bits.ue(count)  # mb_skip_run
    return bytes([reference << 5 | OTHER_SLICE]) + escaped(bits.closed())


def format_of(sps: bytes, pps: bytes) -> Format:
    """Return what slices need to know of a pair of parameter sets.

    Raises BadSlice if they are not of the kind that is spliced: CAVLC, High or simpler, pictures in decoding order.
    """
    head = _sequence(sps)
    bits = _Reader(unescaped(pps[1:]))
    id_, sequence_id, cabac = bits.ue(), bits.ue(), bits.u(1)
    if cabac or head.id != sequence_id or head.order_type != 2:
        raise BadSlice("the parameter sets are not of a CAVLC stream in decoding order")
    return Format(id_, head.frame_num_bits)


def same_but_for_size(one: bytes, other: bytes) -> bool:
    """Tell whether two sequence parameter sets are equal in all that slices depend on but the size of the picture."""
    return _sequence(one) == _sequence(other)


@dataclass(frozen=True, slots=True)
class _Sequence:
    profile: bytes
    id: int
    frame_num_bits: int
    order_type: int
    references: int


def _sequence(sps: bytes) -> _Sequence:
    """Read a sequence parameter set as far as its picture size (7.3.2.1.1)."""
    data = unescaped(sps[1:])
    bits = _Reader(data)
    profile = bits.u(8)
    bits.u(16)
    id_ = bits.ue()
    # 4:2:0, 8 bits each, lossless bypass off, no scaling matrix
    if profile >= 100 and (bits.ue(), bits.ue(), bits.ue(), bits.u(2)) != (1, 0, 0, 0):
        raise BadSlice("the picture format is not 8-bit 4:2:0")
    frame_num_bits, order_type = bits.ue() + 4, bits.ue()
    if order_type == 0:
        bits.ue()
    return _Sequence(data[:3], id_, frame_num_bits, order_type, bits.ue())


# --- bits --------------------------------------------------------------------------------------------------------


class _Writer:
    """Bits, most significant first."""

    def __init__(self) -> None:
        self._value = self._length = 0

    def u(self, value: int, length: int) -> None:
        self._value = self._value << length | value
        self._length += length

    def ue(self, value: int) -> None:
        """Exp-Golomb code (9.1)."""
        self.u(value + 1, 2 * (value + 1).bit_length() - 1)

    def closed(self) -> bytes:
        """Return the bytes with the stop bit (7.3.2.11)."""
        self.u(1, 1)
        pad = -self._length % 8
        return (self._value << pad).to_bytes((self._length + pad) // 8, "big")


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._value, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def u(self, length: int) -> int:
        if length > self.left:
            raise BadSlice("the unit is too short")
        self.left -= length
        return self._value >> self.left & (1 << length) - 1

    def ue(self) -> int:
        ahead = (self._value & (1 << self.left) - 1).bit_length()
        return self.u(2 * (self.left - ahead) + 1) - 1

    def rest(self) -> tuple[int, int]:
        """Return what is left before the stop bit, and its length in bits."""
        value = self._value & (1 << self.left) - 1
        stop = (value & -value).bit_length()
        return value >> stop, self.left - stop


def unescaped(payload: bytes) -> bytes:
    """Return a NAL unit's payload without emulation prevention (7.4.1)."""
    if b"\0\0\3" not in payload:
        return payload
    out, start = bytearray(), 0
    while (at := payload.find(b"\0\0\3", start)) >= 0:
        out += payload[start : at + 2]
        start = at + 3
    return bytes(out + payload[start:])


def escaped(payload: bytes) -> bytes:
    """Return a payload with emulation prevention: no 00 00 is followed by a byte below 4."""
    out, start, look = bytearray(), 0, 0
    while (at := payload.find(b"\0\0", look)) >= 0:
        if at + 2 == len(payload) or payload[at + 2] > 3:
            look = at + 1
            continue
        out += payload[start : at + 2] + b"\3"
        start = look = at + 2
    return bytes(out + payload[start:]) if out else payload
