"""The timer wheel: everybody is looked at in time, nobody early, and who fails or goes does not matter to others."""

import math

import pytest

from oyez.server.heartbeat import TimerWheel
from tests.server.clock import Clock


class Member:
    """Notes when it was looked at, and then comes again after each of `intervals`."""

    def __init__(self, *intervals: float, fails: bool = False) -> None:
        self.appointment = 0
        self.looks: list[float] = []
        self._intervals = list(intervals)
        self._fails = fails

    def check(self, now: float) -> float | None:
        self.looks.append(now)
        if self._fails:
            raise RuntimeError("as asked")
        return now + self._intervals.pop(0) if self._intervals else None


class Wheel(TimerWheel):
    """A wheel whose time is told."""

    def __init__(self, resolution: float = 0.5) -> None:
        self.clock = Clock()
        super().__init__(resolution, self.clock)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.turn()

    def in_(self, member: Member, seconds: float) -> None:
        self.schedule(member, self.clock.now + seconds)


@pytest.mark.parametrize("resolution", [0.01, 0.5, 0.3, 2.0])
@pytest.mark.parametrize("due", [0.0, 0.1, 0.5, 7.3, 100.0])
def test_a_member_is_looked_at_within_the_resolution_and_never_early(resolution: float, due: float) -> None:
    wheel, member = Wheel(resolution), Member()
    wheel.in_(member, due)
    for _ in range(math.ceil((due + 3 * resolution) / resolution)):
        wheel.pass_time(resolution)
    (look,) = member.looks
    assert due <= look - 1_000.0 <= due + 2 * resolution
    assert member.appointment == 0
    assert wheel._slots == {}


def test_a_member_says_when_it_comes_again() -> None:
    wheel, member = Wheel(), Member(2.0, 1.0)
    wheel.in_(member, 1.0)
    for _ in range(20):
        wheel.pass_time(0.5)
    assert member.looks == [1_001.5, 1_004.0, 1_005.5]


def test_the_earlier_appointment_counts() -> None:
    wheel, member = Wheel(), Member()
    wheel.in_(member, 10.0)
    wheel.in_(member, 2.0)
    wheel.in_(member, 20.0)
    wheel.pass_time(2.5)
    assert len(member.looks) == 1
    wheel.pass_time(100.0)
    assert len(member.looks) == 1


def test_who_is_cancelled_is_forgotten() -> None:
    wheel, member, other = Wheel(), Member(), Member()
    wheel.in_(member, 1.0)
    wheel.in_(other, 1.0)
    wheel.cancel(member)
    wheel.cancel(member)
    wheel.pass_time(5.0)
    assert (member.looks, other.looks) == ([], [1_005.0])


def test_a_pause_of_the_process_loses_nobody() -> None:
    wheel = Wheel()
    members = [Member() for _ in range(100)]
    for number, member in enumerate(members):
        wheel.in_(member, number)
    wheel.pass_time(1_000.0)
    assert all(member.looks == [2_000.0] for member in members)


def test_one_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    wheel = Wheel()
    members = [Member(), Member(fails=True), Member()]
    for member in members:
        wheel.in_(member, 1.0)
    wheel.pass_time(2.0)
    assert [len(member.looks) for member in members] == [1, 1, 1]
    assert "a deadline was not kept" in caplog.text


def test_who_is_cancelled_while_others_are_looked_at_is_not_looked_at_again() -> None:
    wheel, later = Wheel(), Member()

    class Canceller(Member):
        def check(self, now: float) -> float | None:
            wheel.cancel(later)
            return super().check(now)

    wheel.in_(Canceller(), 1.0)
    wheel.in_(later, 2.0)
    wheel.pass_time(10.0)
    assert (later.looks, later.appointment) == ([], 0)
