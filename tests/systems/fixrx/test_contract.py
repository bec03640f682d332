"""The contract of `fixrx`, against its document: events and whom they reach, rooms, commands, chat."""

from typing import Any

import msgspec
import pytest

from oyez.contract import UNSET, CamelStamped, Identity
from oyez.contract.codec import CommandCodec, EventCodec
from oyez.contract.declare import DeclaredCommand
from oyez.contract.policy import Verdict
from oyez.contract.rooms import DerivedRoom
from oyez.errors import InvalidDataError, RefusedError
from oyez.log.memory import MemoryLog
from oyez.runtime.publisher import Publication, Publisher
from oyez.settings import Limits
from oyez.systems.fixrx.contract import Actor, Join, Ping, ReadMessage, SendMessage, ServiceCreated, contract, root

USER, VENDOR = "user:{userId}", "vendor:{vendorId}"

ABOUT = {
    "service:created": "service",
    "service:updated": "service",
    "service:status_changed": "service",
    "booking:created": "booking",
    "booking:status_changed": "booking",
    "booking:cancelled": "booking",
    "payment:completed": "payment",
    "payment:failed": "payment",
}
"""The document's eight events, and what each is about."""

TARGETS = {
    "service:created": {USER, VENDOR},
    "service:updated": {USER, VENDOR},
    "service:status_changed": {USER, VENDOR},
    "booking:created": {USER, VENDOR},
    "booking:status_changed": {USER, VENDOR},
    "booking:cancelled": {USER, VENDOR},
    "payment:completed": {USER, VENDOR},
    "payment:failed": {USER, VENDOR},
    "chat:message": {USER, VENDOR},
    "chat:read": {USER, VENDOR},
}


def example(event: str, **changes: Any) -> dict[str, Any]:
    return {**contract.events[event].example, **changes}


def decode(event: str, data: Any) -> Any:
    return EventCodec(event, contract.events[event].payload).decode_payload(msgspec.json.encode(data))


def expect_fault(event: str, data: Any, field: str) -> None:
    with pytest.raises(InvalidDataError) as error:
        decode(event, data)
    assert error.value.field == field


def route(event: str, data: Any, to: Any = None) -> tuple[str, ...]:
    publisher = Publisher(contract, MemoryLog(), Limits())
    [entry] = publisher.prepare_publication(Publication(event, msgspec.Raw(msgspec.json.encode(data)), to))
    return entry.rooms


def refusal(event: str, data: Any, to: Any = None) -> str:
    with pytest.raises(RefusedError) as refused:
        route(event, data, to)
    return refused.value.refusal.code


def command(name: str) -> DeclaredCommand:
    return next(command for command in root.commands if command.name == name)


def test_the_head() -> None:
    assert contract.name == "fixrx"
    assert contract.roles == ("user", "vendor", "admin")
    assert contract.default_role is None
    assert [namespace.name for namespace in contract.namespaces] == ["/"]


# Events.


def test_the_events_and_their_targets_are_the_documents() -> None:
    declared = {
        name: {target.room.pattern for target in event.targets["/"] if isinstance(target, DerivedRoom)}
        for name, event in contract.events.items()
    }
    assert declared == TARGETS
    # Chat goes to the other side, and to the other devices of this one.
    assert {name: len(event.targets["/"]) for name, event in contract.events.items()} == {
        name: 4 if name.startswith("chat:") else 2 for name in TARGETS
    }
    assert list(contract.events) == [*ABOUT, "chat:message", "chat:read"]


@pytest.mark.parametrize("event", ABOUT)
def test_an_event_carries_its_subject_the_actor_and_a_time(event: str) -> None:
    fields = set(contract.events[event].payload.__struct_encode_fields__)
    more = {"previousStatus"} if event.endswith("status_changed") else set()
    assert fields == {ABOUT[event], "actor", "timestamp"} | more
    assert Actor.__struct_fields__ == ("id", "role")


@pytest.mark.parametrize("event", TARGETS)
def test_an_example_is_what_a_client_receives(event: str) -> None:
    data = example(event)
    codec = EventCodec(event, contract.events[event].payload)
    assert msgspec.json.decode(codec.encode_payload(decode(event, data))) == data
    assert "timestamp" in data


def test_every_event_is_kept_and_gets_its_time_from_the_server() -> None:
    for event in contract.events.values():
        assert event.durable
        assert issubclass(event.payload, CamelStamped)
        data = {name: value for name, value in event.example.items() if name != "timestamp"}
        stamped: Any = event.stamp(decode(event.name, data), 1769860800.0)
        assert stamped.timestamp == "2026-01-31T12:00:00.000Z"


def test_a_changed_status_has_another_before() -> None:
    for event in ("service:status_changed", "booking:status_changed"):
        data = example(event)
        assert data["previousStatus"] != data[ABOUT[event]]["status"]
        expect_fault(event, {**data, "previousStatus": "lost"}, "previousStatus")
        expect_fault(event, {name: data[name] for name in data if name != "previousStatus"}, "previousStatus")


@pytest.mark.parametrize("event", ABOUT)
def test_what_may_not_be_in_a_payload(event: str) -> None:
    subject = ABOUT[event]
    inner = example(event)[subject]
    expect_fault(event, example(event, **{subject: {**inner, "status": "lost"}}), f"{subject}.status")
    expect_fault(event, example(event, **{subject: {**inner, "userId": None}}), f"{subject}.userId")
    expect_fault(event, example(event, **{subject: {**inner, "createdAt": "today"}}), f"{subject}.createdAt")
    expect_fault(event, example(event, **{subject: {**inner, "secret": 1}}), f"{subject}.secret")
    expect_fault(event, example(event, actor={"id": "usr-1", "role": "robot"}), "actor.role")
    expect_fault(event, example(event, actor={"id": "usr-1"}), "actor.role")


def test_emitters_may_leave_the_time_to_the_server() -> None:
    created = decode("service:created", example("service:created"))
    payload = ServiceCreated(service=created.service, actor=Actor(id="usr-3051", role="user"))
    assert payload.timestamp is UNSET
    assert contract.event_of(payload).name == "service:created"


# Where events go.


@pytest.mark.parametrize("event", ABOUT)
def test_an_event_reaches_the_user_and_the_vendor_it_is_about(event: str) -> None:
    data = example(event)
    data[ABOUT[event]] = {**data[ABOUT[event]], "userId": "u", "vendorId": "v"}
    assert route(event, data) == ("user:u", "vendor:v")
    assert route(event, data, "vendor:v") == ("vendor:v",)
    for stranger in ("user:v", "vendor:u", "*"):
        assert refusal(event, data, stranger) == "foreign_room"
    assert refusal(event, data, "user_u") == "unknown_room"


def test_a_service_that_nobody_has_taken_concerns_its_user_only() -> None:
    data = example("service:created")
    assert data["service"]["vendorId"] is None
    assert route("service:created", data) == ("user:usr-3051",)


def test_chat_goes_to_one_person_whatever_role_they_have() -> None:
    message = example("chat:message", senderId="s", recipientId="r")
    assert route("chat:message", message) == ("user:r", "vendor:r", "user:s", "vendor:s")
    assert refusal("chat:message", message, "user:x") == "foreign_room"
    read = example("chat:read", senderId="s", recipientId="r")
    assert route("chat:read", read) == ("user:s", "vendor:s", "user:r", "vendor:r")
    assert refusal("chat:read", read, "vendor:x") == "foreign_room"


# Who is where.


def own_rooms(identity: Identity) -> list[str]:
    """The rooms somebody is put into on connecting."""
    return [
        room.name(values)
        for room in root.rooms.kinds
        if room.on_connect
        for values in room.rule.entitlements(identity)
        if room.rule.decide(identity, values) is Verdict.YES
    ]


@pytest.mark.parametrize(
    ("role", "rooms"), [("user", ["user:id-1"]), ("vendor", ["vendor:id-1"]), ("admin", ["user:id-1"])]
)
def test_everybody_is_in_one_room_of_their_own(role: str, rooms: list[str]) -> None:
    claims = {"userId": "other", "vendorId": "other"}
    assert own_rooms(Identity(subject="id-1", role=role, claims=claims)) == rooms


@pytest.mark.parametrize("role", contract.roles)
@pytest.mark.parametrize("name", ["user:id-2", "vendor:id-2"])
def test_nobody_is_in_the_room_of_somebody_else(role: str, name: str) -> None:
    resolved = root.rooms.resolve(name)
    assert resolved is not None
    room, values = resolved
    assert room.rule.decide(Identity(subject="id-1", role=role), values) is Verdict.NO


# Commands.


def test_the_commands() -> None:
    assert {declared.name: declared.command for declared in root.commands} == {
        "join": Join,
        "ping": Ping,
        "chat:send": SendMessage,
        "chat:read": ReadMessage,
    }
    assert not any(declared.joins or declared.leaves for declared in root.commands)


@pytest.mark.parametrize(
    ("name", "arguments", "fields"),
    [
        ("join", [{"type": "vendor", "id": "v"}], ("vendor", "v")),
        ("ping", [], ()),
        ("chat:send", [{"recipientId": "r", "message": "Hello"}], ("r", "Hello")),
        ("chat:read", [{"messageId": "m"}], ("m",)),
    ],
)
def test_what_a_command_is_sent_with(name: str, arguments: list[Any], fields: tuple[str, ...]) -> None:
    decoded = CommandCodec(command(name)).decode_command(msgspec.json.encode([name, *arguments]))
    assert msgspec.structs.astuple(decoded) == fields


@pytest.mark.parametrize(
    ("name", "data", "field"),
    [
        ("join", {"type": "admin", "id": "a"}, "type"),
        ("join", {"type": "user", "id": ""}, "id"),
        ("chat:send", {"recipientId": "r", "message": ""}, "message"),
        ("chat:send", {"recipientId": "r", "message": "x" * 2_001}, "message"),
        ("chat:send", {"recipientId": "r", "message": "x", "senderId": "s"}, "senderId"),
        ("chat:read", {}, "messageId"),
    ],
)
def test_what_a_command_is_not_sent_with(name: str, data: Any, field: str) -> None:
    with pytest.raises(InvalidDataError) as error:
        CommandCodec(command(name)).decode_command(msgspec.json.encode([name, data]))
    assert error.value.field == field


def test_the_longest_message_fits_into_an_event() -> None:
    data = example("chat:message", message="\N{TENNIS RACQUET AND BALL}" * 2_000)
    assert route("chat:message", data)


@pytest.mark.parametrize("name", ["chat:send", "chat:read"])
def test_chat_is_for_users_and_vendors(name: str) -> None:
    who = command(name).who
    allowed = [role for role in contract.roles if who.admits(Identity(subject="x", role=role))]
    assert allowed == ["user", "vendor"]


def test_acknowledgements_and_limits() -> None:
    replies = {declared.name: declared.reply for declared in root.commands}
    fields = {name: reply.__struct_encode_fields__ if reply else () for name, reply in replies.items()}
    assert fields == {"join": ("room",), "ping": (), "chat:send": ("messageId", "timestamp"), "chat:read": ()}
    assert command("chat:send").limit.text == "5 a second"
