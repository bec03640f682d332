"""What a client sends ahead stays in the kernel until the protocol wants it."""

import asyncio

from oyez.server.port_reader import READ_SIZE, PieceReader

PATIENCE = 10.0
SENT = 20 * READ_SIZE


class Greedy(asyncio.Protocol):
    """Wants nothing more after each read, until it is told to go on."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.pause_reading()
        self.read.append(len(data))
        self.changed.set()


async def test_no_more_is_read_than_one_piece_at_a_time() -> None:
    protocol = Greedy()
    server = await asyncio.get_running_loop().create_server(lambda: PieceReader(protocol), "127.0.0.1", 0)
    async with server, asyncio.timeout(PATIENCE):
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(bytes(SENT))
        while sum(protocol.read) < SENT:
            protocol.changed.clear()
            if protocol.read:
                protocol.transport.resume_reading()
            await protocol.changed.wait()
        assert max(protocol.read) <= READ_SIZE
        protocol.transport.close()
        writer.close()
