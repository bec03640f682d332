"""A TCP proxy that can fail: its connections can be cut, and it refuses new ones until it is restored."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self


class Proxy:
    """Listens on a port of its own and passes the bytes of each connection on to `target`, as it is at that time."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._listening: asyncio.Server | None = None
        self.port = 0

    @classmethod
    @asynccontextmanager
    async def run(cls, target: int) -> AsyncIterator[Self]:
        proxy = cls(target)
        await proxy.restore()
        try:
            yield proxy
        finally:
            proxy.cut()

    async def restore(self) -> None:
        self._listening = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Reset every connection, and refuse new ones."""
        if self._listening is not None:
            self._listening.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers |= {writer, inner_writer}
            await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Write what is read until either side ends; then close the writer."""
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
