"""The HTTP API of a system as a table: each row is one method of one resource, and what happens then.

    RESOURCES = (
        Listing("/orders", OrdersPage, orders, to_order, orders.c.number),
        Read("/orders/{orderId}", get_order),
        Write("PUT", "/orders/{orderId}", place_order, OrderPlacing),
    )

Only service keys have access. Ids come from the path and are checked; queries and bodies are decoded into types. A
`Write` is one transaction, and its answer is stored with the change, for requests that are repeated with an
`Idempotency-Key`. A `Listing` is read page by page: `{items, next}`.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import msgspec
from msgspec import inspect
from sqlalchemy import Column, Connection, Row, Select, Table, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract import Id
from oyez.contract.codec import encode_json
from oyez.contract.schema import describe
from oyez.contract.validation import explain
from oyez.errors import InvalidDataError
from oyez.runtime import Responder, answer_json, read_json, service_route
from oyez.service.outbox.outbox import Outbox
from oyez.service.outbox.transaction import Transaction
from oyez.service.system import Services

Q = TypeVar("Q", bound=msgspec.Struct)
T = TypeVar("T")
P = ParamSpec("P")

PAGING = ("limit", "after", "before")
"""The parameters of a list that select a page; all others filter by the column of the same name."""


class Resource(Protocol):
    """A row of the table."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...

    def build(self, services: Services) -> Responder:
        """What answers such requests."""


def build_routes(resources: Iterable[Resource], services: Services) -> list[Route]:
    """The routes of a table, one for each path: so the answer 405 names all methods of that path.

    Starlette takes the first path that fits: a longer path must come before one that ends with `{…:path}`.
    """
    paths: dict[str, dict[str, Responder]] = {}
    for resource in resources:
        paths.setdefault(resource.path, {})[resource.method] = resource.build(services)
    return [
        service_route(path, _dispatch(answers), services.authorize, list(answers)) for path, answers in paths.items()
    ]


def _dispatch(answers: Mapping[str, Responder]) -> Responder:
    def answer(request: Request) -> Awaitable[Response]:
        return answers["GET" if request.method == "HEAD" else request.method](request)

    return answer


@dataclass(frozen=True, slots=True)
class Read:
    """`GET` of one record: `function(connection, *ids)` returns it."""

    path: str
    function: Callable[..., object]
    method: str = "GET"

    def build(self, services: Services) -> Responder:
        async def answer(request: Request) -> Response:
            return answer_json(await services.database.read(self.function, *read_ids(request)))

        return answer


@dataclass(frozen=True, slots=True)
class Write:
    """A change: `function(tx, *ids, body)`, without the body if there is none, as one transaction.

    It returns the record; or the record and True if it is new, which is answered with 201; or None, which is 204.
    """

    method: str
    path: str
    function: Callable[..., Any]
    body: type[msgspec.Struct] | None = None
    status: int = field(default=200, kw_only=True)
    """The status of a record that is not said to be new."""
    show: Callable[[Any], object] = field(default=lambda record: record, kw_only=True)
    """Makes what is sent of the record."""
    before: Callable[..., Awaitable[None]] | None = field(default=None, kw_only=True)
    """Called before the transaction, with the ids and the body."""
    after: Callable[..., Awaitable[None]] | None = field(default=None, kw_only=True)
    """Called after the transaction, with the same."""

    def build(self, services: Services) -> Responder:
        async def answer(request: Request) -> Response:
            arguments = await _read_arguments(request, self.body, services)
            if self.before is not None:
                await self.before(*arguments)
            response = await answer_write(services.outbox, self._work, *arguments)
            if self.after is not None:
                await self.after(*arguments)
            return response

        return answer

    def _work(self, tx: Transaction, *arguments: object) -> tuple[object, int]:
        result = self.function(tx, *arguments)
        if result is None:
            return None, 204
        # A row of a table is a tuple too.
        record, new = result if type(result) is tuple else (result, False)
        return self.show(record), 201 if new else self.status


@dataclass(frozen=True, slots=True)
class Send:
    """`POST` that only sends an event: `function(services, *ids, body)`, which stores nothing. Answered with 204."""

    path: str
    function: Callable[..., Awaitable[None]]
    body: type[msgspec.Struct] | None = None
    method: str = "POST"

    def build(self, services: Services) -> Responder:
        async def answer(request: Request) -> Response:
            await self.function(services, *await _read_arguments(request, self.body, services))
            return Response(status_code=204)

        return answer


@dataclass(frozen=True, slots=True)
class Listing:
    """`GET` of the rows of a table, page by page.

    The fields of `query` are the parameters: `limit`, the cursor, which is `after` (oldest first) or `before` (newest
    first), and filters, which have the names of columns.
    """

    path: str
    query: type[msgspec.Struct]
    table: Table
    show: Callable[[Connection, Row[Any]], object]
    cursor: Column[Any]
    """A unique column: its value in the last row of a page is the cursor of the next page."""
    order: Column[Any] | None = None
    """The unique column by which rows are ordered; the cursor if None."""
    within: Column[str] | None = None
    """The column of the id in the path, if the list belongs to another record."""
    get_parent: Callable[[Connection, str], object] | None = None
    """Raises RefusedError if there is no such record: an unknown record has no list, instead of an empty one."""
    rows: Select[Any] | None = None
    """What is read of the table; its own columns if None."""
    name: str = "items"
    """The name of the list in the answer."""
    method: str = "GET"

    def build(self, services: Services) -> Responder:
        async def answer(request: Request) -> Response:
            query = read_query(request, self.query)
            return answer_json(await services.database.read(self._read, read_ids(request), query))

        return answer

    @property
    def filters(self) -> list[str]:
        """The parameters that filter, as they are in the query."""
        names = zip(self.query.__struct_fields__, self.query.__struct_encode_fields__, strict=True)
        return [parameter for name, parameter in names if name not in PAGING]

    def _read(self, connection: Connection, ids: Sequence[str], query: Any) -> dict[str, object]:
        if self.get_parent is not None:
            self.get_parent(connection, ids[0])
        rows = connection.execute(self._select(ids, query).limit(query.limit + 1)).all()
        return build_page(
            rows,
            query.limit,
            lambda row: self.show(connection, row),
            lambda row: row._mapping[self.cursor.name],
            self.name,
        )

    def _select(self, ids: Sequence[str], query: msgspec.Struct) -> Select[Any]:
        given = {name: value for name in query.__struct_fields__ if (value := getattr(query, name)) is not None}
        order = self.cursor if self.order is None else self.order
        newest_first = "before" in query.__struct_fields__
        wanted = [self.table.c[name] == value for name, value in given.items() if name not in PAGING]
        if self.within is not None:
            wanted.append(self.within == ids[0])
        position: Any = given.get("before" if newest_first else "after")
        if position is not None:
            if self.order is not None:
                position = select(order).where(self.cursor == position).scalar_subquery()
            wanted.append(order < position if newest_first else order > position)
        rows = select(self.table) if self.rows is None else self.rows
        return rows.where(*wanted).order_by(order.desc() if newest_first else order)


# What the answers are made of; also for routes that are in no table.


async def _read_arguments(request: Request, body: type[msgspec.Struct] | None, services: Services) -> list[Any]:
    ids: list[Any] = read_ids(request)
    return ids if body is None else [*ids, await read_json(request, body, services.settings.limits)]


def read_ids(request: Request) -> list[str]:
    """The ids in the path, in order. Raises InvalidDataError with the name of a wrong one."""
    ids = []
    for name, value in request.path_params.items():
        try:
            ids.append(msgspec.convert(value, Id))
        except msgspec.ValidationError:
            raise InvalidDataError(name, describe(inspect.type_info(Id))) from None
    return ids


def read_query(request: Request, kind: type[Q]) -> Q:
    """The query as a `kind`, whose fields are the parameters. Raises InvalidDataError with the name of a wrong one."""
    try:
        # strict=False reads "50" as a number.
        return msgspec.convert(dict(request.query_params), kind, strict=False)
    except msgspec.ValidationError as error:
        raise explain(error, "the query", kind) from None


def build_page(
    found: Sequence[T], limit: int, show: Callable[[T], object], mark: Callable[[T], object], name: str = "items"
) -> dict[str, object]:
    """A page of a list, from up to `limit` + 1 records: one more than `limit` means that there is another page.

    `next` is the mark of the last record on this page, which is the cursor of the next page, or null.
    """
    page = found[:limit]
    return {name: [show(one) for one in page], "next": mark(page[-1]) if len(found) > limit else None}


class Written(msgspec.Struct, frozen=True):
    """The answer to a write, as the database stores it with the change."""

    status: int
    body: str


async def answer_write(
    outbox: Outbox,
    work: Callable[Concatenate[Transaction, P], tuple[object, int]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Response:
    """Run `work(tx, …)` as one transaction, and answer with the content and the status that it returns.

    A request that is repeated with the same `Idempotency-Key` gets the same answer, also if the process was killed
    between the commit and the first answer. If the content is None, the answer has no body.
    """

    def write(tx: Transaction) -> Written:
        content, status = work(tx, *args, **kwargs)
        return Written(status, "" if content is None else encode_json(content).decode())

    written = await outbox.run(write)
    if not written.body:
        return Response(status_code=written.status)
    return Response(written.body, written.status, media_type="application/json")
