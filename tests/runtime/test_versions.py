"""Versions of clients: each receives events, and sends commands, in the forms of its version."""

from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from oyez.contract import Command, Contract, Payload, Was, anyone
from oyez.errors import ContractError, RefusedError
from oyez.log.memory import MemoryLog
from oyez.runtime.publisher import Publication, Publisher
from oyez.service.system import System
from oyez.settings import Limits
from oyez.testing import Harness
from tests.runtime import versions_system
from tests.runtime.versions_system import OrderPlaced, Place, back, contract, converted, orders, system
from tests.support.js_client import JsConnectError, JsDriver
from tests.support.served import serve

FILE = Path(versions_system.__file__)
MOVED = {"orderId": "o1", "place": {"name": "shelf", "shelf": 7}}
IMAGE = b"\x00\x01\xff"


@pytest.fixture(scope="module")
def oyez_system() -> System:
    return system


@pytest.fixture
def shop(oyez: Harness) -> Harness:
    return oyez


async def watch(shop: Harness, version: str, user: str = "ada", **options: Any) -> Any:
    """A client of a version that watches an order, and has received the order's state."""
    client = await shop.connect(user, version=version, **options)
    await client.call("order:watch", "o1")
    await client.expect_event("order:update" if version == "1" else "order:moved")
    return client


async def move(shop: Harness, name: str = "shelf") -> None:
    await shop.publish("order:moved", {"orderId": "o1", "place": {"name": name, "shelf": 7}})


async def test_each_version_receives_its_form_and_nothing_else(shop: Harness) -> None:
    first, second, third = [await watch(shop, version) for version in ("1", "2", "3")]
    await move(shop)
    assert (await first.expect_event("order:update")).args == ["o1", "SHELF"]
    old = (await second.expect_event("order:moved")).data
    assert (old["orderId"], old["place"], sorted(old)) == ("o1", "shelf", ["at", "orderId", "place"])
    assert (await third.expect_event("order:moved")).data["place"] == {"name": "shelf", "shelf": 7}
    for client in (first, second, third):
        await client.expect_nothing()


async def test_an_event_is_converted_once_for_all_its_recipients(shop: Harness) -> None:
    for user in ("ada", "bob", "cy"):
        for version in ("1", "2"):
            await watch(shop, version, user)
    converted.clear()
    await move(shop)
    assert converted == {"1": 1, "2": 1}


async def test_a_form_that_has_nothing_for_an_event_is_left_out(shop: Harness) -> None:
    first, second = [await watch(shop, version) for version in ("1", "2")]
    for name in ("shelf", "hidden", "door"):
        await move(shop, name)
    assert [(await first.expect_event("order:update")).args[1] for _ in range(2)] == ["SHELF", "DOOR"]
    await first.expect_nothing()
    assert [(await second.expect_event("order:moved")).data["place"] for _ in range(3)] == ["shelf", "hidden", "door"]


async def test_a_function_that_fails_concerns_only_old_clients(shop: Harness) -> None:
    second, third = [await watch(shop, version) for version in ("2", "3")]
    await move(shop, "broken")
    await move(shop)
    await third.expect_event("order:moved")
    await third.expect_event("order:moved")
    assert (await second.expect_event("order:moved")).data["place"] == "shelf"
    await second.expect_nothing()


async def test_missed_events_are_replayed_in_the_form_of_the_version(shop: Harness) -> None:
    first = await watch(shop, "1", auth={"recovery": True})
    await move(shop)
    assert (await first.expect_event("order:update")).args == ["o1", "SHELF"]
    await first.drop()
    for name in ("van", "hidden", "door"):
        await move(shop, name)
    assert await first.reconnect()
    assert [(await first.expect_event("order:update")).args[:2] for _ in range(2)] == [["o1", "VAN"], ["o1", "DOOR"]]
    await first.expect_nothing()


async def test_the_newest_event_of_a_room_and_several_namespaces_with_binary(shop: Harness) -> None:
    await shop.publish("order:at", {"orderId": "o1", "x": 1, "y": 2})
    first, third = [await watch(shop, version) for version in ("1", "3")]
    assert (await first.expect_event("order:at")).args == ["o1", "1,2"]
    assert (await third.expect_event("order:at")).data == {"orderId": "o1", "x": 1, "y": 2}
    behind = await shop.connect("bob", version="1", namespace="/back")
    await behind.call("parcel:watch", "o1")
    await shop.publish(versions_system.Picture(order="o1", image=IMAGE, width=3))
    for old in (first, behind):
        assert (await old.expect_event("picture")).data == {"order": "o1", "jpeg": IMAGE}
    assert (await third.expect_event("picture")).data == {"order": "o1", "image": IMAGE, "width": 3}


async def test_a_command_in_its_old_form(shop: Harness) -> None:
    first, third = [await watch(shop, version) for version in ("1", "3")]
    assert await first.call("move", "o1", "van") == {"ok": True, "where": "van"}
    assert (await first.expect_event("order:update")).args == ["o1", "VAN"]
    assert (await third.expect_event("order:moved")).data["place"] == {"name": "van", "shelf": 1}
    assert (await third.call("order:move", {"orderId": "o1", "place": {"name": "x", "shelf": 2}}))["ok"] is True
    await first.emit("move", "o2", "van")
    await first.expect_error("forbidden")
    await first.emit("move", "o1")
    await first.expect_error("invalid_data")
    await first.emit("move", "o1", "moon")
    await first.expect_error("no_such_place")
    await third.emit("move", "o1", "van")
    await third.expect_error("unknown_event")
    await first.emit("order:move", MOVED)
    await first.expect_error("unknown_event")


async def test_a_relay_is_sent_and_received_in_the_form_of_each_version(shop: Harness) -> None:
    old, middle, new = [await watch(shop, str(n), user) for n, user in enumerate(("ada", "bob", "cy"), 1)]
    assert await old.call("note", "o1", "hello") == {"ok": True}
    note = {"orderId": "o1", "text": "hello", "userId": "ada"}
    assert (await middle.expect_event("note:o1")).data == note
    assert (await new.expect_event("note:o1")).data == {**note, "language": "en"}
    assert await middle.call("note:o1", {"text": "yes"}) == {"ok": True}
    assert (await old.expect_event("note")).args == ["o1", "yes"]
    assert (await new.expect_event("note:o1")).data["userId"] == "bob"
    assert await new.call("note:o1", {"text": "new", "language": "de"}) == {"ok": True}
    assert (await middle.expect_event("note:o1")).data == {"orderId": "o1", "text": "new", "userId": "cy"}
    await old.expect_nothing()
    # Rights hold in every form.
    await middle.emit("note:o1", {"text": "not me", "userId": "ada"})
    await middle.expect_error("forbidden")
    await old.emit("note", "o2", "no member")
    await old.expect_error("forbidden")
    await old.emit("note", "o1")
    await old.expect_error("invalid_data")
    await new.expect_nothing()


async def test_the_version_of_a_client(shop: Harness) -> None:
    assert (await watch(shop, "1", auth={})).connected
    silent = await shop.connect("ada", version="")
    numbered = await shop.connect("ada", auth={"version": 2})
    asked = await shop.connect("ada", version="", query={"version": "3"})
    for client in (silent, numbered, asked):
        await client.call("order:watch", "o1")
    await silent.expect_event("order:update")
    assert (await numbered.expect_event("order:moved")).data["place"] == "start"
    assert (await asked.expect_event("order:moved")).data["place"] == {"name": "start", "shelf": 0}
    for unknown in ("4", ["1"], True, "1" * 1_000):
        data = await shop.expect_refused("unknown_version", "ada", auth={"version": unknown})
        assert data["code"] == "unknown_version"


async def test_official_clients_of_three_versions(tmp_path: Path) -> None:
    async with serve(tmp_path / "data", str(FILE)) as served, JsDriver.start() as js:
        options: dict[str, Any] = {"path": "/shop/socket.io/", "transports": ["websocket"]}
        token = served.token("ada")
        with pytest.raises(JsConnectError, match=r"has no version '9': it has 1, 2, 3\. Update"):
            await js.connect(served.url, auth={"token": token, "version": "9"}, **options)
        again = {"reconnection": True, "reconnectionDelay": 50, **options}
        old, new = [
            await js.connect(served.url, auth={"token": token, "version": version}, **again) for version in ("1", "3")
        ]
        for client, name in ((old, "order:update"), (new, "order:moved")):
            await client.call("order:watch", "o1")
            await client.expect_event(name)
        await served.publish("order:moved", MOVED, system="shop")
        assert (await old.expect_event("order:update"))[:2] == ["o1", "SHELF"]
        assert (await new.expect_event("order:moved"))[0]["place"] == MOVED["place"]
        await old.cut()
        await served.publish("order:moved", {**MOVED, "place": {"name": "van", "shelf": 1}}, system="shop")
        assert (await old.expect_event("order:update"))[:2] == ["o1", "VAN"]
        await old.call("order:watch", "o1")
        # A relay, which the old client misses and recovers, and which it sends.
        await old.cut()
        await new.call("note:o1", {"text": "hello", "language": "de"})
        assert (await old.expect_event("note"))[:2] == ["o1", "hello"]
        assert await old.call("note", "o1", "hi") == {"ok": True}
        note = await new.expect_event("note:o1")
        assert note[0] == {"orderId": "o1", "text": "hi", "userId": "ada", "language": "en"}
        types = (await served.request("GET", "/shop/types.ts?version=1")).text
        assert '"order:update": (' in types and "PublishableEvents" not in types
        assert (await served.request("GET", "/shop/types.ts?version=9")).status_code == 404


def make_publisher() -> Publisher:
    return Publisher(contract, MemoryLog(), Limits())


def test_only_the_newest_form_is_published() -> None:
    with pytest.raises(ContractError, match="but of an old form of order:moved: publish OrderMoved"):
        make_publisher().prepare(OrderPlaced(orderId="o1", place="x"))
    with pytest.raises(RefusedError):
        make_publisher().prepare_publication(Publication("order:update", Raw(b'["o1","A"]'), "order:o1"))
    entries = make_publisher().prepare(versions_system.OrderMoved(orderId="o1", place=Place(name="x", shelf=1)))
    assert [entry.name for entry in entries] == ["order:moved"]
    assert (back.name, orders.namespace) == ("/back", "/")


class New(Payload):
    """A new form."""

    count: int


class Old(Payload):
    """An old form."""

    amount: int


class Go(Command):
    """A command."""

    by: int


class OldGo(Command):
    """Its old form."""

    by: str


def declare(was: Any, command: Any = (), versions: Any = ("1", "2"), **event: Any) -> Contract:
    wrong = Contract("wrong", roles=("buyer",), versions=versions)
    root = wrong.namespace("/")
    root.room("all", members=anyone(), on_connect=True)
    root.event("new", to=[root.everyone], was=was, **event)(New)
    root.event("other", to=[root.everyone])(Old)
    root.command("go", was=command)(Go)
    return wrong


def declare_relay(was: Any) -> Contract:
    wrong = Contract("wrong", roles=("buyer",), versions=("1", "2"))
    root = wrong.namespace("/")
    room = root.room("all", members=anyone(), on_connect=True)
    root.relay("new", to=[room], was=was)(New)
    return wrong


def good(new: New) -> Old:
    return Old(amount=new.count)


def fail(value: Any) -> Any:
    raise KeyError("price")


def go(old: OldGo) -> Go:
    return Go(by=int(old.by))


class Older(Payload):
    """Still older."""

    size: int


WRONG: list[tuple[str, Contract]] = [
    ("event new: convert to the form of version 1 failed: KeyError: 'price'", declare(Was("1", Old, fail))),
    (
        "convert to the form of version 1 returned New: expected Old or None",
        declare(Was("1", Old, lambda new: new)),
    ),
    (
        "returned data that do not fit: amount",
        declare(Was("1", Old, lambda new: Old(amount="many"))),  # type: ignore[arg-type]
    ),
    ("has an old form, and the contract has no versions", declare(Was("1", Old, good), versions=())),
    ("was=Was('2', …): expected a version before the newest one: '1'", declare(Was("2", Old, good))),
    ("has two forms of version 1", declare([Was("1", Old, good), Was("1", Older, good)])),
    ("convert is 'good': expected a function", declare(Was("1", Old, "good"))),  # type: ignore[arg-type]
    ("was='old:name'; write was=Was(", declare("old:name")),
    ("its form of version 1: OldGo is not a Payload", declare(Was("1", OldGo, good))),
    ("event other: is other in version 1, and so is new; rename one", declare(Was("1", Old, good, name="other"))),
    ("example and reply are for commands", declare(Was("1", Old, good, example={"amount": 1}))),
    (
        "command go: convert from the form of version 1 failed: ValueError: invalid literal",
        declare((), Was("1", OldGo, go)),
    ),
    ("its form of version 1: its example does not fit: by", declare((), Was("1", OldGo, go, example={"by": 1}))),
    ("an old reply needs both reply=… and convert_reply=…", declare((), Was("1", OldGo, go, reply=str))),
    (
        "its form of version 1: has a reply, and the command has none",
        declare((), Was("1", OldGo, go, example={"by": "5"}, reply=str, convert_reply=str)),
    ),
    ("relay new: its form of version 1: needs convert_back=…", declare_relay(Was("1", Old, good))),
    (
        "relay new: its form of version 1: expected one Payload, got ",
        declare_relay(Was("1", OldGo, good, convert_back=good)),
    ),
    (
        "command new: convert from the form of version 1 returned Older: expected New",
        declare_relay(Was("1", Old, good, convert_back=lambda old: Older(size=old.amount))),
    ),
    ("event new: its form of version 1: convert_back is for relays", declare(Was("1", Old, good, convert_back=good))),
    ("versions: '': expected 1 to 64 letters", declare((), versions=("", "2"))),
    ("version '1' is declared twice", declare((), versions=("1", "1"))),
    ("versions is '12': list the versions", declare((), versions="12")),
]


@pytest.mark.parametrize(("fault", "wrong"), WRONG, ids=[fault for fault, _ in WRONG])
def test_wrong_declarations_are_one_plain_sentence(fault: str, wrong: Contract) -> None:
    with pytest.raises(ContractError) as raised:
        wrong.build()
    assert fault in str(raised.value)


def test_an_old_command_may_have_an_example_with_which_it_is_tried() -> None:
    declare((), Was("1", OldGo, go, example={"by": "5"})).build()
