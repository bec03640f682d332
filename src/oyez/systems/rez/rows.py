"""Rows and pages: what the parts of `rez` ask of their tables alike."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, select

from oyez.errors import RefusedError
from oyez.systems.rez.contract import NOT_FOUND


def find_row(connection: Connection, table: Table, id: str) -> Row[Any] | None:
    """The row of that id."""
    return connection.execute(select(table).where(table.c.id == id)).one_or_none()


def get_row(connection: Connection, table: Table, id: str) -> Row[Any]:
    """The row of that id. Raises RefusedError (not_found)."""
    row = find_row(connection, table, id)
    if row is None:
        raise RefusedError(NOT_FOUND, f"There is no {table.name.removeprefix('rez_').removesuffix('s')} {id!r}.")
    return row


def list_rows(
    connection: Connection, table: Table, after: int, limit: int, *where: ColumnElement[bool]
) -> Sequence[Row[Any]]:
    """Up to `limit` rows behind number `after`, oldest first."""
    query = select(table).where(table.c.number > after, *where).order_by(table.c.number).limit(limit)
    return connection.execute(query).all()
