"""The HTTP API of `rez`, as a table, for back ends with a service key.

The back end gives each record its id, so that a request may be repeated: a new record is answered with 201, a known
one with 200.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import Column, Connection
from starlette.routing import Route

from oyez.contract import CamelPayload, Id
from oyez.errors import LogUnavailableError
from oyez.service.database.records import to_payload
from oyez.service.resources import Listing, Read, Resource, Send, Write, build_routes, find_answer
from oyez.service.system import Services
from oyez.service.typing import Typing
from oyez.systems.rez import carts, groups, orders, payloads, stores, support, tables
from oyez.systems.rez.contract import order
from oyez.systems.rez.handlers import end_typing
from oyez.systems.rez.rows import get_row

MAX_PAGE = 200
"""Rows of one page: a page of messages stays below 2 MB."""


class Page(CamelPayload):
    """The page of a list: `limit` records with a number above `after`, oldest first."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE
    after: Annotated[int, Meta(ge=0, le=2**53)] = 0
    """The `next` of the previous page."""


class OrdersPage(Page):
    customer_id: Id | None = None


class TicketsPage(Page):
    customer_id: Id | None = None
    agent_id: Id | None = None
    status: payloads.TicketStatus | None = None


async def locate(services: Services, order_id: str, whereabouts: orders.Whereabouts) -> None:
    """Send the location of an order on its way; volatile."""
    await services.database.read(orders.check_on_its_way, order_id)
    await services.publisher.emit(to_payload(whereabouts, payloads.OrderLocationUpdate, order_id=order_id))
    if not await services.database.read(orders.is_on_its_way, order_id):
        # The order was delivered or cancelled in the meantime: this location may have been kept after the deletion.
        await delete_location(services, order_id)


async def delete_location(services: Services, order_id: str) -> None:
    """Delete the last location of an order that is no longer on its way."""
    # If the log is down, the record expires by itself.
    with suppress(LogUnavailableError):
        await services.publisher.latest.forget(payloads.OrderLocationUpdate, order(order_id))


async def type_in_store(services: Services, conversation_id: str) -> None:
    """Send that the store is typing; volatile."""
    await services.publisher.emit(await services.database.read(stores.describe_typing, conversation_id))


def _messages(path: str, within: Column[str], show: Any) -> Listing:
    """The messages of a ticket, a group or a conversation."""

    def get_parent(connection: Connection, id: str) -> object:
        (parent,) = within.foreign_keys
        return get_row(connection, parent.column.table, id)

    messages = within.table
    return Listing(
        path,
        Page,
        messages,
        lambda _, row: show(row),
        messages.c.number,
        within=within,
        get_parent=get_parent,
        answer=find_answer(show),
    )


# Ids of users may contain a slash, so they take all of the rest (`:path`), and longer paths come first.
RESOURCES: tuple[Resource, ...] = (
    Write("PUT", "/orders/{orderId}", orders.place_order, orders.OrderPlacing),
    Write("POST", "/orders/{orderId}/status", orders.move_order, orders.OrderMove),
    Write("POST", "/orders/{orderId}/eta", orders.set_order_eta, orders.Eta),
    Write("POST", "/orders/{orderId}/cancel", orders.cancel_order, orders.Cancellation),
    Write("PUT", "/carts/{userId:path}/reservations/{productId}", carts.reserve, carts.Reservation),
    Write("POST", "/carts/{userId:path}/reservations/{productId}/release", carts.release, carts.Release),
    Write("PUT", "/carts/{userId:path}", carts.save_cart, carts.Cart),
    Write("POST", "/products/{productId}/price", carts.change_price, carts.PriceChange),
    Write("POST", "/products/{productId}/stock", carts.change_stock, carts.Stock),
    Write("PUT", "/tickets/{ticketId}", support.open_ticket, support.TicketOpening),
    Write("POST", "/tickets/{ticketId}/agent", support.assign, support.Assignment),
    Write("POST", "/tickets/{ticketId}/status", support.move_ticket, support.TicketMove),
    Write("PUT", "/tickets/{ticketId}/messages/{messageId}", support.post_message, support.MessagePosting),
    Write("POST", "/tickets/{ticketId}/messages/{messageId}/delivered", support.deliver_message),
    Write("POST", "/agents/{agentId:path}/status", support.set_agent_status, support.AgentState),
    Write("POST", "/agents/{agentId:path}/next", support.assign_next),
    Write("PUT", "/agents/{agentId:path}", support.put_agent, support.AgentEntry),
    Write("PUT", "/groups/{groupId}", groups.start_group, groups.GroupStart),
    Write("PUT", "/groups/{groupId}/members/{userId:path}", groups.join_group, groups.Membership),
    Write("DELETE", "/groups/{groupId}/members/{userId:path}", groups.leave_group),
    Write("PUT", "/groups/{groupId}/messages/{messageId}", groups.post_group_message, groups.GroupPosting),
    Write("POST", "/groups/{groupId}/cancel", groups.cancel_group, groups.GroupEnd),
    Write("PUT", "/stores/{storeId}", stores.put_store, stores.Store),
    Write("PUT", "/conversations/{conversationId}", stores.put_conversation, stores.Conversation),
    Write(
        "PUT", "/conversations/{conversationId}/messages/{messageId}", stores.post_store_message, stores.StorePosting
    ),
    Send("/orders/{orderId}/location", locate, orders.Whereabouts),
    Send("/conversations/{conversationId}/typing", type_in_store),
    Read("/orders/{orderId}", orders.get_order),
    Read("/carts/{userId:path}", carts.get_cart),
    Read("/tickets/{ticketId}", support.get_ticket),
    Read("/agents/{agentId:path}", support.get_agent),
    Read("/groups/{groupId}", groups.get_group),
    Listing(
        "/orders",
        OrdersPage,
        tables.orders,
        lambda _, row: orders.to_order(row),
        tables.orders.c.number,
        answer=orders.Order,
    ),
    Listing("/tickets", TicketsPage, tables.tickets, support.to_ticket, tables.tickets.c.number),
    _messages("/tickets/{ticketId}/messages", tables.ticket_messages.c.ticket_id, support.to_message),
    _messages("/groups/{groupId}/messages", tables.group_messages.c.group_id, groups.to_group_message),
    _messages(
        "/conversations/{conversationId}/messages", tables.store_messages.c.conversation_id, stores.to_store_message
    ),
)


def build_api(services: Services, typing: Typing) -> list[Route]:
    """All of `/rez/api`: the table, with what some requests do besides."""

    async def stop_typing(ticket_id: str, message_id: str, posting: support.MessagePosting) -> None:
        await end_typing(services, typing, ticket_id, posting.sender_id)

    async def end_way(order_id: str, change: orders.OrderMove | orders.Cancellation) -> None:
        if isinstance(change, orders.Cancellation) or change.status == "delivered":
            await delete_location(services, order_id)

    before = {support.post_message: stop_typing}
    after = {orders.move_order: end_way, orders.cancel_order: end_way}
    resources = [
        replace(row, before=before.get(row.function), after=after.get(row.function)) if isinstance(row, Write) else row
        for row in RESOURCES
    ]
    return build_routes(resources, services)
