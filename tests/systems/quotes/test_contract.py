"""The contract of `quotes`, against its document: names, fields, rooms, who is in them, and where events go."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from oyez.contract import UNSET, Identity, Time
from oyez.contract.codec import EventCodec
from oyez.errors import InvalidDataError, RefusedError
from oyez.log.memory import MemoryLog
from oyez.runtime.publisher import Publication, Publisher
from oyez.settings import Limits
from oyez.systems.quotes.contract import ChatDelivered, ChatMessage, QuoteOfferReceived, contract, root

REQUIRED = {
    "chat:message": "messageId chatId senderId senderRole recipientId content createdAt message",
    "chat:delivered": "messageId recipientId deliveredAt",
    "quote:request:created": "requestId userId serviceCategories createdAt",
    "quote:request:updated": "requestId updatedAt",
    "quote:offer:received": "offerId quoteRequestId userId price supplierName createdAt",
    "quote:offer:updated": "offerId userId updatedAt",
}
OPTIONAL = {
    "chat:message": "",
    "chat:delivered": "",
    "quote:request:created": "postCode",
    "quote:request:updated": "status postCode serviceCategories",
    "quote:offer:received": "notes",
    "quote:offer:updated": "status",
}
MESSAGE = "id senderId content isRead createdAt deletedAt sender"
SENDER = "id email fullName firstName role isActive suspensionReason createdAt postCode"


def example(event: str, **changes: Any) -> dict[str, Any]:
    return {**contract.events[event].example, **changes}


def decode(event: str, data: Any) -> Any:
    return EventCodec(event, contract.events[event].payload).decode_payload(msgspec.json.encode(data))


def expect_fault(event: str, data: Any, field: str) -> str:
    with pytest.raises(InvalidDataError) as error:
        decode(event, data)
    assert error.value.field == field
    return error.value.expected


def test_the_head() -> None:
    assert contract.roles == ("user", "supplier", "admin")
    assert contract.default_role == "user"
    assert [source.text for source in contract.tokens] == [
        "cookie `access_token` (setting `COOKIE_NAME`)",
        "header `Authorization: Bearer …`",
        "query parameter `token`",
        "`auth.token` of the Socket.IO client",
    ]


def test_the_events_are_the_documents() -> None:
    assert set(contract.events) == set(REQUIRED)
    assert all(event.durable for event in contract.events.values())
    assert [namespace.name for namespace in contract.namespaces] == ["/"]


@pytest.mark.parametrize("event", REQUIRED)
def test_the_fields_are_the_documents(event: str) -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(contract.events[event].payload)}
    assert list(fields) == [name for name in fields if name in f"{REQUIRED[event]} {OPTIONAL[event]}".split()]
    assert {name for name, field in fields.items() if field.required} == set(REQUIRED[event].split())
    assert {name for name, field in fields.items() if field.default is UNSET} == set(OPTIONAL[event].split())


@pytest.mark.parametrize("event", REQUIRED)
def test_optional_fields_may_be_null_or_left_out(event: str) -> None:
    data = {name: value for name, value in example(event).items() if name in REQUIRED[event].split()}
    decode(event, data)
    for name in OPTIONAL[event].split():
        decode(event, {**data, name: None})
    for name in REQUIRED[event].split():
        expect_fault(event, {**data, name: None}, name)
        assert expect_fault(event, {key: data[key] for key in data if key != name}, name) == "is required"


def test_the_message_inside() -> None:
    data = example("chat:message")
    for names, path in ((MESSAGE, ["message"]), (SENDER, ["message", "sender"])):
        inner: Mapping[str, Any] = data
        for step in path:
            inner = inner[step]
        assert set(inner) == set(names.split())


def with_inner(path: str, value: Any) -> dict[str, Any]:
    """The example of chat:message with one value changed, deep inside."""
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(example("chat:message")))
    *steps, last = path.split(".")
    inner = data
    for step in steps:
        inner = inner[step]
    inner[last] = value
    return data


@pytest.mark.parametrize(
    "path",
    ["message.deletedAt", "message.sender.firstName", "message.sender.suspensionReason", "message.sender.postCode"],
)
def test_what_may_be_null_inside_a_message(path: str) -> None:
    decode("chat:message", with_inner(path, None))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("senderRole", "admin", "one of 'supplier', 'user'"),
        ("message.sender.role", "guest", "one of 'admin', 'supplier', 'user'"),
        ("message.isRead", None, "true or false"),
        ("message.deletedAt", "never", "a UTC ISO-8601 time such as 2026-01-31T12:00:00Z or null"),
        ("message.sender.createdAt", "2026-01-31 12:00", "a UTC ISO-8601 time such as 2026-01-31T12:00:00Z"),
        ("createdAt", "2026-01-31T12:00:00", "a UTC ISO-8601 time such as 2026-01-31T12:00:00Z"),
    ],
)
def test_what_may_not_be_in_a_message(path: str, value: Any, expected: str) -> None:
    assert expect_fault("chat:message", with_inner(path, value), path) == expected


def test_admins_write_no_chat_but_may_be_shown_in_one() -> None:
    assert decode("chat:message", with_inner("message.sender.role", "admin")).message.sender.role == "admin"


@pytest.mark.parametrize("price", [0, 1249.5, 1249.55, 12])
def test_prices(price: float) -> None:
    assert str(decode("quote:offer:received", example("quote:offer:received", price=price)).price) == str(price)


@pytest.mark.parametrize("price", [-1, 0.001, "12,50", "12.505", None])
def test_what_is_no_price(price: Any) -> None:
    expect_fault("quote:offer:received", example("quote:offer:received", price=price), "price")


# Where events go.


def route(event: str, data: Any, to: Any = None) -> tuple[str, ...]:
    publisher = Publisher(contract, MemoryLog(), Limits())
    [entry] = publisher.prepare_publication(Publication(event, msgspec.Raw(msgspec.json.encode(data)), to))
    assert entry.namespace == "/"
    return entry.rooms


def refusal(event: str, to: Any = None) -> str:
    with pytest.raises(RefusedError) as refused:
        route(event, example(event), to)
    return refused.value.refusal.code


def test_a_message_goes_to_its_recipient_whatever_role_they_have() -> None:
    data = example("chat:message", recipientId="r")
    assert route("chat:message", data) == ("chat:user:r", "chat:supplier:r")
    assert route("chat:message", data, "chat:supplier:r") == ("chat:supplier:r",)
    assert refusal("chat:message", "chat:user:somebody-else") == "foreign_room"
    assert refusal("chat:message", "quote-offer:user:r") == "foreign_room"


def test_an_offer_goes_to_the_user_who_asked() -> None:
    for event in ("quote:offer:received", "quote:offer:updated"):
        assert route(event, example(event, userId="u")) == ("quote-offer:user:u",)
        assert refusal(event, "quote-offer:user:somebody-else") == "foreign_room"


def test_the_others_say_where_they_go() -> None:
    assert route("chat:delivered", example("chat:delivered"), "chat:user:sender") == ("chat:user:sender",)
    suppliers = ("quote-request:supplier:s1", "quote-request:supplier:s2")
    for event in ("quote:request:created", "quote:request:updated"):
        assert route(event, example(event), suppliers) == suppliers
        assert refusal(event, "chat:supplier:s1") == "foreign_room"
    for event in ("chat:delivered", "quote:request:created", "quote:request:updated"):
        assert refusal(event) == "room_required"
        assert refusal(event, "*") == "foreign_room"
        assert refusal(event, "somewhere") == "unknown_room"


# Who is where.


def rooms_of(identity: Identity) -> dict[str, list[str]]:
    """For each gateway the rooms an identity is entitled to."""
    return {
        gateway.name: [
            room.name(values)
            for room in root.rooms.kinds
            if room.gateway == gateway.name
            for values in room.rule.entitlements(identity)
        ]
        for gateway in root.gateways
    }


@pytest.mark.parametrize("role", ["user", "admin"])
def test_users_and_admins(role: str) -> None:
    assert rooms_of(Identity(subject="u", role=role, claims={"supplierId": "s"})) == {
        "chat": ["chat:user:u"],
        "quote-requests": [],
        "quote-offers": ["quote-offer:user:u"],
    }


def test_suppliers() -> None:
    supplier = Identity(subject="p", role="supplier", attributes={"supplier_id": "s"}, claims={"supplierId": "other"})
    assert rooms_of(supplier) == {
        "chat": ["chat:supplier:p"],
        "quote-requests": ["quote-request:supplier:s"],
        "quote-offers": [],
    }


def test_suppliers_without_a_record() -> None:
    newcomer = Identity(subject="p", role="supplier", claims={"supplierId": "s", "supplier_id": "s"})
    assert rooms_of(newcomer)["quote-requests"] == []


def test_all_rooms_are_joined_by_connecting_only() -> None:
    assert all(room.on_connect for room in root.rooms.kinds)
    assert root.commands == []


def test_payloads_are_made_in_python_with_its_own_names() -> None:
    delivered = ChatDelivered(message_id="m", recipient_id="r", delivered_at=Time("2026-01-31T12:00:00Z"))
    encoded = EventCodec("chat:delivered", ChatDelivered).encode_event(delivered)
    assert encoded == b'["chat:delivered",{"messageId":"m","recipientId":"r","deliveredAt":"2026-01-31T12:00:00Z"}]'
    assert contract.event_of(delivered).payload is ChatDelivered
    assert contract.events["chat:message"].payload is ChatMessage
    assert contract.events["quote:offer:received"].description == QuoteOfferReceived.__doc__
