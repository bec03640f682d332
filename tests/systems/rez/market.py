"""`oyez serve rez` for tests: its HTTP API, and clients that have been greeted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from oyez import client as oyez_client
from oyez.client import Client
from tests.support.served import Served, serve

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


class Market:
    def __init__(self, served: Served) -> None:
        self.served = served
        self.url = served.url
        self.probe: Client
        """A client that receives the last event of the outbox."""

    def token(self, subject: str, role: str | None = None, **options: Any) -> str:
        return self.served.token(subject, role, **options)

    async def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> httpx.Response:
        """A request to the API, with any result."""
        return await self.served.request(method, f"/rez/api{path}", body, key=key)

    async def do(self, method: str, path: str, body: Any = None) -> Any:
        """A request that must succeed; its answer, when all that it caused has been delivered."""
        response = await self.ask(method, path, body)
        assert response.status_code in (200, 201, 204), response.text
        if method != "GET":
            # Events arrive in the order of the commits: after this one nothing is missing.
            await self.ask("PUT", "/carts/probe", EMPTY_CART)
            await self.probe.expect_event("cart_sync")
        return response.json() if response.content else None

    async def publish(self, event: str, data: Any, to: Any = None) -> None:
        body = {"event": event, "data": data} | ({"to": to} if to is not None else {})
        response = await self.served.post(body, system="rez")
        assert response.status_code == 200, response.text

    @asynccontextmanager
    async def connect(self, subject: str, role: str | None = None, **options: Any) -> AsyncIterator[Client]:
        """A connected client that has been greeted, and is in its channels."""
        token = self.token(subject, role, **options)
        async with oyez_client.connect(self.url, path=PATH, auth={"token": token}) as client:
            (greeting,) = (await client.expect_event("connected")).args
            assert (greeting["userId"], greeting["socketId"]) == (subject, client.sid)
            yield client

    async def place_order(self, order_id: str, customer: str) -> None:
        await self.do("PUT", f"/orders/{order_id}", {"orderNumber": f"RZ-{order_id}", "customerId": customer})

    async def open_ticket(self, ticket_id: str, customer: str = "ada", agent: str | None = None) -> None:
        await self.do("PUT", f"/tickets/{ticket_id}", {**OPENING, "customerId": customer})
        if agent is not None:
            await self.do("PUT", f"/agents/{agent}", AGENT)
            await self.do("POST", f"/tickets/{ticket_id}/agent", {"agentId": agent})


@asynccontextmanager
async def open_market(folder: Path, **environ: str) -> AsyncIterator[Market]:
    async with serve(folder / "data", "rez", **environ) as served:
        market = Market(served)
        async with market.connect("probe") as market.probe:
            yield market
