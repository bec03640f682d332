"""The objects of the HTTP API of `bookings`: what back ends hand in, and what they read.

Ids of customers and partners are those of their tokens (`sub`); all other ids are made here.
"""

from typing import Any, Literal

from sqlalchemy import Row

from oyez.contract import UNSET, CamelPayload, Id, Maybe, Money, Time, Total
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
    """Whom a customer's token stands for."""

    name: Line
    phone: Phone


class Customer(NewCustomer):
    customer_id: Id
    created_at: Time


class NewPartner(CamelPayload):
    """Whom a partner's token stands for."""

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
    """What a partner has earned with bookings that are completed."""

    partner_id: Id
    today_earnings: Total
    total_earnings: Total
    completed_bookings: Count


class NewBooking(CamelPayload):
    """What a customer has booked; with `partnerId`, somebody is asked at once."""

    customer_id: Id
    partner_id: Maybe[Id] = UNSET
    service: Line
    scheduled_at: Time
    address: Address
    amount: Money


class Booking(CamelPayload):
    """A booking as it stands."""

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
    """Since when it has this status."""


class Assignment(CamelPayload):
    """Who is asked to come."""

    partner_id: Id


class NewMessage(CamelPayload):
    """What one side writes to the other side of a booking."""

    sender_id: Id
    sender_role: Side
    recipient_id: Id
    message: MessageText
    booking_id: Maybe[Id] = UNSET


class Message(CamelPayload):
    """A message as it is stored."""

    id: Id
    sender_id: Id
    sender_role: Side
    recipient_id: Id
    message: MessageText
    booking_id: Id | None
    created_at: Time
    read_at: Time | None


class NewSubmission(CamelPayload):
    """Which documents a partner has handed in."""

    partner_id: Id
    documents: Documents


class Review(CamelPayload):
    """What was decided about a submission; the partner reads the note."""

    status: Literal["APPROVED", "REJECTED"]
    note: Maybe[Reason] = UNSET


class Submission(CamelPayload):
    """A KYC submission as it stands."""

    submission_id: Id
    partner_id: Id
    partner_name: Line
    documents: Documents
    status: KycStatus
    note: Reason | None
    created_at: Time
    reviewed_at: Time | None


class NewNotification(CamelPayload):
    """Something one user should know."""

    recipient_id: Id
    recipient_role: Side
    type: NotificationType
    title: Line
    message: Text
    booking_id: Maybe[Id] = UNSET


class Notification(CamelPayload):
    """A notification as it is stored."""

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
    return Customer(customer_id=row.id, name=row.name, phone=row.phone, created_at=to_time(row.created_at))


def partner_of(row: Row[Any]) -> Partner:
    return Partner(
        partner_id=row.id,
        name=row.name,
        email=row.email,
        phone=row.phone,
        photo=row.photo,
        rating=row.rating,
        services=row.services,
        service_area=row.service_area,
        completed_bookings=row.completed_bookings,
        created_at=to_time(row.created_at),
    )


def booking_of(row: Row[Any]) -> Booking:
    return Booking(
        booking_id=row.id,
        booking_number=booking_number(row),
        service=row.service,
        status=row.status,
        scheduled_at=to_time(row.scheduled_at),
        address=row.address,
        amount=to_money(row.amount),
        customer=customer_party(row),
        partner=partner_party(row),
        reason=row.reason,
        created_at=to_time(row.created_at),
        changed_at=to_time(row.changed_at),
    )


def booking_number(row: Row[Any]) -> str:
    """What people call a booking."""
    return f"BK-{100_000 + row.number}"


def customer_party(row: Row[Any]) -> Party:
    """The customer of a booking."""
    return Party(id=row.customer_id, name=row.customer_name, phone=row.customer_phone)


def partner_party(row: Row[Any]) -> Party | None:
    """The partner of a booking, where one was asked."""
    if row.partner_id is None:
        return None
    return Party(id=row.partner_id, name=row.partner_name, phone=row.partner_phone)


def message_of(row: Row[Any]) -> Message:
    sender, recipient = row.customer_id, row.partner_id
    if row.sender_role == "partner":
        sender, recipient = recipient, sender
    return Message(
        id=row.id,
        sender_id=sender,
        sender_role=row.sender_role,
        recipient_id=recipient,
        message=row.message,
        booking_id=row.booking_id,
        created_at=to_time(row.created_at),
        read_at=None if row.read_at is None else to_time(row.read_at),
    )


def submission_of(row: Row[Any]) -> Submission:
    return Submission(
        submission_id=row.id,
        partner_id=row.partner_id,
        partner_name=row.partner_name,
        documents=row.documents,
        status=row.status,
        note=row.note,
        created_at=to_time(row.created_at),
        reviewed_at=None if row.reviewed_at is None else to_time(row.reviewed_at),
    )


def notification_of(row: Row[Any]) -> Notification:
    return Notification(
        id=row.id,
        recipient_id=row.recipient_id,
        recipient_role=row.recipient_role,
        type=row.type,
        title=row.title,
        message=row.message,
        booking_id=row.booking_id,
        created_at=to_time(row.created_at),
    )
