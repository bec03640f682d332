"""What answers WebSockets at a path."""

from collections.abc import Callable, Mapping
from typing import Protocol

from oyez.protocol.engineio import HandshakeError
from oyez.server.cluster.membership import Membership
from oyez.server.transports.transport import TransportListener
from oyez.server.types import Handshake
from oyez.settings import Settings


class Endpoint(Protocol):
    """What answers WebSockets at a path: a server, for Socket.IO or for plain JSON."""

    @property
    def settings(self) -> Settings: ...

    @property
    def membership(self) -> Membership | None:
        """The other nodes, which have sessions of their own; None if no request names a session."""

    def read_handshake(
        self, headers: Mapping[str, str], query_string: bytes, client: tuple[str, int] | None, *, secure: bool
    ) -> Handshake:
        """What is kept of the request that opens a connection."""

    def open_websocket(
        self,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        read_handshake: Callable[[], Handshake],
        *,
        secure: bool,
    ) -> TransportListener | HandshakeError:
        """Who listens to the WebSocket of an upgrade request, to be attached next; or why it is refused."""


Router = Callable[[str], Endpoint | None]
"""Finds the endpoint of a URL path."""
