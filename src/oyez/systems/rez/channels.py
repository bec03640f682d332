"""Channels: the stored subscriptions of each user, and the rooms that a connection joins because of them.

A subscription is stored for the user. It applies to the connection that made it and to later ones, not to other devices
that are connected already: a device that closes a screen does not change what another receives.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from oyez.contract import NamedRoom
from oyez.contract.policy import Nobody
from oyez.contract.rooms import Room, Rooms
from oyez.contract.schema import quote
from oyez.errors import FORBIDDEN, RATE_LIMITED, RefusedError, is_temporary
from oyez.runtime import Client
from oyez.service.database.database import Database
from oyez.systems.rez import contract
from oyez.systems.rez.carts import find_cart
from oyez.systems.rez.contract import CHANNELS, UNKNOWN_CHANNEL
from oyez.systems.rez.orders import list_open_orders
from oyez.systems.rez.tables import subscriptions

MAX_SUBSCRIPTIONS = 200
"""Number of the newest subscriptions kept for a user: more than an app shows, fewer than a socket's rooms."""


SUBSCRIBED = "subscribed"
"""The key in a client's state for the names of its channels, until it has joined them."""


class Channel(NamedTuple):
    """One channel of one user: its stored name and its room. `orders` covers more rooms than that one."""

    name: str
    room: NamedRoom


def _read_patterns() -> Rooms:
    patterns = Rooms("channels")
    for pattern in CHANNELS:
        patterns.add(Room(pattern, patterns, rule=Nobody()))
    return patterns


_PATTERNS = _read_patterns()


def find_channel(name: str, user_id: str) -> Channel:
    """The channel of that name for a user. Raises RefusedError (unknown_channel)."""
    resolved = _PATTERNS.resolve(name)
    if resolved is not None:
        kind, values = resolved
        if kind.pattern == "orders":
            return Channel("orders", contract.own_orders(user_id))
        if kind.pattern == "cart":
            return Channel("cart", contract.user(user_id))
        if contract.root.rooms.resolve(found := _name(CHANNELS[kind.pattern], values)) is not None:
            return Channel(found, NamedRoom(contract.root.name, found))
    raise RefusedError(UNKNOWN_CHANNEL, f"There is no channel {quote(name)}. There are {', '.join(CHANNELS)}.")


def _name(room: Room, values: dict[str, str]) -> str:
    try:
        return room.name(values)
    except RefusedError:
        return ""


# What is stored.


def list_subscriptions(connection: Connection, user_id: str) -> list[str]:
    """The names of a user's channels, in the order in which they were subscribed to."""
    query = select(subscriptions.c.channel).where(subscriptions.c.user_id == user_id)
    return list(connection.execute(query.order_by(subscriptions.c.number)).scalars())


def store_subscription(connection: Connection, user_id: str, channel: str) -> None:
    """Store a subscription, if it is not stored yet. Above MAX_SUBSCRIPTIONS the oldest are deleted."""
    known = list_subscriptions(connection, user_id)
    if channel not in known:
        connection.execute(subscriptions.insert(), {"user_id": user_id, "channel": channel})
        delete_subscriptions(connection, user_id, known[: max(0, len(known) + 1 - MAX_SUBSCRIPTIONS)])


def delete_subscriptions(connection: Connection, user_id: str, channels: Iterable[str]) -> None:
    """Delete subscriptions. Does nothing for those that are not stored."""
    named = (subscriptions.c.user_id == user_id) & subscriptions.c.channel.in_(list(channels))
    connection.execute(delete(subscriptions).where(named))


# Rooms of connections.


class Channels:
    """Joins clients to the rooms of their channels and removes them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def subscribe(self, name: str, client: Client) -> list[str]:
        """Join and return the rooms of a channel. Raises RefusedError: unknown_channel, forbidden, rate_limited."""
        user_id = client.identity.subject
        channel = find_channel(name, user_id)
        rooms = await self._enter(channel, client)
        await self._database.run(store_subscription, user_id, channel.name)
        await self._show(channel, client)
        return rooms

    async def unsubscribe(self, name: str, client: Client) -> list[str]:
        """Leave the rooms that no other subscription covers and return them. Raises RefusedError (unknown_channel)."""
        user_id = client.identity.subject
        channel = find_channel(name, user_id)
        await self._database.run(delete_subscriptions, user_id, [channel.name])
        kept = await self._database.read(list_subscriptions, user_id)
        needed = {str(contract.user(user_id)), *kept}
        going = {str(channel.room)}
        if "orders" in kept:
            needed |= {str(contract.order(order_id)) for order_id in await self._list_open_orders(client)}
        if channel.name == "orders":
            going |= {room for room in client.rooms if contract.order.match(room) is not None}
        left = sorted(going & client.rooms - needed)
        for room in left:
            client.leave(room)
        return [room for room in left if contract.own_orders.match(room) is None]

    async def find(self, client: Client) -> None:
        """Find the channels of a client's user, for `restore`."""
        client.state[SUBSCRIBED] = await self._database.read(list_subscriptions, client.identity.subject)

    async def restore(self, client: Client) -> None:
        """Join a new connection to its user's channels. Subscriptions without a right are deleted."""
        user_id = client.identity.subject
        lost = []
        for name in client.state.pop(SUBSCRIBED):
            try:
                channel = find_channel(name, user_id)
                await self._enter(channel, client)
                await self._show(channel, client)
            except RefusedError as refused:
                if is_temporary(refused):
                    raise
                if refused.refusal is RATE_LIMITED:
                    # The rooms a socket may be in are full.
                    break
                lost.append(name)
        if lost:
            await self._database.run(delete_subscriptions, user_id, lost)

    async def _enter(self, channel: Channel, client: Client) -> list[str]:
        # First: the transaction of each order that is placed from now on joins the client to the order's room.
        await client.join(channel.room)
        if channel.name != "orders":
            return [str(channel.room)]
        rooms = [contract.order(order_id) for order_id in await self._list_open_orders(client)]
        for room in rooms:
            try:
                await client.join(room)
            except RefusedError as refused:
                # A back end may have removed a user from their own order.
                if refused.refusal is not FORBIDDEN:
                    raise
        return [str(room) for room in rooms if client.is_in(room)]

    async def _show(self, channel: Channel, client: Client) -> None:
        if channel.name == "cart":
            cart = await self._database.read(find_cart, client.identity.subject)
            if cart is not None:
                client.emit(cart)

    async def _list_open_orders(self, client: Client) -> list[str]:
        return await self._database.read(list_open_orders, client.identity.subject)
