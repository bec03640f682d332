"""A Socket.IO client for tests and for the command line. It does not reconnect.

The methods for tests (`expect_event`, `expect_nothing`) wait for actions of the server; none of them sleeps. A `Client`
has a `connection`, which has a `transport`: with them a test can send malformed data.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from ssl import SSLContext
from typing import Any, NamedTuple

import msgspec

from oyez.client.connection import (
    CLIENT_DISCONNECT,
    PATIENCE,
    Connection,
    Disconnected,
    deadline,
    open_connection,
)
from oyez.client.transports import ConnectFailed
from oyez.errors import OyezError
from oyez.protocol import socketio
from oyez.protocol.engineio import MalformedError
from oyez.protocol.socketio import PacketType

SERVER_DISCONNECT = "io server disconnect"
POSITION_EVENT = "oyez:position"
"""The server's own event, with the position of the event before it."""
POSITION = re.compile(r"[0-9a-f]{8}\.[0-9]{1,18}", re.ASCII)
"""The position that durable events have as their last argument if the client asks with `auth.recovery`."""
_BARRIER = "/.barrier"


class ConnectRefused(OyezError):
    """The server answered a CONNECT with a CONNECT_ERROR."""

    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class Event(NamedTuple):
    """A received event: its name, and the arguments after the name."""

    name: str
    args: list[Any]


class _Received(NamedTuple):
    event: Event
    ack_id: int | None


@asynccontextmanager
async def connect(
    url: str,
    namespace: str = "/",
    *,
    auth: Mapping[str, Any] | None = None,
    transports: Sequence[str] = ("polling", "websocket"),
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    path: str = "/socket.io/",
    ssl: SSLContext | None = None,
    timeout: float = PATIENCE,
) -> AsyncIterator["Client"]:
    """A client in `namespace`, disconnected when the block ends. Raises ConnectFailed, ConnectRefused.

    With both transports the client connects over polling, and has upgraded when the block begins, unless the server
    refuses the upgrade.
    `path` is appended to the path of `url`.

        async with connect("http://localhost:5001", auth={"token": token}) as client:
            await client.call("join", {"room": "orders"})
            name, args = await client.expect_event("order:created")
    """
    opening = open_connection(
        url, transport=transports[0], headers=headers, query=query, path=path, ssl=ssl, timeout=timeout
    )
    async with opening as connection:
        async with deadline(timeout):
            try:
                client = await join(connection, namespace, auth)
            except Disconnected as error:
                raise ConnectFailed(f"The server closed the connection before it answered: {error.reason}.") from error
            if transports[0] == "polling" and "websocket" in {*transports} & {*connection.open_packet.upgrades}:
                with suppress(ConnectFailed):
                    await connection.upgrade()
        yield client
        await client.disconnect()


async def join(connection: Connection, namespace: str = "/", auth: Mapping[str, Any] | None = None) -> "Client":
    """Enter one more namespace over `connection`. Raises ConnectRefused, Disconnected."""
    client = Client(connection, namespace, takes_positions=(auth or {}).get("recovery") in (True, "true"))
    connection.receivers[namespace] = client
    try:
        data = msgspec.json.encode(auth) if auth is not None else b""
        await connection.send_packet(socketio.Packet(PacketType.CONNECT, namespace, data))
        await client.wait_connected()
    except BaseException:
        del connection.receivers[namespace]
        raise
    return client


class Client:
    """A socket in one namespace. `welcome` is the data of the server's answer to the CONNECT."""

    def __init__(self, connection: Connection, namespace: str, *, takes_positions: bool = False) -> None:
        """`takes_positions`: True if the client asked for positions as the last argument of events."""
        self.connection = connection
        self._takes_positions = takes_positions
        self.namespace = namespace
        self.welcome: dict[str, Any] | None = None
        self.offset: str | None = None
        """The last position that the server sent."""
        self._received: deque[_Received] = deque()
        self._news = asyncio.Event()
        self._refused: ConnectRefused | None = None
        self._ended: str | None = None
        self._ack_ids = count()
        self._barriers = count()
        self._acks: dict[int, list[Any] | None] = {}
        """Acknowledgements that `call` waits for, by id; None until they arrive."""
        self._answers: dict[str, Callable[..., Any]] = {}

    @property
    def sid(self) -> str:
        """The id of the socket, which is also the name of its own room."""
        return str((self.welcome or {})["sid"])

    @property
    def engine_sid(self) -> str:
        """The id of the connection, which no other client receives."""
        return self.connection.open_packet.sid

    @property
    def transport(self) -> str:
        """The current transport: `polling` or `websocket`."""
        return self.connection.transport.name

    @property
    def recovery(self) -> dict[str, str]:
        """The `auth` with which the next connection resumes this session; empty if the server does not offer it."""
        pid = (self.welcome or {}).get("pid")
        if pid is None:
            return {}
        return {"pid": pid, "offset": self.offset} if self.offset is not None else {"pid": pid}

    @property
    def pending(self) -> list[Event]:
        """Events that have arrived and that no `expect_` method has returned yet."""
        return [received.event for received in self._received]

    def take_pending(self) -> list[Event]:
        """`pending`; no `expect_` method returns them any more."""
        taken = self.pending
        self._received.clear()
        return taken

    @property
    def ended(self) -> str | None:
        """The reason for which the client is not connected any more; None while it is."""
        return self._ended

    # Sending.

    async def emit(self, name: str, *args: Any) -> None:
        """Send an event; `bytes` anywhere in `args` become attachments. Raises Disconnected."""
        await self._send(PacketType.EVENT, [name, *args], None)

    async def call(self, name: str, *args: Any, timeout: float = PATIENCE) -> Any:
        """Send an event and return its acknowledgement: None, the value, or a list of several.

        Raises TimeoutError, Disconnected.
        """
        ack_id = next(self._ack_ids)
        self._acks[ack_id] = None
        try:
            await self._send(PacketType.EVENT, [name, *args], ack_id)
            async with asyncio.timeout(timeout):
                while (values := self._acks[ack_id]) is None:
                    await self._wait_for_news()
        finally:
            del self._acks[ack_id]
        return values if len(values) > 1 else values[0] if values else None

    def answer(self, name: str, handler: Callable[..., Any]) -> None:
        """Acknowledge every event `name` that asks for it with what `handler(*args)` returns."""
        self._answers[name] = handler

    async def disconnect(self) -> None:
        """Leave the namespace. Does nothing if the client has left it already."""
        if self._ended is None:
            self.end(CLIENT_DISCONNECT)
            with suppress(Disconnected):
                await self.connection.send_packet(socketio.Packet(PacketType.DISCONNECT, self.namespace))

    # Expecting.

    async def expect_event(self, name: str, timeout: float = PATIENCE) -> Event:
        """The next event of that name; other events stay pending. Raises AssertionError, Disconnected."""
        return (await self._take(lambda received: received.event.name == name, name, timeout)).event

    async def expect_call(
        self, name: str, timeout: float = PATIENCE
    ) -> tuple[list[Any], Callable[..., Awaitable[None]]]:
        """The arguments of the next such event that requests an acknowledgement, and a function that sends it."""
        wanted = await self._take(lambda one: one.event.name == name and one.ack_id is not None, name, timeout)
        return wanted.event.args, partial(self._acknowledge, wanted.ack_id)

    async def expect_nothing(self, name: str | None = None, timeout: float = PATIENCE) -> None:
        """Assert that the server has sent this client no further event (of that name) up to now.

        This covers all events that the server wrote before it received this call's packet. It does not cover a handler
        that is still waiting, or an entry that another node has not read yet. Raises AssertionError, Disconnected.
        """
        async with asyncio.timeout(timeout):
            await self.catch_up()
        found = [event for event in self.pending if name in (None, event.name)]
        if found:
            raise AssertionError(f"expected no {name or 'event'}, got {found}")

    async def catch_up(self) -> None:
        """Return when all packets that the server had sent before have arrived. Raises Disconnected.

        The server answers a CONNECT to an unknown namespace at once, after all packets that it sent before.
        """
        with suppress(ConnectRefused):
            barrier = await join(self.connection, f"{_BARRIER}{self.namespace}{next(self._barriers)}")
            await barrier.disconnect()

    async def expect_disconnect(self, timeout: float = PATIENCE) -> str:
        """The reason, as official clients name it. Raises AssertionError if the client stays connected."""
        try:
            async with asyncio.timeout(timeout):
                while self._ended is None:
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"expected a disconnect within {timeout:g} s, got {self.pending}") from None
        return self._ended

    async def events(self) -> AsyncIterator[Event]:
        """Iterate over all events, pending ones first, until the client is disconnected."""
        while self._received or self._ended is None:
            if self._received:
                yield self._received.popleft().event
            else:
                await self._news.wait()

    async def _take(self, wanted: Callable[[_Received], bool], name: str, timeout: float) -> _Received:
        try:
            async with asyncio.timeout(timeout):
                while True:
                    for received in self._received:
                        if wanted(received):
                            self._received.remove(received)
                            return received
                    await self._wait_for_news()
        except TimeoutError:
            raise AssertionError(f"expected {name!r} within {timeout:g} s, got {self.pending}") from None

    # What the connection calls.

    async def receive(self, packet: socketio.Packet) -> None:
        """Called by the connection with each packet of this namespace."""
        if packet.type in (PacketType.EVENT, PacketType.BINARY_EVENT):
            await self._receive_event(packet)
        elif packet.type in (PacketType.ACK, PacketType.BINARY_ACK):
            if packet.ack_id in self._acks:
                self._acks[packet.ack_id] = _decode_data(packet)
        elif packet.type is PacketType.CONNECT:
            self.welcome = _decode_data(packet) if packet.data else {}
        elif packet.type is PacketType.CONNECT_ERROR:
            self._refused = _read_refusal(_decode_data(packet))
        else:
            self.end(SERVER_DISCONNECT)
        self._notify()

    def end(self, reason: str) -> None:
        """Called by the connection when it has ended. All waiting calls raise an error with `reason`."""
        if self._ended is None:
            self._ended = reason
            self._notify()

    async def wait_connected(self) -> None:
        """Return when the server has accepted this client. Raises ConnectRefused, Disconnected."""
        while self.welcome is None:
            await self._wait_for_news()

    async def _receive_event(self, packet: socketio.Packet) -> None:
        name, *args = _decode_data(packet)
        if name == POSITION_EVENT:
            self.offset = args[-1]
            return
        if self._takes_positions and args and isinstance(args[-1], str) and POSITION.fullmatch(args[-1]):
            self.offset = args.pop()
        self._received.append(_Received(Event(name, args), packet.ack_id))
        handler = self._answers.get(name)
        if handler is not None and packet.ack_id is not None:
            await self._acknowledge(packet.ack_id, handler(*args))

    async def _acknowledge(self, ack_id: int | None, *args: Any) -> None:
        await self._send(PacketType.ACK, list(args), ack_id)

    async def _send(self, kind: PacketType, data: list[Any], ack_id: int | None) -> None:
        if self._ended is not None:
            raise Disconnected(self._ended)
        attachments: list[bytes] = []
        encoded = msgspec.json.encode(_detach(data, attachments))
        if attachments:
            kind = PacketType.BINARY_EVENT if kind is PacketType.EVENT else PacketType.BINARY_ACK
        packet = socketio.Packet(kind, self.namespace, encoded, ack_id, attachments=tuple(attachments))
        await self.connection.send_packet(packet)

    async def _wait_for_news(self) -> None:
        if self._refused is not None:
            raise self._refused
        if self._ended is not None:
            raise Disconnected(self._ended)
        await self._news.wait()

    def _notify(self) -> None:
        """Wake all waiting calls; later ones wait for a new asyncio.Event."""
        self._news.set()
        self._news = asyncio.Event()


def _read_refusal(error: Any) -> ConnectRefused:
    return (
        ConnectRefused(error.get("message", ""), error.get("data"))
        if isinstance(error, dict)
        else ConnectRefused(error)
    )


def _decode_data(packet: socketio.Packet) -> Any:
    try:
        data = msgspec.json.decode(packet.data)
    except msgspec.MsgspecError as error:
        raise MalformedError(f"payload: {error}") from None
    return socketio.find_placeholders(data, packet.attachments) if packet.attachments else data


def _detach(value: Any, attachments: list[bytes]) -> Any:
    """`value` with its bytes moved to `attachments`."""
    if isinstance(value, bytes | bytearray | memoryview):
        attachments.append(bytes(value))
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(value, list | tuple):
        return [_detach(item, attachments) for item in value]
    if isinstance(value, Mapping):
        return {key: _detach(item, attachments) for key, item in value.items()}
    return value
