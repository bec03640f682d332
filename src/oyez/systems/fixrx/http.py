"""The HTTP API of `fixrx`: what was written in a chat, for back ends that show it."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract import CamelPayload, Id
from oyez.contract.explain import explain
from oyez.contract.http import answer_json, service_route
from oyez.service.system import Context
from oyez.systems.fixrx.tables import list_messages

MAX_PAGE = 200
"""Messages in one answer: at 2,000 characters each it stays below two megabytes."""


class HistoryQuery(CamelPayload):
    """Whose chat, and which part of it."""

    user_id: Id
    vendor_id: Id
    before: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50


def build_routes(context: Context) -> list[Route]:
    """`GET /messages?userId=…&vendorId=…`, with `limit` and `before`, the id of a message.

    Answers `{messages, next}`: the newest messages, newest first, and what `before` has to be for those that are older,
    or null.
    """

    async def show(request: Request) -> Response:
        asked = _read_query(request)
        # One more, to know whether there is a next page.
        most = asked.limit + 1
        found = await context.database.read(list_messages, asked.user_id, asked.vendor_id, asked.before, most)
        page = found[: asked.limit]
        return answer_json({"messages": page, "next": page[-1].message_id if len(found) == most else None})

    return [service_route("/messages", show, context.authorize, ["GET"])]


def _read_query(request: Request) -> HistoryQuery:
    try:
        # strict=False reads "50" as a number.
        return msgspec.convert(dict(request.query_params), HistoryQuery, strict=False)
    except msgspec.ValidationError as error:
        raise explain(error, "the query", HistoryQuery) from None
