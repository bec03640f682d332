"""python-socketio's client for tests, with the verbs the other clients have."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import socketio

from tests.support.clock import PATIENCE


class PyClient:
    """One connected client; events that were not asked for wait in order."""

    def __init__(self, namespace: str = "/") -> None:
        self.sio = socketio.AsyncClient(reconnection=False)
        self.refusal: Any = None
        self._namespace = namespace
        self._events: asyncio.Queue[tuple[str, list[Any]]] = asyncio.Queue()
        self.sio.on("*", self._receive, namespace)
        self.sio.on("connect_error", self._refused, namespace)

    async def _receive(self, event: str, *args: Any) -> None:
        self._events.put_nowait((event, list(args)))

    async def _refused(self, data: Any) -> None:
        self.refusal = data

    async def emit(self, event: str, data: Any = None) -> None:
        await self.sio.emit(event, data, self._namespace)

    async def call(self, event: str, data: Any = None) -> Any:
        return await self.sio.call(event, data, self._namespace, timeout=PATIENCE)

    async def next_event(self) -> tuple[str, list[Any]]:
        """The next event, whichever it is."""
        async with asyncio.timeout(PATIENCE):
            return await self._events.get()

    def take_events(self) -> list[tuple[str, list[Any]]]:
        """All events that have arrived and were not asked for."""
        return [self._events.get_nowait() for _ in range(self._events.qsize())]

    async def expect_event(self, event: str) -> list[Any]:
        name, args = await self.next_event()
        assert name == event, f"expected {event}, got {name} {args}"
        return args

    async def expect_nothing(self) -> None:
        """Nothing was sent to this client before now that has not been asked for."""
        await self.call("oyez:barrier")
        assert self._events.empty(), self._events.get_nowait()


@asynccontextmanager
async def connect(
    url: str,
    *,
    path: str = "/socket.io/",
    namespace: str = "/",
    auth: Mapping[str, Any] | None = None,
    transports: Sequence[str] = ("polling", "websocket"),
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[PyClient]:
    """A connected client. Raises socketio.exceptions.ConnectionError."""
    client = PyClient(namespace)
    await client.sio.connect(
        url,
        namespaces=[namespace],
        headers=dict(headers or {}),
        auth=dict(auth or {}),
        transports=list(transports),
        socketio_path=path,
        wait_timeout=PATIENCE,
    )
    try:
        yield client
    finally:
        await client.sio.disconnect()
