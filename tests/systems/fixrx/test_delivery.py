"""`fixrx` with official clients: joining, chat, its history over HTTP, and the settings of its environment."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import py_client
from tests.support.js_client import JsClient, JsConnectError, JsDriver
from tests.support.served import Served, serve

PATH = "/fixrx/socket.io/"
USER, STRANGER, ADMIN = "usr-3051", "usr-9", "adm-1"
VENDOR, RIVAL = "vnd-208", "vnd-173"
ROLES = {USER: "user", STRANGER: "user", ADMIN: "admin", VENDOR: "vendor", RIVAL: "vendor"}


async def connect(served: Served, js: JsDriver, person: str, **options: Any) -> JsClient:
    token = served.token(person, ROLES.get(person, "user"))
    return await js.connect(served.url, path=PATH, auth={"token": token}, **options)


async def history(served: Served, **query: Any) -> httpx.Response:
    return await served.request("GET", "/fixrx/api/messages", params=query)


# Rooms, and the answer to a ping.


@pytest.mark.parametrize(
    ("person", "type", "id"), [(USER, "user", USER), (VENDOR, "vendor", VENDOR), (ADMIN, "user", ADMIN)]
)
async def test_ones_own_room_may_be_named(served: Served, js: JsDriver, person: str, type: str, id: str) -> None:
    client = await connect(served, js, person)
    for _ in range(2):
        assert await client.call("join", {"type": type, "id": id}) == {"ok": True, "room": f"{type}:{id}"}
    # Once, and not once for each join.
    await served.publish("chat:read", {"messageId": "m", "senderId": id, "recipientId": "x"}, system="fixrx")
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
async def test_the_room_of_another_user_cannot_be_joined(
    served: Served, js: JsDriver, person: str, type: str, id: str
) -> None:
    client = await connect(served, js, person)
    refused = await client.call("join", {"type": type, "id": id})
    assert (refused["ok"], refused["error"]["code"]) == (False, "forbidden")
    # And the socket stays connected, outside.
    read = {"messageId": "m", "senderId": id, "recipientId": "x"}
    await served.publish("chat:read", read, f"{type}:{id}", system="fixrx")
    await client.expect_nothing()


async def test_a_refusal_without_an_acknowledgement_is_the_event_error(served: Served, js: JsDriver) -> None:
    client = await connect(served, js, USER)
    await client.emit("join", {"type": "user", "id": STRANGER})
    [error] = await client.expect_event("error")
    assert error["code"] == "forbidden"
    assert error.keys() == {"code", "message", "details", "timestamp"}


async def test_a_ping_is_answered(served: Served, js: JsDriver) -> None:
    client = await connect(served, js, ADMIN)
    assert await client.call("ping") == {"ok": True}
    async with py_client.connect(served.url, path=PATH, auth={"token": served.token(USER, "user")}) as other:
        assert await other.call("ping") == {"ok": True}


@pytest.mark.parametrize("role", [None, "robot"])
async def test_a_token_without_a_valid_role_is_refused(served: Served, js: JsDriver, role: str | None) -> None:
    with pytest.raises(JsConnectError) as refused:
        await js.connect(served.url, path=PATH, auth={"token": served.token("somebody", role)})
    assert refused.value.data["code"] == "forbidden_role"


# Chat.


async def test_a_chat_from_the_first_message_to_its_being_read(served: Served, js: JsDriver) -> None:
    sam = {"user": "sam", "vendor": "sams-fixers"}
    people = {
        name: await js.connect(served.url, path=PATH, auth={"token": served.token(name, role)})
        for role, name in (*sam.items(), ("user", "sams-fixers-too"), ("admin", "boss"))
    }
    tab = await js.connect(served.url, path=PATH, auth={"token": served.token("sam", "user")})
    asked = await people["sam"].call("chat:send", {"recipientId": "sams-fixers", "message": "Is it far? \N{WRENCH}"})
    assert asked.keys() == {"ok", "messageId", "timestamp"}
    [message] = await people["sams-fixers"].expect_event("chat:message")
    assert message == {
        "messageId": asked["messageId"],
        "senderId": "sam",
        "senderRole": "user",
        "recipientId": "sams-fixers",
        "message": "Is it far? \N{WRENCH}",
        "timestamp": asked["timestamp"],
    }
    assert await tab.expect_event("chat:message") == [message], "the sender's other devices know it too"
    answered = await people["sams-fixers"].call("chat:send", {"recipientId": "sam", "message": "Round the corner."})
    [answer] = await people["sam"].expect_event("chat:message")
    assert await tab.expect_event("chat:message") == [answer]
    assert (answer["senderRole"], answer["messageId"]) == ("vendor", answered["messageId"])

    # Marked as read twice; one event.
    for _ in range(2):
        assert await people["sam"].call("chat:read", {"messageId": answered["messageId"]}) == {"ok": True}
    [read] = await people["sams-fixers"].expect_event("chat:read")
    assert {**read, "timestamp": ""} == {
        "messageId": answered["messageId"],
        "senderId": "sams-fixers",
        "recipientId": "sam",
        "timestamp": "",
    }
    assert await tab.expect_event("chat:read") == [read]
    for client in (*people.values(), tab):
        await client.expect_nothing()

    stored = (await history(served, userId="sam", vendorId="sams-fixers")).json()
    assert stored["next"] is None
    assert [(row["message"], row["senderRole"], row["readAt"]) for row in stored["messages"]] == [
        ("Round the corner.", "vendor", read["timestamp"]),
        ("Is it far? \N{WRENCH}", "user", None),
    ]


async def test_a_message_reaches_the_other_role_only(served: Served, js: JsDriver) -> None:
    """Ids of users and of vendors are not one number space: only one of two with the same id is written to."""
    twin_user = await js.connect(served.url, path=PATH, auth={"token": served.token("twin", "user")})
    twin_vendor = await js.connect(served.url, path=PATH, auth={"token": served.token("twin", "vendor")})
    client = await connect(served, js, USER)
    sent = await client.call("chat:send", {"recipientId": "twin", "message": "Hello"})
    await twin_vendor.expect_event("chat:message")
    await twin_user.expect_nothing()
    assert (await twin_user.call("chat:read", {"messageId": sent["messageId"]}))["error"]["code"] == "forbidden"
    assert await twin_vendor.call("chat:read", {"messageId": sent["messageId"]}) == {"ok": True}


async def test_only_its_recipient_says_that_a_message_was_read(served: Served, js: JsDriver) -> None:
    sender, recipient, other = [await connect(served, js, person) for person in ("asker", VENDOR, RIVAL)]
    sent = await sender.call("chat:send", {"recipientId": VENDOR, "message": "Hello"})
    await recipient.expect_event("chat:message")
    for client in (sender, other):
        refused = await client.call("chat:read", {"messageId": sent["messageId"]})
        assert refused["error"]["code"] == "forbidden"
    await sender.expect_nothing()
    refused = await recipient.call("chat:read", {"messageId": "nowhere"})
    assert refused["error"]["code"] == "unknown_message"


# History over HTTP.


async def test_history_comes_in_pages_newest_first(served: Served, js: JsDriver) -> None:
    client = await js.connect(served.url, path=PATH, auth={"token": served.token("writer", "user")})
    for number in range(5):
        assert (await client.call("chat:send", {"recipientId": "v-1", "message": str(number)}))["ok"]
    pages, query = [], {"userId": "writer", "vendorId": "v-1", "limit": 2}
    while True:
        page = (await history(served, **query)).json()
        pages.append([row["message"] for row in page["messages"]])
        if page["next"] is None:
            break
        query["before"] = page["next"]
    assert pages == [["4", "3"], ["2", "1"], ["0"]]


async def test_a_chat_that_never_was_is_empty(served: Served) -> None:
    assert (await history(served, userId="a", vendorId="b")).json() == {"messages": [], "next": None}


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
async def test_a_query_that_does_not_fit(served: Served, query: dict[str, str], field: str) -> None:
    response = await history(served, **query)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_data")
    assert response.json()["errors"][0]["field"] == field


async def test_a_query_that_is_no_text_is_refused(served: Served) -> None:
    response = await served.request("GET", "/fixrx/api/messages?userId=%ff&vendorId=b")
    assert (response.status_code, response.json()["code"]) == (400, "malformed")


# The names of the document's environment.


async def test_the_documents_environment(tmp_path: Path, js: JsDriver) -> None:
    environ = {"CLIENT_ORIGIN": "http://localhost:3000", "WS_PATH": "/realtime"}
    async with serve(tmp_path / "data", "fixrx", **environ) as served:
        auth = {"token": served.token(USER, "user")}
        for path in ("/realtime", "/realtime/", PATH):
            client = await js.connect(served.url, path=path, auth=auth)
            assert await client.call("ping") == {"ok": True}
        async with httpx.AsyncClient(base_url=served.url, params={"EIO": "4", "transport": "polling"}) as browser:
            for origin, status in (("http://localhost:3000", 200), ("http://localhost:3001", 403)):
                response = await browser.get("/realtime/", headers={"origin": origin})
                assert response.status_code == status
                allowed = response.headers.get("access-control-allow-origin")
                assert allowed == (origin if status == 200 else None)
            assert (await browser.get("/socket.io/")).status_code == 404


async def test_chat_outlives_the_process(tmp_path: Path, js: JsDriver) -> None:
    for number in range(2):
        async with serve(tmp_path / "data", "fixrx") as served:
            client = await connect(served, js, USER)
            assert (await client.call("chat:send", {"recipientId": VENDOR, "message": str(number)}))["ok"]
            stored = (await history(served, userId=USER, vendorId=VENDOR)).json()["messages"]
            assert [row["message"] for row in stored] == ["1", "0"][1 - number :]
