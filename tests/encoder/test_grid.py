"""The constant grid: whole frames, no drift, windows to whole segments."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from encoder.errors import SlotOutsideChapter
from encoder.model import Grid

RATES = st.sampled_from([Fraction(24000, 1001), Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(60)])


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    return Grid.near(draw(RATES), draw(st.integers(1, 5000)), draw(st.fractions(Fraction(1, 50), 10)))


@st.composite
def windows(draw: st.DrawFn) -> tuple[Grid, Fraction, Fraction]:
    grid = draw(grids())
    shares = st.integers(0, 5000)
    first, second = draw(shares), draw(shares)
    assume(first != second)
    start_s, end_s = (grid.duration_s * share / 5000 for share in sorted((first, second)))
    return grid, start_s, end_s - start_s


def test_a_slot_that_starts_inside_a_segment_takes_the_whole_segment():
    grid = Grid(Fraction(25), frames_per_segment=50, frames=750)
    assert grid.touched_by(Fraction(31, 10), Fraction(4)) == range(1, 4)


def test_a_slot_on_two_borders_touches_nothing_beside_it():
    grid = Grid(Fraction(25), frames_per_segment=50, frames=750)
    assert grid.touched_by(Fraction(4), Fraction(2)) == range(2, 3)


def test_ntsc_grid_has_whole_frames_and_no_drift():
    grid = Grid.near(Fraction(30000, 1001), frames=1800)
    assert grid.frames_per_segment == 60
    assert sum(len(grid.frames_of(n)) for n in range(grid.segments)) == 1800


def test_the_last_segment_is_the_short_one():
    grid = Grid(Fraction(25), frames_per_segment=50, frames=120)
    assert [len(grid.frames_of(n)) for n in range(grid.segments)] == [50, 50, 20]


@pytest.mark.parametrize(("start_s", "duration_s"), [(-1, 2), (29, 2), (5, 0), (5, -1), (30, 1)])
def test_a_window_that_leaves_the_chapter_is_refused(start_s: int, duration_s: int):
    grid = Grid(Fraction(25), frames_per_segment=50, frames=750)
    with pytest.raises(SlotOutsideChapter, match="chapter of 30 s"):
        grid.touched_by(Fraction(start_s), Fraction(duration_s))


@given(grids())
def test_segments_are_a_partition_of_the_frames(grid: Grid):
    frames = [frame for n in range(grid.segments) for frame in grid.frames_of(n)]
    assert frames == list(range(grid.frames))
    assert all(len(grid.frames_of(n)) == grid.frames_per_segment for n in range(grid.segments - 1))


@given(windows())
def test_touched_segments_cover_the_window_and_no_more(window: tuple[Grid, Fraction, Fraction]):
    grid, start_s, duration_s = window
    touched, frames = grid.touched_by(start_s, duration_s), grid.frames_within(start_s, duration_s)
    assert grid.frames_of(touched[0]).start <= frames.start < grid.frames_of(touched[0]).stop
    assert grid.frames_of(touched[-1]).start <= frames.stop - 1 < grid.frames_of(touched[-1]).stop
    assert touched[-1] < grid.segments


@given(windows())
def test_the_frames_within_a_window_are_exactly_those_shown_in_it(window: tuple[Grid, Fraction, Fraction]):
    grid, start_s, duration_s = window
    frames = grid.frames_within(start_s, duration_s)
    shown = range(max(0, frames.start - 2), min(grid.frames, frames.stop + 2))
    inside = [n for n in shown if n / grid.rate < start_s + duration_s and (n + 1) / grid.rate > start_s]
    assert inside == list(frames)
