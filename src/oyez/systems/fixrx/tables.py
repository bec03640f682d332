"""Chat messages between users and vendors, with the time at which each was read."""

from typing import Any, Literal

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, MetaData, Row, String, Table, Text, select

from oyez.contract import CamelPayload, Id, Time
from oyez.service.database.records import to_payload

metadata = MetaData()

messages = Table(
    "fixrx_messages",
    metadata,
    Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("user_id", String(128), nullable=False),
    Column("vendor_id", String(128), nullable=False),
    Column("sender_role", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("sent_at", String(32), nullable=False),
    Column("read_at", String(32), nullable=True),
    Index("fixrx_messages_chat", "user_id", "vendor_id", "number"),
    sqlite_autoincrement=True,
)

Party = Literal["user", "vendor"]
"""The two parties of a chat: one user and one vendor."""


class StoredMessage(CamelPayload):
    """A stored message."""

    message_id: Id
    user_id: Id
    vendor_id: Id
    sender_role: Party
    message: str
    timestamp: Time
    read_at: Time | None = None

    @property
    def recipient_role(self) -> Party:
        return "vendor" if self.sender_role == "user" else "user"

    def id_of(self, role: Party) -> str:
        return self.user_id if role == "user" else self.vendor_id


def add_message(connection: Connection, stored: StoredMessage) -> None:
    connection.execute(
        messages.insert(),
        {
            "id": stored.message_id,
            "user_id": stored.user_id,
            "vendor_id": stored.vendor_id,
            "sender_role": stored.sender_role,
            "message": stored.message,
            "sent_at": stored.timestamp,
            "read_at": stored.read_at,
        },
    )


def find_message(connection: Connection, message_id: str) -> StoredMessage | None:
    row = connection.execute(select(messages).where(messages.c.id == message_id)).one_or_none()
    return None if row is None else to_message(row)


def mark_read(connection: Connection, message_id: str, read_at: Time) -> bool:
    """True if the message was unread until now."""
    unread = messages.update().where(messages.c.id == message_id, messages.c.read_at.is_(None))
    return connection.execute(unread.values(read_at=read_at)).rowcount == 1


def to_message(row: Row[Any]) -> StoredMessage:
    return to_payload(
        row,
        StoredMessage,
        message_id=row.id,
        timestamp=Time(row.sent_at),
        read_at=Time(row.read_at) if row.read_at else None,
    )
