"""Work ahead: in batches, in the order that was told, and never for one alone while others wait."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lipsync.ahead import Ahead


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def squares(done: list[list[int]]):
    def work(keys: list[int]) -> list[int]:
        done.append(keys)
        return [key * key for key in keys]

    return work


def test_what_is_expected_is_done_in_batches_once_for_each_key(pool):
    done: list[list[int]] = []
    ahead = Ahead(squares(done), pool, 4, 100)
    told = [1, 1, 2, 3, 2, 4, 5, 6, 1, 7]
    ahead.expect(told)
    assert [ahead.of(key) for key in told] == [key * key for key in told]
    assert done == [[1, 2, 3, 4], [5, 6, 7]]


def test_what_is_no_longer_kept_is_done_again_with_those_that_come_next(pool):
    done: list[list[int]] = []
    ahead = Ahead(squares(done), pool, 4, 8)
    told = [*range(12), 0, *range(12, 24)]
    ahead.expect(told)
    assert [ahead.of(key) for key in told] == [key * key for key in told]
    assert [0, 16, 17, 18] in done
    assert sorted(key for batch in done for key in batch) == sorted(told)


def test_what_nobody_expected_is_done_by_itself(pool):
    done: list[list[int]] = []
    ahead = Ahead(squares(done), pool, 4, 4)
    assert ahead.of(9) == 81
    assert done == [[9]]
