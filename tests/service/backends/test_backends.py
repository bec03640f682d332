"""A contract whose commands and decisions belong to a back end, with real clients."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from oyez.client import Client, ConnectFailed, ConnectRefused, connect
from oyez.contract import (
    Backend,
    CamelCommand,
    CamelPayload,
    Contract,
    Id,
    Money,
    anyone,
    decided_by,
    member,
    own,
)
from oyez.errors import ContractError, SettingsError
from oyez.runtime import Hooks
from oyez.service.app import Oyez
from oyez.service.system import System, SystemServices
from oyez.settings import Settings
from tests.support.clock import PATIENCE
from tests.support.js_client import JsDriver
from tests.support.logged import capture_logs
from tests.support.scripted_backend import Reply, Request, ScriptedBackend, run_backend
from tests.support.shops import Market, serve

NUMBERS = count(1)
orders = Backend("orders")


class Accepted(CamelPayload):
    """An offer was accepted."""

    offer_id: Id
    price: Money


class Told(CamelPayload):
    """The state of a room."""

    text: str


class AcceptOffer(CamelCommand):
    """Accept an offer."""

    offer_id: Id
    note: str | None = None


class Ping(CamelCommand):
    """Nothing more."""


def declare() -> Contract:
    contract = Contract("shop", roles=("buyer", "seller"), default_role="buyer", handled_by=orders)
    contract.refusal("offer_taken", "The offer was taken.")
    root = contract.namespace("/", notifies=orders)
    root.room("user:{userId}", members=own("userId", claim="sub"), on_connect=True)
    offer = root.room("offer:{offerId}", members=member(), join="offer:join")
    root.room("deal:{dealId}", members=decided_by(orders), join="deal:join")
    root.room("hall:{name}", members=anyone(), join="hall:join", welcomed_by=orders)
    root.event("offer:accepted", to=[offer.of("offerId"), root.sockets], example={"offerId": "o", "price": 1})(Accepted)
    root.event("told", to=[root.caller])(Told)
    root.command("offer:accept", reply=Accepted)(AcceptOffer)
    root.command("ping")(Ping)
    vip = contract.namespace("/vip", admitted_by=orders)
    vip.room("vip", members=anyone())
    vip.room("lobby", members=anyone(), on_connect=True)
    return contract


@pytest.fixture(scope="module")
async def backend() -> AsyncIterator[ScriptedBackend]:
    async with run_backend() as backend:
        yield backend


@pytest.fixture(scope="module")
async def market(backend: ScriptedBackend, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Market]:
    settings = Settings(
        port=0,
        oyez_data=str(tmp_path_factory.mktemp("data")),
        log_url="memory:",
        backends={"orders": backend.settings(timeout=PATIENCE)},
    )
    async with serve(Oyez([System(contract=declare())], settings)) as market:
        yield market


@pytest.fixture(autouse=True)
def clean(backend: ScriptedBackend) -> None:
    backend.script({})
    backend.requests.clear()


def enter(market: Market, subject: str = "ada", namespace: str = "/") -> AbstractAsyncContextManager[Client]:
    return connect(market.url, namespace, path="/shop/socket.io/", auth={"token": market.token(subject)})


async def test_a_command_is_sent_with_its_user_and_its_answer_is_the_acknowledgement(
    market: Market, backend: ScriptedBackend
) -> None:
    backend.script({"data": {"offerId": "o-1", "price": 12.5}})
    async with enter(market) as client:
        answer = await client.call("offer:accept", {"offerId": "o-1", "note": "Łódź"})
        assert answer == {"ok": True, "offerId": "o-1", "price": 12.5}
        request = await backend.next_request("command")
        assert request.body["system"], request.body["namespace"] == ("shop", "/")
        assert request.body["command"] == {"name": "offer:accept", "data": {"offerId": "o-1", "note": "Łódź"}}
        shown = request.body["client"]
        assert (shown["id"], shown["user"], shown["role"]) == (client.sid, "ada", "buyer")
        assert (shown["rooms"], shown["guest"], shown["claims"]["sub"]) == (["user:ada"], False, "ada")
        assert request.body["id"] == request.id
        assert request.body["trace"] in request.headers["traceparent"]


async def test_a_refusal_of_the_back_end_is_the_refusal_of_the_command(
    market: Market, backend: ScriptedBackend
) -> None:
    backend.script({"error": {"code": "offer_taken", "details": {"by": "bob"}}})
    async with enter(market) as client:
        answer = await client.call("offer:accept", {"offerId": "o-1"})
    error = answer["error"]
    assert (answer["ok"], error["code"], error["message"]) == (False, "offer_taken", "The offer was taken.")
    assert error["details"] == {"by": "bob"}


async def test_limits_and_validation_come_before_the_back_end(market: Market, backend: ScriptedBackend) -> None:
    async with enter(market) as client:
        answer = await client.call("offer:accept", {"offer": "o-1"})
    assert answer["error"]["code"] == "invalid_data"
    assert "command" not in [request.body["type"] for request in backend.requests]


async def test_events_members_and_rooms_follow_from_an_answer_before_its_acknowledgement(
    market: Market, backend: ScriptedBackend
) -> None:
    room = f"offer:o-{next(NUMBERS)}"
    data = {"offerId": room.removeprefix("offer:"), "price": 3}
    answer = {
        "data": data,
        "addMembers": [{"room": room, "subject": "user:ada", "part": "host"}],
        "join": [room],
        "events": [{"event": "offer:accepted", "data": data}],
    }
    backend.script(answer)
    async with enter(market) as client:
        # The event comes first: it is there when the acknowledgement is.
        await client.call("offer:accept", {"offerId": "o"})
        assert [event.args[0] for event in client.pending] == [data]
        await client.expect_event("offer:accepted")
        members = await market.call("GET", f"/shop/rooms/{room}/members")
        assert members.json()["parts"] == {"user:ada": "host"}
        # Who is removed with an event still receives this event.
        backend.script(
            {
                "data": data,
                "events": answer["events"],
                "removeMembers": [{"room": room, "subject": "user:ada"}],
                "leave": [room],
            }
        )
        await client.call("offer:accept", {"offerId": "o"})
        await client.expect_event("offer:accepted")
        backend.script({"data": data, "events": answer["events"]})
        await client.call("offer:accept", {"offerId": "o"})
        await client.expect_nothing("offer:accepted")


async def test_the_sender_can_be_excluded(market: Market, backend: ScriptedBackend) -> None:
    room = f"offer:o-{next(NUMBERS)}"
    data = {"offerId": room.removeprefix("offer:"), "price": 3}
    for user in ("ada", "bob"):
        await market.call("PUT", f"/shop/rooms/{room}/members/user:{user}")

    async def answer(request: Request) -> Any:
        sender = request.body["client"]["id"]
        return {"data": data, "events": [{"event": "offer:accepted", "data": data, "except": sender}]}

    async with enter(market, "ada") as ada, enter(market, "bob") as bob:
        for client in (ada, bob):
            await client.call("offer:join", room.removeprefix("offer:"))
        backend.answer = answer
        await ada.call("offer:accept", {"offerId": "o"})
        await bob.expect_event("offer:accepted")
        await ada.expect_nothing("offer:accepted")


async def test_a_repeated_command_with_a_key_has_the_same_id_and_its_events_are_published_once(
    market: Market, backend: ScriptedBackend
) -> None:
    room = f"offer:o-{next(NUMBERS)}"
    data = {"offerId": room.removeprefix("offer:"), "price": 3}
    await market.call("PUT", f"/shop/rooms/{room}/members/user:ada")
    backend.script(
        {"error": {"code": "unavailable"}}, {"data": data, "events": [{"event": "offer:accepted", "data": data}]}
    )
    async with enter(market) as client:
        await client.call("offer:join", room.removeprefix("offer:"))
        key = {"idempotencyKey": f"k-{next(NUMBERS)}"}
        first = await client.call("offer:accept", {"offerId": "o"}, key)
        assert first["error"]["code"] == "unavailable"
        for _ in range(2):
            assert (await client.call("offer:accept", {"offerId": "o"}, key))["ok"]
        await client.expect_event("offer:accepted")
        await client.expect_nothing("offer:accepted")
    # The third one was answered from memory.
    commands = [request.id for request in backend.requests if request.body["type"] == "command"]
    assert len(commands) == 2
    assert len(set(commands)) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Reply(b"<html>"), "JSON"),
        (Reply(b"[]"), "an object"),
        ({"daat": {}}, "is not a field"),
        ({"data": {"offerId": 1}}, "reply"),
        ({"data": None}, "reply"),
        ({"error": {"code": "no_such_code"}}, "no_such_code"),
        ({"error": {"code": "offer_taken"}, "events": [{"event": "told"}]}, "nothing beside"),
        ({"data": {"offerId": "o", "price": 1}, "events": [{"event": "nope", "data": {}}]}, "events[0]"),
        (
            {"data": {"offerId": "o", "price": 1}, "events": [{"event": "offer:accepted", "data": {}}]},
            "offerId: is required",
        ),
        ({"data": {"offerId": "o", "price": 1}, "join": ["nowhere"]}, "nowhere"),
        ({"data": {"offerId": "o", "price": 1}, "join": ["user:bob"]}, "user:bob"),
        ({"data": {"offerId": "o", "price": 1}, "addMembers": [{"room": "hall:1", "subject": "user:u"}]}, "members"),
        ({"data": {"offerId": "o", "price": 1}, "addMembers": [{"room": "offer:1", "subject": "u"}]}, "subject"),
        (Reply(status=302, headers={"location": "http://127.0.0.1:1/"}), "redirects"),
        (Reply(status=401), "secret"),
        (Reply(status=404), "path"),
        (Reply(b'"' + b"x" * 1_000_001 + b'"'), "max_answer_bytes"),
    ],
)
async def test_a_wrong_answer_is_logged_with_what_was_expected_and_changes_nothing(
    market: Market, backend: ScriptedBackend, answer: Any, expected: str
) -> None:
    backend.script(answer)
    with capture_logs() as logged:
        async with enter(market) as client:
            refused = await client.call("offer:accept", {"offerId": "o-1"})
            assert client.pending == []
    request = next(request for request in backend.requests if request.body["type"] == "command")
    assert refused["error"]["code"] == "internal"
    assert refused["error"]["details"] == {"id": request.id}
    lines = [line for line in logged if line.get("request") == request.id]
    assert [line["event"] for line in lines] == ["a back end's answer cannot be used"]
    assert expected in lines[0]["expected"]
    assert "o-1" not in str(lines)


async def test_a_connect_is_decided_by_the_back_end(market: Market, backend: ScriptedBackend) -> None:
    backend.script({"allow": True, "join": ["vip"], "leave": ["lobby"]})
    async with enter(market, namespace="/vip"):
        sockets = (await market.call("GET", "/shop/rooms/vip/sockets")).json()
        assert [socket["user"] for socket in sockets["sockets"]] == ["ada"]
        assert (await market.call("GET", "/shop/rooms/lobby/sockets")).json()["count"] == 0
    shown = (await backend.next_request("connect")).body["client"]
    assert (shown["user"], shown["rooms"], "id" in shown) == ("ada", ["lobby"], False)
    for answer, code in (({"allow": False}, "forbidden"), ({"error": {"code": "offer_taken"}}, "offer_taken")):
        backend.script(answer)
        with pytest.raises(ConnectRefused) as refused:
            await enter(market, namespace="/vip").__aenter__()
        assert refused.value.data["code"] == code


@pytest.mark.parametrize("answer", [{}, {"allow": None}, {"allow": "yes"}, Reply(b"ok"), Reply(status=204)])
async def test_without_a_clear_yes_nobody_connects_and_the_client_comes_back(
    market: Market, backend: ScriptedBackend, answer: Any
) -> None:
    backend.script(answer)
    with pytest.raises(ConnectFailed):
        await enter(market, namespace="/vip").__aenter__()


async def test_a_back_end_that_is_away_is_answered_unavailable_with_a_time(
    market: Market, backend: ScriptedBackend
) -> None:
    async with enter(market) as client:
        backend.script(Reply(status=503, headers={"retry-after": "90"}))
        error = (await client.call("ping"))["error"]
        assert (error["code"], error["details"]) == ("unavailable", {"retry_after": 90.0})
        backend.script({})
        assert (await client.call("ping"))["ok"]


async def test_an_official_client_gets_in_as_soon_as_the_back_end_is_back(
    market: Market, backend: ScriptedBackend, js: JsDriver
) -> None:
    # A decision that the back end cannot make now: the client must not give up, and must not get in.
    backend.script({"error": {"code": "unavailable"}})
    options: dict[str, Any] = {"reconnection": True, "reconnectionDelay": 10, "reconnectionDelayMax": 10}
    options |= {"path": "/shop/socket.io/", "transports": ["websocket"], "auth": {"token": market.token("ada")}}
    client = await js.begin(f"{market.url}/vip", **options)
    await backend.next_request("connect", 2)
    sockets = await market.call("GET", "/shop/users/ada/sockets", params={"namespace": "/vip"})
    assert sockets.json()["sockets"] == []
    backend.script({"allow": True})
    await client.expect("connect")
    await client.disconnect()


async def test_a_room_is_decided_by_the_back_end(market: Market, backend: ScriptedBackend) -> None:
    async with enter(market) as client:
        for answer, ok in (
            ({"allow": True}, True),
            ({"allow": False}, False),
            ({"error": {"code": "forbidden"}}, False),
        ):
            room = str(next(NUMBERS))
            backend.script(answer)
            assert (await client.call("deal:join", room))["ok"] is ok
        request = (await backend.next_request("room")).body
        assert request["room"]["pattern"] == "deal:{dealId}"
        assert request["client"]["user"] == "ada"
        backend.script({})
        assert (await client.call("deal:join", "x"))["error"]["code"] == "internal"


async def test_the_state_of_a_room_comes_from_the_back_end(market: Market, backend: ScriptedBackend) -> None:
    backend.script({"snapshot": [{"event": "told", "data": {"text": "a"}}, {"event": "told", "data": {"text": "b"}}]})
    async with enter(market) as client:
        assert (await client.call("hall:join", "1"))["ok"]
        assert [event.args[0]["text"] for event in client.pending] == ["a", "b"]
        request = await backend.next_request("welcome")
        assert request.body["room"] == {"name": "hall:1", "pattern": "hall:{name}", "values": {"name": "1"}}
        backend.script({"snapshot": [{"event": "offer:accepted", "data": {"offerId": "o", "price": 1}}]})
        assert (await client.call("hall:join", "2"))["error"]["code"] == "internal"


async def test_a_disconnect_is_reported_and_may_publish(market: Market, backend: ScriptedBackend) -> None:
    data = {"offerId": f"o-{next(NUMBERS)}", "price": 1}
    await market.call("PUT", f"/shop/rooms/offer:{data['offerId']}/members/user:bob")

    async def answer(request: Request) -> Any:
        return {"events": [{"event": "offer:accepted", "data": data}]}

    backend.answer = answer
    async with enter(market, "bob") as bob:
        await bob.call("offer:join", data["offerId"])
        async with enter(market, "ada"):
            pass
        request = await backend.next_request("disconnect")
        assert request.body["client"]["user"] == "ada"
        assert request.body["disconnect"]["reason"]
        await bob.expect_event("offer:accepted")


async def test_users_are_found_by_the_back_end(backend: ScriptedBackend, tmp_path: Path) -> None:
    contract = Contract("keys", roles=("buyer", "seller"), authenticated_by=orders)
    contract.namespace("/").room("user:{userId}", members=own("userId", claim="sub"), on_connect=True)
    settings = Settings(
        port=0,
        oyez_data=str(tmp_path),
        log_url="memory:",
        backends={"orders": backend.settings()},
    )
    async with serve(Oyez([System(contract=contract)], settings)) as market:
        backend.script({"user": {"id": "zoe", "role": "seller"}})
        async with connect(market.url, path="/keys/socket.io/", auth={"token": "my-key"}):
            sockets = (await market.call("GET", "/keys/rooms/user:zoe/sockets")).json()
            assert sockets["count"] == 1
        request = await backend.next_request("authenticate")
        assert request.body["credentials"]["token"] == "my-key"
        backend.script({"user": None})
        with pytest.raises(ConnectRefused) as refused:
            await connect(market.url, path="/keys/socket.io/", auth={"token": "my-key"}).__aenter__()
        assert refused.value.data["code"] == "token_invalid"
        backend.script({})
        with pytest.raises(ConnectFailed):
            await connect(market.url, path="/keys/socket.io/", auth={"token": "my-key"}).__aenter__()


def test_what_is_missing_is_said_at_the_start(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"OYEZ_BACKEND_ORDERS_URL"):
        Oyez([System(contract=declare())], settings)


def test_a_command_has_one_handler(settings: Settings, backend: ScriptedBackend) -> None:
    contract = Contract("shop", roles=("buyer",))
    contract.namespace("/").command("ping", handled_by=orders)(Ping)
    own = SystemServices(handlers={Ping: lambda command, client: None}, hooks=Hooks())
    given = Settings(port=0, oyez_data=settings.oyez_data, backends={"orders": backend.settings()})
    with pytest.raises(ContractError, match="handled_by and a handler"):
        Oyez([System(contract=contract, build=lambda services: own)], given)
