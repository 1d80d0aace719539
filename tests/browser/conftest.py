"""The house: one server process for all browser tests, with a short film published by the command line."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from encoder.model import Presentation
from encoder.tools import Child, find_tools, open_tool, python_module, run_tool
from tests.browser.driver import player_page
from tests.browser.house import CAPTIONS, House, OwnScene

# Two rungs need 720 lines; 12 s hold a slot that is longer than a player's buffer, and three segments before it.
CUT = ("-ss", "5", "-t", "12", "-vf", "scale=1280:720", "-c:v", "libx264", "-preset", "ultrafast", "-crf", "10")
SOUND = ("-ac", "6", "-c:a", "pcm_s16le")
SLOT = {"start = 11.3": "start = 6.3", "duration = 4.0": "duration = 4.7"}
MARKER = '\n[[marker]]\nat = 3\ntitle = "The mirror"\n'
SETTINGS = """
av1 = false
ladder = "film"
visits_per_minute = 0
film_client = "the client shows its own text and asks before it sends"
"""


@pytest.fixture(scope="session")
def house(sample_master: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    film = short(sample_master, tmp_path_factory.mktemp("film"))
    with running_house(film, tmp_path_factory.mktemp("house"), SETTINGS) as running:
        yield running


@pytest.fixture(scope="session")
def own_scene(house: House) -> OwnScene:
    """A finished scene in the house; look, do not delete."""
    return asyncio.run(house.own_scene())


@pytest.fixture(scope="session")
def page_url(npm: Path, players: Path) -> Iterator[str]:
    """The page that all players are tried in."""
    with player_page(npm, players) as url:
        yield url


def short(master: Path, folder: Path) -> Path:
    """Write 12 s of the sample master, with 720 lines and in 5.1, and what lies beside it; return the master's path."""
    film, sidecar = folder / master.name, master.with_suffix(".toml").read_text("utf-8")
    run_tool(
        (str(find_tools().ffmpeg), "-v", "error", "-i", str(master), *CUT, "-ac", "6", "-c:a", "pcm_s16le", str(film))
    )
    for old, new in SLOT.items():
        assert old in sidecar
        sidecar = sidecar.replace(old, new)
    film.with_suffix(".toml").write_text(sidecar + MARKER, "utf-8")
    for suffix, text in CAPTIONS.items():
        film.with_suffix(suffix).write_text(text, "utf-8")
    return film


@contextmanager
def running_house(master: Path, home: Path, settings: str = "") -> Iterator[House]:
    """Publish `master` with all beside it below `home`, and serve it; `settings` is the text of a mediaserver.toml."""
    folders = {name: home / name for name in ("raw", "media", "state")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    for file in master.parent.glob(f"{master.stem}.*"):
        shutil.copy2(file, folders["raw"] / file.name)
    (home / "mediaserver.toml").write_text(settings, "utf-8")
    flags = [word for name, folder in folders.items() for word in (f"--{name}", str(folder))]
    flags += ["--config", str(home / "mediaserver.toml")]
    run_tool((*python_module("mediaserver"), "encode", str(folders["raw"] / master.name), *flags))
    chapter = folders["media"] / master.stem
    version = chapter / (chapter / "current").read_text().strip()
    with open_tool((*python_module("mediaserver"), "serve", "--port=0", "--admin-port=0", "--json", *flags)) as child:
        yield House(_address(child), version, folders["state"], Presentation.load(version), child.process.pid)
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
