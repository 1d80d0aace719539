"""Faces are found here, never recognised, compared, aged or read for feelings: no code or model for it may come in.

Looked at are the sources with every name in them, what is declared, pinned and shipped, and what is loaded in the end.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from encoder.tools import run_tool
from mediaserver import pins

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("encoder", "lipsync", "mediaserver", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*.py")
)
PAGES = sorted(
    path for kind in ("*.js", "*.html", "package.json") for path in (ROOT / "mediaserver" / "pages").rglob(kind)
)
RECOGNISERS = re.compile(
    r"(face|facial|person|people|viewer|identity)[_-]?(recogni[szt]|identif|match|verif|compar|embed|encod|similar|cluster)"
    r"|recogni[sz]er(sf)?$|eigenface|fisherface|lbph|\bsface|arcface|cosface|adaface|magface|facenet|insightface|deepface"
    r"|dlib|openface|vggface|mtcnn|retinaface|face[_-]?api|compreface|buffalo_[ls]|antelopev2|ghostfacenet|fer2013|hsemotion"
    r"|(predict|estimate|detect|recogni[sz]e|classify)_?(age|gender|sex|emotion|race|ethnicity|identity)"
    r"|(age|gender|emotion|race|ethnicity)_?(net|model|classifier|estimator|detector|prediction)"
    r"|rekognition|azure[.-]cognitiveservices|clarifai|kairos",
    re.IGNORECASE,
)
"""Names of programs, models and deeds of face recognition and of guessing age, sex or feelings."""
HARMLESS = {"recogniser", "face_encoder_blocks"}
"""mediaserver/viewer.py knows a session by its address; a part of Wav2Lip has that name in every checkpoint."""
MODELS = {
    "face_detection_yunet_2023mar.onnx": "where a face is",
    "face_landmarker.task": "where its points are",
    "face_landmarks_detector.tflite": "the same, inside the task file",
    "mouth.onnx": "paints a mouth",
    "voice.npz": "hears what lips do",
    "wav2lip.pth": "paints a mouth, too: an operator's own",
    "faces.onnx": "a part of that",
    "sounds.onnx": "a part of that",
    "mouths.onnx": "a part of that",
}
"""Every model that sources may name or the package may carry."""
KINDS_OF_MODELS = (
    ".onnx",
    ".task",
    ".tflite",
    ".pt",
    ".pth",
    ".pb",
    ".caffemodel",
    ".dat",
    ".t7",
    ".h5",
    ".safetensors",
)
DEPENDENCIES = re.compile(
    RECOGNISERS.pattern
    + r"|^(face|fer|feat|py-feat|dface|facexlib|uniface|lightface|face-?recognition.*|keras.*|tensorflow.*)$",
    re.IGNORECASE,
)


def names_in(source: str) -> Iterator[str]:
    """Yield every name of a source: what it imports, defines, calls and takes; no text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.name for alias in node.names)
            yield getattr(node, "module", None) or ""
        for field in ("id", "attr", "name", "arg"):
            if isinstance(found := getattr(node, field, None), str):
                yield found


def texts_in(source: str) -> Iterator[str]:
    """Yield every text of a source that is one word: names of files and models, not sentences."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value.split()) == 1:
            yield node.value


def found_in(source: str) -> set[str]:
    words = {*names_in(source), *texts_in(source)} - HARMLESS
    return {word for word in words if RECOGNISERS.search(word)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_names_a_recogniser(path: Path):
    source = path.read_text("utf-8")
    assert found_in(source) == set()
    models = {
        Path(text).name for text in texts_in(source) if text.endswith(KINDS_OF_MODELS) and Path(text).stem[0] != "."
    }
    assert models <= MODELS.keys()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_page_names_a_recogniser(path: Path):
    words = set(re.findall(r"[\w@/.-]+", path.read_text("utf-8")))
    assert {word for word in words if RECOGNISERS.search(word)} == set()


@pytest.mark.parametrize(
    "planted",
    [
        "import face_recognition",
        "from insightface.app import FaceAnalysis",
        "def f():\n    import dlib",
        "import cv2\ncv2.FaceRecognizerSF.create('a', '')",
        "import cv2\ncv2.face.LBPHFaceRecognizer_create()",
        "from deepface import DeepFace",
        "net = cv2.dnn.readNet('weights/arcface_r50.onnx')",
        "def face_embedding(photo): ...",
        "def match(face_similarity): ...",
        "age_net = load()",
        "self.predict_emotion(face)",
        "__import__('facenet_pytorch')",
    ],
)
def test_the_rule_sees_one_that_is_brought_in(planted: str):
    assert found_in(planted) != set()


def declared() -> dict[str, list[str]]:
    """Every package that is declared, in any extra, or locked."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
    groups["locked"] = [
        line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line[:1].isalpha()
    ]
    return {group: [re.split(r"[^\w.-]", line)[0] for line in lines] for group, lines in groups.items()}


def test_no_dependency_recognises_faces():
    packages = declared()
    assert len(packages["locked"]) > 60
    assert [name for group in packages.values() for name in group if DEPENDENCIES.search(name)] == []
    for name in ("face_recognition", "insightface", "deepface", "dlib", "facenet-pytorch", "mtcnn", "fer", "py-feat"):
        assert DEPENDENCIES.search(name)


def test_what_is_shipped_and_fetched_holds_no_other_model():
    shipped = {path.name for path in (ROOT / "lipsync").rglob("*") if path.suffix in (*KINDS_OF_MODELS, ".npz")}
    fetched = {Path(pin.file).name for pin in pins.pins("Linux x86_64") if pin.file.startswith("models/")}
    assert shipped == {"mouth.onnx", "voice.npz"}
    assert fetched == {"face_detection_yunet_2023mar.onnx", "face_landmarker.task"}


def test_nothing_of_the_kind_is_loaded_when_all_of_us_is():
    """Each module of the three packages in one process, but those that need the extra `train`."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] in ("encoder", "lipsync", "mediaserver")
        and "train" not in path.parts
        and path.stem not in ("__init__", "__main__")
    ]
    ask = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\nprint(*sys.modules)"
    loaded = run_tool((sys.executable, "-c", ask), timeout_s=100).decode().split()
    assert {"lipsync.studio", "mediaserver.app", "cv2"} <= set(loaded)
    assert [name for name in loaded if RECOGNISERS.search(name)] == []
    assert {name.partition(".")[0] for name in loaded}.isdisjoint({"torch", "sklearn", "tensorflow", "dlib"})
