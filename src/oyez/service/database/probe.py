"""The database probe: every few seconds it tries to use the tables of a system."""

import asyncio

from sqlalchemy import Connection, MetaData, false, literal, select, union_all

from oyez.errors import DatabaseUnavailableError
from oyez.logger import get_logger
from oyez.service.database.database import Database
from oyez.service.database.tables import metadata

logger = get_logger("oyez.service")

INTERVAL = 2.0
"""Seconds between two looks. Each is one statement that reads no row."""
PATIENCE = 2.5
"""Seconds for one look: longer than the default time-out of a lock, and short enough that a failure is known
within five seconds."""
RETRY_INTERVAL = 0.5
"""Seconds between two looks while the database is unavailable."""


class DatabaseProbe:
    """Checks the database of one system with the same threads and engines that its transactions use."""

    def __init__(self, database: Database, system: str, own: MetaData | None) -> None:
        """`own` has the tables of the system, if it has any."""
        self.reason: str | None = None
        """Why the database is unavailable; None while it is available."""
        self._database = database
        self._system = system
        tables = [*metadata.tables.values(), *(own.tables.values() if own is not None else ())]
        looks = [select(literal(1)).select_from(table).where(false()) for table in tables]
        self._look = union_all(*looks)

    async def run(self) -> None:
        """Check repeatedly, until cancelled."""
        while True:
            self._note(await self._find_fault())
            await asyncio.sleep(INTERVAL if self.reason is None else RETRY_INTERVAL)

    async def _find_fault(self) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE):
                # As a transaction that writes: with SQLite it takes the lock. PostgreSQL waits for tables that are
                # locked, though no row is read.
                await self._database.run(self._read_nothing)
        except DatabaseUnavailableError as error:
            return str(error)
        except TimeoutError:
            return f"It does not answer within {PATIENCE} s."
        except Exception as error:  # Such as a table that was deleted.
            return repr(error)
        return None

    def _read_nothing(self, connection: Connection) -> None:
        connection.execute(self._look).all()

    def _note(self, reason: str | None) -> None:
        changed = (reason is None) is not (self.reason is None)
        self.reason = reason
        if changed and reason is not None:
            logger.error("the database is unavailable", system=self._system, reason=reason)
        elif changed:
            logger.info("the database is available again", system=self._system)
