"""Namespaces whose names have ids, such as `/shop-17`: one declaration, any number of namespaces."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from oyez.client import ConnectRefused, Publisher, connect, join
from oyez.contract import Command, Contract, own, role
from oyez.observer import ConnectReport, DeliveryReport, Observer, PublishReport, RefusalReport
from oyez.service.app import Oyez
from oyez.service.system import System
from oyez.settings import Limits, Settings
from tests.support import py_client
from tests.support.clock import until
from tests.support.js_client import JsDriver
from tests.support.plaza import Moved, Opened, Said, contract, order, shop, system
from tests.support.shops import Market, serve
from tests.support.valkey import ValkeyServer

PATH = "/plaza/socket.io/"


@dataclass
class Plaza:
    """Two nodes that share a log and a database."""

    nodes: list[Market]

    def connect(self, name: str, number: str, node: int = 0, *, namespace: str = "shop", **claims: Any) -> Any:
        recovery = claims.pop("recovery", {})
        auth = {"token": self.token(name, **claims), **recovery}
        return connect(self.nodes[node].url, f"/{namespace}-{number}", path=PATH, auth=auth)

    def token(self, name: str, *, role: str | None = None, **claims: Any) -> str:
        return self.nodes[0].oyez.signer.sign_user(name, role, claims, 60.0)

    async def publish(self, event: str, data: Any, status: int = 200, **options: Any) -> Any:
        answer = await self.nodes[0].call("POST", "/plaza/events", {"event": event, "data": data, **options})
        assert answer.status_code == status, answer.text
        return answer.json()

    def names(self, node: int = 0) -> set[str]:
        return {*self.nodes[node].oyez.systems["plaza"].server.namespaces}


@asynccontextmanager
async def open_plaza(
    folder: Path, nodes: int = 2, observers: tuple[Observer, ...] = (), **settings: Any
) -> AsyncIterator[Plaza]:
    async with AsyncExitStack() as stack:
        given = Settings(port=0, oyez_data=str(folder), jwt_secret="s" * 32, **settings)
        made = [Oyez([system], given, observers=observers) for _ in range(nodes)]
        yield Plaza([await stack.enter_async_context(serve(one)) for one in made])


@pytest.fixture(params=["sqlite", "redis"])
async def plaza(request: pytest.FixtureRequest, tmp_path: Path, valkey: ValkeyServer) -> AsyncIterator[Plaza]:
    settings: Any = {} if request.param == "sqlite" else {"log_url": valkey.url}
    async with open_plaza(tmp_path, **settings) as plaza:
        yield plaza


async def test_events_go_to_the_namespace_with_the_id_on_all_nodes(plaza: Plaza) -> None:
    async with (
        plaza.connect("ada", "17") as ada,
        plaza.connect("bob", "17", node=1) as bob,
        plaza.connect("eve", "18", node=1) as eve,
    ):
        await plaza.publish("opened", {"shopId": "17", "text": "hello"})
        for client in (ada, bob):
            assert (await client.expect_event("opened")).args[0] == {"shopId": "17", "text": "hello"}
        await plaza.publish("said", {"text": "to 18"}, namespace="/shop-18")
        assert (await eve.expect_event("said")).args[0] == {"text": "to 18"}
        assert await ada.call("where") == {"ok": True, "shopId": "17", "namespace": "/shop-17"}
        assert (await ada.call("say", {"text": "hi"}))["ok"]
        assert (await bob.expect_event("said")).args[0] == {"text": "hi"}
        for client in (ada, bob, eve):
            await client.expect_nothing()


async def test_rooms_of_two_namespaces_have_the_same_names_and_are_not_the_same(plaza: Plaza) -> None:
    for number in ("17", "18"):
        room = f"/plaza/rooms/order:1/members/user:{'ada' if number == '17' else 'eve'}"
        answer = await plaza.nodes[0].call("PUT", room, params={"namespace": f"/shop-{number}"})
        assert answer.status_code == 201, answer.text
    answer = await plaza.nodes[0].call("PUT", "/plaza/rooms/order:1/members/user:ada")
    assert answer.status_code == 422 and "/shop-{shopId}" in answer.text
    async with plaza.connect("ada", "17") as ada, plaza.connect("eve", "18", node=1) as eve:
        assert (await ada.call("watch", "1"))["ok"] and (await eve.call("watch", "1"))["ok"]
        await plaza.publish("moved", {"orderId": "1", "step": 2}, namespace="/shop-18")
        assert (await eve.expect_event("moved")).args[0]["step"] == 2
        await ada.expect_nothing()
        problem = await plaza.publish("moved", {"orderId": "1", "step": 2}, status=422)
        assert "/shop-{shopId}" in problem["errors"][0]["expected"]
        # A member of a room of one shop is a stranger in the other one.
        answer = await plaza.nodes[0].call(
            "DELETE", "/plaza/rooms/order:1/members/user:ada", params={"namespace": "/shop-17"}
        )
        assert answer.status_code == 204
        await plaza.publish("moved", {"orderId": "1", "step": 3}, namespace="/shop-17")
        await ada.expect_nothing()
    async with plaza.connect("eve", "17") as eve:
        assert (await eve.call("watch", "1"))["error"]["code"] == "forbidden"


async def test_a_stranger_is_refused_also_when_it_signs_in_or_its_token_changes(plaza: Plaza) -> None:
    async with plaza.connect("ada", "17", namespace="staff", shop="17") as ada:
        answer = await plaza.publish("cash", None, namespace="/staff-17")
        assert answer["rooms"] == ["till"]
        await ada.expect_event("cash")
    attempts: list[dict[str, Any]] = [{"shop": "18"}, {}]
    for claims in attempts:
        with pytest.raises(ConnectRefused) as refused:
            async with plaza.connect("eve", "17", namespace="staff", **claims):
                pass
        assert refused.value.data["code"] == "forbidden"
    with pytest.raises(ConnectRefused) as refused:
        async with connect(plaza.nodes[0].url, "/staff-17", path=PATH):
            pass
    assert refused.value.data["code"] == "token_missing"
    async with plaza.connect("olga", "17", namespace="staff", role="owner") as olga:
        await plaza.publish("cash", None, namespace="/staff-17")
        # The owner of another shop may be in the namespace, and not in the room.
        await olga.expect_nothing()
    assert not {name for name in plaza.names() if name.startswith("/staff")}


async def test_events_about_users_have_their_names(plaza: Plaza) -> None:
    async with plaza.connect("bob", "17", node=1) as bob:
        assert (await bob.call("enter"))["ok"]
        assert (await bob.expect_event("entered")).args[0] == {"userId": "bob", "shopId": "17"}
        async with plaza.connect("ada", "17", nick="Ada") as ada:
            assert (await ada.call("enter"))["ok"]
            assert (await bob.expect_event("entered")).args[0]["userName"] == "Ada"
            assert (await ada.call("wave", {}))["ok"]
            assert (await bob.expect_event("wave")).args[0] == {"userId": "ada", "userName": "Ada"}
            assert (await ada.call("wave", {"userName": "Bob"}))["error"]["code"] == "invalid_data"
            assert (await bob.call("names"))["names"] == ["bob", "Ada"]
        assert (await bob.expect_event("exited")).args[0] == {"userId": "ada", "count": 1, "userName": "Ada"}
        async with plaza.connect("ada", "17", nick="Ada the Third") as ada:
            assert (await ada.call("wave", {}))["ok"]
            # What does not fit the field is left out.
            assert (await bob.expect_event("wave")).args[0] == {"userId": "ada", "userName": None}


async def test_only_members_of_a_required_room_are_in_its_namespace(plaza: Plaza) -> None:
    async def change(method: str, subject: str) -> None:
        path = f"/plaza/rooms/inside/members/{subject}"
        assert (await plaza.nodes[0].call(method, path, params={"namespace": "/club-7"})).is_success

    async def expect_refusal(number: str, **options: Any) -> None:
        with pytest.raises(ConnectRefused) as refused:
            async with plaza.connect("ada", number, node=1, namespace="club", **options):
                pass
        assert refused.value.data["code"] == "forbidden"

    await expect_refusal("7")
    with pytest.raises(ConnectRefused) as refused:
        async with connect(plaza.nodes[0].url, "/club-7", path=PATH):
            pass
    assert refused.value.data["code"] == "token_missing"
    await change("PUT", "user:ada")
    await expect_refusal("8")
    async with plaza.connect("ada", "7", node=1, namespace="club", recovery={"recovery": True}) as ada:
        await plaza.publish("gong", None, namespace="/club-7")
        await ada.expect_event("gong")
        # She is a member by her role too.
        await change("PUT", "role:visitor")
        await change("DELETE", "user:ada")
        await plaza.publish("gong", None, namespace="/club-7")
        await ada.expect_event("gong")
        recovery = {"recovery": True, "pid": ada.welcome["pid"], "offset": ada.offset}
        await change("DELETE", "role:visitor")
        assert await ada.expect_disconnect() == "io server disconnect"
    await expect_refusal("7", recovery=recovery)


async def test_a_client_recovers_what_it_missed_while_its_namespace_did_not_exist(plaza: Plaza) -> None:
    async with plaza.connect("ada", "17", recovery={"recovery": True}) as ada:
        await plaza.publish("opened", {"shopId": "17", "text": "first"})
        await ada.expect_event("opened")
        recovery = {"recovery": True, "pid": ada.welcome["pid"], "offset": ada.offset}
        await ada.connection.close()
    await until(lambda: not plaza.names(0) and not plaza.names(1))
    await plaza.publish("opened", {"shopId": "18", "text": "others"})
    await plaza.publish("opened", {"shopId": "17", "text": "missed"})
    async with plaza.connect("ada", "17", node=1, recovery=recovery) as ada:
        assert (await ada.expect_event("opened")).args[0]["text"] == "missed"
        result = (await ada.expect_event("oyez:recovery")).args[0]
        assert result["recovered"] and result["replayed"] == 1


async def test_official_clients(plaza: Plaza) -> None:
    url, token = plaza.nodes[0].url, plaza.token("ada")
    async with (
        JsDriver.start() as js,
        py_client.connect(plaza.nodes[1].url, path=PATH, namespace="/shop-17", auth={"token": token}) as py,
    ):
        browser = await js.connect(f"{url}/shop-17", path=PATH, auth={"token": plaza.token("bob")})
        assert (await browser.call("where"))["namespace"] == "/shop-17"
        await py.emit("say", {"text": "from Python"})
        assert await browser.expect_event("said") == [{"text": "from Python"}]
        assert (await browser.call("enter"))["ok"]
        assert await browser.expect_event("menu") == [{"shopId": "17", "text": "in /shop-17"}]
        assert await browser.expect_event("entered") == [{"userId": "bob", "shopId": "17"}]
        assert (await browser.call("exit"))["ok"]


async def test_the_server_api_finds_and_disconnects_users_in_all_namespaces(plaza: Plaza) -> None:
    async with plaza.connect("ada", "17") as ada, plaza.connect("ada", "18", node=1) as other:
        answer = await plaza.nodes[0].call("GET", "/plaza/users/ada/sockets")
        assert {(one["namespace"], one["id"]) for one in answer.json()["sockets"]} == {
            ("/shop-17", ada.sid),
            ("/shop-18", other.sid),
        }
        sent = {"event": "menu", "data": {"shopId": "17", "text": "today"}}
        answer = await plaza.nodes[1].call("POST", f"/plaza/sockets/{ada.sid}/events", sent)
        assert answer.is_success, answer.text
        assert (await ada.expect_event("menu")).args[0]["text"] == "today"
        assert (await plaza.nodes[0].call("POST", "/plaza/users/ada/disconnect")).status_code == 204
        for client in (ada, other):
            assert await client.expect_disconnect() == "io server disconnect"
    await until(lambda: not plaza.names(0) and not plaza.names(1))


class SeenNames(Observer):
    """The namespaces in all reports."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def published(self, report: PublishReport) -> None:
        self.seen.add(report.namespace)

    def delivered(self, report: DeliveryReport) -> None:
        self.seen.add(report.namespace)

    def connected(self, report: ConnectReport) -> None:
        self.seen.add(report.namespace)

    def refused(self, report: RefusalReport) -> None:
        self.seen.add(report.namespace)


async def test_any_number_of_names_leaves_nothing_behind(tmp_path: Path) -> None:
    names = SeenNames()
    limits = Limits(max_connects_per_minute=100_000)
    async with open_plaza(tmp_path, nodes=1, observers=(names,), limits=limits) as plaza:
        server = plaza.nodes[0].oyez.systems["plaza"].server
        async with plaza.connect("ada", "home") as ada:
            for number in range(500):
                client = await join(ada.connection, f"/shop-{number}", {"token": plaza.token("ada")})
                assert f"/shop-{number}" in plaza.names()
                await client.disconnect()
            token = {"token": plaza.token("ada")}
            for number in range(500):
                with pytest.raises(ConnectRefused):
                    await join(ada.connection, f"/staff-{number}", token)
            await ada.catch_up()
            assert plaza.names() == {"/shop-home"}
            assert [len(tasks) for tasks in server.namespaces.tasks] == [0, 0, 0]
        # Not the names that clients invent, which would be as many labels. Empty: the client's barrier.
        assert names.seen == {"/shop-{shopId}", "/staff-{shopId}", ""}


async def test_names_that_no_namespace_can_have_are_refused(tmp_path: Path) -> None:
    async with open_plaza(tmp_path, nodes=1) as plaza, plaza.connect("ada", "17") as ada:
        for name in (
            "/shop-",
            "/shop-{shopId}",
            "/shop-a b",
            "/shop-a?b",
            "/Shop-17",
        ):
            with pytest.raises(ConnectRefused, match="Invalid namespace"):
                await join(ada.connection, name, {"token": plaza.token("ada")})
        problem = await plaza.publish("said", {"text": "x"}, status=422, namespace="/shop-{shopId}")
        assert problem["errors"][0]["field"] == "namespace"
        problem = await plaza.publish("opened", {"shopId": "a b", "text": "x"}, status=422)
        assert problem["errors"][0]["field"] == "shopId"
        problem = await plaza.publish("opened", {"shopId": "18", "text": "x"}, status=422, namespace="/shop-17")
        assert "contradicts" in problem["errors"][0]["expected"]
        await ada.expect_nothing()


async def test_python_publishers_name_a_namespace(plaza: Plaza) -> None:
    key = plaza.nodes[0].oyez.signer.sign_service("plaza", 60.0)
    async with (
        Publisher(plaza.nodes[0].url, contract, key=key) as publisher,
        Publisher(plaza.nodes[0].url, "plaza", key=key) as by_name,
        plaza.connect("ada", "17", role="owner") as ada,
        plaza.connect("eve", "18", role="owner") as eve,
    ):
        assert (await ada.call("watch", "1"))["ok"]
        await publisher.publish(Said(text="here"), to=shop("17"))
        await publisher.publish(Said(text="everyone"), to=shop("17").everyone)
        await publisher.publish(Moved(orderId="1", step=1), to=order("17", "1"))
        await publisher.publish(Opened(shopId="17", text="by its data"))
        await by_name.publish("moved", {"orderId": "1", "step": 2}, to=shop("17"))
        for name in ("said", "said", "moved", "opened", "moved"):
            await ada.expect_event(name)
        await eve.expect_nothing()


async def test_a_guest_that_signs_in_needs_the_right_to_the_namespace(tmp_path: Path) -> None:
    desk = Contract("desk", roles=("guest", "user"), default_role="user", guests="guest")
    club = desk.namespace("/club-{clubId}", who=[role("guest"), own("clubId", claim="club")])
    news = club.room("news", members=own("clubId", claim="club"), on_connect=True)
    club.signal("fresh", to=[news], description="Something is new.")

    @club.command("auth", signs_in="token")
    class Auth(Command):
        """Sign in."""

        token: str

    settings = Settings(port=0, oyez_data=str(tmp_path), jwt_secret="s" * 32)
    async with serve(Oyez([System(contract=desk)], settings)) as market:
        sign = market.oyez.signer.sign_user
        async with connect(market.url, "/club-7", path="/desk/socket.io/") as client:
            refused = await client.call("auth", {"token": sign("eve", None, {"club": "8"}, 60.0)})
            assert refused["error"]["code"] == "forbidden"
            assert (await client.call("auth", {"token": sign("ada", None, {"club": "7"}, 60.0)}))["ok"]
            answer = await market.call("POST", "/desk/events", {"event": "fresh", "namespace": "/club-7"})
            assert answer.json()["rooms"] == ["news"]
            await client.expect_event("fresh")
