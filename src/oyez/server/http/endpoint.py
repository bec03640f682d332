"""The Endpoint of a path, which accepts WebSockets, and what an endpoint needs of its server."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from oyez.protocol.engineio import HandshakeError
from oyez.server.cluster.membership import Membership
from oyez.server.connections.context import ConnectionContext
from oyez.server.connections.registry import ConnectionRegistry
from oyez.server.http.origin import OriginPolicy
from oyez.server.transports.transport import TransportListener
from oyez.server.types import Handshake
from oyez.settings import Limits, Settings


class OpeningRequest(NamedTuple):
    """A request that asks for a connection, or for the upgrade of one that polls."""

    headers: Mapping[str, str]
    """Lower-case names."""
    query_string: bytes
    query: Mapping[str, str]
    """The parameters in `query_string`."""
    client: tuple[str, int] | None
    """The address of the client; None if it has disconnected."""
    secure: bool
    """True if the client has connected over TLS."""


class ConnectionServer(Protocol):
    """The server at which an endpoint opens and finds connections."""

    @property
    def settings(self) -> Settings: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def origins(self) -> OriginPolicy: ...

    @property
    def context(self) -> ConnectionContext: ...

    @property
    def registry(self) -> ConnectionRegistry: ...

    def admits_page(self, headers: Mapping[str, str], client: tuple[str, int] | None, *, secure: bool) -> bool:
        """True if the page that sends a request from the address `client` may use the server."""

    def log_refusal(self, error: HandshakeError) -> None:
        """Log the refusal of a client that can never connect, and cannot show why."""

    def read_handshake(self, request: OpeningRequest) -> Handshake:
        """What is kept of the request that opens a connection."""


class Endpoint(Protocol):
    """What answers WebSockets at a path: a server, for Socket.IO or for plain JSON."""

    @property
    def settings(self) -> Settings: ...

    @property
    def membership(self) -> Membership | None:
        """The other nodes, which have sessions of their own; None if no request names a session."""

    def open_websocket(self, request: OpeningRequest) -> TransportListener | HandshakeError:
        """The listener of the WebSocket of an upgrade request, which the caller attaches next; or the refusal."""


Router = Callable[[str], Endpoint | None]
"""Finds the endpoint of a URL path."""
