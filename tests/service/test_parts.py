"""Members with a part in one room, rules that ask for it, and ids that are numbers."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from oyez.client import Client, connect
from oyez.service.app import Oyez
from oyez.settings import Settings
from tests.service.table_system import system
from tests.support.shops import Market, serve

PATH = "/tables/socket.io/"


@pytest.fixture(scope="module")
async def market(make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    settings = Settings(port=0, oyez_data=str(tmp_path_factory.mktemp("data")), database_url=make_database())
    async with serve(Oyez([system], settings)) as market:
        yield market


async def ask(market: Market, method: str, path: str, **params: str) -> httpx.Response:
    return await market.call(method, f"/tables/rooms/{path}", params=params)


async def add(market: Market, room: str, user: str, **params: str) -> Any:
    answer = await ask(market, "PUT", f"{room}/members/user:{user}", **params)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


async def code(client: Client, command: str, *args: Any) -> str:
    """The code with which a command is refused; empty if it is not."""
    answer = await client.call(command, *args)
    return "" if answer["ok"] else answer["error"]["code"]


def enter(market: Market, user: str, role: str = "player") -> Any:
    token = market.oyez.signer.sign_user(user, role, {}, 60.0)
    return connect(market.url, path=PATH, auth={"token": token})


async def test_a_command_asks_for_a_part_in_its_room(market: Market) -> None:
    await add(market, "table:1", "10", part="host")
    await add(market, "table:1", "11")
    await add(market, "table:2", "11", part="host")
    async with enter(market, "10") as host, enter(market, "11") as player, enter(market, "12", "referee") as referee:
        assert await code(host, "table:kick", {"tableId": 1}) == "forbidden"
        for client in (host, player):
            assert await code(client, "table:join", "1") == ""
        assert await code(host, "table:kick", {"tableId": 1}) == ""
        assert await code(player, "table:kick", {"tableId": 1}) == "forbidden"
        # Power in one room is none in another.
        assert await code(player, "table:kick", {"tableId": 2}) == "forbidden"
        assert await code(player, "table:move", {"tableId": 1}) == ""
        assert await code(player, "table:move", {"tableId": 2}) == "forbidden"
        assert [await code(client, "table:stop", {"tableId": 1}) for client in (host, player, referee)] == [
            "",
            "forbidden",
            "",
        ]
        assert [(await client.call("table:part", {"tableId": 1}))["part"] for client in (host, player, referee)] == [
            "host",
            None,
            None,
        ]


async def test_a_part_that_is_taken_away_has_no_power_any_more(market: Market) -> None:
    await add(market, "hosts:3", "20", part="owner")
    await add(market, "table:3", "20", part="host")
    async with enter(market, "20") as host:
        assert await code(host, "hosts:join", "3") == ""
        assert await code(host, "table:join", "3") == ""
        assert await code(host, "table:kick", {"tableId": 3}) == ""
        assert await add(market, "table:3", "20") == {"namespace": "/", "room": "table:3", "subject": "user:20"}
        assert await code(host, "table:kick", {"tableId": 3}) == ""
        await add(market, "table:3", "20", part="")
        assert await code(host, "table:kick", {"tableId": 3}) == "forbidden"
        assert await code(host, "table:move", {"tableId": 3}) == ""
        await add(market, "hosts:3", "20", part="guest")
        body = {"event": "whisper", "data": {}, "to": "hosts:3"}
        assert (await market.call("POST", "/tables/events", body)).status_code == 200
        assert await code(host, "hosts:join", "3") == "forbidden"
        await host.expect_nothing()
        await add(market, "hosts:3", "20", part="host")
        assert await code(host, "hosts:join", "3") == ""


async def test_members_are_listed_with_their_parts(market: Market) -> None:
    written = await add(market, "table:4", "30", part="host")
    assert written == {"namespace": "/", "room": "table:4", "subject": "user:30", "part": "host"}
    await add(market, "table:4", "31")
    listed = (await ask(market, "GET", "table:4/members")).json()
    assert listed == {"members": ["user:30", "user:31"], "next": None, "parts": {"user:30": "host"}}
    first = (await ask(market, "GET", "table:4/members", limit="1", after="user:30")).json()
    assert first == {"members": ["user:31"], "next": None}
    refused = await ask(market, "PUT", "table:4/members/user:30", part="x" * 65)
    assert refused.status_code == 422


async def test_ids_are_numbers(market: Market) -> None:
    await add(market, "table:5", "40")
    async with enter(market, "40") as client, enter(market, "41") as other:
        assert await code(client, "table:join", "5") == ""
        assert (await other.call("hall:watch", {"hallId": 5}))["room"] == "hall:5"
        assert await code(client, "profile", {"userId": 40}) == ""
        assert await code(client, "profile", {"userId": 41}) == "forbidden"
        for data in ({"tableId": 5, "userId": 41}, {"tableId": 5}):
            body = {"event": "moved", "data": data}
            answer = await market.call("POST", "/tables/events", body)
            assert answer.status_code == 200, answer.text
        moved = [(await client.expect_event("moved")).args[0]["userId"] for _ in range(2)]
        assert moved == [41, None]
        assert (await other.expect_event("moved")).args[0]["tableId"] == 5
