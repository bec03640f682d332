"""What a back end and clients do in `rez`, at a server of the test kit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from oyez.testing import Harness, TestClient

PATH = "/rez/socket.io/"

OPENING = {"customerId": "ada", "customerName": "tea-at-four", "subject": "Where is my kettle?"}
AGENT = {"name": "Delivery desk", "department": "Orders", "status": "online"}


EMPTY_CART = {
    "id": "cart",
    "items": [],
    "itemCount": 0,
    "subtotal": 0,
    "discount": 0,
    "deliveryFee": 0,
    "tax": 0,
    "total": 0,
    "updatedAt": "2026-01-31T12:00:00Z",
}


async def take_names(oyez: Harness) -> list[str]:
    """The names of the events that were published since the last look."""
    return [event.name for event in await oyez.take_published()]


class Market:
    def __init__(self, oyez: Harness) -> None:
        self.oyez = oyez

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """A request to the API, with any result."""
        return await self.oyez.request(method, f"/rez/api{path}", body)

    async def do(self, method: str, path: str, body: Any = None) -> Any:
        """A request that must succeed; its answer, when all that it caused has been delivered."""
        response = await self.ask(method, path, body)
        assert response.status_code in (200, 201, 204), response.text
        return response.json() if response.content else None

    async def publish(self, event: str, data: Any, to: Any = None) -> None:
        await self.oyez.publish(event, data, to=to)

    async def enter(self, subject: str, role: str | None = None, **options: Any) -> TestClient:
        """A connected client that has been greeted, and is in its channels."""
        client = await self.oyez.connect(subject, role, **options)
        await client.expect_event("connected", userId=subject, socketId=client.id)
        return client

    @asynccontextmanager
    async def connect(self, subject: str, role: str | None = None) -> AsyncIterator[TestClient]:
        """As `enter`; the client leaves at the end of the block."""
        client = await self.enter(subject, role)
        yield client
        await client.disconnect()

    async def place_order(self, order_id: str, customer: str) -> None:
        await self.do("PUT", f"/orders/{order_id}", {"orderNumber": f"RZ-{order_id}", "customerId": customer})

    async def move_order(self, order_id: str, *statuses: str) -> None:
        for status in statuses:
            await self.do("POST", f"/orders/{order_id}/status", {"status": status})

    async def open_ticket(self, ticket_id: str, customer: str = "ada", agent: str | None = None) -> None:
        await self.do("PUT", f"/tickets/{ticket_id}", {**OPENING, "customerId": customer})
        if agent is not None:
            await self.do("PUT", f"/agents/{agent}", AGENT)
            await self.do("POST", f"/tickets/{ticket_id}/agent", {"agentId": agent})
