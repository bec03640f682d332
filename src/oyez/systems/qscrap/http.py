"""The HTTP API of `qscrap`, for the back end that owns the marketplace: what it puts here is watched over.

One table says what there is; every kind of record is put, listed, shown and acted upon in the same way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta, inspect
from sqlalchemy import Column, Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract import Id, Payload
from oyez.contract.http import Answer, answer_json, read_json, service_route
from oyez.contract.wire import describe
from oyez.errors import InvalidDataError, RefusedError
from oyez.service.system import Context
from oyez.systems.qscrap import disputes, payouts, requests, subscriptions, tables, tickets

MAX_PAGE = 100
"""Records of one page of a list: of the longest messages they are 200,000 characters, and nobody reads more at once."""


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
    filters: tuple[str, ...] = ()
    """Columns by which lists can be narrowed."""
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
        filters=("customer_id", "status"),
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
        filters=("customer_id", "status"),
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
        filters=("order_id", "status"),
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
        filters=("order_id", "garage_id", "status"),
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
    limits, run, read = context.settings.limits, context.outbox.run, context.database.read
    one = f"{resource.path}/{{{resource.column.name}}}"

    async def put(request: Request) -> Response:
        body = await read_json(request, resource.body, limits)
        record, new = await run(resource.put, *_read_ids(request), body)
        return answer_json(record, 201 if new else 200)

    async def show(request: Request) -> Response:
        return answer_json(await read(_show, resource, *_read_ids(request)))

    async def remove(request: Request) -> Response:
        assert resource.remove is not None
        await run(resource.remove, *_read_ids(request))
        return Response(status_code=204)

    async def list_page(request: Request) -> Response:
        query = _read_query(request, resource.filters)
        # One more, to know whether there is a next page.
        found = await read(_list, resource, _read_ids(request), query, query.limit + 1)
        items = found[: query.limit]
        following = items[-1][0] if len(found) > query.limit else None
        return answer_json({"items": [record for _, record in items], "next": following})

    def acting(action: Action) -> Answer:
        async def act(request: Request) -> Response:
            body = [await read_json(request, action.body, limits)] if action.body else []
            return answer_json(await run(action.function, *_read_ids(request), *body))

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


def _list(
    connection: Connection, resource: Resource, ids: list[str], query: "_Query", limit: int
) -> list[tuple[str, Payload]]:
    """Records with their ids."""
    columns = resource.column.table.c
    filters = {columns[name]: value for name, value in query.filters.items()}
    if resource.within is not None:
        # An unknown ticket has no list, rather than an empty one.
        (parent,) = resource.within.foreign_keys
        tables.get(connection, parent.column, ids[0])
        filters[resource.within] = ids[0]
    order = resource.order if resource.order is not None else resource.column
    rows = tables.get_page(connection, resource.column, order, filters, query.after, limit)
    return [(row._mapping[resource.column.name], tables.show(row, resource.record)) for row in rows]


@dataclass(frozen=True, slots=True)
class _Query:
    limit: int
    after: str | None
    filters: Mapping[str, str]


def _read_query(request: Request, filters: Sequence[str]) -> _Query:
    """What a list is asked for. Raises InvalidDataError."""
    given = dict(request.query_params)
    try:
        limit = msgspec.convert(given.pop("limit", MAX_PAGE), Annotated[int, Meta(ge=1, le=MAX_PAGE)], strict=False)
    except msgspec.ValidationError:
        raise InvalidDataError("limit", f"a number from 1 to {MAX_PAGE}") from None
    after = given.pop("after", None)
    for name in given:
        if name not in filters:
            known = ", ".join(("limit", "after", *filters))
            raise InvalidDataError(name, f"is no parameter of this list; it has {known}")
    return _Query(limit, after, given)


def _read_ids(request: Request) -> list[str]:
    """The ids in the path, in order. Raises InvalidDataError."""
    for name, value in request.path_params.items():
        try:
            msgspec.convert(value, Id)
        except msgspec.ValidationError:
            raise InvalidDataError(name, describe(inspect.type_info(Id))) from None
    return list(request.path_params.values())
