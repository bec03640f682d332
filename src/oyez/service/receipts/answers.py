"""What the APIs answer about receipts, and what they can be asked."""

from typing import Annotated, Literal

from msgspec import Meta

from oyez.contract.types import CamelPayload, Time

MAX_PAGE = 200
"""Receipts in one answer."""
MAX_EVENTS = 50
"""Events in one answer: the receipts of each are counted."""
Text = Annotated[str, Meta(max_length=300)]
State = Literal["live", "replayed", "acknowledged", "unacknowledged", "never"]


class ReceiptsQuery(CamelPayload):
    """Which receipts of an event are listed."""

    state: State | None = None
    """`live`: connected when it was published. `replayed`: away then, and received it later. `never`: had a right to
    it, and did not receive it."""
    user: Text | None = None
    search: Text = ""
    """A part of the user's id; letters of either case."""
    after: Text = ""
    """`next` of the page before."""
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50


class Receipt(CamelPayload):
    """What became of an event for one user. All times are by the clocks of the servers."""

    user: str
    """Empty for a client without a user."""
    socket: str
    """Only for a client without a user."""
    delivered: Time | None
    """When it was written to a client of the user that was connected; null if none was."""
    replayed: Time | None
    """When it was first sent to a client of the user that had been away."""
    acknowledged: Time | None


class ReceiptCounts(CamelPayload):
    """Numbers of users."""

    live: int
    replayed: int
    """Users who were away, and received it later."""
    acknowledged: int
    unacknowledged: int
    """Users who received it and have not acknowledged it."""
    never: int | None
    """Users who had a right to it, and have not received it, as far as `unknownRooms` says; null if more users have
    received it than are recorded."""


class EventReceipts(CamelPayload):
    """A page of the receipts of one event."""

    position: str
    namespace: str
    event: str
    rooms: list[str]
    """Empty: everyone in the namespace."""
    excluded: list[str]
    at: Time
    """When it was first delivered."""
    kept_until: Time
    counts: ReceiptCounts
    """Of all users, and not only of this page."""
    unrecorded: int
    """Users over the limit `max_receipts`. They are counted, and not listed."""
    unknown_rooms: list[str]
    """Rooms of the event in which other users may have been, who never received it: it is not known who they are."""
    receipts: list[Receipt]
    """Sorted by user."""
    next: str | None
    """`after` of the next page; null if this is the last one."""


class ReceiptEventsQuery(CamelPayload):
    """Which events with receipts are listed."""

    event: Text | None = None
    """Only events of this name."""
    after: Text | None = None
    """`next` of the page before."""
    limit: Annotated[int, Meta(ge=1, le=MAX_EVENTS)] = 25


class ReceiptEvent(CamelPayload):
    """An event with receipts."""

    position: str
    namespace: str
    event: str
    rooms: list[str]
    at: Time
    live: int
    replayed: int
    acknowledged: int
    unrecorded: int


class ReceiptEventPage(CamelPayload):
    """Events with receipts, the newest first."""

    events: list[ReceiptEvent]
    next: str | None
