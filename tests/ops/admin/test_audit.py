"""Records of the audit that the database refuses."""

import asyncio

from oyez.observer import ServiceReport
from oyez.ops.admin.audit import Audit
from oyez.ops.admin.changes import AuditQuery
from oyez.service.database.database import MIGRATIONS, Database
from tests.support.clock import PATIENCE
from tests.support.postgres import PostgreSQL


def report(path: str) -> ServiceReport:
    return ServiceReport("pharmacy", "key", "PUT", "/pharmacy/x", path, "done", "127.0.0.1")


async def test_one_that_cannot_be_stored_is_lost_alone(postgresql: PostgreSQL) -> None:
    database = Database(postgresql.make_database())
    try:
        database.migrate("oyez", MIGRATIONS / "versions")
        audit = Audit(86_400.0)
        async with audit.running(database):
            for path in ("/first", "/a\0b", "/last"):
                audit.served(report(path))
        async with asyncio.timeout(PATIENCE), audit.running(database):
            found = await audit.find(AuditQuery())
        assert [one.target for one in found] == ["/last", "/first"]
    finally:
        database.close()
