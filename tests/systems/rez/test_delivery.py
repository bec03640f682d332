"""`rez` with official clients: the way of an order, as its customer sees it."""

from typing import Any

from tests.support.js_client import JsClient, JsDriver
from tests.support.served import Served
from tests.systems.rez.market import PATH


async def test_the_way_of_an_order_and_its_driver(served: Served, js: JsDriver) -> None:
    async def send(method: str, path: str, body: Any) -> None:
        response = await served.request(method, f"/rez/api/orders/d5{path}", body)
        assert response.is_success, response.text

    async def arrive(subject: str) -> JsClient:
        client = await js.connect(served.url, path=PATH, query={"token": served.token(subject)})
        await client.expect_event("connected")
        return client

    await send("PUT", "", {"orderNumber": "RZ-d5", "customerId": "ada"})
    ada, stranger = await arrive("ada"), await arrive("bob")
    await ada.call("subscribe", {"channel": "orders"})
    for status in ("confirmed", "preparing", "ready", "dispatched"):
        await send("POST", "/status", {"status": status})
        assert (await ada.expect_event("order_status_update"))[0]["status"] == status
    place = {"latitude": 53.4, "longitude": -2.2, "address": "Deansgate"}
    await send("POST", "/location", {"location": place, "driverName": "Van 7", "driverPhone": "+44 20 7946 0650"})
    assert (await ada.expect_event("order_location_update"))[0]["location"] == place
    await send("POST", "/eta", {"eta": "2030-01-01T00:00:00Z"})
    await ada.expect_event("order_eta_update")
    for status in ("out_for_delivery", "delivered"):
        await send("POST", "/status", {"status": status})
        await ada.expect_event("order_status_update")
    await ada.expect_event("order_delivered")
    for client in (ada, stranger):
        await client.expect_nothing()
