"""What tests of several packages share: the small sample master, the players' scripts and the browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from encoder.tools import Tools, cache_folder, find_tools
from mediaserver import cli, sample, setup
from mediaserver.progress import Progress
from tests import chromium as browser

PLAYERS = Path(__file__).parent / "browser" / "players"
# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def tools() -> Tools:
    return find_tools()


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
def wav2lip_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the form of the published ones; its weights are random, its normalisation is not trivial."""
    import torch

    from lipsync.train.wav2lip import Wav2Lip

    torch.manual_seed(3)
    network = Wav2Lip()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.normal_(0, 0.1)
    with torch.no_grad():
        network.train()(torch.rand(4, 1, 80, 16) * 8 - 4, torch.rand(4, 6, 96, 96))
    path = tmp_path_factory.mktemp("weights") / "wav2lip.pth"
    weights = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": weights, "optimizer": None, "global_step": 1, "global_epoch": 1}, path)
    return path


@pytest.fixture(scope="session")
def wav2lip_cache(wav2lip_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache like this machine's, with that checkpoint converted in it."""
    cache, own = tmp_path_factory.mktemp("cache"), cache_folder()
    (cache / "models").mkdir()
    for path in (*own.iterdir(), *(own / "models").iterdir()):
        if path.name not in ("models", "wav2lip"):
            (cache / path.relative_to(own)).symlink_to(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDIASERVER_CACHE", str(cache))
        assert cli.main(["doctor", "--convert", str(wav2lip_checkpoint)]) == 0
    return cache


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium that starts."""
    try:
        return browser.find()
    except SystemExit as missing:
        pytest.fail(str(missing))
