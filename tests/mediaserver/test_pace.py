"""What takes have cost, and what they are going to."""

from __future__ import annotations

from pathlib import Path

import pytest

from mediaserver.inserts import Insert
from mediaserver.pace import GUESS_S, Pace
from mediaserver.pulse import Pulse

RUNGS = ("1080p", "720p", "432p")
ONE, TWO = ("720p",), ("1080p", "432p")


def insert(slot: str = "you", compose: str = "still") -> Insert:
    return Insert("session", "part2", "v1", slot, compose, RUNGS, range(10, 18), Pulse())


def test_a_take_costs_its_first_segment_and_each_one_more():
    pace = Pace()
    pace.learn(insert(), ONE, [0.5, 0.6, 0.7, 0.8])
    cost = pace.cost(insert(), ONE)
    assert [cost.of(segments) for segments in (0, 1, 2, 8)] == pytest.approx([0, 0.5, 0.6, 1.2])


def test_a_take_that_was_cut_short_tells_what_its_segments_cost_and_one_without_a_segment_nothing():
    pace = Pace()
    pace.learn(insert(), ONE, [])
    assert pace.cost(insert(), ONE).of(4) == pytest.approx(4 * GUESS_S["still"])
    pace.learn(insert(), ONE, [0.5, 0.7])
    pace.learn(insert(), ONE, [0.5])
    assert pace.cost(insert(), ONE).of(3) == pytest.approx(0.9)


def test_the_slots_own_past_goes_before_its_kinds_and_recent_takes_before_older_ones():
    pace = Pace()
    pace.learn(insert("long"), TWO, [2.0, 4.0])
    assert pace.cost(insert("unknown"), TWO).of(2) == pytest.approx(4)
    pace.learn(insert("short"), TWO, [1.0, 2.0])
    assert pace.cost(insert("long"), TWO).of(2) == pytest.approx(4)
    assert 2 < pace.cost(insert("unknown"), TWO).of(2) < 4
    assert pace.cost(insert("unknown", "moving"), TWO).of(1) == pytest.approx(2 * GUESS_S["moving"])


@pytest.mark.parametrize("left", [b"", b"{", b'{"still 720p": 0.2}', b'{"still 720p": ["a", "b"]}', b"[1]"])
def test_costs_are_kept_over_a_restart_and_a_file_that_is_none_is_not_believed(tmp_path: Path, left: bytes):
    file = tmp_path / "pace.json"
    file.write_bytes(left)
    pace = Pace(file)
    pace.learn(insert(), ONE, [0.5, 0.6])
    pace.save()
    assert Pace(file).cost(insert(), ONE) == pace.cost(insert(), ONE)
