"""A log in memory that shows what was appended to it, and a process with database, outbox and jobs on it."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import msgspec

from oyez.log.log import Checkpoint, Entry
from oyez.log.memory import MemoryLog
from oyez.runtime import Publisher
from oyez.service.database.database import MIGRATIONS, Database
from oyez.service.outbox.jobs import Job, Jobs
from oyez.service.outbox.members import Members
from oyez.service.outbox.outbox import Outbox
from oyez.service.system import System
from oyez.settings import Limits
from tests.support.clock import WALL_TIME, Change, Clock

DRAIN_TIMEOUT = 0.2
"""Seconds that a process waits at its end for a log that stays unavailable."""


class Emitted(NamedTuple):
    """An event, or a control entry, as the log has it."""

    name: str
    rooms: tuple[str, ...]
    data: Any


class Ledger(MemoryLog):
    """A log whose entries stay readable after the retention."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock=clock or time.monotonic)
        self.stored: dict[str, Entry] = {}
        self.changed = Change()

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        positions = await super().append(entries, checkpoint)
        # An entry with the key of an earlier entry has the position of that entry, and is not stored again.
        for position, entry in zip(positions, entries, strict=True):
            self.stored.setdefault(position, entry)
        self.changed.set()
        return positions

    def emitted(self, start: int = 0) -> list[Emitted]:
        """The entries from number `start` on, without the probes of the log, which have no namespace."""
        return [read(entry) for entry in list(self.stored.values())[start:] if entry.namespace]


def read(entry: Entry) -> Emitted:
    data = msgspec.json.decode(entry.data)
    name, payload = (entry.control, data) if entry.control else data
    return Emitted(name, entry.rooms, payload)


@dataclass
class Process:
    """What one process has of a system, without a server."""

    database: Database
    log: Ledger
    outbox: Outbox
    jobs: Jobs
    members: Members
    clock: Clock
    _read: int = field(default=0)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        system: System,
        log: Ledger | None = None,
        *,
        clock: Clock | None = None,
        jobs: Mapping[str, Job] | None = None,
        relays: bool = True,
    ) -> AsyncIterator[Self]:
        """A running process on the database at `url`, with `log` or one of its own."""
        log, clock, database, name = log or Ledger(), clock or Clock(WALL_TIME), Database(url), system.contract.name
        database.migrate("oyez", MIGRATIONS / "versions")
        if system.migrations is not None:
            database.migrate(name, system.migrations)
        elif system.tables is not None:
            database.create(system.tables)
        outbox = Outbox(database, Publisher(system.contract, log, Limits(), clock), log, clock=clock)
        working = Jobs(database, outbox, jobs or {}, system=name, clock=clock)
        async with AsyncExitStack() as stack:
            stack.callback(database.close)
            if relays:
                await stack.enter_async_context(outbox.relaying(lambda: DRAIN_TIMEOUT))
                await stack.enter_async_context(working.running())
            yield cls(database, log, outbox, working, Members(name, database, system.contract), clock)

    async def do(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a transaction, and wait until its events are in the log."""
        result = await self.outbox.run(function, *args)
        await self.outbox.drained()
        return result

    def emitted(self) -> list[Emitted]:
        """The events and control entries since the last call."""
        start, self._read = self._read, len(self.log.stored)
        return self.log.emitted(start)

    def emitted_names(self) -> list[str]:
        return [name for name, _, _ in self.emitted()]
