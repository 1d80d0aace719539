"""The stages of a chapter: each may run twice, none leaves anything half done behind."""

from __future__ import annotations

import os
import shutil
import threading
import wave
from fractions import Fraction
from pathlib import Path

import pytest

from encoder import publish, stages
from encoder.encoding import Progress
from encoder.errors import (
    BadSidecar,
    MasterMissing,
    MasterTruncated,
    SameChapterTwice,
    ToolCancelled,
    VerificationFailed,
)
from encoder.guard import Care
from encoder.model import Presentation
from encoder.tools import Tools
from tests.encoder.conftest import Published
from tests.masters import make_master, structure, with_slot


def test_a_chapter_is_what_the_sidecar_says(published: Published):
    p = published.presentation
    assert (p.chapter, p.title, p.version) == ("part2", "Part two", published.plan.version)
    assert [r.file for r in p.renditions] == [
        *("video_180p_h264.mp4", "video_180p_av1.mp4", "trick_180p_h264.mp4", "audio_en.mp4"),
    ]
    assert [slot.id for slot in p.slots] == ["you"]
    assert publish.current_version(published.folder.parent) == p.version
    assert stages.is_published(published.plan, published.media)


def test_a_version_holds_what_is_served_and_what_inserts_are_made_from_and_nothing_else(published: Published):
    assert sorted(file.name for file in published.folder.iterdir()) == [
        "audio_en.mp4",
        "made_from.json",
        "poster.jpg",
        "presentation.json",
        "slot_you.mezzanine.mp4",
        "slot_you.narration.wav",
        "storyboard.vtt",
        "storyboard_1.jpg",
        "trick_180p_h264.mp4",
        "video_180p_av1.mp4",
        "video_180p_h264.mp4",
    ]


def test_the_narration_is_the_chapters_own_sound_in_the_window(published: Published):
    with wave.open(str(published.folder / "slot_you.narration.wav")) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16000, 1, 2)
        assert abs(sound.getnframes() - 16000 * Fraction(9, 10)) <= 16
        assert any(sound.readframes(16000))


def test_the_same_content_makes_the_same_version_and_a_changed_file_beside_it_another_one(tools: Tools, tmp_path: Path):
    master = make_master(tmp_path / "part2.mov", frames=75, tools=tools)
    plain = stages.plan(master, tools).version
    os.utime(master)
    assert stages.plan(master, tools).version == plain
    with_slot(master)
    with_sidecar = stages.plan(master, tools).version
    (tmp_path / "part2.slot.you.wav").write_bytes(b"speech")
    versions = {plain, with_sidecar, stages.plan(master, tools).version}
    assert len(versions) == 3


def test_reading_a_large_master_can_be_cancelled(tools: Tools, tmp_path: Path):
    with pytest.raises(ToolCancelled):
        stages.plan(make_master(tmp_path / "part2.mov", frames=5, tools=tools), tools, Care(cancelled=lambda: True))


def test_every_stage_may_run_twice(tools: Tools, tmp_path: Path):
    master = make_master(tmp_path / "raw" / "part2.mov", frames=60, tools=tools)
    with_slot(master, start=0.5, duration=1)
    once, twice = tmp_path / "once", tmp_path / "twice"
    plan = stages.plan(master, tools)
    for media, times in ((once, 1), (twice, 2)):
        for stage in (stages.encode, stages.assemble, stages.verify):
            for _ in range(times):
                stage(plan, media, tools)  # type: ignore[operator]
        for _ in range(times):
            stages.publish_version(plan, media)
    made = [media / "part2" / plan.version for media in (once, twice)]
    assert structure(Presentation.load(made[0])) == structure(Presentation.load(made[1]))
    assert sorted(f.name for f in made[0].iterdir()) == sorted(f.name for f in made[1].iterdir())


def test_assembling_goes_on_where_it_was_killed(tools: Tools, tmp_path: Path):
    master = make_master(tmp_path / "raw" / "part2.mov", frames=60, tools=tools)
    with_slot(master, start=0.5, duration=1)
    plan, media = stages.plan(master, tools), tmp_path / "media"
    stages.encode(plan, media, tools)
    folder = plan.folder(media)
    (folder / stages.WORK / "slot_you.mezzanine.mp4").rename(folder / "slot_you.mezzanine.mp4")
    (folder / "video_180p_h264.mp4").write_bytes(b"half a file")
    stages.assemble(plan, media, tools)
    stages.verify(plan, media, tools)


def test_progress_ends_at_the_last_frame(tools: Tools, tmp_path: Path):
    plan = stages.plan(make_master(tmp_path / "part2.mov", frames=60, tools=tools), tools)
    seen: list[Progress] = []
    stages.encode(plan, tmp_path / "media", tools, seen.append)
    assert seen[-1].percent == 100
    assert [p.frames for p in seen] == sorted(p.frames for p in seen)


def test_the_time_left_is_told_when_the_speed_is_known():
    assert Progress(50, 150, 25.0).eta_s == 4
    assert Progress(0, 150, 0.0).eta_s is None


def test_a_cancelled_encode_publishes_nothing(tools: Tools, tmp_path: Path):
    plan = stages.plan(make_master(tmp_path / "part2.mov", frames=250, size="1280x720", tools=tools), tools)
    begun = threading.Event()
    with pytest.raises(ToolCancelled):
        stages.encode(plan, tmp_path / "media", tools, lambda _: begun.set(), Care(cancelled=begun.is_set))
    assert not stages.is_finished(plan, tmp_path / "media")


def test_a_master_with_fewer_pictures_than_it_claims_is_not_published(tools: Tools, tmp_path: Path):
    master = make_master(tmp_path / "part2.mov", frames=60, tools=tools)
    plan = stages.plan(master, tools)
    make_master(master, frames=40, tools=tools)
    with pytest.raises(MasterTruncated, match="of 60 pictures"):
        stages.encode(plan, tmp_path / "media", tools)


def test_a_version_that_lacks_what_inserts_are_made_from_is_not_published(published: Published, tools: Tools):
    part = published.plan.folder(published.media)
    shutil.copytree(published.folder, part)
    (part / "slot_you.narration.wav").unlink()
    try:
        with pytest.raises(VerificationFailed, match="narration"):
            stages.verify(published.plan, published.media, tools)
    finally:
        shutil.rmtree(part)


def test_a_chapter_that_differs_in_case_alone_is_not_published_beside_the_other(published: Published, tmp_path: Path):
    media = tmp_path / "media"
    (media / "PART2").mkdir(parents=True)
    with pytest.raises(SameChapterTwice):
        stages.publish_version(published.plan, media)


def test_the_second_master_of_a_chapter_is_refused_at_once(tools: Tools, tmp_path: Path):
    make_master(tmp_path / "part2.mov", frames=5, tools=tools)
    os.utime(tmp_path / "part2.mov", (1, 1))
    shutil.copyfile(tmp_path / "part2.mov", tmp_path / "part2.mp4")
    with pytest.raises(SameChapterTwice) as caught:
        stages.plan(tmp_path / "part2.mp4", tools)
    assert "first one stays published" in caught.value.hint


def test_a_slot_beyond_the_end_is_refused_at_once(tools: Tools, tmp_path: Path):
    master = make_master(tmp_path / "part2.mov", frames=50, tools=tools)
    with_slot(master, start=1, duration=2)
    with pytest.raises(BadSidecar, match="does not lie inside the chapter of 2 s"):
        stages.plan(master, tools)


def test_a_missing_master_is_missing(tools: Tools, tmp_path: Path):
    with pytest.raises(MasterMissing):
        stages.plan(tmp_path / "no.mov", tools)


def test_publication_clears_away_what_nobody_plays_any_more(published: Published, tmp_path: Path):
    media = tmp_path / "media"
    chapter = media / "part2"
    shutil.copytree(published.folder.parent, chapter)
    for version in ("older", "played"):
        (chapter / version).mkdir()
    os.utime(chapter / "current", (0, 0))
    (chapter / published.plan.version).rename(published.plan.folder(media))
    stages.publish_version(published.plan, media, pinned={"played"})
    folders = sorted(folder.name for folder in chapter.iterdir() if folder.is_dir())
    assert folders == sorted(["played", published.plan.version])


def test_captions_beside_the_master_are_published_as_webvtt(tools: Tools, tmp_path: Path):
    master = make_master(tmp_path / "part2.mov", frames=10, channels=0, tools=tools)
    plain = stages.plan(master, tools).version
    (tmp_path / "part2.ara.srt").write_text("1\n00:00:00,000 --> 00:00:00,300\nأنا أنت\n", "utf-8")
    plan, media = stages.plan(master, tools), tmp_path / "media"
    assert plan.version != plain
    stages.encode(plan, media, tools)
    made = stages.assemble(plan, media, tools)
    assert [caption.language for caption in made.captions] == ["ar"]
    text = (plan.folder(media) / "captions_ar.vtt").read_text("utf-8")
    assert text == "WEBVTT\n\n00:00:00.000 --> 00:00:00.300\nأنا أنت\n"
    assert Presentation.load(plan.folder(media)).captions == made.captions
