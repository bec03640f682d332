"""The HTTP endpoint of long-polling. Statuses and bodies are those of the official server."""

import asyncio
import gzip

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from oyez.protocol import engineio
from oyez.protocol.engineio import HandshakeError
from oyez.protocol.session import Session, State
from oyez.protocol.websocket import combine_headers
from oyez.server.connections.connection import Connection
from oyez.server.http.client_files import GZIP
from oyez.server.http.endpoint import ConnectionServer, OpeningRequest
from oyez.server.transports.budget import REQUEST_COST, MemoryBudget
from oyez.server.transports.polling import Polling


class PollingEndpoint:
    """The ASGI application for `GET` and `POST /socket.io/?transport=polling`."""

    def __init__(self, server: ConnectionServer) -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        response = await self._respond(request)
        response.headers.update(dict(self._server.origins.headers(request.headers.get("origin"))))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if not self._server.admits_page(request.headers, request.client, secure=_is_secure(request)):
            return _error(engineio.FORBIDDEN)
        if request.method == "OPTIONS":
            return self._preflight(request)
        query = request.query_params
        connection = self._find(query.get("sid", ""))
        if connection is not None and connection.closed and request.method != "GET":
            # The client of a closed session can only fetch the packets that are left.
            connection = None
        error = engineio.check_request(request.method, query, known=connection is not None, upgrade=False)
        if error is not None:
            self._server.log_refusal(error)
            return _error(error)
        if connection is None:
            return await self._open(request)
        polling = connection.transport
        if not isinstance(polling, Polling):
            # The client has upgraded: this request is late, or another client's.
            return _error(engineio.BAD_REQUEST)
        if request.method == "GET":
            return await self._get(request, connection, polling)
        if request.method == "POST":
            return await self._post(request, connection, polling)
        return _error(engineio.BAD_METHOD)

    def _find(self, sid: str) -> Connection | None:
        """The connection with this id, after its deadlines that have passed: the timer wheel may be late."""
        connection = self._server.registry.find(sid)
        if connection is not None:
            connection.check_now()
        return self._server.registry.find(sid)

    def _preflight(self, request: Request) -> Response:
        headers = self._server.origins.preflight_headers(
            request.headers.get("origin"), request.headers.get("access-control-request-headers")
        )
        return Response(status_code=204, headers=dict(headers)) if headers else _error(engineio.BAD_METHOD)

    async def _open(self, request: Request) -> Response:
        opening = OpeningRequest(
            combine_headers(request.scope["headers"]),
            request.scope["query_string"],
            request.query_params,
            request.client,
            _is_secure(request),
        )
        session = Session(self._server.limits, State.POLLING)
        opened = self._server.registry.open(self._server.read_handshake(opening), session)
        if isinstance(opened, HandshakeError):
            return _error(opened)
        polling = Polling(opened)
        opened.attach(polling)
        opened.open()
        return self._answer(request, await polling.fetch())

    async def _get(self, request: Request, connection: Connection, polling: Polling) -> Response:
        if not polling.begin_get():
            return Response(status_code=400)
        connection.budget.packets += REQUEST_COST
        fetching = asyncio.ensure_future(polling.fetch())
        leaving = asyncio.ensure_future(_disconnected(request))
        aborted = False
        try:
            await asyncio.wait((fetching, leaving), return_when=asyncio.FIRST_COMPLETED)
            aborted = not fetching.done()
        finally:
            fetching.cancel()
            leaving.cancel()
            polling.end_get(aborted=aborted)
        if aborted:
            return Response(status_code=400)
        connection.evict_when_notified()
        return self._answer(request, fetching.result())

    async def _post(self, request: Request, connection: Connection, polling: Polling) -> Response:
        if not polling.begin_post():
            return Response(status_code=400)
        try:
            # The Content-Type does not matter: python-engineio up to 4.2 sends its text as `application/octet-stream`.
            async with asyncio.timeout(self._server.limits.body_timeout):
                body = await _read_body(request, connection, self._server.context.unfinished)
            if body is None:
                if not connection.closed:
                    connection.refuse_body()
                    # Official clients close at this status, and would not receive the event that explains it.
                    await polling.wait_for_next_get()
                return Response(status_code=413)
            await polling.receive(body)
        except (TimeoutError, ClientDisconnect):
            connection.close(engineio.TRANSPORT_ERROR, "a post that never ended")
            return Response(status_code=408)
        finally:
            polling.end_post()
        if connection.session.reason is engineio.PARSE_ERROR:
            return _error(engineio.BAD_REQUEST)
        return Response("ok", media_type="text/html", headers={"cache-control": "no-store"})

    def _answer(self, request: Request, payload: bytes | None) -> Response:
        if payload is None:
            return _error(engineio.UNKNOWN_SESSION)
        headers = {"cache-control": "no-store"}
        threshold = self._server.settings.compression_threshold
        if threshold and len(payload) >= threshold and GZIP.search(request.headers.get("accept-encoding", "")):
            # Level 1: JSON shrinks nearly as much, at a third of the time.
            payload = gzip.compress(payload, 1)
            headers["content-encoding"] = "gzip"
        return Response(payload, media_type="text/plain; charset=UTF-8", headers=headers)


def _is_secure(request: Request) -> bool:
    return bool(request.scope.get("scheme") == "https")


def _error(error: HandshakeError) -> Response:
    body = msgspec.json.encode({"code": error.code, "message": error.message})
    headers = {"retry-after": str(engineio.RETRY_AFTER)} if error.status == 503 else None
    return Response(body, status_code=error.status, headers=headers, media_type="application/json")


async def _disconnected(request: Request) -> None:
    """Returns when the client has closed the request."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read_body(request: Request, connection: Connection, unfinished: MemoryBudget) -> bytes | None:
    """The body, or None if it is longer than it may be. Raises ClientDisconnect."""
    body: bytearray | None = bytearray()

    def give_up() -> None:
        nonlocal body
        body = None
        connection.close(engineio.SERVER_BUSY, "an unfinished body")

    try:
        async for chunk in request.stream():
            # A body that is too long is still read to its end, so that its sender receives the answer.
            if body is not None:
                body += chunk
                body = body if len(body) <= connection.max_message else None
                unfinished.hold(request, len(body or b""), give_up)
    finally:
        unfinished.release(request)
    return None if body is None else bytes(body)
