"""The HTTP API of every system for the members of rooms, and for the sockets that are connected."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract import Payload
from oyez.contract.contract import Contract
from oyez.contract.rooms import NamedRoom
from oyez.contract.types import Time
from oyez.errors import UNKNOWN_ROOM, ContractError, RefusedError
from oyez.runtime.http import Authorize, answer_json, service_route
from oyez.runtime.presence import FindPresent
from oyez.server.cluster.membership import FoundSockets
from oyez.service.database.database import Database
from oyez.service.outbox.members import MAX_LISTED, find_room, list_parts
from oyez.service.outbox.outbox import Outbox
from oyez.service.outbox.transaction import Transaction
from oyez.service.resources import build_page, read_query


class MembersQuery(Payload):
    """Whose members, where several namespaces have the room, and which part of them."""

    namespace: str | None = None
    after: str = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_LISTED)] = MAX_LISTED


def member_routes(
    prefix: str,
    contract: Contract,
    database: Database,
    outbox: Outbox,
    authorize: Authorize,
    middleware: Sequence[Middleware] = (),
) -> list[Route]:
    """`PUT` and `DELETE {prefix}/rooms/{room}/members/{subject}`, `GET {prefix}/rooms/{room}/members`.

    Each takes `?namespace=` if several have that room, and PUT `?part=`, the member's part in the room. PUT answers 201
    if the member is new, otherwise 200, and DELETE 204, so either may be repeated. GET answers `{members, next}`, and
    `parts` if some have one; `next` is the `?after=` of the next page, or null; `?limit=` is at most MAX_LISTED.
    """

    def room_of(request: Request) -> NamedRoom:
        return find_room(contract, request.path_params["room"], request.query_params.get("namespace"))

    async def put(request: Request) -> Response:
        room, subject, part = room_of(request), request.path_params["subject"], request.query_params.get("part")
        new = await outbox.run(Transaction.add_member, room, subject, part)
        if not new and part is not None:
            # A back end that publishes after this answer relies on the change.
            await outbox.flushed()
        written = {"namespace": room.namespace, "room": room.name, "subject": subject}
        return answer_json(written | ({"part": part} if part is not None else {}), 201 if new else 200)

    async def remove(request: Request) -> Response:
        if await outbox.run(Transaction.remove_member, room_of(request), request.path_params["subject"]):
            # A back end that publishes after this answer relies on it.
            await outbox.flushed()
        return Response(status_code=204)

    async def show(request: Request) -> Response:
        query = read_query(request, MembersQuery)
        found = await database.read(
            list_parts, contract.name, room_of(request), after=query.after, limit=query.limit + 1
        )
        page = build_page(list(found), query.limit, str, str, "members")
        parts = {subject: found[subject] for subject in list(found)[: query.limit] if found[subject]}
        return answer_json(page | ({"parts": parts} if parts else {}))

    one = f"{prefix}/rooms/{{room:path}}/members/{{subject:path}}"
    return [
        service_route(one, put, authorize, ["PUT"], middleware),
        service_route(one, remove, authorize, ["DELETE"], middleware),
        service_route(f"{prefix}/rooms/{{room:path}}/members", show, authorize, ["GET"]),
    ]


def presence_route(
    prefix: str, contract: Contract, presence: Callable[[NamedRoom], Awaitable[FoundSockets]], authorize: Authorize
) -> Route:
    """`GET {prefix}/rooms/{room}/sockets`: who is connected and in that room, on all nodes.

    Answers `{sockets: [{id, user, address, node}], count, nodes, answered}`; `count` is of all of them, where
    `sockets` had to stop. If fewer nodes have `answered` in time than there are, sockets may be missing.
    """

    async def show(request: Request) -> Response:
        namespace = request.query_params.get("namespace")
        room = find_room(contract, request.path_params["room"], namespace, has_members=False)
        return answer_json(msgspec.to_builtins(await presence(room)))

    return service_route(f"{prefix}/rooms/{{room:path}}/sockets", show, authorize, ["GET"])


def present_route(prefix: str, contract: Contract, find_present: FindPresent, authorize: Authorize) -> Route:
    """`GET {prefix}/rooms/{room}/presence`: which users are in that room, which declares `presence=`, on all nodes.

    Answers `{count, users: [{id, since, lastSeen}]}`; `count` is of all of them, where `users` had to stop.
    """

    async def show(request: Request) -> Response:
        namespace = request.query_params.get("namespace")
        room = find_room(contract, request.path_params["room"], namespace, has_members=False)
        try:
            present = await find_present(room)
        except ContractError as error:
            raise RefusedError(UNKNOWN_ROOM, f"{error}.") from None
        users = [
            {"id": user.id, "since": Time.at(user.since), "lastSeen": Time.at(user.last_seen)} for user in present.users
        ]
        return answer_json({"count": present.count, "users": users})

    return service_route(f"{prefix}/rooms/{{room:path}}/presence", show, authorize, ["GET"])
