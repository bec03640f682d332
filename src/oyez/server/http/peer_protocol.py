"""HTTP connections that come from other nodes: handed off, or through a tunnel."""

import asyncio
from typing import Any

from oyez.logger import get_logger
from oyez.protocol import engineio
from oyez.server.cluster.node import Node
from oyez.server.cluster.signing import PEER_HEADER
from oyez.server.http.protocol import HttpProtocol
from oyez.server.http.refusals import FORBIDDEN
from oyez.server.http.states import Input

logger = get_logger("oyez.server")


class HandedOffProtocol(HttpProtocol):
    """The protocol of a connection that another process has handed off, over which `received` came already."""

    def __init__(self, received: bytes, *positional: Any, **uvicorn: Any) -> None:
        super().__init__(*positional, **uvicorn)
        self._received = received

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # The client has waited in the connect queue of the other process.
        self._advance(Input.ADMITTED)
        self.data_received(self._received)


class PeerProtocol(HttpProtocol):
    """The protocol of a tunnel from another node: the client is the one that the signature of a request names."""

    def __init__(self, node: Node, *positional: Any, **uvicorn: Any) -> None:
        super().__init__(*positional, **uvicorn)
        self._node = node

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not isinstance(self.server, tuple):
            # The name of a UNIX socket.
            self.server = None

    def _admits(self) -> bool:
        head = self._head
        value = next((value for name, value in head.fields if name == PEER_HEADER), b"")
        client = self._node.signer.verify(self._node.id, value, head.method, head.target)
        if client is None:
            logger.warning("a request between nodes was refused: they need the same JWT_SECRET, and clocks that agree")
            self._refuse(FORBIDDEN, engineio.FORBIDDEN.message)
            return False
        self.scheme, self.client = client
        return True

    def _belongs_to_peer(self) -> bool:
        """False: another node has forwarded the request, so the session is here, or there is none."""
        return False
