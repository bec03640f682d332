"""What the official test suites of Engine.IO v4 and Socket.IO v5 assert, restated test by test.

The suites are `docs/engine.io-protocol/v4-test-suite` and `docs/socket.io-protocol/v5-test-suite` of
https://github.com/socketio/socket.io; each test here is named after its test there. Oyez is no bare Engine.IO server,
so messages of the Engine.IO suite are Socket.IO packets here. DIFFERENT names every test that Oyez answers otherwise.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from oyez.log.log import Entry
from oyez.server.namespaces.application import Application
from oyez.server.namespaces.socket import Socket
from oyez.server.types import ReceivedEvent
from tests.support.clock import PATIENCE
from tests.support.serving import Running, find_polling, serve, turn_until
from tests.support.tasks import Spawn, own_tasks

PING_INTERVAL = 0.3
PING_TIMEOUT = 1.0
"""The suites have 0.2, which a busy machine misses."""
CONNECT_TIMEOUT = 3.0
QUIET_INTERVAL = 25.0
WITH_PINGS = ("heartbeat", "disconnect")
"""Tests that wait for pings. The others have a server that sends none, because a busy machine would mix them in."""
MAX_PAYLOAD = 1_000_000

Test = Callable[["Server"], Awaitable[None]]
ENGINE: dict[str, Test] = {}
SOCKET: dict[str, Test] = {}


class Suite(Application):
    """What the suites expect of the server: `auth` after CONNECT, `message` sent back, acknowledgements echoed."""

    async def connect(self, socket: Socket, auth: Any) -> None:
        asyncio.get_running_loop().call_soon(socket.send, msgspec.json.encode(["auth", auth]))

    def receive(self, socket: Socket, event: ReceivedEvent) -> None:
        arguments = msgspec.json.decode(event.data)[1:]
        if event.name == "message":
            socket.send(msgspec.json.encode(["message-back", *arguments]), attachments=event.attachments)
        elif event.ack is not None:
            event.ack(msgspec.json.encode(arguments), event.attachments)

    async def may_join(self, socket: Socket, room: str) -> bool:
        return True

    def control(self, entry: Entry, sockets: Any) -> None:
        pass

    def disconnect(self, socket: Socket, reason: str) -> None:
        pass


class Server:
    """The running server, as the suites use it."""

    def __init__(self, running: Running, http: httpx.AsyncClient, spawn: Spawn) -> None:
        self._running = running
        self._spawn = spawn
        self.ping_interval = running.server.settings.ping_interval
        self._http = http

    async def request(self, method: str = "GET", content: str | None = None, **query: str) -> httpx.Response:
        return await self._http.request(
            method, f"{self._running.url}/socket.io/", params=query, content=content, timeout=PATIENCE
        )

    async def get(self, sid: str) -> httpx.Response:
        return await self.request(EIO="4", transport="polling", sid=sid)

    async def start_get(self, sid: str) -> asyncio.Task[httpx.Response]:
        """A poll that waits at the server."""
        task = self._spawn(self.get(sid))
        connection = self._running.server.registry.connections[sid]
        await turn_until(lambda: (polling := find_polling(connection)) is not None and polling.idle_poll)
        return task

    async def until_pinged(self, sid: str) -> None:
        """Returns when a ping waits to be fetched."""
        transport = self._running.server.registry.connections[sid].transport
        await turn_until(lambda: transport.fetchable)

    async def until_closed(self, sid: str) -> None:
        await turn_until(lambda: sid not in self._running.server.registry.connections)

    async def post(self, sid: str, content: str) -> httpx.Response:
        return await self.request("POST", content, EIO="4", transport="polling", sid=sid)

    async def open_polling(self) -> str:
        opened = await self.request(EIO="4", transport="polling")
        sid: str = json.loads(opened.text[1:])["sid"]
        return sid

    @asynccontextmanager
    async def websocket(self, query: str = "EIO=4&transport=websocket") -> AsyncIterator[ClientConnection]:
        url = f"{self._running.url}/socket.io/?{query}".replace("http", "ws")
        async with connect_websocket(url, compression=None, ping_interval=None) as websocket:
            yield websocket

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[ClientConnection]:
        """A WebSocket that has entered the main namespace."""
        async with self.websocket() as websocket:
            await receive(websocket)
            await websocket.send("40")
            await receive(websocket)
            assert await receive(websocket) == '42["auth",{}]'
            yield websocket


async def receive(websocket: ClientConnection) -> str | bytes:
    async with asyncio.timeout(PATIENCE):
        return await websocket.recv()


async def receive_but_pings(websocket: ClientConnection) -> str | bytes:
    while (message := await receive(websocket)) == "2":
        pass
    return message


async def until_closed(websocket: ClientConnection) -> None:
    with pytest.raises(ConnectionClosed):
        while True:
            await receive(websocket)


async def refuse_websocket(server: Server, query: str) -> None:
    with pytest.raises(InvalidStatus):
        async with server.websocket(query):
            pass


def engine(name: str) -> Callable[[Test], Test]:
    return lambda test: ENGINE.setdefault(name, test)


def socketio(name: str) -> Callable[[Test], Test]:
    return lambda test: SOCKET.setdefault(name, test)


def both(name: str) -> Callable[[Test], Test]:
    """The Socket.IO suite repeats most of the Engine.IO suite."""
    return lambda test: engine(name)(socketio(name)(test))


def check_opened(server: Server, text: str, upgrades: list[str]) -> None:
    assert text[0] == "0"
    opened = json.loads(text[1:])
    assert opened == {
        "sid": opened["sid"],
        "upgrades": upgrades,
        "pingInterval": server.ping_interval * 1000,
        "pingTimeout": PING_TIMEOUT * 1000,
        "maxPayload": MAX_PAYLOAD,
    }


# Handshake


@both("handshake: HTTP long-polling: opens a session")
async def _(server: Server) -> None:
    opened = await server.request(EIO="4", transport="polling")
    assert opened.status_code == 200
    check_opened(server, opened.text, ["websocket"])


@both("handshake: HTTP long-polling: fails with an invalid EIO")
async def _(server: Server) -> None:
    assert (await server.request(transport="polling")).status_code == 400
    assert (await server.request(EIO="abc", transport="polling")).status_code == 400


@both("handshake: HTTP long-polling: fails with an invalid transport")
async def _(server: Server) -> None:
    assert (await server.request(EIO="4")).status_code == 400
    assert (await server.request(EIO="4", transport="abc")).status_code == 400


@both("handshake: HTTP long-polling: fails with an invalid request method")
async def _(server: Server) -> None:
    for method in ("POST", "PUT"):
        assert (await server.request(method, EIO="4", transport="polling")).status_code == 400


@both("handshake: WebSocket: opens a session")
async def _(server: Server) -> None:
    async with server.websocket() as websocket:
        check_opened(server, str(await receive(websocket)), [])


@both("handshake: WebSocket: fails with an invalid EIO")
async def _(server: Server) -> None:
    await refuse_websocket(server, "transport=websocket")
    await refuse_websocket(server, "EIO=abc&transport=websocket")


@both("handshake: WebSocket: fails with an invalid transport")
async def _(server: Server) -> None:
    await refuse_websocket(server, "EIO=4")
    await refuse_websocket(server, "EIO=4&transport=abc")


# Messages over Engine.IO


async def enter_polling(server: Server) -> str:
    sid = await server.open_polling()
    assert (await server.post(sid, "40")).text == "ok"
    received = ""
    while "auth" not in received:
        received += (await server.get(sid)).text
    return sid


@engine("message: HTTP long-polling: one plain text packet")
async def _(server: Server) -> None:
    sid = await enter_polling(server)
    posted = await server.post(sid, '42["message",1]')
    assert (posted.status_code, posted.text) == (200, "ok")
    polled = await server.get(sid)
    assert (polled.status_code, polled.text) == (200, '42["message-back",1]')


@engine("message: HTTP long-polling: several plain text packets")
async def _(server: Server) -> None:
    sid = await enter_polling(server)
    assert (await server.post(sid, "\x1e".join(f'42["message",{number}]' for number in range(3)))).text == "ok"
    assert (await server.get(sid)).text == "\x1e".join(f'42["message-back",{number}]' for number in range(3))


@engine("message: HTTP long-polling: plain text and binary packets")
async def _(server: Server) -> None:
    sid = await enter_polling(server)
    placeholder = '{"_placeholder":true,"num":0}'
    assert (await server.post(sid, f'451-["message",{placeholder}]\x1ebAQIDBA==')).text == "ok"
    assert (await server.get(sid)).text == f'451-["message-back",{placeholder}]\x1ebAQIDBA=='


@engine("message: HTTP long-polling: closes the session upon invalid packet format")
async def _(server: Server) -> None:
    sid = await server.open_polling()
    assert (await server.post(sid, "abc")).status_code == 400
    assert (await server.get(sid)).status_code == 400


@engine("message: HTTP long-polling: closes the session upon duplicate poll requests")
async def _(server: Server) -> None:
    sid = await server.open_polling()
    first = await server.start_get(sid)
    assert (await server.get(sid)).status_code == 400
    answer = await first
    assert (answer.status_code, answer.text) == (200, "1")
    assert (await server.get(sid)).status_code == 400


@engine("message: HTTP long-polling: closes the session upon a cancelled poll request")
async def _(server: Server) -> None:
    sid = await server.open_polling()
    (await server.start_get(sid)).cancel()
    await server.until_closed(sid)
    assert (await server.get(sid)).status_code == 400


@engine("message: WebSocket: a plain text packet")
async def _(server: Server) -> None:
    async with server.socket() as websocket:
        await websocket.send('42["message","hello"]')
        assert await receive_but_pings(websocket) == '42["message-back","hello"]'


@engine("message: WebSocket: a binary packet")
async def _(server: Server) -> None:
    async with server.socket() as websocket:
        await websocket.send('451-["message",{"_placeholder":true,"num":0}]')
        await websocket.send(b"\x01\x02\x03\x04")
        await receive_but_pings(websocket)
        assert await receive_but_pings(websocket) == b"\x01\x02\x03\x04"


@engine("message: WebSocket: closes the session upon invalid packet format")
async def _(server: Server) -> None:
    async with server.websocket() as websocket:
        await receive(websocket)
        await websocket.send("abc")
        await until_closed(websocket)


# Heartbeat and close


@both("heartbeat: HTTP long-polling: sends ping/pong packets")
async def _(server: Server) -> None:
    sid = await server.open_polling()
    for _ in range(3):
        polled = await server.get(sid)
        assert (polled.status_code, polled.text) == (200, "2")
        assert (await server.post(sid, "3")).status_code == 200


@both("heartbeat: HTTP long-polling: closes the session upon ping timeout")
async def _(server: Server) -> None:
    sid = await server.open_polling()
    # The suite sleeps for both times at once. A server that a busy machine stops for a while gives more time.
    await server.until_pinged(sid)
    await asyncio.sleep(PING_TIMEOUT)
    assert (await server.get(sid)).status_code == 400


@both("heartbeat: WebSocket: sends ping/pong packets")
async def _(server: Server) -> None:
    async with server.websocket() as websocket:
        await receive(websocket)
        for _ in range(3):
            assert await receive(websocket) == "2"
            await websocket.send("3")


@both("heartbeat: WebSocket: closes the session upon ping timeout")
async def _(server: Server) -> None:
    async with server.websocket() as websocket:
        await until_closed(websocket)


@both("close: HTTP long-polling: forcefully closes the session")
async def _(server: Server) -> None:
    sid = await server.open_polling()
    poll = await server.start_get(sid)
    await server.post(sid, "1")
    polled = await poll
    assert (polled.status_code, polled.text) == (200, "6")
    assert (await server.get(sid)).status_code == 400


@both("close: WebSocket: forcefully closes the session")
async def _(server: Server) -> None:
    async with server.websocket() as websocket:
        await receive(websocket)
        await websocket.send("1")
        await until_closed(websocket)


# Upgrade


@both("upgrade: from HTTP long-polling to WebSocket")
async def _(server: Server) -> None:
    sid = await server.open_polling()
    async with server.websocket(f"EIO=4&transport=websocket&sid={sid}") as websocket:
        await websocket.send("2probe")
        assert await receive(websocket) == "3probe"
        polled = await server.get(sid)
        assert (polled.status_code, polled.text) == (200, "6")
        await websocket.send("5")
        await check_upgraded(websocket)


async def check_upgraded(websocket: ClientConnection) -> None:
    """The session continues over this WebSocket."""
    await websocket.send("40")
    await receive_but_pings(websocket)
    assert await receive_but_pings(websocket) == '42["auth",{}]'


@both("upgrade: ignores HTTP requests with the same sid after the upgrade")
async def _(server: Server) -> None:
    sid = await server.open_polling()
    async with server.websocket(f"EIO=4&transport=websocket&sid={sid}") as websocket:
        await websocket.send("2probe")
        await websocket.send("5")
        assert (await server.get(sid)).status_code == 400
        assert await receive(websocket) == "3probe"
        await check_upgraded(websocket)


@both("upgrade: ignores a WebSocket with the same sid after the upgrade")
async def _(server: Server) -> None:
    sid = await server.open_polling()
    async with server.websocket(f"EIO=4&transport=websocket&sid={sid}") as websocket:
        await websocket.send("2probe")
        await websocket.send("5")
        assert await receive(websocket) == "3probe"
        with pytest.raises((InvalidStatus, ConnectionClosed)):
            async with server.websocket(f"EIO=4&transport=websocket&sid={sid}") as other:
                await until_closed(other)
                raise ConnectionClosed(None, None)
        await check_upgraded(websocket)


# Socket.IO: connect and disconnect


async def check_connect(server: Server, *, connect: str, prefix: str = "", auth: str = "{}") -> None:
    async with server.websocket() as websocket:
        await receive(websocket)
        await websocket.send(connect)
        answer = str(await receive(websocket))
        assert answer.startswith(f"40{prefix}")
        # `pid` is ours, see DIFFERENT.
        assert set(json.loads(answer.removeprefix(f"40{prefix}"))) == {"sid", "pid"}
        assert await receive(websocket) == f'42{prefix}["auth",{auth}]'


SOCKET.update(
    {
        "connect: allows connection to the main namespace": partial(check_connect, connect="40"),
        "connect: allows connection to the main namespace with a payload": partial(
            check_connect, connect='40{"token":"123"}', auth='{"token":"123"}'
        ),
        "connect: allows connection to a custom namespace": partial(
            check_connect, connect="40/custom,", prefix="/custom,"
        ),
        "connect: allows connection to a custom namespace with a payload": partial(
            check_connect, connect='40/custom,{"token":"abc"}', prefix="/custom,", auth='{"token":"abc"}'
        ),
    }
)


@socketio("connect: disallows connection to an unknown namespace")
async def _(server: Server) -> None:
    async with server.websocket() as websocket:
        await receive(websocket)
        await websocket.send("40/random")
        answer = str(await receive(websocket))
        assert answer.startswith("44/random,")
        refusal = json.loads(answer.removeprefix("44/random,"))
        # `data` is ours, see DIFFERENT.
        assert refusal["message"] == "Invalid namespace" and refusal["data"]["code"] == "unknown_namespace"


@socketio("connect: disallows connection with an invalid handshake")
async def _(server: Server) -> None:
    async with server.websocket() as websocket:
        await receive(websocket)
        await websocket.send("4abc")
        await until_closed(websocket)


@socketio("connect: closes the connection if no handshake is received")
async def _(server: Server) -> None:
    async with server.websocket() as websocket:
        await until_closed(websocket)


@socketio("disconnect: from the main namespace")
async def _(server: Server) -> None:
    async with server.socket() as websocket:
        await websocket.send("41")
        assert await receive(websocket) == "2"


@socketio("disconnect: connects to a custom namespace, then disconnects from it")
async def _(server: Server) -> None:
    async with server.socket() as websocket:
        assert await receive(websocket) == "2"
        await websocket.send("3")
        await websocket.send("40/custom")
        assert str(await receive(websocket)).startswith("40/custom")
        assert str(await receive(websocket)).startswith("42/custom")
        await websocket.send("41/custom")
        await websocket.send('42["message","message to main namespace"]')
        assert await receive(websocket) == '42["message-back","message to main namespace"]'


# Socket.IO: messages

TWO_PLACEHOLDERS = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'


async def check_message(server: Server, sent: list[str | bytes], received: list[str | bytes]) -> None:
    async with server.socket() as websocket:
        for message in sent:
            await websocket.send(message)
        assert [await receive_but_pings(websocket) for _ in received] == received


async def check_malformed(server: Server, packet: str) -> None:
    async with server.socket() as websocket:
        await websocket.send(packet)
        await until_closed(websocket)


ATTACHMENTS: list[str | bytes] = [b"\x01\x02\x03", b"\x04\x05\x06"]
SOCKET.update(
    {
        "message: a plain-text packet": partial(
            check_message, sent=['42["message",1,"2",{"3":[true]}]'], received=['42["message-back",1,"2",{"3":[true]}]']
        ),
        "message: a packet with binary attachments": partial(
            check_message,
            sent=[f'452-["message",{TWO_PLACEHOLDERS}]', *ATTACHMENTS],
            received=[f'452-["message-back",{TWO_PLACEHOLDERS}]', *ATTACHMENTS],
        ),
        "message: a plain-text packet with an acknowledgement": partial(
            check_message,
            sent=['42456["message-with-ack",1,"2",{"3":[false]}]'],
            received=['43456[1,"2",{"3":[false]}]'],
        ),
        "message: a packet with binary attachments and an acknowledgement": partial(
            check_message,
            sent=[f'452-789["message-with-ack",{TWO_PLACEHOLDERS}]', *ATTACHMENTS],
            received=[f"462-789[{TWO_PLACEHOLDERS}]", *ATTACHMENTS],
        ),
        "message: closes the connection upon an unknown packet type": partial(check_malformed, packet="4abc"),
        "message: closes the connection upon an invalid payload format": partial(check_malformed, packet="42{}"),
        "message: closes the connection upon an invalid acknowledgement id": partial(
            check_malformed, packet='42abc["message-with-ack",1,"2",{"3":[false]}]'
        ),
    }
)


DIFFERENT = (
    "connect: allows connection to the main namespace",
    "connect: allows connection to the main namespace with a payload",
    "connect: allows connection to a custom namespace",
    "connect: allows connection to a custom namespace with a payload",
    "connect: disallows connection to an unknown namespace",
)
"""Tests of the Socket.IO suite that fail untouched: the answer to CONNECT also holds `pid`, as Node's server does with
recovery, and a refusal holds `data.code`. No client minds: both are read by name."""


@asynccontextmanager
async def serve_suite(ping_interval: float) -> AsyncIterator[Server]:
    limits = {"connect_timeout": CONNECT_TIMEOUT, "max_payload": MAX_PAYLOAD}
    namespaces = {"/": Suite(), "/custom": Suite()}
    async with (
        serve(namespaces=namespaces, limits=limits, ping_interval=ping_interval, ping_timeout=PING_TIMEOUT) as running,
        httpx.AsyncClient(timeout=PATIENCE) as http,
        own_tasks() as spawn,
    ):
        yield Server(running, http, spawn)


@pytest.mark.parametrize("suite", [ENGINE, SOCKET], ids=["Engine.IO v4", "Socket.IO v5"])
async def test_official_suite(suite: dict[str, Test]) -> None:
    failures: dict[str, Exception] = {}

    async def run(name: str, test: Test, server: Server) -> None:
        try:
            await test(server)
        except Exception as error:
            failures[name] = error

    async with serve_suite(PING_INTERVAL) as pinging, serve_suite(QUIET_INTERVAL) as quiet:
        await asyncio.gather(
            *(run(name, test, pinging if name.startswith(WITH_PINGS) else quiet) for name, test in suite.items())
        )
    assert not failures, "\n".join(f"{name}: {error!r}" for name, error in failures.items())


def test_the_suites_are_whole() -> None:
    assert (len(ENGINE), len(SOCKET)) == (25, 32)
    assert set(DIFFERENT) < set(SOCKET)
