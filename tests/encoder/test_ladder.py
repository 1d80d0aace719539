"""The ladder: never larger than the master, even sizes, levels that players believe."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from encoder.ladder import LEVELS, ladder_for, level_for
from encoder.model import Choices, Ladder, Master, Rung


def ladder(width: int, height: int, rate: Fraction = Fraction(25), frames: int = 250) -> Ladder:
    return ladder_for(Master(Path("a.mov"), width, height, rate, frames, (), 1), Choices(av1=False))


def film(width: int, height: int) -> Ladder:
    master = Master(Path("a.mov"), width, height, Fraction(25), 250, (), 1)
    return ladder_for(master, Choices("film", av1=False))


def test_a_full_hd_master_gives_the_three_rungs():
    rungs = ladder(1920, 1080).rungs
    assert [(r.name, r.width, r.height, r.level) for r in rungs] == [
        ("1080p", 1920, 1080, "4.0"),
        ("720p", 1280, 720, "3.1"),
        ("432p", 768, 432, "3.0"),
    ]
    assert [r.rendition for r in rungs] == ["video_1080p_h264", "video_720p_h264", "video_432p_h264"]


def test_a_master_of_4k_is_not_kept_at_4k():
    assert ladder(3840, 2160).rungs[0].height == 1080


def test_a_master_between_two_rungs_gives_the_lower_ones():
    assert [r.name for r in ladder(1280, 800).rungs] == ["720p", "432p"]


def test_a_small_master_is_its_own_single_rung():
    (only,) = ladder(320, 180).rungs
    assert (only.name, only.width, only.height) == ("180p", 320, 180)


def test_an_odd_size_becomes_even_and_keeps_its_shape():
    (only,) = ladder(321, 181).rungs
    assert (only.width, only.height) == (320, 180)


def test_a_portrait_master_keeps_its_shape():
    top = ladder(1080, 1920).rungs[0]
    assert (top.width, top.height) == (608, 1080)


def test_twice_the_rate_needs_a_higher_level():
    assert level_for(1920, 1080, Fraction(25)) == "4.0"
    assert level_for(1920, 1080, Fraction(60)) == "4.2"
    assert level_for(16000, 9000, Fraction(300)) == LEVELS[-1][0]


@given(
    st.integers(64, 8192), st.integers(64, 8192), st.sampled_from([Fraction(24000, 1001), Fraction(25), Fraction(60)])
)
def test_no_rung_is_larger_than_the_master_and_all_can_be_encoded(width: int, height: int, rate: Fraction):
    made = ladder(width, height, rate)
    for rung in made.rungs:
        assert rung.width <= width + 1
        assert rung.height <= height + 1
        assert rung.width % 2 == rung.height % 2 == 0
        assert (
            abs(rung.width / rung.height - width / height) <= width / height * (1 / rung.width + 1 / rung.height) * 1.03
        )
    heights = [rung.height for rung in made.rungs]
    assert heights == sorted(heights, reverse=True)
    assert len({rung.rendition for rung in made.rungs}) == len(heights)


def test_a_hard_film_stays_below_the_fixed_rates():
    for measured, fixed in zip(ladder(1920, 1080).rungs, film(1920, 1080).rungs, strict=True):
        assert fixed.crf is None
        assert measured.maxrate_bps == fixed.maxrate_bps * 19 // 20
    assert [rung.maxrate_bps for rung in film(1920, 1080).rungs] == [8_000_000, 5_000_000, 2_500_000]


def test_every_rung_is_there_in_av1_too_unless_it_is_not_wanted():
    master = Master(Path("a.mov"), 1280, 720, Fraction(25), 250, (), 1)
    assert [rung.rendition for rung in ladder_for(master).rungs] == [
        *("video_720p_h264", "video_432p_h264", "video_720p_av1", "video_432p_av1"),
    ]
    assert {rung.codec for rung in ladder_for(master, Choices(av1=False)).rungs} == {"h264"}
    assert all(av1.maxrate_bps < h264.maxrate_bps for h264, av1 in pairs(ladder_for(master)))


def pairs(made: Ladder) -> list[tuple[Rung, Rung]]:
    half = len(made.rungs) // 2
    return list(zip(made.rungs[:half], made.rungs[half:], strict=True))
