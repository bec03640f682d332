"""`fixrx` with official clients: a chat, and the settings of its environment. `test_rules.py` has its rules."""

from pathlib import Path
from typing import Any

import httpx

from tests.support import py_client
from tests.support.clock import PATIENCE
from tests.support.js_client import JsClient, JsDriver
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


# The answer to a ping.


async def test_a_ping_is_answered(served: Served, js: JsDriver) -> None:
    client = await connect(served, js, ADMIN)
    assert await client.call("ping") == {"ok": True}
    async with py_client.connect(served.url, path=PATH, auth={"token": served.token(USER, "user")}) as other:
        assert await other.call("ping") == {"ok": True}


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


# The names of the document's environment.


async def test_the_documents_environment(tmp_path: Path, js: JsDriver) -> None:
    environ = {"CLIENT_ORIGIN": "http://localhost:3000", "WS_PATH": "/realtime"}
    async with serve(tmp_path / "data", "fixrx", **environ) as served:
        auth = {"token": served.token(USER, "user")}
        for path in ("/realtime", "/realtime/", PATH):
            client = await js.connect(served.url, path=path, auth=auth)
            assert await client.call("ping") == {"ok": True}
        async with httpx.AsyncClient(
            base_url=served.url, params={"EIO": "4", "transport": "polling"}, timeout=PATIENCE
        ) as browser:
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
