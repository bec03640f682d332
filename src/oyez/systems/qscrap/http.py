"""The HTTP API of `qscrap`, for the back end that owns the marketplace: what it puts here is watched over.

One table says what there is; every kind of record is put, listed, shown and acted upon in the same way.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import Column, Connection, Row
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract import Id, Payload
from oyez.errors import RefusedError
from oyez.runtime import Responder, answer_json, read_json, service_route
from oyez.service.http import answer_page, answer_write, read_filters, read_ids, read_query
from oyez.service.outbox.outbox import Transaction
from oyez.service.system import Context
from oyez.systems.qscrap import disputes, payouts, requests, subscriptions, tables, tickets
from oyez.systems.qscrap.payloads import TicketStatus

MAX_PAGE = 100
"""Records of one page of a list: of the longest messages they are 200,000 characters, and nobody reads more at once."""


class Page(Payload):
    """Which part of a list is asked for, in the query: `limit` records behind the one whose id is `after`."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE
    after: Id | None = None


class TicketsPage(Page):
    customer_id: Id | None = None
    status: TicketStatus | None = None


class RequestsPage(Page):
    customer_id: Id | None = None
    status: requests.RequestStatus | None = None


class DisputesPage(Page):
    order_id: Id | None = None
    status: disputes.DisputeStatus | None = None


class PayoutsPage(Page):
    order_id: Id | None = None
    garage_id: Id | None = None
    status: payouts.PayoutStatus | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """What is done with a record by `POST …/{name}`."""

    function: Callable[..., Payload]
    """In a transaction, given the record's id and, where there is one, the body."""
    body: type[Payload] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of record."""

    path: str
    column: Column[str]
    """Its id."""
    body: type[Payload]
    record: type[Payload]
    put: Callable[..., tuple[Payload, bool]]
    """In a transaction, given the ids of the path and the body: the record, and whether it is new."""
    actions: Mapping[str, Action] = field(default_factory=dict)
    page: type[Page] = Page
    """The query of lists."""
    order: Column[Any] | None = None
    """Of lists; by the id where there is none."""
    within: Column[str] | None = None
    """The id of the record that it belongs to, whose path its own begins with."""
    remove: Callable[..., None] | None = None


RESOURCES = (
    Resource(
        path="/tickets",
        column=tables.tickets.c.ticket_id,
        body=tickets.TicketBody,
        record=tickets.Ticket,
        put=tickets.put_ticket,
        actions={
            action: Action(partial(tickets.move_ticket, action=action))
            for action in ("start", "resolve", "reopen", "close")
        },
        page=TicketsPage,
    ),
    Resource(
        path="/tickets/{ticket_id}/messages",
        column=tables.ticket_messages.c.message_id,
        body=tickets.MessageBody,
        record=tickets.Message,
        put=tickets.put_message,
        order=tables.ticket_messages.c.number,
        within=tables.ticket_messages.c.ticket_id,
    ),
    Resource(
        path="/requests",
        column=tables.requests.c.request_id,
        body=requests.RequestBody,
        record=requests.Request,
        put=requests.put_request,
        actions={action: Action(partial(requests.move_request, action=action)) for action in ("take", "cancel")},
        page=RequestsPage,
    ),
    Resource(
        path="/disputes",
        column=tables.disputes.c.dispute_id,
        body=disputes.DisputeBody,
        record=disputes.Dispute,
        put=disputes.put_dispute,
        actions={
            "contest": Action(disputes.contest_dispute),
            "withdraw": Action(disputes.withdraw_dispute),
            "resolve": Action(disputes.resolve_dispute, disputes.Resolution),
        },
        page=DisputesPage,
    ),
    Resource(
        path="/payouts",
        column=tables.payouts.c.payout_id,
        body=payouts.PayoutBody,
        record=payouts.Payout,
        put=payouts.put_payout,
        actions={
            "hold": Action(payouts.hold_payout, payouts.HoldBody),
            "release": Action(payouts.release_payout),
            "complete": Action(payouts.complete_payout),
            "cancel": Action(payouts.cancel_payout),
        },
        page=PayoutsPage,
    ),
    Resource(
        path="/subscriptions",
        column=tables.subscriptions.c.garage_id,
        body=subscriptions.SubscriptionBody,
        record=subscriptions.Subscription,
        put=subscriptions.put_subscription,
        remove=subscriptions.end_subscription,
    ),
)


def build_routes(context: Context) -> list[Route]:
    return [route for resource in RESOURCES for route in _routes_of(resource, context)]


def _routes_of(resource: Resource, context: Context) -> list[Route]:
    """`PUT`, `GET` (and `DELETE`) of one record, `POST` of its actions, `GET` of a page of them."""
    limits, outbox, read = context.settings.limits, context.outbox, context.database.read
    one = f"{resource.path}/{{{resource.column.name}}}"

    async def put(request: Request) -> Response:
        def work(tx: Transaction, *args: Any) -> tuple[object, int]:
            record, new = resource.put(tx, *args)
            return record, 201 if new else 200

        body = await read_json(request, resource.body, limits)
        return await answer_write(outbox, work, *read_ids(request), body)

    async def show(request: Request) -> Response:
        return answer_json(await read(_show, resource, *read_ids(request)))

    async def remove(request: Request) -> Response:
        def work(tx: Transaction, *ids: str) -> tuple[object, int]:
            assert resource.remove is not None
            return resource.remove(tx, *ids), 204

        return await answer_write(outbox, work, *read_ids(request))

    async def list_page(request: Request) -> Response:
        page = read_query(request, resource.page)
        found = await read(_list, resource, read_ids(request), page)
        return answer_page(
            found,
            page.limit,
            lambda row: tables.show(row, resource.record),
            lambda row: row._mapping[resource.column.name],
        )

    def acting(action: Action) -> Responder:
        def work(tx: Transaction, *args: Any) -> tuple[object, int]:
            return action.function(tx, *args), 200

        async def act(request: Request) -> Response:
            body = [await read_json(request, action.body, limits)] if action.body else []
            return await answer_write(outbox, work, *read_ids(request), *body)

        return act

    authorize = context.authorize
    routes = [
        service_route(resource.path, list_page, authorize, ["GET"]),
        service_route(one, put, authorize, ["PUT"]),
        service_route(one, show, authorize, ["GET"]),
    ]
    if resource.remove is not None:
        routes.append(service_route(one, remove, authorize, ["DELETE"]))
    return routes + [
        service_route(f"{one}/{name}", acting(action), authorize) for name, action in resource.actions.items()
    ]


def _show(connection: Connection, resource: Resource, *ids: str) -> Payload:
    row = tables.get(connection, resource.column, ids[-1])
    if resource.within is not None and row._mapping[resource.within.name] != ids[0]:
        raise RefusedError(tables.UNKNOWN_RECORD, f"{ids[-1]!r} belongs to another {resource.within.name}.")
    return tables.show(row, resource.record)


def _list(connection: Connection, resource: Resource, ids: list[str], page: Page) -> list[Row[Any]]:
    """What `page` asks for, and one row more."""
    columns = resource.column.table.c
    filters = {columns[name]: value for name, value in read_filters(page).items()}
    if resource.within is not None:
        # An unknown ticket has no list, rather than an empty one.
        (parent,) = resource.within.foreign_keys
        tables.get(connection, parent.column, ids[0])
        filters[resource.within] = ids[0]
    order = resource.order if resource.order is not None else resource.column
    return tables.get_page(connection, resource.column, order, filters, page.after, page.limit + 1)
