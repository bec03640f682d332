"""Jobs: work of a system at a given time, such as expiring a request. Any process can do it.

A job is a row that a transaction has written (`Transaction.schedule`). When it is due, it is done in the transaction
that deletes it. So it is done once, completely, with its events, and by one process, however many processes look for
jobs.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update

from oyez.concurrency.backoff import Backoff
from oyez.concurrency.periodic import PeriodicTask
from oyez.errors import ContractError
from oyez.logger import get_logger
from oyez.runtime.functions import find_signature_error
from oyez.service.database.database import Database
from oyez.service.database.tables import jobs
from oyez.service.outbox.outbox import Outbox
from oyez.service.outbox.transaction import Transaction

logger = get_logger("oyez.service")

Job = Callable[[Transaction, str, dict[str, Any]], None]
"""Does a job, with its key and its data. If it raises an error, its changes are rolled back, and it is repeated
later."""

LOOK_INTERVAL = 5.0
"""Longest time in seconds between two checks for jobs of a process that was killed."""
BUSY_INTERVAL = 0.2
"""Seconds until the next check if another process is doing the jobs that are due."""
BACKOFF = Backoff(1.0, 300.0)
"""Seconds until a failed job is repeated. It is repeated until it succeeds; its last error is in the table."""


def _find_fault(job: Job) -> str | None:
    return find_signature_error(job, ("tx", "key", "data"), waits=False)


class Jobs:
    """Does the jobs of one system in one of its processes."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        handlers: Mapping[str, Job],
        *,
        system: str,
        clock: Callable[[], float],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`handlers` are the functions by kind; jobs of other kinds stay in the table. `clock`: seconds since 1970.
        `pause` waits so many seconds after the database could not be used.

        Raises ContractError if one of them cannot be called as a job.
        """
        if not isinstance(handlers, Mapping):
            raise ContractError(
                f"contract {system}: jobs is a {type(handlers).__name__}: write a dict of functions by their kinds"
            )
        faults = [f"job {kind}: {fault}" for kind, job in handlers.items() if (fault := _find_fault(job))]
        if faults:
            raise ContractError("\n".join(f"contract {system}: {fault}" for fault in faults))
        self._database = database
        self._outbox = outbox
        self._handlers = handlers
        self._system = system
        self._clock = clock
        self._unknown: set[str] = set()
        """Kinds of jobs that are due and have no function in this process; each is logged once."""
        self._periodic = PeriodicTask("jobs", self._do_due, pause)
        outbox.scheduled = self._periodic.trigger

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do jobs when they are due, while inside; a job that has begun is finished."""
        async with self._periodic.running():
            yield

    async def done(self) -> None:
        """Wait until nothing is due, by the clock. Only ends while inside `running`."""
        await self._periodic.done()

    async def find_next(self) -> float | None:
        """When the next job is due that this process can do, in seconds since 1970; None if there is none."""
        return (await self._database.read(self._look))[0]

    async def _do_due(self) -> float:
        """Do all jobs that are due. Returns the seconds until the next check."""
        due, unknown = await self._database.read(self._look)
        # A look takes no lock, and most looks find nothing to do.
        if due is not None and due <= self._clock():
            while await self._do_next():
                pass
            due, unknown = await self._database.read(self._look)
        for kind in unknown - self._unknown:
            logger.error(
                "jobs are due that nobody can do",
                system=self._system,
                kind=kind,
                remedy=f"give SystemServices.jobs a function for {kind!r}, or delete its rows in oyez_jobs",
            )
        # Log a kind again if a process of a newer version has done its jobs meanwhile.
        self._unknown = unknown
        pause = LOOK_INTERVAL if due is None else min(due - self._clock(), LOOK_INTERVAL)
        return pause if pause > 0 else BUSY_INTERVAL

    async def _do_next(self) -> bool:
        """Do the job that has been due for the longest time. True if there was one."""
        taken: list[Row[Any]] = []

        def do(tx: Transaction) -> None:
            taken.clear()
            if (job := self._take(tx)) is not None:
                taken.append(job)
                self._handlers[job.kind](tx, job.key, job.data)

        try:
            await self._outbox.run(do)
        except Exception as error:  # A failure of one job must not prevent the other jobs.
            if not taken:
                raise
            delay = BACKOFF.delay(taken[0].failures + 1)
            logger.exception("job failed", kind=taken[0].kind, key=taken[0].key, again_in=delay)
            await self._outbox.run(self._postpone, taken[0], delay, repr(error))
        return bool(taken)

    def _take(self, tx: Transaction) -> Row[Any] | None:
        """The next job that no other process is doing. It is deleted when `tx` is committed."""
        due = select(jobs).where(jobs.c.system == self._system, jobs.c.kind.in_(self._handlers), jobs.c.due <= tx.now)
        # On SQLite the transaction has the whole database for itself.
        first = due.order_by(jobs.c.due).limit(1).with_for_update(skip_locked=True)
        job = tx.connection.execute(first).one_or_none()
        if job is not None:
            tx.connection.execute(delete(jobs).where(self._is(job)))
        return job

    def _postpone(self, tx: Transaction, job: Row[Any], delay: float, error: str) -> None:
        # Not if the job was scheduled again or done by another process meanwhile.
        same = self._is(job) & (jobs.c.due == job.due) & (jobs.c.failures == job.failures)
        values = {"due": tx.now + delay, "failures": job.failures + 1, "error": error}
        tx.connection.execute(update(jobs).where(same).values(values))

    def _look(self, connection: Connection) -> tuple[float | None, set[str]]:
        """When the next job is due, and the kinds of due jobs that have no function here."""
        own, known = jobs.c.system == self._system, jobs.c.kind.in_(self._handlers)
        due: float | None = connection.execute(select(func.min(jobs.c.due)).where(own, known)).scalar_one()
        unknown = select(jobs.c.kind).distinct().where(own, ~known, jobs.c.due <= self._clock())
        return due, set(connection.execute(unknown).scalars())

    def _is(self, job: Row[Any]) -> Any:
        return (jobs.c.system == self._system) & (jobs.c.kind == job.kind) & (jobs.c.key == job.key)
