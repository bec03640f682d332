"""Rows by their ids."""

from typing import Any

from sqlalchemy import Connection, Row, Table, select

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
