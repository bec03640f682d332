"""A Tunnel: one request, or one WebSocket, of a client whose session is at another node.

The request's head is written anew so that exactly one goes through, and what comes back is passed on as it is. Who
reads slowly is waited for, in both directions.
"""

import asyncio
from collections.abc import Awaitable, Callable

from oyez.errors import LogUnavailableError
from oyez.protocol.http_framing import Head
from oyez.server.cluster.node import PEER_HEADER, Client, Node

CONNECT_TIMEOUT = 2.0
"""Seconds to reach a peer, which is near."""
_DROPPED = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"http2-settings", PEER_HEADER}
)
"""Headers that are about one connection only (RFC 9110, section 7.6.1), and what only peers may say."""

Locate = Callable[[str], Awaitable[str | None]]
"""Finds the address of a node by its id; None where there is no such node."""


class Tunnel(asyncio.Protocol):
    """The connection to the peer.

    `near` is the client's transport, `hold` pauses reading it (True) and resumes it (False), `idle_timeout` is how many
    seconds may pass without a byte. `failed` is called if the peer cannot be reached, `ended` when nothing more comes
    from it.
    """

    def __init__(
        self,
        node: Node,
        near: asyncio.Transport,
        head: bytes,
        *,
        hold: Callable[[bool], None],
        idle_timeout: float,
        failed: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self._node = node
        self._near = near
        self._hold = hold
        self._far: asyncio.Transport | None = None
        self._waiting = [head]
        self._failed = failed
        self._ended = ended
        self._idle_timeout = idle_timeout
        self._loop = asyncio.get_running_loop()
        self._active = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        node.tunnels.add(self)

    def open(self, owner: str, locate: Locate) -> None:
        """Reach node `owner`; `locate` finds its address. The client waits."""
        self._hold(True)
        self._task = self._loop.create_task(self._open(owner, locate))

    async def _open(self, owner: str, locate: Locate) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                address = await locate(owner)
                if address is None:
                    raise ConnectionRefusedError(f"there is no node {owner}")
                await self._node.connect(owner, address, lambda: self)
        except (OSError, TimeoutError, LogUnavailableError):
            self._node.tunnels.discard(self)
            if not self._near.is_closing():
                self._hold(False)
                self._failed()

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
        """The client has gone, or this node goes."""
        self._node.tunnels.discard(self)
        if self._far is not None:
            self._far.abort()
        elif self._task is not None:
            self._task.cancel()

    # The peer's side.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._far = transport
        if self._near.is_closing() or self not in self._node.tunnels:
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
        self._node.tunnels.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._ended()

    def _watch(self) -> None:
        left = self._active + self._idle_timeout - self._loop.time()
        if left <= 0 and self._far is not None:
            # The machine at one of its ends is gone: every session that lives is heard of more often.
            self._far.abort()
        else:
            self._timer = self._loop.call_later(left, self._watch)


def encode_head(node: Node, owner: str, client: Client, head: Head) -> bytes:
    """The head of a request as it is passed on to `owner`."""
    lines = [head.method + b" " + head.target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in head.fields if name not in _DROPPED]
    lines += [b"connection: Upgrade", b"upgrade: websocket"] if head.upgrade else [b"connection: close"]
    lines.append(PEER_HEADER + b": " + node.sign(owner, client, head.method, head.target))
    return b"\r\n".join(lines) + b"\r\n\r\n"
