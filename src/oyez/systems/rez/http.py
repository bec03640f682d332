"""The HTTP API of `rez`, for back ends with a service key: tables of routes, and what stands behind them.

Whatever is written is named by the back end's own id, so that a request may be repeated: what is new is answered by
201, what was so already by 200.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract import Id, Payload
from oyez.contract.http import Answer, answer_json, read_json, service_route
from oyez.errors import InvalidDataError
from oyez.service.system import Context
from oyez.systems.rez import carts, groups, orders, payloads, stores, support, tables
from oyez.systems.rez.rows import get_row, list_page

MAX_PAGE = 200
"""Rows of one page: a page of messages stays below 2 MB."""


class Write(NamedTuple):
    """A request that changes something: `function(tx, *ids, body)` returns the answer, or it and whether it is new."""

    method: str
    path: str
    body: type[Payload] | None
    function: Callable[..., Any]


class Read(NamedTuple):
    """A GET of one thing: `function(connection, *ids)` returns the answer."""

    path: str
    function: Callable[..., Any]


class Listing(NamedTuple):
    """A GET of a list, page by page: `function(connection, *ids, after, limit, filters)`."""

    path: str
    filters: tuple[str, ...]
    function: Callable[..., Any]


# Ids of users may hold a slash, so they take all that is left (`:path`), and longer paths come first.
WRITES = (
    Write("PUT", "/orders/{orderId}", orders.OrderPlacing, orders.place_order),
    Write("POST", "/orders/{orderId}/status", orders.OrderMove, orders.move_order),
    Write("POST", "/orders/{orderId}/eta", orders.Eta, orders.expect_order),
    Write("POST", "/orders/{orderId}/cancel", orders.Cancellation, orders.cancel_order),
    Write("PUT", "/carts/{userId:path}/reservations/{productId}", carts.Reservation, carts.reserve),
    Write("POST", "/carts/{userId:path}/reservations/{productId}/release", carts.Release, carts.release),
    Write("PUT", "/carts/{userId:path}", carts.Cart, carts.save_cart),
    Write("POST", "/products/{productId}/price", carts.PriceChange, carts.change_price),
    Write("POST", "/products/{productId}/stock", carts.Stock, carts.change_stock),
    Write("PUT", "/tickets/{ticketId}", support.TicketOpening, support.open_ticket),
    Write("POST", "/tickets/{ticketId}/agent", support.Assignment, support.assign),
    Write("POST", "/tickets/{ticketId}/status", support.TicketMove, support.move_ticket),
    Write("PUT", "/tickets/{ticketId}/messages/{messageId}", support.MessagePosting, support.post_message),
    Write("POST", "/tickets/{ticketId}/messages/{messageId}/delivered", None, support.deliver_message),
    Write("POST", "/agents/{agentId:path}/status", support.AgentState, support.set_agent_status),
    Write("POST", "/agents/{agentId:path}/next", None, support.assign_next),
    Write("PUT", "/agents/{agentId:path}", support.AgentEntry, support.put_agent),
    Write("PUT", "/groups/{groupId}", groups.GroupStart, groups.start_group),
    Write("PUT", "/groups/{groupId}/members/{userId:path}", groups.Membership, groups.join_group),
    Write("DELETE", "/groups/{groupId}/members/{userId:path}", None, groups.leave_group),
    Write("PUT", "/groups/{groupId}/messages/{messageId}", groups.GroupPosting, groups.post_group_message),
    Write("POST", "/groups/{groupId}/cancel", groups.GroupEnd, groups.cancel_group),
    Write("PUT", "/stores/{storeId}", stores.Store, stores.put_store),
    Write("PUT", "/conversations/{conversationId}", stores.Conversation, stores.put_conversation),
    Write(
        "PUT",
        "/conversations/{conversationId}/messages/{messageId}",
        stores.StorePosting,
        stores.post_store_message,
    ),
)


VOLATILE: tuple[tuple[str, type[Payload] | None, str], ...] = (
    ("/orders/{orderId}/location", orders.Whereabouts, "Tell where an order on its way is; never stored."),
    ("/conversations/{conversationId}/typing", None, "Tell that the store is writing; never stored."),
)
"""Requests that only tell, with their bodies."""


class Items(Payload):
    """One page of a list; `next` is the `?after=` of the next one, null on the last."""

    items: list[Any]
    next: int | None


def list_orders(connection: Connection, after: int, limit: int, filters: dict[str, str]) -> Items:
    table = tables.orders
    where = [table.c.customer_id == filters["customerId"]] if "customerId" in filters else []
    page = list_page(connection, table, after, limit, *where)
    return Items(items=[orders.to_order(row) for row in page.rows], next=page.next)


def list_tickets(connection: Connection, after: int, limit: int, filters: dict[str, str]) -> Items:
    table = tables.tickets
    columns = {"customerId": table.c.customer_id, "agentId": table.c.agent_id, "status": table.c.status}
    page = list_page(connection, table, after, limit, *(columns[name] == value for name, value in filters.items()))
    return Items(items=[support.to_ticket(connection, row) for row in page.rows], next=page.next)


def list_ticket_messages(
    connection: Connection, ticket_id: str, after: int, limit: int, filters: dict[str, str]
) -> Items:
    table = tables.ticket_messages
    get_row(connection, tables.tickets, ticket_id)
    page = list_page(connection, table, after, limit, table.c.ticket_id == ticket_id)
    return Items(items=[support.to_message(row) for row in page.rows], next=page.next)


def list_group_messages(
    connection: Connection, group_id: str, after: int, limit: int, filters: dict[str, str]
) -> Items:
    table = tables.group_messages
    get_row(connection, tables.groups, group_id)
    page = list_page(connection, table, after, limit, table.c.group_id == group_id)
    return Items(items=[groups.to_group_message(row) for row in page.rows], next=page.next)


def list_store_messages(
    connection: Connection, conversation_id: str, after: int, limit: int, filters: dict[str, str]
) -> Items:
    table = tables.store_messages
    get_row(connection, tables.conversations, conversation_id)
    page = list_page(connection, table, after, limit, table.c.conversation_id == conversation_id)
    return Items(items=[stores.to_store_message(row) for row in page.rows], next=page.next)


READS = (
    Read("/orders/{orderId}", orders.get_order),
    Read("/carts/{userId:path}", carts.get_cart),
    Read("/tickets/{ticketId}", support.get_ticket),
    Read("/agents/{agentId:path}", support.get_agent),
    Read("/groups/{groupId}", groups.get_group),
)

LISTINGS = (
    Listing("/orders", ("customerId",), list_orders),
    Listing("/tickets", ("customerId", "agentId", "status"), list_tickets),
    Listing("/tickets/{ticketId}/messages", (), list_ticket_messages),
    Listing("/groups/{groupId}/messages", (), list_group_messages),
    Listing("/conversations/{conversationId}/messages", (), list_store_messages),
)


def build_routes(context: Context) -> list[Route]:
    """All of `/rez/api`."""
    limits, authorize = context.settings.limits, context.authorize

    def writing(write: Write) -> Answer:
        async def answer(request: Request) -> Response:
            ids = _read_ids(request)
            body = [] if write.body is None else [await read_json(request, write.body, limits)]
            result = await context.outbox.run(write.function, *ids, *body)
            if result is None:
                return Response(status_code=204)
            written, new = result if isinstance(result, tuple) else (result, False)
            return answer_json(written, 201 if new else 200)

        return answer

    def reading(read: Read) -> Answer:
        async def answer(request: Request) -> Response:
            return answer_json(await context.database.read(read.function, *_read_ids(request)))

        return answer

    def listing(listed: Listing) -> Answer:
        async def answer(request: Request) -> Response:
            after = _read_number(request, "after", 0, 2**53)
            limit = max(1, _read_number(request, "limit", MAX_PAGE, MAX_PAGE))
            query = request.query_params
            filters = {name: query[name] for name in listed.filters if name in query}
            ids = _read_ids(request)
            return answer_json(await context.database.read(listed.function, *ids, after, limit, filters))

        return answer

    async def locate(request: Request) -> Response:
        [order_id] = _read_ids(request)
        whereabouts = await read_json(request, orders.Whereabouts, limits)
        await context.database.read(orders.check_on_its_way, order_id)
        await context.publisher.emit(
            payloads.OrderLocationUpdate(
                order_id=order_id,
                location=whereabouts.location,
                driver_name=whereabouts.driver_name,
                driver_phone=whereabouts.driver_phone,
            )
        )
        return Response(status_code=204)

    async def type_in_store(request: Request) -> Response:
        payload = await context.database.read(stores.describe_typing, *_read_ids(request))
        await context.publisher.emit(payload)
        return Response(status_code=204)

    return [
        *(service_route(write.path, writing(write), authorize, [write.method]) for write in WRITES),
        *(
            service_route(path, answer, authorize)
            for (path, _, _), answer in zip(VOLATILE, (locate, type_in_store), strict=True)
        ),
        *(service_route(listed.path, listing(listed), authorize, ["GET"]) for listed in LISTINGS),
        *(service_route(read.path, reading(read), authorize, ["GET"]) for read in READS),
    ]


def _read_ids(request: Request) -> list[str]:
    """What the path names, in order. Raises InvalidDataError."""
    ids = []
    for name, value in request.path_params.items():
        try:
            ids.append(msgspec.convert(value, Id))
        except msgspec.ValidationError:
            raise InvalidDataError(name, "a string of 1 to 128 characters, without control characters") from None
    return ids


def _read_number(request: Request, name: str, default: int, most: int) -> int:
    try:
        number: int = msgspec.convert(
            request.query_params.get(name, default), Annotated[int, Meta(ge=0, le=most)], strict=False
        )
    except msgspec.ValidationError:
        raise InvalidDataError(name, f"a whole number from 0 to {most}") from None
    return number
