"""The programs, and one small published chapter that many tests look at."""

from __future__ import annotations

import pytest

from encoder.tools import Tools
from tests.masters import Published, make_master, publish, with_slot

__all__ = ["Published"]


@pytest.fixture(scope="session")
def published(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A chapter of 110 frames at 30000/1001 with a slot, taken through all stages of this package."""
    root = tmp_path_factory.mktemp("published")
    master = make_master(root / "raw" / "part2.mov", rate="30000/1001", frames=110, tools=tools)
    with_slot(master, start=2.2, duration=0.9)
    return publish(master, root / "media", tools)
