"""Support tickets of `rez`: the queue, agents, messages and receipts, with their events and refusals."""

import asyncio
from typing import Any

import pytest

from oyez.contract.rooms import NamedRoom
from oyez.errors import RefusedError
from oyez.service.outbox.members import list_parts
from oyez.systems.rez import support
from oyez.systems.rez.states import TICKETS
from oyez.systems.rez.support import (
    AgentEntry,
    AgentState,
    Assignment,
    MessagePosting,
    Ticket,
    TicketMove,
    TicketOpening,
)
from tests.systems.rez.shop import Shop

AGENT = AgentEntry(name="Desk", department="Delivery", status="online")


@pytest.fixture
async def shop(shop: Shop) -> Shop:
    for agent in ("agt", "agt-2"):
        await shop.do(support.put_agent, agent, AGENT)
    await shop.do(support.set_agent_status, "agt-2", AgentState(status="offline"))
    return shop


async def open_ticket(shop: Shop, ticket_id: str, customer: str = "ada") -> Ticket:
    opening = TicketOpening(customer_id=customer, customer_name="tea-at-four", subject="Where is my kettle?")
    ticket, _ = await shop.do(support.open_ticket, ticket_id, opening)
    return ticket  # type: ignore[no-any-return]


async def assign(shop: Shop, ticket_id: str, agent_id: str = "agt") -> Ticket:
    return await shop.do(support.assign, ticket_id, Assignment(agent_id=agent_id))  # type: ignore[no-any-return]


async def move(shop: Shop, ticket_id: str, status: Any) -> Ticket:
    return await shop.do(support.move_ticket, ticket_id, TicketMove(status=status))  # type: ignore[no-any-return]


async def post(shop: Shop, ticket_id: str, message_id: str, sender_id: str) -> Any:
    posting = MessagePosting(sender_id=sender_id, type="text", content="Hello")
    return (await shop.do(support.post_message, ticket_id, message_id, posting))[0]


async def members(shop: Shop, ticket_id: str) -> list[str]:
    room = NamedRoom("/", f"support_ticket:{ticket_id}")
    return await shop.database.read(lambda connection: list(list_parts(connection, "rez", room, after="", limit=10)))


def places(shop: Shop) -> list[tuple[str, int, int]]:
    return [
        (event.data["ticketId"], event.data["position"], event.data["estimatedWaitTime"])
        for event in shop.emitted()
        if event.name == "support_queue_position_updated"
    ]


# The queue.


async def test_a_ticket_waits_in_the_queue(shop: Shop) -> None:
    ticket = await open_ticket(shop, "t1")
    assert (ticket.status, ticket.position, ticket.estimated_wait_time, ticket.agent_id) == ("open", 1, 0, None)
    status, place = shop.emitted()
    assert (status.name, status.data["status"]) == ("support_ticket_status_changed", "open")
    assert place.data == {
        "timestamp": "2023-11-14T22:13:20.000Z",
        "ticketId": "t1",
        "position": 1,
        "estimatedWaitTime": 0,
    }
    assert status.rooms == place.rooms == ("support_ticket:t1", "user:ada")
    assert await members(shop, "t1") == ["user:ada"]


async def test_opening_it_again_changes_nothing(shop: Shop) -> None:
    await open_ticket(shop, "t1")
    shop.emitted()
    await open_ticket(shop, "t1")
    assert shop.emitted() == []
    with pytest.raises(RefusedError, match="another customer's"):
        await open_ticket(shop, "t1", "bob")


async def test_later_tickets_move_up_and_their_customers_are_notified(shop: Shop) -> None:
    for number in (1, 2, 3):
        await open_ticket(shop, f"t{number}")
    assert places(shop) == [("t1", 1, 0), ("t2", 2, 10), ("t3", 3, 20)]
    await assign(shop, "t1")
    assert places(shop) == [("t2", 1, 0), ("t3", 2, 10)]
    await move(shop, "t2", "closed")
    assert places(shop) == [("t3", 1, 0)]


async def test_the_wait_is_estimated_from_what_tickets_took(shop: Shop) -> None:
    for number, minutes in ((1, 4), (2, 8)):
        await open_ticket(shop, f"t{number}")
        await assign(shop, f"t{number}")
        shop.clock.now += 60 * minutes
        await move(shop, f"t{number}", "resolved")
    shop.emitted()
    for number in (3, 4, 5):
        await open_ticket(shop, f"t{number}")
    assert places(shop) == [("t3", 1, 0), ("t4", 2, 6), ("t5", 3, 12)]
    await shop.do(support.set_agent_status, "agt-2", AgentState(status="busy"))
    assert (await shop.database.read(support.get_ticket, "t5")).estimated_wait_time == 6


async def test_the_next_ticket_is_the_one_that_has_waited_longest(shop: Shop) -> None:
    for number in (1, 2):
        await open_ticket(shop, f"t{number}")
    assert (await shop.do(support.assign_next, "agt")).ticket_id == "t1"
    assert (await shop.do(support.assign_next, "agt")).ticket_id == "t2"
    assert await shop.do(support.assign_next, "agt") is None


async def test_two_agents_never_get_the_same_ticket(shop: Shop) -> None:
    for number in range(6):
        await open_ticket(shop, f"t{number}")
    agents = ["agt", "agt-2"] * 3
    taken = await asyncio.gather(*(shop.outbox.run(support.assign_next, agent) for agent in agents))
    assert sorted(ticket.ticket_id for ticket in taken if ticket) == [f"t{number}" for number in range(6)]


# Agents.


async def test_a_ticket_gets_an_agent(shop: Shop) -> None:
    await open_ticket(shop, "t1")
    shop.emitted()
    ticket = await assign(shop, "t1")
    assert (ticket.status, ticket.agent_id, ticket.position) == ("in_progress", "agt", None)
    assigned, status = shop.emitted()
    assert assigned.name == "support_agent_assigned"
    assert assigned.data["agent"] == {"id": "agt", "name": "Desk", "department": "Delivery"}
    assert assigned.rooms == ("support_ticket:t1", "user:ada", "user:agt")
    assert (status.name, status.data["status"]) == ("support_ticket_status_changed", "in_progress")
    assert await members(shop, "t1") == ["user:ada", "user:agt"]
    await assign(shop, "t1")
    assert shop.emitted() == []


async def test_another_agent_takes_over_and_the_first_is_out(shop: Shop) -> None:
    await open_ticket(shop, "t1")
    await assign(shop, "t1")
    shop.emitted()
    await assign(shop, "t1", "agt-2")
    assert shop.emitted_names() == ["member_removed", "support_agent_assigned"]
    assert await members(shop, "t1") == ["user:ada", "user:agt-2"]


async def test_a_ticket_that_is_put_back_waits_again_at_its_old_place(shop: Shop) -> None:
    await open_ticket(shop, "t1")
    await assign(shop, "t1")
    await open_ticket(shop, "t2")
    shop.emitted()
    ticket = await move(shop, "t1", "open")
    assert (ticket.agent_id, ticket.position) == (None, 1)
    assert await members(shop, "t1") == ["user:ada"]
    assert places(shop) == [("t1", 1, 0), ("t2", 2, 10)]


async def test_customers_receive_the_status_of_their_agent(shop: Shop) -> None:
    for number in (1, 2, 3):
        await open_ticket(shop, f"t{number}")
        await assign(shop, f"t{number}")
    await move(shop, "t2", "pending")
    await move(shop, "t3", "resolved")
    shop.emitted()
    await shop.do(support.set_agent_status, "agt", AgentState(status="busy"))
    (told,) = shop.emitted()
    assert (told.name, told.rooms) == ("support_agent_status_changed", ("support_ticket:t1", "support_ticket:t2"))
    assert told.data["status"] == "busy"
    await shop.do(support.set_agent_status, "agt", AgentState(status="busy"))
    assert shop.emitted() == []


async def test_an_agent_is_taken_in_once_and_changed_after_that(shop: Shop) -> None:
    assert (await shop.do(support.put_agent, "agt-3", AGENT))[1] is True
    changed = AgentEntry(name="Desk 3", department="Returns", status="away")
    agent, new = await shop.do(support.put_agent, "agt-3", changed)
    assert (agent.name, agent.status, new) == ("Desk 3", "away", False)
    with pytest.raises(RefusedError, match="There is no agent 'agt-9'"):
        await shop.do(support.set_agent_status, "agt-9", AgentState(status="away"))


# Status.


@pytest.mark.parametrize("state", TICKETS)
async def test_only_what_the_table_allows(shop: Shop, state: str) -> None:
    await open_ticket(shop, "t1")
    if state != "open":
        await assign(shop, "t1")
    await move(shop, "t1", state)
    shop.emitted()
    for wanted in sorted(TICKETS.keys() - {state} - set(TICKETS[state].values())):
        with pytest.raises(RefusedError) as refused:
            await move(shop, "t1", wanted)
        assert refused.value.refusal.code == "illegal_transition"
    assert shop.emitted() == []


async def test_without_an_agent_nothing_is_in_progress(shop: Shop) -> None:
    await open_ticket(shop, "t1")
    with pytest.raises(RefusedError, match="has no agent"):
        await move(shop, "t1", "in_progress")


async def test_a_closed_ticket_is_closed(shop: Shop) -> None:
    await open_ticket(shop, "t1")
    await move(shop, "t1", "closed")
    for attempt in (assign(shop, "t1"), post(shop, "t1", "m1", "ada")):
        with pytest.raises(RefusedError) as refused:
            await attempt
        assert refused.value.refusal.code == "illegal_transition"


# Messages.


async def test_messages_reach_all_clients_of_the_other_side(shop: Shop) -> None:
    await open_ticket(shop, "t1")
    await assign(shop, "t1")
    shop.emitted()
    await post(shop, "t1", "m1", "ada")
    await post(shop, "t1", "m2", "agt")
    first, second = shop.emitted()
    assert first.data == {
        "id": "m1",
        "ticketId": "t1",
        "senderId": "ada",
        "senderName": "tea-at-four",
        "type": "text",
        "content": "Hello",
        "createdAt": "2023-11-14T22:13:20.000Z",
    }
    # The sender's own devices as well, whether or not they have opened the chat.
    assert first.rooms == ("support_ticket:t1", "user:ada", "user:agt")
    assert (second.data["senderName"], second.rooms) == ("Desk", ("support_ticket:t1", "user:agt", "user:ada"))


async def test_a_message_is_stored_once(shop: Shop) -> None:
    await open_ticket(shop, "t1")
    shop.emitted()
    assert await post(shop, "t1", "m1", "ada") == await post(shop, "t1", "m1", "ada")
    assert shop.emitted_names() == ["support_message_received"]
    await open_ticket(shop, "t2")
    with pytest.raises(RefusedError, match="is another one"):
        await post(shop, "t2", "m1", "ada")


async def test_no_other_process_writes(shop: Shop) -> None:
    await open_ticket(shop, "t1")
    await assign(shop, "t1")
    for stranger in ("bob", "agt-2"):
        with pytest.raises(RefusedError) as refused:
            await post(shop, "t1", "m1", stranger)
        assert refused.value.refusal.code == "forbidden"


@pytest.mark.parametrize("state", ["pending", "resolved"])
async def test_a_customers_message_brings_a_ticket_back(shop: Shop, state: str) -> None:
    await open_ticket(shop, "t1")
    await assign(shop, "t1")
    await move(shop, "t1", state)
    await post(shop, "t1", "m1", "agt")
    assert (await shop.database.read(support.get_ticket, "t1")).status == state
    shop.emitted()
    await post(shop, "t1", "m2", "ada")
    assert shop.emitted_names() == ["support_message_received", "support_ticket_status_changed"]
    ticket = await shop.database.read(support.get_ticket, "t1")
    assert (ticket.status, ticket.resolved_at) == ("in_progress", None)


async def test_what_was_resolved_without_an_agent_waits_again(shop: Shop) -> None:
    await open_ticket(shop, "t1")
    await move(shop, "t1", "resolved")
    shop.emitted()
    await post(shop, "t1", "m1", "ada")
    assert places(shop) == [("t1", 1, 0)]


# Receipts.


async def test_a_message_is_read_once(shop: Shop) -> None:
    await open_ticket(shop, "t1")
    await assign(shop, "t1")
    await post(shop, "t1", "m1", "agt")
    shop.emitted()
    first = await shop.do(support.read_message, "t1", "m1", "ada")
    delivered, read = shop.emitted()
    assert (delivered.name, delivered.rooms) == ("support_message_delivered", ("support_ticket:t1", "user:agt"))
    assert read.data == {"messageId": "m1", "readBy": "ada", "readAt": "2023-11-14T22:13:20.000Z"}
    assert read.rooms == ("support_ticket:t1", "user:ada")
    shop.clock.now += 60
    assert await shop.do(support.read_message, "t1", "m1", "ada") == first
    assert shop.emitted() == []


async def test_a_message_is_delivered_once(shop: Shop) -> None:
    await open_ticket(shop, "t1")
    await post(shop, "t1", "m1", "ada")
    shop.emitted()
    first = await shop.do(support.deliver_message, "t1", "m1")
    shop.clock.now += 60
    assert await shop.do(support.deliver_message, "t1", "m1") == first
    assert shop.emitted_names() == ["support_message_delivered"]


async def test_what_cannot_be_read(shop: Shop) -> None:
    await open_ticket(shop, "t1")
    await open_ticket(shop, "t2")
    await post(shop, "t1", "m1", "ada")
    with pytest.raises(RefusedError, match="read by whom it was written to") as refused:
        await shop.do(support.read_message, "t1", "m1", "ada")
    assert refused.value.refusal.code == "forbidden"
    for ticket_id, message_id in (("t2", "m1"), ("t1", "m2")):
        with pytest.raises(RefusedError) as refused:
            await shop.do(support.read_message, ticket_id, message_id, "agt")
        assert refused.value.refusal.code == "not_found"
