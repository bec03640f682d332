"""`rez` without a server: its transactions on a real database, and what they have said to the log."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from oyez.runtime import Publisher
from oyez.service.database.database import MIGRATIONS, Database
from oyez.service.outbox.jobs import Jobs
from oyez.service.outbox.outbox import Outbox
from oyez.settings import Limits
from oyez.systems.rez import system
from oyez.systems.rez.carts import RESERVATION_ENDS, end_reservation
from tests.support.clock import WALL_TIME, Clock
from tests.support.ledger import Emitted, Ledger


@dataclass
class Shop:
    database: Database
    log: Ledger
    outbox: Outbox
    jobs: Jobs
    clock: Clock
    _read: int = field(default=0)

    async def do(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a transaction, and wait until the log has what it says."""
        result = await self.outbox.run(function, *args)
        await self.outbox.drained()
        return result

    def emitted(self) -> list[Emitted]:
        """The events and control entries since the last call."""
        start, self._read = self._read, len(self.log.stored)
        return self.log.emitted(start)

    def emitted_names(self) -> list[str]:
        return [name for name, _, _ in self.emitted()]


@asynccontextmanager
async def open_shop(url: str) -> AsyncIterator[Shop]:
    """An empty shop on the database at `url`."""
    log, clock, database = Ledger(), Clock(WALL_TIME), Database(url)
    database.migrate("oyez", MIGRATIONS / "versions")
    assert system.migrations is not None
    database.migrate("rez", system.migrations)
    outbox = Outbox(database, Publisher(system.contract, log, Limits(), clock), log, clock=clock)
    jobs = Jobs(database, outbox, {RESERVATION_ENDS: end_reservation}, system="rez", clock=clock)
    async with AsyncExitStack() as stack:
        stack.callback(database.close)
        await stack.enter_async_context(outbox.relaying(lambda: 0.2))
        await stack.enter_async_context(jobs.running())
        yield Shop(database, log, outbox, jobs, clock)
