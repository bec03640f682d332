"""The HTTP API of `rez`, for back ends with a service key: tables of routes, and what stands behind them.

Whatever is written is named by the back end's own id, so that a request may be repeated: what is new is answered by
201, what was so already by 200.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, NamedTuple

from msgspec import Meta
from sqlalchemy import Column, Connection, Row, Table
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract import CamelPayload, Id, Payload
from oyez.errors import LogUnavailableError
from oyez.runtime import Responder, answer_json, read_json, service_route
from oyez.service.http import answer_page, answer_write, read_filters, read_ids, read_query
from oyez.service.outbox.outbox import Transaction
from oyez.service.system import Context
from oyez.service.typing import Typing
from oyez.systems.rez import carts, groups, orders, payloads, stores, support, tables
from oyez.systems.rez.contract import order
from oyez.systems.rez.handlers import end_typing
from oyez.systems.rez.rows import get_row, list_rows

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


class Page(CamelPayload):
    """Which part of a list is asked for, in the query: `limit` records behind number `after`, oldest first."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE
    after: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """The `next` of the page before."""


class OrdersPage(Page):
    customer_id: Id | None = None


class TicketsPage(Page):
    customer_id: Id | None = None
    agent_id: Id | None = None
    status: payloads.TicketStatus | None = None


class Listing(NamedTuple):
    """A GET of the rows of a table, page by page: of all, or of those that belong to what the path names."""

    path: str
    table: Table
    show: Callable[[Connection, Row[Any]], Payload]
    page: type[Page] = Page
    within: Column[str] | None = None


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


READS = (
    Read("/orders/{orderId}", orders.get_order),
    Read("/carts/{userId:path}", carts.get_cart),
    Read("/tickets/{ticketId}", support.get_ticket),
    Read("/agents/{agentId:path}", support.get_agent),
    Read("/groups/{groupId}", groups.get_group),
)

LISTINGS = (
    Listing("/orders", tables.orders, lambda _, row: orders.to_order(row), OrdersPage),
    Listing("/tickets", tables.tickets, support.to_ticket, TicketsPage),
    Listing(
        "/tickets/{ticketId}/messages",
        tables.ticket_messages,
        lambda _, row: support.to_message(row),
        within=tables.ticket_messages.c.ticket_id,
    ),
    Listing(
        "/groups/{groupId}/messages",
        tables.group_messages,
        lambda _, row: groups.to_group_message(row),
        within=tables.group_messages.c.group_id,
    ),
    Listing(
        "/conversations/{conversationId}/messages",
        tables.store_messages,
        lambda _, row: stores.to_store_message(row),
        within=tables.store_messages.c.conversation_id,
    ),
)


def build_routes(context: Context, typing: Typing) -> list[Route]:
    """All of `/rez/api`."""
    limits, authorize = context.settings.limits, context.authorize

    def writing(write: Write) -> Responder:
        def work(tx: Transaction, *args: Any) -> tuple[object, int]:
            result = write.function(tx, *args)
            if result is None:
                return None, 204
            written, new = result if isinstance(result, tuple) else (result, False)
            return written, 201 if new else 200

        async def answer(request: Request) -> Response:
            ids = read_ids(request)
            body: list[Any] = [] if write.body is None else [await read_json(request, write.body, limits)]
            if write.function is support.post_message:
                await end_typing(context, typing, ids[0], body[0].sender_id)
            written = await answer_write(context.outbox, work, *ids, *body)
            if write.function is orders.cancel_order or (
                write.function is orders.move_order and body[0].status == "delivered"
            ):
                await end_way(ids[0])
            return written

        return answer

    async def end_way(order_id: str) -> None:
        """The last place of an order that is no longer on its way is no news."""
        # While the log is away, its time ends it.
        with suppress(LogUnavailableError):
            await context.publisher.latest.forget(payloads.OrderLocationUpdate, order(order_id))

    def reading(read: Read) -> Responder:
        async def answer(request: Request) -> Response:
            return answer_json(await context.database.read(read.function, *read_ids(request)))

        return answer

    def listing(listed: Listing) -> Responder:
        async def answer(request: Request) -> Response:
            page = read_query(request, listed.page)
            found = await context.database.read(list_records, listed, read_ids(request), page)
            return answer_page(found, page.limit, lambda record: record[1], lambda record: record[0])

        return answer

    async def locate(request: Request) -> Response:
        [order_id] = read_ids(request)
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
        payload = await context.database.read(stores.describe_typing, *read_ids(request))
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


def list_records(connection: Connection, listed: Listing, ids: list[str], page: Page) -> list[tuple[int, Payload]]:
    """What `page` asks for, and one record more, with their numbers. Raises RefusedError (not_found)."""
    columns = listed.table.c
    where = [columns[name] == value for name, value in read_filters(page).items()]
    if listed.within is not None:
        # Of what is unknown there is no list, rather than an empty one.
        (parent,) = listed.within.foreign_keys
        get_row(connection, parent.column.table, ids[0])
        where.append(listed.within == ids[0])
    rows = list_rows(connection, listed.table, page.after, page.limit + 1, *where)
    return [(row.number, listed.show(connection, row)) for row in rows]
