"""The course of a booking as a table: which action leads from which status to which, and the sentence for the customer.

Nobody changes a status but by `move`. What is not in the table cannot happen, and the refusal names both statuses.
Reading the table downwards is reading what a booking can go through:

    PENDING ──assign──► PARTNER_ASSIGNED ──accept──► PARTNER_ACCEPTED ──start──► IN_PROGRESS ──complete──► COMPLETED
                          │  ▲
                       reject│assign
                          ▼  │
                        PARTNER_REJECTED               until work has begun: ──cancel──► CANCELLED
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
"""Where each action leads: the same status from wherever it may be taken."""

PARTNER_ACTIONS: Mapping[BookingStatus, Action] = {
    TARGETS[action]: action for action in ("accept", "reject", "start", "complete")
}
"""What a partner who names a status wants done; the other statuses are not for partners to set."""

PENDING: tuple[BookingStatus, ...] = ("PENDING", "PARTNER_REJECTED")
"""A partner has to be found."""
ACTIVE: tuple[BookingStatus, ...] = ("PARTNER_ASSIGNED", "PARTNER_ACCEPTED", "IN_PROGRESS")
"""A partner has been asked, will come, or is there."""
ON_THE_WAY: tuple[BookingStatus, ...] = ("PARTNER_ACCEPTED", "IN_PROGRESS")
"""The customer may see where the partner is."""
SHARED: tuple[BookingStatus, ...] = (*ACTIVE, "COMPLETED", "CANCELLED")
"""Customer and partner may write to each other: there is, or was, something between them to speak about."""

SENTENCES: Mapping[BookingStatus, str] = {
    "PENDING": "We are looking for somebody who will come.",
    "PARTNER_ASSIGNED": "{partner} has been asked to come.",
    "PARTNER_ACCEPTED": "{partner} will come.",
    "PARTNER_REJECTED": "{partner} cannot come. We are looking for somebody else.",
    "IN_PROGRESS": "{partner} has begun.",
    "COMPLETED": "{partner} has finished.",
    "CANCELLED": "Your booking has been cancelled.",
}
"""What a customer reads when the booking has come to a status."""

REVIEWS: Mapping[KycStatus, tuple[KycStatus, ...]] = {
    "SUBMITTED": ("APPROVED", "REJECTED"),
    "APPROVED": (),
    "REJECTED": (),
}
"""What can be decided about documents that were handed in: once."""


def move(status: BookingStatus, action: Action) -> BookingStatus:
    """The status after `action`. Raises RefusedError (illegal_transition)."""
    target = TRANSITIONS[status].get(action)
    if target is None:
        raise illegal("booking", status, TARGETS[action])
    return target


def partner_action(status: BookingStatus, target: BookingStatus) -> Action:
    """What a partner has to do to bring a booking from `status` to `target`. Raises RefusedError as `move` does."""
    action = PARTNER_ACTIONS.get(target)
    if action is None or action not in TRANSITIONS[status]:
        raise illegal("booking", status, target)
    return action


def review(status: KycStatus, decision: KycStatus) -> KycStatus:
    """The status of a submission after it was decided about. Raises RefusedError (illegal_transition)."""
    if decision not in REVIEWS[status]:
        raise illegal("submission", status, decision)
    return decision


def illegal(what: str, status: str, target: str) -> RefusedError:
    """The refusal that names both statuses, for people and, in its details, for programs."""
    message = f"The {what} is {status} and cannot become {target}."
    return RefusedError(ILLEGAL_TRANSITION, message, **{"from": status, "to": target})
