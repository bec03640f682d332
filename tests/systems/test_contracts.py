"""The contracts of all systems: roles, what events and commands may carry, and who may be in which room.

The names, fields, types, targets and replies of each system are in the tables and types of its page in `docs/`;
`tests/test_docs.py` compares them with the contract. Where events go is in `test_routes.py`.
"""

from dataclasses import asdict
from typing import Any

import msgspec
import pytest
from msgspec.inspect import NoneType, type_info

from oyez.contract import UNSET, Identity, Time
from oyez.contract.policy import Verdict
from oyez.contract.schema import options
from oyez.errors import InvalidDataError
from oyez.settings import Limits
from oyez.systems.fixrx.contract import Actor, ServiceCreated
from oyez.systems.listing import list_systems
from oyez.systems.qscrap.payloads import Notification
from oyez.systems.quotes.contract import ChatDelivered
from oyez.systems.rez.contract import CHANNELS, own_orders
from oyez.systems.rez.payloads import HeartbeatAck
from tests.systems.contracts import codec_of, decode, example, find_command, publish, send, set_at
from tests.systems.matrix.cases import contract_of

AUTH, HEADER = "`auth.token` of the Socket.IO client", "header `Authorization: Bearer …`"
QUERY, COOKIE = "query parameter `token`", "cookie `access_token` (setting `COOKIE_NAME`)"
EVENTS = [(system, event) for system in list_systems() for event in contract_of(system).events]
STAMPED = [(system, event) for system, event in EVENTS if contract_of(system).events[event].timestamp]


# Roles and tokens.


@pytest.mark.parametrize(
    ("system", "roles", "default", "admitted", "tokens", "refusals"),
    [
        (
            "bookings",
            ("customer", "partner", "admin"),
            None,
            {"/customer": ["customer"], "/partner": ["partner"], "/admin": ["admin"]},
            [AUTH, HEADER, QUERY],
            {"illegal_transition", "not_found"},
        ),
        (
            "fixrx",
            ("user", "vendor", "admin"),
            None,
            {"/": ["user", "vendor", "admin"]},
            [AUTH, HEADER, QUERY],
            {"unknown_message"},
        ),
        (
            "qscrap",
            ("customer", "garage", "operations"),
            None,
            {"/": ["customer", "garage", "operations"]},
            [AUTH, HEADER, QUERY],
            set(),
        ),
        (
            "quotes",
            ("user", "supplier", "admin"),
            "user",
            {"/": ["user", "supplier", "admin"]},
            [COOKIE, HEADER, QUERY, AUTH],
            set(),
        ),
        (
            "rez",
            ("user", "agent", "admin"),
            "user",
            {"/": ["user", "agent", "admin"]},
            [QUERY, AUTH],
            {"unknown_channel", "not_found", "already_there", "illegal_transition"},
        ),
    ],
)
def test_roles_namespaces_tokens_and_refusals(
    system: str,
    roles: tuple[str, ...],
    default: str | None,
    admitted: dict[str, list[str]],
    tokens: list[str],
    refusals: set[str],
) -> None:
    contract = contract_of(system)
    assert (contract.name, contract.roles, contract.default_role) == (system, roles, default)
    assert [source.text for source in contract.tokens] == tokens
    assert {refusal.code for refusal in contract.refusals} == refusals
    found = {
        namespace.name: [role for role in roles if namespace.who.admits(Identity(subject="u", role=role))]
        for namespace in contract.namespaces
    }
    assert found == admitted


# Events.


@pytest.mark.parametrize(("system", "event"), EVENTS)
def test_an_example_is_what_a_client_receives(system: str, event: str) -> None:
    data = example(system, event)
    encoded = codec_of(system, event).encode_payload(decode(system, event, data))
    assert msgspec.json.decode(encoded) == data
    assert len(encoded) < Limits().max_event_bytes


@pytest.mark.parametrize(("system", "event"), STAMPED)
def test_the_server_fills_in_the_time(system: str, event: str) -> None:
    declared = contract_of(system).events[event]
    names = {field.name: field.encode_name for field in msgspec.structs.fields(declared.payload)}
    name = names[str(declared.timestamp)]
    data = example(system, event)
    assert data.pop(name)
    stamped = declared.stamp(decode(system, event, data), 1769860800.0)
    assert msgspec.to_builtins(stamped, enc_hook=str)[name] == "2026-01-31T12:00:00.000Z"


@pytest.mark.parametrize(("system", "event"), EVENTS)
def test_required_fields_cannot_be_left_out_and_optional_fields_can(system: str, event: str) -> None:
    declared = contract_of(system).events[event]
    data = example(system, event)
    for field in msgspec.structs.fields(declared.payload):
        name = field.encode_name
        shortened = {other: value for other, value in data.items() if other != name}
        if field.required:
            with pytest.raises(InvalidDataError) as error:
                decode(system, event, shortened)
            assert (error.value.field, error.value.expected) == (name, "is required")
            if not any(isinstance(option, NoneType) for option in options(type_info(field.type))):
                with pytest.raises(InvalidDataError):
                    decode(system, event, {**data, name: None})
            continue
        assert field.default is UNSET
        decode(system, event, shortened)
        if field.name != declared.timestamp:
            decode(system, event, {**data, name: None})


def test_events_that_are_volatile_or_not_stored() -> None:
    volatile = {(system, event) for system, event in EVENTS if contract_of(system).events[event].volatile}
    assert volatile == {
        ("bookings", "partner:location_update"),
        ("bookings", "typing:indicator"),
        ("rez", "heartbeat_ack"),
        ("rez", "order_location_update"),
        ("rez", "user_typing_start"),
        ("rez", "user_typing_stop"),
        ("rez", "support_agent_typing_start"),
        ("rez", "support_agent_typing_stop"),
        ("rez", "store_typing"),
    }
    answers = {"connected", "disconnected", "session_expired", "token_refresh", "connection_error"}
    not_stored = {(system, event) for system, event in EVENTS if not contract_of(system).events[event].durable}
    assert not_stored == volatile | {("rez", event) for event in answers}


FIXRX_SUBJECTS = [event for event in contract_of("fixrx").events if not event.startswith("chat:")]
"""The events of fixrx about a service, a booking or a payment, which begin with that word."""


@pytest.mark.parametrize(
    ("system", "event", "path", "value"),
    [
        ("bookings", "partner:location_update", "location.latitude", 90.1),
        ("bookings", "partner:location_update", "location.longitude", -180.1),
        ("bookings", "partner:location_update", "location", {"latitude": 0}),
        ("bookings", "booking:new_request", "amount", 9.999),
        ("bookings", "booking:new_request", "amount", "99,9"),
        ("bookings", "booking:new_request", "scheduledAt", "2026-03-12 09:30"),
        ("bookings", "message:received", "message", ""),
        ("bookings", "message:received", "message", "x" * 4001),
        ("bookings", "message:received", "senderRole", "admin"),
        ("bookings", "earnings:updated", "completedBookings", -1),
        ("bookings", "kyc:submitted", "documents", []),
        ("bookings", "kyc:submitted", "documents", ["SELFIE"]),
        ("bookings", "notification:new", "type", "booking"),
        ("bookings", "booking:status_updated", "status", "pending"),
        ("bookings", "booking:updated", "previousStatus", None),
        *(
            ("fixrx", event, f"{event.partition(':')[0]}.{name}", value)
            for event in FIXRX_SUBJECTS
            for name, value in (("status", "lost"), ("userId", None), ("createdAt", "today"), ("secret", 1))
        ),
        *(("fixrx", event, "actor.role", "robot") for event in FIXRX_SUBJECTS),
        *(("fixrx", event, "actor", {"id": "usr-1"}) for event in FIXRX_SUBJECTS),
        ("fixrx", "service:status_changed", "previousStatus", "lost"),
        ("fixrx", "booking:status_changed", "previousStatus", "lost"),
        ("qscrap", "new_request", "car_year", "2015.0"),
        ("qscrap", "new_request", "condition_required", "broken"),
        ("qscrap", "new_bid", "bid_summary.bid_amount", -1),
        ("qscrap", "new_bid", "bid_summary.part_condition", "scrap"),
        ("qscrap", "new_bid", "bid_summary.warranty_days", 1.5),
        ("qscrap", "counter_offer_received", "offered_by", "operations"),
        ("qscrap", "counter_offer_received", "proposed_amount", "380 €"),
        ("qscrap", "counter_offer_accepted", "final_amount", 0.001),
        ("qscrap", "order_status_updated", "old_status", "lost"),
        ("qscrap", "order_status_updated", "new_status", None),
        ("qscrap", "order_status_updated", "notification.type", "loud"),
        ("qscrap", "order_status_updated", "notification", "In preparation"),
        ("qscrap", "dispute_created", "reason", "bored"),
        ("qscrap", "dispute_resolved", "resolution", "maybe"),
        ("qscrap", "payout_scheduled", "scheduled_date", "2026-01-20"),
        ("qscrap", "subscription_warning", "expires_at", "soon"),
        ("qscrap", "new_ticket", "priority", "asap"),
        ("qscrap", "new_message", "message", ""),
        ("qscrap", "ticket_updated", "status", "gone"),
        ("quotes", "chat:message", "senderRole", "admin"),
        ("quotes", "chat:message", "message.sender.role", "guest"),
        ("quotes", "chat:message", "message.isRead", None),
        ("quotes", "chat:message", "message.deletedAt", "never"),
        ("quotes", "chat:message", "message.sender.createdAt", "2026-01-31 12:00"),
        ("quotes", "chat:message", "createdAt", "2026-01-31T12:00:00"),
        *(("quotes", "quote:offer:received", "price", price) for price in (-1, 0.001, "12,50", "12.505", None)),
        ("rez", "new_offer", "discount", 100.5),
        ("rez", "new_offer", "category", ""),
        ("rez", "deal_notification", "salePrice", -1),
        ("rez", "deal_notification", "timeRemaining", -1),
        ("rez", "order_status_update", "status", "cancelled"),
        ("rez", "order_location_update", "location.latitude", -91),
        ("rez", "order_location_update", "location", {"latitude": 0, "longitude": 0}),
        ("rez", "order_eta_update", "eta", "in half an hour"),
        ("rez", "order_cancelled", "refundAmount", 32.905),
        ("rez", "cart_sync", "items", [{}]),
        ("rez", "cart_item_reserved", "quantity", 0),
        ("rez", "support_message_received", "content", ""),
        ("rez", "support_message_received", "attachments", [{"url": "x", "type": "image/png", "size": -1}]),
        ("rez", "support_queue_position_updated", "position", 0),
        ("rez", "group_complete", "members", []),
        ("rez", "leaderboard_rank_change", "period", "all_time"),
        ("rez", "leaderboard_update", "rankings", [{"rank": 0}]),
        ("rez", "force_update", "isForced", "yes"),
    ],
)
def test_an_event_with_a_wrong_value_is_refused_by_the_name_of_the_field(
    system: str, event: str, path: str, value: Any
) -> None:
    with pytest.raises(InvalidDataError) as error:
        decode(system, event, set_at(example(system, event), path, value))
    if isinstance(value, dict | list):
        assert error.value.field.startswith(path)
    else:
        assert error.value.field == path


@pytest.mark.parametrize(
    ("system", "event", "path", "value"),
    [
        ("bookings", "booking:created", "partner", None),
        *(("quotes", "quote:offer:received", "price", price) for price in (0, 1249.5, 1249.55, 12)),
        ("quotes", "chat:message", "message.deletedAt", None),
        ("quotes", "chat:message", "message.sender.firstName", None),
        ("quotes", "chat:message", "message.sender.suspensionReason", None),
        ("quotes", "chat:message", "message.sender.postCode", None),
        ("quotes", "chat:message", "message.sender.role", "admin"),
    ],
)
def test_an_event_with_a_rare_value_is_published_with_it(system: str, event: str, path: str, value: Any) -> None:
    data = set_at(example(system, event), path, value)
    assert msgspec.json.decode(codec_of(system, event).encode_payload(decode(system, event, data))) == data


# Commands.


@pytest.mark.parametrize(
    ("system", "namespace", "array", "field"),
    [
        ("bookings", "/customer", ["booking:track"], ""),
        ("bookings", "/customer", ["booking:track", ""], "bookingId"),
        ("bookings", "/customer", ["booking:track", {"bookingId": "b"}], "bookingId"),
        ("bookings", "/customer", ["booking:untrack", 7.5], "bookingId"),
        ("bookings", "/customer", ["booking:cancel", {"bookingId": "b"}], "reason"),
        ("bookings", "/customer", ["booking:cancel", {"bookingId": "b", "reason": ""}], "reason"),
        ("bookings", "/customer", ["message:send", {"recipientId": "p", "message": ""}], "message"),
        ("bookings", "/customer", ["message:send", {"recipientId": "p", "message": "x" * 4001}], "message"),
        ("bookings", "/customer", ["typing:start"], ""),
        ("bookings", "/customer", ["typing:stop", None], "recipientId"),
        ("bookings", "/customer", ["message:mark_read", {}], "messageId"),
        ("bookings", "/partner", ["booking:accept", {"bookingId": "b"}], "bookingId"),
        ("bookings", "/partner", ["booking:reject", {"bookingId": "b", "reason": "x" * 501}], "reason"),
        ("bookings", "/partner", ["booking:status_update", {"bookingId": "b", "status": "DONE"}], "status"),
        ("bookings", "/partner", ["location:update", {"latitude": 90.001, "longitude": 0}], "latitude"),
        ("bookings", "/partner", ["location:update", {"latitude": -90.5, "longitude": 0}], "latitude"),
        ("bookings", "/partner", ["location:update", {"latitude": "51.5N", "longitude": 0}], "latitude"),
        ("bookings", "/partner", ["location:update", {"latitude": 0, "longitude": -180.001}], "longitude"),
        ("bookings", "/partner", ["location:update", {"latitude": 0, "longitude": 181}], "longitude"),
        ("bookings", "/admin", ["request:stats", 1], ""),
        ("bookings", "/admin", ["monitor:bookings", 1], ""),
        ("bookings", "/admin", ["typing:start", ""], "recipientId"),
        ("fixrx", "/", ["join", {"type": "admin", "id": "a"}], "type"),
        ("fixrx", "/", ["join", {"type": "user", "id": ""}], "id"),
        ("fixrx", "/", ["chat:send", {"recipientId": "", "message": "x"}], "recipientId"),
        ("fixrx", "/", ["chat:send", {"recipientId": "r", "message": ""}], "message"),
        ("fixrx", "/", ["chat:send", {"recipientId": "r", "message": "x" * 2_001}], "message"),
        ("fixrx", "/", ["chat:send", {"recipientId": "r", "message": "x", "senderId": "s"}], "senderId"),
        ("fixrx", "/", ["chat:read", {}], "messageId"),
        ("qscrap", "/", ["join_user_room", "U-1", "more"], ""),
        ("qscrap", "/", ["join_garage_room", "G-1", "more"], ""),
        ("qscrap", "/", ["join_operations_room", "more"], ""),
        ("qscrap", "/", ["join_ticket", "T-1", "more"], ""),
        ("rez", "/", ["subscribe", "orders"], ""),
        ("rez", "/", ["subscribe", {"channel": ""}], "channel"),
        ("rez", "/", ["subscribe", {"channel": 7}], "channel"),
        ("rez", "/", ["subscribe", {"channel": "orders", "x": 1}], "x"),
        ("rez", "/", ["subscribe", {"channel": "x" * 161}], "channel"),
        ("rez", "/", ["unsubscribe", {}], "channel"),
        ("rez", "/", ["heartbeat", {"timestamp": "now"}], "timestamp"),
        ("rez", "/", ["heartbeat", {"timestamp": -1}], "timestamp"),
        ("rez", "/", ["join_ticket", {"userId": "u"}], "ticketId"),
        ("rez", "/", ["message_read", {"ticketId": "t", "userId": "u"}], "messageId"),
    ],
)
def test_a_command_that_does_not_fit_is_refused_by_the_name_of_the_field(
    system: str, namespace: str, array: list[Any], field: str
) -> None:
    with pytest.raises(InvalidDataError) as error:
        send(system, namespace, array)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("system", "namespace", "array", "read"),
    [
        (
            "bookings",
            "/customer",
            ["message:send", {"recipientId": "p", "message": "x" * 4000}],
            ("p", "x" * 4000, UNSET),
        ),
        (
            "bookings",
            "/customer",
            ["message:send", {"recipientId": "p", "message": "x", "bookingId": None}],
            ("p", "x", None),
        ),
        ("bookings", "/partner", ["location:update", {"latitude": -90, "longitude": 180}], (-90, 180)),
        (
            "bookings",
            "/partner",
            ["booking:status_update", {"bookingId": "b", "status": "IN_PROGRESS"}],
            ("b", "IN_PROGRESS"),
        ),
        ("bookings", "/admin", ["request:stats"], ()),
        ("bookings", "/admin", ["monitor:bookings"], ()),
        ("fixrx", "/", ["join", {"type": "vendor", "id": "v"}], ("vendor", "v")),
        ("fixrx", "/", ["ping"], ()),
        ("fixrx", "/", ["chat:send", {"recipientId": "r", "message": "Hello"}], ("r", "Hello")),
        ("fixrx", "/", ["chat:read", {"messageId": "m"}], ("m",)),
        ("qscrap", "/", ["join_user_room", "U-1"], ("U-1",)),
        ("qscrap", "/", ["join_garage_room", "G-1"], ("G-1",)),
        ("qscrap", "/", ["join_operations_room"], ()),
        ("qscrap", "/", ["join_ticket", "T-1"], ("T-1",)),
        ("rez", "/", ["heartbeat", {"timestamp": 0}], (0,)),
        ("rez", "/", ["join_ticket", {"ticketId": "t"}], ("t", UNSET)),
        ("rez", "/", ["message_read", {"ticketId": "t", "messageId": "m"}], ("t", "m", UNSET)),
    ],
)
def test_a_command_that_fits(system: str, namespace: str, array: list[Any], read: tuple[Any, ...]) -> None:
    assert msgspec.structs.astuple(send(system, namespace, array)) == read


@pytest.mark.parametrize(
    ("system", "namespace", "name", "roles"),
    [
        (system, namespace.name, command.name, None)
        for system in list_systems()
        for namespace in contract_of(system).namespaces
        for command in namespace.commands
        if (system, command.name) not in {("fixrx", "chat:send"), ("fixrx", "chat:read")}
    ]
    + [("fixrx", "/", name, ["user", "vendor"]) for name in ("chat:send", "chat:read")],
)
def test_the_roles_that_may_send_a_command(system: str, namespace: str, name: str, roles: list[str] | None) -> None:
    """None: all roles that the namespace admits."""
    contract = contract_of(system)
    declared = next(found for found in contract.namespaces if found.name == namespace)
    admitted = [role for role in contract.roles if declared.who.admits(Identity(subject="u", role=role))]
    command = find_command(system, namespace, name)
    allowed = [role for role in admitted if command.who.admits(Identity(subject="u", role=role))]
    assert allowed == (admitted if roles is None else roles)
    # A chat message costs the recipient's attention.
    assert command.limit.text == "5 a second" if name == "chat:send" else command.limit.count >= 10


@pytest.mark.parametrize("name", [command.name for command in contract_of("rez").namespaces[0].commands])
def test_a_rez_command_with_a_user_id_is_for_the_user_itself_only(name: str) -> None:
    command = find_command("rez", "/", name)
    own_only = "userId" in command.command.__struct_encode_fields__
    assert own_only == (name not in {"subscribe", "unsubscribe", "heartbeat"})
    for said, verdict in (("u", Verdict.YES), ("v", Verdict.NO if own_only else Verdict.YES)):
        assert command.who.decide(Identity(subject="u", role="user"), {"userId": said}) is verdict


REPLIES = {
    "fixrx": {"join": "room", "chat:send": "messageId timestamp"},
    "rez": {
        "subscribe": "channel rooms",
        "unsubscribe": "channel rooms",
        "join_ticket": "room",
        "leave_ticket": "room",
        "message_read": "messageId readBy readAt",
    },
}


@pytest.mark.parametrize("system", REPLIES)
def test_the_fields_of_the_replies(system: str) -> None:
    (namespace,) = contract_of(system).namespaces
    found = {
        command.name: " ".join(command.reply.__struct_encode_fields__)
        for command in namespace.commands
        if command.reply
    }
    assert found == REPLIES[system]


# Rooms.


def identify(role: str, **options: Any) -> Identity:
    """The user `id-1` with claims that name other users: only the subject of a token counts."""
    claims = {"userId": "other", "vendorId": "other", "supplierId": "other", "supplier_id": "other"}
    return Identity(subject="id-1", role=role, claims=claims, **options)


@pytest.mark.parametrize(
    ("system", "namespace", "identity", "rooms"),
    [
        ("bookings", "/customer", identify("customer"), ["user:id-1"]),
        ("bookings", "/partner", identify("partner"), ["user:id-1"]),
        ("bookings", "/admin", identify("admin"), ["user:id-1"]),
        ("fixrx", "/", identify("user"), ["user:id-1"]),
        ("fixrx", "/", identify("vendor"), ["vendor:id-1"]),
        ("fixrx", "/", identify("admin"), ["user:id-1"]),
        *(("qscrap", "/", identify(role), []) for role in ("customer", "garage", "operations")),
        ("quotes", "/", identify("user"), ["chat:user:id-1", "quote-offer:user:id-1"]),
        ("quotes", "/", identify("admin"), ["chat:user:id-1", "quote-offer:user:id-1"]),
        ("quotes", "/", identify("supplier"), ["chat:supplier:id-1"]),
        (
            "quotes",
            "/",
            identify("supplier", attributes={"supplier_id": "s"}),
            ["chat:supplier:id-1", "quote-request:supplier:s"],
        ),
        *(("rez", "/", identify(role), ["user:id-1"]) for role in ("user", "agent", "admin")),
    ],
    ids=lambda value: value.role if isinstance(value, Identity) else None,
)
def test_the_rooms_that_a_client_is_in_after_connecting(
    system: str, namespace: str, identity: Identity, rooms: list[str]
) -> None:
    declared = next(found for found in contract_of(system).namespaces if found.name == namespace)
    assert rooms == [
        room.name(values)
        for room in declared.rooms.kinds
        if room.on_connect
        for values in room.rule.entitlements(identity)
        if room.rule.decide(identity, values) is Verdict.YES
    ]


YES, NO, MEMBERS = Verdict.YES, Verdict.NO, Verdict.IF_MEMBER
CUSTOMER = Identity(subject="U-1", role="customer", claims={"garage_id": "G-1"})
STAFF = Identity(subject="U-2", role="garage", claims={"garage_id": "G-1"})
OPERATOR = Identity(subject="U-3", role="operations")


@pytest.mark.parametrize(
    ("system", "namespace", "room", "verdicts"),
    [
        ("bookings", "/customer", "booking:b", [(identify("customer"), MEMBERS)]),
        ("bookings", "/admin", "monitors", [(identify("admin"), YES)]),
        *(
            ("fixrx", "/", room, [(identify(role), NO) for role in ("user", "vendor", "admin")])
            for room in ("user:id-2", "vendor:id-2")
        ),
        ("qscrap", "/", "user_U-1", [(CUSTOMER, YES), (STAFF, NO), (OPERATOR, NO)]),
        ("qscrap", "/", "user_U-3", [(CUSTOMER, NO), (STAFF, NO), (OPERATOR, YES)]),
        ("qscrap", "/", "garage_G-1", [(CUSTOMER, NO), (STAFF, YES), (OPERATOR, YES)]),
        ("qscrap", "/", "garage_G-2", [(CUSTOMER, NO), (STAFF, NO), (OPERATOR, YES)]),
        ("qscrap", "/", "user_operations", [(CUSTOMER, NO), (STAFF, NO), (OPERATOR, YES)]),
        ("qscrap", "/", "ticket_T-1", [(CUSTOMER, MEMBERS), (STAFF, MEMBERS), (OPERATOR, YES)]),
        ("rez", "/", "user:x", [(identify("user"), NO)]),
        ("rez", "/", "order:x", [(identify("user"), MEMBERS), (identify("agent"), MEMBERS), (identify("admin"), YES)]),
        ("rez", "/", "support_ticket:x", [(identify(role), MEMBERS) for role in ("user", "agent", "admin")]),
        ("rez", "/", "group:x", [(identify("user"), MEMBERS)]),
        ("rez", "/", "store_conversation:x", [(identify("user"), MEMBERS)]),
        ("rez", "/", "offers", [(identify("user"), YES)]),
        ("rez", "/", "offers:x", [(identify("user"), YES)]),
        *(
            ("rez", "/", f"leaderboard:{period}", [(identify("user"), YES)])
            for period in ("daily", "weekly", "monthly", "all_time")
        ),
    ],
    ids=lambda value: "" if isinstance(value, list) else None,
)
def test_who_may_be_in_a_room(system: str, namespace: str, room: str, verdicts: list[tuple[Identity, Verdict]]) -> None:
    declared = next(found for found in contract_of(system).namespaces if found.name == namespace)
    resolved = declared.rooms.resolve(room)
    assert resolved is not None
    kind, values = resolved
    for identity, verdict in verdicts:
        assert kind.rule.decide(identity, values) is verdict, asdict(identity)


@pytest.mark.parametrize(
    ("system", "room"), [("qscrap", "user:U-1"), ("fixrx", "user_u"), ("rez", "leaderboard:hourly")]
)
def test_a_name_that_is_no_room(system: str, room: str) -> None:
    assert contract_of(system).namespaces[0].rooms.resolve(room) is None


# Examples that belong together, and payloads of one system.


def test_the_examples_of_bookings_are_about_one_booking() -> None:
    events = {event: example("bookings", event) for event in contract_of("bookings").events}
    created, updated = events["booking:created"], events["booking:updated"]
    same = ("bookingId", "bookingNumber", "service", "scheduledAt", "address", "amount", "customer", "createdAt")
    assert {name: created[name] for name in same} == {name: updated[name] for name in same}
    request = events["booking:new_request"]
    assert {name: created[name] for name in same[:6]} == {name: request[name] for name in same[:6]}
    assigned, received = events["partner:assigned"]["partner"], events["message:received"]
    assert {name: assigned[name] for name in ("id", "name", "phone")} == updated["partner"]
    assert received["senderId"] == events["typing:indicator"]["userId"] == assigned["id"]
    assert received["recipientId"] == created["customer"]["id"]
    assert events["message:sent"]["id"] == received["id"]
    assert events["earnings:updated"]["amount"] == created["amount"]


def test_the_sums_in_the_examples_of_rez_are_right() -> None:
    cart = decode("rez", "cart_sync", example("rez", "cart_sync"))
    assert all(item.price * item.quantity == item.total for item in cart.items)
    assert sum(item.quantity for item in cart.items) == cart.item_count
    assert sum(item.total for item in cart.items) == cart.subtotal
    assert cart.subtotal - cart.discount + cart.delivery_fee + cart.tax == cart.total
    change = example("rez", "leaderboard_rank_change")
    assert change["oldRank"] - change["newRank"] == change["change"]
    kettle = example("rez", "deal_notification")
    assert kettle["originalPrice"] * (1 - kettle["discount"] / 100) == kettle["salePrice"]


@pytest.mark.parametrize(
    ("event", "subject"), [("service:status_changed", "service"), ("booking:status_changed", "booking")]
)
def test_the_example_of_a_changed_status_has_another_status_before(event: str, subject: str) -> None:
    data = example("fixrx", event)
    assert data["previousStatus"] != data[subject]["status"]


def test_a_notification_of_qscrap_is_the_same_in_all_events() -> None:
    for event in contract_of("qscrap").events.values():
        types = {field.name: field.type for field in msgspec.structs.fields(event.payload)}
        assert types.get("notification", Notification) is Notification
    assert Notification.__struct_fields__ == ("title", "message", "type")


def test_counter_offers_of_both_sides_have_the_same_fields() -> None:
    events = contract_of("qscrap").events
    received = events["counter_offer_received"].payload.__struct_fields__
    assert received == (*events["garage_counter_offer"].payload.__struct_fields__, "offered_by")


def test_a_request_for_parts_does_not_name_the_customer() -> None:
    assert not any("customer" in field or "user" in field for field in example("qscrap", "new_request"))


def test_a_payload_made_in_python_is_sent_with_the_names_of_the_contract() -> None:
    delivered = ChatDelivered(message_id="m", recipient_id="r", delivered_at=Time("2026-01-31T12:00:00Z"))
    encoded = codec_of("quotes", "chat:delivered").encode_event(delivered)
    assert encoded == b'["chat:delivered",{"messageId":"m","recipientId":"r","deliveredAt":"2026-01-31T12:00:00Z"}]'
    assert contract_of("quotes").event_of(delivered).payload is ChatDelivered


def test_a_payload_made_in_python_may_leave_the_time_to_the_server() -> None:
    created = decode("fixrx", "service:created", example("fixrx", "service:created"))
    payload = ServiceCreated(service=created.service, actor=Actor(id="usr-3051", role="user"))
    assert payload.timestamp is UNSET
    assert contract_of("fixrx").event_of(payload).name == "service:created"


def test_the_largest_cart_fits_into_an_event() -> None:
    item = example("rez", "cart_sync")["items"][0]
    (entry,) = publish("rez", "cart_sync", example("rez", "cart_sync", items=[item] * 30))
    assert entry.rooms == ("user:usr-7718",)
    with pytest.raises(InvalidDataError, match="items: expected an array of at most 30 items"):
        decode("rez", "cart_sync", example("rez", "cart_sync", items=[item] * 31))


@pytest.mark.parametrize("timestamp", [0, 1776358830000, 1776358830000.25])
def test_the_answer_to_a_heartbeat_has_its_timestamp_unchanged(timestamp: float) -> None:
    command = send("rez", "/", ["heartbeat", {"timestamp": timestamp}])
    data = codec_of("rez", "heartbeat_ack").encode_payload(HeartbeatAck(timestamp=command.timestamp))
    assert data == b'{"timestamp":%s}' % str(timestamp).encode()


def test_no_event_of_rez_goes_to_the_room_of_a_users_own_orders() -> None:
    (namespace,) = contract_of("rez").namespaces
    kinds = {room.pattern: room for room in namespace.rooms.kinds}
    assert kinds.pop("orders:{userId}") is own_orders
    assert kinds.keys() == {room.pattern for room in CHANNELS.values()}
    assert all(own_orders not in event.targets for event in namespace.events)
