"""Presence in `rez`: typing that ends after a time, agents who are cut off and reconnect, devices of one user."""

import pytest

from oyez.service.typing import SILENCE
from oyez.systems.rez.support import AGENT_GRACE, AGENT_LEASE
from oyez.testing import TestClient
from tests.systems.rez.market import Market

TICKET = "/tickets/t1"
CHANGED = "support_agent_status_changed"


@pytest.fixture
async def market(market: Market) -> Market:
    """A ticket of Ada's that the agent Bea answers."""
    await market.open_ticket("t1", "ada", "bea")
    await market.do("POST", "/agents/bea/status", {"status": "busy"})
    return market


async def follow(market: Market, subject: str, role: str | None = None) -> TestClient:
    """A client in the chat of the ticket."""
    client = await market.enter(subject, role)
    assert (await client.call("join_ticket", {"ticketId": "t1"}))["ok"]
    return client


async def post(market: Market, sender: str) -> dict[str, object]:
    posting = {"senderId": sender, "type": "text", "content": "Hello"}
    message: dict[str, object] = await market.do("PUT", f"{TICKET}/messages/of-{sender}", posting)
    return message


async def test_an_agent_who_is_cut_off_is_offline_until_they_are_back(market: Market) -> None:
    ada, bea = await follow(market, "ada"), await market.enter("bea", "agent")
    phone = await market.enter("bea", "agent")
    await phone.disconnect()
    await market.oyez.advance(2 * AGENT_GRACE)
    await ada.expect_nothing()
    assert (await market.do("GET", "/agents/bea"))["status"] == "busy"
    await bea.drop()
    await market.oyez.advance(AGENT_GRACE - 1)
    await ada.expect_nothing()
    await market.oyez.advance(1)
    await ada.expect_event(CHANGED, status="offline")
    bea = await market.enter("bea", "agent")
    await ada.expect_event(CHANGED, status="busy")
    await bea.drop()
    await market.oyez.advance(AGENT_GRACE)
    await ada.expect_event(CHANGED, status="offline")
    # A status that the back end sets in the meantime is kept.
    await market.do("POST", "/agents/bea/status", {"status": "away"})
    await market.enter("bea", "agent")
    await ada.expect_event(CHANGED, status="away")
    assert (await market.do("GET", "/agents/bea"))["status"] == "away"
    await ada.expect_nothing()


async def test_the_agent_of_a_killed_node_becomes_offline(market: Market) -> None:
    """Agents count as present as long as a node announces them."""
    ada, _ = await follow(market, "ada"), await market.enter("bea", "agent")
    # Longer than a lease: it has been renewed.
    await market.oyez.advance(2 * AGENT_LEASE)
    await ada.expect_nothing()
    await market.oyez.kill()
    await ada.reconnect()
    await market.oyez.advance(AGENT_LEASE)
    await ada.expect_event(CHANGED, status="offline")


async def test_typing_ends_by_itself(market: Market) -> None:
    ada, bea = await follow(market, "ada"), await follow(market, "bea", "agent")
    # Silent.
    await ada.call("user_typing_start", {"ticketId": "t1"})
    await bea.expect_event("user_typing_start")
    await market.oyez.advance(SILENCE - 1)
    await bea.expect_nothing()
    await market.oyez.advance(1)
    assert (await bea.expect_event("user_typing_stop")).data == {"ticketId": "t1", "userId": "ada"}
    # Written: the message comes over HTTP, and after the word that the typing is over.
    for sender, typist, other, kind in (("ada", ada, bea, "user"), ("bea", bea, ada, "support_agent")):
        await typist.call("user_typing_start", {"ticketId": "t1"})
        await other.expect_event(f"{kind}_typing_start")
        await post(market, sender)
        await other.expect_event(f"{kind}_typing_stop")
    # Gone.
    await bea.call("user_typing_start", {"ticketId": "t1"})
    await ada.expect_event("support_agent_typing_start")
    await bea.disconnect()
    assert (await ada.expect_event("support_agent_typing_stop")).data == {"ticketId": "t1", "agentId": "bea"}


async def test_all_devices_of_a_user_know_what_was_sent_and_read(market: Market) -> None:
    """Also those that have not opened the chat."""
    ada, phone = await follow(market, "ada"), await market.enter("ada")
    for sender in ("ada", "bea"):
        message = await post(market, sender)
        for client in (ada, phone):
            assert (await client.expect_event("support_message_received")).data == message
    read = await ada.call("message_read", {"ticketId": "t1", "messageId": "of-bea"})
    del read["ok"]
    for client in (ada, phone):
        assert (await client.expect_event("support_message_read")).data == read
