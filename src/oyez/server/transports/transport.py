"""What connections and their transports ask of each other.

A transport carries the packets of one client over WebSocket or HTTP. It does not know what a connection is: it calls a
`TransportListener`, which is the connection, or the upgrade of a connection for a WebSocket that still probes.
"""

import math
from collections.abc import Callable
from typing import Protocol

from oyez.concurrency.cooperative_queue import CooperativeQueue
from oyez.protocol.engineio import CloseReason
from oyez.server.transports.budget import Budget, InputGate
from oyez.server.transports.outgoing import OutboundPacket
from oyez.settings import Limits

PACKETS_PER_ITERATION = 100
"""Packets of one client that are handled before other clients have their turn: some hundred microseconds."""


class TransportContext(Protocol):
    """What all transports of a server share."""

    @property
    def limits(self) -> Limits: ...

    @property
    def clock(self) -> Callable[[], float]:
        """Monotonic time in seconds."""

    @property
    def gate(self) -> InputGate:
        """Bounds the input of all busy connections in one iteration of the loop."""

    @property
    def disconnect_queue(self) -> CooperativeQueue:
        """Network connections that clients have ended, closed a few per loop iteration."""

    @property
    def compression_threshold(self) -> int:
        """Bytes of text from which on a packet is deflated for clients that can inflate."""


class TransportListener(Protocol):
    """What a transport calls, and what it may read of the client that it serves."""

    @property
    def public_id(self) -> str:
        """What names the connection in log lines."""

    @property
    def context(self) -> TransportContext: ...

    @property
    def budget(self) -> Budget:
        """Counts the packets and bytes that the client sends."""

    @property
    def max_message(self) -> int:
        """Bytes that one message of the client may have."""

    @property
    def authenticated(self) -> bool:
        """True if a namespace has accepted the client. Before that, it may send only little."""

    @property
    def holds_memory(self) -> bool:
        """True if unfinished input of the client is counted, so that every read has to be reported."""

    @property
    def ignores_close(self) -> bool:
        """True if the client does not notice a CLOSE frame, but only the end of the network connection."""

    @property
    def probing(self) -> bool:
        """True while a WebSocket probes: a poll has to end soon, because clients upgrade only between two polls."""

    def attach(self, transport: "WebSocketTransport") -> None:
        """Use `transport`, which has just been created. `on_open` follows."""

    def on_open(self, transport: "WebSocketTransport") -> None:
        """The network connection of `transport` is ready for packets."""

    def on_text(self, text: bytes) -> None:
        """A text message was received."""

    def on_binary(self, data: bytes) -> None:
        """A binary message was received."""

    async def on_payload(self, body: bytes) -> None:
        """A polling body was received. Returns when its packets have been handled."""

    def on_pong(self) -> None:
        """The client has answered a WebSocket ping."""

    def on_read(self, unfinished: int) -> None:
        """Input was received and counted in `budget`; `unfinished` bytes of it belong to messages that have not ended.

        Charges the client, which may pause reading or close the transport.
        """

    def on_writable(self, write: Callable[[bytes], None] | None) -> None:
        """`write` writes frames straight to the network from now on; None: packets have to be sent by `send`."""

    def on_closed(self, transport: "Transport", reason: CloseReason, detail: str = "") -> None:
        """The client has gone or has broken the protocol: close `transport`, and all that depends on it."""

    def on_disconnected(self, transport: "WebSocketTransport") -> None:
        """The network connection of `transport` has ended. `on_closed` follows."""


class Transport(Protocol):
    """Carries the packets of a connection: WebSocket, WebSocket over ASGI, or polling.

    The defaults are right for transports that send without being asked.
    """

    __slots__ = ()

    deflate: bool = False
    """True if the client understands deflated frames. Only for transports with `write`."""
    write: Callable[[bytes], None] | None = None
    """Writes WebSocket frames straight to the network; None while that is not possible."""

    @property
    def closing(self) -> bool:
        """True if nothing more can be sent: the client has gone, or `close` was called."""
        ...

    @property
    def max_buffer(self) -> int:
        """Bytes that may wait for the client before it counts as too slow."""
        ...

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client."""
        ...

    @property
    def idle_poll(self) -> bool:
        """True if a request of the client waits for packets."""
        return False

    @property
    def unpolled_since(self) -> float:
        """Time since which the client has had no request open for packets; infinite if it needs none, or has one."""
        return math.inf

    @property
    def fetchable(self) -> bool:
        """True if the client can still fetch something, also after the end of the session."""
        return False

    @property
    def full(self) -> bool:
        """True if the client should fetch something before it is sent more answers."""
        return False

    async def wait_for_room(self) -> bool:
        """Wait while `full`; False if the client has fetched nothing for `close_timeout` seconds."""
        return True

    def send(self, packet: OutboundPacket) -> None:
        """Send now, or keep in order; reports the client as too slow if too much is kept."""

    async def drained(self) -> None:
        """Returns when the client has received nearly everything, or nothing more can be sent."""

    def close(self, reason: CloseReason) -> None:
        """Send what is kept, then end. Does nothing if repeated."""

    def abort(self) -> None:
        """End at once."""

    def ping(self) -> bool:
        """Send a WebSocket ping; False if no pong is reported, because the ASGI server does that by itself."""
        return False

    def pause_reading(self) -> None:
        """Receive nothing: the handlers of the client do not keep up."""

    def resume_reading(self) -> None:
        """Receive again."""

    def release(self) -> None:
        """Answer a request that waits for packets: the client waits for the answer before it upgrades."""
        return

    def detach(self) -> list[OutboundPacket]:
        """Another transport takes over. Returns the packets that the client has not fetched."""
        return []


class WebSocketTransport(Transport, Protocol):
    """A WebSocket, which can also take over a connection from polling."""

    __slots__ = ()

    def refuse(self, reason: CloseReason) -> None:
        """Close without waiting for the client's answer."""

    def take_over(self, listener: TransportListener) -> None:
        """Serve `listener` from now on, and not the upgrade that has listened so far."""
