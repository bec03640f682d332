"""`bookings` with official clients: who may connect to a namespace, and what outlives the server."""

import pytest

from tests.support import py_client
from tests.support.js_client import JsConnectError, JsDriver
from tests.support.served import Served, serve
from tests.systems.bookings.market import PATH, booking_body


@pytest.mark.parametrize("role", ["customer", "partner", "admin"])
async def test_a_namespace_is_for_its_own_role(served: Served, js: JsDriver, role: str) -> None:
    for namespace in ("customer", "partner", "admin"):
        connecting = js.connect(f"{served.url}/{namespace}", path=PATH, auth={"token": served.token("kim", role)})
        if namespace == role:
            await (await connecting).disconnect()
            continue
        with pytest.raises(JsConnectError) as refused:
            await connecting
        assert refused.value.data == {"code": "forbidden_role"}


async def test_what_was_booked_outlives_the_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    data = tmp_path_factory.mktemp("restart") / "data"
    customer = {"name": "Ada", "phone": "020 7946 0457"}

    async with serve(data, "bookings") as served:
        await served.request("PUT", "/bookings/api/customers/ada", customer)
        booking = (await served.request("POST", "/bookings/api/bookings", booking_body("ada"))).json()
    async with serve(data, "bookings") as served:
        path = f"/bookings/api/bookings/{booking['bookingId']}"
        assert (await served.request("GET", path)).json() == booking
        auth = {"token": served.token("ada", "customer")}
        async with py_client.connect(served.url, path=PATH, namespace="/customer", auth=auth) as ada:
            assert (await ada.call("booking:track", booking["bookingId"]))["ok"] is True
