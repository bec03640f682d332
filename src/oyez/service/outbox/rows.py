"""The rows of the outbox's table: stored with a change, listed, set aside and deleted."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from sqlalchemy import Connection, LargeBinary, Text, cast, delete, insert, select, text, update
from sqlalchemy import Row as SqlRow
from sqlalchemy.dialects import sqlite

from oyez.log.log import Entry
from oyez.service.database.tables import outbox

MAX_BATCH = 500
"""Entries moved at a time: at most 5 MB, and one deletion for many transactions."""


class Row(NamedTuple):
    """One row of the outbox."""

    id: int
    created: float
    entry: Entry

    @property
    def checkpoint(self) -> bytes:
        """With the time, because a new database, or a restored one, begins with old numbers."""
        return f"{self.id}:{self.created}".encode()


class BadRow(NamedTuple):
    """A row that cannot become an entry."""

    id: int
    error: str


class StoredRows(NamedTuple):
    """The rows that one transaction has stored."""

    rows: Sequence[Row]
    """Empty if only the table knows them."""
    previous: int | None
    """The id of the last row that waited before them; None if no row waited."""


UNKNOWN_ROWS = StoredRows((), None)


def store_entries(connection: Connection, system: str, entries: Sequence[Entry], now: float) -> StoredRows:
    """Store entries as the last statements before the commit. `now` is seconds since 1970."""
    if connection.dialect.name != "sqlite":
        # Held until the commit, so that ids are in the order in which rows become visible.
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
        connection.execute(lock, {"name": f"oyez:outbox:{system}"})
        connection.execute(insert(outbox), [_values(system, entry, now) for entry in entries])
        return UNKNOWN_ROWS
    # By the driver: these statements are half of the work of a small transaction if SQLAlchemy executes them.
    driver: Any = connection.connection.driver_connection
    rows = []
    for entry in entries:
        values = _values(system, entry, now)
        values |= {name: _encode_json(values[name]) for name in ("rooms", "excluded")}
        id = driver.execute(_INSERT, tuple(values.values())).lastrowid
        rows.append(Row(id, now, msgspec.structs.replace(entry, key=_key(system, id, now))))
    previous = driver.execute(_PREVIOUS, (system, rows[0].id)).fetchone()
    return StoredRows(rows, previous and previous[0])


def _values(system: str, entry: Entry, now: float) -> dict[str, Any]:
    """The values of the columns _COLUMNS, in this order."""
    return {
        "system": system,
        "namespace": entry.namespace,
        "rooms": entry.rooms,
        "excluded": entry.excluded,
        "data": entry.data,
        "control": entry.control,
        "created": now,
        "trace": entry.trace or None,
    }


_COLUMNS = ("system", "namespace", "rooms", "excluded", "data", "control", "created", "trace")
_INSERT = str(insert(outbox).compile(dialect=sqlite.dialect(), column_keys=_COLUMNS))
_PREVIOUS = "SELECT id FROM oyez_outbox WHERE system = ? AND id < ? AND error IS NULL ORDER BY id DESC LIMIT 1"


def _encode_json(names: tuple[str, ...]) -> str:
    return msgspec.json.encode(names).decode()


def _key(system: str, id: int, created: float) -> str:
    # With the time, as in the checkpoint.
    return f"outbox:{system}:{id}:{created}"


_decode_rooms = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_event = msgspec.json.Decoder(Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1)]).decode
_decode_name = msgspec.json.Decoder(str).decode
_decode_control = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def list_rows(connection: Connection, system: str, after: int) -> list[Row | BadRow]:
    """The first MAX_BATCH entries that wait and have higher ids than `after`, by their ids."""
    columns = (
        outbox.c.id,
        outbox.c.created,
        outbox.c.namespace,
        outbox.c.control,
        outbox.c.trace,
        # Undecoded: a row that cannot be decoded must not prevent the others from being read.
        cast(outbox.c.rooms, Text).label("rooms"),
        cast(outbox.c.excluded, Text).label("excluded"),
        cast(outbox.c.data, LargeBinary).label("data"),
    )
    waits = (outbox.c.system == system) & (outbox.c.id > after) & outbox.c.error.is_(None)
    waiting = select(*columns).where(waits).order_by(outbox.c.id).limit(MAX_BATCH)
    return [_read_row(system, row) for row in connection.execute(waiting)]


def _read_row(system: str, row: SqlRow[Any]) -> Row | BadRow:
    try:
        text = row.data.decode()
        if row.control:
            _decode_control(text)
        name = "" if row.control else _decode_name(_decode_event(text)[0])
        entry = Entry(
            namespace=row.namespace,
            rooms=_decode_rooms(row.rooms),
            excluded=_decode_rooms(row.excluded),
            data=row.data,
            control=row.control,
            key=_key(system, row.id, row.created),
            name=name,
            trace=row.trace or "",
        )
    except (msgspec.MsgspecError, UnicodeError) as error:
        return BadRow(row.id, str(error))
    return Row(row.id, row.created, entry)


def set_aside(connection: Connection, row: BadRow) -> bool:
    """True if no other relay has done so already."""
    waits = (outbox.c.id == row.id) & outbox.c.error.is_(None)
    return connection.execute(update(outbox).where(waits).values(error=row.error)).rowcount == 1


def delete_rows(connection: Connection, system: str, last: int) -> None:
    moved = (outbox.c.system == system) & (outbox.c.id <= last) & outbox.c.error.is_(None)
    connection.execute(delete(outbox).where(moved))
