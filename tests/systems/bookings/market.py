"""People of `bookings` and what they do, at a server of the test kit; and two real servers that share their data."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from oyez.client import Client, connect
from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.systems.bookings import system
from oyez.testing import Harness, TestClient
from tests.support import shops
from tests.support.clock import PATIENCE

PATH = "/bookings/socket.io/"
API = "/bookings/api"
SERVICE = "Kitchen deep clean"
STATS = "dashboard:stats_update"
LOCATION = "partner:location_update"
STEP = 0.1
"""Seconds that pass between two looks for an event."""
Heard = list[tuple[str, dict[str, Any]]]


class Server(Protocol):
    """A server of the test kit, or a real one."""

    async def request(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """A request of a back end, with a service key."""

    async def connect(self, user: str, role: str, namespace: str) -> Any:
        """A client, which has `call`."""


@dataclass
class Person:
    """A client that is connected to the namespace of its role."""

    id: str
    role: str
    client: Any
    heard: Heard = field(default_factory=list)

    async def call(self, command: str, *args: Any) -> Any:
        return await self.client.call(command, *args)

    async def refused(self, command: str, *args: Any) -> tuple[str, str]:
        """The code and the sentence with which a command is refused."""
        answer = await self.call(command, *args)
        assert answer["ok"] is False, answer
        return answer["error"]["code"], answer["error"]["message"]

    async def done(self, command: str, *args: Any) -> dict[str, Any]:
        """What a command is answered that succeeds, without `ok`."""
        answer = await self.call(command, *args)
        assert answer.pop("ok") is True, answer
        return dict(answer)


@dataclass
class Scenario:
    """People at one server."""

    server: Server
    people: list[Person] = field(default_factory=list)

    async def customer(self, name: str) -> Person:
        response = await self.put(f"/customers/{name}", {"name": name.title(), "phone": "+44 20 7946 0457"})
        assert response.status_code == 201
        return await self.enter("customer", name)

    async def partner(self, name: str) -> Person:
        response = await self.put(f"/partners/{name}", partner_body(name))
        assert response.status_code == 201
        return await self.enter("partner", name)

    async def admin(self, name: str = "root", *, monitoring: bool = True) -> Person:
        admin = await self.enter("admin", name)
        if monitoring:
            assert await admin.done("monitor:bookings") == {"room": "monitors"}
        return admin

    async def enter(self, role: str, id: str) -> Person:
        """Connect a user, registered or not."""
        person = Person(id, role, await self.server.connect(id, role, f"/{role}"))
        self.people.append(person)
        return person

    async def book(self, customer: Person, partner: Person | None = None, **changes: Any) -> str:
        """The id of a new booking."""
        response = await self.post("/bookings", booking_body(customer.id, partner.id if partner else None, **changes))
        assert response.status_code == 201, response.text
        id: str = response.json()["bookingId"]
        return id

    async def get(self, path: str, **query: Any) -> httpx.Response:
        return await self.server.request("GET", f"{API}{path}", params=query or None)

    async def read(self, path: str, **query: Any) -> Any:
        response = await self.get(path, **query)
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, body: Any) -> httpx.Response:
        return await self.server.request("POST", f"{API}{path}", body)

    async def put(self, path: str, body: Any) -> httpx.Response:
        return await self.server.request("PUT", f"{API}{path}", body)


@dataclass
class Market(Scenario):
    """A scenario at a server of the test kit."""

    server: Harness

    async def listen(self) -> None:
        """Everything that was sent so far has arrived, and is in `heard` of each person then.

        Statistics are left out: when they come depends on when others came.
        """
        await self.server.settle()
        for person in self.people:
            events = person.client.take_pending()
            person.heard = [(one.name, one.data) for one in events if one.name != STATS]

    async def causes(self, act: Awaitable[Any]) -> dict[str, list[str]]:
        """The events that each person receives because of `act`; persons without events are left out."""
        await self.listen()
        await act
        await self.listen()
        return {person.id: [name for name, _ in person.heard] for person in self.people if person.heard}

    async def await_event(self, person: Person, event: str, **fields: Any) -> dict[str, Any]:
        """Let time pass until an event arrives that is sent at most once a second; its data.

        What sends it works by itself: nothing says when it begins to wait for the clock.
        """
        client: TestClient = person.client
        async with asyncio.timeout(PATIENCE):
            while not any(one.name == event for one in client.pending):
                await self.server.advance(STEP)
                await asyncio.sleep(0.001)
        data: dict[str, Any] = (await client.expect_event(event, **fields)).data
        return data


@dataclass
class RealServer:
    """A server that is served in the test's own loop."""

    market: shops.Market
    stack: AsyncExitStack

    async def request(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return await self.market.call(method, path, body, **options)

    async def connect(self, user: str, role: str, namespace: str) -> Client:
        auth = {"token": self.market.oyez.signer.sign_user(user, role, {}, 600.0)}
        entering = connect(self.market.url, namespace, path=PATH, auth=auth, transports=["websocket"])
        return await self.stack.enter_async_context(entering)


@asynccontextmanager
async def open_two(database_url: str, data: Path) -> AsyncIterator[tuple[Scenario, Scenario]]:
    """A scenario in each of two servers that share a database and a log."""
    settings = Settings(oyez_data=str(data), database_url=database_url, port=0)
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(shops.serve(Oyez([system], settings))) for _ in range(2)]
        yield Scenario(RealServer(here, stack)), Scenario(RealServer(there, stack))


def partner_body(name: str, **changes: Any) -> dict[str, Any]:
    body = {
        "name": name.title(),
        "email": f"{name}@homes.example",
        "phone": "+44 20 7946 0182",
        "photo": f"https://cdn.bookings.example/{name}.jpg",
        "rating": 4.8,
        "services": ["Cleaning", "Tiling"],
        "serviceArea": "South London",
    }
    return {**body, **changes}


def booking_body(customer_id: str, partner_id: str | None = None, **changes: Any) -> dict[str, Any]:
    body = {
        "customerId": customer_id,
        "service": SERVICE,
        "scheduledAt": "2027-03-12T09:30:00.000Z",
        "address": "Flat 12, Cedar Court, 40 Poland Street",
        "amount": 129.5,
    }
    return {**body, **({} if partner_id is None else {"partnerId": partner_id}), **changes}
