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
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from datetime import UTC, tzinfo
from typing import Annotated, Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import msgspec
from sqlalchemy import Connection, LargeBinary, Text, cast, delete, select, update
from sqlalchemy import Row as SqlRow

from oyez.concurrency.periodic import PeriodicTask
from oyez.errors import LogUnavailableError
from oyez.log.log import Entry, Log
from oyez.logger import get_logger
from oyez.observer import OUTBOX, Observers
from oyez.runtime.awaiting import must_await
from oyez.runtime.current import current_published
from oyez.runtime.publisher import Publisher, report_published
from oyez.service.database.database import Database
from oyez.service.database.tables import outbox
from oyez.service.outbox.backlog import Backlog, read_backlog
from oyez.service.outbox.idempotent_steps import FORGET_INTERVAL, KEPT_SECONDS, begin_step, forget_steps
from oyez.service.outbox.transaction import Transaction

logger = get_logger("oyez.service")

P = ParamSpec("P")
T = TypeVar("T")

MAX_BATCH = 500
"""Entries moved at a time: at most 5 MB, and one deletion for many transactions."""
CHECKPOINT = "outbox"
"""The log's record that says which row was the last to be appended: longer than the log knows keys, without an end."""
STALE_SECONDS = 2.0
"""Age from which a row may have been appended by a process that was killed before it deleted the row, so long ago
that the log no longer has its key: the checkpoint is read then. Other rows are moved within milliseconds."""
LOOK_INTERVAL = 1.0
"""Seconds between two checks for rows of a process that was killed. Rows of this process are moved at once."""

FLUSH_TIMEOUT = 2.0
"""Seconds after which the log counts as unavailable: committed events are appended later."""


class _Arrivals:
    """Notifies commands that wait until the relay has appended what was committed before they asked.

    The relay lists rows again and again. All rows that were committed before a listing began are in it.
    """

    def __init__(self) -> None:
        self._listings = 0
        self._waiting: list[tuple[int, asyncio.Future[str | None]]] = []
        self._works = False
        """True if the last listing was appended, in good time for the commands that waited for it."""

    @property
    def awaited(self) -> bool:
        """True if a command waits."""
        return bool(self._waiting)

    def begin_listing(self) -> int:
        """Count a listing that is about to be read, and return its number."""
        self._listings += 1
        return self._listings

    def finish_listing(self, number: int, position: str | None) -> None:
        """All rows of a complete listing are in the log, up to `position` (None: no command waited)."""
        self._works = True
        ready = [future for wanted, future in self._waiting if wanted <= number]
        self._waiting = [(wanted, future) for wanted, future in self._waiting if wanted > number]
        _resolve(ready, position)

    def fail(self) -> None:
        """The log or the database is away, or the relay ends: commands do not wait until a listing is appended."""
        self._works = False
        waiting, self._waiting = self._waiting, []
        _resolve([future for _, future in waiting], None)

    async def wait(self, seconds: float) -> str | None:
        """Wait for a listing that begins after this; return None if there is none within `seconds`."""
        if not self._works:
            return None
        future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._listings + 1, future))
        done, _ = await asyncio.wait([future], timeout=max(0.0, seconds))
        if not done:
            self.fail()
        return future.result()


def _resolve(futures: Iterable[asyncio.Future[str | None]], position: str | None) -> None:
    for future in futures:
        if not future.done():
            future.set_result(position)


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
        self._relay = PeriodicTask("outbox", self._relay_round)
        self._arrivals = _Arrivals()
        self._forget_at = 0.0
        self.scheduled: Callable[[], None] = lambda: None
        """Called after the commit of a transaction that has changed when jobs are due."""

    @must_await
    async def run(self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(tx, …)` as one transaction: committed when it returns, rolled back when it raises.

        As `Database.run`: a plain function, in a worker thread, run again where PostgreSQL asks for it. Returns when
        it is committed. Its events follow at once, or as soon as the log can be reached.

        If the current command has an id and this was committed for it before, nothing is done, and what `function`
        returned then is returned again. Raises RefusedError (already_done) if the result was not stored: it is stored
        only if JSON and the function's annotation can express it.
        """
        self._check()
        loop = asyncio.get_running_loop()
        step = begin_step(self._system, function)

        def work(connection: Connection) -> tuple[T, Transaction, bool]:
            transaction = Transaction(connection, self._publisher, self._clock(), self._zone)
            if step is not None and (done := step.find(connection)) is not None:
                # Its events may still be on their way: then its acknowledgement waits for them again.
                return done[0], transaction, True
            result = function(transaction, *args, **kwargs)
            if step is not None:
                step.keep(connection, result, transaction.now)
            return result, transaction, transaction.store()

        future = self._database.submit(work)
        self._running += 1
        self.transactions += 1
        self._idle.clear()
        # Also if the caller was cancelled.
        future.add_done_callback(lambda future: loop.call_soon_threadsafe(self._finish, future))
        result, transaction, stored = await self._database.wait(future)
        if stored and (published := current_published.get()) is not None:
            published.appending = self.appended
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
        self._relay.trigger()
        return await self._arrivals.wait(seconds)

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
            finally:
                self._arrivals.fail()

    def _finish(self, future: "Future[tuple[Any, Transaction, bool]]") -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()
        if future.cancelled() or future.exception() is not None:
            return
        _, transaction, stored = future.result()
        if stored:
            self._relay.trigger()
        if transaction.schedules:
            self.scheduled()

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

    async def _relay_round(self) -> float:
        """Move all rows. Returns the seconds until the next check."""
        try:
            return await self._move()
        except Exception:
            self._arrivals.fail()
            raise

    async def _move(self) -> float:
        while True:
            listing = self._arrivals.begin_listing()
            listed = await self._database.read(_list_first, self._system)
            rows = [row for row in listed if isinstance(row, _Row)]
            for row in listed:
                if isinstance(row, _BadRow):
                    await self._set_aside(row)
            position = await self._append(rows)
            if len(listed) < MAX_BATCH:
                if position is None and self._arrivals.awaited:
                    # The relay of another process has appended the rows that are waited for.
                    position = await self._log.position()
                self._arrivals.finish_listing(listing, position)
            if rows:
                await self._database.run_maintenance(_delete_up_to, self._system, rows[-1].id)
            if len(listed) < MAX_BATCH:
                break
        if self._clock() >= self._forget_at:
            self._forget_at = self._clock() + FORGET_INTERVAL
            await self._database.run_maintenance(forget_steps, self._clock() - KEPT_SECONDS)
        return LOOK_INTERVAL

    async def _append(self, rows: Sequence["_Row"]) -> str | None:
        """Append the rows that are not in the log yet; the position of the last one, None if there is none."""
        done = await self._count_appended(rows) if rows else 0
        if done == len(rows):
            return None
        observers = self._observers
        began = observers.clock() if observers is not None else 0.0
        entries = [self._publisher.complete(row.entry) for row in rows[done:]]
        positions = await self._log.append(entries, (CHECKPOINT, rows[-1].checkpoint))
        if observers is not None:
            report_published(observers, entries, positions, OUTBOX, began)
        return positions[-1]

    async def _set_aside(self, row: "_BadRow") -> None:
        if await self._database.run(_set_aside, row):
            logger.error(
                "an event is no entry of a log and was set aside; the others go on",
                system=self._system,
                id=row.id,
                error=row.error,
                remedy="mend its row in oyez_outbox and set its error to NULL, or delete it",
            )

    async def _count_appended(self, rows: Sequence["_Row"]) -> int:
        """Number of first rows that the log has stored, including those that it has deleted since."""
        if rows[0].created > self._clock() - STALE_SECONDS:
            return 0
        checkpoint = await self._log.get(CHECKPOINT)
        # All rows before the row of the checkpoint were appended too.
        return next((number for number, row in enumerate(rows, 1) if row.checkpoint == checkpoint), 0)


class _Row(NamedTuple):
    """One row of the outbox."""

    id: int
    created: float
    entry: Entry

    @property
    def checkpoint(self) -> bytes:
        """With the time, because a new database, or a restored one, begins with old numbers."""
        return f"{self.id}:{self.created}".encode()


class _BadRow(NamedTuple):
    """A row that cannot become an entry."""

    id: int
    error: str


_decode_rooms = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_event = msgspec.json.Decoder(Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1)]).decode
_decode_name = msgspec.json.Decoder(str).decode
_decode_control = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _list_first(connection: Connection, system: str) -> list[_Row | _BadRow]:
    """The first entries that wait, by their ids."""
    columns = (
        outbox.c.id,
        outbox.c.created,
        outbox.c.namespace,
        outbox.c.control,
        # Undecoded: a row that cannot be decoded must not prevent the others from being read.
        cast(outbox.c.rooms, Text).label("rooms"),
        cast(outbox.c.excluded, Text).label("excluded"),
        cast(outbox.c.data, LargeBinary).label("data"),
    )
    waits = (outbox.c.system == system) & outbox.c.error.is_(None)
    waiting = select(*columns).where(waits).order_by(outbox.c.id).limit(MAX_BATCH)
    return [_read_row(system, row) for row in connection.execute(waiting)]


def _read_row(system: str, row: SqlRow[Any]) -> _Row | _BadRow:
    try:
        text = row.data.decode()
        if row.control:
            _decode_control(text)
        name = "" if row.control else _decode_name(_decode_event(text)[0])
        entry = Entry(
            namespace=row.namespace,
            rooms=_decode_rooms(row.rooms),
            excluded=_decode_rooms(row.excluded),
            data=row.data,
            control=row.control,
            # With the time, as in the checkpoint.
            key=f"outbox:{system}:{row.id}:{row.created}",
            name=name,
        )
    except (msgspec.MsgspecError, UnicodeError) as error:
        return _BadRow(row.id, str(error))
    return _Row(row.id, row.created, entry)


def _set_aside(connection: Connection, row: _BadRow) -> bool:
    """True if no other relay has done so already."""
    waits = (outbox.c.id == row.id) & outbox.c.error.is_(None)
    return connection.execute(update(outbox).where(waits).values(error=row.error)).rowcount == 1


def _delete_up_to(connection: Connection, system: str, last: int) -> None:
    moved = (outbox.c.system == system) & (outbox.c.id <= last) & outbox.c.error.is_(None)
    connection.execute(delete(outbox).where(moved))
