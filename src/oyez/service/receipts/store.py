"""The tables of receipts: plain functions, each in one transaction. All rows of a batch are one parameter, as JSON."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, case, delete, func, select, text, tuple_, update

from oyez.service.database.tables import receipt_events as events
from oyez.service.database.tables import receipts

PRUNED_EVENTS = 100
"""Events whose receipts one transaction deletes."""
PRUNED = 5_000
"""Receipts that one transaction deletes: about 10 ms."""

State = Literal["live", "replayed", "acknowledged", "unacknowledged"]
"""Recipients that were connected, that received it only by replay, that have acknowledged it, and that have not."""


class EventRow(NamedTuple):
    """An event that asks for acknowledgements."""

    position: str
    namespace: str
    name: str
    rooms: str
    """Names of rooms, as JSON."""
    excluded: str
    at: float


class Batch(NamedTuple):
    """What is stored in one transaction."""

    events: Sequence[EventRow]
    reached: Sequence[tuple[str, str, float | None, float | None]]
    """Position, recipient, and when it was delivered live and when replayed; no two for one recipient."""
    acknowledged: Sequence[tuple[str, str, float]]
    """Position, recipient, time: only for receipts that exist when the others are stored."""
    more: Mapping[str, tuple[int, int, int]]
    """By position, the recipients that are only counted: live, replayed, acknowledged."""


class Counts(NamedTuple):
    """Numbers of recipients with receipts of one event."""

    live: int = 0
    replayed: int = 0
    """Those that were not connected when it was published."""
    acknowledged: int = 0
    unacknowledged: int = 0


# Each row of a batch is an array.
_ROWS = {"sqlite": "json_each(:rows)", "postgresql": "json_array_elements(CAST(:rows AS json)) AS rows(value)"}
_ELEMENT = {"sqlite": "json_extract(value, '$[{}]')", "postgresql": "(value ->> {})"}
_INSERT_EVENT = text(
    "INSERT INTO oyez_receipt_events (system, position, namespace, name, rooms, excluded, at, more_live,"
    " more_replayed, more_acknowledged)"
    " VALUES (:system, :position, :namespace, :name, :rooms, :excluded, :at, 0, 0, 0) ON CONFLICT DO NOTHING"
)
_INSERT_RECEIPTS = """
    INSERT INTO oyez_receipts (system, position, recipient, live, replayed)
    SELECT CAST(:system AS VARCHAR(64)), {0}, {1}, CAST({2} AS DOUBLE PRECISION), CAST({3} AS DOUBLE PRECISION)
    FROM {rows} WHERE true
    ON CONFLICT (system, position, recipient) DO UPDATE SET
        live = COALESCE(oyez_receipts.live, excluded.live),
        replayed = COALESCE(oyez_receipts.replayed, excluded.replayed)
"""
# Not an UPDATE ... FROM: for each receipt of the system, SQLite would read all rows of the batch.
_ACKNOWLEDGE = """
    INSERT INTO oyez_receipts (system, position, recipient, acknowledged)
    SELECT CAST(:system AS VARCHAR(64)), found.position, found.recipient, found.at
    FROM (SELECT {0} AS position, {1} AS recipient, CAST({2} AS DOUBLE PRECISION) AS at FROM {rows}) AS found
    WHERE EXISTS (
        SELECT 1 FROM oyez_receipts AS known
        WHERE known.system = :system AND known.position = found.position AND known.recipient = found.recipient
    )
    ON CONFLICT (system, position, recipient) DO UPDATE SET
        acknowledged = COALESCE(oyez_receipts.acknowledged, excluded.acknowledged)
"""


def write(connection: Connection, system: str, batch: Batch) -> None:
    """Store a batch. If it is stored twice, the first times count, and recipients that are only counted count twice."""
    if batch.events:
        connection.execute(_INSERT_EVENT, [{"system": system, **row._asdict()} for row in batch.events])
    for statement, rows in ((_INSERT_RECEIPTS, batch.reached), (_ACKNOWLEDGE, batch.acknowledged)):
        if rows:
            # In the same order on all nodes, so that they do not wait for each other in a circle.
            encoded = msgspec.json.encode(sorted(rows, key=_place)).decode()
            connection.execute(text(_complete(statement, connection)), {"system": system, "rows": encoded})
    for position, (live, replayed, acknowledged) in sorted(batch.more.items()):
        changed = update(events).where(_is_event(system, position))
        connection.execute(
            changed.values(
                more_live=events.c.more_live + live,
                more_replayed=events.c.more_replayed + replayed,
                more_acknowledged=events.c.more_acknowledged + acknowledged,
            )
        )


def _place(row: Sequence[Any]) -> tuple[str, str]:
    return row[0], row[1]


def _complete(statement: str, connection: Connection) -> str:
    """The statement in the dialect of the connection."""
    name = connection.dialect.name
    return statement.format(*(_ELEMENT[name].format(index) for index in range(4)), rows=_ROWS[name])


def prune(connection: Connection, system: str, before: float) -> bool:
    """Delete some of the receipts of events from before that time. True if there may be more."""
    old = select(events.c.position).where(events.c.system == system, events.c.at < before)
    positions = connection.execute(old.order_by(events.c.at).limit(PRUNED_EVENTS)).scalars().all()
    if not positions:
        return False
    chosen = and_(receipts.c.system == system, receipts.c.position.in_(positions))
    key = (receipts.c.system, receipts.c.position, receipts.c.recipient)
    some = select(*key).where(chosen).limit(PRUNED)
    if connection.execute(delete(receipts).where(tuple_(*key).in_(some))).rowcount < PRUNED:
        gone = and_(events.c.system == system, events.c.position.in_(positions))
        connection.execute(delete(events).where(gone))
    return True


def find_event(connection: Connection, system: str, position: str) -> Row[Any] | None:
    """The row of the event; None if it has no receipts."""
    return connection.execute(select(events).where(_is_event(system, position))).one_or_none()


def list_events(
    connection: Connection, system: str, before: tuple[float, str] | None, name: str | None, limit: int
) -> list[tuple[Row[Any], Counts]]:
    """The newest events with receipts, the newest first, before one of them."""
    listed = select(events).where(events.c.system == system)
    if before is not None:
        listed = listed.where(tuple_(events.c.at, events.c.position) < before)
    if name is not None:
        listed = listed.where(events.c.name == name)
    rows = connection.execute(listed.order_by(events.c.at.desc(), events.c.position.desc()).limit(limit)).all()
    counted = select(receipts.c.position, *_COUNTS).where(
        receipts.c.system == system, receipts.c.position.in_([row.position for row in rows])
    )
    grouped = connection.execute(counted.group_by(receipts.c.position))
    counts = {row.position: Counts(row[1], row[2], row[3], row[4]) for row in grouped}
    return [(row, counts.get(row.position, Counts())) for row in rows]


def count(connection: Connection, system: str, position: str) -> Counts:
    """The numbers of recipients of an event."""
    row = connection.execute(select(*_COUNTS).where(_is_receipt(system, position))).one()
    return Counts(row[0], row[1], row[2], row[3])


def list_receipts(
    connection: Connection,
    system: str,
    position: str,
    *,
    state: State | None = None,
    user: str | None = None,
    search: str | None = None,
    after: str = "",
    limit: int,
) -> list[Row[Any]]:
    """Receipts of an event, in the order of the recipients, after one of them."""
    wanted = [_is_receipt(system, position), receipts.c.recipient > after]
    if state is not None:
        wanted.append(_STATES[state])
    if user is not None:
        wanted.append(receipts.c.recipient == user)
    if search:
        wanted.append(receipts.c.recipient.icontains(search, autoescape=True))
    found = connection.execute(select(receipts).where(*wanted).order_by(receipts.c.recipient).limit(limit))
    return list(found)


def find_known(connection: Connection, system: str, position: str, recipients: Collection[str]) -> set[str]:
    """Those of the recipients that have a receipt of the event."""
    known = select(receipts.c.recipient).where(_is_receipt(system, position))
    return set(connection.execute(known).scalars()).intersection(recipients)


_STATES: Mapping[State, ColumnElement[bool]] = {
    "live": receipts.c.live.is_not(None),
    "replayed": receipts.c.live.is_(None),
    "acknowledged": receipts.c.acknowledged.is_not(None),
    "unacknowledged": receipts.c.acknowledged.is_(None),
}
_COUNTS = [func.count(case((_STATES[state], 1))) for state in ("live", "replayed", "acknowledged", "unacknowledged")]


def _is_event(system: str, position: str) -> ColumnElement[bool]:
    return and_(events.c.system == system, events.c.position == position)


def _is_receipt(system: str, position: str) -> ColumnElement[bool]:
    return and_(receipts.c.system == system, receipts.c.position == position)
