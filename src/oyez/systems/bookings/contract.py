"""The contract of `bookings`: its roles, namespaces, rooms, commands and events.

Customers, partners and admins have a namespace each; a command in one namespace causes events in others. payloads.py
has the payloads. The examples follow one booking, BK-204817, from the request to the earnings.
"""

from oyez.contract import UNSET, CamelCommand, Contract, Id, Latitude, Longitude, Maybe, member, own, role
from oyez.systems.bookings import payloads

contract = Contract(
    "bookings",
    description="Home services: customers book, partners come, admins watch.",
    roles=("customer", "partner", "admin"),
)

ILLEGAL_TRANSITION = contract.refusal(
    "illegal_transition", "The booking cannot go from its status to that one.", status=409
)
NOT_FOUND = contract.refusal("not_found", "There is nothing with that id.", status=404)

customer = contract.namespace("/customer", who=role("customer"))
partner = contract.namespace("/partner", who=role("partner"))
admin = contract.namespace("/admin", who=role("admin"))

# Rooms: each client joins its own room on connecting. Clients join the rooms of bookings and of monitors by a command.

customer_user = customer.room("user:{userId}", members=own("userId"), on_connect=True)
partner_user = partner.room("user:{userId}", members=own("userId"), on_connect=True)
admin_user = admin.room("user:{userId}", members=own("userId"), on_connect=True)

trackers = customer.room("booking:{bookingId}", members=member(), join="booking:track", leave="booking:untrack")
monitors = admin.room("monitors", members=role("admin"), join="monitor:bookings")


# Customers: commands. The two commands for tracking are declared with the room.


@customer.command("message:send", reply=payloads.MessageStored, limit="60/m", refusals=[])
@partner.command("message:send", reply=payloads.MessageStored, limit="60/m", refusals=[])
class SendMessage(CamelCommand):
    """Send a message to the other side of a shared booking."""

    recipient_id: Id
    message: payloads.MessageText
    booking_id: Maybe[Id] = UNSET


@customer.command("booking:cancel", reply=payloads.BookingState, limit="20/m", refusals=[ILLEGAL_TRANSITION])
class CancelBooking(CamelCommand):
    """Cancel a booking of the caller."""

    booking_id: Id
    reason: payloads.Reason


# Customers: events.

customer.event("booking:status_updated", to=[trackers.of("bookingId")])(payloads.BookingStatusUpdated)

customer.event(
    "partner:assigned",
    to=[customer_user, trackers],
    example={
        "bookingId": "3f0d6a52-81c4-4b7e-9a36-5e2c7d18f049",
        "partner": {
            "id": "a94c1e07-6d2b-4f58-8c13-0b7e9f52d4a6",
            "name": "Brightwater Cleaning",
            "phone": "+44 20 7946 0182",
            "photo": "https://cdn.bookings.example/partners/a94c1e07.jpg",
            "rating": 4.8,
            "completedBookings": 312,
        },
        "timestamp": "2026-03-10T14:06:21.480Z",
    },
)(payloads.PartnerAssigned)

customer.event(
    "partner:location_update", to=[trackers.of("bookingId"), customer.caller], volatile=True, timestamp="timestamp"
)(payloads.PartnerLocationUpdate)

customer.event(
    "message:received",
    to=[customer_user.of("recipientId")],
    example={
        "id": "c7e2b480-15af-4d96-b3c8-9d0f6a71e25b",
        "senderId": "a94c1e07-6d2b-4f58-8c13-0b7e9f52d4a6",
        "senderName": "Brightwater Cleaning",
        "senderRole": "partner",
        "recipientId": "58b1f3d9-c026-4e7a-a5d4-2f8e607b9c13",
        "message": "Traffic is light, we are ten minutes away. Is there a lift?",
        "bookingId": "3f0d6a52-81c4-4b7e-9a36-5e2c7d18f049",
        "createdAt": "2026-03-12T09:18:05.112Z",
    },
)(payloads.MessageReceived)

customer.event("notification:new", to=[customer_user])(payloads.NotificationNew)


# Partners: commands. `message:send` is the same command as the customer's.


@partner.command(
    "booking:accept", arguments="positional", reply=payloads.BookingState, limit="30/m", refusals=[ILLEGAL_TRANSITION]
)
class AcceptBooking(CamelCommand):
    """Accept a booking that was assigned to the caller."""

    booking_id: Id


@partner.command("booking:reject", reply=payloads.BookingState, limit="30/m", refusals=[ILLEGAL_TRANSITION])
class RejectBooking(CamelCommand):
    """Reject a booking that was assigned to the caller."""

    booking_id: Id
    reason: payloads.Reason


@partner.command("booking:status_update", reply=payloads.BookingState, limit="30/m", refusals=[ILLEGAL_TRANSITION])
class UpdateBookingStatus(CamelCommand):
    """Change the status of a booking of the caller."""

    booking_id: Id
    status: payloads.BookingStatus


@partner.command("location:update", limit="60/m", volatile=True, refusals=[])
class UpdateLocation(CamelCommand):
    """Send the caller's location to the clients that track one of their active bookings."""

    latitude: Latitude
    longitude: Longitude


# Partners: events.


partner.event(
    "booking:new_request",
    to=[partner_user],
    example={
        "bookingId": "3f0d6a52-81c4-4b7e-9a36-5e2c7d18f049",
        "bookingNumber": "BK-204817",
        "service": "Kitchen deep clean",
        "scheduledAt": "2026-03-12T09:30:00.000Z",
        "address": "Flat 12, Cedar Court, 40 Poland Street, London W1F 7NB",
        "amount": 129.5,
        "timestamp": "2026-03-10T13:58:40.016Z",
    },
)(payloads.BookingNewRequest)

partner.event("booking:cancelled", to=[partner_user])(payloads.BookingCancelled)
partner.event("message:received", to=[partner_user.of("recipientId")])(payloads.MessageReceived)

partner.event(
    "earnings:updated",
    to=[partner_user],
    example={
        "bookingId": "3f0d6a52-81c4-4b7e-9a36-5e2c7d18f049",
        "bookingNumber": "BK-204817",
        "amount": 129.5,
        "todayEarnings": 214.5,
        "totalEarnings": 28460.75,
        "completedBookings": 313,
        "timestamp": "2026-03-12T12:11:53.640Z",
    },
)(payloads.EarningsUpdated)

partner.event("notification:new", to=[partner_user])(payloads.NotificationNew)


# Admins: commands. `monitor:bookings` is declared with the room.


@admin.command("request:stats", arguments="positional", limit="30/m", refusals=[])
class RequestStats(CamelCommand):
    """Request the current statistics. Only the caller receives them."""


# Admins: events.

admin.event("dashboard:stats_update", to=[monitors, admin.caller])(payloads.DashboardStatsUpdate)

admin.event(
    "booking:created",
    to=[monitors],
    example={
        "bookingId": "3f0d6a52-81c4-4b7e-9a36-5e2c7d18f049",
        "bookingNumber": "BK-204817",
        "service": "Kitchen deep clean",
        "status": "PENDING",
        "scheduledAt": "2026-03-12T09:30:00.000Z",
        "address": "Flat 12, Cedar Court, 40 Poland Street, London W1F 7NB",
        "amount": 129.5,
        "customer": {
            "id": "58b1f3d9-c026-4e7a-a5d4-2f8e607b9c13",
            "name": "Cedar Court Lettings",
            "phone": "+44 20 7946 0457",
        },
        "partner": None,
        "createdAt": "2026-03-10T13:55:02.731Z",
        "timestamp": "2026-03-10T13:55:02.738Z",
    },
)(payloads.BookingCreated)

admin.event(
    "booking:updated",
    to=[monitors],
    example={
        "bookingId": "3f0d6a52-81c4-4b7e-9a36-5e2c7d18f049",
        "bookingNumber": "BK-204817",
        "service": "Kitchen deep clean",
        "status": "PARTNER_ACCEPTED",
        "previousStatus": "PARTNER_ASSIGNED",
        "scheduledAt": "2026-03-12T09:30:00.000Z",
        "address": "Flat 12, Cedar Court, 40 Poland Street, London W1F 7NB",
        "amount": 129.5,
        "customer": {
            "id": "58b1f3d9-c026-4e7a-a5d4-2f8e607b9c13",
            "name": "Cedar Court Lettings",
            "phone": "+44 20 7946 0457",
        },
        "partner": {
            "id": "a94c1e07-6d2b-4f58-8c13-0b7e9f52d4a6",
            "name": "Brightwater Cleaning",
            "phone": "+44 20 7946 0182",
        },
        "createdAt": "2026-03-10T13:55:02.731Z",
        "timestamp": "2026-03-10T14:06:21.480Z",
    },
)(payloads.BookingUpdated)

admin.event("partner:registered", to=[monitors])(payloads.PartnerRegistered)
admin.event("kyc:submitted", to=[monitors])(payloads.KycSubmitted)


# All namespaces: typing. The recipient receives the event in any namespace.


@customer.command("typing:start", arguments="positional", limit="10/s", refusals=[])
@partner.command("typing:start", arguments="positional", limit="10/s", refusals=[])
@admin.command("typing:start", arguments="positional", limit="10/s", refusals=[])
class StartTyping(CamelCommand):
    """The caller started typing a message to the recipient."""

    recipient_id: Id


@customer.command("typing:stop", arguments="positional", limit="10/s", refusals=[])
@partner.command("typing:stop", arguments="positional", limit="10/s", refusals=[])
@admin.command("typing:stop", arguments="positional", limit="10/s", refusals=[])
class StopTyping(CamelCommand):
    """The caller stopped typing a message to the recipient."""

    recipient_id: Id


customer.event(
    "typing:indicator",
    to=[customer_user],
    example={"userId": "a94c1e07-6d2b-4f58-8c13-0b7e9f52d4a6", "typing": True},
    volatile=True,
)(payloads.TypingIndicator)

partner.event("typing:indicator", to=[partner_user], volatile=True)(payloads.TypingIndicator)
admin.event("typing:indicator", to=[admin_user], volatile=True)(payloads.TypingIndicator)


# All namespaces: messages.


@customer.command("message:mark_read", arguments="positional", reply=payloads.MessageRead, limit="300/m", refusals=[])
@partner.command("message:mark_read", arguments="positional", reply=payloads.MessageRead, limit="300/m", refusals=[])
@admin.command("message:mark_read", arguments="positional", reply=payloads.MessageRead, limit="300/m", refusals=[])
class MarkMessageRead(CamelCommand):
    """Mark a message to the caller as read. Marking it again changes nothing."""

    message_id: Id


customer.event(
    "message:sent",
    to=[customer_user],
    example={
        "id": "c7e2b480-15af-4d96-b3c8-9d0f6a71e25b",
        "createdAt": "2026-03-12T09:18:05.112Z",
        "recipientId": "58b1f3d9-c026-4e7a-a5d4-2f8e607b9c13",
        "message": "Traffic is light, we are ten minutes away. Is there a lift?",
        "bookingId": "3f0d6a52-81c4-4b7e-9a36-5e2c7d18f049",
    },
)(payloads.MessageSent)

partner.event("message:sent", to=[partner_user])(payloads.MessageSent)
admin.event("message:sent", to=[admin_user])(payloads.MessageSent)
customer.event("message:read", to=[customer_user])(payloads.MessageRead)
partner.event("message:read", to=[partner_user])(payloads.MessageRead)
admin.event("message:read", to=[admin_user])(payloads.MessageRead)


contract.build()
