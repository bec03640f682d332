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

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import GenericAlias
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import defstruct, inspect
from sqlalchemy import Column, Connection, Row, Select, Table, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from oyez.contract import Id
from oyez.contract.codec import encode_json
from oyez.contract.lenient import check_whole
from oyez.contract.schema import describe
from oyez.contract.validation import explain
from oyez.errors import InvalidDataError
from oyez.runtime import Responder, answer_json, read_json, service_route
from oyez.service.outbox.outbox import Outbox
from oyez.service.outbox.transaction import Transaction
from oyez.service.server_api.operations import Operation
from oyez.service.system import Services

Q = TypeVar("Q", bound=msgspec.Struct)
T = TypeVar("T")
P = ParamSpec("P")

PLACEHOLDER = re.compile(r"\{(\w+)(?::path)?\}")
_FOR_PYTHON = re.compile(r"(?:^| )(?:Raises |True if )[^.]*\.")
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

    def describe(self) -> Operation:
        """The row for the OpenAPI document."""


class ResourceRoute(Route):
    """The route of one path, with its rows of the table."""

    def __init__(self, made: Route, rows: Sequence[Resource]) -> None:
        super().__init__(made.path, made.endpoint, methods=list(made.methods or ()))
        self.rows = rows


def build_routes(resources: Iterable[Resource], services: Services) -> list[Route]:
    """The routes of a table, one for each path: so the answer 405 names all methods of that path.

    Starlette takes the first path that fits: a longer path must come before one that ends with `{…:path}`.
    """
    paths: dict[str, dict[str, Resource]] = {}
    for resource in resources:
        paths.setdefault(resource.path, {})[resource.method] = resource
    routes: list[Route] = []
    for path, rows in paths.items():
        answers = {method: row.build(services) for method, row in rows.items()}
        route = service_route(path, _dispatch(answers), services.authorize, list(answers))
        routes.append(ResourceRoute(route, list(rows.values())))
    return routes


def list_operations(routes: Iterable[BaseRoute]) -> list[Operation]:
    """What the tables say of these routes; nothing of routes that are in no table."""
    return [row.describe() for route in routes if isinstance(route, ResourceRoute) for row in route.rows]


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
    answer: Any = None
    """The type of the record; None: what the annotation of the function says."""

    def describe(self) -> Operation:
        return _describe(self, {200: self.answer or find_answer(self.function)})

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

    def describe(self) -> Operation:
        returned, new = find_answer(self.function), False
        if get_origin(returned) is tuple and get_args(returned)[1:] == (bool,):
            returned, new = get_args(returned)[0], True
        if returned is type(None):
            return _describe(self, {204: None})
        shown = find_answer(self.show) or returned
        return _describe(self, {self.status: shown, **({201: shown} if new else {})})

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

    def describe(self) -> Operation:
        return _describe(self, {204: None})

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
    answer: Any = None
    """The type of a record; None: what the annotation of `show` says."""

    def describe(self) -> Operation:
        item, cursor = self.answer or find_answer(self.show), find_cursor(self.query)
        page = defstruct(
            f"{getattr(item, '__name__', '')}Page", [(self.name, GenericAlias(list, (item,))), ("next", cursor | None)]
        )
        return _describe(self, {200: page})

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


# What the rows say of themselves.


def _describe(row: Any, answers: Mapping[int, Any]) -> Operation:
    function = getattr(row, "function", None)
    path = PLACEHOLDER.sub(r"{\1}", row.path)
    words = re.findall(r"[A-Za-z0-9]+", path)
    return Operation(
        id="".join([row.method.lower(), *(word[:1].upper() + word[1:] for word in words)]),
        method=row.method.lower(),
        path=f"/api{path}",
        summary=_summarize(function) or f"{'List' if isinstance(row, Listing) else 'Read'} {path.strip('/')}.",
        query=getattr(row, "query", None),
        body=getattr(row, "body", None),
        body_required=True,
        answers=answers,
    )


def _summarize(function: Any) -> str:
    """The first line of a function's text, without what only its caller in Python has to know."""
    while isinstance(function, partial):
        function = function.func
    text = (getattr(function, "__doc__", None) or "").strip().partition("\n")[0]
    return _FOR_PYTHON.sub("", text).strip()


def find_answer(function: Any) -> Any:
    """The type that a function's annotation says it returns; None if it has none."""
    while isinstance(function, partial):
        function = function.func
    return get_type_hints(function).get("return") if callable(function) else None


def find_cursor(query: type[msgspec.Struct]) -> Any:
    """The type of the parameter that selects a page."""
    hints = get_type_hints(query, include_extras=True)
    return next(hints[name] for name in ("after", "before") if name in hints)


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
        query = msgspec.convert(dict(request.query_params), kind, strict=False)
    except msgspec.ValidationError as error:
        raise explain(error, "the query", kind) from None
    for each in msgspec.structs.fields(kind):
        name = each.encode_name
        # strict=False also reads "null" as null, which no document has.
        if name in request.query_params and getattr(query, each.name) is None:
            raise InvalidDataError(name, "a value; leave the parameter out if there is none")
    check_whole(query)
    return query


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
