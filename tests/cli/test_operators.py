"""`oyez users`, `rooms`, `events`, `disconnect`, `revoke` and `keys` against a running server with an admin."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from oyez.client import connect
from tests.cli.test_publish import PACKED
from tests.support.clock import PATIENCE
from tests.support.operators import KEY, KEYS
from tests.support.pairs import SUPPORT
from tests.support.served import Served, serve
from tests.support.terminal import ORDERS, Calls, Ended, start


@pytest.fixture(scope="module")
async def managed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serve(tmp_path_factory.mktemp("managed") / "data", "quotes", str(ORDERS), ADMIN_KEYS=KEYS) as running:
        yield running


async def call(oyez: Calls, served: Served, *words: str) -> Ended:
    """A command as the user of the server's machine calls it: with the server's secret, and without a key."""
    where = ["--url", served.url, "--oyez-data", served.settings.oyez_data]
    return await asyncio.to_thread(oyez, *words, *where)


def client(served: Served, user: str, **claims: Any) -> Any:
    return connect(served.url, path="/quotes/socket.io/", auth={"token": served.token(user, **claims)})


async def test_users_and_rooms_are_listed_and_shown(oyez: Calls, managed: Served) -> None:
    async with client(managed, "ada"):
        listed = (await call(oyez, managed, "users", "quotes", "--search", "AD")).out
        assert listed.splitlines()[1].split() == ["quotes", "ada", "1"]
        shown = (await call(oyez, managed, "users", "quotes", "ada")).out
        assert "chat:user:ada  (yes: " in shown and "connect" in shown
        rooms = json.loads((await call(oyez, managed, "rooms", "--search", "chat:", "--json")).out)
        assert [one["room"] for one in rooms["rooms"]] == ["chat:user:ada"]
        assert "1 sockets" in (await call(oyez, managed, "rooms", "quotes", "chat:user:ada")).out
        assert "not connected" in (await call(oyez, managed, "users", "quotes", "nobody")).out


async def test_a_user_is_disconnected_and_a_token_revoked(oyez: Calls, managed: Served) -> None:
    async with client(managed, "bea") as bea:
        assert (await call(oyez, managed, "disconnect", "quotes", "--user", "bea")).out == "disconnected\n"
        await bea.expect_disconnect()
    async with client(managed, "cid", jti="t-1") as cid:
        revoked = (await call(oyez, managed, "revoke", "quotes", "--token-id", "t-1", "--reason", "stolen")).out
        assert revoked.startswith("revoked until 20")
        await cid.expect_disconnect()
    undone = await call(oyez, managed, "revoke", "quotes", "--token-id", "t-1", "--undo")
    assert undone.out == "accepted again\n"
    async with client(managed, "cid", jti="t-1"):
        pass
    wrong = await call(oyez, managed, "disconnect", "quotes")
    assert wrong.error.endswith("expected one of user, socket, room and everyone")


async def test_keys_are_made_listed_and_revoked(oyez: Calls, managed: Served) -> None:
    made = await call(oyez, managed, "keys", "make", "depot", "--system", "orders", "--event", "order:packed")
    words = dict(line.split(maxsplit=1) for line in made.out.splitlines())
    listed = (await call(oyez, managed, "keys", "list")).out
    assert [word for word in (words["id"], "depot", "orders", "order:packed", "valid") if word not in listed] == []
    assert words["key"] not in listed
    assert (await managed.post({"event": "order:packed", "data": PACKED}, words["key"], "orders")).status_code == 200
    assert (await call(oyez, managed, "keys", "revoke", words["id"])).out == f"{words['id']} is revoked\n"
    assert "revoked" in (await call(oyez, managed, "keys", "list")).out
    assert (await managed.post({"event": "order:packed", "data": PACKED}, words["key"], "orders")).status_code == 401
    again = await call(oyez, managed, "keys", "revoke", words["id"])
    assert again.error == "There is no such service key."


async def test_events_are_shown(oyez: Calls, managed: Served) -> None:
    position = await managed.publish("order:packed", PACKED, system="orders")
    shown = (await call(oyez, managed, "events", str(ORDERS), "--name", "order:packed")).out
    assert shown.splitlines()[-1].startswith(f"{position}  order:packed  → ")
    lines = (await call(oyez, managed, "events", "orders", "--json")).out.splitlines()
    assert json.loads(lines[-1])["position"] == position


async def test_events_are_followed(folder: Path, managed: Served) -> None:
    where = ["--url", managed.url, "--oyez-data", managed.settings.oyez_data]
    first = await managed.publish("order:packed", PACKED, system="orders")
    async with start(folder, "events", "orders", "--follow", "--name", "order:packed", *where) as following:
        await following.expect_out(f"^{re.escape(first)}  order:packed")
        later = await managed.publish("order:packed", PACKED, system="orders")
        await following.expect_out(f"^{re.escape(later)}  order:packed")
        assert (await following.stop(signal.SIGINT)).status == 0


async def test_an_operators_key_signs_in(oyez: Calls, managed: Served) -> None:
    where = ["--url", managed.url, "--json"]
    listed = await asyncio.to_thread(oyez, "keys", "list", "--key", KEY, *where)
    assert "keys" in json.loads(listed.out)
    refused = await asyncio.to_thread(oyez, "keys", "list", "--key", "oyo_wrong", *where)
    assert refused.error == "The key is not an operator's. Take one that `admin_keys` has."


async def test_a_server_without_an_admin_says_so(oyez: Calls, served: Served) -> None:
    refused = await call(oyez, served, "users")
    assert refused.error.startswith("The server has no admin. Set ADMIN_KEYS")


@pytest.mark.parametrize("words", [["users"], ["rooms"], ["events", "quotes"], ["keys", "list"]])
def test_no_server_listens(oyez: Calls, words: list[str]) -> None:
    assert "cannot be reached" in oyez(*words, "--url", "http://127.0.0.1:1").error


def test_a_key_of_an_operator_is_made_without_a_server(oyez: Calls) -> None:
    made = oyez("keys", "operator", "anna")
    lines = dict(line.split(maxsplit=1) for line in made.out.splitlines())
    assert lines["key"].startswith("oyo_") and lines["ADMIN_KEYS"].startswith("anna=sha256:")
    assert "is no name of a key" in oyez("keys", "operator", "anna b").error


async def test_receipts_are_listed_and_shown(oyez: Calls, tmp_path: Path) -> None:
    async with serve(tmp_path / "data", str(SUPPORT / "parcels.py"), ADMIN_KEYS=KEYS) as served:
        data = {"customerId": "ada", "parcel": "p-1"}
        auth = {"token": served.token("ada")}
        async with connect(served.url, path="/parcels/socket.io/", auth=auth) as ada:
            position = await served.publish("arrived", data, system="parcels")
            await ada.expect_event("arrived")
        async with asyncio.timeout(PATIENCE):
            while position not in (listed := (await call(oyez, served, "receipts", "parcels")).out):
                pass
        assert listed.splitlines()[1].split()[:2] == [position, "arrived"]
        shown = (await call(oyez, served, "receipts", "parcels", position)).out.splitlines()
        assert shown[0].endswith("1 live, 0 replayed, 0 acknowledged, 1 unacknowledged, 0 never")
        assert shown[2].split()[0] == "ada"
        found = await call(oyez, served, "receipts", "parcels", position, "--state", "never", "--json")
        assert json.loads(found.out)["receipts"] == []
        assert (await call(oyez, served, "receipts", "parcels", "none")).error == "No receipts of this event are kept."
