"""Payouts: announced, paid on their date, and held while there is a dispute or another reason.

    waiting ──► scheduled ──► completed
                  │    ▲
                  ▼    │
                  held ┘

The bank's reference is known in advance: the back end has ordered the transfer for that date.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta
from msgspec.structs import asdict

from oyez.contract import UNSET, Id, Maybe, Money, Payload, Time
from oyez.service.database.records import to_payload
from oyez.service.outbox.transaction import Transaction
from oyez.systems.qscrap import states
from oyez.systems.qscrap.contract import garage
from oyez.systems.qscrap.payloads import (
    Line,
    Notification,
    PayoutCompleted,
    PayoutHeld,
    PayoutReleased,
    PayoutScheduled,
)
from oyez.systems.qscrap.tables import (
    change,
    check_same,
    disputes,
    find,
    get,
    is_as,
    payouts,
    write_amount,
)

SCHEDULING, DUE, HOLD, RELEASE = "payout_scheduling", "payout_due", "payout_hold", "payout_release"

PayoutStatus = Literal["waiting", "scheduled", "held", "completed", "cancelled"]
Reason = Annotated[str, Meta(min_length=1, max_length=500)]
"""Why a payout is held; the event has it twice, as a field and in a sentence."""


class PayoutBody(Payload):
    """`schedule_at`: when the garage is notified; at once if it is left out. `scheduled_date`: when it is paid."""

    order_id: Id
    garage_id: Id
    amount: Money
    reference: Line
    schedule_at: Maybe[Time] = UNSET
    scheduled_date: Time


class HoldBody(Payload):
    """Why a payout is held, and until when, if that is known."""

    reason: Reason
    release_at: Maybe[Time] = UNSET


class Payout(Payload):
    payout_id: Id
    order_id: Id
    garage_id: Id
    amount: Money
    reference: Line
    schedule_at: Time
    scheduled_date: Time
    status: PayoutStatus
    hold_reason: str | None
    release_at: Time | None


def put_payout(tx: Transaction, payout_id: str, body: PayoutBody) -> tuple[Payout, bool]:
    """Plan a payout, or correct one that is not done. True if it is new. The garage is notified again."""
    garage(body.garage_id)
    found = find(tx.connection, payouts.c.payout_id, payout_id)
    values: dict[str, Any] = asdict(body)
    if not isinstance(body.schedule_at, Time):
        values["schedule_at"] = found.schedule_at if found else Time.at(tx.now)
    if found is None:
        tx.connection.execute(payouts.insert(), dict(payout_id=payout_id, status="waiting", **values))
        tx.schedule(SCHEDULING, payout_id, values["schedule_at"].seconds, {})
    elif is_as(found, values):
        return _show(tx, payout_id), False
    else:
        check_same(found, values, "order_id", "garage_id")
        states.check_open(states.PAYOUT, found.status)
        change(tx.connection, payouts.c.payout_id, payout_id, **values)
        if found.status != "held":
            # From the beginning: the garage was notified of another day or amount.
            tx.cancel(DUE, payout_id)
            change(tx.connection, payouts.c.payout_id, payout_id, status="waiting")
            tx.schedule(SCHEDULING, payout_id, values["schedule_at"].seconds, {})
    return _show(tx, payout_id), found is None


def hold_payout(tx: Transaction, payout_id: str, body: HoldBody) -> Payout:
    """Hold a payout for a reason; it is released at `release_at`, or by the back end."""
    payout = _show(tx, payout_id)
    if payout.status != "held" and _hold(tx, payout, body.reason) and isinstance(body.release_at, Time):
        change(tx.connection, payouts.c.payout_id, payout_id, release_at=body.release_at)
        tx.schedule(RELEASE, payout_id, body.release_at.seconds, {})
    return _show(tx, payout_id)


def release_payout(tx: Transaction, payout_id: str) -> Payout:
    """Release a held payout: it is paid on its date, or now if the date has passed."""
    payout = _show(tx, payout_id)
    if _move(tx, payout, "release", hold_reason=None, release_at=None, held_by=None):
        tx.cancel(RELEASE, payout_id)
        when = payout.scheduled_date if payout.scheduled_date.seconds > tx.now else Time.at(tx.now)
        notification = Notification(
            title="Payout released",
            message=f"{write_amount(payout.amount)} will come on {when[:10]}.",
            type="success",
        )
        tx.emit(PayoutReleased(payout_id=payout_id, notification=notification), garage(payout.garage_id))
        tx.schedule(DUE, payout_id, payout.scheduled_date.seconds, {})
    return _show(tx, payout_id)


def complete_payout(tx: Transaction, payout_id: str) -> Payout:
    """Complete a payout: it is paid."""
    payout = _show(tx, payout_id)
    if _move(tx, payout, "complete"):
        tx.cancel(DUE, payout_id)
        notification = Notification(
            title="Payout completed", message=f"{write_amount(payout.amount)} have been paid.", type="success"
        )
        completed = to_payload(payout, PayoutCompleted, notification=notification)
        tx.emit(completed, garage(payout.garage_id))
    return _show(tx, payout_id)


def cancel_payout(tx: Transaction, payout_id: str) -> Payout:
    """Cancel a payout. There is no event: the cause has its own."""
    if _move(tx, _show(tx, payout_id), "cancel", hold_reason=None, release_at=None, held_by=None):
        for kind in (SCHEDULING, DUE, HOLD, RELEASE):
            tx.cancel(kind, payout_id)
    return _show(tx, payout_id)


# The effects of a dispute on the payouts of its order.


def hold_for_dispute(tx: Transaction, dispute_id: str, order_id: str) -> None:
    """Schedule the jobs that hold the order's payouts."""
    for payout in _of_order(tx, order_id, "scheduled"):
        tx.schedule(HOLD, payout.payout_id, tx.now, {"dispute_id": dispute_id})


def release_from_dispute(tx: Transaction, dispute_id: str, order_id: str) -> None:
    """Schedule the jobs that release the payouts held by this dispute."""
    for payout in _of_order(tx, order_id, "held"):
        if payout.held_by == dispute_id:
            tx.schedule(RELEASE, payout.payout_id, tx.now, {"dispute_id": dispute_id})


def reduce_by_refund(tx: Transaction, order_id: str, refund: Money) -> None:
    """Subtract a refund from the order's payouts; a payout with nothing left is cancelled."""
    for payout in _of_order(tx, order_id, "waiting", "scheduled", "held"):
        taken = min(refund, payout.amount)
        refund = Money(refund - taken)
        change(tx.connection, payouts.c.payout_id, payout.payout_id, amount=Money(payout.amount - taken))
        if taken == payout.amount:
            cancel_payout(tx, payout.payout_id)


# Jobs.


def announce_payout(tx: Transaction, payout_id: str, data: dict[str, Any]) -> None:
    """The job that announces a payout. If the order is disputed by then, the payout is held as well."""
    payout = _show(tx, payout_id)
    _move(tx, payout, "schedule")
    notification = Notification(
        title="Payout scheduled",
        message=f"{write_amount(payout.amount)} will come on {payout.scheduled_date[:10]}.",
        type="info",
    )
    tx.emit(to_payload(payout, PayoutScheduled, notification=notification), garage(payout.garage_id))
    dispute_id = _find_dispute(tx, payout.order_id)
    if dispute_id is None:
        tx.schedule(DUE, payout_id, payout.scheduled_date.seconds, {})
    else:
        tx.schedule(HOLD, payout_id, tx.now, {"dispute_id": dispute_id})


def pay_payout(tx: Transaction, payout_id: str, data: dict[str, Any]) -> None:
    """The job on the date of a payout."""
    complete_payout(tx, payout_id)


def hold_disputed_payout(tx: Transaction, payout_id: str, data: dict[str, Any]) -> None:
    """The job that a dispute causes. Does nothing if the dispute is over by then."""
    payout = _show(tx, payout_id)
    dispute_id = _find_dispute(tx, payout.order_id)
    if dispute_id is None:
        if payout.status == "scheduled":
            tx.schedule(DUE, payout_id, payout.scheduled_date.seconds, {})
    elif payout.status == "scheduled" and _hold(tx, payout, f"Dispute {dispute_id} is open."):
        change(tx.connection, payouts.c.payout_id, payout_id, held_by=dispute_id)


def release_held_payout(tx: Transaction, payout_id: str, data: dict[str, Any]) -> None:
    """The job that releases a payout. If the order is still disputed, the payout stays held."""
    payout = _show(tx, payout_id)
    if payout.status != "held":
        return
    dispute_id = _find_dispute(tx, payout.order_id)
    if dispute_id is None:
        release_payout(tx, payout_id)
    else:
        held: dict[str, Any] = {"hold_reason": f"Dispute {dispute_id} is open.", "held_by": dispute_id}
        change(tx.connection, payouts.c.payout_id, payout_id, release_at=None, **held)


def _hold(tx: Transaction, payout: Payout, reason: str) -> bool:
    """True if it was not held before."""
    held = _move(tx, payout, "hold", hold_reason=reason)
    if held:
        tx.cancel(DUE, payout.payout_id)
        notification = Notification(title="Payout on hold", message=f"It waits: {reason}", type="warning")
        tx.emit(
            PayoutHeld(payout_id=payout.payout_id, order_id=payout.order_id, reason=reason, notification=notification),
            garage(payout.garage_id),
        )
    return held


def _move(tx: Transaction, payout: Payout, action: str, **values: Any) -> bool:
    """True if its state has changed. Raises RefusedError (illegal_transition)."""
    status = states.move(states.PAYOUT, payout.status, action)
    if status == payout.status:
        return False
    change(tx.connection, payouts.c.payout_id, payout.payout_id, status=status, **values)
    return True


def _show(tx: Transaction, payout_id: str) -> Payout:
    return to_payload(get(tx.connection, payouts.c.payout_id, payout_id), Payout)


def _of_order(tx: Transaction, order_id: str, *statuses: str) -> list[Any]:
    wanted = (payouts.c.order_id == order_id) & payouts.c.status.in_(statuses)
    return list(tx.connection.execute(payouts.select().where(wanted).order_by(payouts.c.payout_id)))


def _find_dispute(tx: Transaction, order_id: str) -> str | None:
    """A dispute about the order that is not over, if there is one."""
    going_on = [status for status, possible in states.DISPUTE.items() if possible]
    wanted = (disputes.c.order_id == order_id) & disputes.c.status.in_(going_on)
    found = tx.connection.execute(disputes.select().where(wanted).order_by(disputes.c.dispute_id).limit(1)).first()
    return found.dispute_id if found else None
