"""The way of an event, from what the nodes know of it: published, stored, and what became of it for each client."""

from collections.abc import Mapping, Sequence

from oyez.contract.types import Time
from oyez.ops.admin.answers import EventTrace, MissingNode, ShownEvent, Step
from oyez.ops.admin.tracing import MAX_STEPS, LocalTrace, Origin

ORIGINS = {
    "python": "by the system itself",
    "http": "over HTTP",
    "backend": "by a back end, as the answer to a command",
    "outbox": "by a transaction",
    "emitter": "by a Socket.IO emitter",
    "operator": "again, by an operator",
}
"""How an event was published, by the origin in its report."""


def build_trace(
    event: ShownEvent | None, found: Mapping[str, LocalTrace], missing: Sequence[MissingNode], user: str
) -> EventTrace:
    """The way of an event; with `user`, for this user. None: the log does not keep the event."""
    if event is None:
        text = "The log does not keep this event: it is older than `log_retention`, or it was never stored."
        return EventTrace(event=None, steps=[Step(step="not_stored", text=text)], deliveries=[], missing=[])
    steps = [_show_origin(found), Step(step="stored", text=f"The log has it at position {event.position}.")]
    # What has no time concerns a client that is still connected.
    clients = sorted(
        (step for trace in found.values() for step in trace.steps), key=lambda step: (step.user, step.at or "~")
    )
    steps += clients[:MAX_STEPS]
    if user and not clients:
        steps.append(_show_unknown(found, user))
    deliveries = sorted((one for trace in found.values() for one in trace.deliveries), key=lambda one: one.at)
    return EventTrace(event=event, steps=steps, deliveries=deliveries, missing=list(missing))


def _show_origin(found: Mapping[str, LocalTrace]) -> Step:
    known = [(node, trace.published) for node, trace in found.items() if trace.published is not None]
    if not known:
        text = "No node remembers how: too much was published since then, or its node has ended."
        return Step(step="published", text=text)
    node, origin = known[0]
    assert origin is not None
    return Step(step="published", text=_describe(origin), at=Time.at(origin.at), node=node)


def _describe(origin: Origin) -> str:
    way = ORIGINS.get(origin.origin, origin.origin)
    return f"It was published {way}{f', with the key {origin.caller}' if origin.caller else ''}."


def _show_unknown(found: Mapping[str, LocalTrace], user: str) -> Step:
    since = max((trace.since for trace in found.values()), default=0.0)
    text = f"No node remembers a connection of {user}: the user was away since {Time.at(since)}, or always."
    return Step(step="away", text=text, user=user)
