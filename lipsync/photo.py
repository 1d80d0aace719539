"""Bytes from a stranger -> one checked picture; the header is judged before anything is decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from lipsync.errors import NotAPicture, PictureTooLarge

Pixels = NDArray[np.uint8]
"""A picture of shape (height, width, 3): blue, green, red."""

MAX_BYTES = 12 * 1024 * 1024
MAX_PIXELS = 40_000_000
WORK_SIDE = 2048
"""Longest side, in pixels, of the picture that the pipeline works on."""

KEPT_QUALITY = 95
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_DECODED_BYTES = 3 * MAX_PIXELS
"""Deep and transparent pixels take more room each: a worker's memory is bounded (docs/decisions/0022)."""
STRIP_ROWS = 64
"""So many lines of a large picture are worked on at once."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture file says of itself, before decoding; sizes in pixels as stored, `pixel_bytes` once decoded."""

    kind: Literal["jpeg", "png", "webp"]
    width: int
    height: int
    pixel_bytes: int = 3


def read_photo(data: bytes) -> Pixels:
    """Decode a JPEG, PNG or WebP file: upright (EXIF), 8 bits, opaque, longest side at most WORK_SIDE.

    Raises PictureTooLarge (more than MAX_BYTES, MAX_PIXELS or MAX_DECODED_BYTES; nothing is decoded then), NotAPicture.
    """
    if len(data) > MAX_BYTES:
        raise PictureTooLarge(f"{len(data) / 1e6:.0f} MB, {MAX_BYTES / 1e6:.0f} MB are allowed")
    header = read_header(data)
    if header.width * header.height > MAX_PIXELS:
        allowed = f"{MAX_PIXELS // 1_000_000} megapixels are allowed"
        raise PictureTooLarge(f"{header.width} x {header.height} pixels, {allowed}")
    if header.width * header.height * header.pixel_bytes > MAX_DECODED_BYTES:
        allowed = f"{MAX_DECODED_BYTES // header.pixel_bytes // 1_000_000} megapixels of that depth are allowed"
        raise PictureTooLarge(f"{header.width} x {header.height} pixels of {8 * header.pixel_bytes} bits, {allowed}")
    return _decode(data, header)


def encode_photo(picture: Pixels) -> bytes:
    """Return a picture as a JPEG that holds nothing but its pixels."""
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, KEPT_QUALITY])[1])


def read_header(data: bytes) -> Header:
    """Tell kind and size from the bytes and check that the file is whole; raises NotAPicture."""
    try:
        if data.startswith(PNG_SIGNATURE):
            header = _png(data)
        elif data.startswith(b"\xff\xd8\xff"):
            header = _jpeg(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            header = _webp(data)
        else:
            raise NotAPicture("it is neither JPEG nor PNG nor WebP")
    except (struct.error, IndexError) as error:
        raise NotAPicture("the file is cut off") from error
    if header.width < 1 or header.height < 1:
        raise NotAPicture("its size is zero")
    return header


def _png(data: bytes) -> Header:
    """PNG (W3C, third edition), 11.2: IHDR comes first, IEND last."""
    if data[12:16] != b"IHDR":
        raise NotAPicture("the PNG has no header")
    width, height = struct.unpack_from(">II", data, 16)
    at, kind = 8, b""
    while kind != b"IEND":
        (size,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        at += 12 + size
        if at > len(data):
            raise NotAPicture("the PNG is cut off")
    return Header("png", width, height, PNG_CHANNELS.get(data[25], 4) * (2 if data[24] == 16 else 1))


PNG_CHANNELS = {0: 1, 2: 3}
"""By colour type (PNG, table 11.1): grey and plain colour; whatever else there is has four when it is decoded."""
JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def _jpeg(data: bytes) -> Header:
    """ITU-T T.81, annex B: the size is in the first SOFn; a whole file has an EOI after its last scan."""
    at, size = 2, None
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1
        marker = data[at + 1]
        if data[at] != 0xFF:
            raise NotAPicture("the JPEG is damaged")
        if marker in JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            size = Header("jpeg", width, height)
        if marker == 0xDA:
            break
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    if size is None or data.rfind(b"\xff\xd9") < at:
        raise NotAPicture("the JPEG is cut off")
    return size


def _webp(data: bytes) -> Header:
    """RFC 9649, 2.3 to 2.7: the size is in the first chunk, whichever of the three kinds it is."""
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise NotAPicture("the WebP is cut off")
    kind = data[12:16]
    if kind == b"VP8X":
        return Header("webp", 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little"), 4)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return Header("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), 4)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("webp", width & 0x3FFF, height & 0x3FFF)
    raise NotAPicture("the WebP holds no picture")


def _decode(data: bytes, header: Header) -> Pixels:
    try:
        picture, kinds, blocks = cv2.imdecodeWithMetadata(np.frombuffer(data, np.uint8), flags=_decode_flags(header))
    except cv2.error as error:
        raise NotAPicture("the file is damaged") from error
    if picture is None or picture.size == 0:
        raise NotAPicture("the file is damaged")
    exif = [bytes(block) for kind, block in zip(kinds, blocks, strict=True) if kind == cv2.IMAGE_METADATA_EXIF]
    return _upright(_opaque(_bounded(_premultiplied(_eight_bits(picture)))), orientation_of(exif[0] if exif else b""))


def _decode_flags(header: Header) -> int:
    """A JPEG far above the working size is decoded at a fraction of it: a quarter of the time and memory."""
    if header.kind != "jpeg":
        return cv2.IMREAD_UNCHANGED
    oversize = max(header.width, header.height) / WORK_SIDE
    if oversize >= 4:
        return cv2.IMREAD_REDUCED_COLOR_4 | cv2.IMREAD_IGNORE_ORIENTATION
    if oversize >= 2:
        return cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def orientation_of(exif: bytes) -> int:
    """Return tag 0x0112 of an EXIF block (Exif 3.0, 4.6.5.1), 1 where it is missing or wrong."""
    tiff = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, at)
        for entry in range(entries):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, at + 2 + 12 * entry)
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _upright(picture: Pixels, orientation: int) -> Pixels:
    if orientation in (5, 6, 7, 8):
        picture = np.asarray(cv2.transpose(picture), np.uint8)
    horizontal, vertical = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    if horizontal or vertical:
        picture = np.asarray(cv2.flip(picture, -1 if horizontal and vertical else 1 if horizontal else 0), np.uint8)
    return picture


def _eight_bits(picture: NDArray[np.generic]) -> Pixels:
    if picture.dtype == np.uint8:
        return picture.view(np.uint8)
    if picture.dtype != np.uint16:
        raise NotAPicture("its pixels are not 8 or 16 bits deep")
    done = np.empty(picture.shape, np.uint8)
    for rows in _strips(picture):
        done[rows] = picture[rows].astype(np.uint16) >> 8
    return done


def _premultiplied(picture: Pixels) -> Pixels:
    """Return it, its colours in place as much as they cover, where it has a fourth channel that says so."""
    if picture.ndim == 3 and picture.shape[2] == 4:
        for rows in _strips(picture):
            colour, cover = picture[rows, :, :3], picture[rows, :, 3:]
            colour[:] = (colour.astype(np.uint16) * cover + 127) // 255
    return picture


def _strips(picture: NDArray[np.generic]) -> Iterator[slice]:
    return (slice(first, first + STRIP_ROWS) for first in range(0, len(picture), STRIP_ROWS))


def _bounded(picture: Pixels) -> Pixels:
    shrink = WORK_SIDE / max(picture.shape[:2])
    if shrink >= 1:
        return np.ascontiguousarray(picture)
    height, width = (max(1, round(side * shrink)) for side in picture.shape[:2])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _opaque(picture: Pixels) -> Pixels:
    """Return three channels; what is transparent in a premultiplied picture lies on white paper."""
    if picture.ndim == 2:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), np.uint8)
    if picture.shape[2] == 3:
        return picture
    return picture[..., :3] + (255 - picture[..., 3:])
