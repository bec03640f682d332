"""Why an event did not reach a client, in sentences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from oyez.contract.policy import Verdict
from oyez.errors import RefusedError
from oyez.log.log import Entry
from oyez.protocol.socket_ids import is_own_room, own_room

if TYPE_CHECKING:
    from oyez.testing.client import Event, TestClient
    from oyez.testing.harness import Harness

MAX_SHOWN = 300
"""Characters of a payload in a message."""
MAX_EVENTS = 10
"""Events of one client in a message: the last ones."""


def show(data: Any) -> str:
    """Data as JSON, cut off if it is long."""
    text = msgspec.json.encode(data, enc_hook=str).decode()
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def explain_absence(
    harness: "Harness", client: "TestClient", name: str, wanted: Mapping[str, Any], pending: Sequence["Event"]
) -> str:
    """The message of a failed `expect_event`."""
    fields = f" with {show(dict(wanted))}" if wanted else ""
    title = f"{client.user or 'A guest'} (in {client.namespace})"
    lines = [f"{title} should receive {name}{fields}, and did not.", *_find_reasons(harness, client, name, pending)]
    if harness.clock.sleeping:
        lines.append("A handler waits for the clock: move it with `advance`.")
    lines.append("Received, and not expected yet:")
    for each in harness.clients:
        events = each.pending[-MAX_EVENTS:]
        shown = "".join(f"\n    {event}" for event in events) or " nothing"
        lines.append(f"  {each.user or 'a guest'} (in {each.namespace}):{shown}")
    return "\n".join(lines)


def _find_reasons(harness: "Harness", client: "TestClient", name: str, pending: Sequence["Event"]) -> Iterator[str]:
    if name in harness.contract.events or name.startswith("oyez:"):
        known = True
    else:
        known = any(name in harness.contract.error_events(one) for one in harness.contract.namespaces)
    if not known:
        yield f"The contract has no event {name!r}. Its events: {', '.join(harness.contract.events)}."
        return
    received = [event for event in pending if event.name == name]
    if received:
        yield f"It received {name} with other data: {'; '.join(show(event.data) for event in received)}"
        return
    if not client.connected:
        yield "It is not connected."
    entries = [entry for entry in harness.published if entry.name == name]
    if not entries:
        yield f"No {name} was published."
        if harness.published:
            yield f"Published: {', '.join(dict.fromkeys(entry.name for entry in harness.published))}."
        return
    for entry in entries[-3:]:
        yield _explain_entry(harness, client, entry)


def _explain_entry(harness: "Harness", client: "TestClient", entry: Entry) -> str:
    """Why this event, which was published, is not for the client."""
    rooms = ", ".join(entry.rooms) or "everyone"
    to = f"{entry.name} was published to {rooms} in {entry.namespace}"
    if entry.namespace != client.namespace:
        return f"{to}, and the client is in the namespace {client.namespace}."
    if own_room(client.id) in entry.excluded:
        return f"{to}, except to this client, which has caused it."
    own = client.rooms
    if excluded := own & {*entry.excluded}:
        return f"{to}, except to {', '.join(excluded)}, in which the client is."
    if not entry.rooms or own & {*entry.rooms}:
        return f"{to}. The client has received it before, or was not there yet."
    reasons = "; ".join(_explain_room(harness, client, room) for room in entry.rooms)
    return f"{to}. The client is in {', '.join(sorted(own)) or 'no room'}; {reasons}."


def _explain_room(harness: "Harness", client: "TestClient", name: str) -> str:
    """Why the client is not in this room."""
    resolved, identity = harness.contract.find_room(client.namespace, name), client.identity
    if resolved is None:
        return f"{name} is the room of one socket" if is_own_room(name) else f"{name} is no room of the namespace"
    room, values = resolved[0], resolved[1].values
    rule = f"only a client that {room.rule.text} may be in {name}"
    if identity is None:
        return rule
    try:
        verdict = room.rule.decide(identity, values)
    except RefusedError as error:
        return f"{rule} ({error})"
    if verdict is Verdict.NO:
        return f"{rule}, and this one is not (role {identity.role!r}, user {identity.subject!r})"
    if verdict is Verdict.IF_MEMBER:
        return f"{rule}: add the user as a member, and join"
    how = f"with the command {room.join!r}" if room.join else "when it connects" if room.on_connect else "by a handler"
    return f"it may be in {name}, but has not joined it ({how})"
