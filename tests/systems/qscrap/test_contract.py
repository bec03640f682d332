"""The contract of `qscrap`, against its document: names, fields, rooms, who may join them, and where events go."""

from typing import Any

import msgspec
import pytest

from oyez.contract import Identity, Stamped
from oyez.contract.codec import CommandCodec, EventCodec
from oyez.contract.policy import Verdict
from oyez.contract.rooms import Caller, DerivedRoom, Everyone, Target
from oyez.contract.schema import describe, find_type
from oyez.errors import InvalidDataError, RefusedError
from oyez.log.log import Entry
from oyez.log.memory import MemoryLog
from oyez.runtime.publisher import Publication, Publisher
from oyez.settings import Limits
from oyez.systems.qscrap.contract import contract, root, user
from oyez.systems.qscrap.payloads import Notification

USER, GARAGE, OPERATIONS, TICKET = "user_{userId}", "garage_{garageId}", "user_operations", "ticket_{ticketId}"
ALL = "*"

TARGETS = {
    "new_request": {ALL},
    "request_expired": {USER},
    "request_cancelled": {GARAGE, ALL},
    "new_bid": {USER},
    "bid_rejected": {GARAGE},
    "bid_updated": {USER},
    "bid_withdrawn": {USER},
    "counter_offer_received": {GARAGE, USER},
    "counter_offer_accepted": {USER, GARAGE},
    "counter_offer_rejected": {USER, GARAGE},
    "garage_counter_offer": {USER},
    "order_status_updated": {USER, GARAGE},
    "order_cancelled": {GARAGE, USER},
    "qc_passed": {USER, GARAGE},
    "qc_failed": {USER, GARAGE},
    "qc_failed_alert": {ALL},
    "return_assignment_created": {GARAGE},
    "dispute_created": {GARAGE},
    "dispute_accepted": {USER},
    "dispute_contested": {USER},
    "dispute_resolved": {USER, GARAGE},
    "payout_scheduled": {GARAGE},
    "payout_held": {GARAGE},
    "payout_completed": {GARAGE},
    "payout_released": {GARAGE},
    "payment_sent": {GARAGE},
    "payment_confirmed": {ALL},
    "payment_disputed": {ALL},
    "subscription_warning": {GARAGE},
    "new_ticket": {OPERATIONS},
    "new_message": {TICKET},
    "support_reply": {USER, OPERATIONS},
    "ticket_updated": {TICKET},
}
FIELDS = {
    "new_request": "request_id car_make car_model …",
    "request_expired": "request_id notification",
    "request_cancelled": "request_id notification",
    "new_bid": "request_id bid_summary notification",
    "bid_rejected": "bid_id notification",
    "bid_updated": "bid_id notification",
    "bid_withdrawn": "bid_id request_id notification",
    "counter_offer_received": "counter_offer_id bid_id …",
    "counter_offer_accepted": "bid_id final_amount notification",
    "counter_offer_rejected": "bid_id notification",
    "garage_counter_offer": "counter_offer_id proposed_amount …",
    "order_status_updated": "order_id order_number old_status new_status notification",
    "order_cancelled": "order_id order_number cancellation_reason notification",
    "qc_passed": "order_id order_number notification",
    "qc_failed": "order_id order_number failure_reason notification",
    "qc_failed_alert": "order_id garage_name notification",
    "return_assignment_created": "order_id notification",
    "dispute_created": "dispute_id order_id reason refund_amount notification",
    "dispute_accepted": "dispute_id order_number refund_amount notification",
    "dispute_contested": "dispute_id garage_response notification",
    "dispute_resolved": "dispute_id resolution refund_amount notification",
    "payout_scheduled": "payout_id order_id amount scheduled_date notification",
    "payout_held": "payout_id order_id reason notification",
    "payout_completed": "payout_id order_id amount reference notification",
    "payout_released": "payout_id notification",
    "payment_sent": "payout_id notification",
    "payment_confirmed": "payout_id notification",
    "payment_disputed": "payout_id notification",
    "subscription_warning": "message expires_at",
    "new_ticket": "ticket_id subject priority",
    "new_message": "…",
    "support_reply": "ticket_id message",
    "ticket_updated": "status",
}
ROOMS = {USER: "user_U-1", GARAGE: "garage_G-1", OPERATIONS: OPERATIONS, TICKET: "ticket_T-5120", ALL: ALL}
"""One room of each kind; the ticket is the one in the example of `new_message`."""


def example(event: str, **changes: Any) -> dict[str, Any]:
    return {**contract.events[event].example, **changes}


def decode(event: str, data: Any) -> Any:
    return EventCodec(event, contract.events[event].payload).decode_payload(msgspec.json.encode(data))


def publish(event: str, to: str | tuple[str, ...] | None = None) -> Entry:
    """What publishing the event's example puts into the log."""
    publisher = Publisher(contract, MemoryLog(), Limits())
    [entry] = publisher.prepare_publication(Publication(event, msgspec.Raw(msgspec.json.encode(example(event))), to))
    return entry


def refusal(event: str, to: str | tuple[str, ...] | None = None) -> str:
    with pytest.raises(RefusedError) as refused:
        publish(event, to)
    return refused.value.refusal.code


def test_the_head() -> None:
    assert contract.name == "qscrap"
    assert contract.roles == ("customer", "garage", "operations")
    assert contract.default_role is None
    assert [namespace.name for namespace in contract.namespaces] == ["/"]


# Events.


def kind_of(target: Target) -> str:
    assert not isinstance(target, Caller)
    if isinstance(target, Everyone):
        return ALL
    return target.room.pattern if isinstance(target, DerivedRoom) else target.pattern


def test_the_events_and_their_targets_are_the_documents() -> None:
    assert len(contract.events) == 33
    assert list(contract.events) == list(TARGETS)
    declared = {name: {kind_of(target) for target in event.targets["/"]} for name, event in contract.events.items()}
    assert declared == TARGETS


@pytest.mark.parametrize("event", FIELDS)
def test_the_fields_are_the_documents_and_a_time(event: str) -> None:
    fields = list(contract.events[event].payload.__struct_encode_fields__)
    assert fields.pop(0) == "timestamp"
    named = FIELDS[event].split()
    if named[-1] == "…":
        assert set(fields) > set(named[:-1])
    else:
        assert fields == named


@pytest.mark.parametrize("event", TARGETS)
def test_an_example_is_what_a_client_receives(event: str) -> None:
    data = example(event)
    codec = EventCodec(event, contract.events[event].payload)
    encoded = codec.encode_payload(decode(event, data))
    assert msgspec.json.decode(encoded) == data
    assert "timestamp" in data
    assert len(encoded) < Limits().max_event_bytes


def test_every_event_is_kept_and_gets_its_time_from_the_server() -> None:
    for event in contract.events.values():
        assert event.durable
        assert issubclass(event.payload, Stamped)
        data = {name: value for name, value in event.example.items() if name != "timestamp"}
        stamped: Any = event.stamp(decode(event.name, data), 1769860800.0)
        assert stamped.timestamp == "2026-01-31T12:00:00.000Z"


def test_a_notification_is_the_same_everywhere() -> None:
    for event in contract.events.values():
        types = {field.name: field.type for field in msgspec.structs.fields(event.payload)}
        assert types.get("notification", Notification) is Notification
    assert Notification.__struct_fields__ == ("title", "message", "type")


def test_counter_offers_say_the_same_whoever_made_them() -> None:
    received = contract.events["counter_offer_received"].payload.__struct_fields__
    assert received == (*contract.events["garage_counter_offer"].payload.__struct_fields__, "offered_by")


@pytest.mark.parametrize(
    ("event", "path", "value"),
    [
        ("new_request", "car_year", "2015.0"),
        ("new_request", "condition_required", "broken"),
        ("new_bid", "bid_summary.bid_amount", -1),
        ("new_bid", "bid_summary.part_condition", "scrap"),
        ("new_bid", "bid_summary.warranty_days", 1.5),
        ("counter_offer_received", "offered_by", "operations"),
        ("counter_offer_received", "proposed_amount", "380 €"),
        ("counter_offer_accepted", "final_amount", 0.001),
        ("order_status_updated", "old_status", "lost"),
        ("order_status_updated", "new_status", None),
        ("order_status_updated", "notification.type", "loud"),
        ("order_status_updated", "notification", "In preparation"),
        ("dispute_created", "reason", "bored"),
        ("dispute_resolved", "resolution", "maybe"),
        ("payout_scheduled", "scheduled_date", "2026-01-20"),
        ("subscription_warning", "expires_at", "soon"),
        ("new_ticket", "priority", "asap"),
        ("new_message", "message", ""),
        ("ticket_updated", "status", "gone"),
    ],
)
def test_what_may_not_be_in_a_payload(event: str, path: str, value: Any) -> None:
    data = msgspec.json.decode(msgspec.json.encode(example(event)))
    *steps, last = path.split(".")
    inner = data
    for step in steps:
        inner = inner[step]
    inner[last] = value
    with pytest.raises(InvalidDataError) as error:
        decode(event, data)
    assert error.value.field == path


def test_optional_fields_may_be_null_or_left_out() -> None:
    for event, names in (
        ("new_request", ("part_category", "part_number", "delivery_area")),
        ("counter_offer_received", ("message",)),
        ("garage_counter_offer", ("message",)),
    ):
        decode(event, example(event, **dict.fromkeys(names)))
        decode(event, {name: value for name, value in example(event).items() if name not in names})


def test_statuses_are_told_in_words() -> None:
    status = find_type(contract.events["ticket_updated"].payload, ("status",))
    assert status is not None
    assert describe(status) == "one of 'closed', 'in_progress', 'open', 'resolved'"


def test_a_request_says_nothing_of_the_customer() -> None:
    assert not any("customer" in field or "user" in field for field in example("new_request"))


# Where events go.


@pytest.mark.parametrize("event", TARGETS)
def test_an_event_goes_to_the_kinds_of_its_table_and_to_no_other(event: str) -> None:
    for kind, room in ROOMS.items():
        if kind in TARGETS[event]:
            assert publish(event, room).rooms == (() if room == ALL else (room,))
        else:
            assert refusal(event, room) == "foreign_room"
    assert refusal(event, "user:U-1") == "unknown_room"


@pytest.mark.parametrize(
    "event", ["counter_offer_received", "counter_offer_accepted", "counter_offer_rejected", "order_cancelled"]
)
def test_either_side_or_both_but_nobody_else(event: str) -> None:
    assert publish(event, "user_U-1").rooms == ("user_U-1",)
    assert publish(event, "garage_G-1").rooms == ("garage_G-1",)
    assert publish(event, ("garage_G-1", "user_U-1")).rooms == ("garage_G-1", "user_U-1")
    for others in ("user_operations", "ticket_T-1", ALL, ("user_U-1", "user_operations")):
        assert refusal(event, others) == "foreign_room"
    assert refusal(event) == "room_required"


def test_a_cancelled_request_is_told_to_those_who_bid_or_to_all() -> None:
    assert publish("request_cancelled", ("garage_G-1", "garage_G-2")).rooms == ("garage_G-1", "garage_G-2")
    assert publish("request_cancelled", ALL).rooms == ()
    assert refusal("request_cancelled") == "room_required"


def test_what_has_one_way_to_go_needs_no_room() -> None:
    for event in ("new_request", "qc_failed_alert", "payment_confirmed", "payment_disputed"):
        assert publish(event).rooms == ()
    assert publish("new_ticket").rooms == ("user_operations",)
    assert publish("new_message").rooms == ("ticket_T-5120",)


def test_a_message_goes_to_its_own_ticket() -> None:
    assert refusal("new_message", "ticket_T-1") == "foreign_room"


# Who may be where.


JOINS = {
    "join_user_room": (USER, ["U-1"]),
    "join_garage_room": (GARAGE, ["G-1"]),
    "join_operations_room": (OPERATIONS, []),
    "join_ticket": (TICKET, ["T-1"]),
}


def test_rooms_are_joined_by_request() -> None:
    assert [room.pattern for room in root.rooms.kinds] == [USER, GARAGE, OPERATIONS, TICKET]
    assert not any(room.on_connect for room in root.rooms.kinds)
    assert {command.name: command.joins and command.joins.pattern for command in root.commands} == {
        name: pattern for name, (pattern, _) in JOINS.items()
    }


@pytest.mark.parametrize("name", JOINS)
def test_a_join_has_the_rooms_id_as_its_argument(name: str) -> None:
    declared = next(command for command in root.commands if command.name == name)
    codec = CommandCodec(declared)
    arguments = JOINS[name][1]
    command = codec.decode_command(msgspec.json.encode([name, *arguments]))
    assert list(msgspec.structs.astuple(command)) == arguments
    with pytest.raises(InvalidDataError):
        codec.decode_command(msgspec.json.encode([name, *arguments, "more"]))


CUSTOMER = Identity(subject="U-1", role="customer", claims={"garage_id": "G-1"})
STAFF = Identity(subject="U-2", role="garage", claims={"garage_id": "G-1"})
OPERATOR = Identity(subject="U-3", role="operations")


@pytest.mark.parametrize(
    ("room", "customer", "staff", "operator"),
    [
        ("user_U-1", Verdict.YES, Verdict.NO, Verdict.NO),
        ("user_U-3", Verdict.NO, Verdict.NO, Verdict.YES),
        ("garage_G-1", Verdict.NO, Verdict.YES, Verdict.YES),
        ("garage_G-2", Verdict.NO, Verdict.NO, Verdict.YES),
        ("user_operations", Verdict.NO, Verdict.NO, Verdict.YES),
        ("ticket_T-1", Verdict.IF_MEMBER, Verdict.IF_MEMBER, Verdict.YES),
    ],
)
def test_who_may_be_in_a_room(room: str, customer: Verdict, staff: Verdict, operator: Verdict) -> None:
    resolved = root.rooms.resolve(room)
    assert resolved is not None
    kind, values = resolved
    verdicts = [kind.rule.decide(identity, values) for identity in (CUSTOMER, STAFF, OPERATOR)]
    assert verdicts == [customer, staff, operator]


def test_nobody_is_called_operations() -> None:
    with pytest.raises(RefusedError):
        user("operations")
