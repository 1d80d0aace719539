"""The share of one address: at once, per minute, and whose it is."""

from __future__ import annotations

import pytest

from mediaserver.allowance import Allowance
from mediaserver.errors import TooOften
from tests.mediaserver.conftest import Publish, Serve


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def spent(allowance: Allowance, address: str) -> int:
    """Take all that there is and return how much it was."""
    taken = 0
    while taken < 1000:
        try:
            allowance.take(address)
        except TooOften:
            break
        taken += 1
    return taken


def test_an_address_gets_its_share_at_once_and_again_every_minute():
    clock = Clock()
    allowance = Allowance(12, clock)
    assert spent(allowance, "10.0.0.1") == 12
    clock.now_s += 14
    assert spent(allowance, "10.0.0.1") == 2
    clock.now_s += 3600
    assert spent(allowance, "10.0.0.1") == 12


def test_whoever_comes_back_when_told_to_is_served():
    clock = Clock()
    allowance = Allowance(7, clock)
    spent(allowance, "10.0.0.1")
    with pytest.raises(TooOften) as refused:
        allowance.take("10.0.0.1")
    clock.now_s += refused.value.retry_s - 1
    with pytest.raises(TooOften):
        allowance.take("10.0.0.1")
    clock.now_s += 1
    allowance.take("10.0.0.1")


def test_addresses_do_not_take_from_each_other_and_a_home_is_one_visitor():
    allowance = Allowance(3, Clock())
    for address in ("10.0.0.1", "10.0.0.2", "2001:db8:1:2::1", "2001:db8:1:3::1", "unknown"):
        assert spent(allowance, address) == 3
    assert spent(allowance, "2001:db8:1:2:ffff::9") == 0


def test_no_limit_is_none():
    assert spent(Allowance(0, Clock()), "10.0.0.1") == 1000


def test_many_addresses_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("mediaserver.allowance.MOST_ADDRESSES", 10)
    allowance = Allowance(1, Clock())
    for number in range(50):
        allowance.take(f"10.0.0.{number}")
    assert spent(allowance, "10.0.0.49") == 0
    assert len(allowance._buckets) <= 11


async def test_an_address_that_asks_too_often_is_told_when_to_come_back(publish: Publish, serve: Serve):
    publish()
    served = await serve(visits_per_minute=3)
    session = await served.begin()
    await served.begin()
    assert (await served.put_photo(session))[0] == 202
    async with served.client.put(f"{served.url}{session}photo", data=b"again") as answer:
        assert (answer.status, (await answer.json())["code"]) == (429, "too_often")
        assert 1 <= int(answer.headers["Retry-After"]) <= 20
    async with served.client.post(f"{served.url}sessions", json={}) as answer:
        assert answer.status == 429
    assert (await served.get(f"{session}part2/stream.mpd"))[0] == 200
    await served.until(session, "ready")


@pytest.mark.parametrize(("trusted", "statuses"), [(("127.0.0.1", "::1"), [403, 403]), ((), [403, 429])])
async def test_behind_a_trusted_proxy_the_viewer_is_counted_and_not_the_proxy(serve: Serve, trusted, statuses):
    served = await serve(visits_per_minute=1, trusted_proxies=trusted)
    found = []
    for client in ("203.0.113.5", "203.0.113.6"):
        headers = {"X-Forwarded-For": f"198.51.100.9, {client}"}
        async with served.client.post(f"{served.url}sessions", json={}, headers=headers) as answer:
            found.append(answer.status)
    assert found == statuses
