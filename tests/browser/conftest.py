"""The house: one server process for all browser tests, with the small sample published by the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encoder.model import Presentation
from encoder.tools import Child, open_tool, python_module, run_tool
from tests.browser.house import House


@pytest.fixture(scope="session")
def house(sample_master: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running_house(sample_master, tmp_path_factory.mktemp("house")) as running:
        yield running


@contextmanager
def running_house(master: Path, home: Path) -> Iterator[House]:
    """Publish `master` with its sidecar below `home`, and serve it."""
    folders = {name: home / name for name in ("raw", "media", "state")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    for file in (master, master.with_suffix(".toml")):
        shutil.copy2(file, folders["raw"] / file.name)
    flags = [word for name, folder in folders.items() for word in (f"--{name}", str(folder))]
    run_tool((*python_module("mediaserver"), "encode", str(folders["raw"] / master.name), *flags))
    chapter = folders["media"] / master.stem
    version = chapter / (chapter / "current").read_text().strip()
    with open_tool((*python_module("mediaserver"), "serve", "--port=0", "--admin-port=0", "--json", *flags)) as child:
        yield House(_address(child), version, folders["state"], Presentation.load(version))
        child.process.terminate()
        child.stdout.read()
        child.check()


def _address(child: Child) -> str:
    """Return the page's address as the server tells it, once requests are answered."""
    for line in child.stdout:
        if page := json.loads(line).get("page"):
            return str(page)
    child.check()
    raise AssertionError("the server ended without a word")
