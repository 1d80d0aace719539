"""The programs, and one small published chapter that many tests look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from encoder import stages
from encoder.model import Presentation
from encoder.tools import Tools, find_tools
from tests.masters import make_master, with_slot


@pytest.fixture(scope="session")
def tools() -> Tools:
    return find_tools()


@dataclass
class Published:
    plan: stages.Plan
    media: Path
    folder: Path
    presentation: Presentation


@pytest.fixture(scope="session")
def published(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A chapter of 110 frames at 30000/1001 with a slot, taken through all stages of this package."""
    root = tmp_path_factory.mktemp("published")
    master = make_master(root / "raw" / "part2.mov", rate="30000/1001", frames=110, tools=tools)
    with_slot(master, start=2.2, duration=0.9)
    media = root / "media"
    plan = stages.plan(master, tools)
    stages.encode(plan, media, tools)
    stages.assemble(plan, media, tools)
    stages.verify(plan, media, tools)
    folder = stages.publish_version(plan, media)
    return Published(plan, media, folder, Presentation.load(folder))
