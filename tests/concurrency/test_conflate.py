"""Conflater: sends at once if nothing was sent recently, at most once an interval, and always the newest value."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oyez.concurrency.conflate import Conflater
from tests.support.tasks import Spawn

INTERVAL = 1.0


class Sleeps:
    """A clock that the test moves: sleepers wake in the order in which they are due."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    async def __call__(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, future))
        await future

    async def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        await settle()
        while due := sorted((when for when, future in self._sleepers if when <= end and not future.done())):
            self.now = due[0]
            for when, future in self._sleepers:
                if when <= self.now and not future.done():
                    future.set_result(None)
            await settle()
        self.now = end


async def settle() -> None:
    """Let tasks run that have something to do."""
    for _ in range(5):
        await asyncio.sleep(0)


class Listener:
    """The values that were sent, and when."""

    def __init__(self) -> None:
        self.sleeps = Sleeps()
        self.heard: list[tuple[float, str, int]] = []
        self.fault: Exception | None = None
        self.not_yet = 0
        self.conflater = Conflater(self.hear, INTERVAL, self.sleeps)

    async def hear(self, key: str, value: int) -> bool:
        if self.fault is not None:
            raise self.fault
        if self.not_yet:
            self.not_yet -= 1
            return False
        self.heard.append((self.sleeps.now, key, value))
        return True

    async def wait(self, seconds: float) -> None:
        await self.sleeps.pass_time(seconds)


async def test_the_first_value_is_sent_at_once_and_of_the_others_the_newest() -> None:
    listener = Listener()
    for value in range(5):
        listener.conflater.submit("a", value)
        await listener.wait(0.1)
    assert listener.heard == [(0.0, "a", 0)]
    await listener.wait(0.6)
    assert listener.heard == [(0.0, "a", 0), (1.0, "a", 4)]


async def test_after_a_pause_a_value_is_sent_at_once_again() -> None:
    listener = Listener()
    listener.conflater.submit("a", 1)
    await listener.wait(1.5)
    listener.conflater.submit("a", 2)
    await listener.wait(0.0)
    assert listener.heard == [(0.0, "a", 1), (1.5, "a", 2)]


async def test_keys_do_not_wait_for_each_other() -> None:
    listener = Listener()
    for key in "abc":
        listener.conflater.submit(key, 1)
    await listener.wait(0.0)
    assert listener.heard == [(0.0, key, 1) for key in "abc"]


async def test_a_rejected_value_waits_unless_a_newer_one_comes() -> None:
    listener = Listener()
    listener.not_yet = 2
    listener.conflater.submit("a", 1)
    await listener.wait(1.5)
    assert listener.heard == []
    await listener.wait(0.5)
    assert listener.heard == [(2.0, "a", 1)]
    listener.not_yet = 1
    for value in (2, 3):
        listener.conflater.submit("a", value)
    await listener.wait(2.5)
    assert listener.heard == [(2.0, "a", 1), (4.0, "a", 3)]


async def test_a_failure_costs_one_value(caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener()
    listener.fault = OSError("on purpose")
    listener.conflater.submit("a", 1)
    await listener.wait(0.5)
    listener.fault = None
    listener.conflater.submit("a", 2)
    await listener.wait(0.5)
    assert listener.heard == [(1.0, "a", 2)]
    assert "on purpose" in caplog.text


async def test_close_sends_what_waits() -> None:
    listener = Listener()
    listener.conflater.submit("a", 1)
    listener.conflater.submit("b", 1)
    await listener.wait(0.5)
    listener.conflater.submit("a", 2)
    await listener.conflater.close()
    assert listener.heard == [(0.0, "a", 1), (0.0, "b", 1), (0.5, "a", 2)]
    await listener.wait(10.0)
    assert len(listener.heard) == 3


async def test_close_waits_for_what_is_being_sent(spawn: Spawn) -> None:
    done: list[int] = []
    begun, free = asyncio.Event(), asyncio.Event()

    async def hear(key: str, value: int) -> bool:
        begun.set()
        await free.wait()
        done.append(value)
        return True

    conflater = Conflater(hear, INTERVAL)
    conflater.submit("a", 1)
    await begun.wait()
    closing = spawn(conflater.close())
    await settle()
    assert not closing.done()
    free.set()
    await closing
    assert done == [1]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 3)), max_size=30))
async def test_never_too_often_and_never_without_the_last(offers: list[tuple[str, float]]) -> None:
    listener = Listener()
    for number, (key, pause) in enumerate(offers):
        listener.conflater.submit(key, number)
        await listener.wait(pause)
    await listener.wait(2 * INTERVAL)
    for key in "ab":
        times = [time for time, heard, _ in listener.heard if heard == key]
        values = [value for _, heard, value in listener.heard if heard == key]
        assert all(later - earlier >= INTERVAL - 1e-9 for earlier, later in pairwise(times))
        assert values == sorted(values)
        assert values[-1:] == [number for number, (offered, _) in enumerate(offers) if offered == key][-1:]
