"""Rounds: one after the other, when somebody asks, and when it is time; a failure is not the last word."""

import asyncio
from collections.abc import Iterator

import pytest

from oyez.service import rounds as rounds_module
from oyez.service.rounds import Rounds
from tests.logged import capture_logs
from tests.service.desks import PATIENCE

NEVER = 3600.0


class Work:
    """Counts its rounds, each of which waits until it may end."""

    def __init__(self, pause: float = NEVER) -> None:
        self.pause = pause
        self.begun = 0
        self.faults: Iterator[Exception] = iter(())
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.changed = asyncio.Event()

    async def __call__(self) -> float:
        self.begun += 1
        self.changed.set()
        for fault in self.faults:
            raise fault
        await self.may_end.wait()
        return self.pause

    async def expect_begun(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.begun < number:
                self.changed.clear()
                await self.changed.wait()


async def test_the_first_round_begins_by_itself_and_the_next_when_asked_for() -> None:
    work = Work()
    rounds = Rounds("test", work)
    async with rounds.running():
        await work.expect_begun(1)
        await rounds.done()
        assert work.begun == 2
        rounds.ask()
        await work.expect_begun(3)


async def test_a_round_begins_when_the_last_said_it_was_time() -> None:
    work = Work(pause=0.001)
    async with Rounds("test", work).running():
        await work.expect_begun(5)


async def test_done_means_a_round_that_began_later() -> None:
    """What is committed while a round is at work may not be part of it."""
    work = Work()
    work.may_end.clear()
    rounds = Rounds("test", work)
    async with rounds.running():
        await work.expect_begun(1)
        waiting = asyncio.create_task(rounds.done())
        await asyncio.sleep(0)
        work.may_end.set()
        await waiting
        assert work.begun == 2


async def test_being_asked_often_is_being_asked_once() -> None:
    work = Work()
    rounds = Rounds("test", work)
    async with rounds.running():
        await rounds.done()
        before = work.begun
        work.may_end.clear()
        rounds.ask()
        await work.expect_begun(before + 1)
        for _ in range(10):
            rounds.ask()
        work.may_end.set()
        await rounds.done()
        assert work.begun <= before + 3


async def test_a_round_that_fails_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds_module, "FIRST_PAUSE", 0.0001)
    work = Work()
    work.faults = iter([ZeroDivisionError(), OSError(), LookupError()])
    rounds = Rounds("test", work)
    async with rounds.running():
        await rounds.done()
        assert work.begun >= 4


async def test_a_failure_that_stays_is_told_at_ever_longer_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds_module, "LONGEST_PAUSE", 0.0001)
    work = Work()
    work.faults = iter([OSError()] * 20)
    rounds = Rounds("test", work)
    with capture_logs() as logs:
        async with rounds.running():
            await rounds.done()
    assert [line["failures"] for line in logs] == [1, 2, 4, 8, 16]


async def test_nothing_goes_on_afterwards() -> None:
    work = Work(pause=0.0)
    async with Rounds("test", work).running():
        await work.expect_begun(3)
    begun = work.begun
    await asyncio.sleep(0)
    assert work.begun == begun
