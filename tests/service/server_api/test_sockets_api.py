"""The server API for connected clients: at two nodes that share a log, with real clients."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from oyez.client import Client, ConnectRefused, connect
from oyez.contract import CamelPayload, Contract, Time, anyone, member, own
from oyez.runtime import Client as ServerClient
from oyez.runtime import Hooks
from oyez.service.app import Oyez
from oyez.service.auth.tokens import build_signer
from oyez.service.system import System, SystemServices
from oyez.settings import Settings
from tests.support.nodes import SharedLog
from tests.support.shops import Market, serve
from tests.support.tasks import Spawn

NUMBERS = count(1)


class Note(CamelPayload):
    """Something to read."""

    text: str


class State(CamelPayload):
    """For one client."""

    text: str


class Rare(CamelPayload):
    """For everyone."""

    text: str


def declare() -> Contract:
    contract = Contract("desk", roles=("user",), default_role="user")
    root = contract.namespace("/")
    root.room("user:{userId}", members=own("userId", claim="sub"), on_connect=True)
    room = root.room("board:{boardId}", members=anyone(), join="board:join")
    root.room("club:{clubId}", members=member())
    root.event("note", to=[room, root.sockets], example={"text": "x"})(Note)
    root.event("state", to=[root.caller])(State)
    root.event("rare", to=[root.everyone])(Rare)
    contract.namespace("/admin").room("all", members=anyone(), on_connect=True)
    return contract


@pytest.fixture(scope="module")
async def markets(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Market]]:
    """Two nodes that share a log and a data folder."""
    settings = Settings(port=0, oyez_data=str(tmp_path_factory.mktemp("data")), log_url="memory:", drain_time=0.0)
    log = SharedLog()
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                serve(Oyez([System(contract=declare())], settings, build_log=lambda name: log))
            )
            for _ in range(2)
        ]


@pytest.fixture
def user() -> str:
    """A user that no other test has."""
    return f"u-{next(NUMBERS)}"


def enter(market: Market, user: str, namespace: str = "/", token: str = "") -> AbstractAsyncContextManager[Client]:
    auth = {"token": token or market.token(user)}
    return connect(market.url, namespace, path="/desk/socket.io/", auth=auth, transports=["websocket"])


async def stay(market: Market, user: str, token: str) -> None:
    """Connect, and stay until the server disconnects the client."""
    async with enter(market, user, token=token) as client:
        await client.expect_disconnect()


async def ask(market: Market, method: str, path: str, body: Any = None, **options: Any) -> Any:
    answer = await market.call(method, f"/desk{path}", body, **options)
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.content else None


async def test_the_sockets_and_rooms_of_a_user_are_found_on_all_nodes(markets: list[Market], user: str) -> None:
    one, other = markets
    async with enter(one, user) as here, enter(other, user) as there, enter(other, user, "/admin"), enter(one, "x"):
        await there.call("board:join", "7")
        sockets = (await ask(one, "GET", f"/users/{user}/sockets", params={"namespace": "/"}))["sockets"]
        assert {socket["id"]: socket["rooms"] for socket in sockets} == {
            here.sid: [f"user:{user}"],
            there.sid: ["board:7", f"user:{user}"],
        }
        assert len({socket["node"] for socket in sockets}) == 2
        assert (await ask(other, "GET", f"/users/{user}/rooms"))["rooms"] == [
            {"namespace": "/", "room": "board:7"},
            {"namespace": "/", "room": f"user:{user}"},
            {"namespace": "/admin", "room": "all"},
        ]
    assert (await ask(one, "GET", f"/users/{user}/sockets"))["sockets"] == []


async def test_a_user_joins_and_leaves_a_room_with_all_sockets(markets: list[Market], user: str) -> None:
    one, other = markets
    board = f"board:{next(NUMBERS)}"
    note = {"event": "note", "to": board, "data": {"text": "x"}}
    async with enter(one, user) as here, enter(other, user) as there:
        for _ in range(2):
            await ask(one, "PUT", f"/users/{user}/rooms/{board}")
        await ask(one, "POST", "/events", note)
        for client in (here, there):
            await client.expect_event("note")
        await ask(other, "DELETE", f"/users/{user}/rooms/{board}")
        await ask(one, "POST", "/events", note)
        for client in (here, there):
            await client.expect_nothing("note")


async def test_the_rule_of_the_room_decides_about_a_join_too(markets: list[Market], user: str) -> None:
    async with enter(markets[0], user) as client:
        await ask(markets[1], "PUT", f"/users/{user}/rooms/club:1")
        await ask(markets[1], "PUT", f"/users/{user}/rooms/user:another")
        await client.expect_nothing()
        assert (await ask(markets[0], "GET", f"/users/{user}/rooms"))["rooms"] == [
            {"namespace": "/", "room": f"user:{user}"}
        ]


async def test_an_event_is_sent_to_one_socket(markets: list[Market], user: str) -> None:
    one, other = markets
    async with enter(one, user) as client, enter(one, user) as another:
        for event, position in (("note", True), ("state", False)):
            sent = await ask(other, "POST", f"/sockets/{client.sid}/events", {"event": event, "data": {"text": "x"}})
            assert (sent["position"] is not None) is position
            assert (await client.expect_event(event)).args == [{"text": "x"}]
        await another.expect_nothing()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"event": "rare", "data": {"text": "x"}}, "foreign_room"),
        ({"event": "nope", "data": {}}, "unknown_event"),
        ({"event": "note", "data": {"txt": "x"}}, "invalid_data"),
        ({"event": "state", "data": {"text": 1}}, "invalid_data"),
        ({"event": "state", "data": {"text": "x" * 20_000}}, "too_large"),
        ({"event": "state", "data": {"text": "x"}, "namespace": "/none"}, "invalid_data"),
    ],
)
async def test_what_one_socket_cannot_receive_is_refused(markets: list[Market], body: Any, code: str) -> None:
    answer = await markets[0].call("POST", f"/desk/sockets/{'a' * 20}/events", body)
    assert answer.json()["code"] == code


@pytest.mark.parametrize("way", ["user", "socket", "room", "close"])
async def test_clients_are_disconnected_at_every_node(markets: list[Market], user: str, way: str) -> None:
    one, other = markets
    board = f"board:{next(NUMBERS)}"
    async with enter(one, user) as client, enter(one, "bystander") as bystander:
        await client.call("board:join", board.removeprefix("board:"))
        path = {"socket": f"/sockets/{client.sid}", "room": f"/rooms/{board}"}.get(way, f"/users/{user}")
        await ask(other, "POST", f"{path}/disconnect", {"close": True} if way == "close" else None)
        assert await client.expect_disconnect() == "io server disconnect"
        await bystander.expect_nothing()


async def test_excepted_sockets_stay(markets: list[Market], user: str) -> None:
    async with enter(markets[0], user) as kept, enter(markets[1], user) as gone:
        await ask(markets[0], "POST", f"/users/{user}/disconnect", {"namespace": "/", "except": [kept.sid]})
        await gone.expect_disconnect()
        await kept.expect_nothing()


async def test_revoked_tokens_are_refused_and_newer_ones_are_accepted(markets: list[Market], user: str) -> None:
    one, other = markets
    signer = one.oyez.signer
    token = signer.sign_user(user, None, {}, 60.0)
    async with enter(one, user, token=token) as client:
        before = Time.at(time.time() + 1)
        assert await ask(other, "POST", f"/users/{user}/revoke", {"before": before}) == {"before": before}
        await client.expect_disconnect()
    for market in markets:
        with pytest.raises(ConnectRefused) as refused:
            await enter(market, user, token=token).__aenter__()
        assert refused.value.data["code"] == "token_revoked"
    later = build_signer(one.oyez.settings, one.oyez.secret, clock=lambda: time.time() + 2)
    async with enter(other, user, token=later.sign_user(user, None, {}, 60.0)):
        pass
    async with enter(one, "bystander"):
        pass


async def test_a_client_that_is_connecting_is_disconnected_too(tmp_path: Path, user: str, spawn: Spawn) -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def connecting(client: ServerClient) -> None:
        # By now, its token has been accepted.
        if client.identity.subject == user:
            arrived.set()
            await go.wait()

    built = SystemServices(hooks=Hooks(connecting=connecting))
    settings = Settings(port=0, oyez_data=str(tmp_path), log_url="memory:")
    system = System(contract=declare(), build=lambda services: built)
    async with serve(Oyez([system], settings)) as market, enter(market, "bystander") as bystander:
        token = market.token(user)
        ended = spawn(stay(market, user, token))
        await arrived.wait()
        await ask(market, "POST", f"/users/{user}/revoke", {"before": Time.at(time.time() + 1)})
        # The entry of the log has been applied when a later event has arrived.
        await ask(market, "POST", "/events", {"event": "rare", "to": "*", "data": {"text": "x"}})
        await bystander.expect_event("rare")
        go.set()
        await ended
        with pytest.raises(ConnectRefused) as refused:
            await enter(market, user, token=token).__aenter__()
        assert refused.value.data["code"] == "token_revoked"


async def test_a_repeat_with_its_key_disconnects_once(markets: list[Market], user: str) -> None:
    headers = {"idempotency-key": f"k-{user}"}
    await ask(markets[0], "POST", f"/users/{user}/disconnect", headers=headers)
    async with enter(markets[1], user) as client:
        await ask(markets[1], "POST", f"/users/{user}/disconnect", headers=headers)
        await client.expect_nothing()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/users/u/disconnect", {"reason": "x"}, 422),
        ("/users/u/disconnect", {"namespace": "/none"}, 422),
        ("/users/u/disconnect", {"except": ["nowhere:1"]}, 422),
        ("/users/u/disconnect", {"except": ["user:1"] * 101}, 422),
        ("/users/u%01/disconnect", None, 422),
        ("/users/u%00/disconnect", None, 400),
        ("/sockets/short/disconnect", None, 422),
        ("/rooms/nowhere/disconnect", None, 422),
        ("/users/u/revoke", {"seconds": 0}, 422),
        ("/users/u/revoke", {"before": "yesterday"}, 422),
    ],
)
async def test_wrong_requests_are_refused(markets: list[Market], path: str, body: Any, status: int) -> None:
    answer = await markets[0].call("POST", f"/desk{path}", body)
    assert (answer.status_code, answer.json()["status"]) == (status, status), answer.text


async def test_every_route_asks_for_a_service_key(markets: list[Market]) -> None:
    for method, path in (("GET", "users/u/sockets"), ("POST", "users/u/revoke"), ("GET", "openapi.json")):
        assert (await markets[0].request(method, f"/desk/{path}")).status_code == 401
