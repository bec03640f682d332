"""The operations of the server API as a table: their paths, parameters, bodies and answers.

The OpenAPI document and the tables in `docs` are made from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from oyez.contract.types import Payload, Time
from oyez.documents.json_schema import Schema
from oyez.service.auth.tokens import PUBLISH
from oyez.service.outbox.members import MAX_LISTED
from oyez.service.receipts.answers import EventReceipts, ReceiptsQuery
from oyez.service.server_api.sockets import Disconnecting, Revoking


class FieldError(Payload):
    """What is wrong with one field."""

    field: str
    expected: str
    got: str | msgspec.UnsetType = msgspec.UNSET
    """What was there instead, if a type was wrong."""
    code: str | msgspec.UnsetType = msgspec.UNSET
    index: int | msgspec.UnsetType = msgspec.UNSET


class Problem(Payload):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str | msgspec.UnsetType = msgspec.UNSET
    errors: list[FieldError] | msgspec.UnsetType = msgspec.UNSET


class Published(Payload):
    """An event was published."""

    position: str | None
    """Its position in the log; null for a volatile event."""
    rooms: list[str]
    """The rooms to which it goes; `*` is everyone."""


class PublishedList(Payload):
    """A list of events was published."""

    positions: list[str | None]
    rooms: list[list[str]]


class Sent(Payload):
    """An event was sent to one socket."""

    position: str | None
    """Its position in the log; null if the event is not stored."""


class WrittenMember(Payload):
    """A member of a room."""

    namespace: str
    room: str
    subject: str
    part: str | msgspec.UnsetType = msgspec.UNSET


class MembersPage(Payload):
    """Members of a room."""

    members: list[str]
    next: str | None
    """`after` of the next page; null if this is the last one."""
    parts: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class ConnectedSocket(Payload):
    """A connected socket."""

    id: str
    user: str
    address: str
    node: str


class RoomSockets(Payload):
    """The sockets in a room. If fewer nodes have answered than there are, sockets may be missing."""

    sockets: list[ConnectedSocket]
    count: int
    nodes: int
    answered: int


class PresentUser(Payload, rename="camel"):
    """A user in a room."""

    id: str
    since: Time
    last_seen: Time


class RoomUsers(Payload):
    """The users in a room that declares `presence=`."""

    count: int
    users: list[PresentUser]


class UserSocket(Payload):
    """A socket of a user, with its rooms."""

    id: str
    namespace: str
    rooms: list[str]
    address: str
    node: str


class UserSockets(Payload):
    """The sockets of a user."""

    sockets: list[UserSocket]
    complete: bool
    """False if a node has not answered in time: sockets may be missing."""


class ServerNode(Payload, rename="camel"):
    """A process that serves the system."""

    id: str
    address: str
    """Where other nodes reach it; empty if they cannot."""
    version: str
    """The version of Oyez; empty if it is older than this list."""
    contract: str
    """A digest of the contract."""
    clock_ahead: float
    """Seconds by which its clock is ahead of that of the node that answers."""
    connections: int
    max_files: int
    """Number of files that it may open; each client is one. -1: no limit."""
    lag: float
    """The longest time by which its event loop was late in the last minute, in seconds."""


class ServerNodes(Payload):
    """All processes that serve the system."""

    nodes: list[ServerNode]


class UserRoom(Payload):
    """A room in which a user has a socket."""

    namespace: str
    room: str


class UserRooms(Payload):
    """The rooms of a user."""

    rooms: list[UserRoom]
    complete: bool
    """False if a node has not answered in time: rooms may be missing."""


class Revoked(Payload):
    """Tokens that were issued before this time are refused."""

    before: Time


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an operation."""

    name: str
    place: str
    """`path`, `query` or `header`."""
    text: str
    schema: Schema
    required: bool = False
    """For others than those in the path, which always are."""

    def describe(self) -> dict[str, Any]:
        """The parameter in OpenAPI."""
        return {
            "name": self.name,
            "in": self.place,
            "required": self.place == "path" or self.required,
            "description": self.text,
            "schema": self.schema,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path."""

    id: str
    method: str
    path: str
    """Below `/{system}`."""
    summary: str
    parameters: tuple[Parameter, ...] = ()
    """Besides those in the path, and `Idempotency-Key`."""
    query: type[msgspec.Struct] | None = None
    """A class whose fields are parameters too."""
    body: type[msgspec.Struct] | str | None = None
    """The type of the body, or the name of its schema."""
    body_required: bool = False
    answers: Mapping[int, Any]
    """By status: the type of the answer, the name of its schema, or None for no body."""
    scope: str = PUBLISH
    """The scope of the service key that it needs."""


_TEXT: Schema = {"type": "string"}
NAMESPACE = Parameter("namespace", "query", "The namespace, if several have the room. For users: only this one.", _TEXT)
PART = Parameter("part", "query", "The member's part in the room; empty for none.", {"type": "string", "maxLength": 64})
AFTER = Parameter("after", "query", "The last member of the page before.", _TEXT)
LIMIT = Parameter("limit", "query", "Members of one page.", {"type": "integer", "minimum": 1, "maximum": MAX_LISTED})
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "A request that is repeated with its key takes effect once, and has the first answer again.",
    {"type": "string", "pattern": "^[!-~]{1,128}$"},
)
PATH_PARAMETERS: Mapping[str, Parameter] = {
    parameter.name: parameter
    for parameter in (
        Parameter("room", "path", "The name of a room.", _TEXT),
        Parameter("position", "path", "The position of an event in the log.", _TEXT),
        Parameter("subject", "path", "`user:ID`, `role:NAME`, or another kind of the contract.", _TEXT),
        Parameter("user", "path", "The id of a user.", _TEXT),
        Parameter("socket", "path", "The id of a socket.", {"type": "string", "pattern": r"^[\w-]{20}$"}),
        Parameter("receiver", "path", "The id of a receiver of webhooks.", _TEXT),
    )
}

OPERATIONS = (
    Operation(
        id="publish",
        method="post",
        path="/events",
        summary="Publish an event, or a list of events: all of them, or none.",
        body="Publications",
        body_required=True,
        answers={200: "Published or list"},
    ),
    Operation(
        id="listReceipts",
        method="get",
        path="/events/{position}/receipts",
        summary="Find out whom an event with `receipts=True` has reached, and who has acknowledged it.",
        query=ReceiptsQuery,
        answers={200: EventReceipts},
    ),
    Operation(
        id="listNodes",
        method="get",
        path="/nodes",
        summary="List the nodes that serve the system: version, contract, clock, load.",
        answers={200: ServerNodes},
    ),
    Operation(
        id="listMembers",
        method="get",
        path="/rooms/{room}/members",
        summary="List the members of a room.",
        parameters=(NAMESPACE, AFTER, LIMIT),
        answers={200: MembersPage},
    ),
    Operation(
        id="addMember",
        method="put",
        path="/rooms/{room}/members/{subject}",
        summary="Make a subject a member of a room, or change its part.",
        parameters=(NAMESPACE, PART),
        answers={200: WrittenMember, 201: WrittenMember},
    ),
    Operation(
        id="removeMember",
        method="delete",
        path="/rooms/{room}/members/{subject}",
        summary="Remove a member; its sockets leave the room on all nodes.",
        parameters=(NAMESPACE,),
        answers={204: None},
    ),
    Operation(
        id="findRoomSockets",
        method="get",
        path="/rooms/{room}/sockets",
        summary="Find the sockets in a room, on all nodes.",
        parameters=(NAMESPACE,),
        answers={200: RoomSockets},
    ),
    Operation(
        id="findPresentUsers",
        method="get",
        path="/rooms/{room}/presence",
        summary="Find the users in a room that declares `presence=`, on all nodes.",
        parameters=(NAMESPACE,),
        answers={200: RoomUsers},
    ),
    Operation(
        id="disconnectRoom",
        method="post",
        path="/rooms/{room}/disconnect",
        summary="Disconnect the clients in a room; `*` stands for all clients.",
        body=Disconnecting,
        answers={204: None},
    ),
    Operation(
        id="findUserSockets",
        method="get",
        path="/users/{user}/sockets",
        summary="Find the sockets of a user and their rooms, on all nodes.",
        parameters=(NAMESPACE,),
        answers={200: UserSockets},
    ),
    Operation(
        id="findUserRooms",
        method="get",
        path="/users/{user}/rooms",
        summary="Find the rooms in which a user has a socket, on all nodes.",
        parameters=(NAMESPACE,),
        answers={200: UserRooms},
    ),
    Operation(
        id="joinRoom",
        method="put",
        path="/users/{user}/rooms/{room}",
        summary="Let all sockets of a user join a room, if its rule allows them.",
        parameters=(NAMESPACE,),
        answers={204: None},
    ),
    Operation(
        id="leaveRoom",
        method="delete",
        path="/users/{user}/rooms/{room}",
        summary="Let all sockets of a user leave a room.",
        parameters=(NAMESPACE,),
        answers={204: None},
    ),
    Operation(
        id="disconnectUser",
        method="post",
        path="/users/{user}/disconnect",
        summary="Disconnect a user.",
        body=Disconnecting,
        answers={204: None},
    ),
    Operation(
        id="revokeTokens",
        method="post",
        path="/users/{user}/revoke",
        summary="Refuse the tokens that a user has by now, and disconnect the user.",
        body=Revoking,
        answers={200: Revoked},
    ),
    Operation(
        id="sendToSocket",
        method="post",
        path="/sockets/{socket}/events",
        summary="Send an event to one client: one that lists `sockets` or `caller` among its targets.",
        body="Sending",
        body_required=True,
        answers={200: Sent},
    ),
    Operation(
        id="disconnectSocket",
        method="post",
        path="/sockets/{socket}/disconnect",
        summary="Disconnect one socket.",
        body=Disconnecting,
        answers={204: None},
    ),
    Operation(
        id="openapi",
        method="get",
        path="/openapi.json",
        summary="This document.",
        answers={200: "Document"},
    ),
)
"""Every operation of the server API but those of webhooks and of the systems' own routes."""
