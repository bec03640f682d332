"""Receipts with official clients, over two processes that share a folder, or Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support import py_client
from tests.support.clock import PATIENCE
from tests.support.js_client import JsClient
from tests.support.operators import KEYS, sign_in
from tests.support.pairs import SUPPORT, Pair, open_pair
from tests.support.valkey import ValkeyServer

WEBSOCKET = ["websocket"]
ACKNOWLEDGES = {"arrived": [], "briefing": ["read"]}


@pytest.fixture(scope="module", params=["folder", "redis"])
async def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey: ValkeyServer
) -> AsyncIterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    async with open_pair(SUPPORT / "parcels.py", request.param, folder, valkey, ADMIN_KEYS=KEYS) as pair:
        yield pair


async def connect(pair: Pair, user: str, *, here: bool = True, role: str | None = None, **options: Any) -> JsClient:
    return await pair.connect(pair.here if here else pair.there, user, role=role, transports=WEBSOCKET, **options)


async def publish(pair: Pair, event: str, data: dict[str, Any], to: Any = None) -> str:
    return await pair.here.publish(event, data, to, system="parcels")


async def find(pair: Pair, position: str, fits: Callable[[Any], bool], **query: Any) -> Any:
    """The receipts of an event, as soon as they fit."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await pair.there.request("GET", f"/parcels/events/{position}/receipts", params=query)
            if found.status_code == 200 and fits(found.json()):
                return found.json()
            await asyncio.sleep(0.02)


def is_acknowledged(count: int) -> Callable[[Any], bool]:
    return lambda page: page["counts"]["acknowledged"] == count


async def test_a_live_event_is_acknowledged_by_official_clients(pair: Pair) -> None:
    ada = await connect(pair, "ada", answers=ACKNOWLEDGES)
    token = pair.there.token("ada")
    async with py_client.connect(
        pair.there.url, path="/parcels/socket.io/", auth={"token": token}, transports=["websocket"]
    ) as python:
        position = await publish(pair, "arrived", {"customerId": "ada", "parcel": "p-1"})
        assert await ada.expect_event("arrived") == [{"customerId": "ada", "parcel": "p-1"}]
        assert await python.expect_event("arrived") == [{"customerId": "ada", "parcel": "p-1"}]
        page = await find(pair, position, is_acknowledged(1))
    [receipt] = page["receipts"]
    assert receipt["user"] == "ada" and receipt["delivered"] <= receipt["acknowledged"] and not receipt["replayed"]
    assert page["counts"] == {"live": 1, "replayed": 0, "acknowledged": 1, "unacknowledged": 0, "never": 0}
    assert (page["event"], page["rooms"], page["unknownRooms"]) == ("arrived", ["customer:ada"], [])


async def test_python_socketio_acknowledges_by_itself(pair: Pair) -> None:
    """Its handlers get no function to call: the client acknowledges what a handler has returned."""
    auth = {"token": pair.there.token("gil")}
    async with py_client.connect(
        pair.there.url, path="/parcels/socket.io/", auth=auth, transports=["websocket"]
    ) as gil:
        position = await publish(pair, "arrived", {"customerId": "gil", "parcel": "p-4"})
        assert await gil.expect_event("arrived") == [{"customerId": "gil", "parcel": "p-4"}]
        page = await find(pair, position, is_acknowledged(1))
    assert [(one["user"], one["replayed"]) for one in page["receipts"]] == [("gil", None)]


async def test_an_event_that_was_missed_is_acknowledged_after_its_replay(pair: Pair) -> None:
    eve = await connect(pair, "eve", here=False, answers=ACKNOWLEDGES)
    await eve.cut()
    await eve.expect("disconnect")
    position = await publish(pair, "arrived", {"customerId": "eve", "parcel": "p-2"})
    page = await find(pair, position, lambda page: page["counts"]["never"] == 1)
    assert page["receipts"] == []
    await eve.command("reconnect")
    assert await eve.expect_event("arrived") == [{"customerId": "eve", "parcel": "p-2"}]
    page = await find(pair, position, is_acknowledged(1))
    [receipt] = page["receipts"]
    assert not receipt["delivered"] and receipt["replayed"] <= receipt["acknowledged"]
    assert page["counts"]["replayed"] == 1 and page["counts"]["never"] == 0


async def test_a_client_that_asks_for_positions_receives_both(pair: Pair) -> None:
    token = {"token": pair.here.token("fay"), "recovery": True}
    fay = await pair.js.connect(
        f"{pair.here.url}/", path="/parcels/socket.io/", auth=token, transports=WEBSOCKET, answers=ACKNOWLEDGES
    )
    await fay.expect_event("oyez:recovery")
    position = await publish(pair, "arrived", {"customerId": "fay", "parcel": "p-3"})
    assert await fay.expect_event("arrived") == [{"customerId": "fay", "parcel": "p-3"}, position]
    await find(pair, position, is_acknowledged(1))
    # What was received is not sent again, although a function came after the position.
    await fay.cut()
    await fay.expect("disconnect")
    await fay.command("reconnect")
    assert (await fay.expect_event("oyez:recovery"))[0]["replayed"] == 0


async def test_members_who_never_connected_are_named_and_those_who_did_not_answer(pair: Pair) -> None:
    for user in ("bob", "cleo", "dan"):
        await pair.here.request("PUT", f"/parcels/rooms/crew:north/members/user:{user}")
    bob = await connect(pair, "bob", answers=ACKNOWLEDGES)
    cleo = await connect(pair, "cleo", here=False)
    for client in (bob, cleo):
        await client.call("join_crew", "north")
    position = await publish(pair, "briefing", {"text": "at six"}, "crew:north")
    for client in (bob, cleo):
        await client.expect_event("briefing")
    page = await find(pair, position, lambda page: page["counts"]["acknowledged"] == 1 and page["counts"]["live"] == 2)
    assert page["counts"] == {"live": 2, "replayed": 0, "acknowledged": 1, "unacknowledged": 1, "never": 1}
    assert [one["user"] for one in page["receipts"]] == ["bob", "cleo"]
    missed = await find(pair, position, lambda page: True, state="never")
    assert [one["user"] for one in missed["receipts"]] == ["dan"]
    silent = await find(pair, position, lambda page: True, state="unacknowledged")
    assert [one["user"] for one in silent["receipts"]] == ["cleo"]
    operator = await sign_in(pair.there.url)
    shown = await operator.get(f"/systems/parcels/events/{position}/receipts", search="CL")
    assert [one["user"] for one in shown["receipts"]] == ["cleo"] and shown["counts"] == page["counts"]
    listed = await operator.get("/systems/parcels/receipts", event="briefing", limit=1)
    assert listed["events"][0]["position"] == position and listed["events"][0]["acknowledged"] == 1


async def test_it_is_not_said_who_missed_an_event_for_a_room_whose_users_nobody_knows(pair: Pair) -> None:
    gus = await connect(pair, "gus", role="driver", answers=ACKNOWLEDGES)
    position = await publish(pair, "briefing", {"text": "ice"}, ["drivers"])
    await gus.expect_event("briefing")
    page = await find(pair, position, is_acknowledged(1))
    assert page["unknownRooms"] == ["drivers"] and page["counts"]["never"] == 0
