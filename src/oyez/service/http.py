"""The service layer's HTTP: members of rooms, for back ends that know who belongs where; and who is connected."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract.contract import Contract
from oyez.contract.http import Authorize, answer_json, service_route
from oyez.contract.rooms import NamedRoom
from oyez.errors import InvalidDataError
from oyez.server.neighbours import Presence
from oyez.service.db import Database
from oyez.service.members import find_room, list_members
from oyez.service.outbox import Outbox, Transaction

MAX_PAGE = 1_000
"""Members of one page of a list: a page stays below 200 KB."""


def member_routes(
    prefix: str, contract: Contract, database: Database, outbox: Outbox, authorize: Authorize
) -> list[Route]:
    """`PUT` and `DELETE {prefix}/rooms/{room}/members/{subject}`, `GET {prefix}/rooms/{room}/members`.

    Each takes `?namespace=` where several have that room. PUT answers 201 where the member is new, else 200, and
    DELETE 204, so either may be repeated. GET answers `{members, next}`, `next` being the `?after=` of the next page,
    or null; `?limit=` is at most MAX_PAGE.
    """

    def room_of(request: Request) -> NamedRoom:
        return find_room(contract, request.path_params["room"], request.query_params.get("namespace"))

    async def put(request: Request) -> Response:
        room, subject = room_of(request), request.path_params["subject"]
        new = await outbox.run(Transaction.add_member, room, subject)
        return answer_json({"namespace": room.namespace, "room": room.name, "subject": subject}, 201 if new else 200)

    async def remove(request: Request) -> Response:
        await outbox.run(Transaction.remove_member, room_of(request), request.path_params["subject"])
        return Response(status_code=204)

    async def show(request: Request) -> Response:
        limit = _read_limit(request.query_params.get("limit"))
        after = request.query_params.get("after", "")
        # One more, to know whether there is a next page.
        found = await database.read(list_members, contract.name, room_of(request), after=after, limit=limit + 1)
        return answer_json({"members": found[:limit], "next": found[limit - 1] if len(found) > limit else None})

    one = f"{prefix}/rooms/{{room:path}}/members/{{subject:path}}"
    return [
        service_route(one, put, authorize, ["PUT"]),
        service_route(one, remove, authorize, ["DELETE"]),
        service_route(f"{prefix}/rooms/{{room:path}}/members", show, authorize, ["GET"]),
    ]


def presence_route(
    prefix: str, contract: Contract, presence: Callable[[NamedRoom], Awaitable[Presence]], authorize: Authorize
) -> Route:
    """`GET {prefix}/rooms/{room}/sockets`: who is connected and in that room, on all nodes.

    Answers `{sockets: [{id, user, address, node}], count, nodes, answered}`; `count` is of all of them, where
    `sockets` had to stop. Where fewer nodes have `answered` in time than there are, somebody may be missing.
    """

    async def show(request: Request) -> Response:
        namespace = request.query_params.get("namespace")
        room = find_room(contract, request.path_params["room"], namespace, has_members=False)
        return answer_json(msgspec.to_builtins(await presence(room)))

    return service_route(f"{prefix}/rooms/{{room:path}}/sockets", show, authorize, ["GET"])


def _read_limit(text: str | None) -> int:
    try:
        limit: int = msgspec.convert(text or MAX_PAGE, Annotated[int, Meta(ge=1, le=MAX_PAGE)], strict=False)
    except msgspec.ValidationError:
        raise InvalidDataError("limit", f"a number from 1 to {MAX_PAGE}") from None
    return limit
