"""Where published events go, in every system: to rooms that the payload or the publisher names, or nowhere else."""

from typing import Any

import pytest

from oyez.contract.rooms import EVERYONE
from oyez.errors import RefusedError
from oyez.systems.bookings.contract import admin_user, customer_user, partner_user, trackers
from oyez.systems.listing import list_systems
from oyez.systems.qscrap.contract import user as qscrap_user
from tests.systems.contracts import Rooms, example, find_refusal, route
from tests.systems.matrix.cases import build_trial, contract_of, find_targets, kind_of
from tests.systems.matrix.fixtures import FIXTURES

EVENTS = [
    (system, event)
    for system in list_systems()
    for event in contract_of(system).events
    if list(find_targets(contract_of(system).events[event]))
]
"""Every event that a back end can publish."""


@pytest.mark.parametrize(("system", "event"), EVENTS)
def test_an_event_is_published_in_its_kinds_of_rooms_and_in_no_other(system: str, event: str) -> None:
    fixture, declared = FIXTURES[system], contract_of(system).events[event]
    kinds = {kind_of(target) for _, target in find_targets(declared)}
    for namespace, target in find_targets(declared):
        trial = build_trial(declared, namespace, target, fixture)
        found = route(system, event, trial.data, trial.to)
        if trial.kind == EVERYONE:
            assert found[namespace] == ()
        else:
            assert fixture.places[namespace, trial.kind].name in found[namespace]
    foreign = [place.name for (_, kind), place in fixture.places.items() if kind not in kinds]
    for name in [*foreign, *([EVERYONE] if EVERYONE not in kinds else [])]:
        assert find_refusal(system, event, example(system, event), name) == "foreign_room", name
    assert find_refusal(system, event, example(system, event), "no such room") == "unknown_room"


@pytest.mark.parametrize(
    ("system", "event"), [("rez", event) for event in contract_of("rez").events if ("rez", event) not in EVENTS]
)
def test_an_answer_to_one_client_cannot_be_published(system: str, event: str) -> None:
    assert find_refusal(system, event, example(system, event), "user:u") == "foreign_room"


CHAT = {"senderId": "s", "recipientId": "r"}
SUPPLIERS = ("quote-request:supplier:s1", "quote-request:supplier:s2")
FIXRX_SUBJECTS = [event for event in contract_of("fixrx").events if not event.startswith("chat:")]
BY_USER = ("counter_offer_received", "counter_offer_accepted", "counter_offer_rejected", "order_cancelled")
"""Events of qscrap that either side, or both, receive."""
REZ_OBJECTS = {
    "order_status_update": "order:ord-90155",
    "order_delivered": "order:ord-90155",
    "support_message_received": "support_ticket:tkt-2093",
    "support_agent_assigned": "support_ticket:tkt-2093",
    "group_message": "group:grp-604",
    "store_message": "store_conversation:cnv-1266",
}
"""Events of rez about an object, and the room that follows from the example."""


def about(event: str) -> dict[str, Any]:
    """Changes to the example of an event of fixrx: its subject is between the user `u` and the vendor `v`."""
    subject = event.partition(":")[0]
    return {subject: {**example("fixrx", event)[subject], "userId": "u", "vendorId": "v"}}


@pytest.mark.parametrize(
    ("system", "event", "changes", "to", "expected"),
    [
        # The payload names the rooms.
        *(
            ("bookings", event, {"bookingId": "b"}, None, {"/customer": ("booking:b",)})
            for event in ("booking:status_updated", "partner:location_update")
        ),
        *(
            ("bookings", event, {}, None, {"/admin": ("monitors",)})
            for event in (
                "booking:created",
                "booking:updated",
                "partner:registered",
                "kyc:submitted",
                "dashboard:stats_update",
            )
        ),
        *(("fixrx", event, about(event), None, {"/": ("user:u", "vendor:v")}) for event in FIXRX_SUBJECTS),
        ("fixrx", "service:created", {}, None, {"/": ("user:usr-3051",)}),
        ("fixrx", "chat:message", CHAT, None, {"/": ("user:r", "vendor:r", "user:s", "vendor:s")}),
        ("fixrx", "chat:read", CHAT, None, {"/": ("user:s", "vendor:s", "user:r", "vendor:r")}),
        (
            "fixrx",
            "chat:message",
            {**CHAT, "message": "\N{TENNIS RACQUET AND BALL}" * 2_000},
            "user:r",
            {"/": ("user:r",)},
        ),
        *(
            ("qscrap", event, {}, None, {"/": ()})
            for event in ("new_request", "qc_failed_alert", "payment_confirmed", "payment_disputed")
        ),
        ("qscrap", "new_ticket", {}, None, {"/": ("user_operations",)}),
        ("qscrap", "new_message", {}, None, {"/": ("ticket_T-5120",)}),
        ("quotes", "chat:message", {"recipientId": "r"}, None, {"/": ("chat:user:r", "chat:supplier:r")}),
        ("quotes", "quote:offer:received", {"userId": "u"}, None, {"/": ("quote-offer:user:u",)}),
        ("quotes", "quote:offer:updated", {"userId": "u"}, None, {"/": ("quote-offer:user:u",)}),
        ("rez", "new_offer", {"category": "toys"}, None, {"/": ("offers", "offers:toys")}),
        ("rez", "offer_updated", {"category": "toys"}, None, {"/": ("offers", "offers:toys")}),
        ("rez", "cart_sync", {"userId": "u"}, None, {"/": ("user:u",)}),
        ("rez", "leaderboard_update", {"period": "all_time"}, None, {"/": ("leaderboard:all_time",)}),
        ("rez", "leaderboard_rank_change", {"userId": "u"}, None, {"/": ("user:u",)}),
        ("rez", "system_maintenance", {}, None, {"/": ()}),
        ("rez", "force_update", {}, None, {"/": ()}),
        *(("rez", event, {}, None, {"/": (room,)}) for event, room in REZ_OBJECTS.items()),
        # The publisher names some of the rooms that the payload names.
        *(("fixrx", event, about(event), "vendor:v", {"/": ("vendor:v",)}) for event in FIXRX_SUBJECTS),
        ("quotes", "chat:message", {"recipientId": "r"}, "chat:supplier:r", {"/": ("chat:supplier:r",)}),
        # The publisher names the rooms.
        (
            "bookings",
            "partner:assigned",
            {},
            (customer_user("u"), trackers("b")),
            {"/customer": ("user:u", "booking:b")},
        ),
        ("bookings", "message:received", {"recipientId": "c"}, (customer_user("c"),), {"/customer": ("user:c",)}),
        ("bookings", "message:received", {"recipientId": "p"}, (partner_user("p"),), {"/partner": ("user:p",)}),
        (
            "bookings",
            "typing:indicator",
            {},
            (customer_user("u"), partner_user("u"), admin_user("u")),
            {"/customer": ("user:u",), "/partner": ("user:u",), "/admin": ("user:u",)},
        ),
        ("bookings", "notification:new", {}, "user:u", {"/customer": ("user:u",), "/partner": ("user:u",)}),
        *(
            ("bookings", event, {}, (partner_user("p"),), {"/partner": ("user:p",)})
            for event in ("booking:new_request", "booking:cancelled", "earnings:updated")
        ),
        *(
            ("qscrap", event, {}, rooms, {"/": rooms})
            for event in BY_USER
            for rooms in (("user_U-1",), ("garage_G-1",), ("garage_G-1", "user_U-1"))
        ),
        ("qscrap", "request_cancelled", {}, ("garage_G-1", "garage_G-2"), {"/": ("garage_G-1", "garage_G-2")}),
        ("qscrap", "request_cancelled", {}, "*", {"/": ()}),
        ("quotes", "chat:delivered", {}, "chat:user:sender", {"/": ("chat:user:sender",)}),
        ("quotes", "quote:request:created", {}, SUPPLIERS, {"/": SUPPLIERS}),
        ("quotes", "quote:request:updated", {}, SUPPLIERS, {"/": SUPPLIERS}),
        ("rez", "offer_expired", {}, ("offers", "offers:toys"), {"/": ("offers", "offers:toys")}),
        ("rez", "deal_notification", {}, ("offers", "offers:toys"), {"/": ("offers", "offers:toys")}),
        *(
            ("rez", event, {}, (room, "user:usr-7718"), {"/": (room, "user:usr-7718")})
            for event, room in REZ_OBJECTS.items()
        ),
        ("rez", "feed_new_post", {}, ("user:a", "user:b"), {"/": ("user:a", "user:b")}),
        # The publisher names no room, and the payload names none or several.
        *(
            ("bookings", event, {}, None, "room_required")
            for event in ("booking:new_request", "booking:cancelled", "earnings:updated")
        ),
        *(("qscrap", event, {}, None, "room_required") for event in (*BY_USER, "request_cancelled")),
        *(
            ("quotes", event, {}, None, "room_required")
            for event in ("chat:delivered", "quote:request:created", "quote:request:updated")
        ),
        *(
            ("rez", event, {}, None, "room_required")
            for event in ("offer_expired", "deal_notification", "feed_new_post")
        ),
        # The publisher names a room that the payload does not name, or of a kind that the event never goes to.
        *(
            ("bookings", event, {"bookingId": "b"}, rooms, "foreign_room")
            for event in ("booking:status_updated", "partner:location_update")
            for rooms in ((trackers("other"),), (customer_user("u"),))
        ),
        *(
            ("bookings", event, {}, (admin_user("u"),), "foreign_room")
            for event in ("booking:created", "booking:updated", "partner:registered", "kyc:submitted")
        ),
        ("bookings", "message:received", {"recipientId": "p"}, (partner_user("somebody-else"),), "foreign_room"),
        ("bookings", "message:received", {"recipientId": "a"}, (admin_user("a"),), "foreign_room"),
        *(
            ("bookings", event, {}, (customer_user("p"),), "foreign_room")
            for event in ("booking:new_request", "booking:cancelled", "earnings:updated")
        ),
        *(
            ("fixrx", event, about(event), stranger, "foreign_room")
            for event in FIXRX_SUBJECTS
            for stranger in ("user:v", "vendor:u")
        ),
        ("fixrx", "chat:message", CHAT, "user:x", "foreign_room"),
        ("fixrx", "chat:read", CHAT, "vendor:x", "foreign_room"),
        *(("qscrap", event, {}, ("user_U-1", "user_operations"), "foreign_room") for event in BY_USER),
        ("qscrap", "new_message", {}, "ticket_T-1", "foreign_room"),
        ("quotes", "chat:message", {"recipientId": "r"}, "chat:user:somebody-else", "foreign_room"),
        ("quotes", "quote:offer:received", {"userId": "u"}, "quote-offer:user:somebody-else", "foreign_room"),
        ("quotes", "quote:offer:updated", {"userId": "u"}, "quote-offer:user:somebody-else", "foreign_room"),
        ("rez", "new_offer", {"category": "toys"}, "offers:garden", "foreign_room"),
        ("rez", "offer_updated", {"category": "toys"}, "offers:garden", "foreign_room"),
        ("rez", "leaderboard_rank_change", {"userId": "u"}, "user:somebody-else", "foreign_room"),
        *(("rez", event, {}, f"{room}-b", "foreign_room") for event, room in REZ_OBJECTS.items()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_rooms_of_a_published_event(
    system: str, event: str, changes: dict[str, Any], to: Rooms, expected: dict[str, tuple[str, ...]] | str
) -> None:
    data = example(system, event, **changes)
    if isinstance(expected, str):
        assert find_refusal(system, event, data, to) == expected
    else:
        assert route(system, event, data, to) == expected


def test_a_user_id_cannot_name_the_operations_room() -> None:
    with pytest.raises(RefusedError):
        qscrap_user("operations")
