"""One at a time, the smallest ticket first."""

from __future__ import annotations

import threading

import pytest

from mediaserver.turn import Turn


def test_the_line_goes_by_ticket_not_by_luck():
    turn, order, lined_up = Turn(), [], threading.Semaphore(0)

    def work(ticket: str) -> None:
        with turn.taken(ticket, lined_up.release):
            order.append(ticket)

    with turn.taken("0", lambda: None):
        threads = [threading.Thread(target=work, args=(ticket,)) for ticket in "312"]
        for thread in threads:
            thread.start()
            lined_up.acquire()
    for thread in threads:
        thread.join()
    assert order == ["1", "2", "3"]


def test_who_gives_up_leaves_the_line_to_the_others():
    turn = Turn()

    class GaveUpError(Exception):
        pass

    def give_up() -> None:
        raise GaveUpError

    with turn.taken("1", lambda: None), pytest.raises(GaveUpError), turn.taken("0", give_up):
        pytest.fail("it was held twice")
    with turn.taken("2", give_up):
        pass


def test_a_failure_gives_the_turn_back():
    turn = Turn()
    with pytest.raises(ZeroDivisionError), turn.taken("1", lambda: None):
        _ = 1 / 0
    with turn.taken("2", lambda: pytest.fail("it is still held")):
        pass
