"""Names of masters to ids of chapters, and the names that none may have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder.chapter import RESERVED, chapter_id, check_alone, is_master
from encoder.errors import BadChapterName, EncoderError, ReservedChapterName, SameChapterTwice


@pytest.mark.parametrize(
    ("file", "id"),
    [
        ("part2.mov", "part2"),
        ("part 2  final.mov", "part-2-final"),
        ('the "director\'s" cut.mov', "the-director-s-cut"),
        ("v1.2.mov", "v1.2"),
        ("Gru\u0308ße.mov", "Grüße"),
        ("فيلم.mov", "فيلم"),
        ("第一部.mp4", "第一部"),
        (" part2 .mov", "part2"),
    ],
)
def test_a_name_becomes_an_address(file: str, id: str):
    assert chapter_id(Path(file)) == id


@pytest.mark.parametrize(
    "file",
    [
        "a..b.mov",
        "..mov.mov",
        ".hidden.mov",
        "a&b.mov",
        "100%.mov",
        "a;b.mov",
        "x" * 81 + ".mov",
        "\udcff.mov",
        "part2..mov",
    ],
)
def test_a_name_that_cannot_be_an_address_is_refused_with_a_hint(file: str):
    with pytest.raises(BadChapterName) as caught:
        chapter_id(Path(file))
    assert "Rename the file" in caught.value.hint


@pytest.mark.parametrize("name", [*sorted(RESERVED), "Editor", "API", "s"])
def test_a_fixed_address_of_the_server_is_no_chapter(name: str):
    with pytest.raises(ReservedChapterName, match="cannot be called"):
        chapter_id(Path(f"{name}.mov"))


@given(st.text())
def test_no_name_leaves_its_folder(stem: str):
    try:
        name = chapter_id(Path("raw") / (stem.replace("/", "_").replace("\0", "_") + ".mov"))
    except EncoderError:
        return
    assert not set(name) & set("/\\ '\"\0")
    assert name not in (".", "..")
    assert len(name) <= 80


@pytest.mark.parametrize("name", ["a.mov", "a.MOV", "a.mp4", "a.mkv", "a.mxf", "a.webm"])
def test_masters_are_known_by_their_suffix(name: str):
    assert is_master(Path(name))


@pytest.mark.parametrize(
    "name", ["a.mov.part", "a.tmp", "~$a.mov", ".a.mov", "._a.mov", ".DS_Store", "a.toml", "a.wav", "mov"]
)
def test_unfinished_and_hidden_files_are_no_masters(name: str):
    assert not is_master(Path(name))


def test_the_younger_of_two_masters_of_one_chapter_is_refused(tmp_path: Path):
    old, new = tmp_path / "part 2.mov", tmp_path / "Part-2.mp4"
    for age_s, file in ((100, old), (0, new)):
        file.write_bytes(b"")
        os.utime(file, (1_000_000 - age_s, 1_000_000 - age_s))
    check_alone(old, tmp_path.iterdir())
    with pytest.raises(SameChapterTwice, match=r"'Part-2\.mp4' and 'part 2\.mov'"):
        check_alone(new, tmp_path.iterdir())


def test_a_file_that_vanishes_meanwhile_is_no_rival(tmp_path: Path):
    master = tmp_path / "part2.mov"
    master.write_bytes(b"")
    check_alone(master, [tmp_path / "part2.mp4", master])
