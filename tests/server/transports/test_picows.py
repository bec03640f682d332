"""The facts about picows and uvicorn that the hand-over builds on: where to look first after an update."""

import asyncio
import gc
import tracemalloc
from contextlib import AsyncExitStack

import picows
import pytest
from picows import WSAutoPingStrategy, WSUpgradeResponse, WSUpgradeResponseWithListener
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from oyez.server.connections.connection import Connection
from oyez.server.http.protocol import HttpProtocol
from oyez.server.namespaces.socket import Socket
from oyez.server.transports import picows as handover
from oyez.server.transports.websocket import WebSocket
from tests.support.serving import Running, serve, turn_until
from tests.support.wire import CLOSE, TEXT, SocketWire, Wire, encode_frame

REQUEST = (
    b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: %b\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Recorder(picows.WSListener):
    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        self.frames.append((int(frame.msg_type), frame.get_payload_as_bytes()))  # type: ignore[call-overload]


class Bare(asyncio.Protocol):
    """Hands a connection to picows as `HttpProtocol` does, and nothing else."""

    def __init__(self, max_frame_size: int, read_buffer: int) -> None:
        self.listener = Recorder()
        self._arguments = (max_frame_size, None, read_buffer)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        def accept(request: picows.WSUpgradeRequest) -> WSUpgradeResponseWithListener:
            return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(), self.listener)

        self.protocol = WSProtocol(
            None, None, False, accept, handover._picows_logger, True, None, False, 0, 0,
            WSAutoPingStrategy.PING_WHEN_IDLE, False, *self._arguments,
        )  # fmt: skip
        self.protocol.connection_made(transport)
        transport.set_protocol(self.protocol)


async def open_bare(max_frame_size: int = 1_000) -> tuple[asyncio.Server, Bare, int]:
    bare = Bare(max_frame_size, handover.READ_BUFFER)
    server = await asyncio.get_running_loop().create_server(lambda: bare, "127.0.0.1", 0)
    return server, bare, server.sockets[0].getsockname()[1]


async def talk(port: int, data: bytes) -> bytes:
    """All bytes of the answer to `data`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_the_protocol_class_is_not_exported_and_takes_these_arguments() -> None:
    assert not hasattr(picows, "WSProtocol")
    arguments = (None, None, False, None, handover._picows_logger, True, None, False, 0, 0)
    more = (WSAutoPingStrategy.PING_WHEN_IDLE, False, 1_000, None, 2_048)
    WSProtocol(*arguments, *more)
    for count in (14, 16):
        with pytest.raises(TypeError):
            WSProtocol(*(*arguments, *more, None)[:count])


async def test_it_takes_offence_at_the_connection_header_of_firefox() -> None:
    server, _, port = await open_bare()
    assert b"400 Bad Request" in await talk(port, REQUEST % b"keep-alive, Upgrade")
    server.close()


async def test_the_size_it_limits_is_that_of_a_frame_and_reserved_bits_and_orphans_pass() -> None:
    server, bare, port = await open_bare(max_frame_size=4)
    frames = [
        encode_frame(TEXT, b"four", fin=False),
        encode_frame(0, b"more"),
        encode_frame(0, b"of."),
        encode_frame(TEXT, b"rsv", rsv=7),
        encode_frame(TEXT, b"\xff"),
    ]
    await talk(port, REQUEST % b"Upgrade" + b"".join(frames))
    assert bare.listener.frames == [(1, b"four"), (0, b"more"), (0, b"of."), (1, b"rsv"), (1, b"\xff")]
    assert b"exceeding max allowed size" in await talk(port, REQUEST % b"Upgrade" + encode_frame(TEXT, b"fives"))
    server.close()


async def test_it_does_not_answer_a_close() -> None:
    server, bare, port = await open_bare()
    answer = await talk(port, REQUEST % b"Upgrade" + encode_frame(CLOSE, b"\x03\xe8"))
    assert answer.endswith(b"\r\n\r\n")
    assert bare.listener.frames == [(8, b"\x03\xe8")]
    server.close()


async def test_the_connection_leaves_uvicorns_books(own: Running) -> None:
    async with SocketWire.open(own) as wire:
        await wire.request("GET", "/")
        assert len(own.http.server_state.connections) == 1
        await wire.open_session()
        assert own.http.server_state.connections == set()
        assert own.http.server_state.tasks == set()


def alive(kind: type[object]) -> list[object]:
    return [found for found in gc.get_objects() if type(found) is kind]


async def test_nothing_of_the_handshake_is_kept(own: Running) -> None:
    # Other servers' connections may still wait to be collected.
    others = {id(found): found for kind in (HttpProtocol, picows.WSUpgradeRequest) for found in alive(kind)}
    async with SocketWire.connect(own) as wire:
        connection = own.server.registry.connections[wire.sid]
        assert isinstance(connection.transport, WebSocket)
        protocols = [found for found in alive(HttpProtocol) if id(found) not in others]
        # uvloop may hold on to the protocol a connection began with.
        assert not any(protocol.__dict__ for protocol in protocols)
        requests = [found for found in alive(picows.WSUpgradeRequest) if id(found) not in others]
        assert not any(hasattr(request, "headers") for request in requests)


@pytest.mark.parametrize("goodbye", [True, False])
async def test_nothing_is_kept_of_a_client_that_has_gone(own: Running, goodbye: bool) -> None:
    """Not even until the garbage collector runs, which would pause the loop."""
    kinds = (Connection, Socket, WebSocket, picows.WSTransport)
    others = {id(found) for kind in kinds for found in alive(kind)}
    gc.disable()
    try:
        async with SocketWire.connect(own) as wire:
            assert any(id(found) not in others for found in alive(Connection))
            if goodbye:
                wire.send_frame(CLOSE, b"\x03\xe8")
                await wire.expect_close(1000)
        await own.settle()
        await turn_until(lambda: not [kind for kind in kinds for found in alive(kind) if id(found) not in others])
    finally:
        gc.enable()


async def test_an_idle_connection_takes_less_than_9_kb_here(own: Running) -> None:
    # Without what the C library and the kernel take: see docs for the whole.
    clients = [Wire.open(own) for _ in range(200)]
    opened = [await client.__aenter__() for client in clients]
    for wire in opened:
        await wire.upgrade()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    sockets = [await enter(wire) for wire in opened]
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(sockets) == 200
    assert taken / 200 < 9_000
    for client in clients:
        await client.__aexit__(None, None, None)


async def enter(wire: Wire) -> bytes:
    await wire.read_frame()
    wire.send_text("40")
    return (await wire.read_frame()).payload


def room_of(running: Running, wire: SocketWire) -> int:
    """Bytes of picows' read buffer that are free."""
    transport = running.server.registry.connections[wire.sid].transport
    assert isinstance(transport, WebSocket)
    assert transport._network is not None
    protocol = transport._network.get_protocol()
    assert isinstance(protocol, WSProtocol)
    return len(WSProtocol.get_buffer(protocol, -1))


async def test_a_flood_of_small_messages_does_not_make_its_buffer_grow() -> None:
    limits = {"max_packets_per_second": 1_000_000}
    async with serve(limits=limits) as running, SocketWire.connect(running) as wire:
        wire.send(encode_frame(TEXT, b"3" * 20) * 200_000)
        await wire.expect_echo()
        assert room_of(running, wire) <= 2 * handover.READ_CHUNK


@pytest.mark.parametrize("size", [60_000, 114_678, 114_688, 229_366, 458_740, 999_000])
async def test_the_buffer_of_a_long_message_is_given_back_when_it_has_ended(own: Running, size: int) -> None:
    text = "x" * (size - len('42["echo",""]') - 14)
    async with SocketWire.connect(own) as wire:
        for number in range(3):
            wire.send_text(f'42{number}["echo","{text}"]')
            # What is in the middle of the buffer when it is half empty must not be lost.
            half = encode_frame(TEXT, f'42["echo","{text}"]'.encode())
            wire.send(half[: size // 2])
            await wire.expect_text(f'43{number}["{text}"]')
            wire.send(half[size // 2 :])
            await wire.expect_echo()
        assert room_of(own, wire) < handover.LARGE_BUFFER
        assert own.server.context.unfinished.total == 0
    await own.settle()


async def test_a_long_buffer_that_one_byte_keeps_counts_as_unfinished_input() -> None:
    async with serve(limits={"max_unfinished_bytes": 1_500_000}) as running:
        async with AsyncExitStack() as stack:
            for _ in range(10):
                wire = await stack.enter_async_context(SocketWire.connect(running))
                wire.send_text('42["echo","' + "x" * 900_000 + '"]')
                wire.send(encode_frame(TEXT, b"3")[:1])
            await turn_until(lambda: len(running.server.registry.connections) <= 3)
        await running.settle()
        assert running.server.context.unfinished.total == 0
