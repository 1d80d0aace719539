"""The documents say what the program has: a verb or a setting that nobody wrote down does not exist for a reader."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from encoder.sidecar import KEYS, SLOT_KEYS
from mediaserver.cli import parser
from mediaserver.pins import FFMPEG, NODE, SHAKA, pins
from mediaserver.settings import keys

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
NOTICE = (ROOT / "NOTICE").read_text("utf-8")
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


def test_the_readme_names_every_setting():
    missing = [key for key, _ in keys() if f"`{key.rpartition('.')[2]}`" not in README]
    assert missing == []


def test_the_readme_names_every_verb():
    listed = re.findall(r"^    (\w+)  ", parser().format_help(), re.MULTILINE)
    assert len(listed) > 10
    assert [verb for verb in listed if not re.search(rf"\b{verb}\b", README)] == []


def test_the_readme_names_every_key_of_a_sidecar():
    example = README.partition("```toml")[2].partition("```")[0]
    said = tomllib.loads(example)
    assert set(said) == KEYS
    assert SLOT_KEYS - set(said["slot"][0]) <= {"compose"}


@pytest.mark.parametrize("words", ["make demo", "make test", "make demo EXIT=1"])
def test_the_commands_of_the_readme_are_targets_of_the_makefile(words: str):
    assert words in README
    assert f"\n{words.split()[1]}: " in (ROOT / "Makefile").read_text()


def test_the_notice_names_everything_that_setup_fetches():
    for requirement in (FFMPEG, SHAKA, NODE):
        assert requirement.replace("==", " ") in NOTICE
    for pin in pins("none"):
        assert Path(pin.file).name in NOTICE


def test_the_notice_names_every_package_of_the_server():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    names = [re.split(r"[<>=]", requirement)[0] for requirement in required]
    assert [name for name in names if name not in NOTICE.lower()] == []


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_is_short_and_its_number_is_its_name(decision: Path):
    lines = decision.read_text("utf-8").splitlines()
    assert len(lines) <= 45
    assert lines[0].startswith(f"# {decision.name[:4]}")


def test_every_pin_of_the_constraints_meets_the_minimum():
    pinned = dict(re.findall(r"^([\w.-]+)==([\d.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name, _, least = requirement.partition(";")[0].partition(">=")
        assert version_of(pinned[name]) >= version_of(least), name


def version_of(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
