"""A reverse proxy for tests that keeps its connections to the server, and trusts the lengths that clients declare.

It passes bytes on as they come and reads one answer for each request, as real proxies do, but checks nothing: where it
and the server disagree about the end of a request, the next client gets an answer that is not its own.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

Belief = Literal["length", "chunks"]
"""What counts where a request has both."""

_LENGTH = re.compile(rb"\n\s*content-length\s*:[^\d\n]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\n\s*transfer-encoding\s*:[^\n]*chunked", re.IGNORECASE)
_HEAD_END = re.compile(rb"\r?\n\r?\n")


class Upstream:
    """A connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.kept = True

    async def ask(self, request: bytes) -> bytes:
        """The answer to a request; empty if the server has hung up."""
        head = _HEAD_END.search(request)
        at = head.end() if head is not None else len(request)
        with suppress(OSError, RuntimeError, asyncio.IncompleteReadError):
            for segment in (request[:at], request[at:]):
                self.writer.write(segment)
                # The body is a segment of its own, as it is where proxies do not wait for it.
                await asyncio.sleep(0.001)
            return await self._read_answer(bodiless=request.startswith(b"HEAD "))
        self.kept = False
        return b""

    async def _read_answer(self, *, bodiless: bool) -> bytes:
        head = await self._reader.readuntil(b"\r\n\r\n")
        if b" 100 " in head[:16]:
            return await self._read_answer(bodiless=bodiless)
        lowered = head.lower()
        self.kept = b"\nconnection: close" not in lowered and b"\ncontent-length:" in lowered
        if bodiless:
            return head
        if not self.kept:
            return head + await self._reader.read(-1)
        return head + await self._reader.readexactly(int(lowered.partition(b"\ncontent-length:")[2].split()[0]))


@asynccontextmanager
async def pool(port: int, belief: Belief) -> AsyncIterator[int]:
    """The port of a proxy before the server at `port`."""
    kept: list[Upstream] = []
    serving: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        try:
            while chunk := await reader.read(65_536):
                data += chunk
                while (size := measure_request(data, belief)) is not None:
                    request, data = data[:size], data[size:]
                    answer = await ask(request)
                    writer.write(answer)
                    if not answer or b"\nconnection: close" in request.lower():
                        return
        except OSError:
            pass
        finally:
            writer.close()

    async def ask(request: bytes) -> bytes:
        while kept:
            if answer := await keep(kept.pop(), request):
                return answer
        return await keep(Upstream(*await asyncio.open_connection("127.0.0.1", port)), request)

    async def keep(upstream: Upstream, request: bytes) -> bytes:
        answer = await upstream.ask(request)
        if upstream.kept:
            kept.append(upstream)
        else:
            upstream.writer.close()
        return answer

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        for upstream in kept:
            upstream.writer.close()


def measure_request(data: bytes, belief: Belief) -> int | None:
    """Bytes of the first request in `data`; None if it has not come to its end."""
    end = _HEAD_END.search(data)
    if end is None:
        return None
    head, rest = data[: end.end()], data[end.end() :]
    length, chunked = _LENGTH.search(head), _CHUNKED.search(head)
    if chunked is not None and (length is None or belief == "chunks"):
        last = re.search(rb"(?:\A|\n)0+[^\n]*\n\r?\n", rest)
        return end.end() + last.end() if last is not None else None
    size = int(length[1]) if length is not None else 0
    return end.end() + size if len(rest) >= size else None
