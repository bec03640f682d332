"""The tables of `qscrap`: tickets with their messages, and the records of its scheduled jobs.

The back end stores everything else. The members of a ticket's room are in the membership table.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    ForeignKey,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    TypeDecorator,
    select,
)

from oyez.contract import Money, Time
from oyez.contract.types import MAX_ID_LENGTH
from oyez.errors import Refusal, RefusedError

UNKNOWN_RECORD = Refusal("unknown_record", "There is no such record.", status=404)
RECORD_DIFFERS = Refusal("record_differs", "There is another record of that id.", status=409)


class _Moment(TypeDecorator[Time]):
    """A `Time`, kept as it was on the wire."""

    impl = String(30)
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> Time | None:
        return None if value is None else Time(value)


class _Amount(TypeDecorator[Money]):
    """A `Money`, kept in hundredths: SQLite has no decimal numbers."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Money | None, dialect: Dialect) -> int | None:
        return None if value is None else int(value * 100)

    def process_result_value(self, value: Any, dialect: Dialect) -> Money | None:
        return None if value is None else Money(Decimal(value) / 100)


metadata = MetaData()

_Id = String(MAX_ID_LENGTH)
_State = String(20)

tickets = Table(
    "qscrap_tickets",
    metadata,
    Column("ticket_id", _Id, primary_key=True),
    Column("customer_id", _Id, nullable=False, index=True),
    Column("subject", Text, nullable=False),
    Column("priority", _State, nullable=False),
    Column("status", _State, nullable=False),
    Column("created_at", _Moment, nullable=False),
)

ticket_messages = Table(
    "qscrap_ticket_messages",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("message_id", _Id, nullable=False, unique=True),
    Column("ticket_id", _Id, ForeignKey(tickets.c.ticket_id), nullable=False, index=True),
    Column("sender_id", _Id, nullable=False),
    Column("sender_role", _State, nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at", _Moment, nullable=False),
)

requests = Table(
    "qscrap_requests",
    metadata,
    Column("request_id", _Id, primary_key=True),
    Column("customer_id", _Id, nullable=False, index=True),
    Column("expires_at", _Moment, nullable=False),
    Column("status", _State, nullable=False),
)

disputes = Table(
    "qscrap_disputes",
    metadata,
    Column("dispute_id", _Id, primary_key=True),
    Column("order_id", _Id, nullable=False, index=True),
    Column("customer_id", _Id, nullable=False),
    Column("garage_id", _Id, nullable=False),
    Column("reason", _State, nullable=False),
    Column("refund_amount", _Amount, nullable=False),
    Column("respond_by", _Moment, nullable=False),
    Column("status", _State, nullable=False),
    Column("resolution", _State),
)

payouts = Table(
    "qscrap_payouts",
    metadata,
    Column("payout_id", _Id, primary_key=True),
    Column("order_id", _Id, nullable=False, index=True),
    Column("garage_id", _Id, nullable=False, index=True),
    Column("amount", _Amount, nullable=False),
    Column("reference", Text, nullable=False),
    Column("schedule_at", _Moment, nullable=False),
    Column("scheduled_date", _Moment, nullable=False),
    Column("status", _State, nullable=False),
    Column("hold_reason", Text),
    Column("release_at", _Moment),
    Column("held_by", _Id),
)
"""`held_by` is the dispute that holds a payout; null if it is held by hand."""

subscriptions = Table(
    "qscrap_subscriptions",
    metadata,
    Column("garage_id", _Id, primary_key=True),
    Column("expires_at", _Moment, nullable=False),
)


def find(connection: Connection, column: Column[str], value: str) -> Row[Any] | None:
    """The row whose `column`, which is unique, is `value`."""
    return connection.execute(select(column.table).where(column == value)).one_or_none()


def get(connection: Connection, column: Column[str], value: str) -> Row[Any]:
    """The row whose `column` is `value`. Raises RefusedError (unknown_record)."""
    row = find(connection, column, value)
    if row is None:
        raise RefusedError(UNKNOWN_RECORD, f"There is no record whose {column.name} is {value!r}.")
    return row


def change(connection: Connection, column: Column[str], value: str, **values: Any) -> None:
    """Set `values` in the row whose `column` is `value`."""
    connection.execute(column.table.update().where(column == value).values(**values))


def is_as(row: Row[Any], values: Mapping[str, Any]) -> bool:
    """True if the row has these values already."""
    return all(row._mapping[name] == value for name, value in values.items())


def check_same(row: Row[Any], values: Mapping[str, Any], *names: str) -> None:
    """These fields of a record cannot change. Raises RefusedError (record_differs)."""
    for name in names:
        if row._mapping[name] != values[name]:
            raise RefusedError(RECORD_DIFFERS, f"{name} is {row._mapping[name]!r} and cannot become {values[name]!r}.")


def write_amount(amount: Money) -> str:
    """An amount for a sentence: 317, or 162.50."""
    return f"{amount:.0f}" if amount == int(amount) else f"{amount:.2f}"
