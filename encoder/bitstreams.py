"""What the inits and samples of MP4 say of their codecs (ISO/IEC 14496-14, 14496-15; the AV1 binding; RFC 6381)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from encoder.boxes import Box, boxes, find
from encoder.errors import BadBoxes

# Primaries, transfer and matrix of ITU-R BT.709 in the numbers of ITU-T H.273.
BT709 = (1, 1, 1)
HEVC_SPS = 33

# --- H.264 -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ParameterSets:
    """NAL units without start code: sequence and picture parameter sets (ITU-T H.264, 7.3.2.1 and 7.3.2.2)."""

    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]


def parameter_sets(init: bytes) -> ParameterSets:
    """Read them from the avcC of an init segment (ISO/IEC 14496-15, 5.3.3.1); raises BadBoxes."""
    avcc = _avcc(init)[-1]
    sps, at = _counted(init, avcc.body + 6, init[avcc.body + 5] & 0x1F)
    pps, at = _counted(init, at + 1, init[at])
    return ParameterSets(sps, pps)


def _counted(data: bytes, at: int, count: int) -> tuple[tuple[bytes, ...], int]:
    units = []
    for _ in range(count):
        size = struct.unpack_from(">H", data, at)[0]
        units.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return tuple(units), at


def _avcc(init: bytes) -> list[Box]:
    """Return the chain of boxes from moov down to avcC."""
    chain, start, end = [], 0, len(init)
    for type_ in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1", b"avcC"):
        box = find(init, type_, start=start, end=end)
        chain.append(box)
        skip = {b"stsd": 8, b"avc1": 78}.get(type_, 0)
        start, end = box.body + skip, box.end
    return chain


def with_parameter_sets(init: bytes, sps: bytes, pps: bytes) -> bytes:
    """Return the init segment with one more pair in its avcC; everything after moov keeps its relative place."""
    chain = _avcc(init)
    avcc, sets = chain[-1], parameter_sets(init)
    known = avcc.body + 6 + sum(2 + len(unit) for unit in sets.sps + sets.pps) + 1
    new = (
        init[avcc.body : avcc.body + 5]
        + bytes([0xE0 | len(sets.sps) + 1])
        + b"".join(struct.pack(">H", len(unit)) + unit for unit in (*sets.sps, sps))
        + bytes([len(sets.pps) + 1])
        + b"".join(struct.pack(">H", len(unit)) + unit for unit in (*sets.pps, pps))
        + init[known : avcc.end]
    )
    grown = bytearray(init[: avcc.body] + new + init[avcc.end :])
    growth = len(grown) - len(init)
    for box in chain:
        struct.pack_into(">I", grown, box.start, box.end - box.start + growth)
    return bytes(grown)


def annexb_units(stream: bytes) -> Iterator[bytes]:
    """Yield the NAL units of a byte stream (ITU-T H.264, annex B) without start codes and trailing zeros."""
    starts, at = [], stream.find(b"\0\0\1")
    while at >= 0:
        starts.append(at + 3)
        at = stream.find(b"\0\0\1", at + 3)
    for i, start in enumerate(starts):
        yield stream[start : starts[i + 1] - 3 if i + 1 < len(starts) else len(stream)].rstrip(b"\0")


def length_prefixed_units(sample: bytes) -> Iterator[bytes]:
    """Yield the NAL units of an MP4 sample with 4-byte lengths."""
    at = 0
    while at < len(sample):
        size = struct.unpack_from(">I", sample, at)[0]
        yield sample[at + 4 : at + 4 + size]
        at += 4 + size


# --- codecs parameter --------------------------------------------------------------------------------------------


def codecs_of(init: bytes) -> str:
    """Return the RFC 6381 codecs parameter of an H.264, AV1, HEVC or AAC track; raises BadBoxes for another one."""
    stsd = find(init, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    entry = next(boxes(init, stsd.body + 8, stsd.end))
    if entry.type == b"avc1":
        avcc = find(init, b"avcC", start=entry.body + 78, end=entry.end)
        return f"avc1.{init[avcc.body + 1 : avcc.body + 4].hex()}"
    if entry.type == b"av01":
        av1c = find(init, b"av1C", start=entry.body + 78, end=entry.end)
        return _av01(init[av1c.body + 1], init[av1c.body + 2], _nclx(init, entry))
    if entry.type == b"hvc1":
        return _hvc1(told_hevc_profile(init))
    if entry.type == b"mp4a":
        esds = find(init, b"esds", start=entry.body + 28, end=entry.end)
        return _mp4a(init[esds.body + 4 : esds.end])
    raise BadBoxes(f"codec {entry.type!r} is not known here")


SEQUENCE_HEADER = 0x0A  # obu_type 1 with a size (AV1 bitstream specification, 5.3.2)


def sequence_header(init: bytes) -> bytes:
    """Return the OBUs of av1C (AV1 Codec ISO Media File Format Binding, 2.3)."""
    av1c = _av1c(init)
    return init[av1c.body + 4 : av1c.end]


def _av1c(init: bytes) -> Box:
    stsd = find(init, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    entry = next(boxes(init, stsd.body + 8, stsd.end))
    return find(init, b"av1C", start=entry.body + 78, end=entry.end)


def with_sequence_header(init: bytes, sample: bytes) -> bytes:
    """Return the init segment with the sequence header of a key frame in its av1C, which must be the same (2.3.4).

    SVT-AV1 tells another one, of equal length, before it has seen the first picture. Raises BadBoxes.
    """
    av1c = _av1c(init)
    header = sample[: 2 + sample[1]]
    if sample[0] != SEQUENCE_HEADER or len(header) != av1c.end - av1c.body - 4:
        raise BadBoxes("the sequence header does not fit into av1C")
    return init[: av1c.body + 4] + header + init[av1c.end :]


def _nclx(init: bytes, entry: Box) -> tuple[int, int, int]:
    """Return primaries, transfer and matrix of a sample entry's colr (ISO/IEC 14496-12, 12.1.5), else BT.709's."""
    for box in boxes(init, entry.body + 78, entry.end):
        if box.type == b"colr" and init[box.body : box.body + 4] == b"nclx":
            primaries, transfer, matrix = struct.unpack_from(">HHH", init, box.body + 4)
            return primaries, transfer, matrix
    return BT709


def _av01(profile_and_level: int, flags: int, colour: tuple[int, int, int]) -> str:
    """Write profile, level, tier and depth of av1C (AV1 Codec ISO Media File Format Binding, 2.3 and 5).

    What follows them may be left out for 4:2:0 in BT.709 only.
    """
    profile, level = profile_and_level >> 5, profile_and_level & 0x1F
    tier, depth = "H" if flags & 0x80 else "M", 10 if flags & 0x40 else 8
    short = f"av01.{profile}.{level:02d}{tier}.{depth:02d}"
    if colour == BT709:
        return short
    mono, subsampling = flags >> 4 & 1, f"{flags >> 3 & 1}{flags >> 2 & 1}{flags & 3}"
    return f"{short}.{mono}.{subsampling}." + ".".join(f"{number:02d}" for number in colour) + ".0"


def told_hevc_profile(init: bytes) -> bytes:
    """Return profile_tier_level as hvcC tells it, 12 bytes (ISO/IEC 14496-15, 8.3.2.1)."""
    hvcc = _hvcc(init)
    return init[hvcc.body + 1 : hvcc.body + 13]


def hevc_profile(init: bytes) -> bytes:
    """Return profile_tier_level of the sequence parameter set in hvcC (ITU-T H.265, 7.3.2.2); raises BadBoxes."""
    return hevc_sets(init)[0].replace(b"\0\0\3", b"\0\0")[3:15]


def hevc_sets(init: bytes) -> tuple[bytes, ...]:
    """Return the sequence parameter sets in hvcC, one of each layer; raises BadBoxes."""
    hvcc = _hvcc(init)
    at = hvcc.body + 23
    for _ in range(init[hvcc.body + 22]):
        kind, count = init[at] & 0x3F, struct.unpack_from(">H", init, at + 1)[0]
        units, at = _counted(init, at + 3, count)
        if kind == HEVC_SPS:
            return units
    raise BadBoxes("hvcC has no sequence parameter set")


def _hvcc(init: bytes) -> Box:
    stsd = find(init, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    entry = next(boxes(init, stsd.body + 8, stsd.end))
    return find(init, b"hvcC", start=entry.body + 78, end=entry.end)


def _hvc1(profile: bytes) -> str:
    """Write profile, compatibility, tier, level and constraints (ISO/IEC 14496-15, annex E.3)."""
    tier, number = "H" if profile[0] & 0x20 else "L", profile[0] & 0x1F
    compatible = int(f"{int.from_bytes(profile[1:5], 'big'):032b}"[::-1], 2)
    constraints = [f"{byte:X}" for byte in profile[5:11].rstrip(b"\0")]
    return ".".join([f"hvc1.{number}.{compatible:X}.{tier}{profile[11]}", *constraints])


def _mp4a(descriptor: bytes) -> str:
    """Read object type and audio object type from the ES descriptor (ISO/IEC 14496-1, 7.2.6.5)."""
    tag, body = _descriptor(descriptor, 0)
    body += 3  # ES_ID and flags, none of which our packager sets
    tag, body = _descriptor(descriptor, body)
    object_type = descriptor[body]
    tag, body = _descriptor(descriptor, body + 13)
    if tag != 5:
        raise BadBoxes("esds has no decoder specific information")
    return f"mp4a.{object_type:x}.{descriptor[body] >> 3}"


def _descriptor(data: bytes, at: int) -> tuple[int, int]:
    """Return tag and start of the body of the descriptor at `at` (sizes are base-128, most significant first)."""
    tag, at = data[at], at + 1
    while data[at] & 0x80:
        at += 1
    return tag, at + 1
