"""Stores that write to users: conversations, their messages, and whether the store can answer."""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Connection, Row, select, update

from oyez.contract import CamelPayload, Id, Time
from oyez.contract.codec import decode_json, encode_json
from oyez.errors import RefusedError
from oyez.service.outbox.transaction import Transaction
from oyez.systems.rez import payloads
from oyez.systems.rez.contract import ALREADY_THERE, conversation, user
from oyez.systems.rez.payloads import Line, Text
from oyez.systems.rez.rows import find_row, get_row
from oyez.systems.rez.tables import conversations, store_messages, stores

ROOMS_PER_EVENT = 500
"""Rooms that one entry of the log names: a store may have talked to very many users."""


class Store(CamelPayload):
    """A store, and whether it can answer."""

    name: Line
    is_online: bool


class Conversation(CamelPayload):
    """The store and the user of a conversation."""

    store_id: Id
    user_id: Id


class StorePosting(CamelPayload):
    """A message of a store."""

    content: Text
    type: Literal["text", "image", "order_update"]


def put_store(tx: Transaction, store_id: str, store: Store) -> tuple[Store, bool]:
    """Add a store, or change it. True if it is new. Its conversations are notified if it goes online or offline."""
    row = find_row(tx.connection, stores, store_id)
    if row is None:
        tx.connection.execute(stores.insert(), {"id": store_id, "name": store.name, "is_online": store.is_online})
        return store, True
    values = {"name": store.name, "is_online": store.is_online}
    tx.connection.execute(update(stores).where(stores.c.id == store_id).values(values))
    if row.is_online != store.is_online:
        kind = payloads.StoreOnline if store.is_online else payloads.StoreOffline
        payload = kind(store_id=store_id, timestamp=Time.at(tx.now))
        talks = _list_conversations(tx.connection, store_id)
        rooms = [room for talk in talks for room in (conversation(talk.id), user(talk.user_id))]
        for first in range(0, len(rooms), ROOMS_PER_EVENT):
            tx.emit(payload, *rooms[first : first + ROOMS_PER_EVENT])
    return store, False


def put_conversation(tx: Transaction, conversation_id: str, talk: Conversation) -> tuple[Conversation, bool]:
    """Create a conversation between a store and a user. True if it is new.

    Raises RefusedError: not_found, already_there.
    """
    get_row(tx.connection, stores, talk.store_id)
    row = find_row(tx.connection, conversations, conversation_id)
    if row is not None:
        if (row.store_id, row.user_id) != (talk.store_id, talk.user_id):
            raise RefusedError(ALREADY_THERE, f"Conversation {conversation_id!r} is between others.")
        return talk, False
    same = select(conversations.c.id).where(
        conversations.c.store_id == talk.store_id, conversations.c.user_id == talk.user_id
    )
    other = tx.connection.execute(same).scalar_one_or_none()
    if other is not None:
        raise RefusedError(ALREADY_THERE, f"Store and user talk already, as conversation {other!r}.")
    values = {"id": conversation_id, "store_id": talk.store_id, "user_id": talk.user_id}
    tx.connection.execute(conversations.insert(), values)
    tx.add_member(conversation(conversation_id), f"user:{talk.user_id}")
    return talk, True


def post_store_message(
    tx: Transaction, conversation_id: str, message_id: str, posting: StorePosting
) -> tuple[payloads.StoreMessage, bool]:
    """Store and send a message of a store. True if it is new. Raises RefusedError: not_found, already_there."""
    talk = get_row(tx.connection, conversations, conversation_id)
    stored = find_row(tx.connection, store_messages, message_id)
    if stored is not None:
        if stored.conversation_id != conversation_id:
            raise RefusedError(ALREADY_THERE, f"Message {message_id!r} is another conversation's.")
        return to_store_message(stored), False
    message = payloads.StoreMessage(
        id=message_id,
        conversation_id=conversation_id,
        store_id=talk.store_id,
        store_name=get_row(tx.connection, stores, talk.store_id).name,
        content=posting.content,
        type=posting.type,
        created_at=Time.at(tx.now),
    )
    tx.connection.execute(
        store_messages.insert(), {"id": message_id, "conversation_id": conversation_id, "message": encode_json(message)}
    )
    tx.emit(message, conversation(conversation_id), user(talk.user_id))
    return message, True


def describe_typing(connection: Connection, conversation_id: str) -> payloads.StoreTyping:
    """The event for a user while the store writes. Raises RefusedError (not_found)."""
    talk = get_row(connection, conversations, conversation_id)
    store = get_row(connection, stores, talk.store_id)
    return payloads.StoreTyping(conversation_id=conversation_id, store_id=store.id, store_name=store.name)


def to_store_message(row: Row[Any]) -> payloads.StoreMessage:
    return decode_json(row.message, payloads.StoreMessage)


def _list_conversations(connection: Connection, store_id: str) -> Sequence[Row[Any]]:
    query = select(conversations).where(conversations.c.store_id == store_id).order_by(conversations.c.number)
    return connection.execute(query).all()
