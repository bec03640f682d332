"""The life cycles of `qscrap`, as tables: for each state, the actions and the next state."""

from collections.abc import Mapping

from oyez.errors import Refusal, RefusedError

ILLEGAL_TRANSITION = Refusal("illegal_transition", "That cannot be done in this state.", status=409)

Moves = Mapping[str, Mapping[str, str]]

TICKET: Moves = {
    "open": {"start": "in_progress", "resolve": "resolved", "close": "closed"},
    "in_progress": {"resolve": "resolved", "close": "closed"},
    "resolved": {"reopen": "in_progress", "close": "closed"},
    "closed": {},
}

REQUEST: Moves = {
    "open": {"take": "taken", "cancel": "cancelled", "expire": "expired"},
    "taken": {},
    "cancelled": {},
    "expired": {},
}

DISPUTE: Moves = {
    "open": {"contest": "contested", "resolve": "resolved", "withdraw": "withdrawn"},
    "contested": {"resolve": "resolved", "withdraw": "withdrawn"},
    "resolved": {},
    "withdrawn": {},
}

PAYOUT: Moves = {
    "waiting": {"schedule": "scheduled", "cancel": "cancelled"},
    "scheduled": {"hold": "held", "complete": "completed", "cancel": "cancelled"},
    "held": {"release": "scheduled", "cancel": "cancelled"},
    "completed": {},
    "cancelled": {},
}


def move(moves: Moves, state: str, action: str) -> str:
    """The state after `action`; `state` itself if the action has led there already, so that requests can be repeated.

    Raises RefusedError (illegal_transition).
    """
    after = moves[state].get(action)
    if after is not None:
        return after
    if any(state == possible.get(action) for possible in moves.values()):
        return state
    wanted = " or ".join(repr(before) for before, possible in moves.items() if action in possible)
    raise RefusedError(ILLEGAL_TRANSITION, f"It is {state!r}; to {action} it, it has to be {wanted}.")


def check_open(moves: Moves, state: str) -> None:
    """Raise RefusedError (illegal_transition) if the state is final."""
    if not moves[state]:
        raise RefusedError(ILLEGAL_TRANSITION, f"It is {state!r} and cannot be changed any more.")
