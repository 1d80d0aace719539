"""What strangers send: whatever it is, a verdict or a fair result, and never a crash."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.tools import run_tool
from lipsync.clip import Clip
from lipsync.compose import Compositor
from lipsync.errors import NotAPicture, PhotoRefused, PictureTooLarge
from lipsync.face import FaceFinder
from lipsync.photo import Pixels, read_photo
from tests.lipsync.conftest import demo_photo
from tests.lipsync.test_photo import encoded, turned

GREY = np.full((480, 480, 3), 190, np.uint8)
AH, EE = (0.8, 0.0, 0.0, 0.0), (0.3, 0.9, 0.0, 0.4)


def oval(picture: Pixels, centre: tuple[int, int], size: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.ellipse(picture, centre, size, 0, 0, 360, colour, -1, cv2.LINE_AA)


def smiley() -> Pixels:
    picture = GREY.copy()
    oval(picture, (240, 240), (180, 180), (40, 210, 250))
    for x in (175, 305):
        oval(picture, (x, 190), (20, 34), (20, 20, 20))
    cv2.ellipse(picture, (240, 260), (100, 80), 0, 15, 165, (20, 20, 20), 12, cv2.LINE_AA)
    return picture


def cartoon() -> Pixels:
    """A person as children draw them, with everything that a face has."""
    picture = GREY.copy()
    oval(picture, (240, 160), (170, 140), (30, 50, 90))
    oval(picture, (240, 250), (140, 180), (160, 190, 235))
    for x in (180, 300):
        oval(picture, (x, 220), (32, 18), (250, 250, 250))
        oval(picture, (x, 220), (13, 16), (90, 60, 30))
        oval(picture, (x, 220), (6, 7), (10, 10, 10))
        cv2.ellipse(picture, (x, 195), (38, 16), 0, 200, 340, (20, 40, 70), 7, cv2.LINE_AA)
    cv2.polylines(picture, [np.array([[240, 230], [225, 290], [252, 292]])], False, (120, 150, 200), 4, cv2.LINE_AA)
    oval(picture, (240, 350), (55, 20), (90, 80, 200))
    cv2.line(picture, (188, 350), (292, 350), (50, 40, 120), 3, cv2.LINE_AA)
    return picture


def cat() -> Pixels:
    picture = GREY.copy()
    for ear in ([[90, 40], [200, 120], [100, 200]], [[390, 40], [280, 120], [380, 200]]):
        cv2.fillPoly(picture, [np.array(ear)], (60, 120, 190))
    oval(picture, (240, 250), (170, 150), (70, 130, 200))
    for x in (170, 310):
        oval(picture, (x, 220), (36, 30), (110, 230, 200))
        oval(picture, (x, 220), (8, 28), (10, 10, 10))
    cv2.fillPoly(picture, [np.array([[220, 280], [260, 280], [240, 302]])], (120, 120, 220))
    for y in (-20, 0, 20):
        cv2.line(picture, (210, 305), (70, 300 + y), (240, 240, 240), 2, cv2.LINE_AA)
        cv2.line(picture, (270, 305), (410, 300 + y), (240, 240, 240), 2, cv2.LINE_AA)
    return picture


def statue() -> Pixels:
    """The demo man in stone: no colour, no pupils, rough."""
    stone = cv2.cvtColor(cv2.resize(demo_photo("man"), (512, 512), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    rough = np.random.default_rng(4).normal(0, 9, stone.shape)
    return cv2.cvtColor(np.clip(0.7 * stone + 70 + rough, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)


def pencil() -> Pixels:
    """The demo woman as a drawing in lines."""
    grey = cv2.cvtColor(cv2.resize(demo_photo("woman"), (512, 512), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    lines = cv2.divide(grey, 255 - cv2.GaussianBlur(255 - grey, (0, 0), 6), scale=256)
    return cv2.cvtColor(lines, cv2.COLOR_GRAY2BGR)


def mask() -> Pixels:
    """A carnival mask: a white face with holes for eyes and mouth."""
    picture = np.full((480, 480, 3), 40, np.uint8)
    oval(picture, (240, 250), (130, 180), (235, 235, 240))
    for x in (185, 295):
        oval(picture, (x, 210), (30, 15), (15, 15, 15))
    oval(picture, (240, 345), (45, 10), (30, 20, 120))
    cv2.line(picture, (240, 230), (240, 290), (200, 200, 205), 9, cv2.LINE_AA)
    return picture


def upside_down() -> Pixels:
    return np.ascontiguousarray(cv2.resize(demo_photo("man"), (512, 512), interpolation=cv2.INTER_AREA)[::-1, ::-1])


def crowd() -> Pixels:
    row = np.hstack([cv2.resize(demo_photo(name), (300, 300)) for name in ("man", "woman", "older-woman")])
    return np.vstack([row, row[:, ::-1]])


def noise() -> Pixels:
    return np.random.default_rng(2).integers(0, 256, (400, 500, 3), np.uint8)


def strip() -> Pixels:
    return np.ascontiguousarray(np.tile(demo_photo("man")[500:501], (60, 4, 1)))


def landscape(name: str) -> Callable[[], Pixels]:
    return lambda: read_photo(files("sklearn.datasets.images").joinpath(name).read_bytes())


STRANGE = (
    *(smiley, cartoon, cat, statue, pencil, mask, upside_down, crowd, noise, strip),
    *(landscape("china.jpg"), landscape("flower.jpg")),
)


@pytest.mark.parametrize("draw", STRANGE, ids=lambda draw: getattr(draw, "__name__", "photo"))
def test_what_is_no_photo_of_a_person_gets_a_verdict_or_a_fair_picture(finder: FaceFinder, draw):
    try:
        face = finder.find(draw())
    except PhotoRefused:
        return
    head = face.head().scaled(256, 256)
    compositor = Compositor.portrait(head)
    still = compositor.blank()
    pictures = [compositor.compose(still, state) for state in (AH, EE, AH)]
    assert np.array_equal(pictures[0], pictures[2])
    changed = abs(pictures[0].astype(int) - pictures[1])[:256] > 20
    assert 0 < changed.mean() < 0.35


@pytest.mark.parametrize("draw", [noise, strip, landscape("china.jpg"), landscape("flower.jpg")])
def test_where_nobody_is_nobody_is_seen(finder: FaceFinder, draw):
    with pytest.raises(PhotoRefused) as refusal:
        finder.find(draw())
    assert refusal.value.verdict in ("no_face", "too_small")


def test_of_a_crowd_nobody_is_chosen(finder: FaceFinder):
    with pytest.raises(PhotoRefused) as refusal:
        finder.find(crowd())
    assert refusal.value.verdict == "several_faces"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_face_is_found_however_the_camera_was_held(finder: FaceFinder, orientation):
    upright = cv2.resize(demo_photo("woman"), (320, 320), interpolation=cv2.INTER_AREA)
    face = finder.find(read_photo(turned(encoded(".jpg", _stored(upright, orientation)), orientation)))
    assert abs(face.landmarks - finder.find(upright).landmarks)[:, :2].mean() < 1.5


def _stored(upright: Pixels, orientation: int) -> Pixels:
    """What a camera writes whose viewers have to turn it back (Exif 3.0, 4.6.5.1)."""
    back: dict[int, Callable[[Pixels], Pixels]] = {
        1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2), 6: lambda p: np.rot90(p, 1),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2), 8: lambda p: np.rot90(p, -1),
    }  # fmt: skip
    return np.ascontiguousarray(back[orientation](upright))


# --- kinds of files ---------------------------------------------------------------------------------------------------


def cmyk_jpeg(colours: list[tuple[int, int, int, int]]) -> bytes:
    """A JPEG of four inks as print shops send it (Adobe's, inverted): a block of 8 x 8 of each colour, in a row."""

    def part(marker: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data

    lengths = bytes([0, 0, 0, 12, *[0] * 12])  # twelve codes of four bits: the sizes of a difference, 0 to 11
    frame = struct.pack(">BHHB", 8, 8, 8 * len(colours), 4) + b"".join(bytes([n, 0x11, 0]) for n in range(1, 5))
    scan = bytes([4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0])
    bits, before = "", [0, 0, 0, 0]
    for colour in colours:
        for ink, level in enumerate(colour):
            mean = level - 128  # the quantiser is 8, so the step of the mean is one level
            step, before[ink] = mean - before[ink], mean
            size = abs(step).bit_length()
            bits += f"{size:04b}" + (f"{step if step > 0 else step + (1 << size) - 1:0{size}b}" if size else "") + "0"
    packed = int(bits + "1" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8), "big").replace(b"\xff", b"\xff\0")
    return b"".join((
        b"\xff\xd8", part(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0)), part(0xDB, bytes([0, *[8] * 64])),
        part(0xC0, frame), part(0xC4, bytes([0]) + lengths + bytes(range(12))),
        part(0xC4, bytes([0x10, 1, *[0] * 15, 0])), part(0xDA, scan), packed, b"\xff\xd9",
    ))  # fmt: skip


def test_inks_become_light():
    paper, cyan, black = (255, 255, 255, 255), (0, 255, 255, 255), (255, 255, 255, 0)
    read = read_photo(cmyk_jpeg([paper, cyan, black, (255, 0, 0, 255)]))
    assert read.shape == (8, 32, 3)
    blocks = read.reshape(8, 4, 8, 3).mean(axis=(0, 2))
    assert np.abs(blocks - [[255, 255, 255], [255, 255, 0], [0, 0, 0], [0, 0, 255]]).max() < 6


@pytest.mark.parametrize("kind", [".png", ".webp"])
def test_of_an_animated_picture_the_first_is_taken(kind):
    animation = cv2.Animation()
    animation.frames = [np.full((40, 60, 4), level, np.uint8) | np.uint8([0, 0, 0, 255]) for level in (60, 160, 220)]
    animation.durations = [100, 100, 100]
    done, data = cv2.imencodeanimation(kind, animation)
    assert done
    assert abs(read_photo(data.tobytes()).astype(int) - 60).max() < 4


def test_a_gif_of_a_face_speaks_as_a_video_does(finder: FaceFinder, tools, tmp_path: Path):
    path = tmp_path / "face.gif"
    photo = cv2.resize(demo_photo("man"), (200, 200), interpolation=cv2.INTER_AREA)
    raw = tmp_path / "raw"
    raw.write_bytes(photo.tobytes() * 3)
    source = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "200x200", "-r", "10", "-i", str(raw)]
    run_tool([str(tools.ffmpeg), "-v", "error", *source, str(path)])
    with pytest.raises(NotAPicture):
        read_photo(path.read_bytes())
    clip = Clip.read(path, 200, 10, rate=Fraction(25), tools=tools, finder=finder)
    assert clip.frame(2)[1] is not None
    clip.close()


@pytest.mark.parametrize("shape", [(300, 300), (300, 300, 3), (300, 300, 4)])
def test_sixteen_bits_of_any_colour_are_a_face_too(finder: FaceFinder, shape):
    photo = cv2.resize(demo_photo("man"), (300, 300), interpolation=cv2.INTER_AREA)
    way = {2: cv2.COLOR_BGR2GRAY, 4: cv2.COLOR_BGR2BGRA}.get(len(shape) if len(shape) == 2 else shape[2])
    deep = (photo if way is None else cv2.cvtColor(photo, way)).astype(np.uint16) * 257
    assert deep.shape == shape
    assert finder.find(read_photo(encoded(".png", deep))).pupils_px > 60


SMALL = np.random.default_rng(1).integers(0, 255, (24, 20, 3), np.uint8)


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp"])
@given(data=st.data())
@settings(max_examples=60)
def test_whatever_happens_to_its_bytes_a_picture_is_read_or_refused(kind, data):
    whole = bytearray(encoded(kind, SMALL))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = read_photo(bytes(whole[: data.draw(st.integers(len(whole) // 2, len(whole)))]))
    except (NotAPicture, PictureTooLarge):
        return
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
