"""The HTTP API of `fixrx`: what was written in a chat, for back ends that show it."""

from typing import Annotated

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oyez.contract import CamelPayload, Id
from oyez.runtime import service_route
from oyez.service.http import answer_page, read_query
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
        asked = read_query(request, HistoryQuery)
        found = await context.database.read(
            list_messages, asked.user_id, asked.vendor_id, asked.before, asked.limit + 1
        )
        return answer_page(found, asked.limit, lambda one: one, lambda one: one.message_id, "messages")

    return [service_route("/messages", show, context.authorize, ["GET"])]
