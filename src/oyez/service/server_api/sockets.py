"""The server API for connected clients: find them, let them join and leave rooms, send to one, disconnect them.

Changes are entries of the log, so they hold on all nodes, in order with the events.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract.contract import Contract
from oyez.contract.rooms import Everyone, NamedRoom
from oyez.contract.schema import quote
from oyez.contract.types import Id, Time
from oyez.errors import InvalidDataError
from oyez.log.log import Entry, Log
from oyez.protocol.socket_ids import SOCKET_ID, own_room, user_room
from oyez.runtime import control
from oyez.runtime.http import Authorize, Responder, answer_json, read_json, read_optional, service_route
from oyez.runtime.publish_api import build_rejection
from oyez.runtime.publisher import Publication, Publisher, RejectedError
from oyez.runtime.revoked_tokens import RevokedTokens
from oyez.server.cluster.membership import FoundSockets, Present
from oyez.service.outbox.members import check_namespace, find_room
from oyez.settings import Limits

MAX_EXCLUDED = 100
"""Rooms and sockets that one request excepts: every node looks up each of them."""
REVOKED_FOR = 86_400.0
"""Seconds for which a user's earlier tokens are refused by default: few tokens live longer than a day."""
MAX_REVOKED_FOR = 30 * 86_400.0
"""Seconds at most: a record for each user is kept for so long."""

Excluded = Annotated[tuple[str, ...], Meta(max_length=MAX_EXCLUDED)]


class Disconnecting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How clients are disconnected."""

    namespace: str | None = None
    """Only from this namespace; by default from each."""
    close: bool = False
    """End the whole connections, with all namespaces. Official clients do not return by themselves in either case."""
    excluding: Excluded = msgspec.field(name="except", default=())
    """Rooms whose clients stay. The id of a socket counts as a room."""


class Revoking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which tokens of a user are refused from now on."""

    before: Time | None = None
    """Tokens that were issued before this time (claim `iat`), and those that state no time; by default, now."""
    seconds: Annotated[float, Meta(gt=0, le=MAX_REVOKED_FOR)] = REVOKED_FOR
    """For how long: at least as long as such tokens are valid."""


class Sending(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event for one socket."""

    event: str
    data: msgspec.Raw = msgspec.Raw()
    namespace: str | None = None
    """The namespace of the socket; by default, each that has the event."""


class FindSockets(Protocol):
    """Finds connected sockets on all nodes."""

    def __call__(self, namespace: str, rooms: Sequence[str], *, detailed: bool = False) -> Awaitable[FoundSockets]: ...


class SocketsApi:
    """The routes of one system."""

    def __init__(
        self,
        prefix: str,
        contract: Contract,
        publisher: Publisher,
        log: Log,
        limits: Limits,
        find_sockets: FindSockets,
        revoked: RevokedTokens,
        authorize: Authorize,
        middleware: Sequence[Middleware],
    ) -> None:
        self._prefix = prefix
        self._contract = contract
        self._publisher = publisher
        self._log = log
        self._limits = limits
        self._find_sockets = find_sockets
        self._revoked = revoked
        self._authorize = authorize
        self._middleware = middleware
        self._names = [namespace.name for namespace in contract.namespaces]

    def build_routes(self) -> list[Route]:
        """The routes. Writes honour an Idempotency-Key."""
        user, socket, room = "/users/{user:path}", "/sockets/{socket}", "/rooms/{room:path}"
        return [
            self._route(f"{user}/sockets", "GET", self._show_sockets),
            self._route(f"{user}/rooms", "GET", self._show_rooms),
            *self._write_routes(f"{user}/rooms/{{room:path}}", {"PUT": self._join, "DELETE": self._leave}),
            self._route(f"{user}/disconnect", "POST", self._disconnect_user),
            self._route(f"{user}/revoke", "POST", self._revoke),
            self._route(f"{socket}/events", "POST", self._send),
            self._route(f"{socket}/disconnect", "POST", self._disconnect_socket),
            self._route(f"{room}/disconnect", "POST", self._disconnect_room),
        ]

    def _route(self, path: str, method: str, answer: Responder) -> Route:
        middleware = () if method == "GET" else self._middleware
        return service_route(f"{self._prefix}{path}", answer, self._authorize, [method], middleware)

    def _write_routes(self, path: str, answers: dict[str, Responder]) -> list[Route]:
        return [self._route(path, method, answer) for method, answer in answers.items()]

    # Looking.

    async def _show_sockets(self, request: Request) -> Response:
        """The sockets of a user, in all namespaces or in `?namespace=`."""
        found, complete = await self._find_user(request)
        sockets = [
            {"namespace": namespace, **{name: getattr(socket, name) for name in ("id", "rooms", "address", "node")}}
            for namespace, socket in found
        ]
        return answer_json({"sockets": sockets, "complete": complete})

    async def _show_rooms(self, request: Request) -> Response:
        """The rooms in which a user has a socket."""
        found, complete = await self._find_user(request)
        names = sorted({(namespace, room) for namespace, socket in found for room in socket.rooms})
        rooms = [{"namespace": namespace, "room": room} for namespace, room in names]
        return answer_json({"rooms": rooms, "complete": complete})

    async def _find_user(self, request: Request) -> tuple[list[tuple[str, Present]], bool]:
        """The sockets of a user, each with its namespace; True if all nodes have answered."""
        room = user_room(_read_user(request))
        names = self._namespaces(request.query_params.get("namespace"))
        answers = await asyncio.gather(*(self._find_sockets(name, [room], detailed=True) for name in names))
        found = [
            (socket.namespace or name, socket)
            for name, answer in zip(names, answers, strict=True)
            for socket in answer.sockets
        ]
        return found, all(answer.answered == answer.nodes for answer in answers)

    # Rooms.

    async def _join(self, request: Request) -> Response:
        room = self._find_room(request)
        await self._append([control.join(_sockets_of(room.namespace, _read_user(request)), [room], asking=True)])
        return Response(status_code=204)

    async def _leave(self, request: Request) -> Response:
        room = self._find_room(request)
        await self._append([control.leave(_sockets_of(room.namespace, _read_user(request)), [room])])
        return Response(status_code=204)

    def _find_room(self, request: Request) -> NamedRoom:
        namespace = request.query_params.get("namespace")
        return find_room(self._contract, request.path_params["room"], namespace, has_members=False)

    # Sending.

    async def _send(self, request: Request) -> Response:
        """Send an event to one socket: one that goes to single sockets, or to the `caller`."""
        socket, body = _read_socket(request), await read_json(request, Sending, self._limits)
        namespaces = await self._find_namespaces(socket, body.namespace)
        publication = Publication(body.event, body.data)
        try:
            prepared = self._publisher.prepare_for_socket(publication, socket, namespaces)
        except InvalidDataError as error:
            return await build_rejection(RejectedError([(0, error)]), several=False)
        (position,) = await self._publisher.append([prepared])
        return answer_json({"position": position})

    async def _find_namespaces(self, socket: str, only: str | None) -> list[str]:
        """The namespaces in which a socket may be. Nodes are asked only about those whose names have placeholders."""
        names = self._namespaces(only)
        found = [name for name in names if self._contract.find_declared(name)]
        for name in set(names).difference(found):
            present = await self._find_sockets(name, [own_room(socket)])
            found += [one.namespace for one in present.sockets]
        return found

    # Disconnecting.

    async def _disconnect_user(self, request: Request) -> Response:
        user = _read_user(request)
        return await self._disconnect(request, lambda namespace: _sockets_of(namespace, user))

    async def _disconnect_socket(self, request: Request) -> Response:
        socket = _read_socket(request)
        return await self._disconnect(request, lambda namespace: NamedRoom(namespace, own_room(socket)))

    async def _disconnect_room(self, request: Request) -> Response:
        name = request.path_params["room"]
        if name == "*":
            return await self._disconnect(request, Everyone)
        return await self._disconnect(request, lambda namespace: NamedRoom(namespace, name), name)

    async def _disconnect(
        self, request: Request, sockets_in: Callable[[str], NamedRoom | Everyone], room: str | None = None
    ) -> Response:
        asked = await read_optional(request, Disconnecting, self._limits)
        namespaces = self._namespaces(asked.namespace)
        if room is not None:
            namespaces = [find_room(self._contract, room, asked.namespace, has_members=False).namespace]
        self._publisher.check_excluded(asked.excluding)
        await self._append(
            [control.disconnect(sockets_in(name), asked.excluding, close=asked.close) for name in namespaces]
        )
        return Response(status_code=204)

    async def _revoke(self, request: Request) -> Response:
        """Refuse the tokens that a user has, and disconnect the user everywhere."""
        user = _read_user(request)
        asked = await read_optional(request, Revoking, self._limits)
        before = await self._revoked.revoke(user, asked.before.seconds if asked.before else None, asked.seconds)
        # First the record: a client that comes back at once must find it.
        await self._append([control.disconnect(_sockets_of(name, user), close=True) for name in self._names])
        return answer_json({"before": Time.at(before)})

    async def _append(self, entries: Sequence[Entry]) -> None:
        await self._log.append(list(entries))

    def _namespaces(self, only: str | None) -> list[str]:
        check_namespace(self._contract, only)
        return [only] if only is not None else self._names


def _sockets_of(namespace: str, user: str) -> NamedRoom:
    return NamedRoom(namespace, user_room(user))


def _read_user(request: Request) -> str:
    try:
        user: str = msgspec.convert(request.path_params["user"], Id)
    except msgspec.ValidationError:
        raise InvalidDataError("user", "the id of a user") from None
    return user


def _read_socket(request: Request) -> str:
    socket: str = request.path_params["socket"]
    if SOCKET_ID.fullmatch(socket) is None:
        raise InvalidDataError("socket", f"the id of a socket; got {quote(socket)}")
    return socket
