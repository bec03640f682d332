"""The statuses of a booking as a table: the actions, the next statuses, and the sentences for the customer.

A status changes only by `move`. An action that is not in the table is refused; the refusal names both statuses.

    PENDING ──assign──► PARTNER_ASSIGNED ──accept──► PARTNER_ACCEPTED ──start──► IN_PROGRESS ──complete──► COMPLETED
                          │  ▲
                       reject│assign
                          ▼  │
                        PARTNER_REJECTED               before IN_PROGRESS: ──cancel──► CANCELLED
"""

from collections.abc import Mapping
from typing import Literal

from oyez.errors import RefusedError
from oyez.systems.bookings.contract import ILLEGAL_TRANSITION
from oyez.systems.bookings.payloads import BookingStatus, KycStatus

Action = Literal["assign", "accept", "reject", "start", "complete", "cancel"]

TRANSITIONS: Mapping[BookingStatus, Mapping[Action, BookingStatus]] = {
    "PENDING": {"assign": "PARTNER_ASSIGNED", "cancel": "CANCELLED"},
    "PARTNER_ASSIGNED": {
        "assign": "PARTNER_ASSIGNED",
        "accept": "PARTNER_ACCEPTED",
        "reject": "PARTNER_REJECTED",
        "cancel": "CANCELLED",
    },
    "PARTNER_REJECTED": {"assign": "PARTNER_ASSIGNED", "cancel": "CANCELLED"},
    "PARTNER_ACCEPTED": {"assign": "PARTNER_ASSIGNED", "start": "IN_PROGRESS", "cancel": "CANCELLED"},
    "IN_PROGRESS": {"complete": "COMPLETED"},
    "COMPLETED": {},
    "CANCELLED": {},
}

TARGETS: Mapping[Action, BookingStatus] = {
    action: target for actions in TRANSITIONS.values() for action, target in actions.items()
}
"""The status after each action; it does not depend on the status before."""

PARTNER_ACTIONS: Mapping[BookingStatus, Action] = {
    TARGETS[action]: action for action in ("accept", "reject", "start", "complete")
}
"""The action for each status that partners may set."""

PENDING: tuple[BookingStatus, ...] = ("PENDING", "PARTNER_REJECTED")
"""The booking needs a partner."""
ACTIVE: tuple[BookingStatus, ...] = ("PARTNER_ASSIGNED", "PARTNER_ACCEPTED", "IN_PROGRESS")
"""The booking has a partner and is not over."""
ON_THE_WAY: tuple[BookingStatus, ...] = ("PARTNER_ACCEPTED", "IN_PROGRESS")
"""The customer may see the partner's location."""
SHARED: tuple[BookingStatus, ...] = (*ACTIVE, "COMPLETED", "CANCELLED")
"""The customer and the partner may write to each other."""

SENTENCES: Mapping[BookingStatus, str] = {
    "PENDING": "We are looking for somebody who will come.",
    "PARTNER_ASSIGNED": "{partner} has been asked to come.",
    "PARTNER_ACCEPTED": "{partner} will come.",
    "PARTNER_REJECTED": "{partner} cannot come. We are looking for somebody else.",
    "IN_PROGRESS": "{partner} has begun.",
    "COMPLETED": "{partner} has finished.",
    "CANCELLED": "Your booking has been cancelled.",
}
"""The sentence for the customer at each status."""

REVIEWS: Mapping[KycStatus, tuple[KycStatus, ...]] = {
    "SUBMITTED": ("APPROVED", "REJECTED"),
    "APPROVED": (),
    "REJECTED": (),
}
"""The possible reviews of submitted documents; each submission is reviewed once."""


def move(status: BookingStatus, action: Action) -> BookingStatus:
    """The status after `action`. Raises RefusedError (illegal_transition)."""
    target = TRANSITIONS[status].get(action)
    if target is None:
        raise illegal("booking", status, TARGETS[action])
    return target


def partner_action(status: BookingStatus, target: BookingStatus) -> Action:
    """The partner's action that leads from `status` to `target`. Raises RefusedError (illegal_transition)."""
    action = PARTNER_ACTIONS.get(target)
    if action is None or action not in TRANSITIONS[status]:
        raise illegal("booking", status, target)
    return action


def review(status: KycStatus, decision: KycStatus) -> KycStatus:
    """The status of a submission after the review. Raises RefusedError (illegal_transition)."""
    if decision not in REVIEWS[status]:
        raise illegal("submission", status, decision)
    return decision


def illegal(what: str, status: str, target: str) -> RefusedError:
    """The refusal that names both statuses in its message and in its details."""
    message = f"The {what} is {status} and cannot become {target}."
    return RefusedError(ILLEGAL_TRANSITION, message, **{"from": status, "to": target})
