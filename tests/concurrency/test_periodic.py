"""PeriodicTask: rounds run one after the other, when triggered and when due; a failed round is repeated."""

import asyncio
from collections.abc import Iterator

import pytest

from oyez.concurrency import periodic
from oyez.concurrency.backoff import Backoff
from oyez.concurrency.periodic import PeriodicTask
from tests.support.clock import Change
from tests.support.logged import capture_logs
from tests.support.tasks import Spawn

NEVER = 3600.0


class Work:
    """Counts its rounds, each of which waits until it may end."""

    def __init__(self, pause: float = NEVER) -> None:
        self.pause = pause
        self.begun = 0
        self.faults: Iterator[Exception] = iter(())
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.changed = Change()

    async def __call__(self) -> float:
        self.begun += 1
        self.changed.set()
        for fault in self.faults:
            raise fault
        await self.may_end.wait()
        return self.pause

    async def expect_begun(self, number: int) -> None:
        await self.changed.until(lambda: self.begun >= number)


async def test_the_first_round_begins_by_itself_and_the_next_when_triggered() -> None:
    work = Work()
    task = PeriodicTask("test", work)
    async with task.running():
        await work.expect_begun(1)
        await task.done()
        assert work.begun == 2
        task.trigger()
        await work.expect_begun(3)


async def test_a_round_begins_after_the_pause_that_the_last_one_returned() -> None:
    work = Work(pause=0.001)
    async with PeriodicTask("test", work).running():
        await work.expect_begun(5)


async def test_done_means_a_round_that_began_later(spawn: Spawn) -> None:
    """What is committed while a round is at work may not be part of it."""
    work = Work()
    work.may_end.clear()
    task = PeriodicTask("test", work)
    async with task.running():
        await work.expect_begun(1)
        done = spawn(task.done())
        await asyncio.sleep(0)
        work.may_end.set()
        await done
        assert work.begun == 2


async def test_many_triggers_begin_one_round() -> None:
    work = Work()
    task = PeriodicTask("test", work)
    async with task.running():
        await task.done()
        before = work.begun
        work.may_end.clear()
        task.trigger()
        await work.expect_begun(before + 1)
        for _ in range(10):
            task.trigger()
        work.may_end.set()
        await task.done()
        assert work.begun <= before + 3


async def test_a_round_that_fails_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periodic, "BACKOFF", Backoff(0.0001, 0.0001))
    work = Work()
    work.faults = iter([ZeroDivisionError(), OSError(), LookupError()])
    task = PeriodicTask("test", work)
    async with task.running():
        await task.done()
        assert work.begun >= 4


async def test_a_failure_that_stays_is_logged_at_ever_longer_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periodic, "BACKOFF", Backoff(0.0001, 0.0001))
    work = Work()
    work.faults = iter([OSError()] * 20)
    task = PeriodicTask("test", work)
    with capture_logs() as logs:
        async with task.running():
            await task.done()
    assert [line["failures"] for line in logs] == [1, 2, 4, 8, 16]


async def test_no_round_runs_after_the_end() -> None:
    work = Work(pause=0.0)
    async with PeriodicTask("test", work).running():
        await work.expect_begun(3)
    begun = work.begun
    await asyncio.sleep(0)
    assert work.begun == begun
