"""Orders of `rez`: what each step stores and sends, to which clients, and what is refused."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from oyez.contract import Money, Time
from oyez.errors import RefusedError
from oyez.log.log import Entry
from oyez.systems.rez import orders
from oyez.systems.rez.channels import delete_subscriptions, store_subscription
from oyez.systems.rez.contract import order as order_room
from oyez.systems.rez.orders import Cancellation, Eta, OrderMove, OrderPlacing
from oyez.systems.rez.states import ORDERS
from oyez.testing import Harness
from tests.support.tasks import Spawn
from tests.systems.rez.market import take_names

PLACING = OrderPlacing(order_number="RZ-1", customer_id="ada")
CANCELLATION = Cancellation(reason="Broken.", cancelled_by="store", refund_amount=Money("9.9"), refund_status="pending")


async def place(oyez: Harness, order_id: str = "o1") -> None:
    await oyez.run(orders.place_order, order_id, PLACING)
    await oyez.take_published()


async def move(oyez: Harness, *statuses: str) -> None:
    for status in statuses:
        await oyez.run(orders.move_order, "o1", OrderMove(status=status))  # type: ignore[arg-type]


async def test_an_order_is_placed_once(oyez: Harness) -> None:
    order, new = await oyez.run(orders.place_order, "o1", PLACING)
    assert (order.status, order.customer_id, new) == ("placed", "ada", True)
    (told,) = await oyez.take_published()
    assert (told.name, told.rooms) == ("order_status_update", ("order:o1",))
    assert told.data == {
        "timestamp": "2023-11-14T22:13:20.000Z",
        "orderId": "o1",
        "orderNumber": "RZ-1",
        "status": "placed",
        "message": "Your order has been placed.",
    }
    assert (await oyez.run(orders.place_order, "o1", PLACING))[1] is False
    assert await oyez.take_published() == []
    with pytest.raises(RefusedError) as refused:
        await oyez.run(orders.place_order, "o1", OrderPlacing(order_number="RZ-1", customer_id="bob"))
    assert refused.value.refusal.code == "already_there"


async def test_an_order_moves_on_to_its_end(oyez: Harness) -> None:
    await place(oyez)
    for status in ("confirmed", "preparing", "ready", "dispatched", "out_for_delivery"):
        await move(oyez, status)
        (told,) = await oyez.take_published()
        assert (told.name, told.data["status"], told.rooms) == ("order_status_update", status, ("order:o1",))
    assert await oyez.database.read(orders.list_open_orders, "ada") == ["o1"]
    await oyez.run(
        orders.move_order, "o1", OrderMove(status="delivered", message="Here!", signature="https://x.example/s")
    )
    status_told, delivered = await oyez.take_published()
    assert status_told.data["message"] == "Here!"
    assert (delivered.name, delivered.rooms) == ("order_delivered", ("order:o1", "user:ada"))
    assert delivered.data["signature"] == "https://x.example/s"
    assert await oyez.database.read(orders.list_open_orders, "ada") == []


async def test_saying_it_again_changes_nothing(oyez: Harness) -> None:
    await place(oyez)
    await move(oyez, "confirmed", "confirmed")
    assert await take_names(oyez) == ["order_status_update"]


@pytest.mark.parametrize("state", [state for state in ORDERS if state != "cancelled"])
async def test_only_what_the_table_allows(oyez: Harness, state: str) -> None:
    await place(oyez)
    way = ["confirmed", "preparing", "ready", "dispatched", "out_for_delivery", "delivered"]
    await move(oyez, *way[: ([*way, state].index(state) + 1) if state != "placed" else 0])
    for wanted in ORDERS:
        if wanted in (state, "cancelled", *ORDERS[state].values()):
            continue
        with pytest.raises(RefusedError, match=f"is {state} and cannot become {wanted}") as refused:
            await move(oyez, wanted)
        assert refused.value.refusal.code == "illegal_transition"
        assert refused.value.details == {"current": state, "wanted": wanted}
    if "cancelled" in ORDERS[state].values():
        assert (await oyez.run(orders.cancel_order, "o1", CANCELLATION)).status == "cancelled"
    else:
        with pytest.raises(RefusedError, match="cannot become cancelled"):
            await oyez.run(orders.cancel_order, "o1", CANCELLATION)


async def test_followers_and_customer_receive_the_cancellation_of_an_order(oyez: Harness) -> None:
    await place(oyez)
    await oyez.run(orders.cancel_order, "o1", CANCELLATION)
    (told,) = await oyez.take_published()
    assert (told.name, told.rooms) == ("order_cancelled", ("order:o1", "user:ada"))
    assert told.data["refundAmount"] == 9.9
    with pytest.raises(
        RefusedError, match="is cancelled and cannot become cancelled; from there it can become nothing"
    ):
        await oyez.run(orders.cancel_order, "o1", CANCELLATION)


async def test_a_client_is_in_the_rooms_of_its_open_orders(oyez: Harness) -> None:
    """Of those that it follows by `orders` as long as they are open, and of one that it follows by name also after."""
    ada = await oyez.connect("ada")
    assert (await ada.call("subscribe", {"channel": "orders"}))["ok"]
    await place(oyez, "o1")
    await place(oyez, "o2")
    await oyez.database.run(store_subscription, "ada", "order:o1")
    assert ada.rooms >= {"order:o1", "order:o2"}
    for order_id in ("o1", "o2"):
        await oyez.run(orders.cancel_order, order_id, CANCELLATION)
    assert "order:o1" in ada.rooms and "order:o2" not in ada.rooms
    await place(oyez, "o3")
    await oyez.database.run(store_subscription, "ada", "order:o3")
    await oyez.database.run(delete_subscriptions, "ada", ["order:o3"])
    await oyez.run(orders.cancel_order, "o3", CANCELLATION)
    assert "order:o3" not in ada.rooms


async def test_when_an_order_is_expected(oyez: Harness) -> None:
    await place(oyez)
    order = await oyez.run(orders.set_order_eta, "o1", Eta(eta=Time("2023-11-14T22:40:00Z")))
    assert order.estimated_delivery == "2023-11-14T22:40:00Z"
    (told,) = await oyez.take_published()
    assert (told.data["minutes"], told.data["eta"]) == (27, "2023-11-14T22:40:00Z")
    await oyez.run(orders.set_order_eta, "o1", Eta(eta=Time("2023-11-14T22:00:00Z")))
    assert (await oyez.take_published())[0].data["minutes"] == 0
    await oyez.run(orders.cancel_order, "o1", CANCELLATION)
    with pytest.raises(RefusedError, match="nobody waits for it"):
        await oyez.run(orders.set_order_eta, "o1", Eta(eta=Time("2023-11-14T22:40:00Z")))


async def test_only_what_is_on_its_way_is_somewhere(oyez: Harness) -> None:
    await place(oyez)
    with pytest.raises(RefusedError, match="is placed, not on its way"):
        await oyez.database.read(orders.check_on_its_way, "o1")
    await move(oyez, "confirmed", "preparing", "ready", "out_for_delivery")
    await oyez.database.read(orders.check_on_its_way, "o1")


async def test_what_is_not_there(oyez: Harness) -> None:
    attempts: list[tuple[Callable[..., Any], object]] = [
        (orders.move_order, OrderMove(status="ready")),
        (orders.cancel_order, CANCELLATION),
        (orders.set_order_eta, Eta(eta=Time("2026-01-01T00:00:00Z"))),
    ]
    for function, body in attempts:
        with pytest.raises(RefusedError, match="There is no order 'o9'") as refused:
            await oyez.run(function, "o9", body)
        assert refused.value.refusal.code == "not_found"


async def test_a_place_that_is_posted_at_the_moment_of_delivery_is_forgotten(oyez: Harness, spawn: Spawn) -> None:
    await place(oyez)
    await move(oyez, "confirmed", "preparing", "ready", "dispatched", "out_for_delivery")
    latest, keeping, goes_on = oyez.publisher.latest, asyncio.Event(), asyncio.Event()
    keep = latest.keep

    async def keep_late(entry: Entry) -> None:
        keeping.set()
        await goes_on.wait()
        await keep(entry)

    latest.keep = keep_late  # type: ignore[method-assign]
    where = {"latitude": 53.4, "longitude": -2.2, "address": "Deansgate"}
    body = {"location": where, "driverName": "Van 7", "driverPhone": "+44 20 7946 0650"}
    posting = spawn(oyez.request("POST", "/rez/api/orders/o1/location", body))
    await keeping.wait()
    await move(oyez, "delivered")
    goes_on.set()
    await posting
    assert await latest.find(order_room("o1"), order_room) == {}
