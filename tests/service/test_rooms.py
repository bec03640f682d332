"""Who enters and who leaves: functions of a system, presence, and the state for clients that join."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from oyez.client import Client, connect
from oyez.contract import CamelPayload, Command, Contract, Id, Millis, Payload, Presence, anyone, role
from oyez.errors import ContractError
from oyez.runtime import RoomHooks
from oyez.runtime import client as client_module
from oyez.runtime.hooks import check_room_hooks
from oyez.service.app import Oyez
from oyez.service.system import Services, System, SystemServices
from oyez.settings import Settings
from tests.support.auction import system
from tests.support.clock import PATIENCE
from tests.support.js_client import JsDriver
from tests.support.shops import Market, serve
from tests.support.tasks import Spawn
from tests.support.valkey import ValkeyServer


class House:
    """The auction at work."""

    def __init__(self, market: Market) -> None:
        self.market = market

    def connect(self, name: str, **auth: Any) -> AbstractAsyncContextManager[Client]:
        token = self.market.token(name)
        return connect(self.market.url, path="/auction/socket.io/", auth={"token": token, **auth})

    async def ask(self, method: str, path: str, **params: str) -> Any:
        answer = await self.market.call(method, f"/auction{path}", params=params)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def calls(self, room: str = "lot:1") -> list[tuple[str, str]]:
        """Which functions were called, with whom, in order."""
        return [(call["hook"], call["user"]) for call in await self.ask("GET", "/api/calls") if call["room"] == room]

    async def expect_calls(self, *expected: tuple[str, str], room: str = "lot:1") -> None:
        await until(lambda: self.calls(room), [*expected])

    async def present(self, room: str = "lot:1") -> list[str]:
        found = await self.ask("GET", f"/rooms/{room}/presence")
        assert found["count"] == len(found["users"])
        return [user["id"] for user in found["users"]]


async def until(ask: Callable[[], Awaitable[Any]], expected: Any, patience: float = PATIENCE) -> None:
    """Ask again until the answer is as expected."""
    found = None
    try:
        async with asyncio.timeout(patience):
            while (found := await ask()) != expected:  # noqa: ASYNC110 - another process may change it
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"expected {expected}, got {found}") from None


@asynccontextmanager
async def open_house(folder: Path, **settings: Any) -> AsyncIterator[House]:
    given = Settings(port=0, oyez_data=str(folder), jwt_secret="s" * 32, **settings)
    async with serve(Oyez([system], given)) as market:
        yield House(market)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as house:
        yield house


async def watch(client: Client, lot: str = "1") -> Any:
    """Join a lot; the room's state, which comes before the acknowledgement."""
    assert await client.call("watch", lot) == {"ok": True, "room": f"lot:{lot}"}
    return (await expect_state(client, f"lot:{lot}"))["bids"]


async def expect_state(client: Client, room: str) -> Any:
    while (state := (await client.expect_event("state")).args[0])["room"] != room:
        pass
    return state


# Entering and leaving.


async def test_entering_and_leaving_by_commands_is_reported_once(house: House) -> None:
    async with house.connect("ada") as ada, house.connect("bob") as bob:
        await watch(ada)
        assert (await ada.call("watch", "1"))["ok"]
        await house.expect_calls(("entered", "ada"))
        await watch(bob)
        assert (await ada.call("unwatch", "1"))["ok"]
        assert (await ada.call("unwatch", "1"))["ok"]
        await house.expect_calls(("entered", "ada"), ("entered", "bob"), ("left", "ada"))
        await watch(ada)
        await house.expect_calls(("entered", "ada"), ("entered", "bob"), ("left", "ada"), ("entered", "ada"))
    calls = await house.ask("GET", "/api/calls")
    (first,) = [
        call for call in calls if call["hook"] == "left" and call["room"] == "lot:1" and call["reason"] == "leave"
    ]
    assert first["value"] == "1" and first["since"] < first["at"]


async def test_a_client_that_disconnects_leaves_all_rooms_at_once(house: House) -> None:
    async with house.connect("ada") as ada:
        await watch(ada)
        await house.expect_calls(("entered", "ada"))
    await house.expect_calls(("entered", "ada"), ("left", "ada"))
    await house.expect_calls(("entered", "ada"), ("left", "ada"), room="hall")
    reasons = {call["reason"] for call in await house.ask("GET", "/api/calls") if call["hook"] == "left"}
    assert reasons == {"client namespace disconnect"}


async def test_control_entries_and_removed_members_enter_and_leave(house: House) -> None:
    async with house.connect("ada") as ada:
        await house.ask("POST", "/api/moves", action="join", user="ada", lot="1")
        await house.expect_calls(("entered", "ada"))
        await house.ask("POST", "/api/moves", action="leave", user="ada", lot="1")
        await house.expect_calls(("entered", "ada"), ("left", "ada"))
        await house.ask("PUT", "/rooms/club:1/members/user:ada")
        assert (await ada.call("club:enter", "1"))["ok"]
        await house.expect_calls(("entered", "ada"), room="club:1")
        await house.ask("DELETE", "/rooms/club:1/members/user:ada")
        await house.expect_calls(("entered", "ada"), ("left", "ada"), room="club:1")


async def test_a_broken_connection_that_recovers_is_no_leaving(house: House) -> None:
    async with house.connect("bob") as bob:
        await watch(bob)
        async with house.connect("ada") as ada:
            await watch(ada)
            await house.expect_calls(("entered", "bob"), ("entered", "ada"))
            ada.connection.drop()
            async with house.connect("ada", **ada.recovery) as back:
                assert back.sid == ada.sid
                assert await house.present() == ["bob", "ada"]
                # The recovered client knows the state: it receives no second one, also not if it joins again.
                assert (await back.call("watch", "1"))["ok"]
                await back.catch_up()
                assert [event.name for event in back.pending if event.name == "state"] == []
                back.connection.drop()
                async with house.connect("ada", **back.recovery) as again:
                    assert again.sid == ada.sid
                    assert (await again.call("unwatch", "1"))["ok"]
                    await house.expect_calls(("entered", "bob"), ("entered", "ada"), ("left", "ada"))
        await bob.catch_up()
        changes = [(event.name, event.args[0]["userId"]) for event in bob.pending if event.name.startswith("lot:")]
        assert changes == [("lot:joined", "bob"), ("lot:joined", "ada"), ("lot:left", "ada")]


async def test_a_client_that_does_not_come_back_leaves_in_time(house: House) -> None:
    async with house.connect("bob") as bob, house.connect("ada") as ada:
        await watch(bob)
        await house.expect_calls(("entered", "bob"))
        await watch(ada)
        await house.expect_calls(("entered", "bob"), ("entered", "ada"))
        ada.connection.drop()
        left = (await bob.expect_event("lot:left", timeout=15.0)).args[0]
        await house.expect_calls(("entered", "bob"), ("entered", "ada"), ("left", "ada"))
        (call,) = [call for call in await house.ask("GET", "/api/calls") if call["hook"] == "left" and call["value"]]
        assert call["reason"] == "transport close"
        assert (left["userId"], left["count"]) == ("ada", 1)
        # The session lives on: a client that recovers now enters again.
        async with house.connect("ada", **ada.recovery) as back:
            assert back.sid == ada.sid
            joined = (await bob.expect_event("lot:joined")).args[0]
            while joined["userId"] != "ada" or joined["count"] != 2:
                joined = (await bob.expect_event("lot:joined")).args[0]
            await house.expect_calls(("entered", "bob"), ("entered", "ada"), ("left", "ada"), ("entered", "ada"))


async def test_a_function_that_raises_hangs_or_cannot_yet_is_logged_and_does_not_stop_others(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    async with house.connect("raiser") as raiser, house.connect("later") as later, house.connect("ada") as ada:
        for client in (raiser, later, ada):
            await watch(client)
        await until(lambda: sorted_calls(house), [("entered", "ada"), ("entered", "later")])
    await until(
        lambda: sorted_calls(house),
        [("entered", "ada"), ("entered", "later"), ("left", "ada"), ("left", "later"), ("left", "raiser")],
    )
    logged = [record for record in caplog.records if "a room's function failed" in record.getMessage()]
    assert len(logged) == 2
    assert all(word in logged[0].getMessage() for word in ("entered", "auction", "raiser"))


async def sorted_calls(house: House) -> list[tuple[str, str]]:
    return sorted(await house.calls())


async def test_left_waits_until_entered_has_been_given_up(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async with house.connect("hanger") as hanger:
        await watch(hanger)
        # Recorded: otherwise it would never have been a stay.
        await until(house.present, ["hanger"])
        assert (await hanger.call("unwatch", "1"))["ok"]
        await until(lambda: house.calls(), [("left", "hanger")])
    assert any("did not finish in time" in record.getMessage() for record in caplog.records)


# Presence.


async def test_a_user_with_many_sockets_comes_once_and_goes_once(house: House) -> None:
    async with house.connect("bob") as bob:
        await watch(bob)
        opened = [house.connect("ada") for _ in range(15)]
        adas = await asyncio.gather(*(one.__aenter__() for one in opened))
        await asyncio.gather(*(watch(ada) for ada in adas))
        await until(lambda: house.present(), ["bob", "ada"])
        for number, ada in enumerate(adas):
            if number % 2:
                assert (await ada.call("unwatch", "1"))["ok"]
        assert await house.present() == ["bob", "ada"]
        await asyncio.gather(*(one.__aexit__(None, None, None) for one in opened))
        left = (await bob.expect_event("lot:left")).args[0]
        assert (left["userId"], left["count"]) == ("ada", 1)
        await until(lambda: house.present(), ["bob"])
        await bob.catch_up()
        changes = [event.args[0]["userId"] for event in bob.pending if event.name.startswith("lot:")]
        assert changes == ["bob", "ada"]


def make_crowd() -> System:
    """Users in a hall are told how many they are."""
    contract = Contract("crowd", roles=("user",), default_role="user")
    root = contract.namespace("/")
    presence = Presence(joined="hall:size", left="hall:size", count="users")
    hall = root.room("hall", members=anyone(), join="enter", leave="leave", presence=presence)

    @root.event("hall:size", to=[hall], arguments="positional")
    class Size(Payload):
        """The number of users in the hall."""

        users: int

    return System(contract=contract)


async def test_the_number_of_users_alone_is_published_when_it_has_changed(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        market = await stack.enter_async_context(serve(Oyez([make_crowd()], Settings(port=0, oyez_data=str(tmp_path)))))

        async def enter(name: str) -> Client:
            client = await stack.enter_async_context(market.connect("crowd", name))
            assert (await client.call("enter"))["ok"]
            return client

        ada, _ = await enter("ada"), await enter("ada")
        assert (await ada.expect_event("hall:size")).args[0] == 1
        others = await asyncio.gather(*(enter(f"user{number}") for number in range(20)))
        sizes = [1]
        while sizes[-1] < 21:
            sizes.append((await ada.expect_event("hall:size")).args[0])
        await asyncio.gather(*(other.call("leave") for other in others))
        while sizes[-1] > 1:
            sizes.append((await ada.expect_event("hall:size")).args[0])
        top = sizes.index(21)
        assert sizes == sorted(set(sizes[:top])) + sorted(set(sizes[top:]), reverse=True)
        await ada.catch_up()
        assert [event for event in ada.pending if event.name == "hall:size"] == []


def make_fleets() -> System:
    """An office that is told when a driver of a fleet has gone. Ids are numbers."""
    contract = Contract("fleets", roles=("driver", "office"), default_role="driver")
    root = contract.namespace("/")
    office = root.room("office", members=role("office"), on_connect=True)
    presence = Presence(left="driver:gone", user="driver")
    root.room("fleet:{fleet}", members=anyone(), join="drive", presence=presence)
    both = Presence(joined="lobby:users", left="lobby:users")
    lobby = root.room("lobby", members=anyone(), join="wait", presence=both)

    @root.event("driver:gone", to=[office])
    class DriverGone(CamelPayload):
        """A driver of a fleet has gone."""

        driver: int
        fleet: int
        last_seen: Millis

    @root.event("lobby:users", to=[lobby, office], arguments="positional")
    class Users(Payload):
        """The number of users in the lobby."""

        count: int

    return System(contract=contract)


async def test_events_about_users_may_go_to_other_rooms(tmp_path: Path) -> None:
    given = Settings(port=0, oyez_data=str(tmp_path), jwt_secret="s" * 32)
    async with serve(Oyez([make_fleets()], given)) as market:
        token = market.oyez.signer.sign_user("1", "office", {}, 60.0)
        async with connect(market.url, path="/fleets/socket.io/", auth={"token": token}) as office:
            async with market.connect("fleets", "42") as one, market.connect("fleets", "007") as other:
                for client in (one, other):
                    assert (await client.call("drive", 7))["ok"]
                assert (await one.call("wait"))["ok"]
                for client in (one, office):
                    assert (await client.expect_event("lobby:users")).args[0] == 1
            # Nothing says that the other one has gone: its id is not a whole number.
            gone = (await office.expect_event("driver:gone")).args[0]
            assert abs(time.time() * 1000 - gone.pop("lastSeen")) < 60_000
            assert gone == {"driver": 42, "fleet": 7}
            assert (await office.expect_event("lobby:users")).args[0] == 0


async def test_presence_is_only_where_it_is_declared(house: House) -> None:
    for room, status in (("plain:1", 422), ("nothing", 422), ("lot:1", 200)):
        assert (await house.market.call("GET", f"/auction/rooms/{room}/presence")).status_code == status
    assert (await house.market.request("GET", "/auction/rooms/lot:1/presence")).status_code == 401


async def test_a_guest_who_signs_in_becomes_another_user_in_the_room(tmp_path: Path) -> None:
    contract = Contract("foyer", roles=("user", "viewer"), default_role="user", guests="viewer")
    root = contract.namespace("/")
    foyer = root.room("foyer", members=anyone(), join="enter", presence=Presence(joined="came", left="went"))

    @root.command("auth", signs_in="token")
    class SignIn(Command):
        """Sign in."""

        token: str

    class Present(Payload):
        """Who is in the foyer."""

        count: int
        users: list[str]

    @root.command("who", reply=Present)
    class Who(Command):
        """Ask who is in the foyer."""

    async def list_present(command: Who, client: client_module.Client) -> Present:
        present = await client.present(foyer())
        return Present(count=present.count, users=[user.id for user in present.users])

    @root.event("came", to=[foyer])
    class Came(CamelPayload):
        """A user has come."""

        user_id: Id

    @root.event("went", to=[foyer])
    class Went(CamelPayload):
        """A user has gone."""

        user_id: Id

    def build(services: Services) -> SystemServices:
        return SystemServices(handlers={Who: list_present})

    given = Settings(port=0, oyez_data=str(tmp_path), jwt_secret="s" * 32)
    async with (
        serve(Oyez([System(contract=contract, build=build)], given)) as market,
        connect(market.url, path="/foyer/socket.io/") as guest,
    ):
        assert (await guest.call("enter"))["ok"]
        (first,) = (await guest.expect_event("came")).args
        assert first["userId"].startswith("guest:")
        assert (await guest.call("auth", {"token": market.token("ada")}))["ok"]
        assert (await guest.expect_event("came")).args == [{"userId": "ada"}]
        assert (await guest.expect_event("went")).args == [first]
        assert await guest.call("who") == {"ok": True, "count": 1, "users": ["ada"]}


# The state for clients that join.


async def test_nothing_is_lost_or_doubled_between_the_state_and_joining(house: House, spawn: Spawn) -> None:
    stop = asyncio.Event()
    placed = 0

    async def bid() -> None:
        nonlocal placed
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            begun = loop.time()
            await house.ask("POST", "/api/bids", lot="1")
            placed += 1
            # As long as a bid takes on this machine: in a room that has events all the time, the two may overlap.
            await asyncio.sleep(max(0.004, loop.time() - begun))

    bidding = spawn(bid())
    starts: list[int] = []
    for _ in range(25):
        async with house.connect("ada") as ada:
            assert (await ada.call("watch", "1"))["ok"]
            while placed < 3 or not [event for event in ada.pending if event.name == "bid"]:
                await ada.call("unwatch", "2")
                await asyncio.sleep(0.01)
            names = [(event.name, event.args[0]) for event in ada.pending]
            mine = [(name, data) for name, data in names if name == "bid" or data.get("room") == "lot:1"]
            assert mine[0][0] == "state"
            numbers = [data["number"] for _, data in mine[1:]]
            assert numbers == list(range(mine[0][1]["bids"] + 1, mine[0][1]["bids"] + 1 + len(numbers)))
            starts.append(mine[0][1]["bids"])
    stop.set()
    await bidding
    assert len(set(starts)) > 1


async def test_a_state_that_fails_refuses_the_join(house: House) -> None:
    async with AsyncExitStack() as stack:
        for name in ("unlucky", "misfit"):
            client = await stack.enter_async_context(house.connect(name))
            answer = await client.call("watch", "1")
            assert (answer["ok"], answer["error"]["code"]) == (False, "internal")


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_the_state_of_a_room_on_connecting_comes_once(kind: str, tmp_path: Path, valkey: ValkeyServer) -> None:
    settings = {"redis_url": valkey.url, "redis_prefix": "rooms-on-connect"} if kind == "redis" else {}
    async with open_house(tmp_path, **settings) as house, JsDriver.start() as js:
        auth = {"token": house.market.token("ada")}
        options: dict[str, Any] = {"reconnection": True, "reconnectionDelay": 50, "reconnectionDelayMax": 100}
        client = await js.connect(house.market.url, path="/auction/socket.io/", auth=auth, **options)
        assert (await client.expect_event("state"))[0] == {"room": "hall", "bids": 0}
        assert (await client.call("watch", "1"))["ok"]
        assert (await client.expect_event("state"))[0] == {"room": "lot:1", "bids": 0}
        await client.expect_event("lot:joined")
        await client.cut()
        report = await client.expect("connect")
        assert report["recovered"]
        await house.ask("POST", "/api/bids", lot="1")
        assert (await client.expect_event("bid"))[0]["number"] == 1
        assert [name for name, _ in client.events()] == ["oyez:recovery"]
        await house.expect_calls(("entered", "ada"))


# What a contract may declare.


def test_mistakes_are_found_at_the_start() -> None:
    contract = Contract("wrong", roles=("user",), default_role="user")
    root = contract.namespace("/")

    class Came(CamelPayload):
        """A user has come."""

        user_id: Id
        colour: str

    class Gone(Payload):
        """A user has gone."""

        who: Id

    root.room("a", members=anyone(), presence=Presence(joined="came", left="gone"))
    b = root.room("b:{id}", members=anyone(), presence=Presence(joined=Came, left="nothing", user="user_id"))
    root.room("c", members=anyone(), presence="came")  # type: ignore[arg-type]
    root.event("came", to=[b], volatile=True, example={"userId": "a", "colour": "red"})(Came)
    root.event("gone", to=[b], volatile=True, example={"who": "a"})(Gone)
    with pytest.raises(ContractError) as raised:
        contract.build()
    came, gone = "presence joined: came", "presence left: gone"
    away = (
        "does not go to this room; list the room in its to=[…], without .of(…), or only other targets that need no"
        " name: rooms without placeholders, everyone, or room.of(…)"
    )
    needs = (
        "needs a string or integer field {} for the user's id, or name another with user='…'; "
        "or only a field count for the number of users"
    )
    assert str(raised.value).splitlines() == [
        f"contract wrong: room {error}"
        for error in (
            f"a: {came} {away}",
            f"a: {came} has a field colour that nothing fills; the server fills userId, count, lastSeen",
            f"a: {gone} {away}",
            f"a: {gone} {needs.format('userId')}",
            f"a: {gone} has a field who that nothing fills; the server fills userId, count, lastSeen",
            f"b:{{id}}: {came} {needs.format('user_id')}",
            f"b:{{id}}: {came} has a field userId that nothing fills; the server fills user_id, count, lastSeen, id",
            "b:{id}: presence left: nothing is not an event of namespace /; declare it there",
            "c: presence is a str: write Presence(joined='…', left='…')",
        )
    ]


def test_functions_that_do_not_fit_are_found_at_the_start() -> None:
    contract = Contract("wrong", roles=("user",), default_role="user")
    room = contract.namespace("/").room("a", members=anyone())
    other = Contract("other", roles=("user",)).namespace("/").room("b", members=anyone())

    async def entered(client: Any) -> None: ...

    with pytest.raises(ContractError) as raised:
        check_room_hooks(contract, {room: RoomHooks(entered=entered), other: RoomHooks()})  # type: ignore[arg-type]
    assert "room a: entered: " in str(raised.value) and "is called with (client, room)" in str(raised.value)
    assert "<Room / b>, which is not a room of the contract" in str(raised.value)
    with pytest.raises(ContractError, match="write a dict of rooms"):
        check_room_hooks(contract, [room])
