"""Idempotency keys for HTTP writes: a request that is sent again with its key has its effect once, and the same answer.

A middleware around the systems' own HTTP APIs and the routes of members, so that no write ignores the key, whichever
route it is. Concurrent duplicates wait for the first (`runtime/idempotency.py`); transactions of a request with a key
keep their results in the database (`idempotent_steps.py`), so that a repeat after a crash gets the same answer.
"""

import hashlib
from http import HTTPStatus

import msgspec
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oyez.errors import RefusedError
from oyez.runtime.http import Authorize, answer_or_refuse, read_bytes, read_idempotency_key
from oyez.runtime.idempotency import Idempotency
from oyez.settings import Limits

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""Methods that have effects; the key has no meaning for others (RFC 9110, section 9.2.1)."""
REPLAYED = "idempotent-replayed"
"""The header of an answer that was given before, as Stripe and others name it."""


class _Kept(msgspec.Struct, array_like=True):
    """An answer, as it is kept for repeats."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def build(self) -> Response:
        response = Response(self.body, self.status)
        response.raw_headers = list(self.headers)
        return response


class _NotKeptError(Exception):
    """The request had no effect, or its outcome is not known: the same key may be tried again."""

    def __init__(self, answer: _Kept) -> None:
        super().__init__(answer.status)
        self.answer = answer


class IdempotencyMiddleware:
    """The middleware of one system."""

    def __init__(self, app: ASGIApp, *, idempotency: Idempotency, authorize: Authorize, limits: Limits) -> None:
        self._app = app
        self._idempotency = idempotency
        self._authorize = authorize
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in WRITES or not _has_key(scope):
            await self._app(scope, receive, send)
            return
        response = await answer_or_refuse(Request(scope, receive), self._answer)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        key = read_idempotency_key(request)
        body = await read_bytes(request, self._limits)
        answered = False

        async def work() -> bytes:
            nonlocal answered
            answered = True
            kept = await _run(self._app, request, body)
            if kept.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise _NotKeptError(kept)
            return msgspec.msgpack.encode(kept)

        name = f"http\0{self._caller(request)}\0{key}"
        asked = msgspec.msgpack.encode((request.method, request.url.path, request.url.query, body))
        try:
            kept = await self._idempotency.run(name, asked, work, bound=True)
        except _NotKeptError as failed:
            return failed.answer.build()
        response = msgspec.msgpack.decode(kept, type=_Kept).build()
        if not answered:
            MutableHeaders(raw=response.raw_headers)[REPLAYED] = "true"
        return response

    def _caller(self, request: Request) -> str:
        """Whose key it is. All services of a system share theirs, as they sign new service keys from time to time.

        On a route that asks for no service key, or will refuse this one, the key is that of the caller's credentials.
        """
        try:
            self._authorize(request)
        except RefusedError:
            given = [request.headers.get(name, "") for name in ("authorization", "cookie")]
            return hashlib.sha256("\0".join(given).encode()).hexdigest()
        return ""


def _has_key(scope: Scope) -> bool:
    return any(name == b"idempotency-key" for name, _ in scope["headers"])


async def _run(app: ASGIApp, request: Request, body: bytes) -> _Kept:
    """The answer of `app` to `request`, whose body has been read."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    answer = _Kept(0, [], b"")

    async def receive() -> Message:
        return unread.pop() if unread else await request.receive()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")

    await app(request.scope, receive, send)
    return answer
