"""An Upgrade: the WebSocket that may take over a connection from polling, until it does or is lost.

Its states are those of the session (`protocol/session.py`): POLLING until the WebSocket probes, PROBED until it takes
over, then WEBSOCKET. The WebSocket is a transport like any other, which calls this listener instead of the connection.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from oyez.protocol import engineio
from oyez.protocol.engineio import CloseReason
from oyez.protocol.session import Session, Signal, State
from oyez.server.transports.budget import Budget
from oyez.server.transports.outgoing import OutboundPacket
from oyez.server.transports.transport import Transport, TransportContext, WebSocketTransport

if TYPE_CHECKING:
    from oyez.server.connections.connection import Connection

_PROBE_PONG = OutboundPacket(engineio.PROBE_PONG)


class Upgrade:
    """Listens to the WebSocket that probes for `connection`, and fails after `upgrade_timeout`."""

    authenticated = False
    """False: the WebSocket only probes, so it may send only little, also if the client is authenticated."""
    holds_memory = True
    """Every read of a WebSocket that probes is charged at once."""
    probing = False

    def __init__(self, connection: "Connection", session: Session, context: TransportContext) -> None:
        self.public_id = connection.public_id
        self.context = context
        self.budget: Budget = connection.budget
        self.max_message = context.limits.max_unauthenticated_bytes
        self._connection = connection
        self._session = session
        self._transport: WebSocketTransport
        self._timer: asyncio.TimerHandle | None = None

    @property
    def ignores_close(self) -> bool:
        return self._connection.ignores_close

    def attach(self, transport: WebSocketTransport) -> None:
        self._transport = transport

    def on_open(self, transport: WebSocketTransport) -> None:
        self._connection.add_websocket(transport)
        timeout = self.context.limits.upgrade_timeout
        self._timer = asyncio.get_running_loop().call_later(timeout, self.fail, engineio.CONNECT_TIMEOUT)

    def on_text(self, text: bytes) -> None:
        if self._connection.closed:
            self._switch()
            return
        signal = self._session.receive_candidate(text)
        if signal is Signal.ANSWER_PROBE:
            self._transport.send(_PROBE_PONG)
            self._connection.release_poll()
        elif signal is Signal.SWITCH:
            self._switch()
        else:
            self.fail(engineio.FORCED_SERVER_CLOSE)

    def on_binary(self, data: bytes) -> None:
        # No probe, like an empty text: the upgrade fails.
        self.on_text(b"")

    async def on_payload(self, body: bytes) -> None:
        """Only polling has payloads; this transport is a WebSocket."""

    def on_pong(self) -> None:
        """No ping was sent."""

    def on_read(self, unfinished: int) -> None:
        if self._connection.settle():
            self.fail(engineio.RATE_LIMIT)

    def on_writable(self, write: Callable[[bytes], None] | None) -> None:
        """The connection does not write to it yet."""

    def on_closed(self, transport: Transport, reason: CloseReason, detail: str = "") -> None:
        may_wait = self._session.state is State.PROBED and reason is engineio.SERVER_SHUTDOWN
        self.fail(reason)
        if may_wait:
            # After `3probe`, official clients wait for the end of their poll, and do not poll again if the WebSocket is
            # lost meanwhile: they would receive nothing until their ping time-out. An error status ends their session.
            self._connection.transport.abort()
            self._connection.close(reason)

    def on_disconnected(self, transport: WebSocketTransport) -> None:
        self._connection.on_disconnected(transport)

    def fail(self, reason: CloseReason) -> None:
        """End the WebSocket. The connection continues to poll."""
        self._connection.end_upgrade(self)
        self.close(reason)

    def close(self, reason: CloseReason) -> None:
        """End the WebSocket with the connection."""
        self._stop_timer()
        self._transport.refuse(reason)

    def _switch(self) -> None:
        self._stop_timer()
        self._connection.switch(self._transport)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
