"""What happens at one process is so at the other: two that share a folder, and two that share Redis.

A real server each, with official clients. Who is connected to which process is chosen, so each has an address.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from oyez.server.cluster.membership import NODE_SECONDS
from tests.support import py_client
from tests.support.clock import PATIENCE
from tests.support.js_client import JsClient, JsConnectError, JsDriver
from tests.support.pairs import SECRET, SUPPORT, Pair, open_pair
from tests.support.served import Served, serve
from tests.support.tasks import Spawn
from tests.support.valkey import ValkeyServer

FILE = str(Path(__file__).parent / "support" / "helpdesk.py")
PATH = "/helpdesk/socket.io/"
MAX_CONNECTIONS = 8


async def ask(server: Served, method: str, path: str, **params: str) -> Any:
    response = await server.request(method, f"/helpdesk{path}", params=params)
    assert response.is_success, response.text
    return response.json() if response.content else None


async def say(server: Served, number: int) -> None:
    await server.publish("said", {"number": number}, "ticket:1", system="helpdesk")


async def expect_said(client: JsClient | py_client.PyClient, number: int) -> None:
    assert (await client.expect_event("said"))[0]["number"] == number


@asynccontextmanager
async def open_helpdesk(place: str, folder: Path, valkey: ValkeyServer) -> AsyncIterator[Pair]:
    (folder / "oyez.toml").write_text(f"[limits]\nmax_connections_per_user = {MAX_CONNECTIONS}\n")
    async with open_pair(SUPPORT / "helpdesk.py", place, folder, valkey) as pair:
        yield pair


@pytest.fixture(scope="module", params=["folder", "redis"])
async def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey: ValkeyServer
) -> AsyncIterator[Pair]:
    async with open_helpdesk(request.param, tmp_path_factory.mktemp("pair"), valkey) as pair:
        yield pair


async def test_a_removed_member_receives_nothing_more_at_another_process(pair: Pair, spawn: Spawn) -> None:
    for user in ("ada", "bob"):
        await ask(pair.here, "PUT", f"/rooms/ticket:1/members/user:{user}")
    ada, bob = await pair.connect(pair.there, "ada"), await pair.connect(pair.there, "bob")
    auth = {"token": pair.there.token("ada")}
    async with py_client.connect(pair.there.url, path=PATH, auth=auth) as python:
        for client in (ada, bob, python):
            assert (await client.call("join_ticket", "1"))["ok"]
        await say(pair.here, 1)
        for client in (ada, bob, python):
            await expect_said(client, 1)
        saying = spawn(say_until_stopped(pair.here, stop := asyncio.Event()))
        await ask(pair.here, "DELETE", "/rooms/ticket:1/members/user:ada")
        # After this answer a removed member receives nothing.
        await pair.here.publish("said", {"number": 1_000}, "ticket:1", system="helpdesk")
        stop.set()
        await saying
        numbers: list[int] = []
        while not numbers or numbers[-1] != 1_000:
            numbers.append((await bob.expect_event("said"))[0]["number"])
        await ada.call("oyez:barrier")
        await python.call("oyez:barrier")
        for client in (ada, python):
            heard = [args[0]["number"] for name, args in client.take_events() if name == "said"]
            assert heard == numbers[: len(heard)] and 1_000 not in heard
            assert (await client.call("join_ticket", "1"))["error"]["code"] == "forbidden"
        present = await ask(pair.here, "GET", "/rooms/ticket:1/sockets")
        assert [socket["user"] for socket in present["sockets"]] == ["bob"]
    for client in (ada, bob):
        await client.disconnect()


async def say_until_stopped(server: Served, stop: asyncio.Event) -> None:
    number = 1
    while not stop.is_set():
        await say(server, number := number + 1)


async def test_typing_reaches_the_other_process(pair: Pair) -> None:
    for user in ("cleo", "dan"):
        await ask(pair.here, "PUT", f"/rooms/ticket:2/members/user:{user}")
    async with AsyncExitStack() as stack:
        cleo, dan = await pair.connect(pair.here, "cleo"), await pair.connect(pair.there, "dan")
        auth = {"token": pair.there.token("dan")}
        python = await stack.enter_async_context(py_client.connect(pair.there.url, path=PATH, auth=auth))
        for client in (cleo, dan, python):
            assert (await client.call("join_ticket", "2"))["ok"]
        assert (await cleo.call("type", {"ticketId": "2"}))["ok"]
        for client in (cleo, dan, python):
            assert (await client.expect_event("typing"))[0] == {"userId": "cleo"}
        await cleo.disconnect()
        await dan.disconnect()


async def test_a_transaction_at_one_process_disconnects_at_both(pair: Pair) -> None:
    here, there = await pair.connect(pair.here, "eve"), await pair.connect(pair.there, "eve")
    other = await pair.connect(pair.there, "fay")
    await ask(pair.here, "DELETE", "/api/sessions/eve")
    for client in (here, there):
        assert (await client.expect("disconnect"))["reason"] == "io server disconnect"
    assert (await ask(pair.there, "GET", "/rooms/user:eve/sockets"))["count"] == 0
    await other.call("oyez:barrier")
    assert (await ask(pair.here, "GET", "/rooms/user:fay/sockets"))["count"] == 1
    await other.disconnect()


async def test_the_limits_of_a_user_hold_over_both_processes(pair: Pair) -> None:
    here, there = await pair.connect(pair.here, "gus"), await pair.connect(pair.there, "gus")
    for _ in range(30):
        assert (await here.call("knock", {}))["ok"]
    # The bucket of the other process is full until the first one announces what was spent.
    let_through = 0
    while (await there.call("knock", {}))["ok"]:
        let_through += 1
        await asyncio.sleep(0.2)
    assert let_through < 20
    others = [await pair.connect(pair.here, "hal") for _ in range(MAX_CONNECTIONS - 2)]
    others += [await pair.connect(pair.there, "hal") for _ in range(2)]
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(JsConnectError, match="too many connections"):
            while True:
                await (await pair.connect(pair.there, "hal")).disconnect()
    for client in (here, there, *others):
        await client.disconnect()


@pytest.mark.parametrize("place", ["folder", "redis"])
async def test_clients_of_a_killed_process_are_offline(place: str, tmp_path: Path, valkey: ValkeyServer) -> None:
    async with open_helpdesk(place, tmp_path, valkey) as pair:
        for server in (pair.here, pair.there, pair.there):
            await pair.connect(server, "ada", reconnection=False)
        before = await ask(pair.here, "GET", "/rooms/user:ada/sockets")
        assert (before["count"], before["nodes"], before["answered"]) == (3, 2, 2)
        pair.there.process.send_signal(signal.SIGKILL)
        await pair.there.process.wait()
        after = await ask(pair.here, "GET", "/rooms/user:ada/sockets")
        assert (after["count"], after["nodes"], after["answered"]) == (1, 2, 1)
        assert len(after["sockets"]) == 1
        async with asyncio.timeout(NODE_SECONDS + PATIENCE):
            while after["nodes"] == 2:
                # Each look waits for the dead one, half a second.
                after = await ask(pair.here, "GET", "/rooms/user:ada/sockets")
        assert (after["count"], after["nodes"], after["answered"]) == (1, 1, 1)


@pytest.mark.parametrize("place", ["folder", "redis"])
async def test_jobs_whose_process_is_killed_are_done_once_each(
    place: str, tmp_path: Path, valkey: ValkeyServer
) -> None:
    tickets = [f"t-{number}" for number in range(40)]
    environ = {"JWT_SECRET": SECRET, "DATABASE_URL": f"sqlite:///{tmp_path}/shared.sqlite"}
    if place == "redis":
        environ |= {"REDIS_URL": valkey.url, "REDIS_PREFIX": "processes"}
    async with JsDriver.start() as js:
        async with serve(tmp_path / "data", FILE, **environ) as first:
            client = await js.connect(
                first.url,
                path=PATH,
                auth={"token": first.token("ada")},
                reconnection=True,
                reconnectionDelay=100,
                reconnectionDelayMax=200,
            )
            await ask(first, "POST", "/api/tickets", owner="ada", count=str(len(tickets)))
            heard = [await expect_closed(client) for _ in range(5)]
            first.process.send_signal(signal.SIGKILL)
            await first.process.wait()
        port = first.url.rpartition(":")[2]
        async with serve(tmp_path / "data", FILE, **environ, PORT=port) as second:
            while len(heard) < len(tickets):
                heard.append(await expect_closed(client))
            assert sorted(heard) == sorted(tickets)
            closings = (await ask(second, "GET", "/api/closings"))["closings"]
            assert sorted(closings) == sorted(tickets)
            await client.call("oyez:barrier")
            assert [name for name, _ in client.events() if name == "closed"] == []


async def expect_closed(client: JsClient) -> str:
    ticket: str = (await client.expect_event("closed"))[0]["ticketId"]
    return ticket
