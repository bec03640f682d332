"""The handlers of the commands of `fixrx`: rooms, chat and ping."""

from uuid import uuid4

from oyez.contract import Identity, Joined, NamedRoom, Time
from oyez.errors import FORBIDDEN, RefusedError
from oyez.runtime import Client, Handlers
from oyez.service.outbox.outbox import Outbox
from oyez.service.outbox.transaction import Transaction
from oyez.systems.fixrx.contract import (
    UNKNOWN_MESSAGE,
    ChatMessage,
    ChatRead,
    Join,
    Ping,
    ReadMessage,
    SendMessage,
    Sent,
    user,
    vendor,
)
from oyez.systems.fixrx.tables import Party, StoredMessage, add_message, find_message, mark_read


def build_handlers(outbox: Outbox) -> Handlers:
    """The handlers. Changes and their events go through `outbox`."""

    async def send(command: SendMessage, client: Client) -> Sent:
        return await outbox.run(send_message, client.identity, command, client.id)

    async def read(command: ReadMessage, client: Client) -> None:
        await outbox.run(read_message, client.identity, command.message_id, client.id)

    return {Join: join, Ping: answer_ping, SendMessage: send, ReadMessage: read}


async def join(command: Join, client: Client) -> Joined:
    """Join a room if its rule allows it: only the caller's own room."""
    room = _room_of(command.type, command.id)
    await client.join(room)
    return Joined(room=room.name)


def answer_ping(command: Ping, client: Client) -> None:
    """The acknowledgement is the answer."""


def send_message(tx: Transaction, sender: Identity, command: SendMessage, socket: str) -> Sent:
    """Store a message and send it to its recipient, who is always of the other role, and to the sender's other devices.

    `socket` is the id of the sending socket, which receives the acknowledgement instead.
    """
    from_user = sender.role == "user"
    stored = StoredMessage(
        message_id=str(uuid4()),
        user_id=sender.subject if from_user else command.recipient_id,
        vendor_id=command.recipient_id if from_user else sender.subject,
        sender_role="user" if from_user else "vendor",
        message=command.message,
        timestamp=Time.at(tx.now),
    )
    add_message(tx.connection, stored)
    message = ChatMessage(
        message_id=stored.message_id,
        sender_id=sender.subject,
        sender_role=stored.sender_role,
        recipient_id=command.recipient_id,
        message=stored.message,
        timestamp=stored.timestamp,
    )
    rooms = _room_of(stored.recipient_role, command.recipient_id), _room_of(stored.sender_role, sender.subject)
    tx.emit(message, *rooms, excluding=[socket])
    return Sent(message_id=stored.message_id, timestamp=stored.timestamp)


def read_message(tx: Transaction, reader: Identity, message_id: str, socket: str) -> None:
    """Store that a message was read, and notify its sender and the reader's other devices, the first time.

    Raises RefusedError: unknown_message; forbidden if the reader is not its recipient.
    """
    stored = find_message(tx.connection, message_id)
    if stored is None:
        raise RefusedError(UNKNOWN_MESSAGE)
    if (reader.role, reader.subject) != (stored.recipient_role, stored.id_of(stored.recipient_role)):
        raise RefusedError(FORBIDDEN, "Only its recipient can say that a message was read.")
    now = Time.at(tx.now)
    if mark_read(tx.connection, message_id, now):
        sender = stored.id_of(stored.sender_role)
        read = ChatRead(message_id=message_id, sender_id=sender, recipient_id=reader.subject, timestamp=now)
        rooms = _room_of(stored.sender_role, sender), _room_of(stored.recipient_role, reader.subject)
        tx.emit(read, *rooms, excluding=[socket])


def _room_of(role: Party, id: str) -> NamedRoom:
    return user(id) if role == "user" else vendor(id)
