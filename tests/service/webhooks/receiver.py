"""A receiver of webhooks: a real HTTP server that verifies signatures with the library, and answers as it is told."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook

from tests.support.clock import PATIENCE

OK = 200


@dataclass(frozen=True, slots=True)
class Received:
    """A webhook."""

    id: str
    headers: dict[str, str]
    body: bytes
    payload: Any = None
    """The body as JSON, if the signature was verified."""


@dataclass
class ReceiverServer:
    """Each request takes the next of `answers`; without one, it is `default`."""

    answers: "deque[int | str]" = field(default_factory=deque)
    """A status, `hang` (no answer) or `long` (an endless answer)."""
    default: int | str = OK
    secret: str = ""
    """If it is set, signatures are verified."""
    received: list[Received] = field(default_factory=list)
    headers: str = ""
    """Further headers of the answers."""
    url: str = ""
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.received]

    async def expect(self, count: int, *, patience: float = PATIENCE) -> list[Received]:
        """All webhooks, once there are so many."""
        try:
            async with asyncio.timeout(patience), self._changed:
                await self._changed.wait_for(lambda: len(self.received) >= count)
        except TimeoutError:
            raise AssertionError(f"expected {count} webhooks, got {len(self.received)}") from None
        return self.received

    async def expect_different(self, count: int, *, patience: float = PATIENCE) -> None:
        """Wait until webhooks with so many different ids have come."""
        async with asyncio.timeout(patience), self._changed:
            await self._changed.wait_for(lambda: len(set(self.ids)) >= count)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = {name.lower(): value for name, value in re.findall(r"^([\w-]+): (.*)\r$", head, re.M)}
                body = await reader.readexactly(int(headers["content-length"]))
                payload = Webhook(self.secret).verify(body, headers) if self.secret else None
                answer = self.answers.popleft() if self.answers else self.default
                async with self._changed:
                    self.received.append(Received(headers["webhook-id"], headers, body, payload))
                    self._changed.notify_all()
                if answer == "hang":
                    await reader.read()
                    break
                if answer == "long":
                    writer.write(b"HTTP/1.1 200 Oh\r\ncontent-length: 1000000000\r\n\r\n")
                    while True:
                        writer.write(b"x" * 65_536)
                        await writer.drain()
                writer.write(f"HTTP/1.1 {answer} Oh\r\ncontent-length: 2\r\n{self.headers}\r\nok".encode())
        writer.close()


async def wait_until(happened: Callable[[], Awaitable[object]]) -> None:
    """Wait until a question to the server or the database has a true answer."""
    async with asyncio.timeout(3 * PATIENCE):
        while not await happened():  # noqa: ASYNC110 - nothing says when
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serve_receiver() -> AsyncIterator[ReceiverServer]:
    receiver = ReceiverServer()
    async with await asyncio.start_server(receiver.answer, "127.0.0.1", 0) as server:
        receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks?shop=1"
        yield receiver
        server.close()
