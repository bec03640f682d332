"""The long-polling transport: what waits for the next GET of a client.

A GET fetches what waits, or waits for it; a POST brings packets. One of each may be open at a time. The behaviour is
that of the official server (Engine.IO protocol v4, "HTTP long-polling"); the HTTP side is `http/polling_endpoint.py`.
"""

import asyncio
import math
from contextlib import suppress
from weakref import proxy

from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason
from oyez.server.transports.outgoing import OutboundPacket
from oyez.server.transports.send_buffer import SendBuffer
from oyez.server.transports.transport import Transport, TransportListener

DROPPED = frozenset({engineio.TRANSPORT_CLOSE, engineio.PING_TIMEOUT, engineio.PARSE_ERROR})
"""Reasons after which nothing that is kept is sent: the client has gone, or cannot be understood."""
BURST = 8
"""How many times the limit may wait for a client that polls: events that are published at once arrive faster than any
client polls."""
PROBED_POLL_SECONDS = 0.1
"""Seconds that a poll may stay open while a WebSocket probes: the client upgrades only when no poll is open."""
NOTICE_SECONDS = 1.0
"""Most seconds that a refusal by status waits until the client has received the event that explains it."""

_NOOP = OutboundPacket(engineio.NOOP)


class Polling(Transport):
    """The transport of a connection that polls."""

    def __init__(self, listener: TransportListener) -> None:
        # Not a reference cycle: it would keep the session's request until the garbage collector runs.
        self._listener: TransportListener = proxy(listener)
        self._clock = listener.context.clock
        limits = listener.context.limits
        self._timeout = limits.close_timeout
        self._max_buffer = limits.max_polling_buffer
        self._buffer = SendBuffer[OutboundPacket]()
        self._poll: asyncio.Future[None] | None = None
        self._readable = asyncio.Event()
        self._readable.set()
        self._last_fetch = self._clock()
        self._fetched = asyncio.Event()
        self._fetched.set()
        """Set while there is room for the answers to what the client sends."""
        self._next_get: asyncio.Event | None = None
        """Set by the next GET, while a refusal waits for it."""
        self._last_packet: bytes | None = None
        """The packet that ends the session, after what is kept. None: the request after that gets an error status."""
        self._closing = False
        self.get_open = False
        """True if a GET is open; changed by `begin_get` and `end_get`."""
        self._answered = False
        """True if the open GET has its payload, so that nothing more can be sent with it."""
        self.post_open = False
        """True if a POST is open; changed by `begin_post` and `end_post`."""

    # What the connection calls.

    @property
    def closing(self) -> bool:
        return self._closing

    @property
    def max_buffer(self) -> int:
        return self._max_buffer

    @property
    def unsent(self) -> int:
        return self._buffer.size

    @property
    def idle_poll(self) -> bool:
        return self.get_open and not self._answered and not self._buffer

    @property
    def unpolled_since(self) -> float:
        return math.inf if self.get_open else self._last_fetch

    @property
    def fetchable(self) -> bool:
        return bool(self._buffer) or self._last_packet is not None

    @property
    def full(self) -> bool:
        return not self._fetched.is_set()

    def send(self, packet: OutboundPacket) -> None:
        most = self._max_buffer
        if self._closing or (packet.volatile and self._buffer.size + packet.size > most // 2):
            return
        # One message may be longer than the limit, so only what was kept before it counts.
        if self._buffer.size > most and not self._keeps_up():
            self.abort()
            # Not now: the sender may be iterating over the room that this socket leaves.
            asyncio.get_running_loop().call_soon(
                self._listener.on_closed, self, engineio.SLOW_CONSUMER, "does not fetch what it is sent"
            )
            return
        self._keep(packet)
        if self._buffer.size > most // 2:
            self._fetched.clear()

    def _keeps_up(self) -> bool:
        """True if more than the limit may wait: a GET is about to fetch it, or the last one was a moment ago."""
        late = self._clock() - self._last_fetch > self._timeout
        return self._poll is not None or not (late or self._buffer.size > BURST * self._max_buffer)

    def close(self, reason: CloseReason) -> None:
        """End the session. What is kept is still fetched, unless the client has gone or cannot be understood.

        Then a GET gets the status of an unknown session, as with official servers: any client reconnects after it. A
        close packet is final for some clients, so only ends that are final have one. It has a payload of its own:
        official clients close as soon as they read it, and process the events beside it only then. They keep these
        events until they are connected again, so the position that they reconnect with is an older one, and they would
        receive the events twice.
        """
        if self._closing:
            return
        if reason in DROPPED:
            self._take()
        if reason is engineio.FORCED_SERVER_CLOSE:
            self._last_packet = engineio.CLOSE
        self._end(engineio.NOOP if reason is engineio.TRANSPORT_CLOSE else None)

    async def drained(self) -> None:
        while self._buffer and not self._closing:
            await self._buffer.drained()

    def abort(self) -> None:
        """End the session; nothing of what is kept is sent."""
        self._take()
        self._end(None)

    def pause_reading(self) -> None:
        self._readable.clear()

    def resume_reading(self) -> None:
        self._readable.set()

    def release(self) -> None:
        if self._poll is not None and not self._buffer:
            self._keep(_NOOP)

    def detach(self) -> list[OutboundPacket]:
        kept = [packet for packet in self._take() if packet is not _NOOP]
        # A GET that waits gets a close packet.
        self._end(engineio.CLOSE)
        return kept

    async def wait_for_room(self) -> bool:
        """Wait until half of the limit or less is kept.

        False if the client has fetched nothing for `close_timeout`: it may send all it has before it fetches.
        """
        if not self._fetched.is_set():
            try:
                async with asyncio.timeout(self._timeout):
                    await self._fetched.wait()
            except TimeoutError:
                return False
        return True

    # What the requests of the client call.

    def begin_get(self) -> bool:
        """False if the client has sent a second GET: then the session ends, as with official servers."""
        if self.get_open:
            self._end(engineio.CLOSE)
            self._listener.on_closed(self, engineio.TRANSPORT_ERROR, "two polls at once")
            return False
        self.get_open, self._answered = True, False
        return True

    def end_get(self, *, aborted: bool) -> None:
        """The GET is answered; if `aborted`, the client has closed it before that, which ends the session."""
        self.get_open = False
        if aborted:
            self._listener.on_closed(self, engineio.TRANSPORT_CLOSE, "a poll was aborted")

    def begin_post(self) -> bool:
        """False if the client has sent a second POST: then the session ends, as with official servers."""
        if self.post_open:
            self._listener.on_closed(self, engineio.TRANSPORT_ERROR, "two posts at once")
            return False
        self.post_open = True
        return True

    def end_post(self) -> None:
        """The POST is answered."""
        self.post_open = False

    async def receive(self, body: bytes) -> None:
        """Pass a payload on once the client's handlers keep up. Returns when its packets have been handled."""
        await self._readable.wait()
        await self._listener.on_payload(body)

    async def wait_for_next_get(self) -> None:
        """Return when the client has received what the open GET brings, so when it sends the next GET.

        After `NOTICE_SECONDS`, or if no GET is open, returns anyway.
        """
        if self.get_open:
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
        if not self._buffer and not self._closing:
            # Looked up when the waiting begins: an earlier probe found no poll to release.
            timeout = PROBED_POLL_SECONDS if self._listener.probing else None
            self._poll = asyncio.get_running_loop().create_future()
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await self._poll
            finally:
                self._poll = None
        self._answered = True
        if self._buffer:
            return engineio.encode_payload(packet for kept in self._take() for packet in kept.polling_packets())
        if not self._closing:
            return engineio.NOOP
        # Also if the poll timed out in the same iteration of the loop: after a noop, an upgrading client does not poll.
        last, self._last_packet = self._last_packet, None
        return last

    def _take(self) -> list[OutboundPacket]:
        """Remove and return what is kept."""
        kept = self._buffer.take()
        self._last_fetch = self._clock()
        self._fetched.set()
        return kept

    def _keep(self, packet: OutboundPacket) -> None:
        self._buffer.append(packet, packet.size)
        self._end_waiting()

    def _end(self, answer: bytes | None) -> None:
        """Send nothing more. A GET that waits gets the packet `answer`, if the session has no other last packet."""
        self._closing = True
        if self.idle_poll and self._last_packet is None:
            self._last_packet = answer
        self._readable.set()
        self._fetched.set()
        self._buffer.report()
        self._end_waiting()

    def _end_waiting(self) -> None:
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)
