from __future__ import annotations

import json

import pytest

from mediaserver.capacity import Capacity, Measured, Pace, thousand_usd

MEASURED = Measured(
    cores=2,
    engine="drawn",
    paces={"still": Pace(2, 0.5, 6, 1.1), "moving": Pace(2, 1.0, 6, 2.5)},
    encode_speed=0.8449,
    delivered_bps=3_204_000_000,
    memory_mb=651.4,
)


def test_a_scene_costs_what_each_costs_and_what_each_second_of_it_costs():
    pace = Pace(2, 0.5, 6, 1.1)
    assert pace.took_s(2) == pytest.approx(0.5)
    assert pace.took_s(6) == pytest.approx(1.1)
    assert pace.took_s(16) == pytest.approx(0.2 + 16 * 0.15)


def test_noise_in_the_short_scene_makes_no_long_one_cheaper_than_the_measured_one():
    assert Pace(2, 1.3, 6, 1.1).took_s(16) == 1.1


def test_viewers_an_hour_are_an_hour_over_the_time_of_a_scene():
    capacity = Capacity.of(MEASURED)
    assert capacity.viewers_an_hour == {"still": int(3600 / 2.6), "moving": int(3600 / 6.25)}


def test_streams_are_what_was_sent_at_five_megabits():
    assert Capacity.of(MEASURED).streams == 640


def test_a_thousand_scenes_cost_their_share_of_a_month_s_price():
    assert thousand_usd(1000) == pytest.approx(30 / 730)
    assert thousand_usd(1, month_usd=730) == 1000
    assert Capacity.of(MEASURED).usd_a_thousand["still"] == pytest.approx(30 / 730 * 2.6 / 3.6, rel=1e-3)


def test_the_statement_in_words_has_every_figure():
    text = "\n".join(Capacity.of(MEASURED).lines())
    for words in (
        "2 cores, engine drawn", "1,384 viewers an hour", "576 viewers an hour", "scenes of 16 s", "$0.030 for 1,000",
        "640 at 5 Mb/s", "0.84 x real time", "651 MB",
    ):  # fmt: skip
        assert words in text


def test_the_statement_for_programs_has_the_same_figures():
    told = json.loads(json.dumps(Capacity.of(MEASURED).to_json()))
    assert told["viewers_an_hour"] == {"still": 1384, "moving": 576}
    assert told["streams"] == 640
    assert told["memory_mb"] == 651
