"""The service layer's HTTP: what all systems' APIs read and answer alike; members of rooms, and who is connected.

Ids come from the path, and what a list is asked for from the query, into a type that says what there is: so whatever
reaches the database has been looked at. Lists are answered page by page.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

import msgspec
from msgspec import Meta, inspect
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract import Id, Payload
from oyez.contract.codec import encode_json
from oyez.contract.contract import Contract
from oyez.contract.rooms import NamedRoom
from oyez.contract.schema import describe
from oyez.contract.validation import explain
from oyez.errors import InvalidDataError
from oyez.runtime.http import Authorize, answer_json, service_route
from oyez.server.cluster.membership import Presence
from oyez.service.database.database import Database
from oyez.service.outbox.members import find_room, list_members
from oyez.service.outbox.outbox import Outbox, Transaction

Q = TypeVar("Q", bound=msgspec.Struct)
T = TypeVar("T")
P = ParamSpec("P")

PARTS = ("limit", "after", "before")
"""Parameters that say which part of a list is asked for."""
MAX_PAGE = 1_000
"""Members of one page of a list: a page stays below 200 KB."""


def read_ids(request: Request) -> list[str]:
    """The ids in the path, in order. Raises InvalidDataError with the name of one that is none."""
    ids = []
    for name, value in request.path_params.items():
        try:
            ids.append(msgspec.convert(value, Id))
        except msgspec.ValidationError:
            raise InvalidDataError(name, describe(inspect.type_info(Id))) from None
    return ids


def read_query(request: Request, kind: type[Q]) -> Q:
    """The query as a `kind`, whose fields are the parameters there are. Raises InvalidDataError with the name."""
    try:
        # strict=False reads "50" as a number.
        return msgspec.convert(dict(request.query_params), kind, strict=False)
    except msgspec.ValidationError as error:
        raise explain(error, "the query", kind) from None


def filters_of(kind: type[msgspec.Struct]) -> list[str]:
    """The parameters of a list's query that narrow it: all but those that say which part of it is asked for."""
    names = zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
    return [parameter for field, parameter in names if field not in PARTS]


def read_filters(query: msgspec.Struct) -> dict[str, Any]:
    """What a list is narrowed by, by the names of the fields, which are those of columns."""
    fields = [field for field in query.__struct_fields__ if field not in PARTS]
    return {field: value for field in fields if (value := getattr(query, field)) is not None}


def answer_page(
    found: Sequence[T], limit: int, show: Callable[[T], object], mark: Callable[[T], object], name: str = "items"
) -> Response:
    """A page of a list, `{items, next}`, from up to `limit` + 1 that were found: whether there is one more says
    whether there is another page. `next` is the mark of the page's last, by which the next is asked for, or null.
    """
    page = found[:limit]
    return answer_json({name: [show(one) for one in page], "next": mark(page[-1]) if len(found) > limit else None})


class Written(msgspec.Struct, frozen=True):
    """The answer to a write, in the form in which the database keeps it with the change."""

    status: int
    body: str


async def answer_write(
    outbox: Outbox,
    work: Callable[Concatenate[Transaction, P], tuple[object, int]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Response:
    """Run `work(tx, …)` as one transaction, and answer with the content and the status that it returns.

    A request with an `Idempotency-Key` that is sent again gets the same answer, also if the process was killed between
    the commit and the first answer. For content None the answer has no body.
    """

    def write(tx: Transaction) -> Written:
        content, status = work(tx, *args, **kwargs)
        return Written(status, "" if content is None else encode_json(content).decode())

    written = await outbox.run(write)
    if not written.body:
        return Response(status_code=written.status)
    return Response(written.body, written.status, media_type="application/json")


class MembersQuery(Payload):
    """Whose members, where several namespaces have the room, and which part of them."""

    namespace: str | None = None
    after: Annotated[str, Meta(pattern=r"^[^\x00]*$")] = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE


def member_routes(
    prefix: str,
    contract: Contract,
    database: Database,
    outbox: Outbox,
    authorize: Authorize,
    middleware: Sequence[Middleware] = (),
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
        if await outbox.run(Transaction.remove_member, room_of(request), request.path_params["subject"]):
            # Whoever publishes when this is answered may rely on it.
            await outbox.told()
        return Response(status_code=204)

    async def show(request: Request) -> Response:
        query = read_query(request, MembersQuery)
        found = await database.read(
            list_members, contract.name, room_of(request), after=query.after, limit=query.limit + 1
        )
        return answer_page(found, query.limit, str, str, "members")

    one = f"{prefix}/rooms/{{room:path}}/members/{{subject:path}}"
    return [
        service_route(one, put, authorize, ["PUT"], middleware),
        service_route(one, remove, authorize, ["DELETE"], middleware),
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
