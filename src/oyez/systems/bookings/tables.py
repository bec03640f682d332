"""What `bookings` stores: customers, partners, bookings, messages, KYC submissions and notifications.

This module knows rows, not events. Times are milliseconds since 1970, in UTC, and amounts are cents: both are whole
numbers, which every database compares and adds up exactly. Earnings are not stored: they are summed from the bookings.

Every table numbers its rows in `number`; lists are sorted by it, newest first.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    Select,
    String,
    Table,
    Text,
    and_,
    func,
    select,
)

from oyez.contract import Money, Time
from oyez.service.days import begin_of_day
from oyez.systems.bookings.states import ACTIVE, ON_THE_WAY, PENDING, SHARED

metadata = MetaData()


def _number() -> Column[int]:
    return Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


def _id() -> Column[str]:
    return Column("id", String(128), nullable=False, unique=True)


def _name(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, String(200), nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _of(name: str, column: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, String(128), ForeignKey(column), nullable=nullable)


customers = Table(
    "bookings_customers",
    metadata,
    _number(),
    _id(),
    _name("name"),
    Column("phone", String(32), nullable=False),
    _time("created_at"),
)

partners = Table(
    "bookings_partners",
    metadata,
    _number(),
    _id(),
    _name("name"),
    _name("email"),
    Column("phone", String(32), nullable=False),
    Column("photo", String(500)),
    Column("rating", Float),
    Column("services", JSON, nullable=False),
    _name("service_area"),
    _time("created_at"),
)

bookings = Table(
    "bookings_bookings",
    metadata,
    _number(),
    _id(),
    _of("customer_id", "bookings_customers.id"),
    _of("partner_id", "bookings_partners.id", nullable=True),
    Column("status", String(32), nullable=False),
    _name("service"),
    _time("scheduled_at"),
    Column("address", String(500), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reason", String(500)),
    _time("created_at"),
    _time("changed_at"),
    Index("bookings_bookings_by_customer", "customer_id", "partner_id"),
    Index("bookings_bookings_by_partner", "partner_id", "status"),
    Index("bookings_bookings_by_status", "status", "changed_at"),
    Index("bookings_bookings_by_day", "created_at"),
)
"""`partner_id` stays after a rejection, until another partner is assigned. `changed_at` is the time of the last status
change, `reason` the reason of a cancellation or rejection."""

messages = Table(
    "bookings_messages",
    metadata,
    _number(),
    _id(),
    _of("customer_id", "bookings_customers.id"),
    _of("partner_id", "bookings_partners.id"),
    Column("sender_role", String(16), nullable=False),
    _of("booking_id", "bookings_bookings.id", nullable=True),
    Column("message", Text, nullable=False),
    _time("created_at"),
    _time("read_at", nullable=True),
    Index("bookings_messages_by_parties", "customer_id", "partner_id"),
    Index("bookings_messages_by_booking", "booking_id"),
)
"""Every message is between a customer and a partner; `sender_role` is the role of the sender."""

kyc_submissions = Table(
    "bookings_kyc_submissions",
    metadata,
    _number(),
    _id(),
    _of("partner_id", "bookings_partners.id"),
    Column("documents", JSON, nullable=False),
    Column("status", String(16), nullable=False),
    Column("note", String(500)),
    _time("created_at"),
    _time("reviewed_at", nullable=True),
    Index("bookings_kyc_by_partner", "partner_id"),
    Index("bookings_kyc_by_status", "status"),
)

notifications = Table(
    "bookings_notifications",
    metadata,
    _number(),
    _id(),
    Column("recipient_id", String(128), nullable=False),
    Column("recipient_role", String(16), nullable=False),
    Column("type", String(16), nullable=False),
    _name("title"),
    Column("message", String(2_000), nullable=False),
    _of("booking_id", "bookings_bookings.id", nullable=True),
    _time("created_at"),
    Index("bookings_notifications_by_recipient", "recipient_id", "recipient_role"),
)

told = Table("bookings_told", metadata, Column("what", String(32), primary_key=True), _time("told_at"))
"""When events with a limited rate were last sent, by any process."""


# Between rows and the wire.


def to_milliseconds(time: Time) -> int:
    """A time from the wire in milliseconds; smaller fractions are dropped."""
    moment = datetime.fromisoformat(time)
    return int(moment.replace(microsecond=0).timestamp()) * 1_000 + moment.microsecond // 1_000


def to_time(milliseconds: int) -> Time:
    seconds, rest = divmod(milliseconds, 1_000)
    return Time.of(datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1_000))


def to_cents(amount: Money) -> int:
    return int(amount * 100)


def find_day(seconds: float, zone: tzinfo) -> int:
    """The start of the day that contains a time, in milliseconds."""
    return int(begin_of_day(seconds, zone) * 1_000)


def to_money(cents: int) -> Money:
    return Money(f"{cents // 100}.{cents % 100:02}")


# Reading.

PART = 1_000_000_000
"""Divisor that splits amounts in two parts, so that their sums do not overflow."""

ROWS: Mapping[Table, Select[Any]] = {
    bookings: select(
        bookings,
        customers.c.name.label("customer_name"),
        customers.c.phone.label("customer_phone"),
        partners.c.name.label("partner_name"),
        partners.c.phone.label("partner_phone"),
    )
    .join(customers, customers.c.id == bookings.c.customer_id)
    .outerjoin(partners, partners.c.id == bookings.c.partner_id),
    partners: select(
        partners,
        select(func.count())
        .where(bookings.c.partner_id == partners.c.id, bookings.c.status == "COMPLETED")
        .scalar_subquery()
        .label("completed_bookings"),
    ),
    kyc_submissions: select(kyc_submissions, partners.c.name.label("partner_name")).join(
        partners, partners.c.id == kyc_submissions.c.partner_id
    ),
}
"""Queries that add columns of other tables: a booking has the names and phones of its parties."""


def find(connection: Connection, table: Table, id: str) -> Row[Any] | None:
    """The row with that id."""
    return connection.execute(_select(table).where(table.c.id == id)).one_or_none()


def _select(table: Table) -> Select[Any]:
    return ROWS[table] if table in ROWS else select(table)


def list_on_the_way(connection: Connection, partner_id: str) -> Sequence[str]:
    """The bookings whose customers may see the partner's location."""
    query = select(bookings.c.id).where(bookings.c.partner_id == partner_id, bookings.c.status.in_(ON_THE_WAY))
    return connection.execute(query).scalars().all()


def is_on_the_way(connection: Connection, booking_id: str, partner_id: str) -> bool:
    """True if that partner is on the way to that booking, or at work on it."""
    booking = find(connection, bookings, booking_id)
    return booking is not None and booking.partner_id == partner_id and booking.status in ON_THE_WAY


def share_booking(connection: Connection, customer_id: str, partner_id: str, booking_id: str | None = None) -> bool:
    """True if a customer and a partner share that booking, or any."""
    query = select(bookings.c.number).where(
        bookings.c.customer_id == customer_id,
        bookings.c.partner_id == partner_id,
        bookings.c.status.in_(SHARED),
    )
    if booking_id is not None:
        query = query.where(bookings.c.id == booking_id)
    return connection.execute(query.limit(1)).first() is not None


class Earned(NamedTuple):
    """The earnings of a partner in cents, and the number of completed bookings."""

    today: int
    total: int
    completed: int


def sum_earnings(connection: Connection, partner_id: str, day: int) -> Earned:
    """The earnings of a partner. `day` is the start of today."""
    completed = (bookings.c.partner_id == partner_id, bookings.c.status == "COMPLETED")
    today = bookings.c.changed_at >= day
    return Earned(
        today=_add_up(connection, *completed, today),
        total=_add_up(connection, *completed),
        completed=_count(connection, select(func.count()).where(*completed)),
    )


def count_statistics(connection: Connection, day: int) -> dict[str, int]:
    """The marketplace in numbers, by the fields of `DashboardStatsUpdate`; amounts in cents.

    `day` is the start of today.
    """
    today = bookings.c.changed_at >= day
    completed = and_(bookings.c.status == "COMPLETED", today)
    cancelled = and_(bookings.c.status == "CANCELLED", today)
    return {
        "bookings_today": _count(connection, select(func.count()).where(bookings.c.created_at >= day)),
        "pending_bookings": _count(connection, select(func.count()).where(bookings.c.status.in_(PENDING))),
        "active_bookings": _count(connection, select(func.count()).where(bookings.c.status.in_(ACTIVE))),
        "completed_today": _count(connection, select(func.count()).where(completed)),
        "cancelled_today": _count(connection, select(func.count()).where(cancelled)),
        "revenue_today": _add_up(connection, completed),
        "registered_partners": _count(connection, select(func.count()).select_from(partners)),
        "pending_kyc": _count(
            connection,
            select(func.count()).select_from(kyc_submissions).where(kyc_submissions.c.status == "SUBMITTED"),
        ),
    }


def _count(connection: Connection, query: Select[Any]) -> int:
    # PostgreSQL adds large numbers up as Decimal.
    return int(connection.execute(query).scalar_one())


def _add_up(connection: Connection, *which: ColumnElement[bool]) -> int:
    """The sum of the amounts of some bookings, in cents."""
    # In two parts, so that no sum is too large for SQLite's integers.
    parts = (func.coalesce(func.sum(part), 0) for part in (bookings.c.amount // PART, bookings.c.amount % PART))
    high, low = connection.execute(select(*parts).where(*which)).one()
    return int(high) * PART + int(low)
