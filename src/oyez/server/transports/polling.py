"""The long-polling transport, and the HTTP endpoint it is reached at.

A GET takes what is waiting for the client, or waits for it; a POST brings packets. One of each may be open at a time.
Statuses and bodies are those of the official server (Engine.IO protocol v4, "HTTP long-polling").
"""

import asyncio
import gzip
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from weakref import proxy

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason, HandshakeError
from oyez.protocol.session import State
from oyez.server.http.client_files import GZIP
from oyez.server.transports.budget import REQUEST_COST, MemoryBudget
from oyez.server.transports.outgoing import OutboundPacket

if TYPE_CHECKING:
    from oyez.server.connections.connection import Connection
    from oyez.server.server import Server

DROPPED = frozenset({engineio.TRANSPORT_CLOSE, engineio.PING_TIMEOUT, engineio.PARSE_ERROR})
"""Reasons after which nothing that is kept is sent: the client has gone, or cannot be understood."""
BURST = 8
"""How many times the limit may wait for a client that polls: what is published at once comes faster than any client."""
PROBED_POLL_SECONDS = 0.1
"""How long a poll may stay open while a WebSocket probes: the client upgrades only when none is."""

NOTICE_SECONDS = 1.0
"""How long a refusal by status waits until the client has received the event that explains it."""

_NOOP = OutboundPacket(engineio.NOOP)


class Polling:
    """The transport of a connection that polls: what waits for its next GET."""

    write: Callable[[bytes], None] | None = None
    deflate = False

    def __init__(self, connection: "Connection") -> None:
        # Not a reference cycle: it would keep the session's request until the garbage collector runs.
        self._connection: Connection = proxy(connection)
        self._kept: deque[OutboundPacket] = deque()
        self._kept_bytes = 0
        self._drained = asyncio.Event()
        self._poll: asyncio.Future[None] | None = None
        self._readable = asyncio.Event()
        self._readable.set()
        self._last_fetch = connection.server.clock()
        self._fetched = asyncio.Event()
        self._fetched.set()
        """Set while there is room for the answers to what the client sends."""
        self._next_get: asyncio.Event | None = None
        """Set by the next GET, while a refusal waits for it."""
        self._farewell: bytes | None = None
        """The packet that ends the session, after what is kept. None: the request after that gets an error status."""
        self.closing = False
        self.polled = False
        """Whether a GET is open."""
        self.posted = False
        """Whether a POST is open."""
        connection.transport = connection.polling = self

    @property
    def waiting(self) -> bool:
        """True if a GET waits for packets."""
        return self.polled and not self._kept

    @property
    def pending(self) -> bool:
        """True if the next GET brings something, also after the end of the session."""
        return bool(self._kept) or self._farewell is not None

    def send(self, outgoing: OutboundPacket) -> None:
        most = self._connection.server.limits.max_polling_buffer
        if self.closing or (outgoing.volatile and self._kept_bytes + outgoing.size > most // 2):
            return
        # One message may be longer than the limit, so only what was kept before it counts.
        if self._kept_bytes > most and not self._keeps_up(most):
            self.abort()
            # Not now: the sender may be iterating over the room that this socket leaves.
            loop = asyncio.get_running_loop()
            loop.call_soon(self._connection.close, engineio.SLOW_CONSUMER, "does not fetch what it is sent")
            return
        self._keep(outgoing)
        if self._kept_bytes > most // 2:
            self._fetched.clear()

    def _keeps_up(self, most: int) -> bool:
        """True if more than `most` bytes may wait: a GET is about to take them, or the last one was a moment ago."""
        server = self._connection.server
        late = server.clock() - self._last_fetch > server.limits.close_timeout
        return self._poll is not None or not (late or self._kept_bytes > BURST * most)

    def close(self, reason: CloseReason) -> None:
        """End the session. What is kept is still fetched, unless the client has gone or cannot be understood.

        Then a GET gets the status of an unknown session, as with official servers: any client comes back after it. A
        close packet is final for some clients, so only ends that are final have one. It has a payload of its own:
        official clients close as soon as they read it, and come to the events beside it only then. Those they keep
        until they are connected again, so the position that they come back with is an older one, and they would
        receive the events twice.
        """
        if self.closing:
            return
        if reason in DROPPED:
            self._take()
        if reason is engineio.FORCED_SERVER_CLOSE:
            self._farewell = engineio.CLOSE
        self._end(engineio.NOOP if reason is engineio.TRANSPORT_CLOSE else None)

    async def drained(self) -> None:
        while self._kept and not self.closing:
            self._drained.clear()
            await self._drained.wait()

    def abort(self) -> None:
        """End the session; nothing of what is kept is sent."""
        self._take()
        self._end(None)

    def overlap(self) -> None:
        """The client has sent a second GET, so the one that waits ends the session, as with official servers."""
        self._end(engineio.CLOSE)

    def _end(self, answer: bytes | None) -> None:
        """Nothing more is sent. A GET that waits gets the packet `answer`, if the session has no other last packet."""
        self.closing = True
        if self.waiting and self._farewell is None:
            self._farewell = answer
        self._readable.set()
        self._fetched.set()
        self._drained.set()
        self._end_waiting()

    def pause_reading(self) -> None:
        self._readable.clear()

    def resume_reading(self) -> None:
        self._readable.set()

    def release(self) -> None:
        """End a GET that waits, with a noop if need be."""
        if self._poll is not None and not self._kept:
            self._keep(_NOOP)

    def hand_over(self) -> list[OutboundPacket]:
        """Another transport takes over: returns what was not fetched yet. A waiting GET gets a close packet."""
        kept = [outgoing for outgoing in self._take() if outgoing is not _NOOP]
        self._end(engineio.CLOSE)
        return kept

    async def readable(self) -> None:
        """Returns when the client's handlers keep up."""
        await self._readable.wait()

    async def fetched(self) -> bool:
        """Wait until there is room for another answer to the client: until half of the limit or less is kept.

        False if the client has fetched nothing for `close_timeout`: it may send all it has before it fetches.
        """
        if not self._fetched.is_set():
            try:
                async with asyncio.timeout(self._connection.server.limits.close_timeout):
                    await self._fetched.wait()
            except TimeoutError:
                return False
        return True

    async def wait_for_next_get(self) -> None:
        """Return when the client has received what the open GET brings, so when it sends the next GET.

        After `NOTICE_SECONDS`, or if no GET is open, returns anyway.
        """
        if self.polled:
            self._next_get = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(NOTICE_SECONDS):
                    await self._next_get.wait()
            self._next_get = None

    async def fetch(self) -> bytes | None:
        """The next payload; None if the session is over and no packet is left.

        Waits for packets; while a WebSocket probes, returns a noop after a short time.
        """
        if self._next_get is not None:
            self._next_get.set()
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
        if not self._kept:
            farewell, self._farewell = self._farewell, None
            return farewell
        return engineio.encode_payload(packet for outgoing in self._take() for packet in outgoing.polling_packets())

    def _take(self) -> list[OutboundPacket]:
        """What is kept, which is kept no longer."""
        kept = list(self._kept)
        self._kept.clear()
        self._kept_bytes = 0
        self._last_fetch = self._connection.server.clock()
        self._fetched.set()
        self._drained.set()
        return kept

    def _keep(self, outgoing: OutboundPacket) -> None:
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
            self._server.note_refusal(error)
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
        return self._answer(request, await polling.fetch())

    async def _get(self, request: Request, connection: "Connection", polling: Polling) -> Response:
        if polling.polled:
            polling.overlap()
            connection.close(engineio.TRANSPORT_ERROR, "two polls at once")
            return Response(status_code=400)
        polling.polled = True
        connection.budget.packets += REQUEST_COST
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
        connection.bury_when_told()
        return self._answer(request, fetching.result())

    async def _post(self, request: Request, connection: "Connection", polling: Polling) -> Response:
        if polling.posted:
            connection.close(engineio.TRANSPORT_ERROR, "two posts at once")
            return Response(status_code=400)
        polling.posted = True
        try:
            # The Content-Type does not matter: python-engineio up to 4.2 sends its text as `application/octet-stream`.
            body = await _read_body(request, connection, self._server.unfinished)
            if body is None:
                if not connection.closed:
                    connection.refuse_body()
                    # Official clients close at this status, and would not receive the event that explains it.
                    await polling.wait_for_next_get()
                return Response(status_code=413)
            await polling.readable()
            await connection.receive_payload(body)
        except (TimeoutError, ClientDisconnect):
            connection.close(engineio.TRANSPORT_ERROR, "a post that never ended")
            return Response(status_code=408)
        finally:
            polling.posted = False
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
    """Returns when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read_body(request: Request, connection: "Connection", unfinished: MemoryBudget) -> bytes | None:
    """The body, or None if it is longer than it may be. Raises TimeoutError, ClientDisconnect."""
    body: bytearray | None = bytearray()

    def give_up() -> None:
        nonlocal body
        body = None
        connection.close(engineio.SERVER_BUSY, "an unfinished body")

    try:
        async with asyncio.timeout(connection.server.limits.body_timeout):
            async for chunk in request.stream():
                # A body that is too long is read to its end all the same: then its sender receives the answer.
                if body is not None:
                    body += chunk
                    body = body if len(body) <= connection.max_message else None
                    unfinished.hold(request, len(body or b""), give_up)
    finally:
        unfinished.release(request)
    return None if body is None else bytes(body)
