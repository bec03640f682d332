"""The request bodies and answers of the HTTP API of `bookings`.

The ids of customers and partners are the `sub` of their tokens; Oyez makes all other ids.
"""

from typing import Any, Literal

from sqlalchemy import Row

from oyez.contract import UNSET, CamelPayload, Id, Maybe, Money, Time, Total
from oyez.service.database.records import to_payload
from oyez.systems.bookings.payloads import (
    Address,
    BookingStatus,
    Count,
    Documents,
    KycStatus,
    Line,
    MessageText,
    NotificationType,
    Party,
    Phone,
    Rating,
    Reason,
    Services,
    Side,
    Text,
    Url,
)
from oyez.systems.bookings.tables import to_money, to_time


class NewCustomer(CamelPayload):
    """The data of a customer, whose id is in the path."""

    name: Line
    phone: Phone


class Customer(NewCustomer):
    customer_id: Id
    created_at: Time


class NewPartner(CamelPayload):
    """The data of a partner, whose id is in the path."""

    name: Line
    email: Line
    phone: Phone
    photo: Maybe[Url] = UNSET
    rating: Maybe[Rating] = UNSET
    services: Services
    service_area: Line


class Partner(NewPartner):
    partner_id: Id
    completed_bookings: Count
    created_at: Time


class Earnings(CamelPayload):
    """The earnings of a partner from completed bookings."""

    partner_id: Id
    today_earnings: Total
    total_earnings: Total
    completed_bookings: Count


class NewBooking(CamelPayload):
    """A new booking; with `partnerId`, it is assigned at once."""

    customer_id: Id
    partner_id: Maybe[Id] = UNSET
    service: Line
    scheduled_at: Time
    address: Address
    amount: Money


class Booking(CamelPayload):
    """A stored booking."""

    booking_id: Id
    booking_number: Line
    service: Line
    status: BookingStatus
    scheduled_at: Time
    address: Address
    amount: Money
    customer: Party
    partner: Party | None
    reason: Reason | None
    """Why it was cancelled or rejected."""
    created_at: Time
    changed_at: Time
    """The time at which the booking got this status."""


class Assignment(CamelPayload):
    """The partner to assign."""

    partner_id: Id


class NewMessage(CamelPayload):
    """A message from one side of a booking to the other."""

    sender_id: Id
    sender_role: Side
    recipient_id: Id
    message: MessageText
    booking_id: Maybe[Id] = UNSET


class Message(CamelPayload):
    """A stored message."""

    id: Id
    sender_id: Id
    sender_role: Side
    recipient_id: Id
    message: MessageText
    booking_id: Id | None
    created_at: Time
    read_at: Time | None


class NewSubmission(CamelPayload):
    """The documents that a partner submits."""

    partner_id: Id
    documents: Documents


class Review(CamelPayload):
    """The decision about a submission; the note is for the partner."""

    status: Literal["APPROVED", "REJECTED"]
    note: Maybe[Reason] = UNSET


class Submission(CamelPayload):
    """A stored KYC submission."""

    submission_id: Id
    partner_id: Id
    partner_name: Line
    documents: Documents
    status: KycStatus
    note: Reason | None
    created_at: Time
    reviewed_at: Time | None


class NewNotification(CamelPayload):
    """A notification for one user."""

    recipient_id: Id
    recipient_role: Side
    type: NotificationType
    title: Line
    message: Text
    booking_id: Maybe[Id] = UNSET


class Notification(CamelPayload):
    """A stored notification."""

    id: Id
    recipient_id: Id
    recipient_role: Side
    type: NotificationType
    title: Line
    message: Text
    booking_id: Id | None
    created_at: Time


# From rows.


def customer_of(row: Row[Any]) -> Customer:
    return to_payload(row, Customer, customer_id=row.id, created_at=to_time(row.created_at))


def partner_of(row: Row[Any]) -> Partner:
    return to_payload(row, Partner, partner_id=row.id, created_at=to_time(row.created_at))


def booking_of(row: Row[Any]) -> Booking:
    return Booking(**booking_fields(row), reason=row.reason, changed_at=to_time(row.changed_at))


def booking_fields(row: Row[Any]) -> dict[str, Any]:
    """The fields that a stored booking and the events for admins have."""
    return {
        "booking_id": row.id,
        "booking_number": booking_number(row),
        "service": row.service,
        "status": row.status,
        "scheduled_at": to_time(row.scheduled_at),
        "address": row.address,
        "amount": to_money(row.amount),
        "customer": customer_party(row),
        "partner": partner_party(row),
        "created_at": to_time(row.created_at),
    }


def booking_number(row: Row[Any]) -> str:
    """The number of a booking, for display."""
    return f"BK-{100_000 + row.number}"


def customer_party(row: Row[Any]) -> Party:
    """The customer of a booking."""
    return Party(id=row.customer_id, name=row.customer_name, phone=row.customer_phone)


def partner_party(row: Row[Any]) -> Party | None:
    """The partner of a booking; None if none is assigned."""
    if row.partner_id is None:
        return None
    return Party(id=row.partner_id, name=row.partner_name, phone=row.partner_phone)


def message_of(row: Row[Any]) -> Message:
    sender, recipient = row.customer_id, row.partner_id
    if row.sender_role == "partner":
        sender, recipient = recipient, sender
    return to_payload(
        row,
        Message,
        sender_id=sender,
        recipient_id=recipient,
        created_at=to_time(row.created_at),
        read_at=None if row.read_at is None else to_time(row.read_at),
    )


def submission_of(row: Row[Any]) -> Submission:
    return to_payload(
        row,
        Submission,
        submission_id=row.id,
        created_at=to_time(row.created_at),
        reviewed_at=None if row.reviewed_at is None else to_time(row.reviewed_at),
    )


def notification_of(row: Row[Any]) -> Notification:
    return to_payload(row, Notification, created_at=to_time(row.created_at))
