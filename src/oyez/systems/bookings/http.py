"""The HTTP API of `bookings`, for back ends with a service key: everything that is stored, made and read.

What happens because of a request is in transactions.py; here a request becomes its call, and a row its record.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from sqlalchemy import Connection, Row, Table
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract import CamelPayload, Id, Payload, Total
from oyez.runtime import Responder, answer_json, read_json, service_route
from oyez.service.http import answer_page, answer_write, read_filters, read_ids, read_query
from oyez.service.outbox.outbox import Transaction
from oyez.service.system import Context
from oyez.service.typing import Typing
from oyez.systems.bookings import records, transactions
from oyez.systems.bookings.handlers import stop_indicating
from oyez.systems.bookings.news import News
from oyez.systems.bookings.payloads import BookingStatus, KycStatus, Side
from oyez.systems.bookings.tables import (
    bookings,
    count_statistics,
    customers,
    find_day,
    kyc_submissions,
    list_rows,
    messages,
    notifications,
    partners,
    sum_earnings,
)
from oyez.systems.bookings.transactions import get

S = TypeVar("S", bound=msgspec.Struct)
Record = Callable[[Row[Any]], Payload]
Create = Callable[[Transaction, S], Row[Any]]
Change = Callable[[Transaction, str, S], Row[Any]]
Put = Callable[[Transaction, str, S], bool]

MAX_PAGE = 200
"""Records of one page: a page stays below a megabyte, whatever they hold."""


class Page(CamelPayload):
    """Which part of a list is asked for, in the query: `limit` records, older than those before."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50
    before: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    """The `next` of the page before."""


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


def build_routes(context: Context, news: News, typing: Typing) -> list[Route]:
    """Everything below `/bookings/api`.

    Lists answer `{items, next}`, newest first; `next` is the `?before=` of the next page, or null. POST answers 201;
    PUT of somebody new 201, else 200.
    """
    api = _Api(context, news)

    async def end_typing(new: records.NewMessage) -> None:
        await stop_indicating(context, typing, new.sender_role, new.sender_id, new.recipient_id)

    routes: Mapping[str, Mapping[str, Responder]] = {
        "/customers": {"GET": api.listing(customers, Page, records.customer_of)},
        "/customers/{id:path}": {
            "GET": api.showing(customers, records.customer_of),
            "PUT": api.putting(customers, records.NewCustomer, transactions.put_customer, records.customer_of),
        },
        "/partners": {"GET": api.listing(partners, Page, records.partner_of)},
        "/partners/{id:path}/earnings": {"GET": api.show_earnings},
        "/partners/{id:path}": {
            "GET": api.showing(partners, records.partner_of),
            "PUT": api.putting(partners, records.NewPartner, transactions.put_partner, records.partner_of),
        },
        "/bookings": {
            "GET": api.listing(bookings, BookingsPage, records.booking_of),
            "POST": api.creating(bookings, records.NewBooking, transactions.create_booking, records.booking_of),
        },
        "/bookings/{id}": {"GET": api.showing(bookings, records.booking_of)},
        "/bookings/{id}/partner": {
            "PUT": api.changing(bookings, records.Assignment, transactions.assign_partner, records.booking_of)
        },
        "/messages": {
            "GET": api.listing(messages, MessagesPage, records.message_of),
            "POST": api.creating(
                messages, records.NewMessage, transactions.send_message, records.message_of, end_typing
            ),
        },
        "/messages/{id}": {"GET": api.showing(messages, records.message_of)},
        "/kyc-submissions": {
            "GET": api.listing(kyc_submissions, SubmissionsPage, records.submission_of),
            "POST": api.creating(
                kyc_submissions, records.NewSubmission, transactions.submit_kyc, records.submission_of
            ),
        },
        "/kyc-submissions/{id}": {"GET": api.showing(kyc_submissions, records.submission_of)},
        "/kyc-submissions/{id}/review": {
            "PUT": api.changing(kyc_submissions, records.Review, transactions.review_kyc, records.submission_of)
        },
        "/notifications": {
            "GET": api.listing(notifications, NotificationsPage, records.notification_of),
            "POST": api.creating(notifications, records.NewNotification, transactions.notify, records.notification_of),
        },
        "/notifications/{id}": {"GET": api.showing(notifications, records.notification_of)},
        "/statistics": {"GET": api.show_statistics},
    }
    return [service_route(path, _choose(answers), context.authorize, list(answers)) for path, answers in routes.items()]


class _Api:
    """Makes the answers: `record` turns a row into what is shown of it."""

    def __init__(self, context: Context, news: News) -> None:
        self._context = context
        self._news = news

    def listing(self, table: Table, kind: type[Page], record: Record) -> Responder:
        async def answer(request: Request) -> Response:
            page = read_query(request, kind)
            rows = await self._context.database.read(list_rows, table, page.limit + 1, page.before, read_filters(page))
            return answer_page(rows, page.limit, record, lambda row: row.number)

        return answer

    def showing(self, table: Table, record: Record) -> Responder:
        async def answer(request: Request) -> Response:
            return answer_json(record(await self._context.database.read(get, table, *read_ids(request))))

        return answer

    def creating(
        self,
        table: Table,
        kind: type[S],
        create: Create[S],
        record: Record,
        before: Callable[[S], Awaitable[None]] | None = None,
    ) -> Responder:
        """`before` is called before the transaction."""

        def work(tx: Transaction, body: S) -> tuple[Payload, int]:
            return record(create(tx, body)), 201

        async def answer(request: Request) -> Response:
            body = await self._read(request, kind)
            if before is not None:
                await before(body)
            response = await answer_write(self._context.outbox, work, body)
            self._count(table)
            return response

        return answer

    def changing(self, table: Table, kind: type[S], change: Change[S], record: Record) -> Responder:
        def work(tx: Transaction, id: str, body: S) -> tuple[Payload, int]:
            return record(change(tx, id, body)), 200

        async def answer(request: Request) -> Response:
            [id] = read_ids(request)
            response = await answer_write(self._context.outbox, work, id, await self._read(request, kind))
            self._count(table)
            return response

        return answer

    def putting(self, table: Table, kind: type[S], put: Put[S], record: Record) -> Responder:
        def work(tx: Transaction, id: str, body: S) -> tuple[Payload, int]:
            new = put(tx, id, body)
            return record(get(tx.connection, table, id)), 201 if new else 200

        async def answer(request: Request) -> Response:
            [id] = read_ids(request)
            response = await answer_write(self._context.outbox, work, id, await self._read(request, kind))
            self._count(table)
            return response

        return answer

    async def show_earnings(self, request: Request) -> Response:
        [id] = read_ids(request)
        return answer_json(await self._context.database.read(read_earnings, id, self._today()))

    async def show_statistics(self, request: Request) -> Response:
        counted = await self._context.database.read(count_statistics, self._today())
        return answer_json(transactions.build_statistics(counted, self._now()))

    async def _read(self, request: Request, kind: type[S]) -> S:
        return await read_json(request, kind, self._context.settings.limits)

    def _count(self, table: Table) -> None:
        if table in (bookings, partners, kyc_submissions):
            self._news.count()

    def _today(self) -> int:
        return find_day(self._context.clock(), self._context.settings.zone)

    def _now(self) -> int:
        return int(self._context.clock() * 1_000)


def read_earnings(connection: Connection, partner_id: str, day: int) -> records.Earnings:
    """Raises RefusedError (not_found)."""
    get(connection, partners, partner_id)
    earned = sum_earnings(connection, partner_id, day)
    return records.Earnings(
        partner_id=partner_id,
        today_earnings=Total.of_cents(earned.today),
        total_earnings=Total.of_cents(earned.total),
        completed_bookings=earned.completed,
    )


def _choose(answers: Mapping[str, Responder]) -> Responder:
    def answer(request: Request) -> Awaitable[Response]:
        return answers["GET" if request.method == "HEAD" else request.method](request)

    return answer
