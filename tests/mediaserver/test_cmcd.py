from __future__ import annotations

import pytest

from mediaserver.cmcd import TRANSFER_S, deadline_s, patience_s


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("bl=4000", 4.0),
        ("dl=1500,bl=9000", 1.5),
        ('br=3000,bl=2500,cid="a",mtp=900', 2.5),
        ("br=3000, bl=2500 ,ot=v", 2.5),
        ("bl=0,su", 0.0),
        ("br=3000", None),
        ("bl=-5", None),
        ("bl=1.5", None),
        ("bl=", None),
        ("xbl=100", None),
        ("bl=99999999999999999999", None),
        ("", None),
    ],
)
def test_the_deadline_is_read_from_query_and_header(said: str, expected: float | None):
    assert deadline_s({"CMCD": said}, {}) == expected
    assert deadline_s({}, {"cmcd-request": said}) == expected


@pytest.mark.parametrize(
    ("deadline", "expected"),
    [(None, 2.0), (0.0, 0.0), (0.1, 0.0), (3.0, 3.0 - TRANSFER_S), (60.0, 5.0)],
)
def test_patience_ends_before_the_deadline_and_at_the_limit(deadline: float | None, expected: float):
    assert patience_s(deadline, 2.0, 5.0) == pytest.approx(expected)
