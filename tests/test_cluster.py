"""Two nodes that share Redis, behind a balancer without sticky sessions, as official clients see them."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import py_client
from tests.js_client import JsClient, JsDriver
from tests.round_robin import NGINX, balance, balance_by_nginx
from tests.served import Served, serve
from tests.valkey import ValkeyServer

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
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {node.service_key()}"}) as client:
        response = await client.get(f"{node.url}/quotes/rooms/{room}/sockets")
        assert response.status_code == 200, response.text
        return response.json()


async def test_nodes_that_are_replaced_one_after_another_lose_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
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

        publishing = asyncio.create_task(run_publisher())
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
            # One more may have been on its way when the publisher was stopped.
            assert heard in (list(range(last + 1)), list(range(last + 2)))
            reconnections = [report for report in client.reports if report["what"] == "connect"]
            assert reconnections
            assert all(report["recovered"] for report in reconnections)
