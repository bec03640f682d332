"""Who enters and leaves a room on several processes, some of which are killed, stopped or started again."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from oyez.client import Client, connect
from tests.support.clock import PATIENCE
from tests.support.served import Served, serve
from tests.support.valkey import ValkeyServer

FILE = str(Path(__file__).parent / "support" / "auction.py")
PATH = "/auction/socket.io/"
PROMISED = 15.0 + PATIENCE
"""Seconds within which every departure is reported: 15, and what a busy machine needs."""
_prefixes = count(1)


@dataclass
class Town:
    """Two processes that serve the same auction."""

    here: Served
    there: Served
    stack: AsyncExitStack

    async def connect(self, server: Served, user: str, **auth: Any) -> Client:
        token = server.token(user)
        opening = connect(server.url, path=PATH, auth={"token": token, **auth}, transports=["websocket"])
        return await self.stack.enter_async_context(opening)

    async def watch(self, server: Served, user: str, **auth: Any) -> Client:
        client = await self.connect(server, user, **auth)
        assert (await client.call("watch", "1"))["ok"]
        return client

    async def calls(self, server: Served) -> list[tuple[str, str]]:
        found = await ask(server, "/api/calls")
        return sorted((call["hook"], call["user"]) for call in found if call["room"] == "lot:1")

    async def expect_calls(self, server: Served, *expected: tuple[str, str], seconds: float = PROMISED) -> None:
        found: list[tuple[str, str]] = []
        try:
            async with asyncio.timeout(seconds):
                while (found := await self.calls(server)) != sorted(expected):  # noqa: ASYNC110 - other processes call
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"expected {sorted(expected)}, got {found}") from None


async def ask(server: Served, path: str, method: str = "GET", **params: str) -> Any:
    response = await server.request(method, f"/auction{path}", params=params)
    assert response.is_success, response.text
    return response.json()


async def present(server: Served) -> list[str]:
    found = await ask(server, "/rooms/lot:1/presence")
    assert found["count"] == len(found["users"])
    return [user["id"] for user in found["users"]]


def make_environ(place: str, folder: Path, valkey: ValkeyServer) -> dict[str, str]:
    environ = {"JWT_SECRET": "p" * 64}
    if place == "redis":
        environ |= {
            "REDIS_URL": valkey.url,
            "REDIS_PREFIX": f"rooms{next(_prefixes)}",
            "DATABASE_URL": f"sqlite:///{folder}/shared.sqlite",
        }
    return environ


@asynccontextmanager
async def open_town(place: str, folder: Path, valkey: ValkeyServer) -> AsyncIterator[Town]:
    environ = make_environ(place, folder, valkey)
    names = ("one", "two") if place == "redis" else ("shared", "shared")
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(serve(folder / name, FILE, **environ)) for name in names]
        yield Town(here, there, await stack.enter_async_context(AsyncExitStack()))


@pytest.mark.parametrize("place", ["folder", "redis"])
async def test_departures_from_a_killed_process_are_reported_once(
    place: str, tmp_path: Path, valkey: ValkeyServer
) -> None:
    async with open_town(place, tmp_path, valkey) as town:
        bob = await town.watch(town.here, "bob")
        ada, eve, cid = [await town.watch(town.there, name) for name in ("ada", "eve", "cid")]
        # Eve has a second socket, at the process that lives.
        await town.watch(town.here, "eve")
        entered = [("entered", name) for name in ("ada", "bob", "cid", "eve", "eve")]
        await town.expect_calls(town.here, *entered)
        assert sorted(await present(town.here)) == sorted(await present(town.there)) == ["ada", "bob", "cid", "eve"]
        town.there.process.kill()
        await ada.expect_disconnect()
        # Cid recovers at the other process: no leaving, no entering, and no second state.
        await cid.expect_disconnect()
        back = await town.connect(town.here, "cid", **cid.recovery)
        assert back.sid == cid.sid
        assert sorted(await present(town.here)) == ["ada", "bob", "cid", "eve"]
        await town.expect_calls(town.here, *entered, ("left", "ada"), ("left", "eve"))
        left = (await bob.expect_event("lot:left")).args[0]
        assert (left["userId"], left["count"]) == ("ada", 3)
        assert sorted(await present(town.here)) == ["bob", "cid", "eve"]
        lost = {call["reason"] for call in await ask(town.here, "/api/calls") if call["hook"] == "left"}
        assert lost == {"process lost"}
        assert (await back.call("unwatch", "1"))["ok"]
        await town.expect_calls(town.here, *entered, ("left", "ada"), ("left", "eve"), ("left", "cid"))
        await back.catch_up()
        assert [event.name for event in back.pending if event.name == "state"] == []
        await eve.expect_disconnect()


async def test_a_process_that_was_only_stopped_begins_again(tmp_path: Path, valkey: ValkeyServer) -> None:
    async with open_town("redis", tmp_path, valkey) as town:
        bob = await town.watch(town.here, "bob")
        await town.expect_calls(town.here, ("entered", "bob"))
        ada = await town.watch(town.there, "ada")
        await town.expect_calls(town.here, ("entered", "ada"), ("entered", "bob"))
        town.there.process.send_signal(signal.SIGSTOP)
        await town.expect_calls(town.here, ("entered", "ada"), ("entered", "bob"), ("left", "ada"))
        town.there.process.send_signal(signal.SIGCONT)
        # Ada is still connected there: her second stay begins.
        again = (("entered", "ada"), ("entered", "ada"), ("entered", "bob"), ("left", "ada"))
        await town.expect_calls(town.here, *again)
        assert sorted(await present(town.here)) == ["ada", "bob"]
        assert (await ada.call("unwatch", "1"))["ok"]
        await town.expect_calls(town.here, *again, ("left", "ada"))
        await bob.catch_up()
        changes = [event.args[0]["userId"] for event in bob.pending if event.name.startswith("lot:")]
        assert changes == ["bob", "ada", "ada", "ada", "ada"]


async def test_departures_are_reported_while_the_log_is_away(tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey", "--appendonly", "yes")
    server.start()
    try:
        async with open_town("redis", tmp_path, server) as town:
            await town.watch(town.here, "bob")
            await town.watch(town.there, "ada")
            await town.expect_calls(town.here, ("entered", "ada"), ("entered", "bob"))
            server.kill()
            town.there.process.kill()
            await town.expect_calls(town.here, ("entered", "ada"), ("entered", "bob"), ("left", "ada"))
            server.start()
            # The event about it waited in the outbox.
            await watch_when_possible(town, "eve")
            # Her stay is recorded after the acknowledgement, and before `entered` is called.
            entered = [("entered", name) for name in ("ada", "bob", "eve")]
            await town.expect_calls(town.here, *entered, ("left", "ada"))
            assert sorted(await present(town.here)) == ["bob", "eve"]
    finally:
        server.kill()


async def watch_when_possible(town: Town, user: str) -> Client:
    """Connect and watch. Both are refused until the outbox has been moved to the log."""
    async with asyncio.timeout(PROMISED):
        while True:
            try:
                return await town.watch(town.here, user)
            except Exception:
                await asyncio.sleep(0.2)


async def test_a_single_process_reports_after_its_restart_who_has_left(tmp_path: Path, valkey: ValkeyServer) -> None:
    environ = make_environ("folder", tmp_path, valkey)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(serve(tmp_path / "data", FILE, **environ))
        town = Town(first, first, stack)
        ada, bob = await town.watch(first, "ada"), await town.watch(first, "bob")
        await town.expect_calls(first, ("entered", "ada"), ("entered", "bob"))
        first.process.kill()
        await first.process.wait()
        second = await stack.enter_async_context(serve(tmp_path / "data", FILE, **environ))
        back = await town.connect(second, "bob", **bob.recovery)
        assert back.sid == bob.sid
        await town.expect_calls(second, ("entered", "ada"), ("entered", "bob"), ("left", "ada"))
        assert await present(second) == ["bob"]
        assert ada.sid


@pytest.mark.parametrize("place", ["folder", "redis"])
async def test_departures_from_a_killed_worker_are_reported_once(
    place: str, tmp_path: Path, valkey: ValkeyServer
) -> None:
    environ = make_environ(place, tmp_path, valkey)
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serve(tmp_path / "data", FILE, "--workers", "3", **environ))
        town = Town(served, served, stack)
        names = [f"user{number}" for number in range(12)]
        clients = [await town.watch(served, name) for name in names]
        await town.expect_calls(served, *(("entered", name) for name in names))
        found = await ask(served, "/rooms/lot:1/sockets")
        by_node: dict[str, set[str]] = {}
        for socket in found["sockets"]:
            by_node.setdefault(socket["node"], set()).add(socket["user"])
        worker = find_workers(served.process.pid)[0]
        os.kill(worker, signal.SIGKILL)
        ended = await asyncio.gather(*map(is_gone, clients))
        gone = {name for name, its in zip(names, ended, strict=True) if its}
        assert gone in by_node.values()
        await town.expect_calls(
            served, *(("entered", name) for name in names), *(("left", name) for name in sorted(gone))
        )
        assert set(await present(served)) == set(names) - gone


def find_workers(supervisor: int) -> list[int]:
    """The processes that a supervisor has started and that serve."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [int(child) for child in children if "oyez.cli.worker" in Path(f"/proc/{child}/cmdline").read_text()]


async def is_gone(client: Client) -> bool:
    """True if the client's connection ends within a second."""
    try:
        await client.expect_disconnect(timeout=1.0)
    except (TimeoutError, AssertionError):
        return False
    return True
