"""`qscrap` with official clients: who receives what tickets and deadlines cause."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from oyez.contract.types import Time
from tests.support.js_client import JsClient, JsDriver
from tests.support.served import Served
from tests.systems import contracts

PATH = "/qscrap/socket.io/"
PEOPLE: dict[str, tuple[str, dict[str, Any]]] = {
    "U-1": ("customer", {}),
    "U-2": ("customer", {}),
    "staff": ("garage", {"garage_id": "G-1"}),
    "rivals": ("garage", {"garage_id": "G-2"}),
    "operator": ("operations", {}),
}
"""Each client's role and claims."""
example = partial(contracts.example, "qscrap")


@pytest.fixture(scope="module", autouse=True)
async def tickets(served: Served) -> None:
    for ticket, customer in (("T-5120", "U-1"), ("T-2", "U-2")):
        await put(served, f"/tickets/{ticket}", customer_id=customer, subject="Where is my refund?")


async def put(served: Served, path: str, **body: Any) -> None:
    response = await served.request("PUT", f"/qscrap/api{path}", body)
    assert response.status_code in (200, 201), response.text


async def publish(served: Served, event: str, to: str) -> None:
    await served.publish(event, example(event), to, system="qscrap")


async def connect(served: Served, js: JsDriver, person: str) -> JsClient:
    role, claims = PEOPLE[person]
    auth = {"token": served.token(person, role, **claims)}
    return await js.connect(served.url, path=PATH, auth=auth, transports=["websocket"])


# Joining.


async def test_a_user_called_operations_cannot_join_the_operations_room(served: Served, js: JsDriver) -> None:
    thief = await js.connect(served.url, path=PATH, auth={"token": served.token("operations", "customer")})
    assert (await thief.call("join_user_room", "operations"))["error"]["code"] == "unknown_room"
    await publish(served, "new_ticket", "user_operations")
    await thief.expect_nothing()


# Tickets.


async def test_a_conversation_reaches_the_members_of_the_ticket(served: Served, js: JsDriver) -> None:
    people = {person: await connect(served, js, person) for person in ("U-1", "U-2", "operator")}
    await people["operator"].call("join_operations_room")
    for customer in ("U-1", "U-2"):
        await people[customer].call("join_user_room", customer)
    await put(served, "/tickets/T-7", customer_id="U-1", subject="Wrong alternator")
    (ticket,) = await people["operator"].expect_event("new_ticket")
    assert (ticket["ticket_id"], ticket["priority"]) == ("T-7", "normal")
    for person in ("U-1", "operator"):
        assert (await people[person].call("join_ticket", "T-7"))["ok"]
    assert (await people["U-2"].call("join_ticket", "T-7"))["error"]["code"] == "forbidden"

    question = {"sender_id": "U-1", "sender_role": "customer", "message": "It does not fit."}
    await put(served, "/tickets/T-7/messages/M-1", **question)
    for person in ("U-1", "operator"):
        (message,) = await people[person].expect_event("new_message")
        assert message.items() >= {**question, "message_id": "M-1", "ticket_id": "T-7"}.items()
    (reply,) = await people["operator"].expect_event("support_reply")
    assert (reply["ticket_id"], reply["message"]) == ("T-7", "It does not fit.")

    answer = {"sender_id": "operator", "sender_role": "operations", "message": "We will collect it."}
    await put(served, "/tickets/T-7/messages/M-2", **answer)
    for person in ("U-1", "operator"):
        await people[person].expect_event("new_message")
    (reply,) = await people["U-1"].expect_event("support_reply")
    assert reply["message"] == "We will collect it."
    for client in people.values():
        await client.expect_nothing()


async def test_a_customer_who_is_replaced_receives_nothing_more(served: Served, js: JsDriver) -> None:
    await put(served, "/tickets/T-8", customer_id="U-1", subject="Wrong alternator")
    first, second = [await connect(served, js, person) for person in ("U-1", "U-2")]
    assert (await first.call("join_ticket", "T-8"))["ok"]
    await put(served, "/tickets/T-8", customer_id="U-2", subject="Wrong alternator")
    # After the change in the log, so it arrives after it at all clients.
    await put(served, "/tickets/T-8/messages/M-8", sender_id="U-2", sender_role="customer", message="It is mine now.")
    await publish(served, "new_request", "*")
    await first.expect_event("new_request")
    await first.expect_nothing()
    assert (await first.call("join_ticket", "T-8"))["error"]["code"] == "forbidden"
    assert (await second.call("join_ticket", "T-8"))["ok"]
    assert (await served.request("POST", "/qscrap/api/tickets/T-8/close")).status_code == 200
    (update,) = await second.expect_event("ticket_updated")
    assert update["status"] == "closed"
    await first.expect_nothing()


# Jobs.


async def test_scheduled_events_reach_the_clients_they_concern(served: Served, js: JsDriver) -> None:
    people = {person: await connect(served, js, person) for person in ("U-1", "U-2", "staff", "rivals")}
    for person, command in (
        ("U-1", ("join_user_room", "U-1")),
        ("U-2", ("join_user_room", "U-2")),
        ("staff", ("join_garage_room", "G-1")),
        ("rivals", ("join_garage_room", "G-2")),
    ):
        assert (await people[person].call(*command))["ok"]
    now = Time.now()
    in_three_days = Time.of(datetime.now(UTC) + timedelta(days=3, seconds=2))
    sides = {"customer_id": "U-1", "garage_id": "G-1"}
    await put(served, "/requests/R-1", customer_id="U-1", expires_at=now)
    await put(served, "/disputes/D-1", order_id="O-1", reason="damaged", refund_amount=5, respond_by=now, **sides)
    await put(served, "/subscriptions/G-1", expires_at=in_three_days)
    payout = {"garage_id": "G-1", "amount": 10, "reference": "TRF-1", "scheduled_date": now}
    await put(served, "/payouts/P-1", order_id="O-2", **payout)
    assert (await people["U-1"].expect_event("request_expired"))[0]["request_id"] == "R-1"
    for person in ("U-1", "staff"):
        assert (await people[person].expect_event("dispute_resolved"))[0]["resolution"] == "auto_approved"
    assert (await people["staff"].expect_event("subscription_warning"))[0]["expires_at"] == in_three_days
    for event in ("payout_scheduled", "payout_completed"):
        assert (await people["staff"].expect_event(event))[0]["payout_id"] == "P-1"
    for client in people.values():
        await client.expect_nothing()
