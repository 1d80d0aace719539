"""A clock that no one can set back."""

from __future__ import annotations

from mediaserver.steadyclock import SteadyClock, uptime_s


class Machine:
    """Its wall clock can be set; its uptime cannot."""

    wall_s, up_s = 1_800_000_000.0, 500.0

    def wait(self, seconds: float) -> None:
        self.wall_s += seconds
        self.up_s += seconds

    def clock(self, seen_s: float = 0.0) -> SteadyClock:
        return SteadyClock(seen_s, lambda: self.wall_s, lambda: self.up_s)


def test_it_tells_the_time_of_the_machine():
    machine = Machine()
    clock = machine.clock()
    machine.wait(90)
    assert clock() == 1_800_000_090


def test_setting_the_machines_clock_changes_nothing():
    machine = Machine()
    clock = machine.clock()
    for jump_s in (-86_400, 365 * 86_400):
        machine.wall_s += jump_s
        machine.wait(10)
    assert clock() == 1_800_000_020


def test_after_a_restart_it_is_never_earlier_than_it_was():
    machine = Machine()
    machine.wall_s -= 86_400
    assert machine.clock(seen_s=1_800_000_000)() == 1_800_000_000
    assert machine.clock(seen_s=1_700_000_000)() == machine.wall_s


def test_the_uptime_goes_on():
    assert 0 < uptime_s() <= uptime_s()
