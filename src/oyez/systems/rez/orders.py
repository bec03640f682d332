"""Orders and their status changes, which are sent to the users who follow the order."""

import math
from typing import Any, Literal

from sqlalchemy import Connection, Row, select, update

from oyez.contract import UNSET, CamelPayload, Id, Maybe, Money, Time
from oyez.errors import RefusedError
from oyez.service.database.records import to_payload
from oyez.service.outbox.transaction import Transaction
from oyez.systems.rez import payloads
from oyez.systems.rez.contract import ALREADY_THERE, ILLEGAL_TRANSITION, order, own_orders, user
from oyez.systems.rez.payloads import Line, OrderStatus, Text, Url
from oyez.systems.rez.rows import find_row, get_row
from oyez.systems.rez.states import ORDERS, check_move
from oyez.systems.rez.tables import orders, subscriptions

MAX_FOLLOWED = 200
"""Number of the newest open orders that `orders` covers: more than a person waits for, fewer than a socket's rooms."""

ON_ITS_WAY = ("dispatched", "out_for_delivery")
"""The statuses in which an order's location is known."""

SENTENCES: dict[str, str] = {
    "placed": "Your order has been placed.",
    "confirmed": "The store has confirmed your order.",
    "preparing": "Your order is being prepared.",
    "ready": "Your order is ready.",
    "dispatched": "Your order has left the store.",
    "out_for_delivery": "Your order is out for delivery.",
    "delivered": "Your order has been delivered.",
}
"""The sentences for the customer if the back end gives no message."""


class OrderPlacing(CamelPayload):
    """A new order."""

    order_number: Line
    customer_id: Id
    message: Maybe[Text] = UNSET
    estimated_delivery: Maybe[Time] = UNSET


class OrderMove(CamelPayload):
    """The new status of an order."""

    status: OrderStatus
    message: Maybe[Text] = UNSET
    estimated_delivery: Maybe[Time] = UNSET
    signature: Maybe[Url] = UNSET
    """Of the recipient, if it is `delivered`."""


class Cancellation(CamelPayload):
    """The cancellation of an order."""

    reason: Text
    cancelled_by: Literal["user", "store", "admin"]
    refund_amount: Money
    refund_status: Literal["pending", "processing", "completed"]


class Eta(CamelPayload):
    """The expected time of delivery."""

    eta: Time


class Whereabouts(CamelPayload):
    """The location of an order on its way, and its driver."""

    location: payloads.DeliveryLocation
    driver_name: Line
    driver_phone: payloads.Phone


class Order(CamelPayload):
    """A stored order."""

    order_id: Id
    order_number: Line
    customer_id: Id
    status: OrderStatus | Literal["cancelled"]
    placed_at: Time
    changed_at: Time
    estimated_delivery: Time | None


def place_order(tx: Transaction, order_id: str, placing: OrderPlacing) -> tuple[Order, bool]:
    """Place an order. True if it is new. Raises RefusedError (already_there)."""
    row = find_row(tx.connection, orders, order_id)
    if row is not None:
        if (row.order_number, row.customer_id) != (placing.order_number, placing.customer_id):
            raise RefusedError(ALREADY_THERE, f"Order {order_id!r} was placed with another number or customer.")
        return to_order(row), False
    tx.connection.execute(
        orders.insert(),
        {
            "id": order_id,
            "order_number": placing.order_number,
            "customer_id": placing.customer_id,
            "status": "placed",
            "is_open": True,
            "placed_at": tx.now,
            "changed_at": tx.now,
            "estimated_delivery": placing.estimated_delivery or None,
        },
    )
    tx.add_member(order(order_id), f"user:{placing.customer_id}")
    tx.join(own_orders(placing.customer_id), order(order_id))
    row = get_row(tx.connection, orders, order_id)
    _notify_status(tx, row, placing.message)
    return to_order(row), True


def move_order(tx: Transaction, order_id: str, move: OrderMove) -> Order:
    """Change the status of an order; does nothing if it has that status.

    Raises RefusedError: not_found, illegal_transition.
    """
    row = get_row(tx.connection, orders, order_id)
    if row.status == move.status:
        return to_order(row)
    check_move(ORDERS, f"Order {order_id!r}", row.status, move.status)
    delivered = move.status == "delivered"
    values: dict[str, Any] = {"status": move.status, "is_open": not delivered, "changed_at": tx.now}
    if move.estimated_delivery:
        values["estimated_delivery"] = move.estimated_delivery
    tx.connection.execute(update(orders).where(orders.c.id == order_id).values(values))
    row = get_row(tx.connection, orders, order_id)
    _notify_status(tx, row, move.message)
    if delivered:
        payload = payloads.OrderDelivered(
            order_id=order_id, delivered_at=Time.at(tx.now), signature=move.signature or UNSET
        )
        tx.emit(payload, order(order_id), user(row.customer_id))
        _stop_following(tx, row)
    return to_order(row)


def cancel_order(tx: Transaction, order_id: str, cancellation: Cancellation) -> Order:
    """Cancel an order. Raises RefusedError: not_found, illegal_transition."""
    row = get_row(tx.connection, orders, order_id)
    check_move(ORDERS, f"Order {order_id!r}", row.status, "cancelled")
    tx.connection.execute(
        update(orders).where(orders.c.id == order_id).values(status="cancelled", is_open=False, changed_at=tx.now)
    )
    payload = to_payload(cancellation, payloads.OrderCancelled, order_id=order_id)
    tx.emit(payload, order(order_id), user(row.customer_id))
    _stop_following(tx, row)
    return to_order(get_row(tx.connection, orders, order_id))


def set_order_eta(tx: Transaction, order_id: str, expected: Eta) -> Order:
    """Set the expected time of an open order. Raises RefusedError: not_found, illegal_transition."""
    row = get_row(tx.connection, orders, order_id)
    if not row.is_open:
        raise RefusedError(ILLEGAL_TRANSITION, f"Order {order_id!r} is {row.status}: nobody waits for it.")
    tx.connection.execute(update(orders).where(orders.c.id == order_id).values(estimated_delivery=expected.eta))
    minutes = max(0, math.ceil((expected.eta.seconds - tx.now) / 60))
    tx.emit(payloads.OrderEtaUpdate(order_id=order_id, eta=expected.eta, minutes=minutes), order(order_id))
    return to_order(get_row(tx.connection, orders, order_id))


def check_on_its_way(connection: Connection, order_id: str) -> None:
    """Raises RefusedError (not_found, illegal_transition) if the order is not on its way."""
    row = get_row(connection, orders, order_id)
    if row.status not in ON_ITS_WAY:
        raise RefusedError(ILLEGAL_TRANSITION, f"Order {order_id!r} is {row.status}, not on its way.")


def is_on_its_way(connection: Connection, order_id: str) -> bool:
    """True if the order is on its way. Raises RefusedError (not_found)."""
    return get_row(connection, orders, order_id).status in ON_ITS_WAY


def list_open_orders(connection: Connection, user_id: str) -> list[str]:
    """The ids of a user's open orders, newest first."""
    query = select(orders.c.id).where(orders.c.customer_id == user_id, orders.c.is_open)
    return list(connection.execute(query.order_by(orders.c.number.desc()).limit(MAX_FOLLOWED)).scalars())


def get_order(connection: Connection, order_id: str) -> Order:
    """Raises RefusedError (not_found)."""
    return to_order(get_row(connection, orders, order_id))


def to_order(row: Row[Any]) -> Order:
    return to_payload(
        row,
        Order,
        order_id=row.id,
        placed_at=Time.at(row.placed_at),
        changed_at=Time.at(row.changed_at),
        estimated_delivery=Time(row.estimated_delivery) if row.estimated_delivery else None,
    )


def _notify_status(tx: Transaction, row: Row[Any], message: Maybe[str]) -> None:
    payload = payloads.OrderStatusUpdate(
        order_id=row.id,
        order_number=row.order_number,
        status=row.status,
        timestamp=Time.at(tx.now),
        message=message or SENTENCES[row.status],
        estimated_delivery=Time(row.estimated_delivery) if row.estimated_delivery else UNSET,
    )
    tx.emit(payload, order(row.id))


def _stop_following(tx: Transaction, row: Row[Any]) -> None:
    """Users who followed the order only as one of their open orders follow it no longer."""
    by_name = select(subscriptions.c.number).where(
        subscriptions.c.user_id == row.customer_id, subscriptions.c.channel == str(order(row.id))
    )
    if tx.connection.execute(by_name).first() is None:
        tx.leave(own_orders(row.customer_id), order(row.id))
