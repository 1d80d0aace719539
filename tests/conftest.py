"""What tests of several packages share: the small sample master, the players' scripts and the browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from mediaserver import sample, setup
from mediaserver.progress import Progress
from tests import chromium as browser

PLAYERS = Path(__file__).parent / "browser" / "players"
# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def sample_master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """640 x 360, 20 s, spoken English, one slot from 11.3 s for 4 s; its sidecar lies beside it. Copy, never change."""
    return sample.make(tmp_path_factory.mktemp("sample"), small=True)


@pytest.fixture(scope="session")
def npm() -> Path:
    """The node_modules folder that `mediaserver setup` has filled."""
    return setup.npm_folder()


@pytest.fixture(scope="session")
def players() -> Path:
    """The node_modules folder of the players that only tests use: dash.js 3 and Shaka; fetched once into the cache."""
    return setup.fetch_scripts(PLAYERS, Progress())


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium that starts."""
    try:
        return browser.find()
    except SystemExit as missing:
        pytest.fail(str(missing))
