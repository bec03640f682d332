"""Old forms of an event: converted once, published with the new one, and recovered as any other event."""

from pathlib import Path

import pytest
from msgspec import Raw

from oyez.contract import Contract, Payload, Was
from oyez.documents.description import describe
from oyez.errors import ContractError, RefusedError
from oyez.log.memory import MemoryLog
from oyez.runtime.publisher import Publication, Publisher
from oyez.settings import Limits
from tests.runtime.old_forms import OrderMoved, OrderUpdate, contract, converted
from tests.support.js_client import JsClient, JsDriver
from tests.support.served import Served, serve

FILE = Path(__file__).parent / "old_forms.py"


def make_publisher() -> Publisher:
    return Publisher(contract, MemoryLog(), Limits())


def test_each_event_is_converted_once_for_the_same_rooms() -> None:
    converted.clear()
    old, new = make_publisher().prepare(OrderMoved(orderId="o1", to="shelf"), excluding=["order:o2"])
    assert (old.name, new.name) == ("order:update", "order:moved")
    assert (old.namespace, old.rooms, old.excluded, old.volatile) == (new.namespace, new.rooms, new.excluded, False)
    assert b'"status":"SHELF"' in old.data
    assert converted == ["o1"]


def test_without_a_counterpart_nothing_old_is_published() -> None:
    entries = make_publisher().prepare(OrderMoved(orderId="o1", to="hidden"))
    assert [entry.name for entry in entries] == ["order:moved"]


async def test_the_publisher_is_told_the_position_of_the_new_form() -> None:
    publisher = make_publisher()
    (position,) = await publisher.append([publisher.prepare(OrderMoved(orderId="o1", to="shelf"))])
    assert position is not None
    assert position.endswith("2")


def test_only_the_server_publishes_an_old_form() -> None:
    with pytest.raises(RefusedError, match="order:update is an old form of order:moved: publish order:moved"):
        make_publisher().prepare(OrderUpdate(order="o1", status="SHELF"))
    with pytest.raises(RefusedError, match="publish order:moved"):
        make_publisher().prepare_publication(
            Publication("order:update", Raw(b'{"order":"o1","status":"A"}'), "order:o1")
        )


class New(Payload):
    """A new form."""

    count: int


class Old(Payload):
    """An old form."""

    amount: int


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        (New(count=1), "convert of old returned New, expected Old or None"),
        (Old(amount="many"), "convert of old returned data that do not fit: amount"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_not_published(returned: Payload, error: str) -> None:
    faulty = Contract("faulty", roles=("buyer",))
    root = faulty.namespace("/")
    root.event("new", to=[root.everyone], was=[Was("old", Old, lambda new: returned)])(New)
    with pytest.raises(ContractError, match=error):
        Publisher(faulty, MemoryLog(), Limits()).prepare(New(count=1))


def test_wrong_declarations_are_reported() -> None:
    wrong = Contract("wrong", roles=("buyer",))
    root = wrong.namespace("/")
    root.event("new", to=[root.everyone, root.caller], was=Was("old", Old, "convert"))(New)  # type: ignore[arg-type]
    root.event("other", to=[root.everyone], was="old")(OrderMoved)  # type: ignore[arg-type]
    with pytest.raises(ContractError) as raised:
        wrong.build()
    for fault in (
        "convert is 'convert': expected a function",
        "only events for rooms have old forms",
        "event other: was='old'; write was=Was(",
    ):
        assert fault in str(raised.value)


def test_the_description_says_what_it_is() -> None:
    new, old = describe(contract)["namespaces"][0]["events"]
    assert (new["name"], new["old_form_of"]) == ("order:moved", None)
    assert (old["name"], old["old_form_of"]) == ("order:update", "order:moved")
    assert [target["room"] for target in old["to"]] == ["order:{orderId}"]


async def publish(served: Served, to: str) -> None:
    body = {"event": "order:moved", "data": {"orderId": "o1", "to": to}}
    assert (await served.request("POST", "/shop/events", body)).status_code == 200


async def expect_updates(client: JsClient, *statuses: str) -> None:
    """As an old app: it knows nothing but `order:update`."""
    assert [(await client.expect_event("order:update"))[0]["status"] for _ in statuses] == list(statuses)


async def test_old_and_new_apps_each_get_their_form_once_and_in_order_after_a_cut_too(tmp_path: Path) -> None:
    async with serve(tmp_path / "data", str(FILE)) as served, JsDriver.start() as js:
        old, new = [
            await js.connect(
                served.url,
                path="/shop/socket.io/",
                auth={"token": served.token(user)},
                transports=["websocket"],
                reconnection=True,
                reconnectionDelay=50,
            )
            for user in ("ada", "bob")
        ]
        for client in (old, new):
            await client.call("order:watch", "o1")
        await publish(served, "shelf")
        await expect_updates(old, "SHELF")
        assert (await new.expect_event("order:moved"))[0]["to"] == "shelf"
        assert (await new.expect_event("order:update"))[0]["at"].endswith("Z")
        await old.expect_event("order:moved")
        await old.cut()
        await publish(served, "van")
        await publish(served, "hidden")
        await publish(served, "door")
        await expect_updates(old, "VAN", "DOOR")
        assert [(await new.expect_event("order:moved"))[0]["to"] for _ in range(3)] == ["van", "hidden", "door"]
        assert [(await old.expect_event("order:moved"))[0]["to"] for _ in range(3)] == ["van", "hidden", "door"]
        await old.call("order:watch", "o1")
        assert [name for name, _ in old.events() if name.startswith("order:")] == []
