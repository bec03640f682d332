"""A Tunnel: one request, or one WebSocket, of a client whose session is at another node.

The head of the request is written again so that exactly one request goes through; the answer goes back unchanged. The
slower side sets the pace, in both directions.
"""

import asyncio
from collections.abc import Awaitable, Callable

from oyez.errors import LogUnavailableError
from oyez.protocol.http_framing import Head
from oyez.server.cluster.node import Node
from oyez.server.cluster.peering import Peering
from oyez.server.cluster.signing import PEER_HEADER, ClientAddress

CONNECT_TIMEOUT = 2.0
"""Seconds to connect to a peer: the nodes of a system share a network."""
_DROPPED = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"http2-settings", PEER_HEADER}
)
"""Headers of one connection only (RFC 9110, section 7.6.1), and the header that only peers may send."""

Locate = Callable[[str], Awaitable[str | None]]
"""Finds the address of a node by its id; None if there is no such node."""


class Tunnel(asyncio.Protocol):
    """The connection to the other node.

    `near` is the client's transport, `hold` pauses reading it (True) and resumes it (False), `idle_timeout` is the
    number of seconds that may pass without a byte. `on_failed` is called if the node cannot be reached, `on_ended` when
    it has closed the tunnel, `on_closed` when the tunnel carries nothing more, for whatever reason.
    """

    def __init__(
        self,
        peering: Peering,
        near: asyncio.Transport,
        head: bytes,
        *,
        hold: Callable[[bool], None],
        idle_timeout: float,
        on_failed: Callable[[], None],
        on_ended: Callable[[], None],
        on_closed: Callable[["Tunnel"], None],
    ) -> None:
        self._peering = peering
        self._near = near
        self._hold = hold
        self._far: asyncio.Transport | None = None
        self._waiting = [head]
        self._on_failed = on_failed
        self._on_ended = on_ended
        self._on_closed = on_closed
        self._closed = False
        self._idle_timeout = idle_timeout
        self._loop = asyncio.get_running_loop()
        self._active = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self, owner: str, locate: Locate) -> None:
        """Connect to node `owner`, whose address `locate` finds. Until then, nothing is read from the client."""
        self._hold(True)
        self._task = self._loop.create_task(self._open(owner, locate))

    async def _open(self, owner: str, locate: Locate) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                address = await locate(owner)
                if address is None:
                    raise ConnectionRefusedError(f"there is no node {owner}")
                await self._peering.connect(owner, address, lambda: self)
        except (OSError, TimeoutError, LogUnavailableError):
            self._report_closed()
            if not self._near.is_closing():
                self._hold(False)
                self._on_failed()

    # What the client sends.

    def send(self, data: bytes) -> None:
        self._active = self._loop.time()
        if self._far is None:
            self._waiting.append(data)
        elif not self._far.is_closing():
            self._far.write(data)

    def pause_reading(self) -> None:
        """The client does not read."""
        if self._far is not None and not self._far.is_closing():
            self._far.pause_reading()

    def resume_reading(self) -> None:
        """The client reads again."""
        if self._far is not None and not self._far.is_closing():
            self._far.resume_reading()

    def close(self) -> None:
        """The client has disconnected, or this node stops."""
        self._report_closed()
        if self._far is not None:
            self._far.abort()
        elif self._task is not None:
            self._task.cancel()

    def _report_closed(self) -> None:
        self._closed = True
        self._on_closed(self)

    # What the other node sends.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._far = transport
        if self._near.is_closing() or self._closed:
            transport.abort()
            return
        transport.write(b"".join(self._waiting))
        self._waiting.clear()
        self._hold(False)
        self._watch()

    def data_received(self, data: bytes) -> None:
        self._active = self._loop.time()
        if not self._near.is_closing():
            self._near.write(data)

    def pause_writing(self) -> None:
        if not self._near.is_closing():
            self._hold(True)

    def resume_writing(self) -> None:
        if not self._near.is_closing():
            self._hold(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._report_closed()
        if self._timer is not None:
            self._timer.cancel()
        self._on_ended()

    def _watch(self) -> None:
        left = self._active + self._idle_timeout - self._loop.time()
        if left <= 0 and self._far is not None:
            # The machine at one of the ends has failed: a live session sends something more often.
            self._far.abort()
        else:
            self._timer = self._loop.call_later(left, self._watch)


def encode_head(node: Node, owner: str, client: ClientAddress, head: Head) -> bytes:
    """The head of a request as it is forwarded to node `owner`."""
    lines = [head.method + b" " + head.target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in head.fields if name not in _DROPPED]
    lines += [b"connection: Upgrade", b"upgrade: websocket"] if head.upgrade else [b"connection: close"]
    lines.append(PEER_HEADER + b": " + node.signer.sign(owner, client, head.method, head.target))
    return b"\r\n".join(lines) + b"\r\n\r\n"
