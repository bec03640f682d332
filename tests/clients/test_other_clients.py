"""Clients beside the matrix: those that are refused, plain WebSockets, and bytes that clients in other languages send.

What cannot be had from a package registry (Java, Swift, Dart, C#, PHP, Go) is replayed byte for byte.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.clients.cases import EVENTS, PATH, POLLING, TRANSPORTS, WEBSOCKET
from tests.clients.drivers import JAVASCRIPT, Remote
from tests.clients.test_matrix import FILE
from tests.support.clock import PATIENCE
from tests.support.driver import Driver
from tests.support.served import Served, serve

RXJS = Path(__file__).parents[1] / "js" / "rxjs.mjs"
WSCAT = Path(__file__).parents[1] / "js" / "node_modules" / "wscat" / "bin" / "wscat"
ORIGIN = "https://app.example"


@pytest.fixture(scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serve(tmp_path_factory.mktemp("shop") / "data", FILE, CLIENT_ORIGIN=ORIGIN) as served:
        yield served


# Refused


async def open_javascript(
    driver: Driver, shop: Served, library: str, transports: tuple[str, ...], **more: Any
) -> Remote:
    client = Remote(driver, f"{library} {'+'.join(transports)} {more}")
    options = {"path": PATH, "transports": transports, "auth": {"token": shop.token("ada")}, "reconnectionDelay": 50}
    await client.open(shop.url, library=library, options=options, events=EVENTS, **more)
    return client


async def test_a_client_of_version_2_is_refused_before_it_connects(shop: Served) -> None:
    async with Driver.start_program(JAVASCRIPT) as driver:
        for transports in (POLLING, WEBSOCKET):
            client = await open_javascript(driver, shop, "socket.io-client-2.5", transports)
            assert (await client.until("connect_error"))[0]["message"] in ("xhr poll error", "websocket error")
            assert not client.find("connect")
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        answer = await http.get(f"{shop.url}{PATH}?EIO=3&transport=polling")
    assert (answer.status_code, answer.json()["message"]) == (400, "Unsupported protocol version")


async def test_a_client_with_the_msgpack_parser_gets_one_readable_refusal(shop: Served) -> None:
    async with Driver.start_program(JAVASCRIPT) as driver:
        clients = [
            await open_javascript(driver, shop, library, transports, parser="socket.io-msgpack-parser")
            for library in ("socket.io-client", "socket.io-client-4.0")
            for transports in TRANSPORTS
        ]
        for client in clients:
            (error,) = await client.until("connect_error")
            assert "parser" in error["message"] and error["data"] == {"code": "unsupported_parser"}
        # Version 4.0 stays until it is disconnected; no client reconnects.
        for client in clients[len(TRANSPORTS) :]:
            assert (await client.until("disconnect"))[0]["reason"] == "io server disconnect"
        assert not any(client.find("attempt") for client in clients)


# Plain WebSocket


@asynccontextmanager
async def run_node(program: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("node", str(program), *arguments, stdin=pipe, stdout=pipe)
    try:
        yield process
    finally:
        process.kill()
        await process.communicate()


async def test_wscat(shop: Served) -> None:
    address = f"{shop.url.replace('http', 'ws')}/shop/ws?token={shop.token('wscat')}"
    async with run_node(WSCAT, "-c", address) as wscat:
        assert wscat.stdout is not None and wscat.stdin is not None

        async def expect() -> Any:
            async with asyncio.timeout(PATIENCE):
                return json.loads((await wscat.stdout.readline()).strip(b"<> \n"))  # type: ignore[union-attr]

        assert (await expect())["event"] == "connect"
        wscat.stdin.write(b"hello\n")
        error = await expect()
        assert error["event"] == "error" and error["data"]["code"] == "malformed"
        wscat.stdin.write(b'{"event": "echo", "data": {"text": "hi"}, "id": "first"}\n')
        assert await expect() == {"event": "greeting", "data": {"text": "hi"}}
        assert await expect() == {"id": "first", "data": {"ok": True, "text": "hi"}}
        await shop.publish("order", {"number": 5}, "buyer:wscat", system="shop")
        order = await expect()
        assert order["event"] == "order" and set(order) == {"event", "data"}


async def test_rxjs_emits_the_event_itself_once_and_in_order(shop: Served) -> None:
    async with run_node(RXJS, shop.url, PATH, shop.token("rxjs")) as node:

        async def expect() -> Any:
            async with asyncio.timeout(PATIENCE):
                return json.loads(await node.stdout.readline())  # type: ignore[union-attr]

        async def expect_order(number: int) -> None:
            # With another argument, fromEvent would emit an array.
            order = await expect()
            assert set(order) == {"number", "timestamp"} and order["number"] == number

        assert await expect() == {"connected": False}
        await shop.publish("order", {"number": 1}, "buyer:rxjs", system="shop")
        await expect_order(1)
        await shop.publish("typing", {"number": 1}, "buyer:rxjs", system="shop")
        for number in (2, 3):
            await shop.publish("order", {"number": number}, "buyer:rxjs", system="shop")
        # The network breaks somewhere between the two.
        received = [await expect() for _ in range(3)]
        assert {"connected": True} in received
        assert [each["number"] for each in received if "number" in each] == [2, 3]


async def test_a_wrong_path_names_those_that_exist(shop: Served) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{shop.url.replace('http', 'ws')}/foo"):
            pass
    assert refused.value.response.status_code == 404
    assert b"/shop/ws" in refused.value.response.body and b"/shop/socket.io" in refused.value.response.body


# Replayed


@asynccontextmanager
async def open_websocket(
    shop: Served, query: str = "EIO=4&transport=websocket", **headers: str
) -> AsyncIterator[ClientConnection]:
    address = f"{shop.url.replace('http', 'ws')}{PATH}?{query}"
    async with connect(address, additional_headers=headers, compression=None, close_timeout=0.1) as websocket:
        yield websocket


async def receive(websocket: ClientConnection) -> str:
    async with asyncio.timeout(PATIENCE):
        return str(await websocket.recv())


async def enter(websocket: ClientConnection, **auth: Any) -> dict[str, Any]:
    await websocket.send("40" + json.dumps(auth))
    answer = await receive(websocket)
    assert answer.startswith("40{"), answer
    entered: dict[str, Any] = json.loads(answer[2:])
    return entered


@pytest.mark.parametrize("client", ["elephant.io", "SocketIOClient"])
async def test_an_upgrade_without_a_probe(shop: Served, client: str) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        opened = await http.get(f"{shop.url}{PATH}?EIO=4&transport=polling")
        sid = json.loads(opened.text[1:])["sid"]
    async with open_websocket(shop, f"EIO=4&transport=websocket&sid={sid}") as websocket:
        await websocket.send("5")
        message = "6"
        await websocket.send("40" + json.dumps({"token": shop.token("ada")}))
        while message == "6":
            message = await receive(websocket)
        assert message.startswith('40{"sid"')


ORIGINS = {
    "Starscream (Swift)": "ws://{host}",
    "Starscream (Swift) behind TLS": "wss://{host}",
    "behind TLS": "https://{host}",
    "elephant.io (PHP), with a path": "http://{host}/shop/socket.io/",
    "with a query": "http://{host}/?token=secret",
    "the front end's": ORIGIN,
}


@pytest.mark.parametrize("origin", ORIGINS.values(), ids=ORIGINS)
async def test_origins_of_native_clients(shop: Served, origin: str) -> None:
    host = shop.url.removeprefix("http://")
    async with open_websocket(shop, Origin=origin.format(host=host)) as websocket:
        assert (await receive(websocket)).startswith("0{")


async def test_an_empty_sid_is_none(shop: Served) -> None:
    # Go's engine.io client sends it.
    async with open_websocket(shop, "EIO=4&sid=&transport=websocket") as websocket:
        assert (await receive(websocket)).startswith("0{")


@pytest.mark.parametrize("auth", [{"recovery": "false"}, {"offset": None}, {}], ids=["Java", "Dart", "others"])
async def test_a_client_that_does_not_ask_gets_the_event_as_it_was_published(
    shop: Served, auth: dict[str, Any]
) -> None:
    user = f"native-{len(auth)}-{next(iter(auth), '')}"
    async with open_websocket(shop, "transport=websocket&EIO=4") as websocket:
        await receive(websocket)
        await enter(websocket, token=shop.token(user), **auth)
        await shop.publish("order", {"number": 1}, f"buyer:{user}", system="shop")
        event = await receive(websocket)
        while event.startswith('42["oyez:'):
            event = await receive(websocket)
        assert len(json.loads(event[2:])) == 2


async def test_dart_comes_back_without_an_offset_and_misses_nothing(shop: Served) -> None:
    """Dart from 3.0 on sends `"offset": null` if it has received nothing yet."""
    query = "EIO=4&transport=websocket"
    async with open_websocket(shop, query) as websocket:
        await receive(websocket)
        pid = (await enter(websocket, token=shop.token("dart")))["pid"]
        websocket.transport.abort()
    await shop.publish("order", {"number": 1}, "buyer:dart", system="shop")
    async with open_websocket(shop, query) as websocket:
        await receive(websocket)
        entered = await enter(websocket, token=shop.token("dart"), pid=pid, offset=None)
        assert entered["pid"] == pid
        events = [json.loads((await receive(websocket))[2:]) for _ in range(3)]
        assert [event[0] for event in events] == ["order", "oyez:position", "oyez:recovery"]
        assert events[0][1]["number"] == 1 and len(events[0]) == 2
