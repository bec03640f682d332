"""The contract of `fixrx`: services, bookings and payments between users and vendors, with live chat.

There is one namespace, `/`. An event about a service, a booking or a payment goes to its user and its vendor. It has
the complete record and the actor who caused the event. The examples follow the repair of one leaking tap.
"""

from typing import Annotated, Literal

from msgspec import Meta

from oyez.contract import (
    UNSET,
    CamelCommand,
    CamelPayload,
    CamelStamped,
    Contract,
    Id,
    Joined,
    Maybe,
    Money,
    Time,
    not_role,
    own,
    role,
)

contract = Contract(
    "fixrx",
    description="Services, bookings, payments and chat of users and vendors.",
    roles=("user", "vendor", "admin"),
)

UNKNOWN_MESSAGE = contract.refusal("unknown_message", "There is no such message.", status=404)

root = contract.namespace("/")

# Rooms: each client joins its own room on connecting, `vendor:…` for vendors, `user:…` for all other roles.

user = root.room("user:{userId}", members=own("userId") & not_role("vendor"), on_connect=True)
vendor = root.room("vendor:{vendorId}", members=own("vendorId", claim="sub") & role("vendor"), on_connect=True)


@root.command("join", reply=Joined, refusals=[])
class Join(CamelCommand):
    """Join the caller's own room, named by role and id. Any other room is refused."""

    type: Literal["user", "vendor"]
    id: Id


@root.command("ping", arguments="positional", refusals=[])
class Ping(CamelCommand):
    """Check that the server answers. The acknowledgement is the answer."""


# Types that several events use.

Line = Annotated[str, Meta(min_length=1, max_length=200)]
"""A title or a name, for display."""
Text = Annotated[str, Meta(min_length=1, max_length=2_000)]
"""Text that a person wrote. The limit makes it fit into one event in any script."""


class Actor(CamelPayload):
    """The user, vendor or admin who caused an event."""

    id: Id
    role: Literal["user", "vendor", "admin"]


# Both sides of the examples.
CUSTOMER = {"id": "usr-3051", "role": "user"}
PLUMBER = {"id": "vnd-208", "role": "vendor"}


# Services.

ServiceStatus = Literal["open", "assigned", "in_progress", "completed", "cancelled"]


class Service(CamelPayload):
    """Work that a user asks for. `vendorId` is null until a vendor takes it."""

    id: Id
    user_id: Id
    vendor_id: Maybe[Id] = UNSET
    title: Line
    category: Line
    description: Text
    status: ServiceStatus
    price: Maybe[Money] = UNSET
    created_at: Time
    updated_at: Time


class ServiceEvent(CamelStamped):
    """The fields of every event about a service."""

    service: Service
    actor: Actor


OPEN_SERVICE = {
    "id": "svc-4127",
    "userId": "usr-3051",
    "vendorId": None,
    "title": "Kitchen tap leaks",
    "category": "plumbing",
    "description": "It drips from the base when the water runs. The tap is about ten years old.",
    "status": "open",
    "createdAt": "2026-03-02T09:14:00.000Z",
    "updatedAt": "2026-03-02T09:14:00.000Z",
}
ASSIGNED_SERVICE = {
    **OPEN_SERVICE,
    "vendorId": "vnd-208",
    "status": "assigned",
    "updatedAt": "2026-03-02T10:02:00.000Z",
}
service_parties = [user.of("service.userId"), vendor.of("service.vendorId")]


@root.event(
    "service:created",
    to=service_parties,
    example={"service": OPEN_SERVICE, "actor": CUSTOMER, "timestamp": "2026-03-02T09:14:00.050Z"},
)
class ServiceCreated(ServiceEvent):
    """A user asked for a service."""


@root.event(
    "service:updated",
    to=service_parties,
    example={
        "service": {
            **ASSIGNED_SERVICE,
            "description": "It drips from the base when the water runs. A new cartridge is needed.",
            "price": 95,
            "updatedAt": "2026-03-02T11:20:00.000Z",
        },
        "actor": PLUMBER,
        "timestamp": "2026-03-02T11:20:00.050Z",
    },
)
class ServiceUpdated(ServiceEvent):
    """A service changed, for example its description or its price."""


@root.event(
    "service:status_changed",
    to=service_parties,
    example={
        "service": ASSIGNED_SERVICE,
        "previousStatus": "open",
        "actor": PLUMBER,
        "timestamp": "2026-03-02T10:02:00.050Z",
    },
)
class ServiceStatusChanged(ServiceEvent):
    """The status of a service changed: assigned, in progress, completed or cancelled."""

    previous_status: ServiceStatus


# Bookings.

BookingStatus = Literal["pending", "confirmed", "in_progress", "completed", "cancelled"]


class Booking(CamelPayload):
    """An appointment of a vendor with a user for a service."""

    id: Id
    service_id: Id
    user_id: Id
    vendor_id: Id
    status: BookingStatus
    starts_at: Time
    ends_at: Maybe[Time] = UNSET
    address: Line
    price: Maybe[Money] = UNSET
    notes: Maybe[Text] = UNSET
    cancellation_reason: Maybe[Text] = UNSET
    created_at: Time
    updated_at: Time


class BookingEvent(CamelStamped):
    """The fields of every event about a booking."""

    booking: Booking
    actor: Actor


PENDING_BOOKING = {
    "id": "bkg-9310",
    "serviceId": "svc-4127",
    "userId": "usr-3051",
    "vendorId": "vnd-208",
    "status": "pending",
    "startsAt": "2026-03-04T14:00:00.000Z",
    "endsAt": "2026-03-04T15:00:00.000Z",
    "address": "18 Cedar Street, Springfield",
    "price": 95,
    "notes": "The stopcock is under the sink.",
    "createdAt": "2026-03-02T11:31:00.000Z",
    "updatedAt": "2026-03-02T11:31:00.000Z",
}
booking_parties = [user.of("booking.userId"), vendor.of("booking.vendorId")]


@root.event(
    "booking:created",
    to=booking_parties,
    example={"booking": PENDING_BOOKING, "actor": CUSTOMER, "timestamp": "2026-03-02T11:31:00.050Z"},
)
class BookingCreated(BookingEvent):
    """A booking was made."""


@root.event(
    "booking:status_changed",
    to=booking_parties,
    example={
        "booking": {**PENDING_BOOKING, "status": "confirmed", "updatedAt": "2026-03-02T12:05:00.000Z"},
        "previousStatus": "pending",
        "actor": PLUMBER,
        "timestamp": "2026-03-02T12:05:00.050Z",
    },
)
class BookingStatusChanged(BookingEvent):
    """The status of a booking changed."""

    previous_status: BookingStatus


@root.event(
    "booking:cancelled",
    to=booking_parties,
    example={
        "booking": {
            "id": "bkg-9288",
            "serviceId": "svc-4102",
            "userId": "usr-3051",
            "vendorId": "vnd-173",
            "status": "cancelled",
            "startsAt": "2026-03-03T08:00:00.000Z",
            "address": "18 Cedar Street, Springfield",
            "cancellationReason": "The gutters are dry again, no need to come.",
            "createdAt": "2026-02-27T16:40:00.000Z",
            "updatedAt": "2026-03-02T08:55:00.000Z",
        },
        "actor": CUSTOMER,
        "timestamp": "2026-03-02T08:55:00.050Z",
    },
)
class BookingCancelled(BookingEvent):
    """A booking was cancelled."""


# Payments.


class Payment(CamelPayload):
    """A user's payment to a vendor for a booking, after it succeeded or failed."""

    id: Id
    booking_id: Id
    user_id: Id
    vendor_id: Id
    amount: Money
    method: Literal["card", "bank_transfer", "wallet", "cash"]
    status: Literal["completed", "failed"]
    failure_reason: Maybe[Text] = UNSET
    created_at: Time
    updated_at: Time


class PaymentEvent(CamelStamped):
    """The fields of every event about a payment."""

    payment: Payment
    actor: Actor


PAID = {
    "id": "pay-6644",
    "bookingId": "bkg-9310",
    "userId": "usr-3051",
    "vendorId": "vnd-208",
    "amount": 95,
    "method": "card",
    "status": "completed",
    "createdAt": "2026-03-04T15:12:00.000Z",
    "updatedAt": "2026-03-04T15:12:04.000Z",
}
payment_parties = [user.of("payment.userId"), vendor.of("payment.vendorId")]


@root.event(
    "payment:completed",
    to=payment_parties,
    example={"payment": PAID, "actor": CUSTOMER, "timestamp": "2026-03-04T15:12:04.050Z"},
)
class PaymentCompleted(PaymentEvent):
    """A payment succeeded."""


@root.event(
    "payment:failed",
    to=payment_parties,
    example={
        "payment": {
            **PAID,
            "id": "pay-6643",
            "status": "failed",
            "failureReason": "The card has expired.",
            "createdAt": "2026-03-04T15:09:00.000Z",
            "updatedAt": "2026-03-04T15:09:02.000Z",
        },
        "actor": CUSTOMER,
        "timestamp": "2026-03-04T15:09:02.050Z",
    },
)
class PaymentFailed(PaymentEvent):
    """A payment failed. No money was transferred."""


# Chat between users and vendors. A message goes to its recipient, `chat:read` to its sender; both also go to the
# other devices of the user who sent or read it.


class Sent(CamelPayload):
    """The id and time of the stored message, for the sender's own copy."""

    message_id: Id
    timestamp: Time


@root.command("chat:send", who=role("user", "vendor"), limit="5/s", reply=Sent, refusals=[])
class SendMessage(CamelCommand):
    """Send a message: a user writes to a vendor, a vendor to a user."""

    recipient_id: Id
    message: Text


@root.command("chat:read", who=role("user", "vendor"), refusals=[UNKNOWN_MESSAGE])
class ReadMessage(CamelCommand):
    """Mark a received message as read. Marking it again changes nothing."""

    message_id: Id


@root.event(
    "chat:message",
    to=[user.of("recipientId"), vendor.of("recipientId"), user.of("senderId"), vendor.of("senderId")],
    example={
        "messageId": "msg-55021",
        "senderId": "vnd-208",
        "senderRole": "vendor",
        "recipientId": "usr-3051",
        "message": "I have the cartridge with me. See you at two.",
        "timestamp": "2026-03-04T12:40:00.000Z",
    },
)
class ChatMessage(CamelStamped):
    """A message was sent. The recipient and the sender's other devices receive it."""

    message_id: Id
    sender_id: Id
    sender_role: Literal["user", "vendor"]
    recipient_id: Id
    message: Text


@root.event(
    "chat:read",
    to=[user.of("senderId"), vendor.of("senderId"), user.of("recipientId"), vendor.of("recipientId")],
    example={
        "messageId": "msg-55021",
        "senderId": "vnd-208",
        "recipientId": "usr-3051",
        "timestamp": "2026-03-04T12:41:30.000Z",
    },
)
class ChatRead(CamelStamped):
    """The recipient read a message. Its sender and the reader's other devices receive this event."""

    message_id: Id
    sender_id: Id
    recipient_id: Id


contract.build()
