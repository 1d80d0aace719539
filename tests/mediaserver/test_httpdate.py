from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaserver.httpdate import format_date, parse_date

NOW_S = 1_800_000_000  # January 2027


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_the_three_forms_of_rfc_9110_name_the_same_second(text: str):
    assert parse_date(text, NOW_S) == 784_111_777


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("Friday, 01-Jan-27 00:00:00 GMT", 2027),
        ("Friday, 01-Jan-76 00:00:00 GMT", 2076),
        ("Friday, 01-Jan-78 00:00:00 GMT", 1978),
    ],
)
def test_a_year_of_two_digits_is_at_most_fifty_years_ahead(text: str, year: int):
    found = parse_date(text, NOW_S)
    assert found is not None
    assert str(year) in format_date(found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "784111777",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Mon, 01 Jan 0000 00:00:00 GMT ",
    ],
)
def test_everything_else_is_no_date(text: str):
    assert parse_date(text, NOW_S) is None


@given(st.integers(0, 4_000_000_000))
def test_what_is_formatted_is_read_back(time_s: int):
    assert parse_date(format_date(time_s), NOW_S) == time_s
