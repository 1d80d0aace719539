"""One constant rate and a whole number of frames, whatever the file says of its clock."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from encoder.timing import timing_of

NTSC = Fraction(30000, 1001)


def timing(average: str, smallest: str | None = None, *, container: dict[str, Any] | None = None, **video: Any):
    return timing_of({"avg_frame_rate": average, "r_frame_rate": smallest or average, **video}, container or {})


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("24000/1001", Fraction(24000, 1001)),
        ("2997/100", NTSC),
        ("23976/1000", Fraction(24000, 1001)),
        ("25/1", Fraction(25)),
        ("24/1", Fraction(24)),
        ("15/1", Fraction(15)),
        ("60/1", Fraction(60)),
        ("60000/1001", Fraction(60000, 1001)),
    ],
)
def test_a_steady_rate_stays_itself_and_gets_its_exact_name(told: str, meant: Fraction):
    found = timing(told, duration="10.01")
    assert (found.rate, found.notes) == (meant, ())


def test_interlaced_pictures_are_counted_and_not_their_fields():
    assert timing("25/1", "50/1", nb_frames="250").rate == 25


@pytest.mark.parametrize(
    ("average", "rate"), [("1250/87", Fraction(24000, 1001)), ("26/1", NTSC), ("57/1", Fraction(60000, 1001))]
)
def test_a_rate_that_varies_becomes_the_next_usual_one_and_that_is_said(average: str, rate: Fraction):
    found = timing(average, "90/1", nb_frames="100", duration="6.96")
    assert (found.rate, found.frames) == (rate, round(rate * Fraction("6.96")))
    assert "varies" in found.notes[0]


@pytest.mark.parametrize(("told", "kept"), [(300, 60), (240, 60), (120, 60), (144, 48), (100, 50)])
def test_more_than_sixty_frames_a_second_become_an_equal_share_of_them(told: int, kept: int):
    found = timing(f"{told}/1", nb_frames=str(2 * told), duration="2.0")
    assert (found.rate, found.frames) == (kept, 2 * kept)
    assert f"{kept} are kept" in found.notes[0]


def test_an_edit_list_that_hides_pictures_is_believed():
    assert timing("25/1", nb_frames="100", duration="2.7").frames == 68


def test_the_count_of_the_container_is_believed_where_it_fits():
    assert timing("30000/1001", nb_frames="75", duration="2.502500").frames == 75


def test_matroska_that_begins_before_zero_is_longer_than_it_says():
    found = timing("25/1", start_time="0.0", tags={"DURATION": "00:00:03.000000000"}, container={"start_time": "-1.0"})
    assert found.frames == 100


def test_pictures_that_begin_after_the_sound_are_waited_for():
    assert timing("25/1", start_time="0.5", duration="2.0", container={"start_time": "0"}).frames == 62


def test_what_is_not_told_is_not_invented():
    assert timing("0/0").rate is None
    assert timing("25/1").frames is None
