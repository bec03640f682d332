"""Jobs: done when they are due, once, whole, by one process; kept, with their error, where they cannot be done."""

import asyncio
from collections.abc import MutableMapping, Sequence
from typing import Any

import pytest
from sqlalchemy import select

from oyez.service.database import tables
from oyez.service.outbox import jobs as jobs_module
from oyez.service.outbox.jobs import BACKOFF, Job
from oyez.service.outbox.transaction import Transaction
from tests.service.ticket_system import Harness, open_harness, say, say_next
from tests.support.clock import WALL_TIME, Clock
from tests.support.ledger import Ledger
from tests.support.logged import capture_logs

HOUR = 3600.0


def remind(tx: Transaction, key: str, data: dict[str, Any]) -> None:
    say(tx, data["number"])


def schedule(tx: Transaction, key: str, delay: float, number: int) -> None:
    tx.schedule("remind", key, tx.now + delay, {"number": number})


async def pass_time(desk: Harness, seconds: float) -> None:
    """Let time pass, and have everything done that is due by then."""
    desk.clock.now += seconds
    await desk.jobs.done()
    await desk.outbox.drained()


async def left(desk: Harness) -> Sequence[Any]:
    return await desk.database.read(lambda c: c.execute(select(tables.jobs).order_by(tables.jobs.c.key)).all())


async def test_jobs_are_done_when_they_are_due(database_url: str) -> None:
    async with open_harness(database_url, jobs={"remind": remind}) as desk:
        await desk.outbox.run(schedule, "later", 2 * HOUR, 2)
        await desk.outbox.run(schedule, "soon", HOUR, 1)
        await pass_time(desk, HOUR - 1)
        assert desk.said() == []
        await pass_time(desk, 1)
        await desk.expect_said(1)
        await pass_time(desk, 5 * HOUR)
        await desk.expect_said(1, 2)
        assert await left(desk) == []


async def test_no_task_waits_for_the_next_check(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "LOOK_INTERVAL", HOUR)
    async with open_harness(database_url, jobs={"remind": remind}) as desk:
        await desk.jobs.done()
        await desk.outbox.run(schedule, "now", 0.0, 1)
        await desk.expect_said(1)


async def test_a_job_is_scheduled_with_the_change_it_belongs_to(database_url: str) -> None:
    def schedule_and_fail(tx: Transaction) -> None:
        schedule(tx, "never", 0.0, 1)
        raise LookupError

    async with open_harness(database_url, jobs={"remind": remind}) as desk:
        with pytest.raises(LookupError):
            await desk.outbox.run(schedule_and_fail)
        assert await left(desk) == []


async def test_a_job_can_be_replaced_and_cancelled(database_url: str) -> None:
    async with open_harness(database_url, jobs={"remind": remind}) as desk:
        for number in (1, 2):
            await desk.outbox.run(schedule, "replaced", number * HOUR, number)
        await desk.outbox.run(schedule, "cancelled", HOUR, 3)
        await desk.outbox.run(Transaction.cancel, "remind", "cancelled")
        await desk.outbox.run(Transaction.cancel, "remind", "unheard of")
        await pass_time(desk, 1.5 * HOUR)
        assert desk.said() == []
        await pass_time(desk, HOUR)
        await desk.expect_said(2)


async def test_a_job_can_schedule_itself_again(database_url: str) -> None:
    def tick(tx: Transaction, key: str, data: dict[str, Any]) -> None:
        say_next(tx)
        tx.schedule("tick", key, tx.now + HOUR, data)

    async with open_harness(database_url, jobs={"tick": tick}) as desk:
        await desk.outbox.run(lambda tx: tx.schedule("tick", "hourly", tx.now + HOUR, {}))
        for hours in range(1, 4):
            await pass_time(desk, HOUR)
            await desk.expect_said(*range(1, hours + 1))


async def test_a_job_that_fails_is_done_again_later_and_keeps_nothing_else_up(database_url: str) -> None:
    mended = False

    def fail(tx: Transaction, key: str, data: dict[str, Any]) -> None:
        say_next(tx)
        if not mended:
            raise ZeroDivisionError("no price")

    async with open_harness(database_url, jobs={"fail": fail, "remind": remind}) as desk:
        await desk.outbox.run(lambda tx: tx.schedule("fail", "a", tx.now, {}))
        await desk.outbox.run(schedule, "b", 0.0, 100)
        await desk.jobs.done()
        await desk.expect_said(100)
        delay = BACKOFF.first
        for failures in range(1, 12):
            (job,) = await left(desk)
            assert (job.failures, job.error) == (failures, "ZeroDivisionError('no price')")
            assert job.due == desk.clock.now + delay
            await pass_time(desk, delay)
            delay = min(delay * 2, BACKOFF.longest)
        mended = True
        await pass_time(desk, delay)
        await desk.expect_said(100, 1)
        assert await left(desk) == []


async def test_jobs_outlive_the_process(database_url: str) -> None:
    log, clock = Ledger(), Clock(WALL_TIME)
    async with open_harness(database_url, log, clock=clock, jobs={"remind": remind}) as desk:
        await desk.outbox.run(schedule, "a", HOUR, 1)
    clock.now += HOUR
    async with open_harness(database_url, log, clock=clock, jobs={"remind": remind}) as desk:
        await desk.expect_said(1)


@pytest.mark.parametrize("known", [{"other": remind}, {}], ids=["others are known", "none is known"])
async def test_a_job_of_an_unknown_kind_stays_and_is_logged_once(database_url: str, known: dict[str, Job]) -> None:
    with capture_logs() as logs:
        async with open_harness(database_url, jobs=known) as desk:
            await desk.outbox.run(schedule, "a", HOUR, 1)
            await desk.jobs.done()
            assert told(logs) == [], "nobody has to know until it is due"
            for _ in range(3):
                await pass_time(desk, HOUR)
            assert [job.key for job in await left(desk)] == ["a"]
    (line,) = told(logs)
    assert (line["log_level"], line["system"], line["kind"]) == ("error", "desk", "remind")
    assert "SystemServices.jobs" in line["remedy"]
    async with open_harness(database_url, jobs={"remind": remind}) as desk:
        desk.clock.now += 5 * HOUR
        await desk.jobs.done()
        await desk.expect_said(1)


def told(logs: Sequence[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [line for line in logs if line["event"] == "jobs are due that nobody can do"]


async def test_of_two_processes_one_does_a_job(database_url: str) -> None:
    log, clock = Ledger(), Clock(WALL_TIME)
    jobs = {"remind": remind}
    async with (
        open_harness(database_url, log, clock=clock, jobs=jobs) as one,
        open_harness(database_url, log, clock=clock, jobs=jobs) as two,
    ):
        for number in range(100):
            await one.outbox.run(schedule, str(number), HOUR, number)
        clock.now += HOUR
        await asyncio.gather(one.jobs.done(), two.jobs.done())
        # A round ends where all that is left is being done by the other.
        await asyncio.gather(one.jobs.done(), two.jobs.done())
        await asyncio.gather(one.outbox.drained(), two.outbox.drained())
        said = one.said()
        assert len(said) == 100
        assert set(said) == set(range(100))
