"""What a connection asks of whatever carries its packets; it knows no more of WebSockets or polling than this."""

from collections.abc import Callable
from typing import Protocol

from oyez.protocol.engineio import CloseReason
from oyez.server.transports.outgoing import OutboundPacket

PACKETS_A_TURN = 100
"""Packets of one client that are handled before others have their turn: some hundred microseconds."""


class Transport(Protocol):
    """What carries a connection's packets: WebSocket, ASGI WebSocket or polling."""

    @property
    def deflate(self) -> bool:
        """Whether the client understands deflated frames, where there is `write`."""

    @property
    def write(self) -> Callable[[bytes], None] | None:
        """Writes WebSocket frames straight to the network; None while that is not possible."""

    @property
    def closing(self) -> bool:
        """Whether nothing more can be sent: it has gone, or was told to go."""

    def send(self, outgoing: OutboundPacket) -> None:
        """Send now or keep in order; closes the connection where too much is kept."""

    async def drained(self) -> None:
        """Returns when the client has taken what was sent, but for little, or nothing more can be sent."""

    def close(self, reason: CloseReason) -> None:
        """Send what is kept, then end. Harmless when repeated."""

    def abort(self) -> None:
        """End at once."""

    def pause_reading(self) -> None:
        """Let the client wait: its handlers do not keep up."""

    def resume_reading(self) -> None:
        """Take up reading again."""


class Candidate(Transport, Protocol):
    """A WebSocket that may take over from polling."""

    def ping(self) -> bool:
        """Send a WebSocket ping, whose pong the connection hears of; False where that is somebody else's business."""

    def take_over(self) -> None:
        """It has: from now on it carries the connection."""
