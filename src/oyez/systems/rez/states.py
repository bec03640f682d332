"""The life cycles of `rez`, as tables: `{state: {action: state}}`. A state without actions is the end."""

from collections.abc import Mapping

from oyez.errors import RefusedError
from oyez.systems.rez.contract import ILLEGAL_TRANSITION

States = Mapping[str, Mapping[str, str]]

ORDERS: States = {
    "placed": {"confirm": "confirmed", "cancel": "cancelled"},
    "confirmed": {"prepare": "preparing", "cancel": "cancelled"},
    "preparing": {"finish": "ready", "cancel": "cancelled"},
    # A store's own people need not be dispatched.
    "ready": {"dispatch": "dispatched", "send out": "out_for_delivery", "cancel": "cancelled"},
    "dispatched": {"send out": "out_for_delivery", "cancel": "cancelled"},
    "out_for_delivery": {"deliver": "delivered", "cancel": "cancelled"},
    "delivered": {},
    "cancelled": {},
}

TICKETS: States = {
    "open": {"assign": "in_progress", "resolve": "resolved", "close": "closed"},
    "in_progress": {
        "assign": "in_progress",
        "ask": "pending",
        "put back": "open",
        "resolve": "resolved",
        "close": "closed",
    },
    "pending": {
        "assign": "in_progress",
        "answer": "in_progress",
        "put back": "open",
        "resolve": "resolved",
        "close": "closed",
    },
    "resolved": {"assign": "in_progress", "put back": "open", "close": "closed"},
    "closed": {},
}
"""`open` waits for an agent, `pending` for the customer."""

GROUPS: States = {
    "open": {"complete": "complete", "cancel": "cancelled"},
    "complete": {},
    "cancelled": {},
}


def check_move(states: States, what: str, current: str, wanted: str) -> None:
    """Raise RefusedError (illegal_transition) where no action leads from `current` to `wanted`."""
    if wanted not in states[current].values():
        possible = ", ".join(dict.fromkeys(states[current].values())) or "nothing"
        raise RefusedError(
            ILLEGAL_TRANSITION,
            f"{what} is {current} and cannot become {wanted}; from there it can become {possible}.",
            current=current,
            wanted=wanted,
        )
