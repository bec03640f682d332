"""Reads the log for webhooks: each event that may go out becomes one delivery for each receiver that wants it.

The deliveries and the position up to which the log was read are stored in one transaction. So each event is stored
once for each receiver, whatever process reads it, and also if a process is killed.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b

import msgspec

from oyez.concurrency.task_set import cancel_tasks
from oyez.contract.contract import Event
from oyez.contract.old_forms import event_in_form
from oyez.errors import OyezError
from oyez.log.damage import DAMAGED
from oyez.log.log import Entry, Log, epoch_of, number_of
from oyez.logger import get_logger
from oyez.runtime.old_forms import OldEventForms
from oyez.service.database.database import Database
from oyez.service.webhooks import store
from oyez.service.webhooks.message import build_body, make_id
from oyez.service.webhooks.store import Message, Receiver

logger = get_logger("oyez.service")

MAX_PENDING = 2_000
"""Events in memory that are not stored yet, at most 10 KB each; over it, the log is read again from where it was."""
MOVE_INTERVAL = 1.0
"""Seconds between two writes of the position while the log has only events that do not go out."""
ALL = 10**15
"""More entries than a log keeps."""


class LostLeadError(OyezError):
    """Another process reads the log now."""


class _Last(msgspec.Struct, array_like=True):
    """The last event, which may follow again for another of its namespaces."""

    number: int
    digest: str
    namespaces: list[str]

    def is_followed_by(self, number: int, digest: str, namespace: str) -> bool:
        return (self.number + 1, self.digest) == (number, digest) and namespace not in self.namespaces


class Reader:
    """Reads the log of one system, in the process that leads."""

    def __init__(
        self,
        system: str,
        node: str,
        log: Log,
        database: Database,
        events: Mapping[str, Event],
        old_forms: OldEventForms,
        *,
        clock: Callable[[], float],
        on_stored: Callable[[Collection[str]], None],
    ) -> None:
        """`events` are those that may go out. `on_stored` is called with the ids of receivers that have deliveries."""
        self._system = system
        self._node = node
        self._log = log
        self._database = database
        self._events = events
        self._old_forms = old_forms
        self._clock = clock
        self._on_stored = on_stored
        self.receivers: Sequence[Receiver] = ()
        """Those that are enabled; the webhooks keep them up to date."""
        self.full: frozenset[str] = frozenset()
        """Receivers for which too many deliveries wait."""
        self._position: str | None = None
        """Up to here the log was read and stored."""
        self._seen: str | None = None
        self._last: _Last | None = None
        self._pending: list[Entry] = []
        self._overflowed = False
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled. Raises LostLeadError, LogUnavailableError, DatabaseUnavailableError."""
        position, last = await self._database.read(store.read_position, self._system)
        self._last = msgspec.convert(last, _Last) if last is not None else None
        self._position = position
        if position is None:
            await self._move(self._find_start(await self._log.position()), [], None)
        while True:
            try:
                await self._read_from(self._position)
            except KeyError:
                await self._skip_gap()

    def _find_start(self, newest: str) -> str:
        """The position after which the first of the receivers receives events."""
        since = [receiver.since for receiver in self.receivers]
        same = [position for position in since if epoch_of(position) == epoch_of(newest)]
        return min(same, key=number_of, default=newest)

    async def _read_from(self, position: str | None) -> None:
        """Read after `position` until too many events wait. Raises KeyError if the log no longer has them."""
        self._pending, self._seen, self._overflowed = [], position, False
        self._changed.clear()
        tailing = asyncio.create_task(self._log.tail(self._deliver, position))
        tailing.add_done_callback(lambda _: self._changed.set())
        try:
            while not (self._overflowed and not self._pending):
                with suppress(TimeoutError):
                    async with asyncio.timeout(MOVE_INTERVAL):
                        await self._changed.wait()
                self._changed.clear()
                await self._store_pending()
                if tailing.done():
                    # It ends with an error, or because the log is closed.
                    tailing.result()
                    await asyncio.Event().wait()
        finally:
            await cancel_tasks(tailing)

    def _deliver(self, entries: Sequence[Entry]) -> None:
        if self._overflowed:
            return
        for entry in entries:
            if entry.position is None:
                continue
            if entry.control == DAMAGED:
                logger.error(
                    "an entry of the log cannot be read; if it is an event, no webhook is sent for it",
                    system=self._system,
                    position=entry.position,
                )
            if not entry.control and entry.name in self._events:
                self._pending.append(entry)
                self._changed.set()
            self._seen = entry.position
            if len(self._pending) >= MAX_PENDING:
                # The next reading begins after this entry.
                self._overflowed = True
                return

    async def _store_pending(self) -> None:
        entries, self._pending = self._pending, []
        if self._seen == self._position or self._seen is None:
            return
        last, messages, now = self._last, [], self._clock()
        for entry in entries:
            assert entry.position is not None
            last, repeated = self._follow(entry, last)
            if not repeated:
                messages.append(self._make_message(entry, entry.position, now))
        await self._move(self._seen, messages, last)

    def _make_message(self, entry: Entry, position: str, now: float) -> Message:
        event = self._events[entry.name]
        body, old = build_body(event, entry, now), {}
        if event.was:
            forms = list(self._old_forms.list_forms(entry))
            for version, number in self._old_forms.list_versions(entry):
                form = forms[number]
                old[version] = build_body(event_in_form(event, number), form, now) if form is not None else None
        return Message(position, make_id(position), entry.name, body, old, entry.trace)

    def _follow(self, entry: Entry, last: _Last | None) -> tuple[_Last, bool]:
        """Note an entry; True if it is the same event as the one before it, for another namespace.

        An event that goes to several namespaces has one entry for each, with successive positions.
        """
        number = number_of(entry.position or "")
        digest = blake2b(entry.data, digest_size=12).hexdigest()
        if last is not None and last.is_followed_by(number, digest, entry.namespace):
            return _Last(number, digest, [*last.namespaces, entry.namespace]), True
        return _Last(number, digest, [entry.namespace]), False

    async def _move(self, position: str, messages: Sequence[Message], last: _Last | None) -> None:
        receivers = await self._database.run(
            store.move_position,
            self._system,
            self._node,
            (self._position, position),
            None if last is None else msgspec.to_builtins(last),
            messages,
            self._clock(),
            self.full,
        )
        if receivers is None:
            raise LostLeadError("Another process reads the log now.")
        self._position, self._last = position, last
        self._on_stored(receivers)

    async def _skip_gap(self) -> None:
        """Continue with the oldest entry that the log has, and say that events were lost."""
        oldest = await self._log.position_before(ALL)
        lost = _count_lost(self._position, oldest)
        logger.error(
            "events were lost for webhooks: the log deleted them before they were read",
            system=self._system,
            after=self._position,
            up_to=oldest,
            entries=lost if lost is not None else "unknown",
            remedy="set log_retention to more than the longest time for which no process of the server runs",
        )
        await self._database.run(store.count_gap, self._system)
        await self._move(oldest, [], None)


def _count_lost(before: str | None, oldest: str) -> int | None:
    """Entries between two positions; None if the log was replaced, so that their number is not known."""
    if before is None or epoch_of(before) != epoch_of(oldest):
        return None
    return number_of(oldest) - number_of(before)
