"""The state of a room that is never without an event, for clients that join at two processes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from oyez.contract import Contract, Payload, anyone
from oyez.errors import ContractError
from oyez.runtime import RoomHooks
from oyez.runtime.hooks import check_room_hooks
from tests.support.js_client import JsClient
from tests.support.pairs import SUPPORT, Pair, open_pair
from tests.support.valkey import ValkeyServer

CLIENTS = 6
"""Clients that join while the counter increases."""
SEEN = 30
"""Events that each of them must receive in order."""


@pytest.fixture(scope="module", params=["folder", "redis"])
async def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey: ValkeyServer
) -> AsyncIterator[Pair]:
    async with open_pair(SUPPORT / "counter.py", request.param, tmp_path_factory.mktemp("pair"), valkey) as pair:
        yield pair


async def test_nothing_is_lost_or_doubled_after_the_state(pair: Pair) -> None:
    writer = await pair.connect(pair.here, "writer", transports=["websocket"])
    readers = [
        await pair.connect(server, f"reader{number}", transports=["websocket"])
        for number in range(CLIENTS)
        for server in ((pair.here, pair.there)[number % 2],)
    ]
    joined = asyncio.Event()

    async def write() -> None:
        while not joined.is_set():
            await writer.call("increase", {"id": "c", "times": 10})
        await writer.call("increase", {"id": "c", "times": SEEN})

    async def follow(reader: JsClient) -> tuple[int, list[int]]:
        assert (await reader.call("watch", "c"))["ok"]
        [state] = await reader.expect_event("state")
        return state["value"], [(await reader.expect_event("increased"))[0]["value"] for _ in range(5)]

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        try:
            found = [await follow(reader) for reader in readers]
        finally:
            joined.set()
    for value, values in found:
        assert values == list(range(value + 1, value + 6))


def test_a_version_that_no_event_has_is_an_error() -> None:
    contract = Contract("c", roles=("user",))
    root = contract.namespace("/")
    room = root.room("r", members=anyone())

    @root.event("e", to=[room])
    class Event(Payload):
        """An event."""

        version: str

    async def welcome(client: object, room: object) -> None:
        return None

    contract.build()
    for hooks, error in (
        (RoomHooks(welcome=welcome, version="version"), "no event has a field version with a whole number"),
        (RoomHooks(version="version"), "version is for rooms with a welcome"),
    ):
        with pytest.raises(ContractError, match=error):
            check_room_hooks(contract, {room: hooks})
