"""Presence in `rez`: typing that ends after a time, agents who are cut off and reconnect, devices of one user."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from oyez.client import Client, connect
from oyez.service import typing
from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.systems.rez import support, system
from tests.support.shops import Market, serve
from tests.systems.rez.market import AGENT, OPENING, PATH

TICKET = "/tickets/t1"


class Desk:
    """A ticket of Ada's that the agent Bea answers."""

    def __init__(self, market: Market) -> None:
        self.market = market

    async def do(self, method: str, path: str, body: Any = None) -> Any:
        response = await self.market.call(method, f"/rez/api{path}", body)
        assert response.status_code in (200, 201), response.text
        return response.json()

    def connect(self, subject: str, role: str = "user") -> AbstractAsyncContextManager[Client]:
        token = self.market.oyez.signer.sign_user(subject, role, {}, 60.0)
        return connect(self.market.url, path=PATH, auth={"token": token}, transports=["websocket"])


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(support, "AGENT_GRACE", 0.2)
    monkeypatch.setattr(typing, "SILENCE", 0.3)
    async with serve(Oyez([system], Settings(port=0, oyez_data=str(tmp_path)))) as market:
        desk = Desk(market)
        await desk.do("PUT", TICKET, OPENING)
        await desk.do("PUT", "/agents/bea", {**AGENT, "status": "busy"})
        await desk.do("POST", f"{TICKET}/agent", {"agentId": "bea"})
        yield desk


async def test_an_agent_who_is_cut_off_is_offline_until_they_are_back(desk: Desk) -> None:
    async def statuses(client: Client, count: int) -> list[str]:
        events = [await client.expect_event("support_agent_status_changed") for _ in range(count)]
        return [event.args[0]["status"] for event in events]

    async with desk.connect("ada") as ada:
        await ada.call("join_ticket", {"ticketId": "t1"})
        async with desk.connect("bea", "agent"):
            async with desk.connect("bea", "agent") as phone:
                await phone.expect_event("connected")
            assert (await desk.do("GET", "/agents/bea"))["status"] == "busy"
        assert await statuses(ada, 1) == ["offline"]
        async with desk.connect("bea", "agent") as back:
            assert await statuses(ada, 1) == ["busy"]
            await back.expect_event("connected")
        assert await statuses(ada, 1) == ["offline"]
        # A status that the back end sets in the meantime is kept.
        await desk.do("POST", "/agents/bea/status", {"status": "away"})
        async with desk.connect("bea", "agent") as back:
            await back.expect_event("connected")
            assert await statuses(ada, 1) == ["away"]
            assert (await desk.do("GET", "/agents/bea"))["status"] == "away"


async def test_the_agent_of_a_killed_node_becomes_offline(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents count as present as long as a node announces them."""
    monkeypatch.setattr(support, "AGENT_LEASE", 0.6)
    monkeypatch.setattr(support, "AGENT_RENEWAL", 0.1)
    async with desk.connect("ada") as ada:
        await ada.call("join_ticket", {"ticketId": "t1"})
        async with desk.connect("bea", "agent") as bea:
            await bea.expect_event("connected")
            # Longer than a lease: it has been renewed.
            await asyncio.sleep(0.8)
            await ada.expect_nothing("support_agent_status_changed")
            # What the node of a client that is gone has left: a lease that no node renews.
            monkeypatch.setattr(support, "AGENT_RENEWAL", 60.0)
            event = await ada.expect_event("support_agent_status_changed")
        assert event.args[0]["status"] == "offline"


async def test_typing_ends_by_itself(desk: Desk) -> None:
    async with desk.connect("ada") as ada, desk.connect("bea", "agent") as bea:
        for client in (ada, bea):
            assert (await client.call("join_ticket", {"ticketId": "t1"}))["ok"]
        # Silent.
        await ada.call("user_typing_start", {"ticketId": "t1"})
        await bea.expect_event("user_typing_start")
        assert (await bea.expect_event("user_typing_stop")).args == [{"ticketId": "t1", "userId": "ada"}]
        # Written: the message comes over HTTP, and after the word that the typing is over.
        for sender, other, kind in (("ada", bea, "user"), ("bea", ada, "support_agent")):
            await (ada if sender == "ada" else bea).call("user_typing_start", {"ticketId": "t1"})
            await other.expect_event(f"{kind}_typing_start")
            posting = {"senderId": sender, "type": "text", "content": "Hello"}
            await desk.do("PUT", f"{TICKET}/messages/of-{sender}", posting)
            await other.expect_event(f"{kind}_typing_stop")
        # Gone.
        await bea.call("user_typing_start", {"ticketId": "t1"})
        await ada.expect_event("support_agent_typing_start")
        await bea.disconnect()
        assert (await ada.expect_event("support_agent_typing_stop")).args == [{"ticketId": "t1", "agentId": "bea"}]


async def test_all_devices_of_a_user_know_what_was_sent_and_read(desk: Desk) -> None:
    """Also those that have not opened the chat."""
    async with desk.connect("ada") as ada, desk.connect("ada") as phone:
        await ada.call("join_ticket", {"ticketId": "t1"})
        for sender in ("ada", "bea"):
            posting = {"senderId": sender, "type": "text", "content": "Hello"}
            message = await desk.do("PUT", f"{TICKET}/messages/of-{sender}", posting)
            for client in (ada, phone):
                assert (await client.expect_event("support_message_received")).args == [message]
        read = await ada.call("message_read", {"ticketId": "t1", "messageId": "of-bea"})
        del read["ok"]
        for client in (ada, phone):
            assert (await client.expect_event("support_message_read")).args == [read]
