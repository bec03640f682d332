"""The payloads of the events and the replies of the commands of `bookings`. contract.py has the rooms of each event.

Amounts are in the marketplace's currency. "Today" is a day in the operator's time zone. Events without a time field of
their own have the server's `timestamp`.
"""

from typing import Annotated, Literal

from msgspec import Meta

from oyez.contract import (
    UNSET,
    CamelPayload,
    CamelStamped,
    Id,
    Latitude,
    Longitude,
    Maybe,
    Money,
    Time,
    Total,
    UnsetType,
)

Line = Annotated[str, Meta(min_length=1, max_length=200)]
"""A name, a number or a title, for display."""
Text = Annotated[str, Meta(min_length=1, max_length=2_000)]
"""Some sentences. The limit makes them fit into one event in any script."""
MessageText = Annotated[str, Meta(min_length=1, max_length=4_000)]
"""The text of a message between a customer and a partner."""
Reason = Annotated[str, Meta(min_length=1, max_length=500)]
"""Why a booking was cancelled or rejected, in the words of the customer or partner."""
Address = Annotated[str, Meta(min_length=1, max_length=500)]
"""The postal address at which the service takes place."""
Phone = Annotated[str, Meta(min_length=3, max_length=32)]
Url = Annotated[str, Meta(min_length=1, max_length=500)]
Services = Annotated[list[Line], Meta(min_length=1, max_length=30)]
"""The services that a partner offers."""
Rating = Annotated[float, Meta(ge=0, le=5)]
"""Stars, 5 is best."""
Count = Annotated[int, Meta(ge=0)]

BookingStatus = Literal[
    "PENDING",
    "PARTNER_ASSIGNED",
    "PARTNER_ACCEPTED",
    "PARTNER_REJECTED",
    "IN_PROGRESS",
    "COMPLETED",
    "CANCELLED",
]
NotificationType = Literal["BOOKING", "MESSAGE", "PAYMENT", "KYC", "PROMOTION", "SYSTEM"]
KycStatus = Literal["SUBMITTED", "APPROVED", "REJECTED"]
KycDocument = Literal["IDENTITY", "ADDRESS", "BANK_ACCOUNT", "BUSINESS_REGISTRATION", "QUALIFICATION"]
Documents = Annotated[list[KycDocument], Meta(min_length=1, max_length=20)]
Side = Literal["customer", "partner"]
"""The roles that can receive messages and notifications."""


# Events about a booking, for its customer.


class BookingState(CamelPayload):
    """The status of a booking after a command changed it."""

    booking_id: Id
    status: BookingStatus


class BookingStatusUpdated(CamelStamped):
    """The status of a booking changed. `message` is a sentence for the customer."""

    booking_id: Id
    status: BookingStatus
    message: Text


class AssignedPartner(CamelPayload):
    """A partner, with the fields that the customer may see."""

    id: Id
    name: Line
    phone: Phone
    photo: Maybe[Url] = UNSET
    rating: Maybe[Rating] = UNSET
    completed_bookings: Count


class PartnerAssigned(CamelStamped):
    """A partner accepted the booking."""

    booking_id: Id
    partner: AssignedPartner


class Location(CamelPayload):
    """A position on the earth, in degrees."""

    latitude: Latitude
    longitude: Longitude


class PartnerLocationUpdate(CamelPayload):
    """The partner of a tracked booking moved. Volatile, because only the newest location is useful."""

    booking_id: Id
    location: Location
    timestamp: Time | UnsetType = UNSET


# Events about bookings, for a partner.


class BookingNewRequest(CamelStamped):
    """A booking was assigned to the partner, who can accept or reject it."""

    booking_id: Id
    booking_number: Line
    service: Line
    scheduled_at: Time
    address: Address
    amount: Money


class BookingCancelled(CamelStamped):
    """The customer cancelled the booking. Its partner receives this event."""

    booking_id: Id
    booking_number: Line
    service: Line
    scheduled_at: Time
    reason: Reason


class EarningsUpdated(CamelStamped):
    """A booking was completed and added to the partner's earnings."""

    booking_id: Id
    booking_number: Line
    amount: Money
    """The amount of this booking."""
    today_earnings: Total
    total_earnings: Total
    completed_bookings: Count


# Events for admins.


class DashboardStatsUpdate(CamelStamped):
    """The statistics of the marketplace, counted at `timestamp`."""

    bookings_today: Count
    """Created today, with any status."""
    pending_bookings: Count
    """Without a partner: `PENDING` or `PARTNER_REJECTED`."""
    active_bookings: Count
    """With a partner: `PARTNER_ASSIGNED`, `PARTNER_ACCEPTED` or `IN_PROGRESS`."""
    completed_today: Count
    cancelled_today: Count
    revenue_today: Total
    """The sum of the amounts of the bookings completed today."""
    registered_partners: Count
    pending_kyc: Count
    """Submissions that are not reviewed yet."""


class Party(CamelPayload):
    """The customer or the partner of a booking, with the fields that admins may see."""

    id: Id
    name: Line
    phone: Phone


class Booking(CamelStamped):
    """A booking, with the fields that admins may see."""

    booking_id: Id
    booking_number: Line
    service: Line
    status: BookingStatus
    scheduled_at: Time
    address: Address
    amount: Money
    customer: Party
    partner: Party | None
    """Null until a partner is assigned."""
    created_at: Time


class BookingCreated(Booking):
    """A booking was made."""


class BookingUpdated(Booking):
    """The status of a booking changed. The event has the complete booking."""

    previous_status: BookingStatus
    reason: Maybe[Reason] = UNSET
    """Why the booking was cancelled or rejected."""


class PartnerRegistered(CamelStamped):
    """A partner was registered."""

    partner_id: Id
    name: Line
    email: Line
    phone: Phone
    services: Services
    service_area: Line


class KycSubmitted(CamelStamped):
    """A partner submitted documents for verification. The event names the kinds of documents, not their content."""

    submission_id: Id
    partner_id: Id
    partner_name: Line
    documents: Documents


# Messages, notifications and typing.


class MessageReceived(CamelPayload):
    """The other side of a booking sent a message to the recipient."""

    id: Id
    sender_id: Id
    sender_name: Line
    sender_role: Side
    recipient_id: Id
    message: MessageText
    booking_id: Maybe[Id] = UNSET
    created_at: Time


class MessageStored(CamelPayload):
    """The caller's message was stored and is being delivered."""

    id: Id
    created_at: Time


class MessageSent(MessageStored):
    """A message of the user was stored and is being delivered. All of the user's devices receive it."""

    recipient_id: Maybe[Id] = UNSET
    message: Maybe[MessageText] = UNSET
    booking_id: Maybe[Id] = UNSET


class MessageRead(CamelPayload):
    """A message was read. All of the reader's devices receive it. `readAt` is the first time it was marked."""

    message_id: Id
    read_at: Time


class NotificationNew(CamelStamped):
    """A notification for one user, to be shown in any part of the app."""

    id: Id
    type: NotificationType
    title: Line
    message: Text
    booking_id: Maybe[Id] = UNSET
    """The booking that the notification is about, if any."""


class TypingIndicator(CamelPayload):
    """A user started or stopped typing a message to the recipient."""

    user_id: Id
    """The user who types."""
    typing: bool
