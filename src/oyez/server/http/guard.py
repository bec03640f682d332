"""What every HTTP answer has in common, and the end of connections whose parser may misread the next request.

On Oyez' own port no such request gets here (`protocol/http_framing.py`). Mounted in another application under uvicorn
one does. With httptools, the parser stops after the head of an `Upgrade` or CONNECT and takes the body for another
request; h11 accepts two lengths. The connection is closed with the answer, so no byte that follows is served. On every
port it is closed after an answer to `Expect: 100-continue` that came before the body was asked for.
"""

from collections.abc import Iterable, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

NOSNIFF = (b"x-content-type-options", b"nosniff")
"""A browser must not treat an answer as another content type than the one in its header."""
UNLESS_STATED = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
"""Headers of every answer that does not state its own: a browser that shows it loads and runs nothing for it, shows it
in no frame, and keeps no copy, because answers to back ends hold data of users. Pages and files state theirs."""
DEFENCES = (NOSNIFF, *UNLESS_STATED)
"""Headers of answers that are made without the application."""
CLOSE = (b"connection", b"close")
_BOTH_LENGTHS = frozenset({b"content-length", b"transfer-encoding"})
_STARTS = frozenset({"http.response.start", "websocket.http.response.start"})


class ObservedSend:
    """The `send` of an ASGI application, which notes whether the answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        self.begun = True
        await self._send(message)


class UpgradeGuard:
    """ASGI middleware: answers have headers against browsers' attacks, and connections whose parser may misread what
    follows are closed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        closes = scope["type"] == "http" and _may_misread_next(scope)
        awaited = scope["type"] == "http" and any(name == b"expect" for name, _ in scope["headers"])

        async def receive_guarded() -> Message:
            nonlocal awaited
            awaited = False
            return await receive()

        async def send_guarded(message: Message) -> None:
            if message["type"] in _STARTS:
                # A client that was not asked for its body need not send it: the next request would be read as the body.
                extra = [NOSNIFF, CLOSE] if closes or awaited else [NOSNIFF]
                message = {**message, "headers": add_defences(message.get("headers", ()), extra)}
            await send(message)

        await self._app(scope, receive_guarded, send_guarded)


def add_defences(headers: Iterable[Header], extra: Sequence[Header] = (NOSNIFF,)) -> list[Header]:
    """The headers of an answer: its own, `extra` in place of some, and those of `UNLESS_STATED` that it lacks."""
    names = {name for name, _ in extra}
    kept = [header for header in headers if header[0].lower() not in names]
    stated = {name.lower() for name, _ in kept}
    return [*kept, *extra, *(header for header in UNLESS_STATED if header[0] not in stated)]


def _may_misread_next(scope: Scope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return scope["method"] == "CONNECT" or b"upgrade" in names or names >= _BOTH_LENGTHS
