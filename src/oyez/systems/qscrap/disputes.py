"""Disputes about orders, with their deadlines and their effects on payouts: a garage that does not answer in time has
agreed, and the payouts of the order are held during the dispute.
"""

from typing import Any, Literal

from msgspec.structs import asdict

from oyez.contract import UNSET, Id, Maybe, Money, Payload, Time
from oyez.errors import InvalidDataError
from oyez.service.database.records import to_payload
from oyez.service.outbox.transaction import Transaction
from oyez.systems.qscrap import payouts, states
from oyez.systems.qscrap.contract import garage, user
from oyez.systems.qscrap.payloads import DisputeReason, DisputeResolution, DisputeResolved, Notification
from oyez.systems.qscrap.tables import (
    change,
    check_same,
    disputes,
    find,
    get,
    is_as,
    write_amount,
)

TIMEOUT = "dispute_timeout"
RESPONSE_TIME = 48 * 3600.0
"""Seconds that a garage has to answer if the back end sets no deadline: garages are closed at weekends."""


DisputeStatus = Literal["open", "contested", "resolved", "withdrawn"]


class DisputeBody(Payload):
    """A new dispute. `respond_by` is the time until which the garage may contest it."""

    order_id: Id
    customer_id: Id
    garage_id: Id
    reason: DisputeReason
    refund_amount: Money
    respond_by: Maybe[Time] = UNSET


class Resolution(Payload):
    """The resolution of a dispute; `refund_amount` is what the customer gets."""

    resolution: DisputeResolution
    refund_amount: Money


class Dispute(Payload):
    """`refund_amount` is the requested refund; after the resolution, the granted refund."""

    dispute_id: Id
    order_id: Id
    customer_id: Id
    garage_id: Id
    reason: DisputeReason
    refund_amount: Money
    respond_by: Time
    status: DisputeStatus
    resolution: DisputeResolution | None


def put_dispute(tx: Transaction, dispute_id: str, body: DisputeBody) -> tuple[Dispute, bool]:
    """Open a dispute, or correct an open one. True if it is new. Payouts for its order are held from now on."""
    user(body.customer_id)
    garage(body.garage_id)
    found = find(tx.connection, disputes.c.dispute_id, dispute_id)
    values: dict[str, Any] = asdict(body)
    if not isinstance(body.respond_by, Time):
        values["respond_by"] = found.respond_by if found else Time.at(tx.now + RESPONSE_TIME)
    if found is None:
        tx.connection.execute(disputes.insert(), dict(dispute_id=dispute_id, status="open", **values))
        payouts.hold_for_dispute(tx, dispute_id, body.order_id)
    elif is_as(found, values):
        return to_payload(found, Dispute), False
    else:
        check_same(found, values, "order_id", "customer_id", "garage_id")
        states.check_open(states.DISPUTE, found.status)
        change(tx.connection, disputes.c.dispute_id, dispute_id, **values)
    if found is None or found.status == "open":
        tx.schedule(TIMEOUT, dispute_id, values["respond_by"].seconds, {})
    return to_payload(get(tx.connection, disputes.c.dispute_id, dispute_id), Dispute), found is None


def contest_dispute(tx: Transaction, dispute_id: str) -> Dispute:
    """The garage contests in time: operations will decide, without a deadline."""
    return _move(tx, dispute_id, "contest")


def withdraw_dispute(tx: Transaction, dispute_id: str) -> Dispute:
    """The customer withdraws the dispute."""
    dispute = _move(tx, dispute_id, "withdraw")
    payouts.release_from_dispute(tx, dispute_id, dispute.order_id)
    return dispute


def resolve_dispute(tx: Transaction, dispute_id: str, body: Resolution) -> Dispute:
    """Resolve a dispute: both sides are notified, and the order's payouts continue, less the refund.

    Raises RefusedError: unknown_record, illegal_transition, record_differs if it was resolved otherwise;
    InvalidDataError if the refund is larger than requested.
    """
    before = get(tx.connection, disputes.c.dispute_id, dispute_id)
    if before.status == "resolved":
        check_same(before, asdict(body), "resolution", "refund_amount")
        return to_payload(before, Dispute)
    if body.refund_amount > before.refund_amount:
        raise InvalidDataError("refund_amount", f"at most {before.refund_amount}, which is asked for")
    _move(tx, dispute_id, "resolve", **asdict(body))
    notification = Notification(
        title="Dispute resolved",
        message=f"{write_amount(body.refund_amount)} of {write_amount(before.refund_amount)} are refunded.",
        type="success",
    )
    tx.emit(
        DisputeResolved(dispute_id=dispute_id, notification=notification, **asdict(body)),
        user(before.customer_id),
        garage(before.garage_id),
    )
    payouts.reduce_by_refund(tx, before.order_id, body.refund_amount)
    payouts.release_from_dispute(tx, dispute_id, before.order_id)
    return to_payload(get(tx.connection, disputes.c.dispute_id, dispute_id), Dispute)


def time_out_dispute(tx: Transaction, dispute_id: str, data: dict[str, Any]) -> None:
    """The job at the deadline: the garage has not answered, so the full refund is granted."""
    asked = get(tx.connection, disputes.c.dispute_id, dispute_id).refund_amount
    resolve_dispute(tx, dispute_id, Resolution(resolution="auto_approved", refund_amount=asked))


def _move(tx: Transaction, dispute_id: str, action: str, **values: Any) -> Dispute:
    before = get(tx.connection, disputes.c.dispute_id, dispute_id)
    status = states.move(states.DISPUTE, before.status, action)
    change(tx.connection, disputes.c.dispute_id, dispute_id, status=status, **values)
    tx.cancel(TIMEOUT, dispute_id)
    return to_payload(get(tx.connection, disputes.c.dispute_id, dispute_id), Dispute)
