"""Who receives an event: everyone but the sender, several rooms, one socket; at two processes, with official clients.

The processes share a folder, or Redis.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from oyez.server.cluster.usage import ANNOUNCE_SECONDS
from tests.support.js_client import JsClient
from tests.support.pairs import SUPPORT, Pair, open_pair
from tests.support.valkey import ValkeyServer


@pytest.fixture(scope="module", params=["folder", "redis"])
async def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey: ValkeyServer
) -> AsyncIterator[Pair]:
    async with open_pair(SUPPORT / "boards.py", request.param, tmp_path_factory.mktemp("boards"), valkey) as pair:
        yield pair


async def draw(pair: Pair, board: str) -> tuple[JsClient, JsClient, JsClient]:
    """Ada at both processes, and Bob at the other one, at a board."""
    clients = (
        await pair.connect(pair.here, "ada", reconnection=True, reconnectionDelay=300),
        await pair.connect(pair.there, "ada"),
        await pair.connect(pair.there, "bob"),
    )
    for client in clients:
        assert (await client.call("board:join", board))["ok"]
    return clients


async def test_everyone_but_the_sender(pair: Pair) -> None:
    ada, twin, bob = await draw(pair, "1")
    for text in ("hello", "$5"):
        assert await ada.call("note:write", "1", text) == {"ok": True}
        for client in (twin, bob):
            assert (await client.expect_event("note"))[0]["text"] == text
    assert (await bob.expect_event("pointer"))[0] == {"x": -1}
    await ada.expect_nothing()
    assert (await bob.call("note:write", "1", "and you?"))["ok"]
    assert (await ada.expect_event("note"))[0]["text"] == "and you?"
    await bob.expect_nothing()


async def test_the_sender_does_not_receive_its_event_when_it_recovers(pair: Pair) -> None:
    ada, _, bob = await draw(pair, "2")
    assert (await bob.call("note:write", "2", "first"))["ok"]
    assert (await ada.expect_event("note"))[0]["text"] == "first"
    assert (await ada.call("note:write", "2", "mine"))["ok"]
    await ada.cut()
    assert (await bob.call("note:write", "2", "missed"))["ok"]
    assert (await ada.expect("connect"))["recovered"]
    assert (await ada.expect_event("note"))[0]["text"] == "missed"
    assert (await ada.expect_event("oyez:recovery"))[0]["replayed"] == 1
    await ada.expect_nothing()


async def test_the_newest_pointer_is_kept_for_clients_that_join(pair: Pair) -> None:
    ada, _, _ = await draw(pair, "3")
    await ada.call("point", "3", 7)
    late = await pair.connect(pair.there, "cleo")
    await late.call("board:join", "3")
    assert await late.expect_event("pointer") == [{"x": 7}]


async def test_rooms_that_follow_and_fixed_rooms_at_once(pair: Pair) -> None:
    ada = await pair.connect(pair.here, "ada")
    desk = await pair.connect(pair.there, "desk", role="staff")
    back = await pair.connect(pair.there, "desk", "/back", role="staff")
    response = await pair.here.post({"event": "sold", "data": {"userId": "ada", "number": 1}}, system="boards")
    assert response.json()["rooms"] == ["staff", "user:ada"]
    for client in (ada, desk, back):
        assert (await client.expect_event("sold"))[0]["number"] == 1
    only = {"event": "sold", "data": {"userId": "ada", "number": 2}, "to": "user:ada"}
    assert (await pair.here.post(only, system="boards")).json()["rooms"] == ["user:ada"]
    assert (await ada.expect_event("sold"))[0]["number"] == 2
    await desk.expect_nothing()
    renamed = {"event": "renamed", "data": {"boardId": "9"}}
    assert (await pair.here.post(renamed, system="boards")).json()["rooms"] == ["board:9"]


async def test_one_socket(pair: Pair) -> None:
    ada, twin, bob = await draw(pair, "4")
    await ada.call("hint:send", bob.id, "psst")
    assert (await bob.expect_event("hint"))[0]["text"] == "psst"
    assert (await ada.expect_event("hint"))[0]["text"] == "sent"
    for body in (
        {"event": "hint", "to": ada.id, "data": {"text": "from outside"}},
        {"event": "signal", "data": {"socketId": ada.id, "text": "from outside"}},
    ):
        response = await pair.there.post(body, system="boards")
        assert response.json()["rooms"] == [ada.id]
        assert (await ada.expect_event(str(body["event"])))[0]["text"] == "from outside"
    for client in (twin, bob):
        await client.expect_nothing()
    answer = await ada.call("hint:send", "nobody", "psst")
    assert answer["error"]["code"] == "unknown_room"


async def test_a_socket_of_another_namespace_receives_nothing(pair: Pair) -> None:
    ada = await pair.connect(pair.here, "ada")
    back = await pair.connect(pair.here, "desk", "/back", role="staff")
    await ada.call("hint:send", back.id, "psst")
    await back.expect_nothing()


async def test_a_socket_that_is_away_recovers_its_events_and_one_that_is_gone_does_not(pair: Pair) -> None:
    ada, _, bob = await draw(pair, "5")
    assert (await bob.call("note:write", "5", "first"))["ok"]
    assert (await ada.expect_event("note"))[0]["text"] == "first"
    socket_id = ada.id
    await ada.cut()
    await pair.there.publish("hint", {"text": "missed"}, socket_id, system="boards")
    assert (await ada.expect("connect"))["recovered"]
    assert (await ada.expect_event("hint"))[0]["text"] == "missed"
    await ada.disconnect()
    assert await pair.there.publish("hint", {"text": "too late"}, socket_id, system="boards")
    again = await pair.connect(pair.here, "ada")
    assert again.id != socket_id
    await again.expect_nothing()


async def test_the_emitter_of_node_names_a_socket(pair: Pair) -> None:
    if "REDIS_URL" not in pair.environ:
        pytest.skip("emitters need Redis")
    ada, twin, _ = await draw(pair, "6")
    emitter = await pair.js.emitter(pair.environ["REDIS_URL"], key="boards")
    await emitter.emit("hint", {"text": "from Node"}, to=ada.id)
    assert (await ada.expect_event("hint"))[0]["text"] == "from Node"
    await twin.expect_nothing()


async def test_a_relay(pair: Pair) -> None:
    ada, twin, bob = await draw(pair, "7")
    assert await ada.call("drawn", {"boardId": "7", "shape": "square"}) == {"ok": True}
    for client in (twin, bob):
        event = (await client.expect_event("drawn"))[0]
        assert (event["userId"], event["shape"]) == ("ada", "square")
    await ada.emit("cursor", {"at": {"boardId": "7", "x": 4}})
    assert await bob.expect_event("cursor") == [{"at": {"boardId": "7", "x": 4}, "userId": "ada"}]
    await ada.expect_nothing()
    outside = await pair.connect(pair.there, "eve")
    answer = await outside.call("drawn", {"boardId": "7", "shape": "square"})
    assert answer["error"]["code"] == "forbidden"


async def test_a_limit_of_a_room_holds_at_both_processes(pair: Pair) -> None:
    ada, bob = await pair.connect(pair.here, "ada"), await pair.connect(pair.there, "bob")
    accepted = 0
    for number in range(10):
        # One room after the other, until the vote of the other process was announced in time.
        for client in (ada, bob):
            assert (await client.call("board:join", f"votes-{number}"))["ok"]
        assert [(await ada.call("vote", f"votes-{number}"))["ok"] for _ in range(6)] == [True] * 5 + [False]
        await asyncio.sleep(1.5 * ANNOUNCE_SECONDS)
        accepted = [(await bob.call("vote", f"votes-{number}"))["ok"] for _ in range(6)].count(True)
        if accepted == 4:
            break
    # Nine votes a minute: five are the share of one user.
    assert accepted == 4
