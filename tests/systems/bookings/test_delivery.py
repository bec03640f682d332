"""`bookings`, whole: a real server, every kind of official client, one day of bookings, and each event at the right
people and nobody else.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Protocol

import httpx
import pytest

from oyez.systems.bookings.contract import contract
from tests.support import py_client
from tests.support.js_client import JsConnectError, JsDriver
from tests.support.served import Served, serve
from tests.systems.bookings.market import PATH, booking_body, partner_body

WAYS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": ["polling", "websocket"]}
ROLES = {
    "ada": "customer",
    "eve": "customer",
    "bob": "partner",
    "mallory": "partner",
    "root": "admin",
    "idle": "admin",
}
"""Everybody; root monitors, and idle, eve and mallory have nothing to do with what happens."""
STATS = "dashboard:stats_update"
TOLD, WATCHED = "booking:status_updated", "booking:updated"


class Listener(Protocol):
    """What a day needs of a client, whichever library it is from."""

    async def call(self, event: str, *args: Any) -> Any: ...

    async def next_event(self) -> tuple[str, list[Any]]: ...

    def take_events(self) -> list[tuple[str, list[Any]]]: ...


class Day:
    """People, what they do, and what everybody hears of it."""

    def __init__(self, served: Served, api: httpx.AsyncClient, people: dict[str, Listener], name: str) -> None:
        self._served = served
        self._api = api
        self._people = people
        self._name = name
        self.heard: set[str] = set()

    def id(self, person: str) -> str:
        return f"{person}-{self._name}"

    async def does(self, person: str, command: str, *args: Any) -> Any:
        answer = await self._people[person].call(command, *args)
        assert answer["ok"] is True, answer
        return answer

    async def is_refused(self, person: str, command: str, *args: Any) -> str:
        answer = await self._people[person].call(command, *args)
        assert answer["ok"] is False, answer
        code: str = answer["error"]["code"]
        return code

    async def request(self, method: str, path: str, body: Any) -> Any:
        response = await self._api.request(method, path, json=body)
        assert response.status_code in (200, 201), response.text
        return response.json()

    async def hears(self, **wanted: Sequence[str]) -> dict[str, Any]:
        """Exactly these hear exactly these events, in this order; what each person's last event carries.

        Statistics are not counted: when they come depends on when others came.
        """
        carried = {}
        for person, events in wanted.items():
            for event in events:
                name, args = await self._next(person, event)
                assert name == event, (person, name, args)
                carried[person] = args[0]
                self.heard.add(name)
        for person, client in self._people.items():
            # An acknowledged command goes the same ordered way: its answer comes behind whatever was sent before.
            await client.call("oyez:barrier")
            rest = [name for name, _ in client.take_events() if name != STATS]
            assert rest == [], (person, rest)
        return carried

    async def _next(self, person: str, wanted: str) -> tuple[str, list[Any]]:
        while True:
            name, args = await self._people[person].next_event()
            if STATS in (name, wanted) and name != wanted:
                self.heard.add(name)
                continue
            return name, args


async def play(day: Day) -> None:
    ada, bob = day.id("ada"), day.id("bob")
    for customer in ("ada", "eve"):
        await day.request("PUT", f"/customers/{day.id(customer)}", {"name": customer.title(), "phone": "020 7946 0457"})
    await day.does("root", "monitor:bookings")
    for partner in ("bob", "mallory"):
        await day.request("PUT", f"/partners/{day.id(partner)}", partner_body(partner))
    await day.hears(root=["partner:registered", "partner:registered"])
    await day.request("POST", "/kyc-submissions", {"partnerId": bob, "documents": ["IDENTITY"]})
    await day.hears(root=["kyc:submitted"])

    booking = (await day.request("POST", "/bookings", booking_body(ada)))["bookingId"]
    await day.hears(root=["booking:created"])
    await day.does("ada", "booking:track", booking)
    assert await day.is_refused("eve", "booking:track", booking) == "forbidden"
    await day.request("PUT", f"/bookings/{booking}/partner", {"partnerId": bob})
    carried = await day.hears(ada=[TOLD], bob=["booking:new_request"], root=[WATCHED])
    assert carried["bob"]["bookingId"] == booking
    assert await day.is_refused("mallory", "booking:accept", booking) == "forbidden"
    assert (await day.does("bob", "booking:accept", booking))["status"] == "PARTNER_ACCEPTED"
    carried = await day.hears(ada=[TOLD, "partner:assigned"], root=[WATCHED])
    assert carried["ada"]["partner"]["id"] == bob
    assert await day.is_refused("bob", "booking:accept", booking) == "illegal_transition"

    await day.does("bob", "location:update", {"latitude": 51.5136, "longitude": -0.1365})
    carried = await day.hears(ada=["partner:location_update"])
    assert carried["ada"]["location"] == {"latitude": 51.5136, "longitude": -0.1365}
    await day.does("ada", "typing:start", bob)
    assert (await day.hears(bob=["typing:indicator"]))["bob"] == {"userId": ada, "typing": True}
    sent = await day.does("ada", "message:send", {"recipientId": bob, "message": "Is there a lift?"})
    carried = await day.hears(ada=["message:sent"], bob=["typing:indicator", "message:received"])
    del sent["ok"]
    assert carried["ada"] == {**sent, "recipientId": bob, "message": "Is there a lift?", "bookingId": None}
    await day.does("ada", "typing:stop", bob)
    assert (await day.hears(bob=["typing:indicator"]))["bob"] == {"userId": ada, "typing": False}
    await day.does("bob", "message:mark_read", sent["id"])
    await day.does("bob", "message:send", {"recipientId": ada, "message": "There is.", "bookingId": booking})
    carried = await day.hears(ada=["message:received"], bob=["message:read", "message:sent"])
    assert carried["ada"]["message"] == "There is."
    assert await day.is_refused("mallory", "message:send", {"recipientId": ada, "message": "Hello"}) == "forbidden"
    await day.does("idle", "typing:start", day.id("root"))
    await day.hears(root=["typing:indicator"])

    await day.does("bob", "booking:status_update", {"bookingId": booking, "status": "IN_PROGRESS"})
    await day.hears(ada=[TOLD], root=[WATCHED])
    await day.does("ada", "booking:untrack", booking)
    await day.does("bob", "booking:status_update", {"bookingId": booking, "status": "COMPLETED"})
    carried = await day.hears(bob=["earnings:updated"], root=[WATCHED])
    assert carried["bob"]["totalEarnings"] == 129.5

    second = (await day.request("POST", "/bookings", booking_body(ada, bob)))["bookingId"]
    await day.hears(bob=["booking:new_request"], root=["booking:created"])
    assert await day.is_refused("eve", "booking:cancel", {"bookingId": second, "reason": "Mischief."}) == "forbidden"
    await day.does("ada", "booking:cancel", {"bookingId": second, "reason": "I have moved."})
    assert (await day.hears(bob=["booking:cancelled"], root=[WATCHED]))["bob"]["reason"] == "I have moved."
    third = (await day.request("POST", "/bookings", booking_body(ada, bob)))["bookingId"]
    await day.hears(bob=["booking:new_request"], root=["booking:created"])
    await day.does("bob", "booking:reject", {"bookingId": third, "reason": "My van is broken."})
    assert (await day.hears(root=[WATCHED]))["root"]["reason"] == "My van is broken."

    notification = {
        "recipientId": ada,
        "recipientRole": "customer",
        "type": "SYSTEM",
        "title": "Hi",
        "message": "Hello",
    }
    await day.request("POST", "/notifications", notification)
    await day.hears(ada=["notification:new"])
    await day.does("idle", "request:stats")
    carried = await day.hears(idle=[STATS])
    assert carried["idle"]["completedToday"] >= 1
    assert day.heard == set(contract.events)


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory, make_database: Callable[[], str]) -> AsyncIterator[Served]:
    async with serve(tmp_path_factory.mktemp("bookings") / "data", "bookings", DATABASE_URL=make_database()) as running:
        yield running


@pytest.fixture
async def api(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {served.service_key('bookings')}"}
    async with httpx.AsyncClient(base_url=f"{served.url}/bookings/api", headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
async def js() -> AsyncIterator[JsDriver]:
    async with JsDriver.start() as driver:
        yield driver


@pytest.mark.parametrize("way", WAYS)
async def test_a_day_with_javascript_clients(served: Served, api: httpx.AsyncClient, js: JsDriver, way: str) -> None:
    name = f"js-{way}"
    people: dict[str, Listener] = {}
    for person, role in ROLES.items():
        auth = {"token": served.token(f"{person}-{name}", role)}
        people[person] = await js.connect(f"{served.url}/{role}", path=PATH, auth=auth, transports=WAYS[way])
    await play(Day(served, api, people, name))
    for client in people.values():
        await client.disconnect()  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", ["websocket", "upgrade"])
async def test_a_day_with_python_clients(served: Served, api: httpx.AsyncClient, way: str) -> None:
    name = f"py-{way}"
    async with AsyncExitStack() as stack:
        people: dict[str, Listener] = {}
        for person, role in ROLES.items():
            auth = {"token": served.token(f"{person}-{name}", role)}
            connecting = py_client.connect(served.url, path=PATH, namespace=f"/{role}", auth=auth, transports=WAYS[way])
            people[person] = await stack.enter_async_context(connecting)
        await play(Day(served, api, people, name))


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
        headers = {"authorization": f"Bearer {served.service_key('bookings')}"}
        async with httpx.AsyncClient(base_url=f"{served.url}/bookings/api", headers=headers) as client:
            await client.put("/customers/ada", json=customer)
            booking = (await client.post("/bookings", json=booking_body("ada"))).json()
    async with serve(data, "bookings") as served:
        async with httpx.AsyncClient(base_url=f"{served.url}/bookings/api", headers=headers) as client:
            assert (await client.get(f"/bookings/{booking['bookingId']}")).json() == booking
        auth = {"token": served.token("ada", "customer")}
        async with py_client.connect(served.url, path=PATH, namespace="/customer", auth=auth) as ada:
            assert (await ada.call("booking:track", booking["bookingId"]))["ok"] is True
