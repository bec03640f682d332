"""`qscrap`, whole: a real server, official clients, each event at the right people, and rooms joined by right."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import httpx
import pytest

from oyez.contract.types import Time
from oyez.systems.qscrap.contract import contract
from tests.support import py_client
from tests.support.js_client import JsClient, JsDriver
from tests.support.served import Served, serve
from tests.systems.qscrap.test_contract import ALL, GARAGE, OPERATIONS, TARGETS, TICKET, USER, example

PATH = "/qscrap/socket.io/"
WAYS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": ["polling", "websocket"]}

PEOPLE: dict[str, tuple[str, dict[str, Any]]] = {
    "U-1": ("customer", {}),
    "U-2": ("customer", {}),
    "staff": ("garage", {"garage_id": "G-1"}),
    "rivals": ("garage", {"garage_id": "G-2"}),
    "operator": ("operations", {}),
    "visitor": ("customer", {}),
}
"""Everybody with role and claims. The visitor is connected and joins nothing."""
JOINS: dict[str, list[tuple[str, ...]]] = {
    "U-1": [("join_user_room", "U-1"), ("join_ticket", "T-5120")],
    "U-2": [("join_user_room", "U-2"), ("join_ticket", "T-2")],
    "staff": [("join_garage_room", "G-1")],
    "rivals": [("join_garage_room", "G-2")],
    "operator": [("join_operations_room",), ("join_ticket", "T-5120"), ("join_garage_room", "G-3")],
    "visitor": [],
}
ROOMS: dict[str, tuple[str, set[str]]] = {
    USER: ("user_U-1", {"U-1"}),
    GARAGE: ("garage_G-1", {"staff"}),
    OPERATIONS: ("user_operations", {"operator"}),
    TICKET: ("ticket_T-5120", {"U-1", "operator"}),
    ALL: ("*", set(PEOPLE)),
}
"""One room of each kind, and who hears what goes there."""


class Listener(Protocol):
    async def call(self, event: str, *args: Any) -> Any: ...

    async def expect_event(self, event: str) -> Sequence[Any]: ...

    async def expect_nothing(self) -> None: ...


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory, make_database: Callable[[], str]) -> AsyncIterator[Served]:
    async with serve(tmp_path_factory.mktemp("qscrap") / "data", "qscrap", DATABASE_URL=make_database()) as running:
        for ticket, customer in (("T-5120", "U-1"), ("T-2", "U-2")):
            await put(running, f"/tickets/{ticket}", customer_id=customer, subject="Where is my refund?")
        yield running


@pytest.fixture(scope="module")
async def js() -> AsyncIterator[JsDriver]:
    async with JsDriver.start() as driver:
        yield driver


async def put(served: Served, path: str, **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {served.service_key('qscrap')}"}
    async with httpx.AsyncClient() as client:
        response = await client.put(f"{served.url}/qscrap/api{path}", json=body, headers=headers)
    assert response.status_code in (200, 201), response.text
    return response


async def publish(served: Served, event: str, to: str) -> None:
    response = await served.post({"event": event, "data": example(event), "to": to}, system="qscrap")
    assert response.status_code == 200, response.text


def token(served: Served, person: str) -> str:
    role, claims = PEOPLE[person]
    return served.token(person, role, **claims)


async def connect(served: Served, js: JsDriver, person: str, way: str = "websocket") -> JsClient:
    return await js.connect(served.url, path=PATH, auth={"token": token(served, person)}, transports=WAYS[way])


async def play(served: Served, people: Mapping[str, Listener]) -> None:
    """Publish every event to each of its targets, and check who hears it and who does not."""
    for person, joins in JOINS.items():
        for command in joins:
            assert (await people[person].call(*command))["ok"] is True
    expected: dict[str, list[str]] = {person: [] for person in people}
    for event, kinds in TARGETS.items():
        for kind in sorted(kinds):
            room, audience = ROOMS[kind]
            await publish(served, event, room)
            for person in audience:
                expected[person].append(event)
    for person, events in expected.items():
        for event in events:
            assert (await people[person].expect_event(event))[0] == example(event)
        await people[person].expect_nothing()


@pytest.mark.parametrize("way", WAYS)
async def test_each_event_reaches_the_right_javascript_clients_and_no_others(
    served: Served, js: JsDriver, way: str
) -> None:
    people = {person: await connect(served, js, person, way) for person in PEOPLE}
    await play(served, people)


@pytest.mark.parametrize("way", WAYS)
async def test_each_event_reaches_the_right_python_clients_and_no_others(served: Served, way: str) -> None:
    async with AsyncExitStack() as stack:
        people = {
            person: await stack.enter_async_context(
                py_client.connect(served.url, path=PATH, auth={"token": token(served, person)}, transports=WAYS[way])
            )
            for person in PEOPLE
        }
        await play(served, people)


def test_every_event_of_the_contract_is_played() -> None:
    assert set(TARGETS) == set(contract.events)


# Joining.


@pytest.mark.parametrize(
    ("command", "room", "allowed"),
    [
        (("join_user_room", "U-1"), "user_U-1", {"U-1"}),
        (("join_garage_room", "G-1"), "garage_G-1", {"staff", "operator"}),
        (("join_operations_room",), "user_operations", {"operator"}),
        (("join_ticket", "T-5120"), "ticket_T-5120", {"U-1", "operator"}),
        (("join_ticket", "T-404"), "ticket_T-404", {"operator"}),
    ],
)
async def test_a_room_is_joined_by_those_with_the_right(
    served: Served, js: JsDriver, command: tuple[str, ...], room: str, allowed: set[str]
) -> None:
    for person in PEOPLE:
        client = await connect(served, js, person)
        answer = await client.call(*command)
        if person in allowed:
            assert answer == {"ok": True, "room": room}
        else:
            assert (answer["ok"], answer["error"]["code"]) == (False, "forbidden")
        # Whoever was refused is connected all the same.
        await publish(served, "new_request", "*")
        await client.expect_event("new_request")
        await client.disconnect()


async def test_nobody_gets_into_the_operations_room_as_a_user(served: Served, js: JsDriver) -> None:
    thief = await js.connect(served.url, path=PATH, auth={"token": served.token("operations", "customer")})
    assert (await thief.call("join_user_room", "operations"))["error"]["code"] == "unknown_room"
    await publish(served, "new_ticket", "user_operations")
    await thief.expect_nothing()


async def test_a_customer_with_a_garages_claim_is_no_staff(served: Served, js: JsDriver) -> None:
    thief = await js.connect(served.url, path=PATH, auth={"token": served.token("U-9", "customer", garage_id="G-1")})
    assert (await thief.call("join_garage_room", "G-1"))["error"]["code"] == "forbidden"


# Tickets.


async def test_a_conversation_is_heard_by_those_it_concerns(served: Served, js: JsDriver) -> None:
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


async def test_a_customer_who_is_replaced_hears_nothing_more(served: Served, js: JsDriver) -> None:
    await put(served, "/tickets/T-8", customer_id="U-1", subject="Wrong alternator")
    first, second = [await connect(served, js, person) for person in ("U-1", "U-2")]
    assert (await first.call("join_ticket", "T-8"))["ok"]
    await put(served, "/tickets/T-8", customer_id="U-2", subject="Wrong alternator")
    # Behind the change in the log, so it comes behind it for everybody.
    await put(served, "/tickets/T-8/messages/M-8", sender_id="U-2", sender_role="customer", message="It is mine now.")
    await publish(served, "new_request", "*")
    await first.expect_event("new_request")
    await first.expect_nothing()
    assert (await first.call("join_ticket", "T-8"))["error"]["code"] == "forbidden"
    assert (await second.call("join_ticket", "T-8"))["ok"]
    await post(served, "/tickets/T-8/close")
    (update,) = await second.expect_event("ticket_updated")
    assert update["status"] == "closed"
    await first.expect_nothing()


async def post(served: Served, path: str) -> None:
    headers = {"authorization": f"Bearer {served.service_key('qscrap')}"}
    async with httpx.AsyncClient() as client:
        assert (await client.post(f"{served.url}/qscrap/api{path}", headers=headers)).status_code == 200


# Jobs.


async def test_what_time_does_is_heard_by_those_it_concerns(served: Served, js: JsDriver) -> None:
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
