"""A load balancer for tests, as plain as there can be: every request goes to the next server, whoever's it is."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import cycle


@asynccontextmanager
async def balance(ports: Sequence[int]) -> AsyncIterator[str]:
    """The address of a balancer before servers at `ports` of this machine. Those that do not answer are passed over."""
    turns = cycle(range(len(ports)))
    serving: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = next(turns)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await _serve_one(reader, writer, [*ports[first:], *ports[:first]])
        finally:
            writer.close()

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ports: Sequence[int]) -> None:
    """One request a connection: the next one is another server's."""
    head = await reader.readuntil(b"\r\n\r\n")
    there, back = await _reach(ports)
    first, *lines = head.rstrip().split(b"\r\n")
    if b"upgrade: websocket" not in head.lower():
        lines = [line for line in lines if not line.lower().startswith(b"connection:")] + [b"Connection: close"]
    back.write(b"\r\n".join([first, *lines, b"", b""]))
    ways = [asyncio.create_task(_pipe(reader, back)), asyncio.create_task(_pipe(there, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        back.close()


async def _reach(ports: Sequence[int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for port in ports:
        with suppress(OSError):
            return await asyncio.open_connection("127.0.0.1", port)
    raise ConnectionRefusedError


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
