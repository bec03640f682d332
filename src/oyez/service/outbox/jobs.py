"""Jobs: what a system has to do at a given time, such as expiring a request, in whichever process runs then.

A job is a row that a transaction has written (`Transaction.schedule`). When it is due it is done in the transaction
that deletes it: so once, whole, with its events, and by one process, however many look for it.
"""

from collections.abc import AsyncIterator, Callable, Mapping
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
"""Does a job: given its key and its data. Raises to have it done again later; nothing it did has happened then."""

LOOK_INTERVAL = 5.0
"""Most seconds between two looks for jobs that another process has scheduled, and not lived to do."""
BUSY_INTERVAL = 0.2
"""Seconds until a look at jobs that are due, but which another process is doing."""
BACKOFF = Backoff(1.0, 300.0)
"""Seconds until a failed job is repeated, without end: a job is a promise, and its error stays in the table."""


def _find_fault(job: Job) -> str | None:
    return find_signature_error(job, ("tx", "key", "data"), waits=False)


class Jobs:
    """Does the jobs of one system, as one of however many processes."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        handlers: Mapping[str, Job],
        *,
        system: str,
        clock: Callable[[], float],
    ) -> None:
        """`handlers` are the functions by kind; jobs of other kinds stay in the table. `clock`: seconds since 1970.

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
        """Kinds of jobs that are due and have no function here; each is logged once."""
        self._periodic = PeriodicTask("jobs", self._do_due)
        outbox.scheduled = self._periodic.trigger

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do jobs when they are due, while inside; a job that has begun is finished."""
        async with self._periodic.running():
            yield

    async def done(self) -> None:
        """Wait until nothing is due, by the clock. Only ends while inside `running`."""
        await self._periodic.done()

    async def _do_due(self) -> float:
        """Do all that is due; the seconds until there may be more."""
        while self._handlers and await self._do_next():
            pass
        due, unknown = await self._database.read(self._look)
        for kind in unknown - self._unknown:
            logger.error(
                "jobs are due that nobody can do",
                system=self._system,
                kind=kind,
                remedy=f"give SystemServices.jobs a function for {kind!r}, or delete its rows in oyez_jobs",
            )
        # A kind that another process, of a newer version, has done, and that comes again, is logged again.
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
        except Exception as error:  # Whatever a system's code raises: the others' jobs are done all the same.
            if not taken:
                raise
            delay = BACKOFF.delay(taken[0].failures + 1)
            logger.exception("job failed", kind=taken[0].kind, key=taken[0].key, again_in=delay)
            await self._outbox.run(self._postpone, taken[0], delay, repr(error))
        return bool(taken)

    def _take(self, tx: Transaction) -> Row[Any] | None:
        """The next job that no other process has taken; gone when `tx` is committed."""
        due = select(jobs).where(jobs.c.system == self._system, jobs.c.kind.in_(self._handlers), jobs.c.due <= tx.now)
        # On SQLite the transaction has the whole database for itself.
        first = due.order_by(jobs.c.due).limit(1).with_for_update(skip_locked=True)
        job = tx.connection.execute(first).one_or_none()
        if job is not None:
            tx.connection.execute(delete(jobs).where(self._is(job)))
        return job

    def _postpone(self, tx: Transaction, job: Row[Any], delay: float, error: str) -> None:
        # Not if it was scheduled again, or done by another process, since then.
        same = self._is(job) & (jobs.c.due == job.due) & (jobs.c.failures == job.failures)
        values = {"due": tx.now + delay, "failures": job.failures + 1, "error": error}
        tx.connection.execute(update(jobs).where(same).values(values))

    def _look(self, connection: Connection) -> tuple[float | None, set[str]]:
        """When the next job is due, and the kinds of those that are and that have no handler."""
        own, known = jobs.c.system == self._system, jobs.c.kind.in_(self._handlers)
        due: float | None = connection.execute(select(func.min(jobs.c.due)).where(own, known)).scalar_one()
        unknown = select(jobs.c.kind).distinct().where(own, ~known, jobs.c.due <= self._clock())
        return due, set(connection.execute(unknown).scalars())

    def _is(self, job: Row[Any]) -> Any:
        return (jobs.c.system == self._system) & (jobs.c.kind == job.kind) & (jobs.c.key == job.key)
