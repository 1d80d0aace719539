"""What is taken for a picture, and what is refused before it is decoded."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from lipsync import photo
from lipsync.errors import NotAPicture, PictureTooLarge
from lipsync.photo import MAX_BYTES, WORK_SIDE, orientation_of, read_header, read_photo
from tests.lipsync.conftest import DEMO

DRAWING = np.zeros((60, 90, 3), np.uint8)
DRAWING[:20], DRAWING[40:, 45:] = (200, 40, 10), (10, 220, 90)


def encoded(kind: str, picture: np.ndarray = DRAWING) -> bytes:
    return bytes(cv2.imencode(kind, picture)[1].tobytes())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, pixels: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return photo.PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def turned(jpeg: bytes, orientation: int, order: str = "<") -> bytes:
    """The JPEG with an EXIF orientation."""
    mark = {"<": b"II", ">": b"MM"}[order]
    tiff = mark + struct.pack(order + "HIHHHIHH", 42, 8, 1, 0x0112, 3, 1, orientation, 0) + bytes(4)
    app1 = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + jpeg[2:]


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp"])
def test_the_three_kinds_are_read_and_measured(kind):
    data = encoded(kind)
    header = read_header(data)
    assert (header.width, header.height) == (90, 60)
    assert abs(read_photo(data).astype(int) - DRAWING).mean() < 6


def test_lossless_webp_of_odd_size_is_measured_right():
    data = cv2.imencode(".webp", DRAWING[:37, :41], [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    assert (read_header(data).width, read_header(data).height) == (41, 37)


@pytest.mark.parametrize(
    "data", [b"", b"%PDF-1.7 and more", b"GIF89a" + bytes(50), b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"]
)
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(NotAPicture):
        read_photo(data)


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_a_truncated_picture_is_refused(kind, share):
    data = encoded(kind, np.random.default_rng(1).integers(0, 255, (80, 80, 3), np.uint8))
    with pytest.raises(NotAPicture):
        read_photo(data[: int(share * len(data))])


def test_a_damaged_picture_is_refused(capfd):
    data = bytearray(encoded(".png", np.random.default_rng(1).integers(0, 255, (80, 80, 3), np.uint8)))
    data[200:400] = bytes(200)
    with pytest.raises(NotAPicture):
        read_photo(bytes(data))


def test_a_bomb_of_400_megapixels_is_refused_without_being_decoded(monkeypatch):
    def decoded(*_: object, **__: object) -> None:
        pytest.fail("the bomb was decoded")

    monkeypatch.setattr(cv2, "imdecodeWithMetadata", decoded)
    monkeypatch.setattr(cv2, "imdecode", decoded)
    bomb = png_of(20_000, 20_000, bytes(20_001 * 20_000))
    assert len(bomb) < MAX_BYTES
    with pytest.raises(PictureTooLarge, match="20000 x 20000"):
        read_photo(bomb)


def test_too_many_bytes_are_refused_whatever_they_are():
    with pytest.raises(PictureTooLarge):
        read_photo(bytes(MAX_BYTES + 1))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda p: p),
        (2, lambda p: p[:, ::-1]),
        (3, lambda p: p[::-1, ::-1]),
        (4, lambda p: p[::-1]),
        (5, lambda p: p.transpose(1, 0, 2)),
        (6, lambda p: np.rot90(p, -1)),
        (7, lambda p: p.transpose(1, 0, 2)[::-1, ::-1]),
        (8, np.rot90),
    ],
)
def test_a_photo_stands_upright_whatever_way_the_camera_was_held(orientation, turn, order):
    data = encoded(".jpg")
    assert np.array_equal(read_photo(turned(data, orientation, order)), turn(read_photo(data)))


@pytest.mark.parametrize("exif", [b"", b"II", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff"])
def test_wrong_exif_data_means_upright(exif):
    assert orientation_of(exif) == 1


def test_transparent_pixels_lie_on_paper():
    picture = np.zeros((20, 20, 4), np.uint8)
    picture[:10, :, 2:] = 255
    read = read_photo(encoded(".png", picture))
    assert read[0, 0].tolist() == [0, 0, 255]
    assert read[19, 19].tolist() == [255, 255, 255]


def test_sixteen_bits_become_eight_and_grey_becomes_colour():
    picture = np.full((20, 20), 0x8123, np.uint16)
    assert np.array_equal(read_photo(encoded(".png", picture)), np.full((20, 20, 3), 0x81, np.uint8))


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_a_huge_photo_is_brought_to_working_size(kind):
    read = read_photo(encoded(kind, np.zeros((1500, 6000, 3), np.uint8)))
    assert read.shape == (WORK_SIDE // 4, WORK_SIDE, 3)


def test_the_demo_photos_are_pictures():
    for path in DEMO.glob("*.jpg"):
        assert read_photo(path.read_bytes()).shape == (1024, 1024, 3)


@pytest.mark.parametrize(
    ("depth", "colours", "megapixels"), [(16, 6, 15), (16, 2, 20), (8, 6, 30), (8, 2, 40), (8, 0, 40)]
)
def test_deep_and_transparent_pictures_may_have_fewer_pixels(depth, colours, megapixels):
    """What is decoded has to fit into a worker's memory."""
    data = bytearray(png_of(8000, 1, b"\0"))
    data[20:26] = struct.pack(">IBB", megapixels * 125 + 125, depth, colours)
    with pytest.raises(PictureTooLarge, match="megapixels"):
        read_photo(bytes(data))
    data[20:24] = struct.pack(">I", megapixels * 125 - 250)
    with pytest.raises(NotAPicture):  # small enough to be tried: its check sum is wrong now
        read_photo(bytes(data))


def test_a_large_transparent_picture_has_no_dark_edge():
    """Under what is transparent there is black, which must not bleed when the picture is made smaller."""
    picture = np.zeros((8, 2 * WORK_SIDE, 4), np.uint8)
    picture[:, 501:] = 255
    read = read_photo(encoded(".png", picture))
    assert read.shape == (4, WORK_SIDE, 3)
    assert read.min() >= 254
