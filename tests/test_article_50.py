"""The page about article 50 names tests that exist: a duty whose test was renamed is a duty nobody holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "ai-act-article-50.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_a_test_that_the_page_names_exists(file: str, test: str):
    assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("paragraph", range(1, 7))
def test_every_paragraph_has_its_row(paragraph: int):
    assert f"| 50({paragraph})" in PAGE


def test_every_duty_that_the_program_can_keep_has_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| 50(")]
    assert len(rows) > 8
    assert [row for row in rows if "::test_" not in row and "| (" not in row] == []
