"""What a chapter needs on the disk, and how a full one is recognised."""

from __future__ import annotations

import errno
from fractions import Fraction
from pathlib import Path

from encoder.disk import estimate_bytes, free_bytes, is_full, used_bytes
from encoder.errors import ToolFailed
from encoder.ladder import ladder_for
from encoder.model import Master, Placement, Slot
from tests.encoder.conftest import Published

SLOT = Slot("you", Fraction(3), Fraction(5, 2), Placement(0.3, 0.1, 0.4, 0.8))


def test_an_hour_needs_sixty_times_a_minute_and_a_slot_needs_more():
    def needs(seconds: int, *slots: Slot) -> int:
        master = Master(Path("/raw/a.mov"), 1920, 1080, Fraction(25), 25 * seconds, (), 1)
        return estimate_bytes(ladder_for(master), slots)

    assert needs(3600) == 60 * needs(60)
    assert needs(60, SLOT) > needs(60)


def test_the_estimate_is_not_less_than_what_a_chapter_takes(published: Published):
    plan = published.plan
    assert estimate_bytes(plan.ladder, tuple(slot for slot, _ in plan.slots)) >= used_bytes(published.folder)


def test_a_folder_that_is_not_there_yet_is_measured_where_it_will_be(tmp_path: Path):
    assert free_bytes(tmp_path / "a" / "b") > 0
    assert used_bytes(tmp_path / "a") == 0


def test_a_full_disk_is_told_from_other_failures():
    assert is_full(OSError(errno.ENOSPC, "No space left on device"))
    assert is_full(ToolFailed(("ffmpeg",), 1, "av_interleaved_write_frame(): No space left on device\nagain"))
    assert not is_full(OSError(errno.EACCES, "Permission denied"))
    assert not is_full(ToolFailed(("ffmpeg",), 1, "Invalid data"))
    assert not is_full(ValueError())
