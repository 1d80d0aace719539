"""Rungs by quality: what is measured on samples decides, and what brings nothing is left out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from encoder.ladder import ladder_for
from encoder.model import Choices, Grid
from encoder.probe import probe
from encoder.quality import COARSEST, FINEST, MOST, SHORTEST_S, Trial, chosen, decide, samples_of, xpsnr_score_of
from encoder.tools import Tools
from tests.masters import make_master


def trials(name: str, fine: float, coarse: float, size: int = 1000) -> list[Trial]:
    return [Trial(name, 20, fine, size), Trial(name, 27, coarse, size // 2)]


def test_a_rung_is_as_coarse_as_its_quality_allows():
    assert decide(["1080p"], trials("1080p", 98, 91)) == {"1080p": 24}
    assert decide(["1080p"], trials("1080p", 96, 89)) == {"1080p": 22}


def test_no_crf_leaves_the_measured_region_far_behind():
    assert decide(["1080p"], trials("1080p", 99.9, 99.8)) == {"1080p": COARSEST}
    assert FINEST <= decide(["1080p"], trials("1080p", 60, 10))["1080p"] <= 20


def test_the_top_rung_of_a_hard_film_gets_more_bytes_instead_of_a_lower_target():
    assert decide(["1080p"], trials("1080p", 93, 86)) == {"1080p": 19}


def test_a_small_rung_is_compared_with_its_own_best():
    found = decide(["1080p", "432p"], [*trials("1080p", 98, 91), *trials("432p", 80, 73, 200)])
    assert found == {"1080p": 24, "432p": 21}


def test_a_rung_that_looks_no_better_than_the_next_one_is_left_out():
    assert list(decide(["1080p", "720p"], [*trials("1080p", 95, 88), *trials("720p", 95, 88, 500)])) == ["720p"]


def test_a_rung_that_saves_nothing_is_made_coarser_until_it_does():
    found = decide(["1080p", "720p"], [*trials("1080p", 98, 91), *trials("720p", 88, 81, 990)])
    assert found == {"1080p": 24, "720p": 26}


def test_a_rung_that_never_saves_anything_is_left_out():
    assert list(decide(["1080p", "720p"], [*trials("1080p", 98, 91), *trials("720p", 88, 81, 4000)])) == ["1080p"]


@pytest.mark.parametrize(("decibels", "vmaf"), [("36.07", 84.4), ("37.01", 93.2), ("41.9", 98.7), ("inf", 100)])
def test_xpsnr_is_brought_to_the_scale_of_vmaf(decibels: str, vmaf: float):
    """Pairs that were measured on the same pictures."""
    line = f"n:    1  XPSNR y: {decibels}  XPSNR u: 34.2  XPSNR v: 34.1\n"
    average = "\nXPSNR average, 2 frames  y: 1.0  u: 34.6  v: 34.6  (minimum: 1.0)\n"
    assert xpsnr_score_of(line * 2 + average) == pytest.approx(vmaf, abs=5)


def test_samples_are_spread_over_the_film():
    assert samples_of(Grid(Fraction(25), 50, 1000)) == (range(250, 266), range(750, 766))
    assert len(samples_of(Grid(Fraction(25), 50, 25 * 120))) == 4
    assert len(samples_of(Grid(Fraction(25), 50, 25 * 3600))) == MOST


def test_a_film_is_measured_and_each_rung_gets_its_own_crf(tools: Tools, tmp_path: Path):
    """A still picture may be encoded far more coarsely than noise."""
    found = {}
    for name, graph in (("still", "loop=-1:1"), ("noisy", "noise=c0s=60:c0f=t")):
        codec = ("-vf", graph, "-c:v", "libx264", "-preset", "ultrafast", "-qp", "8")
        frames = int(25 * SHORTEST_S) + 25
        path = tmp_path / f"{name}.mov"
        make_master(path, size="256x144", frames=frames, channels=0, codec=codec, tools=tools)
        master = probe(path, tools)
        ladder = chosen(master, ladder_for(master), "libvmaf", tools)
        assert [rung.codec for rung in ladder.rungs] == ["h264", "av1"]
        found[name] = ladder.rungs[0].crf
    assert found["still"] is not None
    assert found["noisy"] is not None
    assert found["still"] > found["noisy"]


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_the_films_own_ladder_has_fixed_rates(tools: Tools, tmp_path: Path, codec: str):
    path = make_master(tmp_path / "a.mov", size="1280x720", frames=2, channels=0, tools=tools)
    rungs = [r for r in ladder_for(probe(path, tools), Choices(ladder="film")).rungs if r.codec == codec]
    assert [rung.crf for rung in rungs] == [None, None]
    assert rungs[0].maxrate_bps == (5_000_000 if codec == "h264" else 3_000_000)
