"""What operators ask the server to do, and what is answered: actions, the audit and service keys."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from oyez.contract.types import CamelPayload, Id, Time
from oyez.ops.admin.answers import MAX_TEXT, Limit, Text, Word

MAX_BLOCKED = 10 * 366 * 86_400.0
"""Seconds of a block at most: ten years, in place of for ever."""

# Actions.


class Disconnect(CamelPayload):
    """Whom to disconnect: one of `user`, `socket`, `room`; or `everyone`."""

    user: Id | None = None
    socket: Word | None = None
    room: Word | None = None
    everyone: bool = False
    namespace: Word | None = None
    """Only from this namespace; by default from each."""
    close: bool = True
    """End whole connections. Official clients do not return by themselves in either case."""
    reason: Text = ""
    """For the audit."""


class Remove(CamelPayload):
    """Which user leaves which room. A client that has the right can join again."""

    user: Id
    room: Word
    namespace: Word | None = None
    reason: Text = ""


class Block(CamelPayload):
    """Which user may not connect, and until when: one of `until` and `seconds`. Connected sockets are closed."""

    user: Id
    until: Time | None = None
    seconds: Annotated[float, Meta(gt=0, le=MAX_BLOCKED)] | None = None
    reason: Text = ""


class Unblock(CamelPayload):
    """Which user may connect again."""

    user: Id
    reason: Text = ""


class Revoke(CamelPayload):
    """Which tokens are refused from now on, on all nodes: one of `token`, `user`, `role`. Their sockets are closed."""

    token: Word | None = None
    """The id of a token: its claim `jti`."""
    user: Id | None = None
    role: Word | None = None
    before: Time | None = None
    """For a user or a role: tokens that were issued before this time; by default, now."""
    until: Time | None = None
    """When the last of these tokens ends. By default: for the id of a connected token, when it ends; otherwise 30 days
    from now, or later if a connected token ends later."""
    reason: Text = ""


class Restore(CamelPayload):
    """Which tokens are accepted again, as far as they have not ended."""

    token: Word | None = None
    user: Id | None = None
    role: Word | None = None
    reason: Text = ""


class Resend(CamelPayload):
    """Which event is sent again: to its rooms, or to those sockets in its rooms that are of `user`, or are `socket`."""

    position: Annotated[str, Meta(max_length=64)]
    user: Id | None = None
    socket: Word | None = None
    reason: Text = ""


class Resent(CamelPayload):
    """An event was sent again."""

    position: str
    """Its new position."""
    sockets: int | None
    """To how many sockets; null: to all in its rooms."""


class Announce(CamelPayload):
    """What all clients are told, as the event `oyez:maintenance`."""

    message: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
    at: Time | None = None
    """When the maintenance begins."""
    until: Time | None = None
    """When it will have ended."""


class Disconnected(CamelPayload):
    """The entries that disconnect are in the log: each node applies them, in order with the events."""

    positions: list[str]


# Audit.


class AuditQuery(CamelPayload):
    """Which records are shown. Every filter that is given has to fit."""

    system: Word | None = None
    by: Word | None = None
    """The name of a key."""
    action: Word | None = None
    """Such as `publish`, `disconnect`, `sign_in`."""
    search: Word = ""
    """A part of the target or of the details."""
    since: Time | None = None
    until: Time | None = None
    before: Annotated[int, Meta(ge=0)] | None = None
    """`next` of the page before."""
    limit: Limit = 50


class AuditRecord(CamelPayload):
    """Who did what."""

    id: int
    at: Time
    by: str
    """The name of an operator's key or a service key; `service` for a service token without a name."""
    kind: Literal["operator", "service"]
    action: str
    system: str
    target: str
    """The user, room, socket, event or key."""
    outcome: str
    """`done`, or the code of the refusal."""
    address: str
    details: Any


class AuditPage(CamelPayload):
    """Records, the newest first."""

    records: list[AuditRecord]
    next: int | None


# Service keys.


class NewKey(CamelPayload):
    """A service key to make."""

    name: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[\w.-]+$")]
    systems: Annotated[list[str], Meta(min_length=1, max_length=100)]
    events: Annotated[tuple[str, ...], Meta(max_length=1_000)] = ()
    """Names of events that it may publish, and nothing else; `order:*` stands for all that begin so. Empty: it may do
    all that a service token may."""
    webhooks: bool = False
    """True if it may keep receivers of webhooks too."""
    until: Time | None = None


class ShownKey(CamelPayload):
    """A service key, without the key itself."""

    id: str
    name: str
    systems: list[str]
    events: list[str]
    webhooks: bool
    created: Time
    by: str
    until: Time | None
    revoked: Time | None
    last_used: Time | None
    """To the minute."""


class MadeKey(ShownKey):
    """A new service key."""

    key: str
    """It is not shown again."""


class KeyList(CamelPayload):
    """All service keys, the newest first."""

    keys: list[ShownKey]
