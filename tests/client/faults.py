"""A server in front of the real one that fails as a test tells it to, and then forwards requests to it."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the server itself. The request does not reach the real one."""

    status: int
    body: str = ""
    headers: str = ""

    def encode(self) -> bytes:
        head = f"HTTP/1.1 {self.status} Oh\r\ncontent-length: {len(self.body)}\r\n{self.headers}\r\n"
        return (head + self.body).encode()


@dataclass
class FaultyServer:
    """Each request takes the next of `faults`; without one, it is forwarded."""

    target: str
    faults: "deque[Reply | str]" = field(default_factory=deque)
    """A Reply; `hang` (never answers), `cut` (ends the connection), `lose` (forwards, and loses the answer)."""
    keys: list[str] = field(default_factory=list)
    """The idempotency key of each request."""
    url: str = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                request = await _read(reader)
                self.keys += [key.decode() for key in re.findall(rb"(?i)idempotency-key: ([!-~]+)", request)]
                fault = self.faults.popleft() if self.faults else None
                if isinstance(fault, Reply):
                    writer.write(fault.encode())
                    continue
                if fault == "hang":
                    await reader.read()
                answer = await self._forward(request) if fault in (None, "lose") else b""
                if fault is not None:
                    break
                writer.write(answer)
        writer.close()

    async def _forward(self, request: bytes) -> bytes:
        parts = urlsplit(self.target)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(request)
        answer = await _read(reader)
        writer.close()
        return answer


async def _read(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


@asynccontextmanager
async def serve_faults(target: str) -> AsyncIterator[FaultyServer]:
    faulty = FaultyServer(target)
    async with await asyncio.start_server(faulty.answer, "127.0.0.1", 0) as server:
        faulty.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield faulty
        server.close()
