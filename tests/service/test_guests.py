"""Guests, and clients that sign in after they have connected, as official clients see them, on one node and more."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from oyez.service.auth.secrets import load_secret
from oyez.service.auth.tokens import build_signer
from tests.service import lobby_system
from tests.service.lobby_system import KEY, contract
from tests.support import py_client
from tests.support.js_client import JsClient, JsConnectError, JsDriver
from tests.support.served import Served, serve
from tests.support.valkey import ValkeyServer

PATH = "/lobby/socket.io/"
FILE = str(Path(lobby_system.__file__))
NUMBERS = count(1)


@pytest.fixture(scope="module", params=["sqlite", "workers", "valkey"])
async def lobby(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    environ = {"WORKERS": "1" if request.param == "sqlite" else "2"}
    if request.param == "valkey":
        valkey: ValkeyServer = request.getfixturevalue("valkey")
        environ |= {"REDIS_URL": valkey.url, "REDIS_PREFIX": f"lobby{next(NUMBERS)}"}
    async with serve(tmp_path_factory.mktemp("lobby") / "data", FILE, **environ) as served:
        yield served


def token(served: Served, user: str, role: str = "player", lifetime: float = 600.0) -> str:
    signer = build_signer(served.settings, load_secret(served.settings)).of_contract(contract.claims)
    return signer.sign_user(user, role, {}, lifetime)


async def say(served: Served, text: str, to: str) -> None:
    await served.publish("said", {"text": text}, to, system="lobby")


async def ask(client: JsClient | py_client.PyClient) -> Any:
    return await client.call("whoami", {})


async def hear(client: JsClient, *texts: str) -> None:
    """The next events are these, and each comes once."""
    assert [(await client.expect_event("said"))[0]["text"] for _ in texts] == list(texts)


def assert_nothing_more(client: JsClient) -> None:
    """Besides the reports of recoveries, nothing has arrived that the test has not asked for."""
    assert [event for event in client.events() if event[0] != "oyez:recovery"] == []


async def cut(client: JsClient) -> None:
    await client.cut()
    await client.expect("disconnect")


async def reconnect(client: JsClient) -> dict[str, Any]:
    """The report of the client, which keeps its `pid` and its position."""
    await client.command("reconnect")
    return await client.expect("connect")


async def test_a_guest_keeps_its_identity_and_its_session(lobby: Served, js: JsDriver) -> None:
    guest, other = [await js.connect(lobby.url, path=PATH) for _ in range(2)]
    before = await ask(guest)
    assert (before["role"], before["guest"]) == ("viewer", True)
    assert before["id"].startswith("guest:")
    assert before["id"] != (await ask(other))["id"]
    await cut(guest)
    await say(lobby, "one", "lobby")
    await say(lobby, "two", f"user:{before['id']}")
    connected = await reconnect(guest)
    assert connected["recovered"] is True
    await say(lobby, "three", f"user:{before['id']}")
    await hear(guest, "one", "two", "three")
    assert (await ask(guest))["id"] == before["id"]
    await hear(other, "one")


async def test_a_guest_signs_in_and_stays_the_user(lobby: Served, js: JsDriver) -> None:
    client = await js.connect(lobby.url, path=PATH)
    guest = await ask(client)
    assert (await client.call("team:join", "red"))["ok"] is False
    assert await client.call("auth", {"token": token(lobby, "ada")}) == {"ok": True}
    ada = await ask(client)
    assert (ada["id"], ada["role"], ada["guest"], ada["visits"]) == ("ada", "player", False, guest["visits"] + 1)
    assert (await client.call("team:join", "red"))["ok"] is True
    await say(lobby, "for the guest", f"user:{guest['id']}")
    await say(lobby, "for ada", "user:ada")
    await say(lobby, "for the team", "team:red")
    await hear(client, "for ada", "for the team")
    await cut(client)
    await say(lobby, "all", "lobby")
    await say(lobby, "ada", "user:ada")
    await say(lobby, "team", "team:red")
    connected = await reconnect(client)
    assert connected["recovered"] is True
    # The pid alone is no proof of the user.
    await hear(client, "all")
    assert (await ask(client))["id"] == guest["id"]
    assert (await client.call("auth", {"token": token(lobby, "ada")}))["ok"] is True
    await hear(client, "team", "ada")
    await say(lobby, "live", "team:red")
    await hear(client, "live")
    assert (await ask(client))["id"] == "ada"
    assert_nothing_more(client)


async def test_a_connection_that_breaks_before_the_second_sign_in_loses_nothing(lobby: Served, js: JsDriver) -> None:
    client = await js.connect(lobby.url, path=PATH)
    assert (await client.call("auth", {"token": token(lobby, "ada")}))["ok"] is True
    await cut(client)
    await say(lobby, "one", "user:ada")
    await reconnect(client)
    await ask(client)
    await cut(client)
    await say(lobby, "two", "user:ada")
    await reconnect(client)
    assert_nothing_more(client)
    assert (await client.call("auth", {"token": token(lobby, "ada")}))["ok"] is True
    await hear(client, "one", "two")


async def test_another_user_receives_nothing_of_the_first_ones_session(lobby: Served, js: JsDriver) -> None:
    client = await js.connect(lobby.url, path=PATH)
    assert (await client.call("auth", {"token": token(lobby, "ada")}))["ok"] is True
    refused = await client.call("auth", {"token": token(lobby, "bob")})
    assert refused["error"]["code"] == "forbidden"
    assert (await client.call("team:join", "red"))["ok"] is True
    await cut(client)
    await say(lobby, "ada", "user:ada")
    await say(lobby, "team", "team:red")
    await reconnect(client)
    assert (await client.call("auth", {"token": token(lobby, "bob")}))["ok"] is True
    await say(lobby, "bob", "user:bob")
    await hear(client, "bob")
    assert_nothing_more(client)


async def test_the_secret_of_a_guest_is_not_enough_to_be_the_user(lobby: Served, js: JsDriver) -> None:
    """An attacker who knows a guest's `pid` gets neither the rights nor the events of the user who signs in."""
    client = await js.connect(lobby.url, path=PATH)
    pid = await client.command("pid")
    guest = await ask(client)
    assert (await client.call("auth", {"token": token(lobby, "ada")}))["ok"] is True
    await cut(client)
    async with py_client.connect(lobby.url, path=PATH, auth={"pid": pid}) as thief:
        answer = await ask(thief)
        assert (answer["id"], answer["guest"]) == (guest["id"], True)
        assert (await thief.call("team:join", "red"))["ok"] is False
        await say(lobby, "secret", "user:ada")
        await say(lobby, "open", "lobby")
        # The session continues, but only in the rooms of a guest.
        assert (await thief.expect_event("oyez:recovery"))[0]["recovered"] is True
        assert (await thief.expect_event("said"))[0]["text"] == "open"


async def test_a_pid_that_the_client_has_invented_makes_no_identity(lobby: Served) -> None:
    ids = set()
    for pid in ("x", "x" * 20 + "." + "y" * 44, "." + "A" * 44, "guest:x", "x" * 5_000):
        async with py_client.connect(lobby.url, path=PATH, auth={"pid": pid}) as client:
            ids.add((await ask(client))["id"])
    assert len(ids) == 5


async def test_a_token_that_is_worth_nothing_is_refused(lobby: Served, js: JsDriver) -> None:
    for bad in ("x.y.z", token(lobby, "guest:x")):
        with pytest.raises(JsConnectError) as refused:
            await js.connect(lobby.url, path=PATH, auth={"token": bad}, reconnection=False)
        assert refused.value.data["code"] == "token_invalid"
    with pytest.raises(JsConnectError) as refused:
        await js.connect(f"{lobby.url}/back", path=PATH, reconnection=False)
    assert refused.value.data["code"] == "token_missing"
    client = await js.connect(lobby.url, path=PATH)
    assert (await client.call("auth", {"token": "x.y.z"}))["error"]["code"] == "token_invalid"
    assert (await client.call("auth", {}))["error"]["code"] == "invalid_data"
    assert (await ask(client))["guest"] is True


async def test_python_clients_sign_in_and_bring_keys(lobby: Served) -> None:
    async with py_client.connect(lobby.url, path=PATH) as client:
        assert (await ask(client))["guest"] is True
        assert await client.call("auth", {"token": token(lobby, "ada")}) == {"ok": True}
        assert (await ask(client))["id"] == "ada"
        await say(lobby, "hello", "user:ada")
        assert (await client.expect_event("said"))[0]["text"] == "hello"
    for transports in (["polling"], ["websocket"]):
        headers = {"X-API-Key": KEY}
        async with py_client.connect(lobby.url, path=PATH, headers=headers, transports=transports) as machine:
            assert (await ask(machine))["id"] == "7"


async def test_a_key_that_is_worth_nothing_is_refused(lobby: Served, js: JsDriver) -> None:
    for key, code in ((KEY, None), (f"{KEY} ", None), (f"{KEY}x", "token_invalid")):
        options: dict[str, Any] = {"extraHeaders": {"X-API-Key": key}, "reconnection": False}
        if code is None:
            assert (await ask(await js.connect(lobby.url, path=PATH, **options)))["id"] == "7"
            continue
        with pytest.raises(JsConnectError) as refused:
            await js.connect(lobby.url, path=PATH, **options)
        assert refused.value.data["code"] == code
