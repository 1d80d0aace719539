"""Publication: all or nothing, twice is once, and the pointer last."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from encoder.errors import CurrentMoved
from encoder.publish import current_version, part_folder, publish, retire


@pytest.fixture
def chapter(tmp_path: Path) -> Path:
    return tmp_path / "part2"


def finished(chapter: Path, version: str, content: str = "x") -> Path:
    part = part_folder(chapter, version)
    part.mkdir(parents=True)
    (part / "presentation.json").write_text(content)
    return part


def test_before_publication_nothing_is_current(chapter: Path):
    finished(chapter, "v1")
    assert current_version(chapter) is None
    assert not (chapter / "v1").exists()


def test_a_published_version_is_current_and_no_part_remains(chapter: Path):
    finished(chapter, "v1")
    assert publish(chapter, "v1") == chapter / "v1"
    assert current_version(chapter) == "v1"
    assert sorted(file.name for file in chapter.iterdir()) == ["current", "v1"]


def test_everything_is_written_through_to_the_disk_before_it_gets_its_name(
    chapter: Path, monkeypatch: pytest.MonkeyPatch
):
    """So that no loss of power leaves a name without its bytes."""
    done: list[str] = []
    sync, rename, replace = os.fsync, Path.rename, Path.replace

    def synced(descriptor: int) -> None:
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).relative_to(chapter.parent)}")
        sync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        done.append(f"rename {path.name}")
        return rename(path, target)

    def replaced(path: Path, target: Path) -> Path:
        done.append(f"rename {path.name}")
        return replace(path, target)

    finished(chapter, "v1")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(Path, "replace", replaced)
    publish(chapter, "v1")
    assert done == [
        *("sync part2/v1.part/presentation.json", "sync part2/v1.part", "rename v1.part", "sync part2"),
        *("sync part2/current.new", "rename current.new", "sync part2"),
    ]


def test_publishing_twice_is_publishing_once(chapter: Path):
    finished(chapter, "v1")
    publish(chapter, "v1")
    before = (chapter / "v1" / "presentation.json").stat().st_ino
    publish(chapter, "v1")
    assert (chapter / "v1" / "presentation.json").stat().st_ino == before


def test_a_crash_between_rename_and_pointer_is_made_good(chapter: Path):
    finished(chapter, "v1").rename(chapter / "v1")
    publish(chapter, "v1")
    assert current_version(chapter) == "v1"


def test_a_version_that_exists_is_never_written_again(chapter: Path):
    finished(chapter, "v1", "first")
    publish(chapter, "v1")
    finished(chapter, "v1", "second")
    publish(chapter, "v1")
    assert (chapter / "v1" / "presentation.json").read_text() == "first"
    assert not part_folder(chapter, "v1").exists()


def test_the_old_version_stays_beside_the_new_one(chapter: Path):
    for version in ("v1", "v2"):
        finished(chapter, version)
        publish(chapter, version)
    assert current_version(chapter) == "v2"
    assert (chapter / "v1").is_dir()
    assert retire(chapter) == []


def test_a_superseded_version_goes_when_nobody_can_watch_it_any_more(chapter: Path):
    for version in ("v1", "v2"):
        finished(chapter, version)
        publish(chapter, version)
    finished(chapter, "v3")
    os.utime(chapter / "current", (0, 0))
    assert retire(chapter) == ["v1"]
    assert (chapter / "v2").is_dir()
    assert part_folder(chapter, "v3").is_dir()
    assert retire(chapter / "nowhere") == []


def test_a_version_that_somebody_still_plays_stays(chapter: Path):
    for version in ("v1", "v2", "v3"):
        finished(chapter, version)
        publish(chapter, version)
    os.utime(chapter / "current", (0, 0))
    assert retire(chapter, pinned={"v1"}) == ["v2"]
    assert (chapter / "v1").is_dir()


@pytest.mark.parametrize("content", ["", "\n", None])
def test_a_pointer_that_names_nothing_is_no_version(chapter: Path, content: str | None):
    chapter.mkdir()
    if content is not None:
        (chapter / "current").write_text(content)
    assert current_version(chapter) is None


def test_a_pointer_that_has_moved_since_is_not_moved_back(chapter: Path):
    for version in ("v1", "v2"):
        finished(chapter, version)
    publish(chapter, "v2", None)
    with pytest.raises(CurrentMoved, match="v2 came before it") as caught:
        publish(chapter, "v1", None)
    assert (caught.value.current, current_version(chapter)) == ("v2", "v2")
    publish(chapter, "v1", "v2")
    assert current_version(chapter) == "v1"


def test_published_again_the_pointer_is_not_even_touched(chapter: Path):
    finished(chapter, "v1")
    publish(chapter, "v1", None)
    before = (chapter / "current").stat().st_ino
    publish(chapter, "v1", None)
    assert (chapter / "current").stat().st_ino == before


def test_of_many_who_publish_at_once_instead_of_the_same_version_one_succeeds(chapter: Path):
    versions = [f"v{n}" for n in range(12)]
    for version in versions:
        finished(chapter, version)

    def try_it(version: str) -> bool:
        try:
            publish(chapter, version, None)
        except CurrentMoved:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        won = [version for version, first in zip(versions, pool.map(try_it, versions), strict=True) if first]
    assert won == [current_version(chapter)]
