"""A back end that a test scripts: each request is answered by a function of the test, which may also cause faults."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks.webhooks import Webhook

from oyez.settings import BackendSettings
from tests.support.clock import PATIENCE

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Request:
    """A request whose signature is right."""

    body: Any
    headers: dict[str, str]
    raw: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Reply:
    """An HTTP answer; `close` without an answer, if there is no status."""

    content: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        body = self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()
        lines = [f"HTTP/1.1 {self.status} .", f"content-length: {len(body)}", "content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


CUT = Reply(status=0)
"""The connection is closed without an answer."""
Answer = Callable[[Request], Awaitable[Any]]


class ScriptedBackend:
    """The back end: `answer` may be replaced at any time."""

    def __init__(self) -> None:
        self.answer: Answer = _answer_nothing
        self.requests: list[Request] = []
        self._arrived = asyncio.Condition()
        self.connections = 0
        """Connections that were ever opened."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """Stop listening, and cut all connections."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    def settings(self, **others: Any) -> BackendSettings:
        return BackendSettings(**{"url": f"http://127.0.0.1:{self.port}/oyez", "secret": SECRET, **others})

    def script(self, *replies: Any) -> None:
        """Answer the next requests with these, in order; the last one for all further requests.

        Disconnects are answered with nothing: those of an earlier test may arrive at any time.
        """
        left = list(replies)

        async def answer(request: Request) -> Any:
            if request.body["type"] == "disconnect":
                return {}
            return left.pop(0) if len(left) > 1 else left[0]

        self.answer = answer

    async def next_request(self, type: str, number: int = 1) -> Request:
        """The request of that number of a type, as soon as it has arrived."""

        def find() -> list[Request]:
            return [request for request in self.requests if request.body["type"] == type]

        async with asyncio.timeout(PATIENCE), self._arrived:
            await self._arrived.wait_for(lambda: len(find()) >= number)
        return find()[number - 1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                fields = [line.split(": ", 1) for line in head[1:] if ": " in line]
                headers = {name.lower(): value for name, value in fields}
                raw = await reader.readexactly(int(headers["content-length"]))
                request = Request(Webhook(SECRET).verify(raw, headers), headers, raw)
                self.requests.append(request)
                async with self._arrived:
                    self._arrived.notify_all()
                reply = await self.answer(request)
                if reply is CUT:
                    return
                writer.write((reply if isinstance(reply, Reply) else Reply(reply)).encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


async def _answer_nothing(request: Request) -> Any:
    return {}


@asynccontextmanager
async def run_backend() -> AsyncIterator[ScriptedBackend]:
    """A back end that listens until the block ends."""
    backend = ScriptedBackend()
    await backend.start()
    try:
        yield backend
    finally:
        async with asyncio.timeout(PATIENCE):
            await backend.kill()
