"""Records the users who received an event with receipts, and those who acknowledged it.

The recorder is an observer: the hot path only hands it reports. A few times a second it stores what it was given, as
one transaction. While the database cannot be reached, reports wait up to a limit. Further reports are dropped and
counted. Delivery does not wait for the recorder.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Connection

from oyez.concurrency.periodic import PeriodicTask
from oyez.concurrency.sparse_log import SparseLog
from oyez.contract.codec import encode_json
from oyez.errors import DatabaseUnavailableError
from oyez.logger import get_logger
from oyez.observer import AcknowledgeReport, Observer, SentReport
from oyez.service.database.database import Database
from oyez.service.receipts import store
from oyez.service.receipts.store import Batch, EventRow

logger = get_logger("oyez.service")

FLUSH_INTERVAL = 0.1
"""Seconds for which reports are gathered: a killed process loses so many."""
MAX_WAITING = 100_000
"""Recipients and acknowledgements that wait for the database: about 20 MB, and some seconds of a busy process."""
MAX_OPEN = 200_000
"""Recipients whose acknowledgements are expected: about 20 MB. The oldest are forgotten first."""
MAX_CLAIMS = 10_000
"""Acknowledgements of events that this process has not sent, which wait: no honest clients send so many."""
MAX_CLAIMS_EACH = 100
"""Such acknowledgements of one user: a user's flood must not take the place of those of others."""
CLAIM_DELAY = 2.0
"""Seconds after which such an acknowledgement counts: the process that has sent the event has stored that by then."""
PART = 2_000
"""Recipients of one transaction: it takes about 10 ms, for which other transactions wait on SQLite."""
PRUNE_INTERVAL = 600.0
"""Seconds between two deletions of old receipts."""

# What is counted, by result.
RECORDED = "recorded"
COUNTED = "counted"
"""Over the limit `max_receipts`."""
ACKNOWLEDGED = "acknowledged"
DROPPED = "dropped"
"""The database was away for too long."""
IGNORED = "ignored"
"""Acknowledgements of events that the client has not received, or has acknowledged before."""


class _Open:
    """An event of which acknowledgements are expected."""

    __slots__ = ("expected", "recorded")

    def __init__(self) -> None:
        self.expected: dict[str, bool] = {}
        """The recipients that have not acknowledged it; True if they have a receipt, and are not only counted."""
        self.recorded = 0


class _Reached(NamedTuple):
    """An event was written to clients of these recipients."""

    position: str
    recipients: tuple[str, ...]
    at: float
    replayed: bool


class _Acknowledged(NamedTuple):
    position: str
    recipient: str
    at: float


class _Taken(NamedTuple):
    """What one transaction stores."""

    events: dict[str, EventRow]
    reached: list[_Reached]
    acknowledged: list[_Acknowledged]
    claims: list[_Acknowledged]
    more: dict[str, list[int]]

    @property
    def size(self) -> int:
        return sum(len(one.recipients) for one in self.reached) + len(self.acknowledged)


class ReceiptRecorder(Observer):
    """The receipts of one system at one process. `now` gives seconds since 1970."""

    def __init__(
        self,
        system: str,
        database: Database,
        retention: float,
        max_receipts: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`retention` is in seconds. Of each event, `max_receipts` recipients have receipts."""
        self._system = system
        self._database = database
        self._retention = retention
        self._max_receipts = max_receipts
        self._now = now
        self.results: Counter[str] = Counter()
        """Recipients and acknowledgements since the start: RECORDED, COUNTED, ACKNOWLEDGED, DROPPED, IGNORED."""
        self._open: dict[str, _Open] = {}
        self._expected = 0
        """Number of expected acknowledgements of all open events."""
        self._events: dict[str, EventRow] = {}
        self._reached: deque[_Reached] = deque()
        self._recipients = 0
        """Number of recipients in `_reached`."""
        self._acknowledged: deque[_Acknowledged] = deque()
        self._claims: deque[_Acknowledged] = deque()
        self._claimed: Counter[str] = Counter()
        """Number of claims that wait, by recipient."""
        self._more: dict[str, list[int]] = {}
        self._pruned_at = float("-inf")
        self._woken = False
        """True if a round is due in FLUSH_INTERVAL."""
        self._writing = PeriodicTask("receipts", self._round)
        self._sparse = SparseLog(logger, interval=10.0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Store receipts, and delete old ones, while inside."""
        try:
            async with self._writing.running():
                yield
        finally:
            with suppress(DatabaseUnavailableError):
                while self.waiting or self._claims:
                    await self._store(self._take(float("inf")))

    @property
    def waiting(self) -> int:
        """Number of events, recipients and acknowledgements that are not stored yet."""
        return len(self._events) + self._recipients + len(self._acknowledged) + len(self._more)

    async def flushed(self) -> None:
        """Wait until what was reported by now is stored."""
        while self.waiting:
            await self._writing.done()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_later(FLUSH_INTERVAL, self._writing.trigger)

    # Reports.

    def sent(self, report: SentReport) -> None:
        position, recipients, now = report.position, tuple(dict.fromkeys(report.recipients)), self._now()
        if not self._has_room(1 + len(recipients)):
            return
        self._wake()
        if position not in self._events:
            rooms, excluded = encode_json(report.rooms).decode(), encode_json(report.excluded).decode()
            self._events[position] = EventRow(position, report.named, report.name, rooms, excluded, now)
        if recipients:
            self._expect(position, recipients, now, report.replayed)

    def _expect(self, position: str, recipients: tuple[str, ...], now: float, replayed: bool) -> None:
        opened = self._open.get(position)
        if opened is None:
            opened = self._open[position] = _Open()
        left, before = self._max_receipts - opened.recorded, len(opened.expected)
        listed, more = recipients[:left], recipients[left:]
        opened.expected |= dict.fromkeys(more, False) | dict.fromkeys(listed, True)
        opened.recorded += len(listed)
        self._expected += len(opened.expected) - before
        self.results[RECORDED] += len(listed)
        for start in range(0, len(listed), PART):
            self._reached.append(_Reached(position, listed[start : start + PART], now, replayed))
        self._recipients += len(listed)
        if more:
            self._count_more(position, 1 if replayed else 0, len(more))
        while self._expected > MAX_OPEN and len(self._open) > 1:
            oldest = next(iter(self._open))
            self._expected -= len(self._open.pop(oldest).expected)

    def acknowledged(self, report: AcknowledgeReport) -> None:
        self._wake()
        position, recipient = report.position, report.recipient
        opened = self._open.get(position)
        listed = opened.expected.pop(recipient, None) if opened is not None else None
        one = _Acknowledged(position, recipient, self._now())
        if opened is None or listed is None:
            # Another process may have sent the event, before the client reconnected.
            if len(self._claims) < MAX_CLAIMS and self._claimed[recipient] < MAX_CLAIMS_EACH:
                self._claims.append(one)
                self._claimed[recipient] += 1
            else:
                self.results[IGNORED] += 1
            return
        self._expected -= 1
        if not opened.expected:
            del self._open[position]
        self.results[ACKNOWLEDGED] += 1
        if not listed:
            self._count_more(position, 2, 1)
        elif self._has_room(1):
            self._acknowledged.append(one)

    def _count_more(self, position: str, kind: int, number: int) -> None:
        self._more.setdefault(position, [0, 0, 0])[kind] += number
        self.results[COUNTED] += number

    def _has_room(self, number: int) -> bool:
        if self.waiting + number <= MAX_WAITING:
            return True
        self._drop(number)
        return False

    def _drop(self, number: int) -> None:
        self.results[DROPPED] += number
        dropped = self.results[DROPPED]
        self._sparse.warning(
            "receipts are lost: the database is away or too slow", system=self._system, dropped=dropped
        )

    # Storing.

    async def _round(self) -> float:
        self._woken = False
        now = self._now()
        if now - self._pruned_at >= PRUNE_INTERVAL:
            while await self._database.run_maintenance(store.prune, self._system, now - self._retention):
                pass
            self._pruned_at = now
        taken = self._take(now)
        if any(taken):
            await self._store(taken)
        if self.waiting:
            return FLUSH_INTERVAL if self._woken else 0.0
        return CLAIM_DELAY if self._claims else PRUNE_INTERVAL

    def _take(self, now: float) -> _Taken:
        """What is stored next: about PART receipts. An acknowledgement never before its receipt."""
        events = {position: self._events.pop(position) for position in list(islice(self._events, PART))}
        reached, left = list[_Reached](), PART
        while self._reached and left > 0:
            reached.append(self._reached.popleft())
            left -= len(reached[-1].recipients)
        self._recipients -= sum(len(one.recipients) for one in reached)
        acknowledged, claims, more = list[_Acknowledged](), list[_Acknowledged](), dict[str, list[int]]()
        if not self._reached and not self._events:
            acknowledged = [self._acknowledged.popleft() for _ in range(min(PART, len(self._acknowledged)))]
            while self._claims and self._claims[0].at + CLAIM_DELAY <= now and len(claims) < PART:
                claims.append(self._claims.popleft())
            self._claimed -= Counter(one.recipient for one in claims)
            more, self._more = self._more, {}
        return _Taken(events, reached, acknowledged, claims, more)

    async def _store(self, taken: _Taken) -> None:
        try:
            await self._database.run_maintenance(_write, self._system, taken)
        except DatabaseUnavailableError:
            self._put_back(taken)
            raise
        except Exception as error:
            # The same transaction would fail again.
            logger.error("receipts cannot be stored", system=self._system, exc_info=error)
            self._drop(taken.size)
        except BaseException:
            self._put_back(taken)
            raise

    def _put_back(self, taken: _Taken) -> None:
        self._events = taken.events | self._events
        self._reached.extendleft(reversed(taken.reached))
        self._recipients += sum(len(one.recipients) for one in taken.reached)
        self._acknowledged.extendleft(reversed(taken.acknowledged))
        self._claims.extendleft(reversed(taken.claims))
        self._claimed.update(one.recipient for one in taken.claims)
        for position, numbers in taken.more.items():
            known = self._more.setdefault(position, [0, 0, 0])
            self._more[position] = [one + other for one, other in zip(known, numbers, strict=True)]


def _write(connection: Connection, system: str, taken: _Taken) -> None:
    reached: dict[tuple[str, str], tuple[float | None, float | None]] = {}
    for position, recipients, at, replayed in taken.reached:
        for recipient in recipients:
            live, again = reached.get((position, recipient), (None, None))
            if replayed:
                again = at if again is None else again
            else:
                live = at if live is None else live
            reached[position, recipient] = (live, again)
    acknowledged: dict[tuple[str, str], float] = {}
    for position, recipient, at in (*taken.acknowledged, *taken.claims):
        acknowledged.setdefault((position, recipient), at)
    batch = Batch(
        list(taken.events.values()),
        [(*key, *times) for key, times in reached.items()],
        [(*key, at) for key, at in acknowledged.items()],
        {position: (live, replayed, done) for position, (live, replayed, done) in taken.more.items()},
    )
    store.write(connection, system, batch)
