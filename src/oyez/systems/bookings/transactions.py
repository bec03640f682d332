"""The changes in `bookings`: each function is one transaction, and its events are stored with the change.

The handlers of commands and the HTTP API call them. The id of the caller comes from its token, never from the data.
"""

from typing import Any
from uuid import uuid4

from msgspec.structs import asdict
from sqlalchemy import Connection, Row, Table, insert, select, update

from oyez.contract import Id, Total
from oyez.contract.schema import quote
from oyez.errors import FORBIDDEN, TOO_LARGE, InvalidDataError, RefusedError
from oyez.service.database.records import to_payload
from oyez.service.days import begin_of_day, end_of_day
from oyez.service.outbox.transaction import Transaction
from oyez.systems.bookings import payloads
from oyez.systems.bookings.contract import NOT_FOUND, customer_user, partner_user, trackers
from oyez.systems.bookings.records import (
    Assignment,
    NewBooking,
    NewCustomer,
    NewMessage,
    NewNotification,
    NewPartner,
    NewSubmission,
    Review,
    booking_fields,
    booking_number,
)
from oyez.systems.bookings.states import ACTIVE, SENTENCES, Action, move, partner_action, review
from oyez.systems.bookings.tables import (
    bookings,
    count_statistics,
    customers,
    find,
    find_day,
    kyc_submissions,
    messages,
    notifications,
    partners,
    share_booking,
    sum_earnings,
    to_cents,
    to_milliseconds,
    to_money,
    to_time,
    told,
)

DAY_BEGINS = "day_begins"
"""The job that is due at midnight."""
INTERVAL = 1.0
"""Seconds between two locations for one booking, and between two statistics: a person needs no more."""
CLOCK_DIFFERENCE = 5_000
"""Milliseconds by which the clock of another process may be ahead. A later time was written before this machine's
clock was put back, and must not stop the statistics until then."""

# Customers and partners.


def put_customer(tx: Transaction, customer_id: str, new: NewCustomer) -> tuple[Row[Any], bool]:
    """Returns the customer, and True if it is new."""
    return _put(tx, customers, customer_id, asdict(new))


def put_partner(tx: Transaction, partner_id: str, new: NewPartner) -> tuple[Row[Any], bool]:
    """Returns the partner, and True if it is new: then `partner:registered` is sent."""
    optional = {"photo": new.photo or None, "rating": new.rating if isinstance(new.rating, float) else None}
    partner, is_new = _put(tx, partners, partner_id, asdict(new) | optional)
    if is_new:
        tx.emit(to_payload(new, payloads.PartnerRegistered, partner_id=partner_id))
    return partner, is_new


# Bookings.


def create_booking(tx: Transaction, new: NewBooking) -> Row[Any]:
    """Create a booking. Sends `booking:created`, and `booking:new_request` to the partner if one is named."""
    _expect(tx, customers, "customerId", new.customer_id)
    partner_id = new.partner_id or None
    if partner_id is not None:
        _expect(tx, partners, "partnerId", partner_id)
    values = {
        "customer_id": new.customer_id,
        "partner_id": partner_id,
        "status": "PENDING" if partner_id is None else "PARTNER_ASSIGNED",
        "service": new.service,
        "scheduled_at": to_milliseconds(new.scheduled_at),
        "address": new.address,
        "amount": to_cents(new.amount),
        "changed_at": _now(tx),
    }
    booking = _insert(tx, bookings, values)
    tx.add_member(trackers(booking.id), f"user:{new.customer_id}")
    tx.emit(payloads.BookingCreated(**booking_fields(booking)))
    if partner_id is not None:
        _request(tx, booking)
    return booking


def assign_partner(tx: Transaction, booking_id: str, new: Assignment) -> Row[Any]:
    """Assign a partner in place of any other. Assigning the partner who has the booking changes nothing."""
    booking, partner_id = get(tx.connection, bookings, booking_id), new.partner_id
    _expect(tx, partners, "partnerId", partner_id)
    if booking.partner_id == partner_id and booking.status in ACTIVE:
        return booking
    changed = _change(tx, booking, "assign", partner_id=partner_id)
    _request(tx, changed)
    if booking.status in ACTIVE:
        _notify(
            tx,
            NewNotification(
                recipient_id=booking.partner_id,
                recipient_role="partner",
                type="BOOKING",
                title=f"{booking_number(booking)} is no longer yours",
                message="Somebody else has been asked to come.",
                booking_id=booking.id,
            ),
        )
    return changed


def cancel_booking(tx: Transaction, customer_id: str, booking_id: str, reason: str) -> Row[Any]:
    """Cancel a customer's own booking: its partner receives `booking:cancelled`."""
    booking = find(tx.connection, bookings, booking_id)
    if booking is None or booking.customer_id != customer_id:
        raise RefusedError(FORBIDDEN, f"You have no booking {quote(booking_id)}.")
    # A partner who rejected the booking is not notified.
    partner_id = booking.partner_id if booking.status in ACTIVE else None
    changed = _change(tx, booking, "cancel", reason=reason, partner_id=partner_id)
    if partner_id is not None:
        tx.emit(
            payloads.BookingCancelled(
                booking_id=booking.id,
                booking_number=booking_number(booking),
                service=booking.service,
                scheduled_at=to_time(booking.scheduled_at),
                reason=reason,
            ),
            partner_user(partner_id),
        )
    return changed


def accept_booking(tx: Transaction, partner_id: str, booking_id: str) -> Row[Any]:
    """Accept as the assigned partner. Sends `partner:assigned` to the customer."""
    return _act(tx, _assigned(tx, partner_id, booking_id), "accept")


def reject_booking(tx: Transaction, partner_id: str, booking_id: str, reason: str) -> Row[Any]:
    """Reject as the assigned partner."""
    return _act(tx, _assigned(tx, partner_id, booking_id), "reject", reason)


def move_booking(tx: Transaction, partner_id: str, booking_id: str, status: payloads.BookingStatus) -> Row[Any]:
    """Change the status as the assigned partner."""
    booking = _assigned(tx, partner_id, booking_id)
    return _act(tx, booking, partner_action(booking.status, status))


def _act(tx: Transaction, booking: Row[Any], action: Action, reason: str | None = None) -> Row[Any]:
    """Perform a partner's action and send the events that it causes."""
    changed = _change(tx, booking, action, reason=reason)
    if action == "accept":
        _introduce(tx, changed)
    if action == "complete":
        _notify_earnings(tx, changed)
    return changed


def _change(
    tx: Transaction, booking: Row[Any], action: Action, *, reason: str | None = None, **values: str | None
) -> Row[Any]:
    """The booking after `action`: `booking:status_updated` to its trackers, `booking:updated` to monitors."""
    values |= {"status": move(booking.status, action), "reason": reason}
    where = bookings.c.id == booking.id
    tx.connection.execute(update(bookings).where(where).values(changed_at=_now(tx), **values))
    changed = get(tx.connection, bookings, booking.id)
    sentence = SENTENCES[changed.status].format(partner=changed.partner_name)
    tx.emit(payloads.BookingStatusUpdated(booking_id=changed.id, status=changed.status, message=sentence))
    extra = {"previous_status": booking.status} | ({} if reason is None else {"reason": reason})
    tx.emit(payloads.BookingUpdated(**booking_fields(changed), **extra))
    return changed


def _request(tx: Transaction, booking: Row[Any]) -> None:
    tx.emit(
        to_payload(
            booking,
            payloads.BookingNewRequest,
            booking_id=booking.id,
            booking_number=booking_number(booking),
            scheduled_at=to_time(booking.scheduled_at),
            amount=to_money(booking.amount),
        ),
        partner_user(booking.partner_id),
    )


def _introduce(tx: Transaction, booking: Row[Any]) -> None:
    partner = get(tx.connection, partners, booking.partner_id)
    introduced = to_payload(partner, payloads.AssignedPartner)
    tx.emit(
        payloads.PartnerAssigned(booking_id=booking.id, partner=introduced),
        customer_user(booking.customer_id),
        trackers(booking.id),
    )


def _notify_earnings(tx: Transaction, booking: Row[Any]) -> None:
    earned = sum_earnings(tx.connection, booking.partner_id, find_day(tx.now, tx.zone))
    tx.emit(
        payloads.EarningsUpdated(
            booking_id=booking.id,
            booking_number=booking_number(booking),
            amount=to_money(booking.amount),
            today_earnings=Total.of_cents(earned.today),
            total_earnings=Total.of_cents(earned.total),
            completed_bookings=earned.completed,
        ),
        partner_user(booking.partner_id),
    )


def _assigned(tx: Transaction, partner_id: str, booking_id: str) -> Row[Any]:
    booking = find(tx.connection, bookings, booking_id)
    if booking is None or booking.partner_id != partner_id:
        raise RefusedError(FORBIDDEN, f"No booking {quote(booking_id)} is assigned to you.")
    return booking


# Messages and notifications.


def send_message(tx: Transaction, new: NewMessage) -> Row[Any]:
    """Store a message and send it to the recipient, in the recipient's namespace, and to the sender's devices."""
    booking_id = new.booking_id or None
    customer_id, partner_id = new.sender_id, new.recipient_id
    if new.sender_role == "partner":
        customer_id, partner_id = partner_id, customer_id
    if not share_booking(tx.connection, customer_id, partner_id, booking_id):
        which = "no booking" if booking_id is None else f"no booking {quote(booking_id)}"
        raise RefusedError(FORBIDDEN, f"You share {which} with {quote(new.recipient_id)}.")
    values = {
        "customer_id": customer_id,
        "partner_id": partner_id,
        "sender_role": new.sender_role,
        "booking_id": booking_id,
        "message": new.message,
    }
    message = _insert(tx, messages, values)
    sender = get(tx.connection, customers if new.sender_role == "customer" else partners, new.sender_id)
    stored = {"id": message.id, "booking_id": booking_id, "created_at": to_time(message.created_at)}
    received = to_payload(new, payloads.MessageReceived, sender_name=sender.name, **stored)
    to = partner_user if new.sender_role == "customer" else customer_user
    try:
        tx.emit(received, to(new.recipient_id))
    except RefusedError as refused:
        if refused.refusal is not TOO_LARGE:
            raise
        # The contract limits characters, the log bytes: in some scripts 4,000 characters take too many bytes.
        size = len(new.message.encode())
        raise RefusedError(
            TOO_LARGE,
            f"The message takes {size} bytes, which is more than fits into one event. Send it in two.",
            field="message",
            bytes=size,
        ) from None
    sent = to_payload(new, payloads.MessageSent, **stored)
    tx.emit(sent, (customer_user if new.sender_role == "customer" else partner_user)(new.sender_id))
    return message


def mark_read(tx: Transaction, role: str, user_id: str, message_id: str) -> Row[Any]:
    """Mark a message as read, by its recipient only. The recipient's devices are notified the first time."""
    message = find(tx.connection, messages, message_id)
    recipients = {} if message is None else {"customer": message.customer_id, "partner": message.partner_id}
    if message is None or recipients.get(role) != user_id or message.sender_role == role:
        raise RefusedError(FORBIDDEN, f"You have received no message {quote(message_id)}.")
    unread = (messages.c.id == message_id) & messages.c.read_at.is_(None)
    is_first = tx.connection.execute(update(messages).where(unread).values(read_at=_now(tx))).rowcount == 1
    message = get(tx.connection, messages, message_id)
    if is_first:
        read = payloads.MessageRead(message_id=message_id, read_at=to_time(message.read_at))
        tx.emit(read, (customer_user if role == "customer" else partner_user)(user_id))
    return message


def notify(tx: Transaction, new: NewNotification) -> Row[Any]:
    """Store a notification and send it to the recipient."""
    _expect(tx, customers if new.recipient_role == "customer" else partners, "recipientId", new.recipient_id)
    if new.booking_id:
        _expect(tx, bookings, "bookingId", new.booking_id)
    return _notify(tx, new)


def _notify(tx: Transaction, new: NewNotification) -> Row[Any]:
    notification = _insert(tx, notifications, asdict(new) | {"booking_id": new.booking_id or None})
    payload = to_payload(new, payloads.NotificationNew, id=notification.id)
    tx.emit(payload, (customer_user if new.recipient_role == "customer" else partner_user)(new.recipient_id))
    return notification


# KYC.


def submit_kyc(tx: Transaction, new: NewSubmission) -> Row[Any]:
    """Store submitted documents. Sends `kyc:submitted`."""
    _expect(tx, partners, "partnerId", new.partner_id)
    submission = _insert(tx, kyc_submissions, {**asdict(new), "status": "SUBMITTED"})
    tx.emit(to_payload(submission, payloads.KycSubmitted, submission_id=submission.id))
    return submission


def review_kyc(tx: Transaction, submission_id: str, decided: Review) -> Row[Any]:
    """Approve or reject documents, once, and notify the partner. Repeating the same review changes nothing."""
    submission = get(tx.connection, kyc_submissions, submission_id)
    note = decided.note or None
    if (submission.status, submission.note) == (decided.status, note):
        return submission
    values = {"status": review(submission.status, decided.status), "note": note, "reviewed_at": _now(tx)}
    tx.connection.execute(update(kyc_submissions).where(kyc_submissions.c.id == submission_id).values(values))
    _notify(
        tx,
        NewNotification(
            recipient_id=submission.partner_id,
            recipient_role="partner",
            type="KYC",
            title=f"Your documents are {decided.status.lower()}",
            message=note or "There is nothing you have to do.",
        ),
    )
    return get(tx.connection, kyc_submissions, submission_id)


# Statistics.


def build_statistics(counted: dict[str, int], now: int) -> payloads.DashboardStatsUpdate:
    """The event with the numbers from `count_statistics`."""
    counts: dict[str, Any] = {**counted, "revenue_today": Total.of_cents(counted["revenue_today"])}
    return payloads.DashboardStatsUpdate(**counts, timestamp=to_time(now))


def send_statistics(tx: Transaction, counted: dict[str, int], counted_at: int, interval: float) -> bool:
    """Send statistics to monitors, unless they were counted less than `interval` seconds after the last ones were sent.

    True if they are sent. Statistics that were counted before the last ones are outdated: they are sent only if
    `interval` is 0.
    """
    known, now = told.c.what == "statistics", _now(tx)
    before = tx.connection.execute(select(told.c.told_at).where(known)).scalar_one_or_none()
    if before is None:
        tx.connection.execute(insert(told), {"what": "statistics", "told_at": now})
    elif interval and counted_at - before < interval * 1_000 and before - now < CLOCK_DIFFERENCE:
        return False
    else:
        # Not `counted_at`: between the count and this attempt, another process may have sent.
        tx.connection.execute(update(told).where(known).values(told_at=now))
    if before is None or begin_of_day(before / 1_000, tx.zone) != begin_of_day(counted_at / 1_000, tx.zone):
        _schedule_midnight(tx)
    tx.emit(build_statistics(counted, counted_at))
    return True


def begin_day(tx: Transaction, _key: str, _data: dict[str, Any]) -> None:
    """The job at midnight: send the statistics of the new day, whose counts of today are zero."""
    counted = count_statistics(tx.connection, find_day(tx.now, tx.zone))
    if send_statistics(tx, counted, _now(tx), INTERVAL):
        _schedule_midnight(tx)
    else:
        # The last ones, less than a second ago, may have been of the day before.
        tx.schedule(DAY_BEGINS, "statistics", tx.now + INTERVAL, {})


def _schedule_midnight(tx: Transaction) -> None:
    tx.schedule(DAY_BEGINS, "statistics", end_of_day(tx.now, tx.zone), {})


# Rows.


def _now(tx: Transaction) -> int:
    return int(tx.now * 1_000)


def _put(tx: Transaction, table: Table, id: str, values: dict[str, Any]) -> tuple[Row[Any], bool]:
    is_new = not tx.connection.execute(update(table).where(table.c.id == id).values(values)).rowcount
    if is_new:
        tx.connection.execute(insert(table), dict(id=id, created_at=_now(tx), **values))
    return get(tx.connection, table, id), is_new


def _insert(tx: Transaction, table: Table, values: dict[str, Any]) -> Row[Any]:
    id: Id = str(uuid4())
    tx.connection.execute(insert(table), dict(id=id, created_at=_now(tx), **values))
    return get(tx.connection, table, id)


def get(connection: Connection, table: Table, id: str) -> Row[Any]:
    """The row of that id. Raises RefusedError (not_found)."""
    row = find(connection, table, id)
    if row is None:
        raise RefusedError(NOT_FOUND, f"There is nothing with the id {quote(id)}.")
    return row


def _expect(tx: Transaction, table: Table, field: str, id: str) -> None:
    """Raise InvalidDataError if the table has no row with the id in a body's `field`."""
    if find(tx.connection, table, id) is None:
        raise InvalidDataError(field, f"the id of one of the {table.name.removeprefix('bookings_')}; got {quote(id)}")
