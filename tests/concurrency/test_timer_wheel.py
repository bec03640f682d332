"""The timer wheel: each member is checked in time and never early, and a member that fails does not stop others."""

import math

import pytest

from oyez.concurrency.timer_wheel import TimerWheel
from tests.support.clock import Clock


class Member:
    """Records when it was checked, and asks for further checks after each of `intervals`."""

    def __init__(self, *intervals: float, fails: bool = False) -> None:
        self.scheduled_slot = 0
        self.checks: list[float] = []
        self._intervals = list(intervals)
        self._fails = fails

    def check(self, now: float) -> float | None:
        self.checks.append(now)
        if self._fails:
            raise RuntimeError("as asked")
        return now + self._intervals.pop(0) if self._intervals else None


class Wheel(TimerWheel):
    """A wheel whose clock the test moves."""

    def __init__(self, resolution: float = 0.5) -> None:
        self.clock = Clock()
        super().__init__(resolution, self.clock)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.advance()

    def in_(self, member: Member, seconds: float) -> None:
        self.schedule(member, self.clock.now + seconds)


@pytest.mark.parametrize("resolution", [0.01, 0.5, 0.3, 2.0])
@pytest.mark.parametrize("due", [0.0, 0.1, 0.5, 7.3, 100.0])
def test_a_member_is_checked_within_the_resolution_and_never_early(resolution: float, due: float) -> None:
    wheel, member = Wheel(resolution), Member()
    wheel.in_(member, due)
    for _ in range(math.ceil((due + 3 * resolution) / resolution)):
        wheel.pass_time(resolution)
    (check,) = member.checks
    assert due <= check - 1_000.0 <= due + 2 * resolution
    assert member.scheduled_slot == 0
    assert wheel._slots == {}


def test_a_member_returns_the_time_of_its_next_check() -> None:
    wheel, member = Wheel(), Member(2.0, 1.0)
    wheel.in_(member, 1.0)
    for _ in range(20):
        wheel.pass_time(0.5)
    assert member.checks == [1_001.5, 1_004.0, 1_005.5]


def test_the_earlier_check_counts() -> None:
    wheel, member = Wheel(), Member()
    wheel.in_(member, 10.0)
    wheel.in_(member, 2.0)
    wheel.in_(member, 20.0)
    wheel.pass_time(2.5)
    assert len(member.checks) == 1
    wheel.pass_time(100.0)
    assert len(member.checks) == 1


def test_a_cancelled_member_is_not_checked() -> None:
    wheel, member, other = Wheel(), Member(), Member()
    wheel.in_(member, 1.0)
    wheel.in_(other, 1.0)
    wheel.cancel(member)
    wheel.cancel(member)
    wheel.pass_time(5.0)
    assert (member.checks, other.checks) == ([], [1_005.0])


def test_a_pause_of_the_process_skips_no_member() -> None:
    wheel = Wheel()
    members = [Member() for _ in range(100)]
    for number, member in enumerate(members):
        wheel.in_(member, number)
    wheel.pass_time(1_000.0)
    assert all(member.checks == [2_000.0] for member in members)


def test_one_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    wheel = Wheel()
    members = [Member(), Member(fails=True), Member()]
    for member in members:
        wheel.in_(member, 1.0)
    wheel.pass_time(2.0)
    assert [len(member.checks) for member in members] == [1, 1, 1]
    assert "a deadline was not handled" in caplog.text


def test_a_member_that_another_cancels_during_its_check_is_not_checked() -> None:
    wheel, later = Wheel(), Member()

    class Canceller(Member):
        def check(self, now: float) -> float | None:
            wheel.cancel(later)
            return super().check(now)

    wheel.in_(Canceller(), 1.0)
    wheel.in_(later, 2.0)
    wheel.pass_time(10.0)
    assert (later.checks, later.scheduled_slot) == ([], 0)
