"""The long-polling transport, and the HTTP endpoint it is reached at.

A GET takes what is waiting for the client, or waits for it; a POST brings packets. One of each may be open at a time.
Statuses and bodies are those of the official server (Engine.IO protocol v4, "HTTP long-polling").
"""

import asyncio
import gzip
import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason, HandshakeError
from oyez.protocol.session import State
from oyez.server.outgoing import Outgoing

if TYPE_CHECKING:
    from oyez.server.connection import Connection
    from oyez.server.server import Server

PROBED_POLL_SECONDS = 0.1
"""How long a poll may stay open while a WebSocket probes: the client upgrades only when none is."""

_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)
"""In an Accept-Encoding header that does not rule it out."""

_NOOP = Outgoing(engineio.NOOP)


class Polling:
    """The transport of a connection that polls: what waits for its next GET."""

    write: Callable[[bytes], None] | None = None
    deflate = False

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._kept: deque[Outgoing] = deque()
        self._kept_bytes = 0
        self._poll: asyncio.Future[None] | None = None
        self._readable = asyncio.Event()
        self._readable.set()
        self.closing = False
        self.ended = False
        """Whether the client has been told that it is closed."""
        self.polled = False
        """Whether a GET is open."""
        self.posted = False
        """Whether a POST is open."""
        connection.transport = connection.polling = self

    def send(self, outgoing: Outgoing) -> None:
        limits = self._connection.server.limits
        if self.closing or (outgoing.volatile and self._kept_bytes + outgoing.size > limits.max_polling_buffer // 2):
            return
        self._keep(outgoing)
        if self._kept_bytes > limits.max_polling_buffer:
            self.abort()
            # Not now: whoever is sending may be walking over the room this socket would leave.
            loop = asyncio.get_running_loop()
            loop.call_soon(self._connection.close, engineio.SLOW_CONSUMER, "does not fetch what it is sent")

    def close(self, reason: CloseReason) -> None:
        """The next GET, or the one that waits, brings a close packet; where events are kept, the one behind them."""
        self.closing = True
        self._readable.set()
        self._end_waiting()

    def abort(self) -> None:
        """The same, but nothing of what is kept is sent before."""
        self._kept.clear()
        self.close(engineio.SLOW_CONSUMER)

    def pause_reading(self) -> None:
        self._readable.clear()

    def resume_reading(self) -> None:
        self._readable.set()

    def release(self) -> None:
        """End a GET that waits, with a noop if need be."""
        if self._poll is not None and not self._kept:
            self._keep(_NOOP)

    def hand_over(self) -> list[Outgoing]:
        """Another transport goes on: what was not fetched yet. A GET that still waits is told to end."""
        kept = [outgoing for outgoing in self._kept if outgoing is not _NOOP]
        self.abort()
        return kept

    async def readable(self) -> None:
        """Returns when the client's handlers keep up."""
        await self._readable.wait()

    async def fetch(self) -> bytes:
        """The next payload; waits for something to say, or, while a WebSocket probes, says a noop before long."""
        if not self._kept and not self.closing:
            # Looked up where the waiting begins: a probe that came any earlier found no poll to release.
            timeout = PROBED_POLL_SECONDS if self._connection.session.state is State.PROBED else None
            self._poll = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._poll
            except TimeoutError:
                return engineio.NOOP
            finally:
                self._poll = None
        packets = [packet for outgoing in self._kept for packet in outgoing.polling_packets()]
        self._kept.clear()
        self._kept_bytes = 0
        if self.closing and not (packets and self._connection.entered):
            # Not in one payload with events: official clients close as soon as they read it, and come to the events
            # beside it only then. Those they keep until they are connected again, so the position that they come back
            # with is an older one, and they would hear them twice. Who was never let in is sent no events.
            packets.append(engineio.CLOSE)
            self.ended = True
        return engineio.encode_payload(packets)

    def _keep(self, outgoing: Outgoing) -> None:
        self._kept.append(outgoing)
        self._kept_bytes += outgoing.size
        self._end_waiting()

    def _end_waiting(self) -> None:
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)


class PollingEndpoint:
    """The ASGI application behind `GET` and `POST /socket.io/?transport=polling`."""

    def __init__(self, server: "Server") -> None:
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        response = await self._respond(request)
        response.headers.update(dict(self._server.origins.headers(request.headers.get("origin"))))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        if not self._server.admits_page(request.headers, secure=_is_secure(request)):
            return _error(engineio.FORBIDDEN)
        if request.method == "OPTIONS":
            return self._preflight(request)
        query = request.query_params
        connection = self._server.find(query.get("sid", ""))
        if connection is not None and connection.closed and request.method != "GET":
            # All that is left to a closed session is to hear that it is.
            connection = None
        error = engineio.check_request(request.method, query, known=connection is not None, upgrade=False)
        if error is not None:
            return _error(error)
        if connection is None:
            return await self._open(request)
        polling = connection.polling
        if polling is None:
            # It has upgraded; what polls here is somebody else, or late.
            return _error(engineio.BAD_REQUEST)
        if request.method == "GET":
            return await self._get(request, connection, polling)
        if request.method == "POST":
            return await self._post(request, connection, polling)
        return _error(engineio.BAD_METHOD)

    def _preflight(self, request: Request) -> Response:
        headers = self._server.origins.preflight_headers(
            request.headers.get("origin"), request.headers.get("access-control-request-headers")
        )
        return Response(status_code=204, headers=dict(headers)) if headers else _error(engineio.BAD_METHOD)

    async def _open(self, request: Request) -> Response:
        handshake = self._server.read_handshake(
            request.headers, request.scope["query_string"], request.client, secure=_is_secure(request)
        )
        opened = self._server.open(handshake, State.POLLING)
        if isinstance(opened, HandshakeError):
            return _error(opened)
        polling = Polling(opened)
        opened.open()
        return self._payload(request, await polling.fetch())

    async def _get(self, request: Request, connection: "Connection", polling: Polling) -> Response:
        if polling.polled:
            connection.close(engineio.TRANSPORT_ERROR, "two polls at once")
            return Response(status_code=400)
        polling.polled = True
        fetching = asyncio.ensure_future(polling.fetch())
        leaving = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((fetching, leaving), return_when=asyncio.FIRST_COMPLETED)
            gone = not fetching.done()
        finally:
            polling.polled = False
            fetching.cancel()
            leaving.cancel()
        if gone:
            if connection.polling is polling:
                connection.close(engineio.TRANSPORT_CLOSE, "a poll was aborted")
            return Response(status_code=400)
        if polling.ended:
            self._server.bury(connection)
        return self._payload(request, fetching.result())

    async def _post(self, request: Request, connection: "Connection", polling: Polling) -> Response:
        if polling.posted or request.headers.get("content-type", "").startswith("application/octet-stream"):
            connection.close(engineio.TRANSPORT_ERROR, "two posts at once, or a binary body")
            return Response(status_code=400)
        polling.posted = True
        try:
            body = await _read_body(request, connection.max_message, self._server.limits.body_timeout)
            if body is None:
                return Response(status_code=413)
            await polling.readable()
            await connection.receive_payload(body)
        except (TimeoutError, ClientDisconnect):
            connection.close(engineio.TRANSPORT_ERROR, "a post that never ended")
            return Response(status_code=408)
        finally:
            polling.posted = False
        return Response("ok", media_type="text/html", headers={"cache-control": "no-store"})

    def _payload(self, request: Request, payload: bytes) -> Response:
        headers = {"cache-control": "no-store"}
        threshold = self._server.settings.compression_threshold
        if threshold and len(payload) >= threshold and _GZIP.search(request.headers.get("accept-encoding", "")):
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
    """Returns when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read_body(request: Request, limit: int, timeout: float) -> bytes | None:
    """The body, or None where it is longer than `limit`. Raises TimeoutError, ClientDisconnect."""
    body: bytearray | None = bytearray()
    async with asyncio.timeout(timeout):
        async for chunk in request.stream():
            # A body that is too long is read to its end all the same: then its sender hears the answer.
            if body is not None:
                body += chunk
                body = body if len(body) <= limit else None
    return None if body is None else bytes(body)
