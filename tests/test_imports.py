"""Which package may know which, read from the sources, and what a server's start must not load."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from encoder.tools import run_tool

ROOT = Path(__file__).parents[1]
PACKAGES = ("encoder", "lipsync", "mediaserver")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
# these put the packages together; jobwork and jobroom are the run of one job and its room on disk, parts of jobs;
# sample, demo and measuring make and look at a film as an editor and a viewer would
COMPOSITION = {
    "app.py",
    "jobs.py",
    "jobwork.py",
    "jobroom.py",
    "jobhooks.py",
    "cli.py",
    "doctor.py",
    "setup.py",
    "sample.py",
    "demo.py",
    "measuring.py",
}
TYPES_OF_OTHERS = {"encoder.model", "encoder.manifest", "encoder.errors", "lipsync.protocols", "lipsync.errors"}
PURE = {"model.py", "manifest.py", "ladder.py", "commands.py", "insert.py"}
HEAVY = ("torch", "librosa", "scipy", "cv2", "dbos", "onnxruntime", "hibari", "c2pa")


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file; `from a import b` gives `a.b` where that is a module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            module = node.module or ""
            for alias in node.names:
                inner = ROOT / Path(*module.split("."), f"{alias.name}.py")
                yield f"{module}.{alias.name}" if inner.is_file() else module


def top(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_imports_only_what_its_package_may_know(path: Path):
    package, modules = path.relative_to(ROOT).parts[0], set(imported(path))
    ours = {module for module in modules if top(module) in PACKAGES}
    foreign = {module for module in ours if top(module) != package}
    allowed = {
        "encoder": set(),
        "lipsync": {module for module in foreign if top(module) == "encoder"},
        "mediaserver": foreign if path.name in COMPOSITION else TYPES_OF_OTHERS,
    }[package]
    assert foreign <= allowed
    if package == "encoder":
        assert "aiohttp" not in {top(module) for module in modules}
    if package == "encoder" and path.name in PURE:
        assert "numpy" not in {top(module) for module in modules}
    if "train" not in path.parts:
        assert not {"torch", "librosa"} & {top(module) for module in modules}


def test_the_rule_sees_an_import_that_hides_in_a_function(tmp_path: Path):
    (tmp_path / "hidden.py").write_text("def f():\n    from mediaserver import app\n")
    assert list(imported(tmp_path / "hidden.py")) == ["mediaserver.app"]


def test_starting_a_server_loads_nothing_heavy():
    loaded = run_tool((sys.executable, "-c", "import mediaserver.app, sys; print(*sys.modules)"), timeout_s=60)
    modules = {top(name) for name in loaded.decode().split()}
    assert "aiohttp" in modules
    assert modules.isdisjoint(HEAVY)


def test_the_command_line_answers_without_loading_the_server_or_the_picture_code():
    ask = "import mediaserver.cli, sys; mediaserver.cli.parser(); print(*sys.modules)"
    modules = {top(name) for name in run_tool((sys.executable, "-c", ask), timeout_s=60).decode().split()}
    assert modules.isdisjoint((*HEAVY, "aiohttp", "numpy"))


def test_no_file_is_a_drawer_for_odds_and_ends():
    assert not {path.stem for path in SOURCES} & {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def test_no_file_is_longer_than_anybody_reads():
    assert {path.name: len(path.read_text("utf-8").splitlines()) for path in SOURCES if _lines(path) > 420} == {}


def _lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def test_nothing_that_is_committed_names_a_machine_or_puts_off_work():
    parts = ("/work/|main", "/work/|scratch", "/work/|shared", "/root|/", "/opt/|pypi", "/home|/", "TO|DO", "FIX|ME")
    foreign = [part.replace("|", "") for part in parts]
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in texts()
        for word in foreign
        if word in path.read_text("utf-8", errors="replace")
    ]
    assert found == []


def texts() -> Iterator[Path]:
    """The project's own text files: what is tracked, found without asking git."""
    for folder in (*PACKAGES, "tests", "docs", ".ci"):
        for path in (ROOT / folder).rglob("*"):
            if (
                path.is_file()
                and "__pycache__" not in path.parts
                and path.suffix not in (".jpg", ".png", ".npz", ".onnx")
            ):
                yield path
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.suffix not in (".png",))
