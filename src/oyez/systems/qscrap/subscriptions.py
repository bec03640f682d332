"""Garages' subscriptions, as far as they end: a garage is warned some days before."""

import math
from typing import Any

from oyez.contract import Id, Payload, Time
from oyez.service.database.records import to_payload
from oyez.service.outbox.transaction import Transaction
from oyez.systems.qscrap.contract import garage
from oyez.systems.qscrap.payloads import SubscriptionWarning
from oyez.systems.qscrap.tables import change, find, get, is_as, subscriptions

WARNING = "subscription_warning"
WARNING_DAYS = (7, 3, 1)
"""Days before the end: a week leaves time to budget and pay by transfer, three days to pay by card after a reminder,
and the last day is for garages that have overlooked both."""
DAY = 86_400.0


class SubscriptionBody(Payload):
    """When the garage's subscription ends."""

    expires_at: Time


class Subscription(Payload):
    garage_id: Id
    expires_at: Time


def put_subscription(tx: Transaction, garage_id: str, body: SubscriptionBody) -> tuple[Subscription, bool]:
    """Store a garage's subscription, or change its end. True if it is new."""
    garage(garage_id)
    values = {"expires_at": body.expires_at}
    found = find(tx.connection, subscriptions.c.garage_id, garage_id)
    if found is None:
        tx.connection.execute(subscriptions.insert(), dict(garage_id=garage_id, **values))
    elif is_as(found, values):
        return to_payload(found, Subscription), False
    else:
        change(tx.connection, subscriptions.c.garage_id, garage_id, **values)
    _cancel_warnings(tx, garage_id)
    for days in WARNING_DAYS:
        due = body.expires_at.seconds - days * DAY
        # A warning whose time has passed is not sent.
        if due >= tx.now:
            tx.schedule(WARNING, _key(garage_id, days), due, {"garage_id": garage_id, "days": days})
    return to_payload(get(tx.connection, subscriptions.c.garage_id, garage_id), Subscription), found is None


def end_subscription(tx: Transaction, garage_id: str) -> None:
    """Remove a garage's subscription, and its warnings. Does nothing if it had none."""
    tx.connection.execute(subscriptions.delete().where(subscriptions.c.garage_id == garage_id))
    _cancel_warnings(tx, garage_id)


def warn_garage(tx: Transaction, key: str, data: dict[str, Any]) -> None:
    """The job some days before a subscription's end."""
    garage_id = data["garage_id"]
    row = get(tx.connection, subscriptions.c.garage_id, garage_id)
    left = row.expires_at.seconds - tx.now
    # After a long stop several may be due: only the last still says something new.
    if left <= max((days * DAY for days in WARNING_DAYS if days < data["days"]), default=0.0):
        return
    days = math.ceil(left / DAY)
    message = f"Your subscription ends in {days} day{'s' if days > 1 else ''}. Renew it to keep bidding."
    tx.emit(SubscriptionWarning(message=message, expires_at=row.expires_at), garage(garage_id))


def _cancel_warnings(tx: Transaction, garage_id: str) -> None:
    for days in WARNING_DAYS:
        tx.cancel(WARNING, _key(garage_id, days))


def _key(garage_id: str, days: int) -> str:
    return f"{days}/{garage_id}"
