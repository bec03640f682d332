"""The contract layer: an event document as a program. A system's contract imports its vocabulary from here."""

from msgspec import UNSET, UnsetType

from oyez.contract.backends import Backend, decided_by
from oyez.contract.claims import Claims
from oyez.contract.contract import Contract, Event
from oyez.contract.limits import per_address, per_room
from oyez.contract.policy import Identity, anyone, member, not_role, own, resolved, role
from oyez.contract.presence import Presence
from oyez.contract.private import PRIVATE
from oyez.contract.replies import Acknowledgements, Errors
from oyez.contract.rooms import NamedRoom, in_room
from oyez.contract.tokens import auth, bearer, cookie, header, query
from oyez.contract.types import (
    CamelCommand,
    CamelPayload,
    CamelStamped,
    Command,
    Id,
    Joined,
    Latitude,
    Longitude,
    Maybe,
    Millis,
    Money,
    Number,
    Payload,
    Stamped,
    Time,
    Total,
)
from oyez.contract.versions import Versions, Was

__all__ = [
    "PRIVATE",
    "UNSET",
    "Acknowledgements",
    "Backend",
    "CamelCommand",
    "CamelPayload",
    "CamelStamped",
    "Claims",
    "Command",
    "Contract",
    "Errors",
    "Event",
    "Id",
    "Identity",
    "Joined",
    "Latitude",
    "Longitude",
    "Maybe",
    "Millis",
    "Money",
    "NamedRoom",
    "Number",
    "Payload",
    "Presence",
    "Stamped",
    "Time",
    "Total",
    "UnsetType",
    "Versions",
    "Was",
    "anyone",
    "auth",
    "bearer",
    "cookie",
    "decided_by",
    "header",
    "in_room",
    "member",
    "not_role",
    "own",
    "per_address",
    "per_room",
    "query",
    "resolved",
    "role",
]
