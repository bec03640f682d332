"""A Forwarder brings requests to the nodes that have their sessions.

On one machine it hands off the client's connection, if that is possible: then nothing has to be forwarded afterwards.
Otherwise it opens a tunnel, and the connection to the other node stays for the request, or for the WebSocket.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from oyez.protocol.http_framing import Head
from oyez.server.cluster.membership import Membership
from oyez.server.cluster.node import Node
from oyez.server.cluster.signing import ClientAddress
from oyez.server.cluster.tunnel import Tunnel, encode_head


@dataclass(eq=False)
class ForwardedRequest:
    """A request of `client` over `network`, whose session is at node `owner` of `membership`."""

    owner: str
    membership: Membership
    head: Head
    client: ClientAddress
    network: asyncio.Transport
    hold: Callable[[bool], None]
    """Pauses reading from the client (True), and resumes it (False)."""
    idle_timeout: float
    """Seconds without a byte after which a tunnel is closed."""
    on_failed: Callable[[], None]
    """Called if the node cannot be reached."""
    on_ended: Callable[[], None]
    """Called when the node has closed the tunnel."""
    _body: list[bytes] = field(default_factory=list, init=False)
    """What was received after the head, until there is a tunnel."""
    _tunnel: Tunnel | None = field(default=None, init=False)

    def send(self, data: bytes) -> None:
        """Forward what was received after the head."""
        if self._tunnel is not None:
            self._tunnel.send(data)
        else:
            self._body.append(data)

    def encode(self, rest: bytes) -> bytes:
        """The request as it was received so far; `rest` are bytes that were received after that."""
        return self.head.encode([*self._body, rest])

    def use(self, tunnel: Tunnel) -> None:
        """Forward everything through `tunnel`."""
        self._tunnel = tunnel
        for data in self._body:
            tunnel.send(data)
        self._body = []

    def pause_reading(self) -> None:
        """The client does not read."""
        if self._tunnel is not None:
            self._tunnel.pause_reading()

    def resume_reading(self) -> None:
        """The client reads again."""
        if self._tunnel is not None:
            self._tunnel.resume_reading()

    def close(self) -> None:
        """The client has disconnected, or this node stops."""
        if self._tunnel is not None:
            self._tunnel.close()


class Forwarder:
    """Forwards the requests that arrive at `node` for the sessions of others, through `max_tunnels` at a time."""

    def __init__(self, node: Node, max_tunnels: int) -> None:
        self.node = node
        self._max_tunnels = max_tunnels
        self._tunnels: set[Tunnel] = set()

    @property
    def tunnels(self) -> int:
        """Number of open tunnels."""
        return len(self._tunnels)

    def forward(self, request: ForwardedRequest, rest: bytes) -> bool:
        """Bring `request` to its node; False if there are too many tunnels. `rest` was received after the request."""
        if self._hand_off(request, rest):
            return True
        if len(self._tunnels) >= self._max_tunnels:
            return False
        head = encode_head(self.node, request.owner, request.client, request.head)
        tunnel = Tunnel(
            self.node.peering,
            request.network,
            head,
            hold=request.hold,
            idle_timeout=request.idle_timeout,
            on_failed=request.on_failed,
            on_ended=request.on_ended,
            on_closed=self._tunnels.discard,
        )
        self._tunnels.add(tunnel)
        tunnel.open(request.owner, request.membership.locate)
        request.use(tunnel)
        return True

    def _hand_off(self, request: ForwardedRequest, rest: bytes) -> bool:
        network = request.network
        if request.client.scheme != "http" or request.head.length is None or network.get_write_buffer_size():
            # The state of TLS, half of a chunk, or the end of an earlier answer is in this process.
            return False
        file = network.get_extra_info("socket").fileno()
        if not self.node.peering.hand_off(request.owner, file, request.encode(rest)):
            return False
        # The client's connection stays open: the other process has it too.
        network.abort()
        return True
