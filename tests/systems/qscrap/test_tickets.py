"""Support tickets of `qscrap`: events, members and refusals."""

from itertools import product
from typing import Any

import pytest

from oyez.systems.qscrap import states
from oyez.testing import Published
from tests.systems.qscrap.backend import START, Backend

TICKET: dict[str, Any] = {"customer_id": "U-1", "subject": "Where is my refund?", "priority": "high"}
ASKED = {"sender_id": "U-1", "sender_role": "customer", "message": "It has been a week."}
ANSWERED = {"sender_id": "U-30412", "sender_role": "operations", "message": "It was sent on Monday."}
LATER = "2026-01-12T09:30:00.000Z"


async def members(backend: Backend, ticket: str) -> list[str]:
    response = await backend.oyez.request("GET", f"/qscrap/rooms/ticket_{ticket}/members")
    found: list[str] = response.json()["members"]
    return found


# Opening.


async def test_operations_receive_a_new_ticket_and_its_customer_is_a_member(backend: Backend) -> None:
    status, ticket = await backend.put("/tickets/T-1", **TICKET)
    assert status == 201
    assert ticket == {"ticket_id": "T-1", **TICKET, "status": "open", "created_at": START}
    assert await backend.emitted() == [
        Published(
            "new_ticket",
            ("user_operations",),
            {"ticket_id": "T-1", "subject": TICKET["subject"], "priority": "high", "timestamp": START},
        )
    ]
    assert await members(backend, "T-1") == ["user:U-1"]
    assert await backend.get("/tickets/T-1") == (200, ticket)


async def test_a_ticket_is_normal_unless_it_says_otherwise(backend: Backend) -> None:
    _, ticket = await backend.put("/tickets/T-1", customer_id="U-1", subject="Hello")
    assert ticket["priority"] == "normal"


async def test_putting_it_again_sends_no_event(backend: Backend) -> None:
    _, ticket = await backend.put("/tickets/T-1", **TICKET)
    await backend.emitted()
    assert await backend.put("/tickets/T-1", **TICKET) == (200, ticket)
    assert await backend.put("/tickets/T-1", **{**TICKET, "priority": "low"}) == (200, {**ticket, "priority": "low"})
    assert await backend.emitted() == []


async def test_another_customer_takes_the_first_ones_place(backend: Backend) -> None:
    await backend.put("/tickets/T-1", **TICKET)
    await backend.emitted()
    assert (await backend.put("/tickets/T-1", **{**TICKET, "customer_id": "U-2"}))[0] == 200
    assert await backend.emitted() == []
    assert await members(backend, "T-1") == ["user:U-2"]


async def test_no_customer_can_be_called_operations(backend: Backend) -> None:
    status, problem = await backend.put("/tickets/T-1", **{**TICKET, "customer_id": "operations"})
    assert (status, problem["code"]) == (422, "unknown_room")
    assert await backend.emitted() == []


# Writing.


@pytest.mark.parametrize(("body", "told_to"), [(ASKED, "user_operations"), (ANSWERED, "user_U-1")])
async def test_a_message_reaches_the_room_and_the_other_side(
    backend: Backend, body: dict[str, Any], told_to: str
) -> None:
    await backend.put("/tickets/T-1", **TICKET)
    await backend.emitted()
    await backend.oyez.advance(5400)
    status, message = await backend.put("/tickets/T-1/messages/M-1", **body)
    assert status == 201
    assert message == {"message_id": "M-1", "ticket_id": "T-1", **body, "created_at": LATER}
    sent = {"message_id": "M-1", "ticket_id": "T-1", **body, "timestamp": LATER}
    reply = {"ticket_id": "T-1", "message": body["message"], "timestamp": LATER}
    assert await backend.emitted() == [
        Published("new_message", ("ticket_T-1",), sent),
        Published("support_reply", (told_to,), reply),
    ]


async def test_a_message_is_written_once(backend: Backend) -> None:
    await backend.put("/tickets/T-1", **TICKET)
    _, message = await backend.put("/tickets/T-1/messages/M-1", **ASKED)
    await backend.emitted()
    assert await backend.put("/tickets/T-1/messages/M-1", **ASKED) == (200, message)
    status, problem = await backend.put("/tickets/T-1/messages/M-1", **{**ASKED, "message": "Another."})
    assert (status, problem["code"]) == (409, "record_differs")
    assert problem["detail"] == "message is 'It has been a week.' and cannot become 'Another.'."
    assert await backend.emitted() == []


async def test_a_message_belongs_to_one_ticket(backend: Backend) -> None:
    for ticket in ("T-1", "T-2"):
        await backend.put(f"/tickets/{ticket}", **TICKET)
    await backend.put("/tickets/T-1/messages/M-1", **ASKED)
    assert (await backend.put("/tickets/T-2/messages/M-1", **ASKED))[1]["code"] == "record_differs"
    assert (await backend.get("/tickets/T-1/messages/M-1"))[0] == 200
    assert (await backend.get("/tickets/T-2/messages/M-1"))[0] == 404


async def test_a_customer_writes_in_his_own_tickets_only(backend: Backend) -> None:
    await backend.put("/tickets/T-1", **TICKET)
    await backend.emitted()
    status, problem = await backend.put("/tickets/T-1/messages/M-1", **{**ASKED, "sender_id": "U-2"})
    assert (status, problem["code"]) == (403, "forbidden")
    assert await backend.emitted() == []


async def test_a_closed_ticket_is_not_written_in(backend: Backend) -> None:
    await backend.put("/tickets/T-1", **TICKET)
    _, message = await backend.put("/tickets/T-1/messages/M-1", **ASKED)
    await backend.post("/tickets/T-1/close")
    await backend.emitted()
    assert (await backend.put("/tickets/T-1/messages/M-2", **ASKED))[1]["code"] == "illegal_transition"
    assert (await backend.put("/tickets/T-1", **{**TICKET, "priority": "low"}))[1]["code"] == "illegal_transition"
    # A request may be repeated: its answer may have been lost.
    assert await backend.put("/tickets/T-1/messages/M-1", **ASKED) == (200, message)
    assert await backend.emitted() == []


async def test_there_has_to_be_a_ticket(backend: Backend) -> None:
    for method, path, body in [
        ("PUT", "/tickets/T-1/messages/M-1", ASKED),
        ("GET", "/tickets/T-1/messages/M-1", None),
        ("GET", "/tickets/T-1/messages", None),
        ("GET", "/tickets/T-1", None),
        ("POST", "/tickets/T-1/close", None),
    ]:
        response = await backend.request(method, path, body)
        assert (response.status_code, response.json()["code"]) == (404, "unknown_record"), path


# Status.


ACTIONS = sorted({action for possible in states.TICKET.values() for action in possible})
WAYS: dict[str, list[str]] = {"open": [], "in_progress": ["start"], "resolved": ["resolve"], "closed": ["close"]}


async def test_a_ticket_moves_as_the_table_says(backend: Backend) -> None:
    for before, action in product(WAYS, ACTIONS):
        path = f"/tickets/{before}-{action}"
        await backend.put(path, **TICKET)
        for step in WAYS[before]:
            await backend.post(f"{path}/{step}")
        await backend.emitted()
        status, answer = await backend.post(f"{path}/{action}")
        after = states.TICKET[before].get(action)
        if after is not None:
            assert (status, answer["status"]) == (200, after)
            told = Published("ticket_updated", (f"ticket_{before}-{action}",), {"status": after, "timestamp": START})
            assert await backend.emitted() == [told]
            continue
        assert await backend.emitted() == []
        if any(possible.get(action) == before for possible in states.TICKET.values()):
            assert (status, answer["status"]) == (200, before)
        else:
            assert (status, answer["code"]) == (409, "illegal_transition")
            assert answer["detail"].startswith(f"It is {before!r}; to {action} it, it has to be ")
