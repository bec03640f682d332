"""Disputes about orders, as far as time and payouts depend on them: a garage that does not answer has agreed, and what
it earned with the order is not paid while the dispute goes on.
"""

from typing import Any, Literal

from msgspec.structs import asdict

from oyez.contract import UNSET, Id, Maybe, Money, Payload, Time
from oyez.errors import InvalidDataError
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
    show,
    write_amount,
)

TIMEOUT = "dispute_timeout"
RESPONSE_TIME = 48 * 3600.0
"""Seconds a garage has for its answer where the back end names no end: a weekend, in which garages are closed."""


DisputeStatus = Literal["open", "contested", "resolved", "withdrawn"]


class DisputeBody(Payload):
    """What the customer complains about and asks for. `respond_by`: until when the garage may contest it."""

    order_id: Id
    customer_id: Id
    garage_id: Id
    reason: DisputeReason
    refund_amount: Money
    respond_by: Maybe[Time] = UNSET


class Resolution(Payload):
    """How it ends; `refund_amount` is what the customer gets."""

    resolution: DisputeResolution
    refund_amount: Money


class Dispute(Payload):
    """`refund_amount` is what is asked for and, from the resolution on, what is given."""

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
        tx.connection.execute(disputes.insert().values(dispute_id=dispute_id, status="open", **values))
        payouts.hold_for_dispute(tx, dispute_id, body.order_id)
    elif is_as(found, values):
        return show(found, Dispute), False
    else:
        check_same(found, values, "order_id", "customer_id", "garage_id")
        states.check_open(states.DISPUTE, found.status)
        change(tx.connection, disputes.c.dispute_id, dispute_id, **values)
    if found is None or found.status == "open":
        tx.schedule(TIMEOUT, dispute_id, values["respond_by"].seconds, {})
    return show(get(tx.connection, disputes.c.dispute_id, dispute_id), Dispute), found is None


def contest_dispute(tx: Transaction, dispute_id: str) -> Dispute:
    """The garage disagrees in time: operations will decide, whenever that is."""
    return _move(tx, dispute_id, "contest")


def withdraw_dispute(tx: Transaction, dispute_id: str) -> Dispute:
    """The customer does not complain any more."""
    dispute = _move(tx, dispute_id, "withdraw")
    payouts.release_from_dispute(tx, dispute_id, dispute.order_id)
    return dispute


def resolve_dispute(tx: Transaction, dispute_id: str, body: Resolution) -> Dispute:
    """Resolve a dispute: both sides are notified, and the order's payouts continue, less the refund.

    Raises RefusedError: unknown_record, illegal_transition, record_differs if it was resolved otherwise;
    InvalidDataError where more is refunded than was asked for.
    """
    before = get(tx.connection, disputes.c.dispute_id, dispute_id)
    if before.status == "resolved":
        check_same(before, asdict(body), "resolution", "refund_amount")
        return show(before, Dispute)
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
    return show(get(tx.connection, disputes.c.dispute_id, dispute_id), Dispute)


def time_out_dispute(tx: Transaction, dispute_id: str, data: dict[str, Any]) -> None:
    """The job at the end of the garage's time: it has not answered, so the customer is right."""
    asked = get(tx.connection, disputes.c.dispute_id, dispute_id).refund_amount
    resolve_dispute(tx, dispute_id, Resolution(resolution="auto_approved", refund_amount=asked))


def _move(tx: Transaction, dispute_id: str, action: str, **values: Any) -> Dispute:
    before = get(tx.connection, disputes.c.dispute_id, dispute_id)
    status = states.move(states.DISPUTE, before.status, action)
    change(tx.connection, disputes.c.dispute_id, dispute_id, status=status, **values)
    tx.cancel(TIMEOUT, dispute_id)
    return show(get(tx.connection, disputes.c.dispute_id, dispute_id), Dispute)
