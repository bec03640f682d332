"""The rules of `fixrx`: who joins which room, who reads and who is written to, and the history over HTTP."""

from typing import Any

import httpx
import pytest

from oyez.testing import Harness, TestClient

USER, STRANGER, ADMIN = "usr-3051", "usr-9", "adm-1"
VENDOR, RIVAL = "vnd-208", "vnd-173"
ROLES = {USER: "user", STRANGER: "user", ADMIN: "admin", VENDOR: "vendor", RIVAL: "vendor"}


async def connect(oyez: Harness, person: str) -> TestClient:
    return await oyez.connect(person, ROLES.get(person, "user"))


async def history(oyez: Harness, **query: Any) -> httpx.Response:
    return await oyez.request("GET", "/fixrx/api/messages", params=query)


# Rooms.


@pytest.mark.parametrize(
    ("person", "type", "id"), [(USER, "user", USER), (VENDOR, "vendor", VENDOR), (ADMIN, "user", ADMIN)]
)
async def test_ones_own_room_may_be_named(oyez: Harness, person: str, type: str, id: str) -> None:
    client = await connect(oyez, person)
    for _ in range(2):
        assert await client.call("join", {"type": type, "id": id}) == {"ok": True, "room": f"{type}:{id}"}
    # Once, and not once for each join.
    await oyez.publish("chat:read", {"messageId": "m", "senderId": id, "recipientId": "x"})
    await client.expect_event("chat:read")
    await client.expect_nothing()


@pytest.mark.parametrize(
    ("person", "type", "id"),
    [
        (USER, "user", STRANGER),
        (USER, "vendor", VENDOR),
        (USER, "vendor", USER),
        (VENDOR, "user", USER),
        (VENDOR, "user", VENDOR),
        (VENDOR, "vendor", RIVAL),
        (ADMIN, "user", USER),
    ],
)
async def test_the_room_of_another_user_cannot_be_joined(oyez: Harness, person: str, type: str, id: str) -> None:
    client = await connect(oyez, person)
    await client.emit("join", {"type": type, "id": id})
    await client.expect_error("forbidden")
    # And the socket stays connected, outside.
    await oyez.publish("chat:read", {"messageId": "m", "senderId": id, "recipientId": "x"}, to=f"{type}:{id}")
    await client.expect_nothing()
    assert client.connected


async def test_a_refusal_without_an_acknowledgement_is_the_event_error(oyez: Harness) -> None:
    client = await connect(oyez, USER)
    await client.emit("join", {"type": "user", "id": STRANGER}, ack=False)
    error = await client.expect_error("forbidden")
    assert error.keys() == {"code", "message", "details", "timestamp"}


@pytest.mark.parametrize("role", [None, "robot"])
async def test_a_token_without_a_valid_role_is_refused(oyez: Harness, role: str | None) -> None:
    await oyez.expect_refused("forbidden_role", "somebody", role)


# Chat.


async def test_a_message_reaches_the_other_role_only(oyez: Harness) -> None:
    """Ids of users and of vendors are not one number space: only one of two with the same id is written to."""
    twin_user, twin_vendor = await oyez.connect("twin", "user"), await oyez.connect("twin", "vendor")
    client = await connect(oyez, USER)
    sent = await client.call("chat:send", {"recipientId": "twin", "message": "Hello"})
    await twin_vendor.expect_event("chat:message")
    await twin_user.expect_nothing()
    await twin_user.emit("chat:read", {"messageId": sent["messageId"]})
    await twin_user.expect_error("forbidden")
    await twin_vendor.emit("chat:read", {"messageId": sent["messageId"]})
    await twin_vendor.expect_ack()


async def test_only_its_recipient_says_that_a_message_was_read(oyez: Harness) -> None:
    sender, recipient, other = [await connect(oyez, person) for person in ("asker", VENDOR, RIVAL)]
    sent = await sender.call("chat:send", {"recipientId": VENDOR, "message": "Hello"})
    await recipient.expect_event("chat:message")
    for client in (sender, other):
        await client.emit("chat:read", {"messageId": sent["messageId"]})
        await client.expect_error("forbidden")
        await client.expect_nothing()
    await recipient.emit("chat:read", {"messageId": "nowhere"})
    await recipient.expect_error("unknown_message")


async def test_a_process_that_is_killed_keeps_the_chat(oyez: Harness) -> None:
    sender, recipient = await connect(oyez, USER), await connect(oyez, VENDOR)
    await sender.call("chat:send", {"recipientId": VENDOR, "message": "Hello"})
    await oyez.kill()
    assert await recipient.reconnect()
    await recipient.expect_event("chat:message", message="Hello")
    assert len((await history(oyez, userId=USER, vendorId=VENDOR)).json()["messages"]) == 1


# History over HTTP.


async def test_history_comes_in_pages_newest_first(oyez: Harness) -> None:
    client = await oyez.connect("writer", "user")
    for number in range(5):
        assert (await client.call("chat:send", {"recipientId": "v-1", "message": str(number)}))["ok"]
        await oyez.advance(0.001)
    pages, query = [], {"userId": "writer", "vendorId": "v-1", "limit": 2}
    while True:
        page = (await history(oyez, **query)).json()
        pages.append([row["message"] for row in page["messages"]])
        if page["next"] is None:
            break
        query["before"] = page["next"]
    assert pages == [["4", "3"], ["2", "1"], ["0"]]


async def test_a_chat_that_never_was_is_empty(oyez: Harness) -> None:
    assert (await history(oyez, userId="a", vendorId="b")).json() == {"messages": [], "next": None}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"userId": "a"}, "vendorId"),
        ({"userId": "", "vendorId": "b"}, "userId"),
        ({"userId": "a", "vendorId": "b", "limit": "0"}, "limit"),
        ({"userId": "a", "vendorId": "b", "limit": "201"}, "limit"),
        ({"userId": "a", "vendorId": "b", "page": "2"}, "page"),
    ],
)
async def test_a_query_that_does_not_fit(oyez: Harness, query: dict[str, str], field: str) -> None:
    response = await history(oyez, **query)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_data")
    assert response.json()["errors"][0]["field"] == field


async def test_a_query_that_is_no_text_is_refused(oyez: Harness) -> None:
    response = await oyez.request("GET", "/fixrx/api/messages?userId=%ff&vendorId=b")
    assert (response.status_code, response.json()["code"]) == (400, "malformed")
