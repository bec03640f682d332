"""The contract of `bookings`, against its document: who is where, what they send, what they hear and where it goes."""

from typing import Any, get_args

import msgspec
import pytest

from oyez.contract import UNSET, Identity
from oyez.contract.codec import CommandCodec, EventCodec
from oyez.contract.declare import DeclaredCommand, Namespace
from oyez.contract.policy import Verdict
from oyez.errors import InvalidDataError, RefusedError
from oyez.log.memory import MemoryLog
from oyez.runtime.publisher import Publication, Publisher
from oyez.settings import Limits
from oyez.systems.bookings import payloads
from oyez.systems.bookings.contract import (
    ILLEGAL_TRANSITION,
    NOT_FOUND,
    admin,
    admin_user,
    contract,
    customer,
    customer_user,
    monitors,
    partner,
    partner_user,
    trackers,
)

NAMESPACES = {"/customer": "customer", "/partner": "partner", "/admin": "admin"}

CALLER = "the client concerned"
EVENTS = {
    "/customer": {
        "booking:status_updated": ["booking:{bookingId}"],
        "partner:assigned": ["user:{userId}", "booking:{bookingId}"],
        "partner:location_update": ["booking:{bookingId}", CALLER],
        "message:received": ["user:{recipientId}"],
        "notification:new": ["user:{userId}"],
        "typing:indicator": ["user:{userId}"],
        "message:sent": ["user:{userId}"],
        "message:read": ["user:{userId}"],
    },
    "/partner": {
        "booking:new_request": ["user:{userId}"],
        "booking:cancelled": ["user:{userId}"],
        "message:received": ["user:{recipientId}"],
        "earnings:updated": ["user:{userId}"],
        "notification:new": ["user:{userId}"],
        "typing:indicator": ["user:{userId}"],
        "message:sent": ["user:{userId}"],
        "message:read": ["user:{userId}"],
    },
    "/admin": {
        "dashboard:stats_update": ["monitors", CALLER],
        "booking:created": ["monitors"],
        "booking:updated": ["monitors"],
        "partner:registered": ["monitors"],
        "kyc:submitted": ["monitors"],
        "typing:indicator": ["user:{userId}"],
        "message:sent": ["user:{userId}"],
        "message:read": ["user:{userId}"],
    },
}
VOLATILE = {"partner:location_update", "typing:indicator"}
NOT_STORED = VOLATILE

# What each event carries: ? may be null or left out, + is filled in by the server.
FIELDS = {
    "booking:status_updated": "bookingId status message timestamp+",
    "partner:assigned": "bookingId partner timestamp+",
    "partner:location_update": "bookingId location timestamp+",
    "message:received": "id senderId senderName senderRole recipientId message bookingId? createdAt",
    "notification:new": "id type title message bookingId? timestamp+",
    "booking:new_request": "bookingId bookingNumber service scheduledAt address amount timestamp+",
    "booking:cancelled": "bookingId bookingNumber service scheduledAt reason timestamp+",
    "earnings:updated": "bookingId bookingNumber amount todayEarnings totalEarnings completedBookings timestamp+",
    "dashboard:stats_update": "bookingsToday pendingBookings activeBookings completedToday cancelledToday revenueToday"
    " registeredPartners pendingKyc timestamp+",
    "booking:created": "bookingId bookingNumber service status scheduledAt address amount customer partner createdAt"
    " timestamp+",
    "booking:updated": "bookingId bookingNumber service status previousStatus scheduledAt address amount customer"
    " partner createdAt reason? timestamp+",
    "partner:registered": "partnerId name email phone services serviceArea timestamp+",
    "kyc:submitted": "submissionId partnerId partnerName documents timestamp+",
    "typing:indicator": "userId typing",
    "message:sent": "id createdAt recipientId? message? bookingId?",
    "message:read": "messageId readAt",
}

# What each command takes: (…) are arguments, {…} is one object.
COMMANDS = {
    "/customer": {
        "booking:track": "(bookingId)",
        "booking:untrack": "(bookingId)",
        "message:send": "{recipientId message bookingId?}",
        "booking:cancel": "{bookingId reason}",
        "typing:start": "(recipientId)",
        "typing:stop": "(recipientId)",
        "message:mark_read": "(messageId)",
    },
    "/partner": {
        "booking:accept": "(bookingId)",
        "booking:reject": "{bookingId reason}",
        "booking:status_update": "{bookingId status}",
        "location:update": "{latitude longitude}",
        "message:send": "{recipientId message bookingId?}",
        "typing:start": "(recipientId)",
        "typing:stop": "(recipientId)",
        "message:mark_read": "(messageId)",
    },
    "/admin": {
        "request:stats": "()",
        "monitor:bookings": "()",
        "typing:start": "(recipientId)",
        "typing:stop": "(recipientId)",
        "message:mark_read": "(messageId)",
    },
}
REPLIES = {
    "booking:track": "room",
    "booking:untrack": "room",
    "monitor:bookings": "room",
    "booking:cancel": "bookingId status",
    "booking:accept": "bookingId status",
    "booking:reject": "bookingId status",
    "booking:status_update": "bookingId status",
    "message:send": "id createdAt",
    "message:mark_read": "messageId readAt",
}
STATUSES = (
    "PENDING",
    "PARTNER_ASSIGNED",
    "PARTNER_ACCEPTED",
    "PARTNER_REJECTED",
    "IN_PROGRESS",
    "COMPLETED",
    "CANCELLED",
)


def test_the_head() -> None:
    assert contract.roles == ("customer", "partner", "admin")
    assert contract.default_role is None
    assert [source.text for source in contract.tokens] == [
        "`auth.token` of the Socket.IO client",
        "header `Authorization: Bearer …`",
        "query parameter `token`",
    ]
    assert contract.refusals == [ILLEGAL_TRANSITION, NOT_FOUND]
    assert (ILLEGAL_TRANSITION.code, ILLEGAL_TRANSITION.temporary) == ("illegal_transition", False)


def test_each_namespace_admits_its_own_role_only() -> None:
    admitted = {
        namespace.name: [role for role in contract.roles if namespace.who.admits(Identity(subject="u", role=role))]
        for namespace in contract.namespaces
    }
    assert admitted == {name: [role] for name, role in NAMESPACES.items()}


# Events.


def targets(namespace: Namespace) -> dict[str, list[str]]:
    return {event.name: [target.text.strip("`") for target in event.targets] for event in namespace.events}


def test_the_events_are_the_documents_and_go_where_it_says() -> None:
    assert {namespace.name: targets(namespace) for namespace in contract.namespaces} == EVENTS
    assert set(contract.events) == set(FIELDS)


def test_what_is_volatile_and_what_is_stored() -> None:
    assert {event.name for event in contract.events.values() if event.volatile} == VOLATILE
    assert {event.name for event in contract.events.values() if not event.durable} == NOT_STORED


@pytest.mark.parametrize("event", FIELDS)
def test_the_fields_are_the_documents(event: str) -> None:
    declared = contract.events[event]
    fields = {field.encode_name: field for field in msgspec.structs.fields(declared.payload)}
    wanted = FIELDS[event].split()
    assert set(fields) == {name.rstrip("?+") for name in wanted}
    assert {name for name, field in fields.items() if field.required} == {
        name for name in wanted if name[-1] not in "?+"
    }
    assert {field.encode_name for field in fields.values() if field.name == declared.timestamp} == {
        name[:-1] for name in wanted if name[-1] == "+"
    }


def decode(event: str, data: Any) -> Any:
    return EventCodec(event, contract.events[event].payload).decode_payload(msgspec.json.encode(data))


def example(event: str, **changes: Any) -> dict[str, Any]:
    return {**contract.events[event].example, **changes}


def expect_fault(event: str, field: str, **changes: Any) -> None:
    with pytest.raises(InvalidDataError) as error:
        decode(event, example(event, **changes))
    assert error.value.field == field


@pytest.mark.parametrize("event", FIELDS)
def test_examples_fit_and_show_every_field(event: str) -> None:
    decode(event, example(event))
    wanted = {name.rstrip("+") for name in FIELDS[event].split() if not name.endswith("?")}
    assert wanted <= set(example(event)) <= {name.rstrip("?+") for name in FIELDS[event].split()}


def test_the_examples_tell_one_story() -> None:
    created, updated = example("booking:created"), example("booking:updated")
    same = ("bookingId", "bookingNumber", "service", "scheduledAt", "address", "amount", "customer", "createdAt")
    assert {name: created[name] for name in same} == {name: updated[name] for name in same}
    request = example("booking:new_request")
    assert {name: created[name] for name in same[:6]} == {name: request[name] for name in same[:6]}
    assigned = example("partner:assigned")["partner"]
    assert {name: assigned[name] for name in ("id", "name", "phone")} == updated["partner"]
    assert example("message:received")["senderId"] == example("typing:indicator")["userId"] == assigned["id"]
    assert example("message:received")["recipientId"] == created["customer"]["id"]
    assert example("message:sent")["id"] == example("message:received")["id"]
    assert example("earnings:updated")["amount"] == created["amount"]


def test_the_statuses() -> None:
    assert get_args(payloads.BookingStatus) == STATUSES
    for status in STATUSES:
        decode("booking:status_updated", example("booking:status_updated", status=status))
    expect_fault("booking:status_updated", "status", status="pending")
    expect_fault("booking:updated", "previousStatus", previousStatus=None)


@pytest.mark.parametrize(
    ("event", "field", "value"),
    [
        ("partner:location_update", "location", {"latitude": 90.1, "longitude": 0}),
        ("partner:location_update", "location", {"latitude": 0, "longitude": -180.1}),
        ("partner:location_update", "location", {"latitude": 0}),
        ("booking:new_request", "amount", 9.999),
        ("booking:new_request", "amount", "99,9"),
        ("booking:new_request", "scheduledAt", "2026-03-12 09:30"),
        ("message:received", "message", ""),
        ("message:received", "message", "x" * 4001),
        ("message:received", "senderRole", "admin"),
        ("earnings:updated", "completedBookings", -1),
        ("kyc:submitted", "documents", []),
        ("kyc:submitted", "documents", ["SELFIE"]),
        ("notification:new", "type", "booking"),
    ],
)
def test_what_events_may_not_carry(event: str, field: str, value: Any) -> None:
    with pytest.raises(InvalidDataError) as error:
        decode(event, example(event, **{field: value}))
    assert error.value.field.startswith(field)


def test_a_booking_without_a_partner_says_so() -> None:
    assert decode("booking:created", example("booking:created")).partner is None
    with pytest.raises(InvalidDataError, match=r"partner: is required"):
        decode(
            "booking:created", {name: value for name, value in example("booking:created").items() if name != "partner"}
        )


def route(event: str, *to: Any, **changes: Any) -> list[tuple[str, tuple[str, ...]]]:
    publisher = Publisher(contract, MemoryLog(), Limits())
    payload = decode(event, example(event, **changes))
    return [(entry.namespace, entry.rooms) for entry in publisher.prepare(payload, *to)]


def refusal(event: str, *to: Any, **changes: Any) -> str:
    with pytest.raises(RefusedError) as refused:
        route(event, *to, **changes)
    return refused.value.refusal.code


def test_what_trackers_hear_follows_from_the_booking() -> None:
    for event in ("booking:status_updated", "partner:location_update"):
        assert route(event, bookingId="b") == [("/customer", ("booking:b",))]
        assert refusal(event, trackers("other"), bookingId="b") == "foreign_room"
        assert refusal(event, customer_user("u"), bookingId="b") == "foreign_room"
    assert route("partner:assigned", customer_user("u"), trackers("b")) == [("/customer", ("user:u", "booking:b"))]


def test_monitors_need_not_be_named() -> None:
    for event in ("booking:created", "booking:updated", "partner:registered", "kyc:submitted"):
        assert route(event) == [("/admin", ("monitors",))]
        assert refusal(event, admin_user("u")) == "foreign_room"
    assert route("dashboard:stats_update") == [("/admin", ("monitors",))]


def test_one_side_is_heard_in_the_namespace_of_the_other() -> None:
    assert route("message:received", customer_user("c"), recipientId="c") == [("/customer", ("user:c",))]
    assert route("message:received", partner_user("p"), recipientId="p") == [("/partner", ("user:p",))]
    assert refusal("message:received", partner_user("somebody-else"), recipientId="p") == "foreign_room"
    assert refusal("message:received", admin_user("a"), recipientId="a") == "foreign_room"
    rooms = [customer_user("u"), partner_user("u"), admin_user("u")]
    assert route("typing:indicator", *rooms) == [(name, ("user:u",)) for name in NAMESPACES]


def test_a_notification_goes_to_a_user_in_whichever_namespace_they_are() -> None:
    publisher = Publisher(contract, MemoryLog(), Limits())
    data = msgspec.Raw(msgspec.json.encode(example("notification:new")))
    entries = publisher.prepare_publication(Publication("notification:new", data, "user:u"))
    assert [(entry.namespace, entry.rooms) for entry in entries] == [
        ("/customer", ("user:u",)),
        ("/partner", ("user:u",)),
    ]


def test_partners_events_do_not_leave_their_room() -> None:
    for event in ("booking:new_request", "booking:cancelled", "earnings:updated"):
        assert route(event, partner_user("p")) == [("/partner", ("user:p",))]
        assert refusal(event) == "room_required"
        assert refusal(event, customer_user("p")) == "foreign_room"


def test_the_server_fills_the_time_in() -> None:
    publisher = Publisher(contract, MemoryLog(), Limits(), clock=lambda: 1769860800.0)
    for event in ("booking:status_updated", "partner:location_update"):
        payload = decode(event, {name: value for name, value in example(event).items() if name != "timestamp"})
        [entry] = publisher.prepare(payload)
        assert msgspec.json.decode(entry.data)[1]["timestamp"] == "2026-01-31T12:00:00.000Z"


# Commands.


def shape(command: DeclaredCommand) -> str:
    fields = msgspec.structs.fields(command.command)
    names = " ".join(field.encode_name + "?" * (field.default is UNSET) for field in fields)
    return f"({names})" if command.arguments == "positional" else f"{{{names}}}"


def test_the_commands_are_the_documents() -> None:
    found = {
        namespace.name: {command.name: shape(command) for command in namespace.commands}
        for namespace in contract.namespaces
    }
    assert found == COMMANDS


def test_everybody_whom_a_namespace_admits_may_send_its_commands() -> None:
    for namespace in contract.namespaces:
        identity = Identity(subject="u", role=NAMESPACES[namespace.name])
        assert all(command.who.admits(identity) for command in namespace.commands)


def test_replies_and_limits() -> None:
    replies = {}
    for namespace in contract.namespaces:
        for command in namespace.commands:
            assert command.limit.count >= 10
            if command.reply is not None:
                replies[command.name] = " ".join(command.reply.__struct_encode_fields__)
    assert replies == REPLIES


def send(namespace: Namespace, *array: Any) -> Any:
    declared = next(command for command in namespace.commands if command.name == array[0])
    return CommandCodec(declared).decode_command(msgspec.json.encode(array))


@pytest.mark.parametrize(
    ("namespace", "array", "field"),
    [
        (customer, ["booking:track"], ""),
        (customer, ["booking:track", {"bookingId": "b"}], "bookingId"),
        (customer, ["booking:cancel", {"bookingId": "b"}], "reason"),
        (customer, ["booking:cancel", {"bookingId": "b", "reason": ""}], "reason"),
        (customer, ["message:send", {"recipientId": "p", "message": ""}], "message"),
        (customer, ["message:send", {"recipientId": "p", "message": "x" * 4001}], "message"),
        (partner, ["booking:status_update", {"bookingId": "b", "status": "DONE"}], "status"),
        (partner, ["location:update", {"latitude": -90.5, "longitude": 0}], "latitude"),
        (partner, ["location:update", {"latitude": 0, "longitude": 181}], "longitude"),
        (partner, ["location:update", {"latitude": "51.5N", "longitude": 0}], "latitude"),
        (admin, ["request:stats", 1], ""),
        (admin, ["typing:start", ""], "recipientId"),
    ],
)
def test_commands_that_do_not_fit(namespace: Namespace, array: list[Any], field: str) -> None:
    with pytest.raises(InvalidDataError) as error:
        send(namespace, *array)
    assert error.value.field == field


def test_commands_that_fit() -> None:
    assert send(customer, "message:send", {"recipientId": "p", "message": "x" * 4000}).booking_id is UNSET
    assert send(customer, "message:send", {"recipientId": "p", "message": "x", "bookingId": None}).booking_id is None
    assert send(partner, "location:update", {"latitude": -90, "longitude": 180}).longitude == 180
    assert send(partner, "booking:status_update", {"bookingId": "b", "status": "IN_PROGRESS"}).status == "IN_PROGRESS"
    send(admin, "request:stats")
    send(admin, "monitor:bookings")


# Rooms.


def test_everybody_is_in_their_own_room_from_the_start() -> None:
    for namespace in contract.namespaces:
        [own] = [room for room in namespace.rooms.kinds if room.on_connect]
        identity = Identity(subject="u", role=NAMESPACES[namespace.name], claims={"userId": "somebody-else"})
        assert [own.name(values) for values in own.rule.entitlements(identity)] == ["user:u"]


def test_bookings_are_tracked_by_their_members_and_all_monitored_by_admins() -> None:
    assert (trackers.join, trackers.leave) == ("booking:track", "booking:untrack")
    assert trackers.rule.decide(Identity(subject="c", role="customer"), {"bookingId": "b"}) is Verdict.IF_MEMBER
    assert monitors.join == "monitor:bookings"
    assert monitors.rule.decide(Identity(subject="a", role="admin"), {}) is Verdict.YES
    assert [room.pattern for room in partner.rooms.kinds] == ["user:{userId}"]
