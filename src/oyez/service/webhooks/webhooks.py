"""The webhooks of one system in one process.

One process of all leads: it shows signs of life in the database, reads the log and sends the deliveries. If it stops
or is killed, another one continues. A process that was paused for longer than its lease knows that by its own clock and
sends nothing more; an attempt that was under way may then be made twice, with the same `webhook-id`.
"""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from oyez.concurrency.sparse_log import SparseLog
from oyez.concurrency.task_set import TaskSet, cancel_tasks
from oyez.contract.contract import Contract
from oyez.errors import UnavailableError
from oyez.log.log import Log
from oyez.logger import get_logger
from oyez.runtime.old_forms import OldEventForms
from oyez.service.database.database import Database
from oyez.service.webhooks import store
from oyez.service.webhooks.declared import build_declared, was_declared, write_declared
from oyez.service.webhooks.reader import LostLeadError, Reader
from oyez.service.webhooks.schedule import Schedule
from oyez.service.webhooks.sender import Rules, Sender
from oyez.service.webhooks.store import MAX_WAITING, Beat, Receiver
from oyez.settings import Settings, WebhookSettings
from oyez.tracing import Tracing

logger = get_logger("oyez.service")
_sparse = SparseLog(logger, interval=10.0)

LEASE = 3.0
"""Seconds without a sign of life after which a leader is replaced: the longest delay when it is killed."""
RENEW_INTERVAL = 1.0
"""Seconds between two renewals of the lease, and between two attempts to become the leader."""
SAFE_LEASE = LEASE - 1.0
"""Seconds after a renewal for which no other process can lead: shorter than what the others wait."""
PRUNE_INTERVAL = 3600.0
"""Seconds between two deletions of old dead letters."""
CLOSE_SECONDS = 1.0
"""Seconds that the database has to give up the lease when the process stops."""


class Backlog(NamedTuple):
    """The deliveries of all receivers of a system."""

    waiting: int = 0
    """For receivers that are enabled."""
    dead: int = 0
    disabled: int = 0
    """Number of receivers that are disabled."""


class Webhooks:
    """Sends the events of one system that may go out."""

    def __init__(
        self,
        contract: Contract,
        log: Log,
        database: Database,
        rules: Rules,
        *,
        declared: Mapping[str, WebhookSettings] | None = None,
        clock: Callable[[], float] = time.time,
        tracing: Tracing | None = None,
    ) -> None:
        """`clock` gives seconds since 1970. `declared` are the receivers in the settings. Raises SettingsError."""
        self._tracing = tracing
        self.system = contract.name
        self.events = {name: event for name, event in contract.events.items() if event.webhook}
        self.versions = contract.versions.names
        self._old_forms = OldEventForms(contract)
        self.log = log
        self.database = database
        self.rules = rules
        self.clock = clock
        self._declared = build_declared(
            declared or {}, self.system, self.events, self.versions, clock(), private=rules.private
        )
        self._declared_written = False
        self._node = ""
        self._renewed = -LEASE
        self._seen: Beat | None = None
        """The last sign of life of another process that leads, and when it was first seen."""
        self._seen_at = 0.0
        self._prune_at = 0.0
        self._woken = asyncio.Event()
        self._stopping = False
        self._senders: dict[str, Sender] = {}
        self.attempts: Counter[str] = Counter()
        """The attempts that this process has made, by their result: ACCEPTED, REPEATED, DEAD."""
        self._tasks = TaskSet(on_error=self._report)

    @asynccontextmanager
    async def running(self, drain_timeout: Callable[[], float]) -> AsyncIterator[None]:
        """Send webhooks while inside. At the end, attempts that are under way have `drain_timeout()` seconds."""
        if not self.events:
            yield
            return
        # Only now: processes that are forked from one must have different ids.
        self._node = secrets.token_hex(8)
        self._stopping = False
        working = asyncio.create_task(self._run())
        try:
            yield
            self._stopping = True
            self._stop_senders()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(drain_timeout(), self.rules.timeout)):
                    await self._tasks.drain()
        finally:
            self._stopping = True
            await cancel_tasks(working)
            self._tasks.cancel()
            await self._tasks.drain()
            with suppress(UnavailableError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.database.run(store.stop_leading, self.system, self._node)

    def wake(self, receiver: str | None = None) -> None:
        """Look for changed receivers now, and for deliveries of one of them."""
        self._woken.set()
        if receiver in self._senders:
            self._senders[receiver].wake()

    async def count(self) -> "Backlog":
        """What the database holds of all receivers. Raises UnavailableError."""
        if not self.events:
            return Backlog()
        known = await self._list_receivers()
        counts = await self.database.read(store.count_deliveries, [receiver.id for receiver in known])
        disabled = {receiver.id for receiver in known if receiver.disabled is not None}
        return Backlog(
            waiting=sum(count.waiting for id, count in counts.items() if id not in disabled),
            dead=sum(count.dead for count in counts.values()),
            disabled=len(disabled),
        )

    def declares(self, receiver: str) -> bool:
        """True if the settings declare the receiver with this id."""
        return any(one.id == receiver for one in self._declared)

    def leads(self) -> bool:
        """True if no other process can lead now."""
        return not self._stopping and time.monotonic() - self._renewed < SAFE_LEASE

    async def _run(self) -> None:
        while True:
            try:
                await self._write_declared()
                if await self._list_receivers() and await self._renew():
                    await self._lead()
            except LostLeadError:
                logger.info("another process sends the webhooks now", system=self.system)
            except UnavailableError as error:
                _sparse.warning("webhooks wait", system=self.system, reason=str(error))
            except Exception as error:
                self._report(error)
            await self._pause()

    async def _write_declared(self) -> None:
        """Write the receivers of the settings, once in each process."""
        if self._declared_written:
            return
        if self._declared or any(was_declared(one.id) for one in await self._list_receivers()):
            since = await self.log.position()
            await self.database.run(write_declared, self.system, self._declared, since, self.clock())
        self._declared_written = True

    async def _list_receivers(self) -> list[Receiver]:
        return await self.database.read(store.list_receivers, self.system)

    async def _renew(self) -> bool:
        before = time.monotonic()
        expired = self._seen if before - self._seen_at > LEASE else None
        leader = await self.database.run(store.lead, self.system, self._node, expired)
        if leader.node == self._node:
            self._renewed = before
            return True
        if leader != self._seen:
            self._seen, self._seen_at = leader, time.monotonic()
        return False

    async def _lead(self) -> None:
        """Read and send until no receiver is left. Raises LostLeadError, UnavailableError."""
        reader = Reader(
            self.system,
            self._node,
            self.log,
            self.database,
            self.events,
            self._old_forms,
            clock=self.clock,
            on_stored=self._wake_all,
        )
        reading: asyncio.Task[None] | None = None
        try:
            while known := await self._list_receivers():
                await self._follow(known, reader)
                if reading is None and reader.receivers:
                    reading = asyncio.create_task(reader.run())
                    reading.add_done_callback(lambda _: self._woken.set())
                if reading is not None and not reader.receivers:
                    await cancel_tasks(reading)
                    reading = None
                if reading is None:
                    # Nobody wants the events that are published now.
                    await self._forget_position()
                await self._pause()
                if reading is not None and reading.done():
                    reading.result()
                if not await self._renew():
                    raise LostLeadError("The lease was lost.")
            await self._forget_position()
        finally:
            self._stop_senders()
            if reading is not None:
                await cancel_tasks(reading)

    async def _follow(self, known: Sequence[Receiver], reader: Reader) -> None:
        """Let the reader and the senders know which receivers there are."""
        enabled = [receiver for receiver in known if receiver.disabled is None]
        counts = await self.database.read(store.count_deliveries, [receiver.id for receiver in enabled])
        reader.receivers = enabled
        reader.full = frozenset(id for id, count in counts.items() if count.waiting >= MAX_WAITING)
        for receiver in enabled:
            if receiver.id not in self._senders:
                self._tasks.spawn(self._send(receiver.id))
        if self.clock() >= self._prune_at:
            self._prune_at = self.clock() + PRUNE_INTERVAL
            for receiver in known:
                await self.database.run(store.prune_dead, receiver.id, self.clock())

    async def _send(self, id: str) -> None:
        sender = Sender(
            self.system,
            id,
            self.database,
            self.rules,
            clock=self.clock,
            leads=self.leads,
            attempts=self.attempts,
            tracing=self._tracing,
        )
        self._senders[id] = sender
        try:
            await sender.run()
        finally:
            del self._senders[id]

    async def _forget_position(self) -> None:
        position, _ = await self.database.read(store.read_position, self.system)
        if position is not None:
            await self.database.run(store.forget_position, self.system, self._node)

    async def _pause(self) -> None:
        """Wait for a change, for the end of the reader, or for the next renewal."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RENEW_INTERVAL):
                await self._woken.wait()
        self._woken.clear()

    def _wake_all(self, receivers: Collection[str]) -> None:
        for id in self._senders.keys() & receivers:
            self._senders[id].wake()

    def _stop_senders(self) -> None:
        for sender in self._senders.values():
            sender.stop()

    def _report(self, error: Exception) -> None:
        _sparse.warning("webhooks failed, and are tried again", system=self.system, error=repr(error))


def build_rules(settings: Settings) -> Rules:
    """The rules that the settings state. Raises SettingsError."""
    return Rules(
        Schedule(settings.webhook_delays),
        timeout=settings.webhook_timeout,
        private=settings.allows_private_webhooks,
        disable_after=settings.webhook_disable_after,
    )
