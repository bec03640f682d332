"""The HTTP API of `fixrx`: the messages of a chat, for back ends that show them."""

from typing import Annotated

from msgspec import Meta

from oyez.contract import CamelPayload, Id
from oyez.service.resources import Listing, find_answer
from oyez.systems.fixrx.tables import messages, to_message

MAX_PAGE = 200
"""Messages of one page: at 2,000 characters each it stays below two megabytes."""


class HistoryQuery(CamelPayload):
    """The two parties of the chat, and the page."""

    user_id: Id
    vendor_id: Id
    before: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50


RESOURCES = (
    # Newest first; `before` is the id of a message.
    Listing(
        "/messages",
        HistoryQuery,
        messages,
        lambda _, row: to_message(row),
        cursor=messages.c.id,
        order=messages.c.number,
        name="messages",
        answer=find_answer(to_message),
    ),
)
