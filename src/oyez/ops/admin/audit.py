"""The audit: who did what. Its table only grows, until records are older than the setting `audit_days`.

A record of an operator is stored before the action, so no action is without one. What back ends do is many, so it is
gathered for a second, and publications of the same event by the same key in one second are one record.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, delete, insert, or_, select

from oyez.concurrency.periodic import PeriodicTask
from oyez.contract.codec import encode_json
from oyez.contract.types import Time
from oyez.errors import DatabaseUnavailableError
from oyez.logger import get_logger
from oyez.observer import HTTP, Observer, PublishReport, ServiceReport
from oyez.ops.admin.changes import AuditQuery, AuditRecord
from oyez.service.database.database import Database
from oyez.service.database.tables import audit

logger = get_logger("oyez.ops")

FLUSH_INTERVAL = 1.0
"""Seconds for which records of back ends are gathered: a killed process loses so many."""
MAX_GATHERED = 10_000
"""Records that wait for the database; over it the oldest are lost, which is logged."""
MAX_ROOMS = 5
"""Rooms of publications that a record names."""
PRUNE_INTERVAL = 600.0
"""Seconds between two deletions of old records."""
PRUNED = 10_000
"""Records that one transaction deletes."""
EXPORT_PAGE = 500
DONE, BEGUN = "done", "begun"


@dataclass(slots=True)
class _Published:
    """Publications of one event by one key in one second."""

    at: float
    count: int = 0
    first: str | None = None
    last: str | None = None
    rooms: dict[str, None] = field(default_factory=dict)

    def add(self, report: PublishReport) -> None:
        self.count += 1
        self.first, self.last = self.first or report.position, report.position or self.last
        for room in report.rooms[:MAX_ROOMS]:
            if len(self.rooms) < MAX_ROOMS:
                self.rooms[room] = None

    def describe(self) -> dict[str, Any]:
        return {"count": self.count, "first": self.first, "last": self.last, "rooms": list(self.rooms)}


class Audit(Observer):
    """Records what operators and back ends do. `now` gives seconds since 1970."""

    def __init__(self, retention: float, now: Callable[[], float] = time.time) -> None:
        """`retention` is in seconds."""
        self._retention = retention
        self._now = now
        self._database: Database | None = None
        self._gathered: list[dict[str, Any]] = []
        self._published: dict[tuple[str, str, str], _Published] = {}
        self._lost = 0
        self._pruned_at = float("-inf")

    @asynccontextmanager
    async def running(self, database: Database) -> AsyncIterator[None]:
        """Store gathered records, and delete old ones, while inside."""
        self._database = database
        try:
            async with PeriodicTask("audit", self._round).running():
                yield
        finally:
            with suppress(DatabaseUnavailableError):
                await self._flush(database)
            self._database = None

    # What back ends do.

    def published(self, report: PublishReport) -> None:
        if report.origin != HTTP:
            # Systems publish for users; operators' publications have a record of their own.
            return
        key = (report.system, report.caller, report.name)
        published = self._published.get(key)
        if published is None:
            published = self._published[key] = _Published(self._now())
        published.add(report)

    def served(self, report: ServiceReport) -> None:
        row = _row(
            self._now(),
            "service",
            report.caller,
            report.action,
            report.system,
            report.path,
            report.outcome,
            report.address,
            {"method": report.method},
        )
        self._gather(row)

    def _gather(self, row: dict[str, Any]) -> None:
        self._gathered.append(row)
        if len(self._gathered) > MAX_GATHERED:
            del self._gathered[0]
            self._lost += 1

    async def _round(self) -> float:
        assert self._database is not None
        await self._flush(self._database)
        now = self._now()
        if now - self._pruned_at >= PRUNE_INTERVAL:
            while await self._database.run_maintenance(_prune, now - self._retention) == PRUNED:
                pass
            self._pruned_at = now
        return FLUSH_INTERVAL

    async def _flush(self, database: Database) -> None:
        for (system, caller, event), published in self._published.items():
            self._gather(
                _row(published.at, "service", caller, "publish", system, event, DONE, "", published.describe())
            )
        self._published = {}
        rows, self._gathered = self._gathered, []
        if rows:
            try:
                await self._store_all(database, rows)
            except BaseException:
                self._gathered = rows + self._gathered
                raise
        if self._lost:
            logger.error("records of the audit were lost: the database was away for too long", records=self._lost)
            self._lost = 0

    async def _store_all(self, database: Database, rows: list[dict[str, Any]]) -> None:
        """Store gathered records, and remove them from `rows`; one that the database refuses is lost alone."""
        try:
            await database.run(_store, rows)
            rows.clear()
        except DatabaseUnavailableError:
            raise
        except Exception:
            while rows:
                try:
                    await database.run(_store, rows[:1])
                except DatabaseUnavailableError:
                    raise
                except Exception as error:
                    lost = rows[0]
                    names = {name: lost[name] for name in ("by", "action", "system")}
                    logger.error("a record of the audit was lost: the database refuses it", **names, exc_info=error)
                del rows[0]

    # What operators do.

    async def record(
        self,
        by: str,
        action: str,
        *,
        system: str = "",
        target: str = "",
        outcome: str = BEGUN,
        address: str = "",
        details: Any = None,
    ) -> None:
        """Store what an operator is about to do. Raises DatabaseUnavailableError: then it must not be done."""
        if self._database is None:
            raise DatabaseUnavailableError("The audit is not running.")
        row = _row(self._now(), "operator", by, action, system, target, outcome, address, details)
        await self._database.run(_store, [row])

    async def find(self, query: AuditQuery) -> list[AuditRecord]:
        """A page of records, the newest first, and one record more if there is another page."""
        assert self._database is not None
        found = _select(query).order_by(audit.c.id.desc()).limit(query.limit + 1)
        if query.before is not None:
            found = found.where(audit.c.id < query.before)
        return await self._database.read(_read, found)

    async def export(self, query: AuditQuery) -> AsyncIterator[bytes]:
        """All records that fit, the oldest first, as JSON lines."""
        assert self._database is not None
        last = 0
        while True:
            page = _select(query).where(audit.c.id > last).order_by(audit.c.id).limit(EXPORT_PAGE)
            records = await self._database.read(_read, page)
            if not records:
                return
            last = records[-1].id
            yield b"".join(encode_json(record) + b"\n" for record in records)


def _row(
    at: float,
    kind: str,
    by: str,
    action: str,
    system: str,
    target: str,
    outcome: str,
    address: str,
    details: Any,
) -> dict[str, Any]:
    return {
        "at": at,
        "kind": kind,
        "by": by,
        "action": action,
        "system": system,
        "target": target,
        "outcome": outcome,
        "address": address[:64],
        "details": encode_json(details).decode(),
    }


def _store(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    connection.execute(insert(audit), list(rows))


def _prune(connection: Connection, before: float) -> int:
    old = select(audit.c.id).where(audit.c.at < before).limit(PRUNED).scalar_subquery()
    return connection.execute(delete(audit).where(audit.c.id.in_(old))).rowcount


def _select(query: AuditQuery) -> Select[Any]:
    wanted = []
    for column, value in ((audit.c.system, query.system), (audit.c.by, query.by), (audit.c.action, query.action)):
        if value is not None:
            wanted.append(column == value)
    if query.since is not None:
        wanted.append(audit.c.at >= query.since.seconds)
    if query.until is not None:
        wanted.append(audit.c.at < query.until.seconds)
    if query.search:
        wanted.append(
            or_(
                audit.c.target.icontains(query.search, autoescape=True),
                audit.c.details.icontains(query.search, autoescape=True),
            )
        )
    return select(audit).where(*wanted)


def _read(connection: Connection, found: Select[Any]) -> list[AuditRecord]:
    return [_show(row) for row in connection.execute(found)]


def _show(row: Row[Any]) -> AuditRecord:
    return AuditRecord(
        id=row.id,
        at=Time.at(row.at),
        by=row.by,
        kind=row.kind,
        action=row.action,
        system=row.system,
        target=row.target,
        outcome=row.outcome,
        address=row.address,
        details=msgspec.json.decode(row.details),
    )
