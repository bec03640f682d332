"""The relay of one system in one process: it moves committed events from the outbox's table to the log, in order.

On SQLite, a transaction reports the rows that it has stored, and the relay appends them from memory. The table is
listed at the start, once a second, and whenever rows of another process wait in it.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress

from oyez.concurrency.periodic import PeriodicTask
from oyez.log.log import Entry, Log
from oyez.logger import get_logger
from oyez.observer import OUTBOX, Observers
from oyez.runtime.publisher import report_published
from oyez.service.database.database import Database
from oyez.service.outbox.arrivals import Arrivals
from oyez.service.outbox.idempotent_steps import FORGET_INTERVAL, KEPT_SECONDS, forget_steps
from oyez.service.outbox.rows import MAX_BATCH, BadRow, Row, StoredRows, delete_rows, list_rows, set_aside
from oyez.tracing import Tracing

logger = get_logger("oyez.service")

CHECKPOINT = "outbox"
"""The log's record that says which row was the last to be appended: longer than the log knows keys, without an end."""
STALE_SECONDS = 2.0
"""Age from which a row may have been appended by a process that was killed before it deleted the row, so long ago
that the log no longer has its key: the checkpoint is read then. Other rows are moved within milliseconds."""
LOOK_INTERVAL = 1.0
"""Seconds between two listings for rows of a process that was killed. Rows of this process are moved at once."""

IDLE_INTERVAL = 60.0
"""Longest time in seconds between two deletions if nothing asks for one."""


class OutboxRelay:
    """Moves the committed events of one system to its log."""

    def __init__(
        self,
        system: str,
        database: Database,
        log: Log,
        *,
        clock: Callable[[], float] = time.time,
        observers: Observers | None = None,
        complete: Callable[[Entry], Entry] = lambda entry: entry,
    ) -> None:
        """`clock` gives seconds since 1970. `complete` adds to a listed entry what the table does not hold."""
        self._complete = complete
        self._system = system
        self._database = database
        self._log = log
        self._clock = clock
        self._observers = observers
        self._rounds = PeriodicTask("outbox", self._move)
        self._deletions = PeriodicTask("outbox deletions", self._delete)
        self._arrivals = Arrivals()
        self._reported: deque[Row] = deque()
        """Rows that this process has committed, in order, and that are not appended yet."""
        self._last_reported = 0
        """The id of the last row that a transaction of this process has reported."""
        self._must_list = True
        """True if rows wait that only the table knows."""
        self._list_at = 0.0
        """The time of the loop at which the table is listed again."""
        self._appended_up_to = 0
        """The id of the last row that may be deleted."""
        self._forget_at = 0.0

    def report(self, stored: StoredRows) -> int:
        """Move rows that were just committed. Returns the number of the round that moves them, for `wait`.

        Must be called in the order of the commits.
        """
        rows = stored.rows
        if not rows or stored.previous not in (None, self._last_reported):
            # Rows of other processes come first.
            self._must_list = True
        if rows:
            self._last_reported = rows[-1].id
            self._reported += rows
        self._rounds.trigger()
        return self._arrivals.next_round

    async def wait(self, number: int, seconds: float) -> str | None:
        """Wait for the end of a round, and return a position that comes after its events.

        Return None if that takes longer than `seconds`, and at once while the relay knows that it cannot append.
        """
        if (position := self._arrivals.find(number)) is not None:
            return position
        self._rounds.trigger()
        return await self._arrivals.wait(number, seconds)

    def list_again(self) -> int:
        """Move everything that was committed so far by all processes. Returns the round's number, for `wait`."""
        self._must_list = True
        self._rounds.trigger()
        return self._arrivals.next_round

    async def done(self) -> None:
        """Wait until everything that was committed so far is in the log. Only ends while inside `running`."""
        self._must_list = True
        await self._rounds.done()
        # If this fails, the rows are deleted later, or recognized as appended.
        with suppress(Exception):
            await self._delete()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Move events while inside."""
        async with self._deletions.running(), self._rounds.running():
            try:
                yield
            finally:
                self._arrivals.fail()

    async def _move(self) -> float:
        """One round: move all rows. Returns the seconds until the next one."""
        number = self._arrivals.begin_round()
        try:
            position = await self._move_all()
            if position is None and self._arrivals.awaited:
                # The relay of another process has appended the rows that are waited for.
                position = await self._log.position()
        except Exception:
            self._must_list = True
            self._arrivals.fail()
            raise
        self._arrivals.end_round(number, position)
        await self._forget_steps()
        return LOOK_INTERVAL

    async def _move_all(self) -> str | None:
        """Returns the position of the last event; None if there was none."""
        position = None
        if self._must_list or asyncio.get_running_loop().time() >= self._list_at:
            position = await self._move_listed()
        while self._reported and not self._must_list:
            rows = [self._reported.popleft() for _ in range(min(MAX_BATCH, len(self._reported)))]
            position = await self._append(rows)
            self._allow_deletion(rows[-1].id)
        return position

    async def _move_listed(self) -> str | None:
        """Move all rows in the table."""
        position, after = None, 0
        while True:
            # What was reported before is in the table. What is reported from now on comes after it.
            self._must_list = False
            self._reported.clear()
            listed = await self._database.read(list_rows, self._system, after)
            rows = [row for row in listed if isinstance(row, Row)]
            for row in listed:
                if isinstance(row, BadRow):
                    await self._set_aside(row)
            if rows:
                position = await self._append_unknown(rows) or position
                self._allow_deletion(rows[-1].id)
            if len(listed) < MAX_BATCH:
                break
            after = listed[-1].id
        while listed and self._reported and self._reported[0].id <= listed[-1].id:
            # Committed during the listing, and in it.
            self._reported.popleft()
        self._list_at = asyncio.get_running_loop().time() + LOOK_INTERVAL
        return position

    async def _append_unknown(self, rows: Sequence[Row]) -> str | None:
        """Append the rows that are not in the log yet; the position of the last one, None if there is none."""
        done = await self._count_appended(rows)
        entries = [row._replace(entry=self._complete(row.entry)) for row in rows[done:]]
        return await self._append(entries) if entries else None

    async def _append(self, rows: Sequence[Row]) -> str:
        observers = self._observers
        began = observers.clock() if observers is not None else 0.0
        entries = [row.entry for row in rows]
        positions = await self._log.append(entries, (CHECKPOINT, rows[-1].checkpoint))
        if observers is not None:
            report_published(observers, entries, positions, OUTBOX, began)
            if observers.tracing is not None:
                self._trace(observers.tracing, zip(rows, positions, strict=True))
        return positions[-1]

    def _trace(self, tracing: Tracing, appended: Iterable[tuple[Row, str]]) -> None:
        """Record for each event how long it was on its way from the transaction to the log."""
        now = self._clock()
        for row, position in appended:
            if row.entry.trace:
                attributes = {
                    "messaging.system": "oyez",
                    "messaging.message.id": position,
                    "oyez.system": self._system,
                    "oyez.event": row.entry.name,
                }
                seconds = max(now - row.created, 0.0)
                tracing.record(f"relay {row.entry.name}", "internal", attributes, seconds, row.entry.trace)

    def _allow_deletion(self, last: int) -> None:
        self._appended_up_to = last
        self._deletions.trigger()

    async def _delete(self) -> float:
        """Delete appended rows. Many transactions share a deletion, because it waits for its turn among them."""
        if last := self._appended_up_to:
            await self._database.run_maintenance(delete_rows, self._system, last)
            if last == self._appended_up_to:
                self._appended_up_to = 0
        return IDLE_INTERVAL

    async def _set_aside(self, row: BadRow) -> None:
        if await self._database.run(set_aside, row):
            logger.error(
                "an event is no entry of a log and was set aside; the others go on",
                system=self._system,
                id=row.id,
                error=row.error,
                remedy="mend its row in oyez_outbox and set its error to NULL, or delete it",
            )

    async def _count_appended(self, rows: Sequence[Row]) -> int:
        """Number of first rows that the log has stored, including those that it has deleted since."""
        if rows[0].created > self._clock() - STALE_SECONDS:
            return 0
        checkpoint = await self._log.get(CHECKPOINT)
        # All rows before the row of the checkpoint were appended too.
        return next((number for number, row in enumerate(rows, 1) if row.checkpoint == checkpoint), 0)

    async def _forget_steps(self) -> None:
        if self._clock() >= self._forget_at:
            self._forget_at = self._clock() + FORGET_INTERVAL
            await self._database.run_maintenance(forget_steps, self._clock() - KEPT_SECONDS)
