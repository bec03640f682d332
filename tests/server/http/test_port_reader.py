"""What a client sends ahead stays in the kernel until the protocol wants it."""

import asyncio
from typing import cast

from oyez.server.http.port_reader import READ_SIZE, PieceReader
from tests.support.clock import PATIENCE

SENT = 20 * READ_SIZE


class Greedy(asyncio.Protocol):
    """Pauses after each read, until the test continues it."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is no asyncio.Transport by type.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.pause_reading()
        self.read.append(len(data))
        self.changed.set()


async def test_no_more_is_read_than_one_piece_at_a_time() -> None:
    protocol = Greedy()
    server = await asyncio.get_running_loop().create_server(lambda: PieceReader(protocol), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        writer.write(bytes(SENT))
        async with asyncio.timeout(PATIENCE):
            while sum(protocol.read) < SENT:
                await protocol.changed.wait()
                protocol.changed.clear()
                protocol.transport.resume_reading()
    finally:
        writer.close()
        protocol.transport.close()
        server.close()
    assert max(protocol.read) <= READ_SIZE
