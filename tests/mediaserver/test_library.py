from __future__ import annotations

from pathlib import Path

import pytest

from mediaserver.errors import ChapterUnknown, NotFound
from mediaserver.library import Library
from tests.mediaserver.conftest import Publish


def test_a_new_version_is_current_at_the_next_request_and_the_old_one_stays(publish: Publish, tmp_path: Path):
    publish(version="v1")
    library = Library(tmp_path / "media")
    assert library.current("part2").presentation.version == "v1"
    publish(version="v2")
    assert library.current("part2").presentation.version == "v2"
    assert library.edition("part2", "v1").presentation.version == "v1"


def test_a_chapter_is_known_from_the_moment_its_pointer_is_there(publish: Publish, tmp_path: Path):
    publish()
    pointer = tmp_path / "media" / "part2" / "current"
    pointer.rename(tmp_path / "kept")
    library = Library(tmp_path / "media")
    with pytest.raises(ChapterUnknown):
        library.current("part2")
    (tmp_path / "kept").rename(pointer)
    assert library.current("part2").presentation.version == "v1"


def test_a_version_that_is_still_being_written_is_none(publish: Publish, tmp_path: Path):
    chapter = publish()
    chapter.folder.rename(chapter.folder.with_name("v1.part"))
    library = Library(tmp_path / "media")
    with pytest.raises(NotFound):
        library.edition("part2", "v1.part")


def test_a_broken_new_version_leaves_the_last_good_one_current(publish: Publish, tmp_path: Path):
    publish(version="v1")
    library = Library(tmp_path / "media")
    library.current("part2")
    broken = publish(version="v2")
    (broken.folder / "presentation.json").write_text("{", "utf-8")
    assert library.current("part2").presentation.version == "v1"


@pytest.mark.parametrize("text", ["../part1/v1", "/etc", "", "v9", "v1/../v1", "\x00", "v1\nv2"])
def test_a_pointer_that_names_no_version_of_its_chapter_leads_nowhere(publish: Publish, tmp_path: Path, text: str):
    publish()
    publish(chapter="part1")
    (tmp_path / "media" / "part2" / "current").write_text(text, "utf-8")
    library = Library(tmp_path / "media")
    with pytest.raises(ChapterUnknown):
        library.current("part2")
    assert [edition.presentation.chapter for edition in library.chapters()] == ["part1"]


def test_a_removed_version_is_gone_at_the_next_request(publish: Publish, tmp_path: Path):
    chapter = publish(version="v1")
    publish(version="v2")
    library = Library(tmp_path / "media")
    kept = library.edition("part2", "v1").files["audio_en.mp4"]
    chapter.folder.rename(tmp_path / "away")
    with pytest.raises(NotFound):
        kept.open()
    library.current("part2")
    with pytest.raises(NotFound):
        library.edition("part2", "v1")


def test_equal_files_of_two_versions_have_equal_tags(publish: Publish, tmp_path: Path):
    first, second = publish(version="v1"), publish(version="v2")
    (second.folder / "audio_en.mp4").unlink()
    (second.folder / "audio_en.mp4").hardlink_to(first.folder / "audio_en.mp4")
    library = Library(tmp_path / "media")
    tags = {library.edition("part2", v).files["audio_en.mp4"].representation.etag for v in ("v1", "v2")}
    assert len(tags) == 1
