"""The admin over two processes that share a folder, or Redis, and over two workers of one server."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from oyez.client import Client, ConnectRefused, connect
from oyez.service.auth.secrets import Secret
from oyez.service.auth.tokens import build_signer
from oyez.settings import Settings
from tests.support.clock import PATIENCE
from tests.support.operators import KEYS, Operator, sign_in
from tests.support.pairs import PLACES, SUPPORT, Pair, open_pair
from tests.support.served import Served
from tests.support.valkey import ValkeyServer

PATH = "/pharmacy/socket.io/"
SYSTEM = "/systems/pharmacy"


@pytest.fixture(scope="module", params=PLACES)
async def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey: ValkeyServer
) -> AsyncIterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    async with open_pair(SUPPORT / "pharmacy.py", request.param, folder, valkey, ADMIN_KEYS=KEYS) as pair:
        yield pair


@pytest.fixture
async def operator(pair: Pair) -> Operator:
    """Signed in, after the processes know each other."""
    operator = await sign_in(pair.here.url)
    await until(lambda: operator.get("/nodes"), lambda found: len(found["nodes"]) == 2 and not found["missing"])
    return operator


async def until(ask: Callable[[], Awaitable[Any]], fits: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(PATIENCE):
        while not fits(found := await ask()):  # noqa: ASYNC110 - an operator asks again, too
            await asyncio.sleep(0.05)
    return found


def sign(pair: Pair, user: str, role: str | None = None, **claims: Any) -> str:
    """A user's token, which is valid at all processes."""
    signer = build_signer(Settings(jwt_secret=pair.environ["JWT_SECRET"]), Secret(pair.environ["JWT_SECRET"]))
    return signer.sign_user(user, role, claims, 600.0)


def connect_as(pair: Pair, server: Served, user: str, role: str | None = None, **claims: Any) -> Any:
    token = sign(pair, user, role, **claims)
    return connect(server.url, path=PATH, auth={"token": token}, transports=["websocket"])


async def publish(pair: Pair, user: str, medicine: str = "aspirin", server: Served | None = None) -> str:
    data = {"medicine": medicine, "patient": {"name": "Ada L.", "city": "York"}, "note": "daily"}
    return await (server or pair.here).publish("prescribed", data, f"customer:{user}", "pharmacy")


async def ended(client: Client) -> None:
    await client.expect_disconnect()


async def test_lists_have_the_clients_of_all_nodes(pair: Pair, operator: Operator) -> None:
    users = [f"list-{number}" for number in range(6)]
    clients = [connect_as(pair, pair.here if number % 2 else pair.there, user) for number, user in enumerate(users)]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.__aenter__())
    pages, after = [], None
    while True:
        query = {"search": "LIST-", "limit": 4} | ({"after": after} if after else {})
        page = await operator.get("/connections", **query)
        assert page["count"] == 6 and page["missing"] == []
        pages.append([one["user"] for one in page["sockets"]])
        if (after := page["next"]) is None:
            break
    assert pages == [users[:4], users[4:]]
    found = await operator.get("/users", search="list-", limit=3)
    assert [one["user"] for one in found["users"]] == users[:3] and found["next"]
    rooms = await operator.get("/rooms", search="customer:list-")
    assert [(one["room"], one["sockets"]) for one in rooms["rooms"]] == [(f"customer:{user}", 1) for user in users]
    only = await operator.get("/connections", room="customer:list-3")
    assert [one["user"] for one in only["sockets"]] == ["list-3"]
    nodes = await operator.get("/nodes")
    assert sum(system["connections"] for node in nodes["nodes"] for system in node["systems"]) >= 6
    for client in clients:
        await client.__aexit__(None, None, None)


async def test_a_user_is_found_at_any_node(pair: Pair, operator: Operator) -> None:
    async with connect_as(pair, pair.there, "eve", jti="t-eve") as eve:
        await eve.call("join_counter", "7")
        await eve.call("order", {"medicine": "m"})
        await publish(pair, "eve", "morphine")
        await eve.expect_event("prescribed")
        shown = await operator.get(f"{SYSTEM}/users/eve")
        (socket,) = shown["sockets"]
        assert socket["tokenId"] == "t-eve" and socket["role"] == "customer"
        assert [one["room"] for one in socket["held"]] == ["counter:7", "customer:eve"]
        assert socket["held"][1]["verdict"] == "yes" and "is the user" in socket["held"][1]["rule"]
        assert "ask" in socket["commands"] and "order" not in socket["commands"]
        assert [one["kind"] for one in shown["history"]] == ["refusal", "join", "connect"]
        (event,) = shown["events"]
        assert event["data"]["medicine"] == "[private]"
        assert event["data"]["patient"] == {"name": "[private]", "city": "York"}
        room = await operator.get(f"{SYSTEM}/rooms/counter:7")
        assert [one["user"] for one in room["sockets"]] == ["eve"] and room["members"] is None


async def test_why_an_event_reached_somebody_or_did_not(pair: Pair, operator: Operator) -> None:
    async def steps(position: str, user: str) -> list[str]:
        trace = await operator.get(f"{SYSTEM}/events/{position}", user=user)
        assert trace["missing"] == []
        return [step["step"] for step in trace["steps"]]

    async with connect_as(pair, pair.here, "why-a") as first, connect_as(pair, pair.there, "why-b"):
        position = await publish(pair, "why-a", server=pair.there)
        await first.expect_event("prescribed")
        trace = await operator.get(f"{SYSTEM}/events/{position}")
        assert [step["user"] for step in trace["steps"] if step["step"] == "delivered"] == ["why-a"]
        assert sum(one["recipients"] for one in trace["deliveries"]) == 1
        assert await steps(position, "why-a") == ["published", "stored", "delivered"]
        assert await steps(position, "why-b") == ["published", "stored", "not_entitled"]
        assert await steps(position, "why-nobody") == ["published", "stored", "away"]
        recovery = first.recovery
        first.connection.drop()
        await until(lambda: operator.get("/connections", user="why-a"), lambda found: found["count"] == 0)
        missed = await publish(pair, "why-a", "ibuprofen")
        assert await steps(missed, "why-a") == ["published", "stored", "away"]
        auth = {"token": sign(pair, "why-a", None), **recovery}
        async with connect(pair.there.url, path=PATH, auth=auth) as again:
            await again.expect_event("prescribed")
            await until(lambda: steps(missed, "why-a"), lambda found: found[-1] == "replayed")
            late = await publish(pair, "why-a")
            await again.expect_event("prescribed")
            assert (await steps(late, "why-a"))[-1] == "delivered"
    gone = await operator.get(f"{SYSTEM}/events/{position.split('.')[0]}.999999")
    assert gone["event"] is None and [step["step"] for step in gone["steps"]] == ["not_stored"]


async def test_actions_reach_clients_of_any_node(pair: Pair, operator: Operator) -> None:
    async with connect_as(pair, pair.there, "act") as act, connect_as(pair, pair.here, "other") as other:
        await act.call("join_counter", "9")
        await operator.post(f"{SYSTEM}/remove", {"user": "act", "room": "counter:9"})
        await until(lambda: operator.get("/connections", room="counter:9"), lambda found: found["count"] == 0)
        position = await publish(pair, "act", "aspirin")
        first = await act.expect_event("prescribed")
        resent = await operator.post(f"{SYSTEM}/resend", {"position": position, "user": "act"})
        assert resent["sockets"] == 1 and (await act.expect_event("prescribed")).args[0] == first.args[0]
        refused = await operator.request("POST", f"{SYSTEM}/resend", {"position": position, "user": "other"})
        assert refused.status_code == 422
        await operator.post(f"{SYSTEM}/announce", {"message": "Back at noon"})
        for client in (act, other):
            assert (await client.expect_event("oyez:maintenance")).args[0]["message"] == "Back at noon"
        await operator.post(f"{SYSTEM}/disconnect", {"user": "act", "reason": "test"})
        await ended(act)
        records = (await operator.get("/audit", by="anna", search="user act"))["records"]
        assert [one["action"] for one in records] == ["disconnect", "resend", "remove_from_room"]
        assert records[0]["details"]["reason"] == "test"
        # The other client was not touched.
        await publish(pair, "other")
        await other.expect_event("prescribed")


async def test_a_blocked_user_cannot_connect(pair: Pair, operator: Operator) -> None:
    async with connect_as(pair, pair.there, "blocked") as client:
        shown = await operator.post(f"{SYSTEM}/block", {"user": "blocked", "seconds": 600, "reason": "spam"})
        assert (shown["kind"], shown["by"], shown["reason"]) == ("block", "anna", "spam")
        await ended(client)
    for server in (pair.here, pair.there):
        with pytest.raises(ConnectRefused) as refused:
            async with connect_as(pair, server, "blocked"):
                pass
        assert refused.value.data["code"] == "blocked"
    listed = await operator.get(f"{SYSTEM}/restrictions")
    assert [one["subject"] for one in listed["restrictions"] if one["kind"] == "block"] == ["blocked"]
    await operator.post(f"{SYSTEM}/unblock", {"user": "blocked"})
    async with connect_as(pair, pair.there, "blocked"):
        pass


@pytest.mark.parametrize("kind", ["token", "user", "role"])
async def test_revoked_tokens_are_refused_on_all_nodes(pair: Pair, operator: Operator, kind: str) -> None:
    user = f"revoked-{kind}"
    role, token = ("staff" if kind == "role" else None), f"id-{kind}"
    subject = {"token": token, "user": user, "role": "staff"}[kind]
    # Made before the revocation: a token that is made later is accepted, and clocks of tokens have whole seconds.
    earlier = connect_as(pair, pair.there, user, role, jti=token)
    async with (
        connect_as(pair, pair.here, user, role, jti=token) as here,
        connect_as(pair, pair.there, user, role, jti=token) as there,
        connect_as(pair, pair.there, "bystander", jti="another") as bystander,
    ):
        shown = await operator.post(f"{SYSTEM}/revoke", {kind: subject})
        await ended(here)
        await ended(there)
        with pytest.raises(ConnectRefused) as refused:
            async with earlier:
                pass
        assert refused.value.data["code"] == "token_revoked"
        await publish(pair, "bystander")
        await bystander.expect_event("prescribed")
        if kind == "token":
            # Kept until the token would have ended, which the nodes know.
            ends = (await operator.get(f"{SYSTEM}/users/bystander"))["sockets"][0]["tokenEnds"]
            assert shown["until"][:16] <= ends[:16]
    await operator.post(f"{SYSTEM}/restore", {kind: subject})
    async with connect_as(pair, pair.there, user, role, jti=token):
        pass


async def test_a_service_key_is_for_its_events_until_it_is_revoked(pair: Pair, operator: Operator) -> None:
    asked = {"name": f"shop-{id(pair)}", "systems": ["pharmacy"], "events": ["presc*"]}
    made = await operator.post("/keys", asked)
    called = {"event": "called", "to": "counter:1", "data": {"ticket": 1}}
    data = {"medicine": "m", "patient": {"name": "n", "city": "c"}}
    allowed = {"event": "prescribed", "to": "customer:key", "data": data}

    async def statuses(server: Served, *bodies: Any) -> list[int]:
        return [(await server.post(body, made["key"], "pharmacy")).status_code for body in bodies]

    for server in (pair.here, pair.there):
        await until(lambda server=server: statuses(server, allowed), lambda found: found == [200])  # type: ignore[misc]
        await until(lambda server=server: statuses(server, called), lambda found: found == [403])  # type: ignore[misc]

        # A key for some events may do nothing else.
        async def deny(server: Served = server) -> int:
            return (await server.request("POST", "/pharmacy/users/key/disconnect", {}, key=made["key"])).status_code

        await until(deny, lambda found: found == 403)
    published = await until(lambda: operator.get("/audit", by=asked["name"]), lambda found: len(found["records"]) >= 1)
    assert published["records"][-1]["action"] == "publish" and published["records"][-1]["target"] == "prescribed"
    assert made["key"] not in str(await operator.get("/keys"))
    assert (await operator.request("POST", "/keys", asked)).status_code == 422
    assert (await operator.request("DELETE", f"/keys/{made['id']}")).status_code == 204
    for server in (pair.here, pair.there):
        # Often, because one of two workers may know it before the other.
        await until(
            lambda server=server: statuses(server, *[allowed] * 10),  # type: ignore[misc]
            lambda found: found == [401] * 10,
        )
    assert (await operator.request("DELETE", f"/keys/{made['id']}")).status_code == 404


async def test_summaries_are_pushed_while_somebody_watches(pair: Pair, operator: Operator) -> None:
    path = "/admin/socket.io/"
    async with (
        connect(pair.here.url, path=path, auth={"token": operator.token}) as one,
        connect(pair.there.url, path=path, auth={"token": operator.token}) as other,
    ):
        for page in (one, other):
            assert (await page.call("watch"))["ok"]
        for page in (one, other):
            while True:
                summary = (await page.expect_event("summary")).args[0]
                if len(summary["nodes"]) == 2:
                    break
            assert summary["missing"] == [] and summary["tick"]["systems"][0]["system"] == "pharmacy"
        for page in (one, other):
            assert (await page.call("unwatch"))["ok"]


async def test_a_node_that_does_not_answer_is_named(pair: Pair, operator: Operator) -> None:
    """A process that is stopped for a while is missing, and nothing hangs."""
    if pair.here is pair.there:
        pytest.skip("the workers of one server cannot be stopped one by one here")
    pair.there.process.send_signal(signal.SIGSTOP)
    try:
        found = await operator.get("/nodes")
        (missing,) = found["missing"]
        assert missing["pid"] == pair.there.process.pid and len(found["nodes"]) == 1
        page = await operator.get("/connections")
        assert [one["id"] for one in page["missing"]] == [missing["id"]]
    finally:
        pair.there.process.send_signal(signal.SIGCONT)
    await until(lambda: operator.get("/nodes"), lambda found: not found["missing"] and len(found["nodes"]) == 2)


async def test_audit_is_exported_as_lines(pair: Pair, operator: Operator) -> None:
    answer = await operator.request("GET", "/audit.jsonl", params={"by": "anna"})
    assert answer.headers["content-type"] == "application/jsonl"
    ids = [httpx.Response(200, text=line).json()["id"] for line in answer.text.splitlines()]
    assert ids == sorted(ids) and ids
