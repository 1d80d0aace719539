"""A virtual environment with pip comes out wherever Python comes from; nothing is fetched from a network here."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PINNED = "pip-26.3-py3-none-any.whl"


def bootstrap(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script as `make` does, with pip's configuration replaced by `environment`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    command = [sys.executable, ROOT / "bootstrap.py", folder]
    return subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, timeout=100)


def pip_of(folder: Path) -> str:
    said = subprocess.run([folder / "bin" / "python", "-m", "pip", "--version"], capture_output=True, text=True)
    return said.stdout


@pytest.fixture(scope="module")
def no_ensurepip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PYTHONPATH on which `import ensurepip` fails, as it does on Debian without python3-venv."""
    folder = tmp_path_factory.mktemp("shim") / "ensurepip"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('blocked by the test')\n")
    return str(folder.parent)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pinned wheel of pip, fetched as anybody's pip would."""
    folder = tmp_path_factory.mktemp("wheels")
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*download, "--dest", folder, "pip==26.3"], check=True, capture_output=True)
    return folder


def test_without_ensurepip_the_pinned_wheel_gives_the_environment_its_pip(
    tmp_path: Path, no_ensurepip: str, wheels: Path
):
    blocked = {"PYTHONPATH": no_ensurepip, "PIP_FIND_LINKS": str(wheels), "PIP_NO_INDEX": "1"}
    done = bootstrap(tmp_path / "venv", **blocked)
    assert done.returncode == 0, done.stderr
    assert f"took {PINNED}" in done.stdout
    assert "pip 26.3" in pip_of(tmp_path / "venv")


def test_the_wheel_is_found_on_a_page_of_a_simple_index(tmp_path: Path, no_ensurepip: str, wheels: Path):
    index = tmp_path / "simple" / "pip"
    index.mkdir(parents=True)
    link = os.path.relpath(wheels / PINNED, index)
    (index / "index.html").write_text(f'<a href="{link}#sha256=0">pip</a><a href="other.whl">other</a>')
    there = (tmp_path / "simple").as_uri()
    done = bootstrap(tmp_path / "venv", PYTHONPATH=no_ensurepip, PIP_INDEX_URL=there, PIP_CONFIG_FILE=os.devnull)
    assert done.returncode == 0, done.stderr
    assert "pip 26.3" in pip_of(tmp_path / "venv")


def test_with_ensurepip_nothing_is_fetched(tmp_path: Path):
    done = bootstrap(tmp_path / "venv", PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    assert done.returncode == 0, done.stderr
    assert "took" not in done.stdout
    assert pip_of(tmp_path / "venv").startswith("pip ")


def test_other_bytes_under_the_pinned_name_are_refused_with_a_hint(tmp_path: Path, no_ensurepip: str):
    with zipfile.ZipFile(tmp_path / PINNED, "w") as wheel:
        wheel.writestr("pip/__main__.py", "print('not pip')")
    blocked = {"PYTHONPATH": no_ensurepip, "PIP_FIND_LINKS": str(tmp_path), "PIP_NO_INDEX": "1"}
    done = bootstrap(tmp_path / "venv", **blocked)
    assert done.returncode == 1
    assert "other bytes than expected" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_an_environment_that_is_there_is_left_alone(tmp_path: Path):
    assert bootstrap(tmp_path / "venv").returncode == 0
    mark = tmp_path / "venv" / "mark"
    mark.touch()
    again = bootstrap(tmp_path / "venv")
    assert again.returncode == 0
    assert again.stdout == ""
    assert mark.exists()


def test_a_folder_with_other_things_in_it_is_never_cleared(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    done = bootstrap(tmp_path)
    assert done.returncode == 1
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_the_pinned_hash_is_that_of_the_pinned_version(wheels: Path):
    source = (ROOT / "bootstrap.py").read_text()
    assert hashlib.sha256((wheels / PINNED).read_bytes()).hexdigest() in source
    assert "pip==26.3\n" in (ROOT / "constraints.txt").read_text()
