"""Orders of `rez`: what each step stores and sends, to which clients, and what is refused."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from oyez.contract import Money, Time
from oyez.errors import RefusedError
from oyez.log.log import Entry
from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.systems.loader import load_system
from oyez.systems.rez import orders
from oyez.systems.rez.channels import delete_subscriptions, store_subscription
from oyez.systems.rez.contract import order as order_room
from oyez.systems.rez.orders import Cancellation, Eta, OrderMove, OrderPlacing
from oyez.systems.rez.states import ORDERS
from tests.support.ledger import Emitted
from tests.support.shops import serve
from tests.support.tasks import Spawn
from tests.systems.rez.shop import Shop

PLACING = OrderPlacing(order_number="RZ-1", customer_id="ada")
CANCELLATION = Cancellation(reason="Broken.", cancelled_by="store", refund_amount=Money("9.9"), refund_status="pending")


async def place(shop: Shop, order_id: str = "o1") -> None:
    await shop.do(orders.place_order, order_id, PLACING)
    shop.emitted()


async def move(shop: Shop, *statuses: str) -> None:
    for status in statuses:
        await shop.do(orders.move_order, "o1", OrderMove(status=status))  # type: ignore[arg-type]


async def test_an_order_is_placed_once(shop: Shop) -> None:
    order, new = await shop.do(orders.place_order, "o1", PLACING)
    assert (order.status, order.customer_id, new) == ("placed", "ada", True)
    join, told = shop.emitted()
    assert join == Emitted("join", ("orders:ada",), {"rooms": ["order:o1"]})
    assert (told.name, told.rooms) == ("order_status_update", ("order:o1",))
    assert told.data == {
        "timestamp": "2023-11-14T22:13:20.000Z",
        "orderId": "o1",
        "orderNumber": "RZ-1",
        "status": "placed",
        "message": "Your order has been placed.",
    }
    assert (await shop.do(orders.place_order, "o1", PLACING))[1] is False
    assert shop.emitted() == []
    with pytest.raises(RefusedError) as refused:
        await shop.do(orders.place_order, "o1", OrderPlacing(order_number="RZ-1", customer_id="bob"))
    assert refused.value.refusal.code == "already_there"


async def test_an_order_moves_on_to_its_end(shop: Shop) -> None:
    await place(shop)
    for status in ("confirmed", "preparing", "ready", "dispatched", "out_for_delivery"):
        await move(shop, status)
        (told,) = shop.emitted()
        assert (told.name, told.data["status"], told.rooms) == ("order_status_update", status, ("order:o1",))
    assert await shop.database.read(orders.list_open_orders, "ada") == ["o1"]
    await shop.do(
        orders.move_order, "o1", OrderMove(status="delivered", message="Here!", signature="https://x.example/s")
    )
    status_told, delivered, left = shop.emitted()
    assert status_told.data["message"] == "Here!"
    assert (delivered.name, delivered.rooms) == ("order_delivered", ("order:o1", "user:ada"))
    assert delivered.data["signature"] == "https://x.example/s"
    assert left == Emitted("leave", ("orders:ada",), {"rooms": ["order:o1"]})
    assert await shop.database.read(orders.list_open_orders, "ada") == []


async def test_saying_it_again_changes_nothing(shop: Shop) -> None:
    await place(shop)
    await move(shop, "confirmed", "confirmed")
    assert shop.emitted_names() == ["order_status_update"]


@pytest.mark.parametrize("state", [state for state in ORDERS if state != "cancelled"])
async def test_only_what_the_table_allows(shop: Shop, state: str) -> None:
    await place(shop)
    way = ["confirmed", "preparing", "ready", "dispatched", "out_for_delivery", "delivered"]
    await move(shop, *way[: ([*way, state].index(state) + 1) if state != "placed" else 0])
    for wanted in ORDERS:
        if wanted in (state, "cancelled", *ORDERS[state].values()):
            continue
        with pytest.raises(RefusedError, match=f"is {state} and cannot become {wanted}") as refused:
            await move(shop, wanted)
        assert refused.value.refusal.code == "illegal_transition"
        assert refused.value.details == {"current": state, "wanted": wanted}
    if "cancelled" in ORDERS[state].values():
        assert (await shop.do(orders.cancel_order, "o1", CANCELLATION)).status == "cancelled"
    else:
        with pytest.raises(RefusedError, match="cannot become cancelled"):
            await shop.do(orders.cancel_order, "o1", CANCELLATION)


async def test_followers_and_customer_receive_the_cancellation_of_an_order(shop: Shop) -> None:
    await place(shop)
    await shop.do(orders.cancel_order, "o1", CANCELLATION)
    told, left = shop.emitted()
    assert (told.name, told.rooms) == ("order_cancelled", ("order:o1", "user:ada"))
    assert told.data["refundAmount"] == 9.9
    assert left.name == "leave"
    with pytest.raises(
        RefusedError, match="is cancelled and cannot become cancelled; from there it can become nothing"
    ):
        await shop.do(orders.cancel_order, "o1", CANCELLATION)


async def test_a_subscription_to_one_order_stays_after_its_end(shop: Shop) -> None:
    await place(shop)
    await shop.database.run(store_subscription, "ada", "order:o1")
    await shop.do(orders.cancel_order, "o1", CANCELLATION)
    assert shop.emitted_names() == ["order_cancelled"]
    await place(shop, "o2")
    await shop.database.run(store_subscription, "ada", "order:o2")
    await shop.database.run(delete_subscriptions, "ada", ["order:o2"])
    await shop.do(orders.cancel_order, "o2", CANCELLATION)
    assert shop.emitted_names() == ["order_cancelled", "leave"]


async def test_when_an_order_is_expected(shop: Shop) -> None:
    await place(shop)
    order = await shop.do(orders.set_order_eta, "o1", Eta(eta=Time("2023-11-14T22:40:00Z")))
    assert order.estimated_delivery == "2023-11-14T22:40:00Z"
    (told,) = shop.emitted()
    assert (told.data["minutes"], told.data["eta"]) == (27, "2023-11-14T22:40:00Z")
    await shop.do(orders.set_order_eta, "o1", Eta(eta=Time("2023-11-14T22:00:00Z")))
    assert shop.emitted()[0].data["minutes"] == 0
    await shop.do(orders.cancel_order, "o1", CANCELLATION)
    with pytest.raises(RefusedError, match="nobody waits for it"):
        await shop.do(orders.set_order_eta, "o1", Eta(eta=Time("2023-11-14T22:40:00Z")))


async def test_only_what_is_on_its_way_is_somewhere(shop: Shop) -> None:
    await place(shop)
    with pytest.raises(RefusedError, match="is placed, not on its way"):
        await shop.database.read(orders.check_on_its_way, "o1")
    await move(shop, "confirmed", "preparing", "ready", "out_for_delivery")
    await shop.database.read(orders.check_on_its_way, "o1")


async def test_what_is_not_there(shop: Shop) -> None:
    for function, body in (
        (orders.move_order, OrderMove(status="ready")),
        (orders.cancel_order, CANCELLATION),
        (orders.set_order_eta, Eta(eta=Time("2026-01-01T00:00:00Z"))),
    ):
        with pytest.raises(RefusedError, match="There is no order 'o9'") as refused:
            await shop.do(function, "o9", body)
        assert refused.value.refusal.code == "not_found"


async def test_a_place_that_is_posted_at_the_moment_of_delivery_is_forgotten(tmp_path: Path, spawn: Spawn) -> None:
    oyez = Oyez([load_system("rez")], Settings(port=0, oyez_data=str(tmp_path / "data")))
    latest, keeping, goes_on = oyez.systems["rez"].publisher.latest, asyncio.Event(), asyncio.Event()
    keep = latest.keep

    async def keep_late(entry: Entry) -> None:
        keeping.set()
        await goes_on.wait()
        await keep(entry)

    latest.keep = keep_late  # type: ignore[method-assign]
    async with serve(oyez) as running:

        async def send(method: str, path: str, body: Any) -> None:
            response = await running.call(method, f"/rez/api/orders/o-1{path}", body)
            assert response.is_success, response.text

        await send("PUT", "", {"orderNumber": "R-1", "customerId": "ada"})
        for status in ("confirmed", "preparing", "ready", "dispatched", "out_for_delivery"):
            await send("POST", "/status", {"status": status})
        place = {"latitude": 53.4, "longitude": -2.2, "address": "Deansgate"}
        body = {"location": place, "driverName": "Van 7", "driverPhone": "+44 20 7946 0650"}
        posting = spawn(send("POST", "/location", body))
        await keeping.wait()
        await send("POST", "/status", {"status": "delivered"})
        goes_on.set()
        await posting
        assert await latest.find(order_room("o-1"), order_room) == {}
