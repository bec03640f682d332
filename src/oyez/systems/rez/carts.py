"""Carts as the back end last synchronized them, changes of their products, and reservations."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta
from sqlalchemy import Connection, delete, select

from oyez.contract import UNSET, CamelPayload, Id, Maybe, Money, Payload, Time
from oyez.contract.codec import decode_json, encode_json
from oyez.errors import InvalidDataError, RefusedError
from oyez.service.database.records import to_payload
from oyez.service.outbox.transaction import Transaction
from oyez.systems.rez import payloads
from oyez.systems.rez.contract import NOT_FOUND, user
from oyez.systems.rez.payloads import Count, Line, Percent
from oyez.systems.rez.tables import cart_products, carts, reservations

USERS_PER_EVENT = 500
"""Rooms that one entry of the log names: a product may be in very many carts."""

RESERVATION_ENDS = "reservation_ends"
"""The job that ends a reservation."""


class Cart(CamelPayload):
    """The complete cart of a user."""

    id: Id
    items: Annotated[list[payloads.CartItem], Meta(max_length=30)]
    item_count: Count
    subtotal: Money
    discount: Money
    delivery_fee: Money
    tax: Money
    total: Money
    coupon_code: Maybe[Line] = UNSET
    updated_at: Time


class PriceChange(CamelPayload):
    """The old and the new price of a product."""

    old_price: Money
    new_price: Money
    discount: Maybe[Percent] = UNSET


class Stock(CamelPayload):
    """The stock of a product."""

    stock: Count
    is_available: bool


class Reservation(CamelPayload):
    """A reservation of a product for a user."""

    quantity: Annotated[int, Meta(ge=1, le=1_000_000)]
    expires_at: Time


class Release(CamelPayload):
    """Why a reservation ends."""

    reason: Literal["expired", "cancelled", "purchased"]


class Notified(CamelPayload):
    """The number of notified users, who have the product in their cart."""

    users: Count


def save_cart(tx: Transaction, user_id: str, cart: Cart) -> payloads.CartSync:
    """Store a cart and send it to all devices of the user."""
    synced = to_payload(cart, payloads.CartSync, user_id=user_id, timestamp=Time.at(tx.now))
    tx.connection.execute(delete(carts).where(carts.c.user_id == user_id))
    tx.connection.execute(carts.insert(), {"user_id": user_id, "cart": encode_json(synced)})
    tx.connection.execute(delete(cart_products).where(cart_products.c.user_id == user_id))
    products = dict.fromkeys(item.product_id for item in cart.items)
    if products:
        rows = [{"user_id": user_id, "product_id": product} for product in products]
        tx.connection.execute(cart_products.insert(), rows)
    tx.emit(synced)
    return synced


def find_cart(connection: Connection, user_id: str) -> payloads.CartSync | None:
    """The cart of a user; None if it was never synchronized."""
    found = connection.execute(select(carts.c.cart).where(carts.c.user_id == user_id)).scalar_one_or_none()
    if found is None:
        return None
    return decode_json(found, payloads.CartSync)


def get_cart(connection: Connection, user_id: str) -> payloads.CartSync:
    """Raises RefusedError (not_found)."""
    cart = find_cart(connection, user_id)
    if cart is None:
        raise RefusedError(NOT_FOUND, f"No cart of {user_id!r} was ever synchronized.")
    return cart


def change_price(tx: Transaction, product_id: str, change: PriceChange) -> Notified:
    """Notify all users who have the product in their cart."""
    return _notify_buyers(tx, product_id, to_payload(change, payloads.PriceUpdate, product_id=product_id))


def change_stock(tx: Transaction, product_id: str, stock: Stock) -> Notified:
    """Notify all users who have the product in their cart."""
    return _notify_buyers(tx, product_id, to_payload(stock, payloads.StockUpdate, product_id=product_id))


def reserve(tx: Transaction, user_id: str, product_id: str, reservation: Reservation) -> payloads.CartItemReserved:
    """Reserve a product for a user until `expiresAt`, in place of an earlier reservation. Raises InvalidDataError."""
    expires_at = reservation.expires_at.seconds
    if expires_at <= tx.now:
        raise InvalidDataError("expiresAt", "a time in the future")
    _give_back(tx, user_id, product_id)
    added = tx.connection.execute(
        reservations.insert()
        .values(user_id=user_id, product_id=product_id, quantity=reservation.quantity, expires_at=expires_at)
        .returning(reservations.c.number)
    ).scalar_one()
    tx.schedule(RESERVATION_ENDS, str(added), expires_at, {"userId": user_id, "productId": product_id})
    payload = to_payload(reservation, payloads.CartItemReserved, product_id=product_id, timestamp=Time.at(tx.now))
    tx.emit(payload, user(user_id))
    return payload


def release(tx: Transaction, user_id: str, product_id: str, release: Release) -> payloads.CartItemReleased:
    """End the reservation of a product; sends nothing if there was none."""
    payload = payloads.CartItemReleased(product_id=product_id, reason=release.reason, timestamp=Time.at(tx.now))
    if _give_back(tx, user_id, product_id):
        tx.emit(payload, user(user_id))
    return payload


def end_reservation(tx: Transaction, key: str, data: Mapping[str, Any]) -> None:
    """The job at the end of a reservation."""
    release(tx, data["userId"], data["productId"], Release(reason="expired"))


def _give_back(tx: Transaction, user_id: str, product_id: str) -> bool:
    kept = (reservations.c.user_id == user_id) & (reservations.c.product_id == product_id)
    number = tx.connection.execute(
        delete(reservations).where(kept).returning(reservations.c.number)
    ).scalar_one_or_none()
    if number is not None:
        tx.cancel(RESERVATION_ENDS, str(number))
    return number is not None


def _notify_buyers(tx: Transaction, product_id: str, payload: Payload) -> Notified:
    query = select(cart_products.c.user_id).where(cart_products.c.product_id == product_id)
    buyers = tx.connection.execute(query.order_by(cart_products.c.user_id)).scalars().all()
    for first in range(0, len(buyers), USERS_PER_EVENT):
        tx.emit(payload, *(user(buyer) for buyer in buyers[first : first + USERS_PER_EVENT]))
    return Notified(users=len(buyers))
