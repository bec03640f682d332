"""What the events of `bookings` carry and what its commands answer; where each goes is said in contract.py.

Amounts are in the marketplace's currency, and a "today" is a day in the operator's time zone. Events for which the
document names no time have the server's `timestamp`.
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
"""A name, a number or a title, as people read it."""
Text = Annotated[str, Meta(min_length=1, max_length=2_000)]
"""Some sentences, short enough to fit into an event in any script."""
MessageText = Annotated[str, Meta(min_length=1, max_length=4_000)]
"""What a customer and a partner write to each other."""
Reason = Annotated[str, Meta(min_length=1, max_length=500)]
"""Why a booking was cancelled or rejected, in the words of whoever did it."""
Address = Annotated[str, Meta(min_length=1, max_length=500)]
"""Where the service takes place, as a partner needs it to find the door."""
Phone = Annotated[str, Meta(min_length=3, max_length=32)]
Url = Annotated[str, Meta(min_length=1, max_length=500)]
Services = Annotated[list[Line], Meta(min_length=1, max_length=30)]
"""The services a partner offers."""
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
"""Who can be written to."""


# The course of a booking, as its customer follows it.


class BookingState(CamelPayload):
    """How a booking stands after a command has changed it."""

    booking_id: Id
    status: BookingStatus


class BookingStatusUpdated(CamelStamped):
    """The booking has moved on; `message` says it in a sentence for the customer."""

    booking_id: Id
    status: BookingStatus
    message: Text


class AssignedPartner(CamelPayload):
    """A partner, as the customer who waits at the door may know them."""

    id: Id
    name: Line
    phone: Phone
    photo: Maybe[Url] = UNSET
    rating: Maybe[Rating] = UNSET
    completed_bookings: Count


class PartnerAssigned(CamelStamped):
    """A partner has accepted the booking and will come."""

    booking_id: Id
    partner: AssignedPartner


class Location(CamelPayload):
    """A place on earth, in degrees."""

    latitude: Latitude
    longitude: Longitude


class PartnerLocationUpdate(CamelPayload):
    """Where the partner of a tracked booking is now. Never stored: only the newest place is of use."""

    booking_id: Id
    location: Location
    timestamp: Time | UnsetType = UNSET


# Work for a partner.


class BookingNewRequest(CamelStamped):
    """A booking has been assigned to the partner, who may accept or reject it."""

    booking_id: Id
    booking_number: Line
    service: Line
    scheduled_at: Time
    address: Address
    amount: Money


class BookingCancelled(CamelStamped):
    """The customer does not want the booking any more: the partner need not come."""

    booking_id: Id
    booking_number: Line
    service: Line
    scheduled_at: Time
    reason: Reason


class EarningsUpdated(CamelStamped):
    """A completed booking has been added to the partner's earnings."""

    booking_id: Id
    booking_number: Line
    amount: Money
    """What this booking brought in."""
    today_earnings: Total
    total_earnings: Total
    completed_bookings: Count


# What admins watch.


class DashboardStatsUpdate(CamelStamped):
    """The marketplace in numbers, as of `timestamp`."""

    bookings_today: Count
    """Created today, whatever has become of them."""
    pending_bookings: Count
    """Without a partner: `PENDING` or `PARTNER_REJECTED`."""
    active_bookings: Count
    """With one: `PARTNER_ASSIGNED`, `PARTNER_ACCEPTED` or `IN_PROGRESS`."""
    completed_today: Count
    cancelled_today: Count
    revenue_today: Total
    """The amounts of the bookings completed today."""
    registered_partners: Count
    pending_kyc: Count
    """Submissions that nobody has decided about."""


class Party(CamelPayload):
    """One side of a booking, as admins see it."""

    id: Id
    name: Line
    phone: Phone


class Booking(CamelStamped):
    """A booking as a row of the admins' list."""

    booking_id: Id
    booking_number: Line
    service: Line
    status: BookingStatus
    scheduled_at: Time
    address: Address
    amount: Money
    customer: Party
    partner: Party | None
    """Null until one is assigned."""
    created_at: Time


class BookingCreated(Booking):
    """A customer has booked a service."""


class BookingUpdated(Booking):
    """A booking has moved from one status to another; the whole of it, as it is now."""

    previous_status: BookingStatus
    reason: Maybe[Reason] = UNSET
    """Why it was cancelled or rejected."""


class PartnerRegistered(CamelStamped):
    """A partner has signed up."""

    partner_id: Id
    name: Line
    email: Line
    phone: Phone
    services: Services
    service_area: Line


class KycSubmitted(CamelStamped):
    """A partner has handed in documents to be verified. The documents themselves stay where they are kept."""

    submission_id: Id
    partner_id: Id
    partner_name: Line
    documents: Documents


# Messages, notifications and typing.


class MessageReceived(CamelPayload):
    """The other side of a booking has written."""

    id: Id
    sender_id: Id
    sender_name: Line
    sender_role: Side
    recipient_id: Id
    message: MessageText
    booking_id: Maybe[Id] = UNSET
    created_at: Time


class MessageStored(CamelPayload):
    """The caller's message has been stored and is on its way."""

    id: Id
    created_at: Time


class MessageSent(MessageStored):
    """A message of the user's has been stored and is on its way; all of their devices get to know."""

    recipient_id: Maybe[Id] = UNSET
    message: Maybe[MessageText] = UNSET
    booking_id: Maybe[Id] = UNSET


class MessageRead(CamelPayload):
    """Since when a message counts as read: the first time stays, however often it is marked."""

    message_id: Id
    read_at: Time


class NotificationNew(CamelStamped):
    """Something a user should know, wherever in the app they are."""

    id: Id
    type: NotificationType
    title: Line
    message: Text
    booking_id: Maybe[Id] = UNSET
    """What it is about, where it is about one booking."""


class TypingIndicator(CamelPayload):
    """Somebody has begun or stopped writing to the recipient."""

    user_id: Id
    """Who is typing."""
    typing: bool
