"""The answers of the HTTP API for receivers of webhooks."""

from typing import Any

from oyez.contract.types import CamelPayload, Time


class ShownReceiver(CamelPayload):
    """A receiver, without its secrets."""

    id: str
    url: str
    events: list[str]
    """Names of events; empty for all that may go out."""
    version: str | None
    """The version whose forms of events are sent; null for the newest ones."""
    enabled: bool
    disabled_reason: str | None
    created: Time
    failures: int
    """Failed attempts in a row."""
    failing_since: Time | None
    waiting: int
    """Deliveries that are not accepted yet."""
    dead: int
    """Deliveries that were given up, and are kept for replays."""
    gaps: int
    """Number of times that events were lost, because the log had deleted them before they were read."""


class AddedReceiver(ShownReceiver):
    """A new receiver."""

    secret: str
    """The secret that signs its webhooks. It is not shown again."""


class ReceiverList(CamelPayload):
    """All receivers."""

    receivers: list[ShownReceiver]
    events: list[str]
    """Names of the events that may go out."""


class NewSecret(CamelPayload):
    """The secret of a receiver was replaced."""

    secret: str
    old_until: Time
    """Until then, the old secret signs too."""


class Tried(CamelPayload):
    """The outcome of a test."""

    accepted: bool
    error: str | None


class DeadLetter(CamelPayload):
    """A delivery that was given up."""

    id: str
    """Its `webhook-id`."""
    event: str
    created: Time
    dead: Time
    """When it was given up."""
    attempts: int
    error: str
    body: Any
    """What was sent."""


class DeadLetterPage(CamelPayload):
    """Dead letters, the oldest first."""

    dead: list[DeadLetter]
    next: int | None
    """`after` of the next page; null if this is the last one."""


class Replayed(CamelPayload):
    """Dead letters are sent again."""

    replayed: int
