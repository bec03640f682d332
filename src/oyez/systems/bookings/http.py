"""The HTTP API of `bookings`, as a table, for back ends with a service key.

transactions.py has the changes, records.py the bodies and answers.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import Connection, Row, Table
from starlette.routing import Route

from oyez.contract import CamelPayload, Id, Payload, Total
from oyez.service.resources import Listing, Read, Resource, Write, build_routes, find_answer
from oyez.service.system import Services
from oyez.service.typing import Typing
from oyez.systems.bookings import records, transactions
from oyez.systems.bookings.conflated import ConflatedEvents
from oyez.systems.bookings.handlers import stop_indicating
from oyez.systems.bookings.payloads import BookingStatus, DashboardStatsUpdate, KycStatus, Side
from oyez.systems.bookings.tables import (
    ROWS,
    bookings,
    count_statistics,
    customers,
    find_day,
    kyc_submissions,
    messages,
    notifications,
    partners,
    sum_earnings,
)
from oyez.systems.bookings.transactions import get

MAX_PAGE = 200
"""Records of one page. A page of the largest records is smaller than a megabyte."""


class Page(CamelPayload):
    """The page of a list: `limit` records with a number below `before`, newest first."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50
    before: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    """The `next` of the previous page."""


class BookingsPage(Page):
    customer_id: Id | None = None
    partner_id: Id | None = None
    status: BookingStatus | None = None


class MessagesPage(Page):
    customer_id: Id | None = None
    partner_id: Id | None = None
    booking_id: Id | None = None


class SubmissionsPage(Page):
    partner_id: Id | None = None
    status: KycStatus | None = None


class NotificationsPage(Page):
    recipient_id: Id | None = None
    recipient_role: Side | None = None


def build_api(services: Services, conflated: ConflatedEvents, typing: Typing) -> list[Route]:
    """Everything below `/bookings/api`. POST answers 201; PUT of a new record 201, otherwise 200."""

    async def end_typing(new: records.NewMessage) -> None:
        await stop_indicating(services, typing, new.sender_role, new.sender_id, new.recipient_id)

    async def count(*arguments: object) -> None:
        conflated.statistics_changed()

    def find_today() -> int:
        return find_day(services.clock(), services.settings.zone)

    def read_earnings(connection: Connection, partner_id: str) -> records.Earnings:
        get(connection, partners, partner_id)
        earned = sum_earnings(connection, partner_id, find_today())
        return records.Earnings(
            partner_id=partner_id,
            today_earnings=Total.of_cents(earned.today),
            total_earnings=Total.of_cents(earned.total),
            completed_bookings=earned.completed,
        )

    def read_statistics(connection: Connection) -> DashboardStatsUpdate:
        counted = count_statistics(connection, find_today())
        return transactions.build_statistics(counted, int(services.clock() * 1_000))

    customer, partner, booking = "/customers/{id:path}", "/partners/{id:path}", "/bookings/{id}"
    submission = "/kyc-submissions/{id}"
    return build_routes(
        [
            *_reading("/customers", customer, customers, Page, records.customer_of),
            Write("PUT", customer, transactions.put_customer, records.NewCustomer, show=records.customer_of),
            # Before the partner, whose id may contain a slash.
            Read(f"{partner}/earnings", read_earnings),
            *_reading("/partners", partner, partners, Page, records.partner_of),
            Write("PUT", partner, transactions.put_partner, records.NewPartner, show=records.partner_of, after=count),
            *_reading("/bookings", booking, bookings, BookingsPage, records.booking_of),
            _create("/bookings", transactions.create_booking, records.NewBooking, records.booking_of, after=count),
            Write(
                "PUT",
                f"{booking}/partner",
                transactions.assign_partner,
                records.Assignment,
                show=records.booking_of,
                after=count,
            ),
            *_reading("/messages", "/messages/{id}", messages, MessagesPage, records.message_of),
            _create("/messages", transactions.send_message, records.NewMessage, records.message_of, before=end_typing),
            *_reading("/kyc-submissions", submission, kyc_submissions, SubmissionsPage, records.submission_of),
            _create(
                "/kyc-submissions",
                transactions.submit_kyc,
                records.NewSubmission,
                records.submission_of,
                after=count,
            ),
            Write(
                "PUT",
                f"{submission}/review",
                transactions.review_kyc,
                records.Review,
                show=records.submission_of,
                after=count,
            ),
            *_reading(
                "/notifications", "/notifications/{id}", notifications, NotificationsPage, records.notification_of
            ),
            _create("/notifications", transactions.notify, records.NewNotification, records.notification_of),
            Read("/statistics", read_statistics),
        ],
        services,
    )


def _reading(
    path: str, one: str, table: Table, page: type[Page], record: Callable[[Row[Any]], Payload]
) -> tuple[Resource, Resource]:
    """The rows that list the records of a table, and read one of them."""
    return (
        Listing(
            path,
            page,
            table,
            lambda _, row: record(row),
            table.c.number,
            rows=ROWS.get(table),
            answer=find_answer(record),
        ),
        Read(one, lambda connection, id: record(get(connection, table, id)), answer=find_answer(record)),
    )


def _create(
    path: str,
    function: Callable[..., Row[Any]],
    body: type[Payload],
    record: Callable[[Row[Any]], Payload],
    *,
    before: Callable[..., Awaitable[None]] | None = None,
    after: Callable[..., Awaitable[None]] | None = None,
) -> Write:
    return Write("POST", path, function, body, status=201, show=record, before=before, after=after)
