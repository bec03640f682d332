"""Guests, answers of an own form, presence and limits per address, over two processes that share a folder or Redis."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.js_client import JsClient
from tests.support.pairs import SUPPORT, Pair, open_pair
from tests.support.valkey import ValkeyServer

WEBSOCKET = ["websocket"]
RECONNECTS: dict[str, Any] = {"reconnection": True, "reconnectionDelay": 50, "randomizationFactor": 0}


@pytest.fixture(scope="module", params=["folder", "redis"])
async def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey: ValkeyServer
) -> AsyncIterator[Pair]:
    async with open_pair(SUPPORT / "lounge.py", request.param, tmp_path_factory.mktemp("pair"), valkey) as pair:
        yield pair


async def connect(pair: Pair, user: str | None, *, here: bool = True, **options: Any) -> JsClient:
    return await pair.connect(pair.here if here else pair.there, user, transports=WEBSOCKET, **options)


async def recover(client: JsClient) -> None:
    """Cut the connection, and wait until the client has resumed its session."""
    await client.cut()
    assert (await client.expect("connect"))["recovered"]
    await client.expect_event("oyez:recovery")


async def test_answers_of_an_own_form_are_the_same_everywhere(pair: Pair) -> None:
    ada, bob = await connect(pair, "ada", **RECONNECTS), await connect(pair, "bob", here=False, **RECONNECTS)
    for client, user in ((ada, "ada"), (bob, "bob")):
        assert await client.call("bar:join", "forms") == {"success": True, "data": {"room": "bar:forms"}}
        answer = await client.call("order", {"barId": "forms", "name": "tea"})
        assert answer == {"success": True, "data": "tea is on its way"}
        assert await client.expect_event("drink") == [user, "forms", "tea"]
        refused = {"success": False, "error": "The bar is full."}
        assert await client.call("order", {"barId": "forms", "name": "water"}) == refused
        await client.emit("order", {"barId": "forms", "name": "water"})
        assert await client.expect_event("problem") == [{"kind": "full", "text": "The bar is full.", "of": "order"}]
        unknown = await client.call("dance")
        assert unknown["success"] is False and isinstance(unknown["error"], str)
    # Positional events are recovered once, and the form is the same after it.
    await ada.expect_event("drink")
    await bob.cut()
    await ada.call("order", {"barId": "forms", "name": "milk"})
    assert (await bob.expect("connect"))["recovered"]
    assert await bob.expect_event("drink") == ["ada", "forms", "milk"]
    again = await bob.call("order", {"barId": "forms", "name": "water"})
    assert again == {"success": False, "error": "The bar is full."}


async def test_a_guest_signs_in_at_one_process_and_returns_to_the_session(pair: Pair) -> None:
    guest = await connect(pair, None, here=False, **RECONNECTS)
    late = await connect(pair, None)
    answer = await guest.call("sign:in", {"token": pair.there.token("cleo")})
    assert answer == {"success": True, "data": {"user": "cleo", "rooms": ["user:cleo"]}}
    await guest.call("bar:join", "signed")
    await recover(guest)
    # A guest signs in again after each reconnection, and has kept its rooms.
    assert (await guest.call("sign:in", {"token": pair.there.token("cleo")}))["success"]
    assert (await guest.call("who"))["data"] == {"user": "cleo", "rooms": ["bar:signed", "user:cleo"]}
    # An event of the other process reaches the user's own room.
    ada = await connect(pair, "ada")
    await pair.here.post({"event": "drink", "data": ["cleo", "elsewhere", "tea"]}, system="lounge")
    assert await guest.expect_event("drink") == ["cleo", "elsewhere", "tea"]
    assert ada.events() == []
    # A guest that does not sign in in time is disconnected; a client that has signed in is not.
    await late.expect("disconnect")
    assert (await guest.call("who"))["data"]["user"] == "cleo"


async def test_presence_counts_users_of_both_processes(pair: Pair) -> None:
    ada = await connect(pair, "ada", **RECONNECTS)
    await ada.call("bar:join", "crowded")
    assert await ada.expect_event("bar:came") == [{"userId": "ada", "count": 1}]
    await ada.call("watch", "crowded")
    assert await ada.expect_event("crowd") == [{"barId": "crowded", "count": 1}]
    bob = await connect(pair, "bob", here=False)
    await bob.call("bar:join", "crowded")
    await bob.call("watch", "crowded")
    assert await ada.expect_event("bar:came") == [{"userId": "bob", "count": 2}]
    assert await ada.expect_event("crowd") == [{"barId": "crowded", "count": 2}]
    # A second connection of the same user, and a recovered session, change nothing.
    also_bob = await connect(pair, "bob")
    await also_bob.call("bar:join", "crowded")
    await recover(ada)
    await bob.disconnect()
    await also_bob.call("bar:leave", "crowded")
    [went] = await ada.expect_event("bar:went")
    assert (went["userId"], went["count"]) == ("bob", 1)
    assert await ada.expect_event("crowd") == [{"barId": "crowded", "count": 1}]
    assert "bar:came" not in [name for name, _ in ada.events()]


async def test_a_limit_per_address_counts_both_processes(pair: Pair) -> None:
    clients = [await connect(pair, f"user{number}", here=bool(number % 2)) for number in range(4)]
    answers = [await client.call("knock") for client in clients for _ in range(3)]
    # Other processes learn of it a moment later: each lets at most its own six through.
    assert {"success": True} in answers
    while (await clients[0].call("knock"))["success"]:
        pass
    while (await clients[1].call("knock"))["success"]:
        pass
    stranger = await connect(pair, "stranger", here=False)
    await stranger.emit("knock")
    [problem] = await stranger.expect_event("problem")
    assert problem["kind"] == "slow_down"
