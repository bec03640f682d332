"""The contract of `fixrx`: services, bookings and payments between users and vendors, with live chat.

All in the namespace `/`. An event about a service, a booking or a payment goes to its user and its vendor, and carries
the whole of it with whoever caused the event. The examples tell of one leaking tap.
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

# Rooms: everybody is in one of their own from the start, vendors in a vendor's, all others in a user's.

user = root.room("user:{userId}", members=own("userId") & not_role("vendor"), on_connect=True)
vendor = root.room("vendor:{vendorId}", members=own("vendorId", claim="sub") & role("vendor"), on_connect=True)


@root.command("join", reply=Joined)
class Join(CamelCommand):
    """Enter a room by naming whose it is; it has to be one's own."""

    type: Literal["user", "vendor"]
    id: Id


@root.command("ping", arguments="positional")
class Ping(CamelCommand):
    """Ask whether anybody is there; the acknowledgement is the answer."""


# What the events share.

Line = Annotated[str, Meta(min_length=1, max_length=200)]
"""A title or a name, as people read it."""
Text = Annotated[str, Meta(min_length=1, max_length=2_000)]
"""What somebody wrote, short enough to fit into an event in any script."""


class Actor(CamelPayload):
    """Who caused an event."""

    id: Id
    role: Literal["user", "vendor", "admin"]


# Services.

ServiceStatus = Literal["open", "assigned", "in_progress", "completed", "cancelled"]


class Service(CamelPayload):
    """Work that a user wants done, and the vendor who does it once there is one."""

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
    """What events about a service carry."""

    service: Service
    actor: Actor


service_parties = [user.of("service.userId"), vendor.of("service.vendorId")]


@root.event(
    "service:created",
    to=service_parties,
    example={
        "service": {
            "id": "svc-4127",
            "userId": "usr-3051",
            "vendorId": None,
            "title": "Kitchen tap leaks",
            "category": "plumbing",
            "description": "It drips from the base when the water runs. The tap is about ten years old.",
            "status": "open",
            "createdAt": "2026-03-02T09:14:00.000Z",
            "updatedAt": "2026-03-02T09:14:00.000Z",
        },
        "actor": {"id": "usr-3051", "role": "user"},
        "timestamp": "2026-03-02T09:14:00.050Z",
    },
)
class ServiceCreated(ServiceEvent):
    """A service has been asked for."""


@root.event(
    "service:updated",
    to=service_parties,
    example={
        "service": {
            "id": "svc-4127",
            "userId": "usr-3051",
            "vendorId": "vnd-208",
            "title": "Kitchen tap leaks",
            "category": "plumbing",
            "description": "It drips from the base when the water runs. A new cartridge is needed.",
            "status": "assigned",
            "price": 95,
            "createdAt": "2026-03-02T09:14:00.000Z",
            "updatedAt": "2026-03-02T11:20:00.000Z",
        },
        "actor": {"id": "vnd-208", "role": "vendor"},
        "timestamp": "2026-03-02T11:20:00.050Z",
    },
)
class ServiceUpdated(ServiceEvent):
    """Something about a service is different: its description, its price."""


@root.event(
    "service:status_changed",
    to=service_parties,
    example={
        "service": {
            "id": "svc-4127",
            "userId": "usr-3051",
            "vendorId": "vnd-208",
            "title": "Kitchen tap leaks",
            "category": "plumbing",
            "description": "It drips from the base when the water runs. The tap is about ten years old.",
            "status": "assigned",
            "createdAt": "2026-03-02T09:14:00.000Z",
            "updatedAt": "2026-03-02T10:02:00.000Z",
        },
        "previousStatus": "open",
        "actor": {"id": "vnd-208", "role": "vendor"},
        "timestamp": "2026-03-02T10:02:00.050Z",
    },
)
class ServiceStatusChanged(ServiceEvent):
    """A service has moved on: somebody took it, began it, finished it or called it off."""

    previous_status: ServiceStatus


# Bookings.

BookingStatus = Literal["pending", "confirmed", "in_progress", "completed", "cancelled"]


class Booking(CamelPayload):
    """A time at which a vendor comes to a user for a service."""

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
    """What events about a booking carry."""

    booking: Booking
    actor: Actor


booking_parties = [user.of("booking.userId"), vendor.of("booking.vendorId")]


@root.event(
    "booking:created",
    to=booking_parties,
    example={
        "booking": {
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
        },
        "actor": {"id": "usr-3051", "role": "user"},
        "timestamp": "2026-03-02T11:31:00.050Z",
    },
)
class BookingCreated(BookingEvent):
    """A visit has been booked."""


@root.event(
    "booking:status_changed",
    to=booking_parties,
    example={
        "booking": {
            "id": "bkg-9310",
            "serviceId": "svc-4127",
            "userId": "usr-3051",
            "vendorId": "vnd-208",
            "status": "confirmed",
            "startsAt": "2026-03-04T14:00:00.000Z",
            "endsAt": "2026-03-04T15:00:00.000Z",
            "address": "18 Cedar Street, Springfield",
            "price": 95,
            "notes": "The stopcock is under the sink.",
            "createdAt": "2026-03-02T11:31:00.000Z",
            "updatedAt": "2026-03-02T12:05:00.000Z",
        },
        "previousStatus": "pending",
        "actor": {"id": "vnd-208", "role": "vendor"},
        "timestamp": "2026-03-02T12:05:00.050Z",
    },
)
class BookingStatusChanged(BookingEvent):
    """A booking has moved on."""

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
        "actor": {"id": "usr-3051", "role": "user"},
        "timestamp": "2026-03-02T08:55:00.050Z",
    },
)
class BookingCancelled(BookingEvent):
    """A booking has been called off."""


# Payments.


class Payment(CamelPayload):
    """What a user pays a vendor for a booking, once it is known how it ended."""

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
    """What events about a payment carry."""

    payment: Payment
    actor: Actor


payment_parties = [user.of("payment.userId"), vendor.of("payment.vendorId")]


@root.event(
    "payment:completed",
    to=payment_parties,
    example={
        "payment": {
            "id": "pay-6644",
            "bookingId": "bkg-9310",
            "userId": "usr-3051",
            "vendorId": "vnd-208",
            "amount": 95,
            "method": "card",
            "status": "completed",
            "createdAt": "2026-03-04T15:12:00.000Z",
            "updatedAt": "2026-03-04T15:12:04.000Z",
        },
        "actor": {"id": "usr-3051", "role": "user"},
        "timestamp": "2026-03-04T15:12:04.050Z",
    },
)
class PaymentCompleted(PaymentEvent):
    """A payment went through."""


@root.event(
    "payment:failed",
    to=payment_parties,
    example={
        "payment": {
            "id": "pay-6643",
            "bookingId": "bkg-9310",
            "userId": "usr-3051",
            "vendorId": "vnd-208",
            "amount": 95,
            "method": "card",
            "status": "failed",
            "failureReason": "The card has expired.",
            "createdAt": "2026-03-04T15:09:00.000Z",
            "updatedAt": "2026-03-04T15:09:02.000Z",
        },
        "actor": {"id": "usr-3051", "role": "user"},
        "timestamp": "2026-03-04T15:09:02.050Z",
    },
)
class PaymentFailed(PaymentEvent):
    """A payment did not go through; no money has moved."""


# Chat: between users and vendors. A message goes to its recipient, and word that it was read goes back to its sender;
# both also go to the other devices of the user who has sent or read it.


class Sent(CamelPayload):
    """How the server stored a message: the sender's own copy is complete with it."""

    message_id: Id
    timestamp: Time


@root.command("chat:send", who=role("user", "vendor"), limit="5/s", reply=Sent)
class SendMessage(CamelCommand):
    """Write to a vendor, as a user, or to a user, as a vendor."""

    recipient_id: Id
    message: Text


@root.command("chat:read", who=role("user", "vendor"))
class ReadMessage(CamelCommand):
    """Say that a message was read; saying it again does no harm."""

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
    """Somebody has written to the recipient."""

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
    """The recipient has read a message; sent to its sender and to the reader's devices."""

    message_id: Id
    sender_id: Id
    recipient_id: Id


contract.build()
