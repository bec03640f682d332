"""The OpenAPI 3.1 document of a system's server API: `/{system}/openapi.json`, for holders of a service key.

The operations are a table. The schemas are made from the types that the routes decode, and from the contract.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract.codec import encode_json
from oyez.contract.contract import Contract, Event
from oyez.contract.types import Payload, Time
from oyez.documents.json_schema import PREFIX, Schema, Schemas
from oyez.runtime.http import Authorize, service_route
from oyez.service.outbox.members import MAX_LISTED
from oyez.service.server_api.sockets import Disconnecting, Revoking

VERSION = "3.1.1"
COMPONENTS = "#/components/schemas/"


class FieldError(Payload):
    """What is wrong with one field."""

    field: str
    expected: str
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path."""

    id: str
    method: str
    path: str
    """Below `/{system}`."""
    summary: str
    parameters: tuple[str, ...] = ()
    """Names in PARAMETERS, besides those in the path."""
    body: str = ""
    """The name of its schema in BODIES; empty for none."""
    body_required: bool = False
    answers: Mapping[int, type[Payload] | str | None]
    """By status: the type of the answer, the name of its schema, or None for no body."""


_NAMESPACE = "The namespace, if several have the room. For users: only this namespace."
PARAMETERS: Mapping[str, tuple[str, str, Schema]] = {
    "room": ("path", "The name of a room.", {"type": "string"}),
    "subject": ("path", "`user:ID`, `role:NAME`, or another kind of the contract.", {"type": "string"}),
    "user": ("path", "The id of a user.", {"type": "string"}),
    "socket": ("path", "The id of a socket.", {"type": "string", "pattern": r"^[\w-]{20}$"}),
    "namespace": ("query", _NAMESPACE, {"type": "string"}),
    "part": ("query", "The member's part in the room; empty for none.", {"type": "string", "maxLength": 64}),
    "after": ("query", "The last member of the page before.", {"type": "string"}),
    "limit": ("query", "Members of one page.", {"type": "integer", "minimum": 1, "maximum": MAX_LISTED}),
    "Idempotency-Key": (
        "header",
        "A request that is repeated with its key takes effect once, and has the first answer again.",
        {"type": "string", "pattern": "^[!-~]{1,128}$"},
    ),
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
        id="listMembers",
        method="get",
        path="/rooms/{room}/members",
        summary="List the members of a room.",
        parameters=("namespace", "after", "limit"),
        answers={200: MembersPage},
    ),
    Operation(
        id="addMember",
        method="put",
        path="/rooms/{room}/members/{subject}",
        summary="Make a subject a member of a room, or change its part.",
        parameters=("namespace", "part"),
        answers={200: WrittenMember, 201: WrittenMember},
    ),
    Operation(
        id="removeMember",
        method="delete",
        path="/rooms/{room}/members/{subject}",
        summary="Remove a member; its sockets leave the room on all nodes.",
        parameters=("namespace",),
        answers={204: None},
    ),
    Operation(
        id="findRoomSockets",
        method="get",
        path="/rooms/{room}/sockets",
        summary="Find the sockets in a room, on all nodes.",
        parameters=("namespace",),
        answers={200: RoomSockets},
    ),
    Operation(
        id="findPresentUsers",
        method="get",
        path="/rooms/{room}/presence",
        summary="Find the users in a room that declares `presence=`, on all nodes.",
        parameters=("namespace",),
        answers={200: RoomUsers},
    ),
    Operation(
        id="disconnectRoom",
        method="post",
        path="/rooms/{room}/disconnect",
        summary="Disconnect the clients in a room; `*` stands for all clients.",
        body="Disconnecting",
        answers={204: None},
    ),
    Operation(
        id="findUserSockets",
        method="get",
        path="/users/{user}/sockets",
        summary="Find the sockets of a user and their rooms, on all nodes.",
        parameters=("namespace",),
        answers={200: UserSockets},
    ),
    Operation(
        id="findUserRooms",
        method="get",
        path="/users/{user}/rooms",
        summary="Find the rooms in which a user has a socket, on all nodes.",
        parameters=("namespace",),
        answers={200: UserRooms},
    ),
    Operation(
        id="joinRoom",
        method="put",
        path="/users/{user}/rooms/{room}",
        summary="Let all sockets of a user join a room, if its rule allows them.",
        parameters=("namespace",),
        answers={204: None},
    ),
    Operation(
        id="leaveRoom",
        method="delete",
        path="/users/{user}/rooms/{room}",
        summary="Let all sockets of a user leave a room.",
        parameters=("namespace",),
        answers={204: None},
    ),
    Operation(
        id="disconnectUser",
        method="post",
        path="/users/{user}/disconnect",
        summary="Disconnect a user.",
        body="Disconnecting",
        answers={204: None},
    ),
    Operation(
        id="revokeTokens",
        method="post",
        path="/users/{user}/revoke",
        summary="Refuse the tokens that a user has by now, and disconnect the user.",
        body="Revoking",
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
        body="Disconnecting",
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
"""Every operation of the server API. The systems' own routes are in their documents."""


def build_openapi(contract: Contract, version: str) -> dict[str, Any]:
    """The document of a system. `version` is that of Oyez."""
    maker = _Maker(contract)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(f"/{contract.name}{operation.path}", {})[operation.method] = maker.describe(operation)
    return {
        "openapi": VERSION,
        "info": {
            "title": f"Server API of {contract.name}",
            "version": version,
            "description": contract.description or "For back ends: publish, find clients, change rooms, disconnect.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"serviceKey": []}],
        "paths": paths,
        "components": {
            "schemas": maker.build_schemas(),
            "securitySchemes": {
                "serviceKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": f"A service key: `oyez token {contract.name} --service`.",
                }
            },
        },
    }


class _Maker:
    """Makes the parts of one document."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._schemas = Schemas()
        events = list(contract.events.values())
        listed: Schema = {"type": "array", "items": {"$ref": f"{PREFIX}Publication"}}
        self._own: dict[str, Schema] = {
            "Publication": _any_of([self._describe_event(event, to_rooms=True) for event in events]),
            "Publications": {"anyOf": [{"$ref": f"{PREFIX}Publication"}, listed]},
            "Sending": _any_of([self._describe_event(event, to_rooms=False) for event in events]),
            "Disconnecting": self._schemas.make(Disconnecting),
            "Revoking": self._schemas.make(Revoking),
            "Published or list": {"anyOf": [self._schemas.make(Published), self._schemas.make(PublishedList)]},
            "Document": {"type": "object"},
        }

    def describe(self, operation: Operation) -> dict[str, Any]:
        """An operation."""
        in_path = [name.strip("{}") for name in operation.path.split("/") if name.startswith("{")]
        names = [*in_path, *operation.parameters]
        if operation.method != "get":
            names.append("Idempotency-Key")
        answers = {
            str(status): self._describe_answer("Done." if kind is None else "The answer.", kind)
            for status, kind in operation.answers.items()
        }
        refused = self._describe_answer("A refusal.", Problem, "application/problem+json")
        described: dict[str, Any] = {
            "operationId": operation.id,
            "summary": operation.summary,
            "parameters": [_describe_parameter(name) for name in names],
            "responses": {**answers, "4XX": refused, "5XX": refused},
        }
        if operation.body:
            content = {"application/json": {"schema": self._move(self._own[operation.body])}}
            described["requestBody"] = {"required": operation.body_required, "content": content}
        return described

    def build_schemas(self) -> dict[str, Schema]:
        """The schemas of all classes, and the one of a publication."""
        found = {**self._schemas.definitions, "Publication": self._own["Publication"]}
        return {name: self._move(schema) for name, schema in sorted(found.items())}

    def _describe_answer(
        self, text: str, kind: type[Payload] | str | None, media: str = "application/json"
    ) -> dict[str, Any]:
        if kind is None:
            return {"description": text}
        schema = self._own[kind] if isinstance(kind, str) else self._schemas.make(kind)
        return {"description": text, "content": {media: {"schema": self._move(schema)}}}

    def _describe_event(self, event: Event, *, to_rooms: bool) -> Schema:
        names: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
        data, required = self._describe_data(event)
        properties: dict[str, Schema] = {"event": {"const": event.name}, "data": data}
        more = {"to": names, "except": names} if to_rooms else {"namespace": {"type": "string"}}
        return {
            "type": "object",
            "title": event.name,
            "description": event.description,
            "properties": {**properties, **more},
            "required": ["event", *required],
            "additionalProperties": False,
        }

    def _describe_data(self, event: Event) -> tuple[Schema, list[str]]:
        """The schema of an event's data as `publish` takes it, and `data` if it is required."""
        schema = self._schemas.make(event.payload)
        if event.arguments == "object":
            return schema, ["data"]
        fields = self._schemas.resolve(schema)
        values = list(fields.get("properties", {}).values())
        if len(values) == 1:
            return values[0], ["data"] if fields.get("required") else []
        if not values:
            return {"type": "null"}, []
        least = len(fields.get("required", []))
        return {"type": "array", "prefixItems": values, "minItems": least, "items": False}, ["data"]

    def _move(self, schema: Any) -> Any:
        """`schema` with references to the components of the document."""
        if isinstance(schema, dict):
            return {
                name: f"{COMPONENTS}{value.removeprefix(PREFIX)}"
                if isinstance(value, str) and value.startswith(PREFIX)
                else self._move(value)
                for name, value in schema.items()
            }
        return [self._move(each) for each in schema] if isinstance(schema, list) else schema


def _any_of(schemas: list[Schema]) -> Schema:
    # `anyOf` must not be empty.
    return {"anyOf": schemas} if schemas else {"not": {}}


def _describe_parameter(name: str) -> dict[str, Any]:
    place, text, schema = PARAMETERS[name]
    return {"name": name, "in": place, "required": place == "path", "description": text, "schema": schema}


def openapi_route(prefix: str, contract: Contract, version: str, authorize: Authorize) -> Route:
    """`GET {prefix}/openapi.json`, for holders of a service key, whatever the setting `docs` says."""
    made: list[bytes] = []

    async def answer(request: Request) -> Response:
        if not made:
            made.append(encode_json(build_openapi(contract, version)))
        return Response(made[0], media_type="application/json")

    return service_route(f"{prefix}/openapi.json", answer, authorize, ["GET"])
