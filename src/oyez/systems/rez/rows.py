"""Rows, moments and pages: what the parts of `rez` ask of their tables alike."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Table, select

from oyez.contract import Time
from oyez.errors import RefusedError
from oyez.systems.rez.contract import NOT_FOUND


class Page(NamedTuple):
    """Part of a list: rows, oldest first, and the number after which the next page begins (None: this is the last)."""

    rows: Sequence[Row[Any]]
    next: int | None


def time_of(moment: float) -> Time:
    """`moment`, in seconds since 1970, as it is on the wire."""
    return Time.of(datetime.fromtimestamp(moment, UTC))


def seconds_of(time: Time) -> float:
    """The other way."""
    return datetime.fromisoformat(time).timestamp()


def find_row(connection: Connection, table: Table, id: str) -> Row[Any] | None:
    """The row of that id."""
    return connection.execute(select(table).where(table.c.id == id)).one_or_none()


def get_row(connection: Connection, table: Table, id: str) -> Row[Any]:
    """The row of that id. Raises RefusedError (not_found)."""
    row = find_row(connection, table, id)
    if row is None:
        raise RefusedError(NOT_FOUND, f"There is no {table.name.removeprefix('rez_').removesuffix('s')} {id!r}.")
    return row


def list_page(connection: Connection, table: Table, after: int, limit: int, *where: ColumnElement[bool]) -> Page:
    """Up to `limit` rows behind number `after`."""
    query = select(table).where(table.c.number > after, *where).order_by(table.c.number).limit(limit + 1)
    rows = connection.execute(query).all()
    return Page(rows[:limit], rows[limit - 1].number if len(rows) > limit else None)
