"""Commands as clients see them: acknowledgements, errors, rooms."""

from typing import Any

import pytest

from oyez.contract import Time
from oyez.server.transports.budget import REFUSED_COST
from tests.support.logged import capture_logs
from tests.support.market import Market

# Answers.

CLOSED_DETAILS = {"until": "2026-02-01", "by": "<class 'object'>"}
"""Values that JSON cannot represent become text."""


async def test_success_is_acknowledged() -> None:
    peer = await Market().connect("g", role="garage")
    assert await peer.call("booking:accept", "b1") == {"ok": True}
    peer.expect_nothing()


async def test_a_reply_comes_with_the_acknowledgement() -> None:
    peer = await Market().connect()
    answer = await peer.call("message:send", {"recipientId": "u2", "message": "hi"})
    assert answer == {"ok": True, "name": "hi", "price": 1}


async def test_without_an_acknowledgement_success_is_silent() -> None:
    peer = await Market().connect("g", role="garage")
    peer.emit("booking:accept", "b1")
    peer.expect_nothing()


async def test_an_event_to_the_client_concerned() -> None:
    peer = await Market().connect()
    peer.emit("request:stats")
    stats = await peer.expect_event("stats")
    assert stats["sockets"] == 7
    assert Time(stats["timestamp"])


async def test_a_refusal_of_the_systems_own() -> None:
    peer = await Market().connect("g", role="garage")
    error = await peer.expect_refusal("closed", "booking:accept", "late")
    assert (error["message"], error["details"]) == ("The shop is closed.", CLOSED_DETAILS)
    assert Time(error["timestamp"])
    peer.expect_nothing()


async def test_without_an_acknowledgement_a_refusal_is_the_event_error() -> None:
    peer = await Market().connect("g", role="garage")
    peer.emit("booking:accept", "late")
    error = await peer.expect_event("error")
    assert (error["code"], error["details"]) == ("closed", CLOSED_DETAILS | {"event": "booking:accept"})
    peer.expect_nothing()


@pytest.mark.parametrize(
    ("array", "code", "details"),
    [
        (["nope", 1], "unknown_event", {}),
        (["new_bid", {}], "unknown_event", {}),
        (["booking:accept", "b1"], "forbidden_role", {}),
        (["profile", []], "invalid_data", {"field": "", "expected": "an object with the field userId"}),
        (["message:send", {"recipientId": "u"}], "invalid_data", {"field": "message", "expected": "is required"}),
        (["request:stats", 1], "invalid_data", {"field": "", "expected": "no arguments"}),
        (["break", "log"], "unavailable", {}),
        (["upload", {"kind": "png", "data": "AAAA"}], "forbidden", {}),
    ],
)
async def test_refusals(array: list[Any], code: str, details: dict[str, str]) -> None:
    peer = await Market().connect()
    assert (await peer.expect_refusal(code, *array))["details"] == details
    peer.emit(*array)
    assert (await peer.expect_event("error"))["code"] == code


async def test_the_message_names_the_fields_of_data_that_is_no_object() -> None:
    error = await (await Market().connect()).expect_refusal("invalid_data", "profile", [])
    assert error["message"] == "The data does not fit: expected an object with the field userId."


async def test_an_unexpected_error_is_not_shown() -> None:
    peer = await Market().connect()
    error = await peer.expect_refusal("internal", "break", "down")
    assert "purpose" not in str(error)
    assert (await peer.call("request:stats")) == {"ok": True}


@pytest.mark.parametrize("failure", ["down", "reply", "answer"])
async def test_an_unexpected_error_has_an_id(failure: str) -> None:
    peer = await Market().connect()
    with capture_logs() as logged:
        error = await peer.expect_refusal("internal", "break", failure)
        peer.emit("break", failure)
        reported = await peer.expect_event("error")
    ids = [line["error_id"] for line in logged if line["event"] == "handler failed"]
    assert [error["details"]["error_id"], reported["details"]["error_id"]] == ids


async def test_the_role_is_checked_before_the_data() -> None:
    peer = await Market().connect()
    await peer.expect_refusal("forbidden_role", "booking:accept", {"not": "even an id"})


async def test_attachments_reach_the_handler() -> None:
    peer = await Market().connect()
    placeholder = {"_placeholder": True, "num": 0}
    array = ("upload", {"kind": "png", "data": placeholder})
    assert await peer.call(*array, attachments=(b"\x89PNG",)) == {"ok": True}
    await peer.expect_refusal("invalid_data", "request:stats", placeholder, attachments=(b"x",))


# Fields in which clients name themselves.


async def test_fields_about_the_client_must_be_its_own() -> None:
    peer = await Market().connect("u1")
    assert await peer.call("profile", {"userId": "u1"}) == {"ok": True}
    assert await peer.call("profile", {}) == {"ok": True}
    assert await peer.call("profile", {"userId": None}) == {"ok": True}
    error = await peer.expect_refusal("forbidden", "profile", {"userId": "u2"})
    assert error["details"] == {"fields": ["userId"]}


# Rooms.


async def test_joining_the_own_room() -> None:
    peer = await Market().connect("u1")
    peer.socket.leave("user_u1")
    assert await peer.call("join_user_room", "u1") == {"ok": True, "room": "user_u1"}
    assert "user_u1" in peer.rooms


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (["join_user_room", "u2"], "forbidden"),
        (["join_user_room", "operations"], "unknown_room"),
        (["join_garage_room", "g2"], "forbidden"),
        (["join_operations_room"], "forbidden"),
        (["join_ticket", "t1"], "forbidden"),
        (["join_user_room"], "invalid_data"),
        (["join_user_room", ""], "invalid_data"),
        (["join_operations_room", "x", "y"], "invalid_data"),
        (["watch", {"ticketId": "t1", "userId": "u1"}], "forbidden"),
    ],
)
async def test_joining_without_a_right_changes_nothing(array: list[Any], code: str) -> None:
    peer = await Market().connect("u1", garage_id="g1")
    before = set(peer.rooms)
    await peer.expect_refusal(code, *array)
    assert peer.rooms == before
    assert peer.socket.connected


async def test_joining_by_claim_and_by_role() -> None:
    market = Market()
    staff = await market.connect("s1", role="garage", garage_id="g1")
    assert await staff.call("join_garage_room", "g1") == {"ok": True, "room": "garage_g1"}
    boss = await market.connect("o1", role="operations")
    assert await boss.call("join_garage_room", "g9") == {"ok": True, "room": "garage_g9"}
    assert await boss.call("join_operations_room") == {"ok": True, "room": "user_operations"}


async def test_members_join_and_leave() -> None:
    market = Market()
    market.members.add(("u1", "ticket_t1"))
    peer = await market.connect("u1")
    assert await peer.call("join_ticket", "t1") == {"ok": True, "room": "ticket_t1"}
    assert "ticket_t1" in peer.rooms
    for _ in range(2):
        assert await peer.call("leave_ticket", "t1") == {"ok": True, "room": "ticket_t1"}
    assert "ticket_t1" not in peer.rooms


async def test_joining_by_a_declared_command() -> None:
    market = Market()
    market.members |= {("u1", "ticket_t1"), ("u2", "ticket_t1")}
    peer = await market.connect("u1")
    assert await peer.call("watch", {"ticketId": "t1", "userId": "u1"}) == {"ok": True, "room": "ticket_t1"}
    await peer.expect_refusal("forbidden", "watch", {"ticketId": "t1", "userId": "u2"})


async def test_too_many_rooms() -> None:
    market = Market()
    market.members |= {("u1", f"ticket_{number}") for number in range(4)}
    peer = await market.connect("u1")
    for number in range(2):
        assert (await peer.call("join_ticket", str(number)))["ok"]
    await peer.expect_refusal("rate_limited", "join_ticket", "2")


async def test_handlers_can_join_only_rooms_that_rules_allow() -> None:
    market = Market()
    peer = await market.connect("u1")
    client = peer.socket.data
    for room in ("ticket_t1", "garage_g1", "user_operations", "nowhere"):
        with pytest.raises(Exception, match=r"no right|no room"):
            await client.join(room)
    market.members.add(("u1", "ticket_t1"))
    await client.join("ticket_t1")
    client.leave("ticket_t1")
    assert peer.rooms == {"user_u1", "offers:u1"}


# Limits.


async def test_a_command_has_a_limit_for_each_socket() -> None:
    market = Market()
    peer, other = await market.connect("g", role="garage"), await market.connect("h", role="garage")
    for _ in range(2):
        assert (await peer.call("booking:accept", "b1"))["ok"]
    error = await peer.expect_refusal("rate_limited", "booking:accept", "b1")
    assert error["details"] == {"retry_after": 0.5}
    assert (await other.call("booking:accept", "b1"))["ok"]
    market.clock.now += 0.5
    assert (await peer.call("booking:accept", "b1"))["ok"]


async def test_refused_commands_count_too() -> None:
    peer = await Market().connect()
    for _ in range(2):
        await peer.expect_refusal("forbidden_role", "booking:accept", "b1")
    await peer.expect_refusal("rate_limited", "booking:accept", "b1")


async def test_a_flood_is_reported_once() -> None:
    market = Market()
    peer = await market.connect()
    for number in range(119):
        peer.emit(f"nope{number}")
    codes = [(await peer.expect_event("error"))["code"] for _ in range(21)]
    assert codes == ["unknown_event"] * 20 + ["rate_limited"]
    peer.expect_nothing()
    market.clock.now += 1.0
    peer.emit("nope")
    assert (await peer.expect_event("error"))["code"] == "unknown_event"
    assert not peer.wire.closed


async def test_a_continued_flood_is_refused_and_charged_to_the_connection() -> None:
    market = Market()
    peer = await market.connect("g", role="garage")
    for _ in range(202):
        peer.emit("booking:accept", "b1")
    await peer.expect_refusal("rate_limited", "booking:accept", "b1")
    assert not peer.wire.closed
    assert peer.wire.budget.packets == 201 * REFUSED_COST


async def test_a_client_that_pauses_stays_connected() -> None:
    market = Market()
    peer = await market.connect("g", role="garage")
    for _ in range(10):
        for _ in range(40):
            peer.emit("booking:accept", "b1")
        market.clock.now += 1
    assert not peer.wire.closed
