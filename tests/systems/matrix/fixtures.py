"""The fixture of each system: the few people, rooms and records with which all its events and commands can be tried."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from oyez.settings import Settings
from tests.systems.matrix.cases import Attempt, Fixture, Person, Place, Tries
from tests.systems.matrix.harness import Harness

# quotes.


async def prepare_quotes(harness: Harness) -> None:
    for user, supplier in (("person-s1", "sup-1"), ("person-s2", "sup-2")):
        await harness.request("PUT", f"/api/suppliers/{user}", {"supplierId": supplier})


QUOTES = Fixture(
    people={
        "user-1": Person("user"),
        "user-2": Person("user"),
        "admin-1": Person("admin"),
        "person-s1": Person("supplier"),
        "person-s2": Person("supplier"),
    },
    places={
        ("/", "chat:user:{userId}"): Place("chat:user:user-1", frozenset({"user-1"})),
        ("/", "chat:supplier:{supplierUserId}"): Place("chat:supplier:person-s1", frozenset({"person-s1"})),
        ("/", "quote-request:supplier:{supplierId}"): Place("quote-request:supplier:sup-1", frozenset({"person-s1"})),
        ("/", "quote-offer:user:{userId}"): Place("quote-offer:user:user-1", frozenset({"user-1"})),
    },
    prepare=prepare_quotes,
)


# qscrap.


async def prepare_qscrap(harness: Harness) -> None:
    await harness.request("PUT", "/api/tickets/T-5120", {"customer_id": "U-1", "subject": "When do I get my refund?"})
    await harness.request("PUT", "/rooms/ticket_T-5120/members/user:U-3")


QSCRAP = Fixture(
    people={
        "U-1": Person("customer"),
        "U-2": Person("customer"),
        "staff": Person("garage", {"garage_id": "G-1"}),
        "rivals": Person("garage", {"garage_id": "G-2"}),
        "operator": Person("operations"),
        "newcomer": Person("operations"),
    },
    places={
        ("/", "user_{userId}"): Place("user_U-1", frozenset({"U-1"})),
        ("/", "garage_{garageId}"): Place(
            "garage_G-1", frozenset({"staff"}), allowed=frozenset({"operator", "newcomer"})
        ),
        ("/", "user_operations"): Place("user_operations", frozenset({"operator"}), allowed=frozenset({"newcomer"})),
        ("/", "ticket_{ticketId}"): Place(
            "ticket_T-5120", frozenset({"U-1", "operator"}), allowed=frozenset({"newcomer"}), leaver="U-3"
        ),
    },
    prepare=prepare_qscrap,
)


# fixrx.


async def send_and_read(harness: Harness, reader: str) -> Any:
    sent = await harness.call("usr-3051", "chat:send", {"recipientId": "vnd-208", "message": "The tap still drips."})
    return await harness.call(reader, "chat:read", {"messageId": sent["messageId"]})


FIXRX = Fixture(
    people={
        "usr-3051": Person("user"),
        "usr-9": Person("user"),
        "adm-1": Person("admin"),
        "vnd-208": Person("vendor"),
        "vnd-9": Person("vendor"),
    },
    places={
        ("/", "user:{userId}"): Place("user:usr-3051", frozenset({"usr-3051"})),
        ("/", "vendor:{vendorId}"): Place("vendor:vnd-208", frozenset({"vnd-208"})),
    },
    tries={
        ("/", "join"): Tries(
            person="usr-3051", arguments=[{"type": "user", "id": "usr-3051"}], wrong_person=("usr-9", "forbidden")
        ),
        ("/", "ping"): Tries(person="adm-1", arguments=[]),
        ("/", "chat:send"): Tries(
            person="usr-3051",
            arguments=[{"recipientId": "vnd-208", "message": "It drips."}],
            wrong_person=("adm-1", "forbidden_role"),
        ),
        ("/", "chat:read"): Tries(
            person="vnd-208",
            arguments=[{"messageId": "m-1"}],
            done=lambda harness: send_and_read(harness, "vnd-208"),
            wrong_person=(lambda harness: send_and_read(harness, "vnd-9"), "forbidden"),
        ),
    },
)

# bookings.


async def prepare_bookings(harness: Harness) -> None:
    for customer in ("c-1", "c-2"):
        await harness.request("PUT", f"/api/customers/{customer}", {"name": "Ada", "phone": "+44 20 7946 0457"})
    for partner in ("p-1", "p-2"):
        body = {
            "name": "Tap and Tile",
            "email": "jobs@tapandtile.example",
            "phone": "+44 20 7946 0731",
            "services": ["Tiling"],
            "serviceArea": "Leeds",
        }
        await harness.request("PUT", f"/api/partners/{partner}", body)
    for customer in ("c-1", "c-3"):
        await harness.request("PUT", f"/rooms/booking:b-1/members/user:{customer}?namespace=/customer")


async def book(harness: Harness) -> str:
    """The id of a new booking, for which a partner has been asked."""
    body = {
        "customerId": "c-1",
        "partnerId": "p-1",
        "service": "Kitchen deep clean",
        "scheduledAt": "2027-03-12T09:30:00.000Z",
        "address": "Flat 12, Cedar Court, 40 Poland Street",
        "amount": 129.5,
    }
    booking: str = (await harness.request("POST", "/api/bookings", body))["bookingId"]
    return booking


def on_booking(person: str, command: str, *, before: Sequence[tuple[str, str]] = ()) -> Attempt:
    """Send a command about a new booking, after others have done something with it."""

    def arguments(name: str, booking: str) -> Any:
        if name == "booking:accept":
            return booking
        more = {"status": "IN_PROGRESS"} if name == "booking:status_update" else {"reason": "Something came up."}
        return {"bookingId": booking, **more}

    async def attempt(harness: Harness) -> Any:
        booking = await book(harness)
        for other, name in before:
            answer = await harness.call(other, name, arguments(name, booking))
            assert answer["ok"], answer
        return await harness.call(person, command, arguments(command, booking))

    return attempt


CANCELLED = ("c-1", "booking:cancel")
ACCEPTED = ("p-1", "booking:accept")
BOOKING = {"bookingId": "b-1", "reason": "Something came up."}


async def write_about_booking(harness: Harness, writer: str, recipient: str) -> Any:
    await book(harness)
    return await harness.call(writer, "message:send", {"recipientId": recipient, "message": "I am at the door."})


async def write_and_mark(harness: Harness, writer: str, recipient: str, reader: str) -> Any:
    sent = await write_about_booking(harness, writer, recipient)
    return await harness.call(reader, "message:mark_read", sent["id"])


async def hear_sent(harness: Harness, writer: str, recipient: str) -> Any:
    await book(harness)
    client = await harness.connect(writer)
    sent = await client.call("message:send", {"recipientId": recipient, "message": "I am at the door."})
    (heard,) = await client.expect_event("message:sent")
    assert heard["id"] == sent["id"]
    return heard


def typing(person: str, recipient: str, command: str, wrong: str) -> Tries:
    async def share_and_type(harness: Harness) -> Any:
        await book(harness)
        return await harness.call(person, command, recipient)

    async def type_to_stranger(harness: Harness) -> Any:
        return await harness.call(wrong, command, recipient)

    refused = None if person == wrong else (type_to_stranger, "forbidden")
    return Tries(person=person, arguments=[recipient], done=share_and_type, wrong_person=refused)


def writing(person: str, recipient: str, wrong: str) -> Tries:
    return Tries(
        person=person,
        arguments=[{"recipientId": recipient, "message": "I am at the door."}],
        done=lambda harness: write_about_booking(harness, person, recipient),
        wrong_person=(wrong, "forbidden"),
    )


def marking(reader: str, writer: str, wrong: str) -> Tries:
    return Tries(
        person=reader,
        arguments=["m-1"],
        done=lambda harness: write_and_mark(harness, writer, reader, reader),
        wrong_person=(lambda harness: write_and_mark(harness, writer, reader, wrong), "forbidden"),
    )


BOOKINGS = Fixture(
    people={
        "c-1": Person("customer", namespace="/customer"),
        "c-2": Person("customer", namespace="/customer"),
        "p-1": Person("partner", namespace="/partner"),
        "p-2": Person("partner", namespace="/partner"),
        "a-1": Person("admin", namespace="/admin"),
        "a-2": Person("admin", namespace="/admin"),
    },
    places={
        ("/customer", "user:{userId}"): Place("user:c-1", frozenset({"c-1"})),
        ("/partner", "user:{userId}"): Place("user:p-1", frozenset({"p-1"})),
        ("/admin", "user:{userId}"): Place("user:a-1", frozenset({"a-1"})),
        ("/customer", "booking:{bookingId}"): Place("booking:b-1", frozenset({"c-1"}), leaver="c-3"),
        ("/admin", "monitors"): Place("monitors", frozenset({"a-1"}), allowed=frozenset({"a-2"})),
    },
    prepare=prepare_bookings,
    tries={
        ("/customer", "booking:cancel"): Tries(
            person="c-1",
            arguments=[BOOKING],
            done=on_booking("c-1", "booking:cancel"),
            wrong_person=(on_booking("c-2", "booking:cancel"), "forbidden"),
            wrong_state=(on_booking("c-1", "booking:cancel", before=[CANCELLED]), "illegal_transition"),
        ),
        ("/partner", "booking:accept"): Tries(
            person="p-1",
            arguments=["b-1"],
            done=on_booking("p-1", "booking:accept"),
            wrong_person=(on_booking("p-2", "booking:accept"), "forbidden"),
            wrong_state=(on_booking("p-1", "booking:accept", before=[ACCEPTED]), "illegal_transition"),
        ),
        ("/partner", "booking:reject"): Tries(
            person="p-1",
            arguments=[BOOKING],
            done=on_booking("p-1", "booking:reject"),
            wrong_person=(on_booking("p-2", "booking:reject"), "forbidden"),
            wrong_state=(on_booking("p-1", "booking:reject", before=[ACCEPTED]), "illegal_transition"),
        ),
        ("/partner", "booking:status_update"): Tries(
            person="p-1",
            arguments=[{"bookingId": "b-1", "status": "IN_PROGRESS"}],
            done=on_booking("p-1", "booking:status_update", before=[ACCEPTED]),
            wrong_person=(on_booking("p-2", "booking:status_update", before=[ACCEPTED]), "forbidden"),
            wrong_state=(on_booking("p-1", "booking:status_update"), "illegal_transition"),
        ),
        ("/partner", "location:update"): Tries(person="p-1", arguments=[{"latitude": 53.8, "longitude": -1.55}]),
        ("/admin", "request:stats"): Tries(person="a-1", arguments=[]),
        ("/customer", "message:send"): writing("c-1", "p-1", "c-2"),
        ("/partner", "message:send"): writing("p-1", "c-1", "p-2"),
        ("/customer", "message:mark_read"): marking("c-1", "p-1", "c-2"),
        ("/partner", "message:mark_read"): marking("p-1", "c-1", "p-2"),
        ("/admin", "message:mark_read"): Tries(
            person="a-1",
            arguments=["m-1"],
            wrong_person=(lambda harness: write_and_mark(harness, "c-1", "p-1", "a-1"), "forbidden"),
        ),
        **{
            (f"/{role}", command): typing(person, recipient, command, wrong)
            for role, person, recipient, wrong in (
                ("customer", "c-1", "p-1", "c-2"),
                ("partner", "p-1", "c-1", "p-2"),
                ("admin", "a-1", "c-1", "a-1"),
            )
            for command in ("typing:start", "typing:stop")
        },
    },
    answers={
        ("/customer", "message:sent"): lambda harness: hear_sent(harness, "c-1", "p-1"),
        ("/partner", "message:sent"): lambda harness: hear_sent(harness, "p-1", "c-1"),
    },
    excused={
        ("/admin", "message:sent"): "admins write to nobody",
        ("/admin", "message:mark_read"): "nobody writes to admins",
    },
)

# rez.


async def prepare_rez(harness: Harness) -> None:
    opening = {"customerId": "u-1", "customerName": "Ada", "subject": "Where is my kettle?"}
    await harness.request("PUT", "/api/tickets/t-1", opening)
    agent = {"name": "Kim", "department": "Orders", "status": "online"}
    await harness.request("PUT", "/api/agents/ag-1", agent)
    await harness.request("POST", "/api/tickets/t-1/agent", {"agentId": "ag-1"})
    message = {"senderId": "ag-1", "type": "text", "content": "It is on its way."}
    await harness.request("PUT", "/api/tickets/t-1/messages/m-1", message)
    for room in ("order:o-1", "group:g-1", "store_conversation:s-1"):
        await harness.request("PUT", f"/rooms/{room}/members/user:u-1")
        await harness.request("PUT", f"/rooms/{room}/members/user:u-3")
    await harness.request("PUT", "/rooms/support_ticket:t-1/members/user:u-3")


def subscribed(channel: str, *inside: str, **others: Any) -> Place:
    enter, leave = ("subscribe", {"channel": channel}), ("unsubscribe", {"channel": channel})
    return Place(channel, frozenset(inside), enter=enter, leave=leave, **others)


def on_ticket(**more: str) -> Tries:
    return Tries(person="u-1", arguments=[{"ticketId": "t-1", **more}], wrong_person=("u-2", "forbidden"))


async def hear_greeting(harness: Harness) -> Any:
    client = await harness.connect("u-1")
    (heard,) = await client.expect_event("connected")
    assert heard["socketId"] == client.id
    return heard


async def hear_heartbeat(harness: Harness) -> Any:
    client = await harness.connect("u-1")
    assert (await client.call("heartbeat", {"timestamp": 1776358830000}))["ok"]
    (heard,) = await client.expect_event("heartbeat_ack")
    assert heard["timestamp"] == 1776358830000
    return heard


async def hear_end(harness: Harness, event: str) -> Any:
    """What comes before the end of a token that is too old to be renewed and lives for one second more."""
    now = time.time()
    client = await harness.connect(
        "u-1", lifetime=1.0, signed_at=now - Settings().jwt_leeway, auth_time=int(now) - 7 * 86_400
    )
    await client.expect("disconnect")
    (heard,) = await client.expect_event(event)
    return heard


async def hear_refresh(harness: Harness) -> Any:
    """The next token comes after half of the old one's remaining time: three seconds, the leeway included."""
    signed_at = time.time() - 60 - Settings().jwt_leeway + 3
    client = await harness.connect("u-1", lifetime=60.0, signed_at=signed_at)
    (heard,) = await client.expect_event("token_refresh")
    return heard


async def hear_limit(harness: Harness) -> Any:
    client = await harness.connect_twin("u-1")
    for number in range(70):
        await client.emit("heartbeat", {"timestamp": number})
    (heard,) = await client.expect_event("connection_error")
    return heard


REZ = Fixture(
    people={
        "u-1": Person("user"),
        "u-2": Person("user"),
        "u-4": Person("user"),
        "ag-1": Person("agent"),
        "ag-2": Person("agent"),
        "adm-1": Person("admin"),
    },
    places={
        ("/", "user:{userId}"): Place("user:u-1", frozenset({"u-1"})),
        ("/", "order:{orderId}"): subscribed("order:o-1", "u-1", allowed=frozenset({"adm-1"}), leaver="u-3"),
        ("/", "support_ticket:{ticketId}"): Place(
            "support_ticket:t-1",
            frozenset({"u-1"}),
            allowed=frozenset({"ag-1"}),
            leaver="u-3",
            enter=("join_ticket", {"ticketId": "t-1"}),
            leave=("leave_ticket", {"ticketId": "t-1"}),
        ),
        ("/", "group:{groupId}"): subscribed("group:g-1", "u-1", leaver="u-3"),
        ("/", "store_conversation:{conversationId}"): subscribed("store_conversation:s-1", "u-1", leaver="u-3"),
        ("/", "leaderboard:{period}"): subscribed("leaderboard:weekly", "u-1"),
        ("/", "offers"): subscribed("offers", "u-1"),
        ("/", "offers:{category}"): subscribed("offers:kitchen", "u-4"),
    },
    prepare=prepare_rez,
    tries={
        ("/", "subscribe"): Tries(
            person="u-1", arguments=[{"channel": "order:o-1"}], wrong_person=("u-2", "forbidden")
        ),
        ("/", "unsubscribe"): Tries(person="u-1", arguments=[{"channel": "order:o-1"}]),
        ("/", "heartbeat"): Tries(person="u-1", arguments=[{"timestamp": 1776358830000}]),
        ("/", "join_ticket"): on_ticket(),
        ("/", "leave_ticket"): on_ticket(userId="u-1"),
        ("/", "user_typing_start"): on_ticket(),
        ("/", "user_typing_stop"): on_ticket(),
        ("/", "message_read"): on_ticket(messageId="m-1"),
    },
    answers={
        ("/", "connected"): hear_greeting,
        ("/", "heartbeat_ack"): hear_heartbeat,
        ("/", "disconnected"): lambda harness: hear_end(harness, "disconnected"),
        ("/", "session_expired"): lambda harness: hear_end(harness, "session_expired"),
        ("/", "token_refresh"): hear_refresh,
        ("/", "connection_error"): hear_limit,
    },
)

FIXTURES: Mapping[str, Fixture] = {
    "quotes": QUOTES,
    "qscrap": QSCRAP,
    "fixrx": FIXRX,
    "bookings": BOOKINGS,
    "rez": REZ,
}
