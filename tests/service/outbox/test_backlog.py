"""What the outbox and the jobs of a system have left to do, on both databases."""

from typing import Any

from oyez.service.database.tables import outbox
from oyez.service.outbox.backlog import Backlog
from oyez.service.outbox.transaction import Transaction
from tests.service.ticket_system import open_harness, say_next


def fail(tx: Transaction, key: str, data: dict[str, Any]) -> None:
    raise ZeroDivisionError


def schedule(tx: Transaction, key: str, delay: float) -> None:
    tx.schedule("fail", key, tx.now + delay, {})


async def test_nothing_is_left(database_url: str) -> None:
    async with open_harness(database_url) as desk:
        assert await desk.outbox.read_backlog() == Backlog(0, 0.0, 0, 0, 0.0, 0)


async def test_events_that_wait_for_the_log(database_url: str) -> None:
    async with open_harness(database_url, relays=False) as desk:
        await desk.outbox.run(say_next)
        desk.clock.now += 7
        await desk.outbox.run(say_next)
        found = await desk.outbox.read_backlog()
        assert (found.waiting, found.lag, found.set_aside) == (2, 7.0, 0)
        await desk.database.run(lambda c: c.execute(outbox.update().values(error="no entry")))
        found = await desk.outbox.read_backlog()
        assert (found.waiting, found.lag, found.set_aside) == (0, 0.0, 2)


async def test_jobs_that_fail(database_url: str) -> None:
    async with open_harness(database_url, jobs={"fail": fail}) as desk:
        await desk.outbox.run(schedule, "late", 0.0)
        await desk.outbox.run(schedule, "later", 1000.0)
        await desk.jobs.done()
        desk.clock.now += 0.5
        found = await desk.outbox.read_backlog()
        # The failed job is due again after a pause.
        assert (found.jobs_due, found.jobs_failing) == (0, 1)
        desk.clock.now += 0.7
        found = await desk.outbox.read_backlog()
        assert (found.jobs_due, round(found.jobs_lag, 3)) == (1, 0.2)
