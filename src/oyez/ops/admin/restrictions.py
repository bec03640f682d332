"""Restrictions in a table: users who are blocked and tokens that were revoked, so that operators see them.

What refuses clients are the records of the log (`runtime/revoked_tokens.py`). They are written again when a server
starts, in case the log was lost.
"""

from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from oyez.contract.types import Time
from oyez.ops.admin.answers import Restriction
from oyez.service.database.tables import restrictions

MAX_LISTED = 1_000
"""Restrictions in one answer."""


def store(connection: Connection, restriction: Restriction) -> None:
    """Store a restriction, in place of an earlier one of the same kind and subject."""
    remove(connection, restriction.system, restriction.kind, restriction.subject)
    values = {
        "system": restriction.system,
        "kind": restriction.kind,
        "subject": restriction.subject,
        "since": restriction.since.seconds,
        "until": restriction.until.seconds,
        "by": restriction.by,
        "reason": restriction.reason,
    }
    connection.execute(insert(restrictions).values(**values))


def remove(connection: Connection, system: str, kind: str, subject: str) -> bool:
    """True if there was such a restriction."""
    same = (restrictions.c.system == system) & (restrictions.c.kind == kind) & (restrictions.c.subject == subject)
    return connection.execute(delete(restrictions).where(same)).rowcount > 0


def list_all(
    connection: Connection, now: float, system: str | None = None, user: str | None = None
) -> list[Restriction]:
    """The restrictions that hold, the newest first; with `user`, only those of this user."""
    wanted = [restrictions.c.until > now]
    if system is not None:
        wanted.append(restrictions.c.system == system)
    if user is not None:
        wanted.append(restrictions.c.subject == user)
        wanted.append(restrictions.c.kind.in_(("block", "user")))
    listed = select(restrictions).where(*wanted).order_by(restrictions.c.since.desc()).limit(MAX_LISTED)
    return [_show(row) for row in connection.execute(listed)]


def count(connection: Connection, now: float) -> int:
    """Number of restrictions that hold."""
    return connection.execute(select(func.count()).where(restrictions.c.until > now)).scalar_one()


def prune(connection: Connection, now: float) -> None:
    """Delete those that have ended."""
    connection.execute(delete(restrictions).where(restrictions.c.until <= now))


def _show(row: Row[Any]) -> Restriction:
    return Restriction(
        system=row.system,
        kind=row.kind,
        subject=row.subject,
        since=Time.at(row.since),
        until=Time.at(row.until),
        by=row.by,
        reason=row.reason,
    )
