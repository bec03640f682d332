"""One Engine.IO connection of the client: its current transport, the heartbeat, packets for namespaces.

Each namespace is a `PacketReceiver` here; `client.py` implements it.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Protocol

from oyez.client.transports import (
    MAX_PACKETS,
    ConnectFailed,
    PollingTransport,
    ServerAddress,
    Transport,
    TransportLost,
    WebSocketTransport,
)
from oyez.errors import OyezError
from oyez.protocol import engineio, socketio
from oyez.protocol.engineio import MalformedError
from oyez.settings import Limits

PATIENCE = 20.0
"""Seconds that the client waits for the server by default: far longer than a working server needs, also on a busy
machine."""

LIMITS = Limits(
    max_attachments=10_000,
    max_namespace_length=10_000,
    max_event_name=10_000,
    max_json_depth=500,
    max_arguments=10_000,
)
"""Higher limits than a server has, because a client trusts its server."""

CLIENT_DISCONNECT = "io client disconnect"


class Disconnected(OyezError):
    """The client is not connected. `reason` is the official clients' name for the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"disconnected: {reason}")
        self.reason = reason


class PacketReceiver(Protocol):
    """Receives the packets of one namespace."""

    async def receive(self, packet: socketio.Packet) -> None:
        """Handle a packet whose attachments are complete. Raises MalformedError."""

    def end(self, reason: str) -> None:
        """The connection has ended."""


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Raises ConnectFailed if the block takes longer than `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise ConnectFailed(f"The server did not answer within {seconds:g} s.") from None


@asynccontextmanager
async def open_connection(
    url: str,
    *,
    transport: str = "websocket",
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    path: str = "/socket.io/",
    ssl: SSLContext | None = None,
    timeout: float = PATIENCE,
) -> AsyncIterator["Connection"]:
    """A connection that is in no namespace yet, closed when the block ends. Raises ConnectFailed.

    `path` is appended to the path of `url`.
    """
    address = ServerAddress.parse(url, path, query, headers, ssl)
    async with deadline(timeout):
        opened, packets = await (_open_websocket if transport == "websocket" else _open_polling)(address)
    connection = Connection(address, opened, packets)
    try:
        yield connection
    finally:
        await connection.close()


async def _open_websocket(address: ServerAddress) -> tuple[Transport, list[engineio.Packet]]:
    transport = await WebSocketTransport.open(address)
    try:
        return transport, await transport.receive()
    except (TransportLost, MalformedError) as error:
        raise ConnectFailed(f"The server ended the WebSocket without an open packet: {error}") from error
    except asyncio.CancelledError:
        # The caller waits no longer.
        transport.abort()
        raise


async def _open_polling(address: ServerAddress) -> tuple[Transport, list[engineio.Packet]]:
    transport = PollingTransport(address)
    try:
        response = await transport.request("GET")
    except TransportLost as error:
        raise ConnectFailed(f"No connection to {address.authority}: {error.__cause__ or error}") from error
    if response.status != 200:
        raise ConnectFailed(f"The server answered with HTTP status {response.status}.", response.status, response.body)
    try:
        return transport, engineio.decode_payload(response.body, MAX_PACKETS)
    except MalformedError as error:
        raise ConnectFailed(f"The server does not speak Engine.IO: {error}", 200, response.body) from error


class Connection:
    """Open while `reason` is None. If a test sets `answers_pings` to False, the client behaves as if it had failed."""

    def __init__(self, address: ServerAddress, transport: Transport, packets: Sequence[engineio.Packet]) -> None:
        self.open_packet = _read_open_packet(packets[0])
        if isinstance(transport, PollingTransport):
            transport.sid = self.open_packet.sid
        self.transport = transport
        self.reason: str | None = None
        self.answers_pings = True
        self.receivers: dict[str, PacketReceiver] = {}
        """By namespace; packets of other namespaces are ignored."""
        self._address = address
        self._partial: socketio.Packet | None = None
        self._reading = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._task = asyncio.create_task(self._run(packets[1:]))

    @property
    def websocket(self) -> WebSocketTransport:
        """The transport, for tests that send WebSocket frames themselves. Raises TypeError while it is polling."""
        if not isinstance(self.transport, WebSocketTransport):
            raise TypeError(f"the transport is {self.transport.name}, not websocket")
        return self.transport

    async def upgrade(self) -> None:
        """Change from polling to WebSocket as official clients do. Raises ConnectFailed; then polling continues."""
        candidate = await WebSocketTransport.open(self._address, self.open_packet.sid, timeout=PATIENCE)
        try:
            await candidate.send_raw(engineio.PROBE_PING.decode())
            if await candidate.receive() != [engineio.decode_packet(engineio.PROBE_PONG)]:
                raise ConnectFailed("The server did not answer the probe.")
            # With both locks held no request is open, because the server ends the waiting poll.
            async with self._writing, self._reading:
                await candidate.send_raw(engineio.UPGRADE.decode())
                self.transport = candidate
        except (TransportLost, MalformedError) as error:
            raise ConnectFailed(f"The server refused the upgrade: {error}") from error
        finally:
            if self.transport is not candidate:
                candidate.abort()

    async def send_packet(self, packet: socketio.Packet) -> None:
        """Send a Socket.IO packet and its attachments. Raises Disconnected."""
        await self.send(
            engineio.Packet(engineio.PacketType.MESSAGE, socketio.encode_packet(packet)),
            *(engineio.Packet(engineio.PacketType.MESSAGE, data, binary=True) for data in packet.attachments),
        )

    async def send(self, *packets: engineio.Packet) -> None:
        """Send Engine.IO packets together. Raises Disconnected."""
        async with self._writing:
            if self.reason is not None:
                raise Disconnected(self.reason)
            try:
                await self.transport.send(packets)
            except TransportLost as lost:
                self._end(lost.reason)
                raise Disconnected(lost.reason) from lost

    async def close(self) -> None:
        """Close the connection with a packet. Does nothing if the connection is closed."""
        if self.reason is None:
            self._end(CLIENT_DISCONNECT)
            await self.transport.close()
        self.transport.abort()
        self._task.cancel()
        # Not awaited itself: its cancellation could not be told from that of the caller.
        await asyncio.wait((self._task,))
        if not self._task.cancelled():
            self._task.result()

    def drop(self) -> None:
        """Abort the connection without a packet, as a lost network does."""
        self._end("transport error")
        self.transport.abort()

    async def _run(self, packets: Sequence[engineio.Packet]) -> None:
        # If the server sends nothing for this time, the connection is lost.
        silence = (self.open_packet.ping_interval + self.open_packet.ping_timeout) / 1000
        try:
            while True:
                for packet in packets:
                    await self._handle(packet)
                async with self._reading, asyncio.timeout(silence):
                    packets = await self.transport.receive()
        except (TransportLost, Disconnected) as lost:
            self._end(lost.reason)
        except TimeoutError:
            self._end("ping timeout")
        except MalformedError:
            self._end("parse error")
        finally:
            self._end("transport close")
            self.transport.abort()

    async def _handle(self, packet: engineio.Packet) -> None:
        if packet.type is engineio.PacketType.PING:
            if self.answers_pings:
                await self.send(engineio.Packet(engineio.PacketType.PONG, packet.data))
        elif packet.type is engineio.PacketType.CLOSE:
            raise TransportLost("transport close")
        elif packet.type is engineio.PacketType.MESSAGE:
            complete = self._assemble(packet)
            if complete is not None and complete.namespace in self.receivers:
                await self.receivers[complete.namespace].receive(complete)

    def _assemble(self, packet: engineio.Packet) -> socketio.Packet | None:
        if packet.binary != (self._partial is not None):
            raise MalformedError("an attachment without its packet, or a packet without its attachments")
        complete = self._partial or socketio.decode_packet(packet.data, LIMITS)
        if packet.binary:
            complete.attachments += (packet.data,)
            complete.missing_attachments -= 1
        self._partial = complete if complete.missing_attachments else None
        return None if complete.missing_attachments else complete

    def _end(self, reason: str) -> None:
        if self.reason is None:
            self.reason = reason
            for receiver in self.receivers.values():
                receiver.end(reason)


def _read_open_packet(packet: engineio.Packet) -> engineio.OpenPacket:
    if packet.type is not engineio.PacketType.OPEN:
        raise ConnectFailed(f"The server began with {packet.type.name}, not with an open packet.")
    try:
        return engineio.decode_open(packet.data)
    except MalformedError as error:
        raise ConnectFailed(f"The server's handshake cannot be read: {error}") from error
