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
    reverse: str
    """The kind of the opposite change."""


@dataclass(frozen=True, slots=True)
class SchemaKind:
    """A kind of change of a schema."""

    name: str
    senders: Level
    receivers: Level
    why: str
    reverse: str


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
        "field-added",
        SAFE,
        SAFE,
        "Senders may leave the new field out; receivers ignore fields that they do not know.",
        "optional-field-removed",
    ),
    SchemaKind(
        "required-field-added",
        BREAKING,
        SAFE,
        "Senders that leave the new field out are refused.",
        "field-removed",
    ),
    SchemaKind(
        "field-removed",
        BREAKING,
        BREAKING,
        "Senders that still send the field are refused; receivers that read it find nothing.",
        "required-field-added",
    ),
    SchemaKind(
        "optional-field-removed",
        BREAKING,
        RISKY,
        "Senders that still send the field are refused; receivers never find it any more.",
        "field-added",
    ),
    SchemaKind("field-now-required", BREAKING, SAFE, "Senders that leave it out are refused.", "field-now-optional"),
    SchemaKind("field-now-optional", SAFE, BREAKING, "Receivers may find it missing.", "field-now-required"),
    SchemaKind("null-allowed", SAFE, BREAKING, "Receivers may find null.", "null-refused"),
    SchemaKind("null-refused", BREAKING, SAFE, "Senders of null are refused.", "null-allowed"),
    SchemaKind("type-widened", SAFE, BREAKING, "Receivers may find another type.", "type-narrowed"),
    SchemaKind("type-narrowed", BREAKING, SAFE, "Senders of the other types are refused.", "type-widened"),
    SchemaKind(
        "type-changed",
        BREAKING,
        BREAKING,
        "Senders of the old type are refused; receivers find another type.",
        "type-changed",
    ),
    SchemaKind(
        "binary-changed",
        BREAKING,
        BREAKING,
        "Binary data is an attachment and not text: both sides read it in another way.",
        "binary-changed",
    ),
    SchemaKind("values-added", SAFE, RISKY, "Receivers may find a value that they do not know.", "values-removed"),
    SchemaKind("values-removed", BREAKING, SAFE, "Senders of a removed value are refused.", "values-added"),
    SchemaKind("range-widened", SAFE, RISKY, "Receivers may find values outside of the old range.", "range-narrowed"),
    SchemaKind("range-narrowed", BREAKING, SAFE, "Senders of values outside of it are refused.", "range-widened"),
    SchemaKind("length-widened", SAFE, RISKY, "Receivers may find values of another length.", "length-narrowed"),
    SchemaKind("length-narrowed", BREAKING, SAFE, "Senders of other lengths are refused.", "length-widened"),
    SchemaKind("pattern-removed", SAFE, RISKY, "Receivers may find texts of any form.", "pattern-added"),
    SchemaKind("pattern-added", BREAKING, SAFE, "Senders of texts that do not match are refused.", "pattern-removed"),
    SchemaKind(
        "pattern-changed",
        BREAKING,
        RISKY,
        "Senders of texts of the old form may be refused; receivers may find texts of another form.",
        "pattern-changed",
    ),
    SchemaKind("shape-added", SAFE, BREAKING, "Receivers may find a shape that they do not know.", "shape-removed"),
    SchemaKind("shape-removed", BREAKING, SAFE, "Senders of the removed shape are refused.", "shape-added"),
    SchemaKind(
        "unknown-fields-allowed",
        SAFE,
        SAFE,
        "Fields that it does not list are accepted.",
        "unknown-fields-refused",
    ),
    SchemaKind(
        "unknown-fields-refused",
        BREAKING,
        SAFE,
        "Senders of fields that the schema does not list are refused.",
        "unknown-fields-allowed",
    ),
    SchemaKind(
        "default-changed",
        RISKY,
        RISKY,
        "Where a sender leaves it out, another value is meant.",
        "default-changed",
    ),
    SchemaKind(
        "length-changed",
        BREAKING,
        BREAKING,
        "The values are told apart by their places, and there are now more or fewer of them.",
        "length-changed",
    ),
)

_KINDS = (
    # The contract.
    Kind("contract-renamed", BREAKING, BREAKING, "The name is part of every address.", "contract-renamed"),
    Kind("version-added", None, SAFE, "Clients of the other versions stay as they are.", "version-removed"),
    Kind("version-removed", None, BREAKING, "Clients of that version are refused.", "version-added"),
    Kind(
        "version-default-changed",
        None,
        BREAKING,
        "Clients that name no version have another one.",
        "version-default-changed",
    ),
    Kind("version-name-changed", None, BREAKING, "The versions of clients are not found.", "version-name-changed"),
    Kind("role-added", None, SAFE, "No client had the role.", "role-removed"),
    Kind("role-removed", None, BREAKING, "Tokens with the role are refused.", "role-added"),
    Kind("default-role-added", None, SAFE, "Tokens without a role were refused.", "default-role-removed"),
    Kind("default-role-removed", None, BREAKING, "Tokens without a role are refused.", "default-role-added"),
    Kind("default-role-changed", None, RISKY, "Tokens without a role have other rights.", "default-role-changed"),
    Kind("guests-admitted", None, SAFE, "Clients without a token were refused.", "guests-refused"),
    Kind("guests-refused", None, BREAKING, "Clients without a token are refused.", "guests-admitted"),
    Kind("guest-role-changed", None, RISKY, "Clients without a token have other rights.", "guest-role-changed"),
    Kind("sign-in-time-longer", None, SAFE, "Guests have more time to sign in.", "sign-in-time-shorter"),
    Kind("sign-in-time-shorter", None, RISKY, "Slow guests are disconnected earlier.", "sign-in-time-longer"),
    Kind("token-source-added", None, SAFE, "The other places of a token stay.", "token-source-removed"),
    Kind("token-source-removed", None, BREAKING, "A token in that place is not found.", "token-source-added"),
    Kind(
        "token-sources-reordered",
        None,
        RISKY,
        "A client with tokens in several places may be another user.",
        "token-sources-reordered",
    ),
    Kind("claims-changed", None, BREAKING, "Tokens have to be issued with other claims.", "claims-changed"),
    Kind("subject-added", None, SAFE, "No room had members of that kind.", "subject-removed"),
    Kind("subject-removed", None, BREAKING, "Clients are no members by that claim.", "subject-added"),
    Kind("subject-changed", None, BREAKING, "Clients are members by another claim.", "subject-changed"),
    Kind("refusal-added", RISKY, RISKY, "Programs that list the codes do not know this one.", "refusal-removed"),
    Kind("refusal-removed", SAFE, SAFE, "The code does not occur any more.", "refusal-added"),
    Kind("refusal-code-changed", None, BREAKING, "Clients compare the old code.", "refusal-code-changed"),
    Kind("refusal-status-changed", RISKY, None, "Callers over HTTP may compare the status.", "refusal-status-changed"),
    Kind(
        "refusal-became-temporary",
        RISKY,
        RISKY,
        "Programs may repeat what they gave up before.",
        "refusal-became-final",
    ),
    Kind(
        "refusal-became-final",
        RISKY,
        RISKY,
        "Programs may give up what they repeated before.",
        "refusal-became-temporary",
    ),
    Kind("error-form-changed", None, BREAKING, "Clients read members that are not there.", "error-form-changed"),
    Kind("error-member-added", None, SAFE, "Clients ignore members that they do not know.", "error-member-removed"),
    Kind("error-member-removed", None, BREAKING, "Clients that read it find nothing.", "error-member-added"),
    Kind("error-event-changed", None, BREAKING, "Clients listen for the old name.", "error-event-changed"),
    Kind(
        "acknowledgement-form-changed",
        None,
        BREAKING,
        "Clients read acknowledgements in the old form.",
        "acknowledgement-form-changed",
    ),
    # Namespaces, gateways and rooms.
    Kind("namespace-added", None, SAFE, "Nobody was connected to it.", "namespace-removed"),
    Kind("namespace-removed", None, BREAKING, "A CONNECT to it is refused.", "namespace-added"),
    Kind("gateway-added", None, SAFE, "Nobody had chosen it.", "gateway-removed"),
    Kind("gateway-removed", None, BREAKING, "A CONNECT that names it is refused.", "gateway-added"),
    Kind("room-added", SAFE, SAFE, "Nobody was in it.", "room-removed"),
    Kind("room-removed", BREAKING, BREAKING, "Nobody can join it or publish to it.", "room-added"),
    Kind("room-joined-on-connect", None, SAFE, "Clients are in it without asking.", "room-not-joined-on-connect"),
    Kind(
        "room-not-joined-on-connect",
        None,
        BREAKING,
        "Clients that do not ask are not in it.",
        "room-joined-on-connect",
    ),
    Kind("room-command-changed", None, BREAKING, "Clients use the old command.", "room-command-changed"),
    Kind("room-gateway-changed", None, BREAKING, "Clients are in it only by that gateway.", "room-gateway-changed"),
    Kind("room-values-added", SAFE, SAFE, "The old values stay.", "room-values-removed"),
    Kind("room-values-removed", BREAKING, BREAKING, "There is no room with that value.", "room-values-added"),
    Kind("presence-added", None, SAFE, "Clients ignore events that they do not know.", "presence-removed"),
    Kind("presence-removed", None, BREAKING, "Clients wait for its events in vain.", "presence-added"),
    Kind("presence-changed", None, RISKY, "Clients may expect the old events and fields.", "presence-changed"),
    Kind("rights-widened", None, SAFE, "Those who had the right keep it.", "rights-narrowed"),
    Kind("rights-narrowed", None, BREAKING, "Some who had the right are refused.", "rights-widened"),
    Kind("rights-changed", None, BREAKING, "Some who had the right may be refused.", "rights-changed"),
    # Events.
    Kind("event-added", SAFE, SAFE, "Clients ignore events that they do not know.", "event-removed"),
    Kind("event-removed", BREAKING, BREAKING, "Publishing it is refused, and clients wait in vain.", "event-added"),
    Kind("event-in-another-namespace", SAFE, SAFE, "It stays where it was.", "event-left-namespace"),
    Kind(
        "event-left-namespace", RISKY, BREAKING, "Clients of this namespace wait in vain.", "event-in-another-namespace"
    ),
    Kind("target-added", SAFE, SAFE, "The old targets stay.", "target-removed"),
    Kind("target-removed", BREAKING, BREAKING, "Nobody there receives it.", "target-added"),
    Kind("target-field-changed", RISKY, BREAKING, "It goes to rooms that another field names.", "target-field-changed"),
    Kind("room-must-be-named", BREAKING, None, "Publishing it without a room is refused.", "room-need-not-be-named"),
    Kind("room-need-not-be-named", SAFE, None, "A room may still be named.", "room-must-be-named"),
    Kind(
        "delivery-weaker",
        RISKY,
        BREAKING,
        "It is not stored: it has no position, and a client that was away misses it.",
        "delivery-stronger",
    ),
    Kind(
        "delivery-stronger",
        SAFE,
        RISKY,
        "It carries its position as one more argument, and comes after a reconnect too.",
        "delivery-weaker",
    ),
    Kind(
        "arguments-changed",
        BREAKING,
        BREAKING,
        "Both sides count on the old form of the arguments.",
        "arguments-changed",
    ),
    Kind(
        "parameters-reordered",
        BREAKING,
        BREAKING,
        "Both sides know the arguments by their places.",
        "parameters-reordered",
    ),
    Kind("timestamp-filled", SAFE, SAFE, "Publishers may still send it.", "timestamp-not-filled"),
    Kind(
        "timestamp-not-filled",
        RISKY,
        BREAKING,
        "It is missing if the publisher does not send it.",
        "timestamp-filled",
    ),
    Kind("latest-longer", None, SAFE, "The newest event is kept longer for clients that join.", "latest-shorter"),
    Kind("latest-shorter", None, RISKY, "Clients that join may not receive the newest event.", "latest-longer"),
    Kind("webhook-added", SAFE, None, "No receiver had it.", "webhook-removed"),
    Kind("webhook-removed", BREAKING, None, "Receivers of webhooks do not receive it any more.", "webhook-added"),
    Kind("receipts-added", None, SAFE, "Clients need not acknowledge the event.", "receipts-removed"),
    Kind("receipts-removed", None, BREAKING, "Clients call a function that they do not receive.", "receipts-added"),
    Kind("event-size-raised", SAFE, RISKY, "Clients may receive larger events.", "event-size-lowered"),
    Kind("event-size-lowered", BREAKING, SAFE, "Larger events are refused.", "event-size-raised"),
    Kind("event-size-by-setting", RISKY, RISKY, "The server's settings decide about one of them.", "event-size-set"),
    Kind("event-size-set", RISKY, RISKY, "The server's settings decide about one of them.", "event-size-by-setting"),
    Kind("event-unknown-fields-ignored", SAFE, None, "What was accepted stays so.", "event-unknown-fields-refused"),
    Kind(
        "event-unknown-fields-refused",
        BREAKING,
        None,
        "Publishers of fields that it does not have are refused.",
        "event-unknown-fields-ignored",
    ),
    # Commands.
    Kind("command-added", None, SAFE, "Nobody sent it.", "command-removed"),
    Kind("command-removed", None, BREAKING, "Sending it is refused.", "command-added"),
    Kind("command-arguments-changed", None, BREAKING, "Clients send the old form.", "command-arguments-changed"),
    Kind(
        "command-parameters-reordered",
        None,
        BREAKING,
        "The server knows the arguments by their places.",
        "command-parameters-reordered",
    ),
    Kind("reply-added", None, SAFE, "Clients expected nothing.", "reply-removed"),
    Kind("reply-removed", None, BREAKING, "Clients that read it find nothing.", "reply-added"),
    Kind("limit-loosened", None, SAFE, "Clients may send more.", "limit-tightened"),
    Kind("limit-tightened", None, RISKY, "Clients that send as much as before are refused.", "limit-loosened"),
    Kind("limit-changed", None, RISKY, "Bursts or lasting rates may be refused.", "limit-changed"),
    Kind("limit-added", None, RISKY, "Clients that send much are refused.", "limit-removed"),
    Kind("limit-removed", None, SAFE, "Clients may send more.", "limit-added"),
    Kind("command-effect-changed", None, BREAKING, "It does something else.", "command-effect-changed"),
    Kind("relay-added", None, SAFE, "Clients ignore events that they do not know.", "relay-removed"),
    Kind("relay-removed", None, BREAKING, "The others do not receive it any more.", "relay-added"),
    Kind(
        "command-may-be-dropped",
        None,
        RISKY,
        "Of the commands over the limit only the newest is handled.",
        "command-never-dropped",
    ),
    Kind("command-never-dropped", None, RISKY, "Commands over the limit are refused.", "command-may-be-dropped"),
    Kind("command-size-raised", None, SAFE, "What was accepted stays so.", "command-size-lowered"),
    Kind("command-size-lowered", None, BREAKING, "Larger commands are refused.", "command-size-raised"),
    Kind("command-size-by-setting", None, SAFE, "Only the limits on packets hold.", "command-size-set"),
    Kind("command-size-set", None, BREAKING, "Larger commands are refused.", "command-size-by-setting"),
    Kind("command-unknown-fields-ignored", None, SAFE, "What was accepted stays so.", "command-unknown-fields-refused"),
    Kind(
        "command-unknown-fields-refused",
        None,
        BREAKING,
        "Clients that send fields that it does not have are refused.",
        "command-unknown-fields-ignored",
    ),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}
"""Changes of everything but schemas."""
SCHEMA_KINDS: Mapping[str, SchemaKind] = {kind.name: kind for kind in _SCHEMA_KINDS}
"""Changes of schemas."""
