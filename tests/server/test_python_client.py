"""python-socketio's client, over either transport and from one to the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import socketio
from socketio.exceptions import ConnectionError, TimeoutError

from oyez.protocol import engineio
from tests.support.application import Market
from tests.support.clock import PATIENCE
from tests.support.serving import Running, serve

TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]]


class Client:
    """The client, and a queue of what it receives: an event's name and arguments, or `disconnect` and the reason."""

    def __init__(self) -> None:
        self.io = socketio.AsyncClient(reconnection=False)
        self.heard: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self.io.on("*", self._hear)
        self.io.on("question", self._answer)
        self.io.on("disconnect", lambda reason: self.heard.put_nowait(("disconnect", reason)))

    async def _hear(self, event: str, *args: Any) -> None:
        self.heard.put_nowait((event, *args))

    async def _answer(self, *args: Any) -> dict[str, Any]:
        return {"photo": b"\x01\x02\x03"}

    async def expect(self, *event: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            assert await self.heard.get() == event


@asynccontextmanager
async def connect(running: Running, transports: list[str], **options: Any) -> AsyncIterator[Client]:
    client = Client()
    await client.io.connect(running.url, transports=transports, **options)
    try:
        yield client
    finally:
        await client.io.shutdown()
        await running.settle()


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_events_answers_and_binary(running: Running, transports: list[str]) -> None:
    async with connect(running, transports, auth={"rooms": ["a"]}) as client:
        assert client.io.transport() == transports[-1]
        assert client.io.get_sid() in running.namespace.sockets
        assert await client.io.call("echo", {"a": [1, "€"], "b": b"\x00\x01"}) == {"a": [1, "€"], "b": b"\x00\x01"}
        await running.publish("hello", {"x": 1}, "two", to="a")
        await running.publish("long", "x" * 100_000, to="a")
        await client.expect("hello", {"x": 1}, "two")
        await client.expect("long", "x" * 100_000)
        running.market.socket(client.io.get_sid()).send(
            b'["file",{"_placeholder":true,"num":0}]', attachments=(b"abc",)
        )
        await client.expect("file", b"abc")
        assert await client.io.call("ask") == {"photo": "AQID"}
        with pytest.raises(TimeoutError):
            await client.io.call("hold", timeout=0.05)


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_a_refusal(running: Running, transports: list[str]) -> None:
    client = Client()
    errors: list[Any] = []
    client.io.on("connect_error", errors.append)
    with pytest.raises(ConnectionError):
        await client.io.connect(running.url, transports=transports, auth={"refuse": True})
    assert errors == [{"message": "The market is closed today.", "data": {"code": "closed_today", "opens": "tomorrow"}}]
    await client.io.shutdown()
    await running.settle()


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_the_server_disconnects(running: Running, transports: list[str]) -> None:
    async with connect(running, transports) as client:
        running.market.socket(client.io.get_sid()).disconnect()
        await client.expect("disconnect", "server disconnect")


@pytest.mark.parametrize("transports", TRANSPORTS)
async def test_the_connection_ends(running: Running, transports: list[str]) -> None:
    async with connect(running, transports) as client:
        running.market.socket(client.io.get_sid()).connection.close(engineio.FORCED_SERVER_CLOSE)
        async with asyncio.timeout(PATIENCE):
            assert (await client.heard.get())[0] == "disconnect"


async def test_several_namespaces(kind: str) -> None:
    other = Market()
    market = serve(kind, namespaces={"/other": other})
    ways = ["polling", "websocket"]
    async with market as running, connect(running, ways, namespaces=["/", "/other"]) as client:
        assert await client.io.call("echo", 1, namespace="/other") == 1
        assert await client.io.call("echo", 2) == 2
        assert set(running.server.namespaces["/other"].sockets) == {client.io.get_sid("/other")}


@pytest.mark.parametrize("transports", TRANSPORTS[:2])
async def test_heartbeats(kind: str, transports: list[str]) -> None:
    async with serve(kind, ping_interval=0.05, ping_timeout=5.0) as running, connect(running, transports) as client:
        pinged = asyncio.Event()
        answer_ping = client.io.eio._send_packet

        async def note(packet: Any) -> None:
            await answer_ping(packet)
            if packet.packet_type == engineio.PacketType.PONG:
                pinged.set()

        client.io.eio._send_packet = note
        for _ in range(3):
            async with asyncio.timeout(PATIENCE):
                await pinged.wait()
            pinged.clear()
        assert await client.io.call("echo", 1) == 1
