"""Requests that are answered without uvicorn's parser and Starlette's routes, which cost more than the answer itself.

Only requests that have come whole, with nothing unusual in their head, for a path that has a responder: publishing. All
others, among them all that are slow or hostile, take the ordinary way to the same responder.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from oyez.protocol.http_framing import Field, Head
from oyez.server.cluster.signing import ClientAddress
from oyez.server.http.guard import add_defences
from oyez.server.http.refusals import UNAVAILABLE, encode_refusal
from oyez.server.types import WHOLE_BODY

Responder = Callable[[Request], Awaitable[Response]]
"""Answers a request; it raises nothing."""
FindResponder = Callable[[bytes], Responder | None]
"""The responder of a request's target, exactly as it was sent; None if requests for it take the ordinary way."""
UNUSUAL = frozenset({b"connection", b"expect", b"upgrade"})
"""Headers that change how the connection is used: uvicorn knows them all."""
KEEP_ALIVE = (b"connection", b"keep-alive")


def is_plain(head: Head, received: int) -> bool:
    """True if a POST needs nothing of uvicorn's parser. `received` is the number of bytes that came after the head."""
    if head.method != b"POST" or head.version != b"1.1" or head.length is None or head.length > received:
        return False
    return all(name not in UNUSUAL or (name, value.lower()) == KEEP_ALIVE for name, value in head.fields)


class _NoEvent:
    """In place of uvicorn's event, for which an application waits that reads the body."""

    def set(self) -> None:
        """Do nothing: the whole body has been received."""


class DirectExchange:
    """A request that has come whole, and its answer. uvicorn's protocol treats it as its own RequestResponseCycle."""

    __slots__ = (
        "_default_headers",
        "_flow",
        "_on_response",
        "_request",
        "disconnected",
        "keep_alive",
        "response_complete",
    )

    more_body = False
    message_event = _NoEvent()

    def __init__(
        self,
        head: Head,
        body: bytes,
        client: ClientAddress,
        flow: FlowControl,
        default_headers: Iterable[Field],
        on_response: Callable[[], None],
    ) -> None:
        self._request = build_request(head, body, client)
        self._flow = flow
        self._default_headers = default_headers
        self._on_response = on_response
        self.disconnected = False
        """True if the client has gone."""
        self.keep_alive = True
        self.response_complete = False

    @property
    def response_started(self) -> bool:
        """As `response_complete`: the answer is written at once."""
        return self.response_complete

    async def run(self, respond: Responder, write: Callable[[bytes, bool], None]) -> None:
        """Answer. `write` receives the answer, and whether the connection stays open."""
        try:
            response = await respond(self._request)
        except asyncio.CancelledError:
            # The server stops, and no longer waits for the answer.
            if not self.disconnected:
                self.response_complete = True
                write(encode_refusal(UNAVAILABLE, "The server is stopping.", "text/plain"), False)
            raise
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        self.response_complete = True
        write(encode_response(response, self._default_headers, self.keep_alive), self.keep_alive)
        self._on_response()


def build_request(head: Head, body: bytes, client: ClientAddress) -> Request:
    """The request with its body, as ASGI has it. The target has no query and no escapes."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return unread.pop() if unread else {"type": "http.disconnect"}

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": client.scheme,
        "path": head.target.decode("ascii"),
        "raw_path": head.target,
        "query_string": b"",
        "root_path": "",
        "headers": head.fields,
        "client": client.address,
        "server": None,
        WHOLE_BODY: body,
    }
    return Request(scope, receive)


def encode_response(response: Response, default_headers: Iterable[Field], keep_alive: bool) -> bytes:
    """The bytes of an answer whose body is known."""
    headers = [*default_headers, *add_defences(response.raw_headers)]
    if not keep_alive:
        headers.append((b"connection", b"close"))
    lines = [b"%b: %b\r\n" % field for field in headers]
    return b"".join([STATUS_LINE[response.status_code], *lines, b"\r\n", response.body])
