"""Who of the queue goes before whom, as seconds."""

from __future__ import annotations

import pytest

from mediaserver.forecast import Newcomers, Place, until_all_s, until_first_s

FRESH = Place(due_s=20, first_s=1, rest_s=2)
EARLIER, LATER = Place(10, 1, 2), Place(30, 1, 2)
EARLIER_WATCHABLE, LATER_WATCHABLE = Place(10, 0, 2), Place(30, 0, 2)
ALONE_AT_WORK = Place(20, 0.4, 2, begun=True)
EARLIER_AT_WORK, LATER_AT_WORK = Place(10, 0.4, 2, begun=True), Place(21, 0.4, 2, begun=True)


@pytest.mark.parametrize(
    ("own", "others", "first", "all_of_it"),
    [
        (FRESH, [], 1, 3),
        (ALONE_AT_WORK, [], 0.4, 2.4),
        (FRESH, [EARLIER], 2, 6),
        (FRESH, [EARLIER, EARLIER], 3, 9),
        # a first rung goes before everybody's other rungs, a viewer's other rungs before those of later ones
        (FRESH, [LATER], 1, 4),
        (FRESH, [EARLIER_WATCHABLE], 1, 5),
        (FRESH, [LATER_WATCHABLE], 1, 3),
        (FRESH, [EARLIER, LATER, EARLIER_WATCHABLE, LATER_WATCHABLE], 2, 9),
        # what is begun is made to its end, though it is due a little later
        (FRESH, [EARLIER_AT_WORK], 1.4, 5.4),
        (FRESH, [LATER_AT_WORK], 1.4, 3.4),
        (EARLIER_WATCHABLE, [LATER], 0, 3),
        (EARLIER_WATCHABLE, [Place(11, 0, 0.5, begun=True)], 0, 2.5),
        # no rung but one
        (Place(20, 1, 0), [EARLIER, LATER, LATER_WATCHABLE], 2, 2),
        (Place(20, 0, 0), [EARLIER], 0, 0),
    ],
)
def test_a_scene_waits_for_those_that_go_before_it(own: Place, others: list[Place], first: float, all_of_it: float):
    queue = [own, *others]
    assert until_first_s(own, queue) == pytest.approx(first)
    assert until_all_s(own, queue) == pytest.approx(all_of_it)


@pytest.mark.parametrize(("share", "all_of_it"), [(0.25, 8), (0.5, 12)])
def test_newcomers_first_rungs_delay_all_that_is_here_but_no_first_rung(share: float, all_of_it: float):
    many = Newcomers(share, first_s=1, free=1000)
    assert until_all_s(FRESH, [FRESH, EARLIER], many) == pytest.approx(all_of_it)
    one_rung = Place(20, 1, 0)
    queue = [one_rung, EARLIER]
    assert until_all_s(one_rung, queue, many) == until_first_s(one_rung, queue) == 2


@pytest.mark.parametrize(("free", "all_of_it"), [(0, 7), (2, 9), (50, 12)])
def test_no_more_newcomers_come_than_have_room_or_find_it_when_others_leave(free: int, all_of_it: float):
    rush = Newcomers(0.5, first_s=1, free=free)
    assert until_all_s(FRESH, [FRESH, EARLIER, LATER_WATCHABLE], rush) == pytest.approx(all_of_it)
