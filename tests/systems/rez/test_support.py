"""Support tickets of `rez`: the queue, agents, messages and receipts, with their events and refusals."""

import asyncio
from typing import Any

import pytest

from oyez.errors import RefusedError
from oyez.systems.rez import support
from oyez.systems.rez.contract import ticket
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
from oyez.testing import Harness
from tests.systems.rez.market import take_names

AGENT = AgentEntry(name="Desk", department="Delivery", status="online")


@pytest.fixture
async def oyez(oyez: Harness) -> Harness:
    for agent in ("agt", "agt-2"):
        await oyez.run(support.put_agent, agent, AGENT)
    await oyez.run(support.set_agent_status, "agt-2", AgentState(status="offline"))
    await oyez.take_published()
    return oyez


async def open_ticket(oyez: Harness, ticket_id: str, customer: str = "ada") -> Ticket:
    opening = TicketOpening(customer_id=customer, customer_name="tea-at-four", subject="Where is my kettle?")
    ticket, _ = await oyez.run(support.open_ticket, ticket_id, opening)
    return ticket


async def assign(oyez: Harness, ticket_id: str, agent_id: str = "agt") -> Ticket:
    return await oyez.run(support.assign, ticket_id, Assignment(agent_id=agent_id))


async def move(oyez: Harness, ticket_id: str, status: Any) -> Ticket:
    return await oyez.run(support.move_ticket, ticket_id, TicketMove(status=status))


async def post(oyez: Harness, ticket_id: str, message_id: str, sender_id: str) -> Any:
    posting = MessagePosting(sender_id=sender_id, type="text", content="Hello")
    return (await oyez.run(support.post_message, ticket_id, message_id, posting))[0]


async def members(oyez: Harness, ticket_id: str) -> list[str]:
    return await oyez.list_members(ticket(ticket_id))


async def places(oyez: Harness) -> list[tuple[str, int, int]]:
    return [
        (event.data["ticketId"], event.data["position"], event.data["estimatedWaitTime"])
        for event in await oyez.take_published()
        if event.name == "support_queue_position_updated"
    ]


# The queue.


async def test_a_ticket_waits_in_the_queue(oyez: Harness) -> None:
    ticket = await open_ticket(oyez, "t1")
    assert (ticket.status, ticket.position, ticket.estimated_wait_time, ticket.agent_id) == ("open", 1, 0, None)
    status, place = await oyez.take_published()
    assert (status.name, status.data["status"]) == ("support_ticket_status_changed", "open")
    assert place.data == {
        "timestamp": "2023-11-14T22:13:20.000Z",
        "ticketId": "t1",
        "position": 1,
        "estimatedWaitTime": 0,
    }
    assert status.rooms == place.rooms == ("support_ticket:t1", "user:ada")
    assert await members(oyez, "t1") == ["user:ada"]


async def test_opening_it_again_changes_nothing(oyez: Harness) -> None:
    await open_ticket(oyez, "t1")
    await oyez.take_published()
    await open_ticket(oyez, "t1")
    assert await oyez.take_published() == []
    with pytest.raises(RefusedError, match="another customer's"):
        await open_ticket(oyez, "t1", "bob")


async def test_later_tickets_move_up_and_their_customers_are_notified(oyez: Harness) -> None:
    for number in (1, 2, 3):
        await open_ticket(oyez, f"t{number}")
    assert await places(oyez) == [("t1", 1, 0), ("t2", 2, 10), ("t3", 3, 20)]
    await assign(oyez, "t1")
    assert await places(oyez) == [("t2", 1, 0), ("t3", 2, 10)]
    await move(oyez, "t2", "closed")
    assert await places(oyez) == [("t3", 1, 0)]


async def test_the_wait_is_estimated_from_what_tickets_took(oyez: Harness) -> None:
    for number, minutes in ((1, 4), (2, 8)):
        await open_ticket(oyez, f"t{number}")
        await assign(oyez, f"t{number}")
        await oyez.advance(60 * minutes - 1)
        await move(oyez, f"t{number}", "resolved")
    await oyez.take_published()
    for number in (3, 4, 5):
        await open_ticket(oyez, f"t{number}")
    assert await places(oyez) == [("t3", 1, 0), ("t4", 2, 6), ("t5", 3, 12)]
    await oyez.run(support.set_agent_status, "agt-2", AgentState(status="busy"))
    assert (await oyez.database.read(support.get_ticket, "t5")).estimated_wait_time == 6


async def test_the_next_ticket_is_the_one_that_has_waited_longest(oyez: Harness) -> None:
    for number in (1, 2):
        await open_ticket(oyez, f"t{number}")
    given = [await oyez.run(support.assign_next, "agt") for _ in range(3)]
    assert [ticket and ticket.ticket_id for ticket in given] == ["t1", "t2", None]


async def test_two_agents_never_get_the_same_ticket(oyez: Harness) -> None:
    for number in range(6):
        await open_ticket(oyez, f"t{number}")
    agents = ["agt", "agt-2"] * 3
    taken = await asyncio.gather(*(oyez.outbox.run(support.assign_next, agent) for agent in agents))
    assert sorted(ticket.ticket_id for ticket in taken if ticket) == [f"t{number}" for number in range(6)]


# Agents.


async def test_a_ticket_gets_an_agent(oyez: Harness) -> None:
    await open_ticket(oyez, "t1")
    await oyez.take_published()
    ticket = await assign(oyez, "t1")
    assert (ticket.status, ticket.agent_id, ticket.position) == ("in_progress", "agt", None)
    assigned, status = await oyez.take_published()
    assert assigned.name == "support_agent_assigned"
    assert assigned.data["agent"] == {"id": "agt", "name": "Desk", "department": "Delivery"}
    assert assigned.rooms == ("support_ticket:t1", "user:ada", "user:agt")
    assert (status.name, status.data["status"]) == ("support_ticket_status_changed", "in_progress")
    assert await members(oyez, "t1") == ["user:ada", "user:agt"]
    await assign(oyez, "t1")
    assert await oyez.take_published() == []


async def test_another_agent_takes_over_and_the_first_is_out(oyez: Harness) -> None:
    await open_ticket(oyez, "t1")
    await assign(oyez, "t1")
    await oyez.take_published()
    await assign(oyez, "t1", "agt-2")
    assert await take_names(oyez) == ["support_agent_assigned"]
    assert await members(oyez, "t1") == ["user:ada", "user:agt-2"]


async def test_a_ticket_that_is_put_back_waits_again_at_its_old_place(oyez: Harness) -> None:
    await open_ticket(oyez, "t1")
    await assign(oyez, "t1")
    await open_ticket(oyez, "t2")
    await oyez.take_published()
    ticket = await move(oyez, "t1", "open")
    assert (ticket.agent_id, ticket.position) == (None, 1)
    assert await members(oyez, "t1") == ["user:ada"]
    assert await places(oyez) == [("t1", 1, 0), ("t2", 2, 10)]


async def test_customers_receive_the_status_of_their_agent(oyez: Harness) -> None:
    for number in (1, 2, 3):
        await open_ticket(oyez, f"t{number}")
        await assign(oyez, f"t{number}")
    await move(oyez, "t2", "pending")
    await move(oyez, "t3", "resolved")
    await oyez.take_published()
    await oyez.run(support.set_agent_status, "agt", AgentState(status="busy"))
    (told,) = await oyez.take_published()
    assert (told.name, told.rooms) == ("support_agent_status_changed", ("support_ticket:t1", "support_ticket:t2"))
    assert told.data["status"] == "busy"
    await oyez.run(support.set_agent_status, "agt", AgentState(status="busy"))
    assert await oyez.take_published() == []


async def test_an_agent_is_taken_in_once_and_changed_after_that(oyez: Harness) -> None:
    assert (await oyez.run(support.put_agent, "agt-3", AGENT))[1] is True
    changed = AgentEntry(name="Desk 3", department="Returns", status="away")
    agent, new = await oyez.run(support.put_agent, "agt-3", changed)
    assert (agent.name, agent.status, new) == ("Desk 3", "away", False)
    with pytest.raises(RefusedError, match="There is no agent 'agt-9'"):
        await oyez.run(support.set_agent_status, "agt-9", AgentState(status="away"))


# Status.


@pytest.mark.parametrize("state", TICKETS)
async def test_only_what_the_table_allows(oyez: Harness, state: str) -> None:
    await open_ticket(oyez, "t1")
    if state != "open":
        await assign(oyez, "t1")
    await move(oyez, "t1", state)
    await oyez.take_published()
    for wanted in sorted(TICKETS.keys() - {state} - set(TICKETS[state].values())):
        with pytest.raises(RefusedError) as refused:
            await move(oyez, "t1", wanted)
        assert refused.value.refusal.code == "illegal_transition"
    assert await oyez.take_published() == []


async def test_without_an_agent_nothing_is_in_progress(oyez: Harness) -> None:
    await open_ticket(oyez, "t1")
    with pytest.raises(RefusedError, match="has no agent"):
        await move(oyez, "t1", "in_progress")


async def test_a_closed_ticket_is_closed(oyez: Harness) -> None:
    await open_ticket(oyez, "t1")
    await move(oyez, "t1", "closed")
    for attempt in (assign(oyez, "t1"), post(oyez, "t1", "m1", "ada")):
        with pytest.raises(RefusedError) as refused:
            await attempt
        assert refused.value.refusal.code == "illegal_transition"


# Messages.


async def test_messages_reach_all_clients_of_the_other_side(oyez: Harness) -> None:
    await open_ticket(oyez, "t1")
    await assign(oyez, "t1")
    await oyez.take_published()
    await post(oyez, "t1", "m1", "ada")
    await post(oyez, "t1", "m2", "agt")
    first, second = await oyez.take_published()
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


async def test_a_message_is_stored_once(oyez: Harness) -> None:
    await open_ticket(oyez, "t1")
    await oyez.take_published()
    assert await post(oyez, "t1", "m1", "ada") == await post(oyez, "t1", "m1", "ada")
    assert await take_names(oyez) == ["support_message_received"]
    await open_ticket(oyez, "t2")
    with pytest.raises(RefusedError, match="is another one"):
        await post(oyez, "t2", "m1", "ada")


async def test_no_other_process_writes(oyez: Harness) -> None:
    await open_ticket(oyez, "t1")
    await assign(oyez, "t1")
    for stranger in ("bob", "agt-2"):
        with pytest.raises(RefusedError) as refused:
            await post(oyez, "t1", "m1", stranger)
        assert refused.value.refusal.code == "forbidden"


@pytest.mark.parametrize("state", ["pending", "resolved"])
async def test_a_customers_message_brings_a_ticket_back(oyez: Harness, state: str) -> None:
    await open_ticket(oyez, "t1")
    await assign(oyez, "t1")
    await move(oyez, "t1", state)
    await post(oyez, "t1", "m1", "agt")
    assert (await oyez.database.read(support.get_ticket, "t1")).status == state
    await oyez.take_published()
    await post(oyez, "t1", "m2", "ada")
    assert await take_names(oyez) == [
        "support_message_received",
        "support_ticket_status_changed",
    ]
    ticket = await oyez.database.read(support.get_ticket, "t1")
    assert (ticket.status, ticket.resolved_at) == ("in_progress", None)


async def test_what_was_resolved_without_an_agent_waits_again(oyez: Harness) -> None:
    await open_ticket(oyez, "t1")
    await move(oyez, "t1", "resolved")
    await oyez.take_published()
    await post(oyez, "t1", "m1", "ada")
    assert await places(oyez) == [("t1", 1, 0)]


# Receipts.


async def test_a_message_is_read_once(oyez: Harness) -> None:
    await open_ticket(oyez, "t1")
    await assign(oyez, "t1")
    await post(oyez, "t1", "m1", "agt")
    await oyez.take_published()
    first = await oyez.run(support.read_message, "t1", "m1", "ada")
    delivered, read = await oyez.take_published()
    assert (delivered.name, delivered.rooms) == ("support_message_delivered", ("support_ticket:t1", "user:agt"))
    assert read.data == {"messageId": "m1", "readBy": "ada", "readAt": "2023-11-14T22:13:20.000Z"}
    assert read.rooms == ("support_ticket:t1", "user:ada")
    await oyez.advance(60)
    assert await oyez.run(support.read_message, "t1", "m1", "ada") == first
    assert await oyez.take_published() == []


async def test_a_message_is_delivered_once(oyez: Harness) -> None:
    await open_ticket(oyez, "t1")
    await post(oyez, "t1", "m1", "ada")
    await oyez.take_published()
    first = await oyez.run(support.deliver_message, "t1", "m1")
    await oyez.advance(60)
    assert await oyez.run(support.deliver_message, "t1", "m1") == first
    assert await take_names(oyez) == ["support_message_delivered"]


async def test_what_cannot_be_read(oyez: Harness) -> None:
    await open_ticket(oyez, "t1")
    await open_ticket(oyez, "t2")
    await post(oyez, "t1", "m1", "ada")
    with pytest.raises(RefusedError, match="read by whom it was written to") as refused:
        await oyez.run(support.read_message, "t1", "m1", "ada")
    assert refused.value.refusal.code == "forbidden"
    for ticket_id, message_id in (("t2", "m1"), ("t1", "m2")):
        with pytest.raises(RefusedError) as refused:
            await oyez.run(support.read_message, ticket_id, message_id, "agt")
        assert refused.value.refusal.code == "not_found"
