"""The contract of `quotes`: chat, quote requests and quote offers between users and suppliers.

There is one namespace, `/`. The back end publishes every event; clients only connect and listen.
"""

from typing import Literal

from oyez.contract import (
    UNSET,
    CamelPayload,
    Contract,
    Id,
    Maybe,
    Money,
    Time,
    auth,
    bearer,
    cookie,
    not_role,
    own,
    query,
    resolved,
    role,
)

contract = Contract(
    "quotes",
    description="Chat, quote requests and quote offers between users and suppliers.",
    roles=("user", "supplier", "admin"),
    default_role="user",
    tokens=(cookie(), bearer(), query("token"), auth("token")),
)

contract.user_attribute("supplier_id", "supplier record of this user", who=role("supplier"))

root = contract.namespace("/")

# Gateways: a client gets all gateways that its role permits, unless it names some of them.

chat = root.gateway("chat")
quote_requests = root.gateway("quote-requests", who=role("supplier"))
quote_offers = root.gateway("quote-offers", who=not_role("supplier"))

chat_user = chat.room(
    "chat:user:{userId}",
    members=own("userId") & not_role("supplier"),
    on_connect=True,
)
chat_supplier = chat.room(
    "chat:supplier:{supplierUserId}",
    members=own("supplierUserId", claim="sub") & role("supplier"),
    on_connect=True,
)
requests_supplier = quote_requests.room(
    "quote-request:supplier:{supplierId}",
    members=resolved("supplierId", "supplier_id"),
    on_connect=True,
)
offers_user = quote_offers.room(
    "quote-offer:user:{userId}",
    members=own("userId"),
    on_connect=True,
)


# Chat: a message goes to its recipient only. The recipient's role decides which of the two rooms it is in.


class Sender(CamelPayload):
    """The sender of a message, with the fields that the recipient may see."""

    id: Id
    email: str
    full_name: str
    first_name: str | None
    role: Literal["user", "supplier", "admin"]
    is_active: bool
    suspension_reason: str | None
    created_at: Time
    post_code: str | None


class Message(CamelPayload):
    """A stored message."""

    id: Id
    sender_id: Id
    content: str
    is_read: bool
    created_at: Time
    deleted_at: Time | None
    sender: Sender


@root.event(
    "chat:message",
    to=[chat_user.of("recipientId"), chat_supplier.of("recipientId")],
    example={
        "messageId": "9b2f0c1e-54a7-4d4e-8f0e-2f6b7c3a1d90",
        "chatId": "5d1c7a52-0a3b-4a63-9a57-6f3c0d9be7e4",
        "senderId": "c2a8f1d4-7e0b-4c59-b6d1-3f9e8a7b6c5d",
        "senderRole": "supplier",
        "recipientId": "0f4e6d2c-8b1a-4f3d-9c7e-5a6b7c8d9e0f",
        "content": "We could start on Tuesday morning.",
        "createdAt": "2026-01-31T12:00:00.000Z",
        "message": {
            "id": "9b2f0c1e-54a7-4d4e-8f0e-2f6b7c3a1d90",
            "senderId": "c2a8f1d4-7e0b-4c59-b6d1-3f9e8a7b6c5d",
            "content": "We could start on Tuesday morning.",
            "isRead": False,
            "createdAt": "2026-01-31T12:00:00.000Z",
            "deletedAt": None,
            "sender": {
                "id": "c2a8f1d4-7e0b-4c59-b6d1-3f9e8a7b6c5d",
                "email": "office@brightroofs.example",
                "fullName": "Bright Roofs",
                "firstName": None,
                "role": "supplier",
                "isActive": True,
                "suspensionReason": None,
                "createdAt": "2025-06-02T08:15:30.000Z",
                "postCode": "LS1 4AP",
            },
        },
    },
)
class ChatMessage(CamelPayload):
    """A user or supplier wrote to the recipient. Only the recipient receives it."""

    message_id: Id
    chat_id: Id
    sender_id: Id
    sender_role: Literal["user", "supplier"]
    recipient_id: Id
    content: str
    created_at: Time
    message: Message


@root.event("chat:delivered", to=[chat_user, chat_supplier])
class ChatDelivered(CamelPayload):
    """A message reached its recipient. Its sender receives this event."""

    message_id: Id
    recipient_id: Id
    delivered_at: Time


# Quote requests: for the suppliers that the publisher names.


@root.event("quote:request:created", to=[requests_supplier])
class QuoteRequestCreated(CamelPayload):
    """A user asked for quotes. The suppliers that the publisher names receive it."""

    request_id: Id
    user_id: Id
    post_code: Maybe[str] = UNSET
    service_categories: list[str]
    created_at: Time


@root.event("quote:request:updated", to=[requests_supplier])
class QuoteRequestUpdated(CamelPayload):
    """A quote request changed. The event has the changed fields only."""

    request_id: Id
    status: Maybe[str] = UNSET
    post_code: Maybe[str] = UNSET
    service_categories: Maybe[list[str]] = UNSET
    updated_at: Time


# Quote offers: for the user who asked.


@root.event("quote:offer:received", to=[offers_user.of("userId")])
class QuoteOfferReceived(CamelPayload):
    """A supplier offered a price. The user who asked receives it."""

    offer_id: Id
    quote_request_id: Id
    user_id: Id
    price: Money
    supplier_name: str
    notes: Maybe[str] = UNSET
    created_at: Time


@root.event("quote:offer:updated", to=[offers_user.of("userId")])
class QuoteOfferUpdated(CamelPayload):
    """An offer changed. The event has the changed fields only."""

    offer_id: Id
    user_id: Id
    status: Maybe[str] = UNSET
    updated_at: Time


contract.build()
