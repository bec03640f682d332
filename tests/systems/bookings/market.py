"""A market for the tests of `bookings`: the system served in the test's own loop, and scenes with people in them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from oyez.client import Client, connect
from oyez.concurrency.clock import Clock as SystemClock
from oyez.contract import NamedRoom
from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.systems.bookings import system
from oyez.systems.bookings.contract import admin_user, customer_user, partner_user
from oyez.systems.bookings.payloads import TypingIndicator
from tests.support import shops
from tests.support.clock import PATIENCE

PATH = "/bookings/socket.io/"
SERVICE = "Kitchen deep clean"
ROOMS: dict[str, Callable[[str], NamedRoom]] = {
    "customer": customer_user,
    "partner": partner_user,
    "admin": admin_user,
}
Heard = list[tuple[str, dict[str, Any]]]


@dataclass
class Market:
    """`bookings` at work, and its HTTP API with a service key."""

    oyez: Oyez
    url: str
    api: httpx.AsyncClient
    numbers: "count[int]" = field(default_factory=count)

    @asynccontextmanager
    async def scenario(self) -> AsyncIterator["Scenario"]:
        """A scenario with people of its own, who go home when it ends."""
        async with AsyncExitStack() as stack:
            yield Scenario(self, stack, next(self.numbers))


@asynccontextmanager
async def open_market(
    database_url: str, data: Path, clock: Callable[[], float] = time.time, **settings: Any
) -> AsyncIterator[Market]:
    oyez = Oyez(
        [system], Settings(oyez_data=str(data), database_url=database_url, port=0, **settings), time=SystemClock(clock)
    )
    async with shops.serve(oyez) as served:
        headers = {"authorization": f"Bearer {oyez.signer.sign_service('bookings', None)}"}
        async with httpx.AsyncClient(base_url=f"{served.url}/bookings/api", headers=headers) as api:
            yield Market(oyez, served.url, api)


@asynccontextmanager
async def open_two(database_url: str, data: Path) -> AsyncIterator[tuple["Scenario", "Scenario"]]:
    """A scenario in each of two servers that share a database and a log."""
    async with (
        open_market(database_url, data) as here,
        open_market(database_url, data) as there,
        here.scenario() as scenario,
        there.scenario() as other,
    ):
        yield scenario, other


@dataclass
class Person:
    """A client that is connected to the namespace of its role."""

    id: str
    role: str
    client: Client
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
    market: Market
    stack: AsyncExitStack
    number: int
    people: list[Person] = field(default_factory=list)

    async def customer(self, name: str) -> Person:
        response = await self.put(f"/customers/{self.id(name)}", {"name": name.title(), "phone": "+44 20 7946 0457"})
        assert response.status_code == 201
        return await self.enter("customer", self.id(name))

    async def partner(self, name: str) -> Person:
        response = await self.put(f"/partners/{self.id(name)}", partner_body(name))
        assert response.status_code == 201
        return await self.enter("partner", self.id(name))

    async def admin(self, name: str = "root", *, monitoring: bool = True) -> Person:
        admin = await self.enter("admin", self.id(name))
        if monitoring:
            assert await admin.done("monitor:bookings") == {"room": "monitors"}
        return admin

    async def enter(self, role: str, id: str) -> Person:
        """Connect a user, registered or not."""
        token = self.market.oyez.signer.sign_user(id, role, {}, 600.0)
        client = await self.stack.enter_async_context(
            connect(self.market.url, f"/{role}", path=PATH, auth={"token": token}, transports=["websocket"])
        )
        person = Person(id, role, client)
        self.people.append(person)
        return person

    async def book(self, customer: Person, partner: Person | None = None, **changes: Any) -> str:
        """The id of a new booking."""
        response = await self.post("/bookings", booking_body(customer.id, partner.id if partner else None, **changes))
        assert response.status_code == 201, response.text
        id: str = response.json()["bookingId"]
        return id

    async def get(self, path: str, **query: Any) -> httpx.Response:
        return await self.market.api.get(path, params=query or None)

    async def read(self, path: str, **query: Any) -> Any:
        response = await self.get(path, **query)
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, body: Any) -> httpx.Response:
        return await self.market.api.post(path, json=body)

    async def put(self, path: str, body: Any) -> httpx.Response:
        return await self.market.api.put(path, json=body)

    async def listen(self) -> None:
        """Wait until all clients have received what was sent so far; it is in `heard` of each person then.

        Statistics are left out: when they come depends on when others came.
        """
        served = self.market.oyez.systems["bookings"]
        await served.outbox.drained()
        end = f"end-{next(self.market.numbers)}"
        for person in self.people:
            # Events arrive in the order of the log: after this one nothing is missing.
            await served.publisher.emit(TypingIndicator(user_id=end, typing=True), ROOMS[person.role](person.id))
        async with asyncio.timeout(PATIENCE):
            for person in self.people:
                person.heard = []
                async for event in person.client.events():
                    word = event.args[0].get("userId", "") if event.name == "typing:indicator" else ""
                    if word == end:
                        break
                    # Two devices of one person receive the end markers of both.
                    if not word.startswith("end-") and event.name != "dashboard:stats_update":
                        person.heard.append((event.name, event.args[0]))

    async def causes(self, act: Awaitable[Any]) -> dict[str, list[str]]:
        """The events that each person receives because of `act`; persons without events are left out."""
        await self.listen()
        await act
        await self.listen()
        return {self.name(person): [name for name, _ in person.heard] for person in self.people if person.heard}

    def id(self, name: str) -> str:
        return f"{name}-{self.number}"

    def name(self, person: Person) -> str:
        return person.id.rpartition("-")[0]


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
