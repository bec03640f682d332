"""Two nodes that share Redis, with a balancer without sticky sessions, as official clients see them."""

import asyncio
import random
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from oyez.client import Client, connect
from oyez.client.connection import Disconnected
from oyez.service.auth.secrets import load_secret
from oyez.service.auth.tokens import build_signer
from oyez.settings import Settings
from tests.support import py_client
from tests.support.clock import PATIENCE
from tests.support.js_client import JsClient, JsDriver
from tests.support.round_robin import NGINX, balance, balance_by_nginx
from tests.support.served import Served, serve
from tests.support.tasks import Spawn
from tests.support.terminal import start as start_command
from tests.support.valkey import ValkeyServer

PATH = "/quotes/socket.io/"
OFFER = {"userId": "ada", "status": "withdrawn", "updatedAt": "2026-01-31T12:00:00Z"}
SECRET = "c" * 64
_prefixes = count(1)


@pytest.fixture
def environ(valkey: ValkeyServer, tmp_path: Path) -> dict[str, str]:
    """What the nodes of one installation share; each has a data folder of its own but for the database."""
    return {
        "REDIS_URL": valkey.url,
        "REDIS_PREFIX": f"cluster{next(_prefixes)}",
        "JWT_SECRET": SECRET,
        "DATABASE_URL": f"sqlite:///{tmp_path}/shared.sqlite",
    }


@asynccontextmanager
async def two_nodes(
    folder: Path, environ: dict[str, str], *, nginx: bool = False
) -> AsyncIterator[tuple[Served, Served, str]]:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(serve(folder / name, "quotes", **environ)) for name in ("one", "two")]
        ports = [find_port(node) for node in nodes]
        balancing = balance_by_nginx(folder, ports) if nginx else balance(ports)
        url = await stack.enter_async_context(balancing)
        yield nodes[0], nodes[1], url


def find_port(node: Served) -> int:
    return int(node.url.rpartition(":")[2])


async def publish(node: Served, number: int) -> None:
    await node.publish("quote:offer:updated", {**OFFER, "offerId": str(number)})


@pytest.mark.parametrize(
    "nginx", [False, pytest.param(True, marks=pytest.mark.skipif(NGINX is None, reason="there is no nginx"))]
)
async def test_no_client_needs_a_sticky_session(tmp_path: Path, environ: dict[str, str], nginx: bool) -> None:
    async with two_nodes(tmp_path, environ, nginx=nginx) as (one, other, url), JsDriver.start() as js:
        auth = {"token": one.token("ada")}
        ways: list[list[str]] = [["polling"], ["polling", "websocket"]]
        clients = [await js.connect(url, path=PATH, auth=auth, transports=way) for way in ways for _ in range(3)]
        clients += [await js.connect(node.url, path=PATH, auth=auth) for node in (one, other)]
        async with (
            py_client.connect(url, path=PATH, auth=auth, transports=["polling"]) as polling,
            py_client.connect(url, path=PATH, auth=auth) as upgraded,
        ):
            for number in range(6):
                await publish(other if number % 2 else one, number)
            everybody: list[JsClient | py_client.PyClient] = [*clients, polling, upgraded]
            for client in everybody:
                got = [(await client.expect_event("quote:offer:updated"))[0]["offerId"] for _ in range(6)]
                assert got == [*"012345"]
            for node in (one, other):
                present = await fetch(node, "quote-offer:user:ada")
                assert (present["count"], present["nodes"], present["answered"]) == (10, 2, 2)
                assert {socket["user"] for socket in present["sockets"]} == {"ada"}
                assert len({socket["node"] for socket in present["sockets"]}) == 2


async def fetch(node: Served, room: str) -> Any:
    response = await node.request("GET", f"/quotes/rooms/{room}/sockets")
    assert response.status_code == 200, response.text
    return response.json()


async def test_workers_take_ports_of_their_own_for_other_nodes(tmp_path: Path, environ: dict[str, str]) -> None:
    first = find_free_ports(4)
    ports = range(first, first + 4)
    environ |= {"NODE_ADDRESS": f"127.0.0.1:{first}", "WORKERS": "2"}
    folder = tmp_path / "folder"
    folder.mkdir()
    async with (
        start_command(folder, "serve", "quotes", "--port", "0", **environ) as serving,
        JsDriver.start() as js,
    ):
        port = int((await serving.expect_out(r"listens at http://\S+:(\d+) "))[1])
        signer = build_signer(Settings(jwt_secret=SECRET), load_secret(Settings(jwt_secret=SECRET)))
        key = {"authorization": f"Bearer {signer.sign_service('quotes', None)}"}
        # Each request is a connection of its own, and goes to whichever worker is free.
        async with balance([port]) as url, httpx.AsyncClient(headers=key, base_url=url, timeout=LONG_WAIT) as back_end:
            for round, taken in enumerate(([0, 1], [2, 3], [0, 1])):
                if round:
                    serving.process.send_signal(signal.SIGHUP)
                    await serving.expect_note('"event": "all workers have been replaced"')
                assert [number for number in range(4) if is_taken(ports[number])] == taken
                auth = {"token": signer.sign_user("ada", None, {}, 600.0)}
                ways: list[list[str]] = [["polling"], ["polling", "websocket"]]
                clients: list[Any] = []
                # One worker may be the quicker one for all of a few.
                while len({socket["node"] for socket in (await find_present(back_end))["sockets"]}) < 2:
                    connecting = (js.connect(url, path=PATH, auth=auth, transports=way) for way in ways * 4)
                    clients += await asyncio.gather(*connecting)
                    assert len(clients) <= 200
                body = {"event": "quote:offer:updated", "data": {**OFFER, "offerId": str(round)}}
                assert (await back_end.post("/quotes/events", json=body)).status_code == 200
                for client in clients:
                    assert (await client.expect_event("quote:offer:updated"))[0]["offerId"] == str(round)
                present = await find_present(back_end)
                assert (present["count"], present["nodes"], present["answered"]) == (len(clients), 2, 2)
                for client in clients:
                    await client.disconnect()


async def find_present(back_end: httpx.AsyncClient) -> Any:
    response = await back_end.get("/quotes/rooms/quote-offer:user:ada/sockets")
    assert response.status_code == 200, response.text
    return response.json()


def find_free_ports(count: int) -> int:
    """The first of so many in a row, below those that the system gives to connections by itself."""
    while any(map(is_taken, range(first := random.randrange(20_000, 30_000), first + count))):
        pass
    return first


def is_taken(port: int) -> bool:
    """True if a server listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_nodes_that_are_replaced_one_after_another_lose_nothing(
    tmp_path: Path, environ: dict[str, str], spawn: Spawn
) -> None:
    options: dict[str, Any] = {"reconnection": True, "reconnectionDelay": 200, "reconnectionDelayMax": 500}
    async with AsyncExitStack() as stack:
        js = await stack.enter_async_context(JsDriver.start())
        running = [
            await stack.enter_async_context(serve(tmp_path / f"n{number}", "quotes", **environ)) for number in (0, 1)
        ]
        ports = [find_port(node) for node in running]
        url = await stack.enter_async_context(balance(ports))
        auth = {"token": running[0].token("ada")}
        ways: list[list[str]] = [["polling"], ["websocket"], ["polling", "websocket"]]
        clients = [
            await js.connect(url, path=PATH, auth=auth, transports=way, **options) for way in ways for _ in range(4)
        ]
        sent = count()
        last = 0

        async def run_publisher() -> None:
            nonlocal last
            while True:
                # Whichever node serves; the one that stops is not asked.
                await publish(running[-1], number := next(sent))
                last = number
                await asyncio.sleep(0.01)

        publishing = spawn(run_publisher())
        for place in (0, 1):
            old = running[place]
            if place == 1:
                running.reverse()
            new = await stack.enter_async_context(serve(tmp_path / f"n{place + 2}", "quotes", **environ))
            ports[place] = find_port(new)
            old.process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(old.process.wait(), 20) == 0
            running[running.index(old)] = new
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        for client in clients:
            got: list[str] = []
            while not got or got[-1] != str(last):
                got.append((await client.expect_event("quote:offer:updated"))[0]["offerId"])
            extra = [args[0]["offerId"] for name, args in client.events() if name == "quote:offer:updated"]
            heard = [int(number) for number in [*got, *extra]]
            # One more may have been in flight when the publisher was stopped.
            assert heard in (list(range(last + 1)), list(range(last + 2)))
            reconnections = [report for report in client.reports if report["what"] == "connect"]
            assert reconnections
            assert all(report["recovered"] for report in reconnections)


CROWD = 300
LONG_WAIT = 60
"""Seconds: more than a crowd needs on a slow machine. Nothing waits for them to pass."""


@dataclass
class Guest:
    """A client as light as there can be, which goes to the other node when it is sent away."""

    heard: list[str] = field(default_factory=list)
    reason: str = ""
    recovered: bool = False

    async def live(self, first: str, second: str, auth: dict[str, str], arrived: asyncio.Semaphore) -> None:
        async with self.connect(first, auth) as client:
            arrived.release()
            try:
                await self.listen(client)
            except Disconnected as ended:
                self.reason = ended.reason
        again = {**auth, **client.recovery}
        async with self.connect(second, again) as back:
            self.recovered = back.sid == client.sid
            await self.listen(back)

    def connect(self, url: str, auth: dict[str, str]) -> AbstractAsyncContextManager[Client]:
        return connect(url, path=PATH, auth=auth, transports=["websocket"], timeout=LONG_WAIT)

    async def listen(self, client: Client) -> None:
        """To the end of what is published."""
        while self.heard[-1:] != ["end"]:
            self.heard.append((await client.expect_event("quote:offer:updated", LONG_WAIT)).args[0]["offerId"])


async def test_a_crowd_is_sent_away_and_misses_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    # All guests are one user, and the silent client is another connection of it. The node waits for that one for as
    # long as the test needs, on any machine.
    (tmp_path / "oyez.toml").write_text(
        f"[limits]\nmax_connections_per_user = {2 * CROWD}\nclose_timeout = {LONG_WAIT}\n"
    )
    environ |= {"SHUTDOWN_TIMEOUT": str(LONG_WAIT)}
    async with (
        two_nodes(tmp_path, environ) as (one, other, _),
        # As a balancer does, it keeps its connection; httpx by itself would close one that is idle for five seconds.
        httpx.AsyncClient(base_url=one.url, limits=httpx.Limits(keepalive_expiry=None), timeout=LONG_WAIT) as prober,
        asyncio.TaskGroup() as living,
    ):
        auth = {"token": one.token("ada")}
        arrived, guests = asyncio.Semaphore(0), [Guest() for _ in range(CROWD)]
        for guest in guests:
            living.create_task(guest.live(one.url, other.url, auth, arrived))
        for _ in guests:
            await arrived.acquire()
        assert await probe(prober) == {"/readyz": 200, "/healthz": 200}
        sent = [str(number) for number in range(20)]
        async with open_silent_websocket(one) as silent:
            for number in sent[:5]:
                await publish(one, int(number))
            one.process.send_signal(signal.SIGTERM)
            for number in sent[5:]:
                await publish(other, int(number))
            # For its sake the node is still there.
            await silent.readuntil(RESTARTING)
            assert await probe(prober) == {"/readyz": 503, "/healthz": 200}
            async with httpx.AsyncClient(base_url=one.url, timeout=PATIENCE) as newcomer:
                with pytest.raises(httpx.ConnectError):
                    await newcomer.get("/readyz")
        assert await asyncio.wait_for(one.process.wait(), LONG_WAIT) == 0
        await other.publish("quote:offer:updated", {**OFFER, "offerId": "end"})
    assert all(guest.heard == [*sent, "end"] for guest in guests)
    assert {guest.reason for guest in guests} == {"transport close"}
    assert all(guest.recovered for guest in guests)


RESTARTING = b"\x03\xf4"
"""1012, the code with which a node that stops closes a WebSocket."""


@asynccontextmanager
async def open_silent_websocket(node: Served) -> AsyncIterator[asyncio.StreamReader]:
    """A client that answers nothing, not even a close."""
    reader, writer = await asyncio.open_connection("127.0.0.1", find_port(node))
    head = (
        f"GET {PATH}?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    writer.write(head.encode())
    try:
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        yield reader
    finally:
        writer.close()


async def probe(prober: httpx.AsyncClient) -> dict[str, int]:
    """The answer to a balancer over a connection that it has kept."""
    return {path: (await prober.get(path)).status_code for path in ("/readyz", "/healthz")}
