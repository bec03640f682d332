"""All connections of one server, their WebSockets, and the limits on their number."""

import asyncio
from collections import Counter
from collections.abc import Callable

from oyez.concurrency.token_bucket import Rate, TokenBucket
from oyez.protocol import engineio
from oyez.protocol.engineio import HandshakeError
from oyez.protocol.session import Session
from oyez.server.connections.connection import Connection
from oyez.server.connections.context import ConnectionContext
from oyez.server.transports.transport import Transport
from oyez.server.types import Handshake, network_of


class ConnectionRegistry:
    """The connections of one server, and the limits on their number."""

    def __init__(self, context: ConnectionContext, new_session_id: Callable[[], str]) -> None:
        self._context = context
        self._new_session_id = new_session_id
        self.connections: dict[str, Connection] = {}
        self._closed: dict[str, Connection] = {}
        """Closed connections whose polling client has not been notified yet."""
        self.websockets: set[Transport] = set()
        """All WebSockets with a network connection, also those that probe and those that are being closed."""
        self._addresses: Counter[str] = Counter()
        """Connections by network; see `network_of`."""
        self._websocket_addresses: Counter[str] = Counter()
        """WebSockets by network."""
        self._handshakes = TokenBucket(Rate(context.limits.max_handshakes_per_second, 1.0), context.clock())
        self._all_closed: asyncio.Event | None = None
        self.stopping = False
        """True if no new connection is accepted because the server stops."""

    def open(self, handshake: Handshake, session: Session) -> Connection | HandshakeError:
        """Open a connection, or return why it is refused."""
        limits, network = self._context.limits, network_of(handshake.address)
        # A client that is being closed still uses resources.
        count = max(len(self.connections) + len(self._closed), len(self.websockets))
        if self.stopping or count >= limits.max_connections:
            return engineio.OVERLOADED
        if max(self._addresses[network], self._websocket_addresses[network]) >= limits.max_connections_per_address:
            return engineio.OVERLOADED
        if not self._handshakes.take(self._context.clock()):
            return engineio.OVERLOADED
        connection = Connection(self._new_session_id(), self._context, self, handshake, session)
        self.connections[connection.id] = connection
        self._addresses[network] += 1
        return connection

    def may_add_websocket(self, address: str) -> bool:
        """True if a client at `address` may open one more WebSocket for a connection that it has."""
        if len(self.websockets) >= self._context.limits.max_connections:
            return False
        return self._websocket_addresses[network_of(address)] < self._context.limits.max_connections_per_address

    def find(self, sid: str) -> Connection | None:
        """An open connection, or a closed one whose polling client has not been notified yet."""
        return self.connections.get(sid) or self._closed.get(sid)

    def unregister(self, connection: Connection) -> None:
        """The connection is closed, and stays known until `evict`."""
        self._closed[connection.id] = self.connections.pop(connection.id)

    def evict(self, connection: Connection) -> None:
        """The client of a closed connection has been notified, or will not ask again."""
        del self._closed[connection.id]
        self._context.wheel.cancel(connection)
        _decrement(self._addresses, network_of(connection.handshake.address))

    def add_websocket(self, websocket: Transport, address: str) -> None:
        """A WebSocket of a client at `address` has a network connection."""
        self.websockets.add(websocket)
        self._websocket_addresses[network_of(address)] += 1

    def remove_websocket(self, websocket: Transport, address: str) -> None:
        """The network connection of a WebSocket has ended."""
        if websocket in self.websockets:
            self.websockets.discard(websocket)
            _decrement(self._websocket_addresses, network_of(address))
        if self._all_closed is not None and not self.websockets:
            self._all_closed.set()

    async def wait_until_all_closed(self) -> None:
        """Wait until no WebSocket has a network connection."""
        if self.websockets:
            self._all_closed = asyncio.Event()
            await self._all_closed.wait()

    def start(self) -> None:
        """Accept connections."""
        self.stopping, self._all_closed = False, None

    def stop(self) -> None:
        """Refuse new connections."""
        self.stopping = True


def _decrement(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
