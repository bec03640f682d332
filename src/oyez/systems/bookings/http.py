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

from oyez.contract import CamelPayload, Id, Payload
from oyez.contract.codec import read_scalar
from oyez.contract.explain import explain
from oyez.contract.http import Answer, answer_json, read_json, service_route
from oyez.contract.wire import shown
from oyez.errors import RefusedError
from oyez.service.system import Context
from oyez.systems.bookings import records, transactions
from oyez.systems.bookings.contract import NOT_FOUND
from oyez.systems.bookings.news import News
from oyez.systems.bookings.payloads import BookingStatus, KycStatus, Side
from oyez.systems.bookings.tables import (
    bookings,
    count_statistics,
    customers,
    find,
    kyc_submissions,
    list_rows,
    messages,
    notifications,
    partners,
    sum_earnings,
    to_money,
)

S = TypeVar("S", bound=msgspec.Struct)
Record = Callable[[Row[Any]], Payload]

MAX_PAGE = 200
"""Records of one page: a page stays below a megabyte, whatever they hold."""


class Page(CamelPayload):
    """Which part of a list is asked for, in the query: `limit` records, older than those before."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50
    before: Annotated[int, Meta(ge=1, lt=2**63)] | None = None
    """The `next` of the page before."""


class PeoplePage(Page):
    """Customers, or partners."""


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


def build_routes(context: Context, news: News) -> list[Route]:
    run, read, limits = context.outbox.run, context.database.read, context.settings.limits

    def listing(table: Table, page_type: type[Page], record: Record) -> Answer:
        async def answer(request: Request) -> Response:
            page = read_query(request, page_type)
            own = page_type.__struct_fields__
            filters = {name: getattr(page, name) for name in own if name not in Page.__struct_fields__}
            given = {name: value for name, value in filters.items() if value is not None}
            # One more, to know whether there is another page.
            rows = await read(list_rows, table, page.limit + 1, page.before, given)
            shown_rows = rows[: page.limit]
            following = shown_rows[-1].number if len(rows) > page.limit else None
            return answer_json({"items": [record(row) for row in shown_rows], "next": following})

        return answer

    def showing(table: Table, record: Record) -> Answer:
        async def answer(request: Request) -> Response:
            return answer_json(record(await read(get, table, request.path_params["id"])))

        return answer

    def creating(kind: type[S], create: Callable[..., Row[Any]], record: Record) -> Answer:
        async def answer(request: Request) -> Response:
            row = await run(create, await read_json(request, kind, limits))
            news.count()
            return answer_json(record(row), 201)

        return answer

    def changing(kind: type[S], change: Callable[..., Row[Any]], record: Record) -> Answer:
        async def answer(request: Request) -> Response:
            row = await run(change, request.path_params["id"], await read_json(request, kind, limits))
            news.count()
            return answer_json(record(row))

        return answer

    def putting(kind: type[S], put: Callable[..., bool], table: Table, record: Record) -> Answer:
        async def answer(request: Request) -> Response:
            id = read_id(request)
            new = await run(put, id, await read_json(request, kind, limits))
            news.count()
            return answer_json(record(await read(get, table, id)), 201 if new else 200)

        return answer

    ...
