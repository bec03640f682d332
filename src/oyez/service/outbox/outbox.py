"""The outbox: a change and its events are one SQL transaction.

`Outbox.run` runs a function as a transaction in which it may emit. What it emits is written to a table beside its
changes; a relay moves it from there to the log, in the order in which the transactions were committed, once. If the
transaction is rolled back, they are never sent. If it is committed, they are sent, also if the process is killed in
between.

Order: ids grow in the order of commits, because transactions that emit are committed one after the other (SQLite has
one writer; on PostgreSQL they take a lock for their last two statements). A relay always begins with the lowest id,
and deletes the rows that the log has stored. Several relays may work at the same time: each appends only the
following rows, and the log recognizes by its key an entry that is appended twice.

A row that cannot become an entry of the log is set aside in the table, with the reason, and the others do not wait for
it. If the log cannot be reached, all rows wait.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from datetime import UTC, tzinfo
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from oyez.errors import LogUnavailableError
from oyez.log.log import Entry, Log
from oyez.logger import get_logger
from oyez.observer import OUTBOX, Observers
from oyez.runtime.awaiting import must_await
from oyez.runtime.current import current_published
from oyez.runtime.publisher import Publisher, add_trace, report_published, start_publishing
from oyez.service.database.database import Database
from oyez.service.outbox.backlog import Backlog, read_backlog
from oyez.service.outbox.idempotent_steps import begin_step
from oyez.service.outbox.relay import OutboxRelay
from oyez.service.outbox.transaction import Transaction
from oyez.tracing import Span, Tracing

logger = get_logger("oyez.service")

P = ParamSpec("P")
T = TypeVar("T")

FLUSH_TIMEOUT = 2.0
"""Seconds after which the log counts as unavailable: committed events are appended later."""


class Outbox:
    """The outbox of one system in one process."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        log: Log,
        *,
        clock: Callable[[], float] = time.time,
        zone: tzinfo = UTC,
        check: Callable[[], None] = lambda: None,
        observers: Observers | None = None,
    ) -> None:
        """`clock` gives seconds since 1970, `zone` is the operator's time zone; `check` is the publisher's."""
        self._zone = zone
        self._check = check
        self._observers = observers
        self._tracing = observers.tracing if observers is not None else None
        self._database = database
        self._publisher = publisher
        self._log = log
        self._clock = clock
        self._system = publisher.contract.name
        self._running = 0
        self.transactions = 0
        """Number of transactions that have begun."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._relay = OutboxRelay(
            self._system, database, log, clock=clock, observers=observers, complete=publisher.complete
        )
        self.scheduled: Callable[[], None] = lambda: None
        """Called after the commit of a transaction that has changed when jobs are due."""

    @must_await
    async def run(self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(tx, …)` as one transaction: committed when it returns, rolled back when it raises.

        As `Database.run`: a plain function, in a worker thread, which may be run again. Returns when
        it is committed. Its events follow at once, or as soon as the log can be reached.

        If the current command has an id and this was committed for it before, nothing is done, and what `function`
        returned then is returned again. Raises RefusedError (already_done) if the result was not stored: it is stored
        only if JSON and the function's annotation can express it.
        """
        self._check()
        step = begin_step(self._system, function)
        publish: Callable[[list[Entry]], tuple[Span, list[Entry]]] | None = None
        if self._tracing is not None:
            # In the context of the caller, although it runs in the thread of the transaction.
            context, tracing = copy_context(), self._tracing
            publish = lambda entries: context.run(self._start_publishing, tracing, entries)  # noqa: E731

        def work(connection: Connection) -> tuple[T, Transaction]:
            transaction = Transaction(connection, self._publisher, self._clock(), self._zone, publish)
            if step is not None and (done := step.find(connection)) is not None:
                transaction.was_done()
                return done[0], transaction
            result = function(transaction, *args, **kwargs)
            if step is not None:
                step.keep(connection, result, transaction.now)
            transaction.store()
            return result, transaction

        self._running += 1
        self.transactions += 1
        self._idle.clear()
        result, transaction, moved = await self._database.run_then(work, self._finish)
        if moved is not None and (published := current_published.get()) is not None:
            published.appending = partial(self._relay.wait, moved)
        for entry in transaction.volatile:
            await self._broadcast(entry)
        return result

    @property
    def running(self) -> int:
        """Number of transactions that are running."""
        return self._running

    async def read_backlog(self) -> Backlog:
        """What the outbox and the jobs of the system have left to do, in all processes."""
        return await self._database.read(read_backlog, self._system, self._clock())

    async def drained(self) -> None:
        """Wait until all that was committed so far is in the log. Only ends while inside `relaying`."""
        await self._idle.wait()
        await self._relay.done()

    async def appended(self, seconds: float) -> str | None:
        """Wait until all that was committed so far is in the log, and return a position that comes after it.

        Return None if that takes longer than `seconds`, and at once while the relay knows that it cannot append.
        """
        return await self._relay.wait(self._relay.list_again(), seconds)

    async def flushed(self) -> None:
        """Wait until the events of all committed transactions are in the log, for at most FLUSH_TIMEOUT seconds.

        For callers whose next publication must not overtake these events.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT):
                await self._relay.done()

    @asynccontextmanager
    async def relaying(self, drain_timeout: Callable[[], float]) -> AsyncIterator[None]:
        """Move events to the log while inside.

        At the end, committed events are moved for at most `drain_timeout()` seconds. If the log is unavailable, the
        next process moves the rest.
        """
        async with self._relay.running():
            yield
            try:
                async with asyncio.timeout(drain_timeout()):
                    await self.drained()
            except TimeoutError:
                logger.warning("events stay in the outbox until the log is back", system=self._system)

    def _start_publishing(self, tracing: Tracing, entries: list[Entry]) -> tuple[Span, list[Entry]]:
        span = start_publishing(tracing, self._publisher.contract, entries, OUTBOX)
        return span, add_trace(entries, span.trace)

    def _finish(self, future: "Future[tuple[T, Transaction]]") -> tuple[T, Transaction, int | None]:
        """What the transaction returned, and the relay's round that moves its events; None if it has none."""
        self._running -= 1
        if not self._running:
            self._idle.set()
        result, transaction = future.result()
        if transaction.span is not None:
            transaction.span.end()
        if transaction.schedules:
            self.scheduled()
        return result, transaction, self._relay.report(transaction.stored) if transaction.stored is not None else None

    async def _broadcast(self, entry: Entry) -> None:
        observers = self._observers
        began = observers.clock() if observers is not None else 0.0
        try:
            await self._publisher.latest.keep(entry)
            await self._log.broadcast(entry)
        except LogUnavailableError:
            # The change is committed: an error would say that it is not.
            logger.warning("volatile event lost", namespace=entry.namespace, rooms=entry.rooms)
            return
        if observers is not None:
            report_published(observers, [entry], [None], OUTBOX, began)
