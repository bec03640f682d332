"""Every kind of change between two contracts, and what it means for publishers and for clients that are not changed.

A change of a schema means one thing for those who send the values and another for those who receive them. The payload
of an event is sent by publishers and received by clients; clients send commands and receive replies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """What a change means for somebody who still uses the old contract."""

    SAFE = 0
    """What worked still works."""
    RISKY = 1
    """What worked may stop working, or do something else, in some programs."""
    BREAKING = 2
    """Something that worked does not work any more."""

    @property
    def text(self) -> str:
        """The level in documents and JSON."""
        return self.name.lower()


SAFE, RISKY, BREAKING = Level


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of change. A level of None: the change does not concern them."""

    name: str
    publishers: Level | None
    clients: Level | None
    why: str


@dataclass(frozen=True, slots=True)
class SchemaKind:
    """A kind of change of a schema."""

    name: str
    senders: Level
    receivers: Level
    why: str


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two contracts."""

    kind: str
    place: str
    """Where it is: `event order:moved, field price`."""
    text: str
    """What changed, and why that matters."""
    publishers: Level | None
    clients: Level | None

    @property
    def level(self) -> Level:
        """The worse of its levels."""
        return max(level for level in (self.publishers, self.clients, SAFE) if level is not None)


_SCHEMA_KINDS = (
    SchemaKind(
        "field-added", SAFE, SAFE, "Senders may leave the new field out; receivers ignore fields that they do not know."
    ),
    SchemaKind("required-field-added", BREAKING, SAFE, "Senders that leave the new field out are refused."),
    SchemaKind(
        "field-removed",
        BREAKING,
        BREAKING,
        "Senders that still send the field are refused; receivers that read it find nothing.",
    ),
    SchemaKind(
        "optional-field-removed",
        BREAKING,
        RISKY,
        "Senders that still send the field are refused; receivers never find it any more.",
    ),
    SchemaKind("field-now-required", BREAKING, SAFE, "Senders that leave it out are refused."),
    SchemaKind("field-now-optional", SAFE, BREAKING, "Receivers may find it missing."),
    SchemaKind("null-allowed", SAFE, BREAKING, "Receivers may find null."),
    SchemaKind("null-refused", BREAKING, SAFE, "Senders of null are refused."),
    SchemaKind("type-widened", SAFE, BREAKING, "Receivers may find another type."),
    SchemaKind("type-narrowed", BREAKING, SAFE, "Senders of the other types are refused."),
    SchemaKind("type-changed", BREAKING, BREAKING, "Senders of the old type are refused; receivers find another type."),
    SchemaKind(
        "binary-changed",
        BREAKING,
        BREAKING,
        "Binary data is an attachment and not text: both sides read it in another way.",
    ),
    SchemaKind("values-added", SAFE, RISKY, "Receivers may find a value that they do not know."),
    SchemaKind("values-removed", BREAKING, SAFE, "Senders of a removed value are refused."),
    SchemaKind("range-widened", SAFE, RISKY, "Receivers may find values outside of the old range."),
    SchemaKind("range-narrowed", BREAKING, SAFE, "Senders of values outside of it are refused."),
    SchemaKind("length-widened", SAFE, RISKY, "Receivers may find values of another length."),
    SchemaKind("length-narrowed", BREAKING, SAFE, "Senders of other lengths are refused."),
    SchemaKind("pattern-removed", SAFE, RISKY, "Receivers may find texts of any form."),
    SchemaKind("pattern-added", BREAKING, SAFE, "Senders of texts that do not match are refused."),
    SchemaKind(
        "pattern-changed",
        BREAKING,
        RISKY,
        "Senders of texts of the old form may be refused; receivers may find texts of another form.",
    ),
    SchemaKind("shape-added", SAFE, BREAKING, "Receivers may find a shape that they do not know."),
    SchemaKind("shape-removed", BREAKING, SAFE, "Senders of the removed shape are refused."),
    SchemaKind("unknown-fields-allowed", SAFE, SAFE, "Fields that it does not list are accepted."),
    SchemaKind(
        "unknown-fields-refused", BREAKING, SAFE, "Senders of fields that the schema does not list are refused."
    ),
    SchemaKind("default-changed", RISKY, RISKY, "Where a sender leaves it out, another value is meant."),
    SchemaKind(
        "length-changed",
        BREAKING,
        BREAKING,
        "The values are told apart by their places, and there are now more or fewer of them.",
    ),
)

_KINDS = (
    # The contract.
    Kind("contract-renamed", BREAKING, BREAKING, "The name is part of every address."),
    Kind("version-added", None, SAFE, "Clients of the other versions stay as they are."),
    Kind("version-removed", None, BREAKING, "Clients of that version are refused."),
    Kind("version-default-changed", None, BREAKING, "Clients that name no version have another one."),
    Kind("version-name-changed", None, BREAKING, "The versions of clients are not found."),
    Kind("role-added", None, SAFE, "No client had the role."),
    Kind("role-removed", None, BREAKING, "Tokens with the role are refused."),
    Kind("default-role-added", None, SAFE, "Tokens without a role were refused."),
    Kind("default-role-removed", None, BREAKING, "Tokens without a role are refused."),
    Kind("default-role-changed", None, RISKY, "Tokens without a role have other rights."),
    Kind("guests-admitted", None, SAFE, "Clients without a token were refused."),
    Kind("guests-refused", None, BREAKING, "Clients without a token are refused."),
    Kind("guest-role-changed", None, RISKY, "Clients without a token have other rights."),
    Kind("sign-in-time-longer", None, SAFE, "Guests have more time to sign in."),
    Kind("sign-in-time-shorter", None, RISKY, "Slow guests are disconnected earlier."),
    Kind("token-source-added", None, SAFE, "The other places of a token stay."),
    Kind("token-source-removed", None, BREAKING, "A token in that place is not found."),
    Kind("token-sources-reordered", None, RISKY, "A client with tokens in several places may be another user."),
    Kind("claims-changed", None, BREAKING, "Tokens have to be issued with other claims."),
    Kind("subject-added", None, SAFE, "No room had members of that kind."),
    Kind("subject-removed", None, BREAKING, "Clients are no members by that claim."),
    Kind("subject-changed", None, BREAKING, "Clients are members by another claim."),
    Kind("refusal-added", RISKY, RISKY, "Programs that list the codes do not know this one."),
    Kind("refusal-removed", SAFE, SAFE, "The code does not occur any more."),
    Kind("refusal-code-changed", None, BREAKING, "Clients compare the old code."),
    Kind("refusal-status-changed", RISKY, None, "Callers over HTTP may compare the status."),
    Kind("refusal-became-temporary", RISKY, RISKY, "Programs may repeat what they gave up before."),
    Kind("refusal-became-final", RISKY, RISKY, "Programs may give up what they repeated before."),
    Kind("error-form-changed", None, BREAKING, "Clients read members that are not there."),
    Kind("error-member-added", None, SAFE, "Clients ignore members that they do not know."),
    Kind("error-member-removed", None, BREAKING, "Clients that read it find nothing."),
    Kind("error-event-changed", None, BREAKING, "Clients listen for the old name."),
    Kind("acknowledgement-form-changed", None, BREAKING, "Clients read acknowledgements in the old form."),
    # Namespaces, gateways and rooms.
    Kind("namespace-added", None, SAFE, "No client was connected to it."),
    Kind("namespace-removed", None, BREAKING, "A CONNECT to it is refused."),
    Kind("gateway-added", None, SAFE, "No client had chosen it."),
    Kind("gateway-removed", None, BREAKING, "A CONNECT that names it is refused."),
    Kind("room-added", SAFE, SAFE, "No client was in it."),
    Kind("room-removed", BREAKING, BREAKING, "Clients cannot join it, and publishers cannot publish to it."),
    Kind("room-joined-on-connect", None, SAFE, "Clients are in it without asking."),
    Kind("room-not-joined-on-connect", None, BREAKING, "Clients that do not ask are not in it."),
    Kind("room-command-changed", None, BREAKING, "Clients use the old command."),
    Kind("room-gateway-changed", None, BREAKING, "Clients are in it only by that gateway."),
    Kind("room-values-added", SAFE, SAFE, "The old values stay."),
    Kind("room-values-removed", BREAKING, BREAKING, "There is no room with that value."),
    Kind("presence-added", None, SAFE, "Clients ignore events that they do not know."),
    Kind("presence-removed", None, BREAKING, "Clients wait for its events in vain."),
    Kind("presence-changed", None, RISKY, "Clients may expect the old events and fields."),
    Kind("rights-widened", None, SAFE, "Those who had the right keep it."),
    Kind("rights-narrowed", None, BREAKING, "Some who had the right are refused."),
    Kind("rights-changed", None, BREAKING, "Some who had the right may be refused."),
    # Events.
    Kind("event-added", SAFE, SAFE, "Clients ignore events that they do not know."),
    Kind("event-removed", BREAKING, BREAKING, "Publishing it is refused, and clients wait in vain."),
    Kind("event-in-another-namespace", SAFE, SAFE, "It stays where it was."),
    Kind("event-left-namespace", RISKY, BREAKING, "Clients of this namespace wait in vain."),
    Kind("target-added", SAFE, SAFE, "The old targets stay."),
    Kind("target-removed", BREAKING, BREAKING, "The clients there do not receive it."),
    Kind("target-field-changed", RISKY, BREAKING, "It goes to rooms that another field names."),
    Kind("room-must-be-named", BREAKING, None, "Publishing it without a room is refused."),
    Kind("room-need-not-be-named", SAFE, None, "A room may still be named."),
    Kind(
        "delivery-weaker",
        RISKY,
        BREAKING,
        "It is not stored: it has no position, and a client that was away misses it.",
    ),
    Kind(
        "delivery-stronger",
        SAFE,
        RISKY,
        "It carries its position as one more argument, and comes after a reconnect too.",
    ),
    Kind("arguments-changed", BREAKING, BREAKING, "Both sides count on the old form of the arguments."),
    Kind("parameters-reordered", BREAKING, BREAKING, "Both sides know the arguments by their places."),
    Kind("timestamp-filled", SAFE, SAFE, "Publishers may still send it."),
    Kind("timestamp-not-filled", RISKY, BREAKING, "It is missing if the publisher does not send it."),
    Kind("latest-longer", None, SAFE, "The newest event is kept longer for clients that join."),
    Kind("latest-shorter", None, RISKY, "Clients that join may not receive the newest event."),
    Kind("webhook-added", SAFE, None, "No receiver had it."),
    Kind("webhook-removed", BREAKING, None, "Receivers of webhooks do not receive it any more."),
    Kind("receipts-added", None, SAFE, "Clients need not acknowledge the event."),
    Kind("receipts-removed", None, BREAKING, "Clients call a function that they do not receive."),
    Kind("event-size-raised", SAFE, RISKY, "Clients may receive larger events."),
    Kind("event-size-lowered", BREAKING, SAFE, "Larger events are refused."),
    Kind("event-size-by-setting", RISKY, RISKY, "The server's settings decide about one of them."),
    Kind("event-size-set", RISKY, RISKY, "The server's settings decide about one of them."),
    Kind("event-unknown-fields-ignored", SAFE, None, "What was accepted stays so."),
    Kind("event-unknown-fields-refused", BREAKING, None, "Publishers of fields that it does not have are refused."),
    # Commands.
    Kind("command-added", None, SAFE, "No client sent it."),
    Kind("command-removed", None, BREAKING, "Sending it is refused."),
    Kind("command-arguments-changed", None, BREAKING, "Clients send the old form."),
    Kind("command-parameters-reordered", None, BREAKING, "The server knows the arguments by their places."),
    Kind("reply-added", None, SAFE, "Clients expected nothing."),
    Kind("reply-removed", None, BREAKING, "Clients that read it find nothing."),
    Kind("limit-loosened", None, SAFE, "Clients may send more."),
    Kind("limit-tightened", None, RISKY, "Clients that send as much as before are refused."),
    Kind("limit-changed", None, RISKY, "Bursts or lasting rates may be refused."),
    Kind("limit-added", None, RISKY, "Clients that send much are refused."),
    Kind("limit-removed", None, SAFE, "Clients may send more."),
    Kind("command-effect-changed", None, BREAKING, "It does something else."),
    Kind("relay-added", None, SAFE, "Clients ignore events that they do not know."),
    Kind("relay-removed", None, BREAKING, "The others do not receive it any more."),
    Kind("command-may-be-dropped", None, RISKY, "Of the commands over the limit only the newest is handled."),
    Kind("command-never-dropped", None, RISKY, "Commands over the limit are refused."),
    Kind("command-size-raised", None, SAFE, "What was accepted stays so."),
    Kind("command-size-lowered", None, BREAKING, "Larger commands are refused."),
    Kind("command-size-by-setting", None, SAFE, "Only the limits on packets hold."),
    Kind("command-size-set", None, BREAKING, "Larger commands are refused."),
    Kind("command-unknown-fields-ignored", None, SAFE, "What was accepted stays so."),
    Kind(
        "command-unknown-fields-refused", None, BREAKING, "Clients that send fields that it does not have are refused."
    ),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}
"""Changes of everything but schemas."""
SCHEMA_KINDS: Mapping[str, SchemaKind] = {kind.name: kind for kind in _SCHEMA_KINDS}
"""Changes of schemas."""
