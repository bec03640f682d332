"""The example `auction`: each event and command as its document shows it, with official clients, at two processes."""

import json
import re
import time
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from oyez.client import connect
from oyez.errors import InvalidDataError
from oyez.service.system import System
from oyez.systems.loader import load_system
from oyez.testing import ConnectRefused, Harness, TestClient
from tests.support.js_client import JsClient
from tests.support.pairs import PLACES, Pair, open_pair
from tests.support.served import Served
from tests.support.tasks import Spawn
from tests.support.valkey import ValkeyServer

EXAMPLES = Path(__file__).parents[2] / "examples"
FILE = EXAMPLES / "auction.py"
RETURNING: dict[str, Any] = {"reconnection": True, "reconnectionDelay": 300, "reconnectionDelayMax": 300}
_numbers = count(1)
ONE_PLACE = pytest.mark.parametrize("pair", ["folder"], indirect=True)
"""For what does not depend on the log or the processes: the other tests run at each of PLACES."""


@pytest.fixture(scope="module", params=PLACES)
async def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey: ValkeyServer
) -> AsyncIterator[Pair]:
    async with open_pair(FILE, request.param, tmp_path_factory.mktemp("auction"), valkey) as pair:
        yield pair


@pytest.fixture(scope="module")
def oyez_system() -> System:
    """Of the tests that depend neither on the log nor on the network."""
    return load_system(str(FILE))


async def open_lot(server: Served | Harness, **fields: Any) -> str:
    """The id of a new lot that `sue` sells."""
    lot_id = f"l-{next(_numbers)}"
    body = {"title": "A chair", "seller": "sue", "price": 100, **fields}
    response = await server.request("PUT", f"/auction/api/lots/{lot_id}", body)
    assert response.status_code == 201, response.text
    return lot_id


async def watch(client: JsClient, lot_id: str) -> Any:
    """Watch a lot; the snapshot, which arrives before the acknowledgement."""
    assert await client.call("lot:watch", lot_id) == {"success": True}
    (snapshot,) = next(args for name, args in client.events() if name == "lot:snapshot")
    assert await client.expect_event("lot:snapshot") == [snapshot]
    return snapshot


async def bid(client: JsClient, lot_id: str, amount: float) -> Any:
    return await client.call("bid:place", {"lotId": lot_id, "amount": amount})


async def place_bid(client: JsClient, lot_id: str, amount: float) -> None:
    placed = await bid(client, lot_id, amount)
    assert placed["success"], placed


async def expect_watchers(client: JsClient, *numbers: int) -> None:
    """The next numbers of watchers, whatever else happens."""
    for number in numbers:
        assert await client.expect_event("lot:watchers") == [number]


async def test_a_lot_is_opened_once(oyez: Harness) -> None:
    lot_id = await open_lot(oyez)
    body = {"title": "A table", "seller": "sue", "price": 1}
    for id in (lot_id, "x" * 129):
        assert (await oyez.request("PUT", f"/auction/api/lots/{id}", body)).status_code == 422
    assert (await oyez.request("PUT", "/auction/api/lots/other", body, key="")).status_code == 401


async def test_an_auction_from_the_first_watcher_to_the_result(pair: Pair) -> None:
    lot_id = await open_lot(pair.here)
    guest = await pair.connect(pair.here, None)
    ada = await pair.connect(pair.there, "ada", role="bidder")
    bob = await pair.connect(pair.here, "bob", role="bidder")
    sue = await pair.connect(pair.there, "sue", role="seller")
    empty = {"lotId": lot_id, "title": "A chair", "price": 100, "leader": None, "open": True, "bids": []}
    assert await watch(guest, lot_id) == empty
    await expect_watchers(guest, 1)
    assert await watch(ada, lot_id) == empty
    await expect_watchers(guest, 2)
    await expect_watchers(ada, 2)

    before = time.time() * 1000 - 1
    assert await bid(ada, lot_id, 120) == {"success": True, "data": {"amount": 120, "leader": "ada"}}
    for client in (guest, ada):
        assert await client.expect_event("lot:price") == [120]
        ((first,),) = await client.expect_event("lot:bids")
        assert (first["bidder"], first["amount"]) == ("ada", 120)
        assert before < first["at"] < time.time() * 1000 + 1

    snapshot = await watch(bob, lot_id)
    assert snapshot == {**empty, "price": 120, "leader": "ada", "bids": [first]}
    assert await bid(bob, lot_id, 130.5) == {"success": True, "data": {"amount": 130.5, "leader": "bob"}}
    assert await ada.expect_event("lot:outbid") == [{"lotId": lot_id, "amount": 130.5}]
    assert await guest.expect_event("lot:price") == [130.5]
    (listed,) = await guest.expect_event("lot:bids")
    assert [(one["bidder"], one["amount"]) for one in listed] == [("bob", 130.5), ("ada", 120)]
    await expect_watchers(guest, 3)

    assert await bob.call("lot:unwatch", lot_id) == {"success": True}
    await expect_watchers(guest, 2)
    assert await sue.call("lot:close", {"lotId": lot_id}) == {"success": True}
    for client in (guest, ada):
        assert await client.expect_event("lot:closed") == []
    for client in (guest, ada, bob, sue):
        assert await client.expect_event("lot:result") == [lot_id, 130.5, "bob"]
    # Bob is not a watcher any more, and Sue never was one.
    assert [name for name, _ in sue.take_events()] == []
    assert "lot:closed" not in [name for name, _ in bob.take_events()]
    assert (await watch(sue, lot_id))["open"] is False


async def test_a_lot_closes_by_itself_after_a_countdown(oyez: Harness) -> None:
    guest, lot_id = await oyez.connect(), await open_lot(oyez, seconds=3)
    await guest.call("lot:watch", lot_id)
    await oyez.advance(4)
    await guest.expect_event("lot:snapshot")
    # The countdown may have begun before the guest watches.
    assert [(event.name, event.args) for event in guest.take_pending() if event.args != [3]] == [
        ("lot:watchers", [1]),
        *(("lot:countdown", [left]) for left in (2, 1)),
        ("lot:closed", []),
        ("lot:result", [lot_id, 100]),
    ]


async def test_failures_in_the_shape_of_the_document(oyez: Harness) -> None:
    lot_id, closed = await open_lot(oyez), await open_lot(oyez)
    guest, ada = await oyez.connect(), await oyez.connect("ada", "bidder")
    sue, eve = await oyez.connect("sue", "seller"), await oyez.connect("eve", "seller")
    for client in (guest, ada, sue):
        await client.call("lot:watch", lot_id)
    await ada.call("lot:watch", closed)
    assert (await sue.call("lot:close", {"lotId": closed}))["success"]
    failures: list[tuple[TestClient, str, Any, str, str]] = [
        (ada, "bid:place", {"lotId": lot_id, "amount": 100}, "LOW_BID", "The bid is too low."),
        (ada, "bid:place", {"lotId": closed, "amount": 500}, "LOT_CLOSED", "The lot is closed."),
        (ada, "bid:place", {"lotId": lot_id}, "BAD_DATA", "amount: is required"),
        (ada, "bid:place", {"lotId": "l-0", "amount": 500}, "NOT_ALLOWED", "bid:place is only for a client that "),
        (guest, "bid:place", {"lotId": lot_id, "amount": 500}, "NOT_ALLOWED", "bid:place is only for a client that "),
        (ada, "lot:close", {"lotId": lot_id}, "NOT_ALLOWED", "lot:close is only for a client that has role `seller`."),
        (eve, "lot:close", {"lotId": lot_id}, "NOT_ALLOWED", "This is not your lot."),
        (sue, "lot:close", {"lotId": "l-0"}, "BAD_DATA", "There is no such lot."),
        (ada, "lot:watch", "l-0", "BAD_DATA", "There is no such lot."),
        (guest, "auth", {"token": "?"}, "BAD_DATA", "The token is not well-formed"),
        (guest, "lot:open", {}, "BAD_DATA", "There is no "),
    ]
    for client, name, argument, code, message in failures:
        answer = await client.call(name, argument)
        assert answer.pop("error").startswith(message), name
        assert answer == {"success": False}
        await client.emit(name, argument, ack=False)
        error = (await client.expect_event("exception")).data
        assert error.pop("message").startswith(message)
        assert error == {"code": code, "for": name}
        await oyez.advance(1)


async def test_five_bids_a_second(oyez: Harness) -> None:
    hal, low = await oyez.connect("hal", "bidder"), {"lotId": await open_lot(oyez), "amount": 1}
    await hal.call("lot:watch", low["lotId"])
    answers = [(await hal.call("bid:place", low))["error"] for _ in range(6)]
    assert answers == ["The bid is too low."] * 5 + ["Too many requests; slow down."]
    await oyez.advance(1)
    for _ in range(6):
        await hal.emit("bid:place", low, ack=False)
    codes = [(await hal.expect_event("exception")).data["code"] for _ in range(6)]
    assert codes == ["LOW_BID"] * 5 + ["TOO_FAST"]


async def test_bad_tokens(oyez: Harness) -> None:
    expired = oyez.sign_token("ada", "bidder", lifetime=1.0)
    await oyez.advance(3600)
    for token in ("?", expired, oyez.sign_token("ada"), oyez.sign_token("ada", "admin")):
        with pytest.raises(ConnectRefused, match="Authentication failed"):
            await oyez.connect(token=token)


@ONE_PLACE
async def test_a_guest_signs_in_while_it_watches(pair: Pair) -> None:
    lot_id = await open_lot(pair.here)
    guest, other = await pair.connect(pair.here, None), await pair.connect(pair.there, None)
    await watch(guest, lot_id)
    await expect_watchers(guest, 1)
    await watch(other, lot_id)
    await expect_watchers(other, 2)
    assert await guest.call("auth", {"token": pair.there.token("cleo", "bidder")}) == {"success": True}
    assert await bid(guest, lot_id, 140) == {"success": True, "data": {"amount": 140, "leader": "cleo"}}
    assert await other.expect_event("lot:price") == [140]
    dan = await pair.connect(pair.there, "dan", role="bidder")
    await watch(dan, lot_id)
    await place_bid(dan, lot_id, 150)
    # The room of the user, which the guest was not in.
    assert await guest.expect_event("lot:outbid") == [{"lotId": lot_id, "amount": 150}]
    # The user is as many watchers as the guest was.
    await expect_watchers(other, 3)


@ONE_PLACE
async def test_a_user_who_signed_in_receives_what_it_missed_when_it_signs_in_again(pair: Pair) -> None:
    lot_id = await open_lot(pair.here)
    kim = await pair.connect(pair.here, None, **RETURNING)
    lee = await pair.connect(pair.there, "lee", role="bidder")
    await watch(kim, lot_id)
    await watch(lee, lot_id)
    token = {"token": pair.here.token("kim", "bidder")}
    assert await kim.call("auth", token) == {"success": True}
    await place_bid(kim, lot_id, 110)
    await kim.expect_event("lot:bids")
    kim.take_events()
    await kim.cut()
    await place_bid(lee, lot_id, 120.5)
    await kim.expect("connect")
    assert await kim.call("auth", token) == {"success": True}
    assert await kim.expect_event("lot:outbid") == [{"lotId": lot_id, "amount": 120.5}]
    assert [args for name, args in kim.take_events() if name == "lot:price"] == [[120.5]]


@pytest.mark.parametrize("user", [None, "fay"])
async def test_a_connection_that_was_cut_misses_nothing(pair: Pair, user: str | None) -> None:
    lot_id = await open_lot(pair.here)
    watcher = await pair.connect(pair.here, user, role="bidder", **RETURNING)
    # A bidder for each case: a user may place five bids in a second.
    bidder = f"gus-{user}"
    gus = await pair.connect(pair.there, bidder, role="bidder")
    sue = await pair.connect(pair.there, "sue", role="seller")
    await watch(gus, lot_id)
    await expect_watchers(gus, 1)
    await watch(watcher, lot_id)
    await expect_watchers(watcher, 2)
    await place_bid(gus, lot_id, 110)
    await watcher.expect_event("lot:bids")
    watcher.take_events()
    await watcher.cut()
    await place_bid(gus, lot_id, 120)
    await place_bid(gus, lot_id, 130.5)
    assert await sue.call("lot:close", {"lotId": lot_id}) == {"success": True}
    assert (await watcher.expect("connect"))["recovered"]
    await watcher.expect_event("oyez:recovery")
    missed = watcher.take_events()
    assert [name for name, _ in missed] == [*["lot:price", "lot:bids"] * 2, "lot:closed", "lot:result"]
    assert [args for name, args in missed if name == "lot:price"] == [[120], [130.5]]
    assert missed[-2:] == [("lot:closed", []), ("lot:result", [lot_id, 130.5, bidder])]
    # Once more, after an event whose last argument is a text.
    other = await open_lot(pair.here)
    await watcher.cut()
    assert (await sue.call("lot:close", {"lotId": other}))["success"]
    assert (await watcher.expect("connect"))["recovered"]
    await watcher.expect_event("oyez:recovery")
    assert watcher.take_events() == [("lot:result", [other, 100])]


async def test_the_prices_after_a_snapshot_follow_it_without_a_gap(pair: Pair, spawn: Spawn) -> None:
    lot_id, prices = await open_lot(pair.here), count(101)
    bidders = [await pair.connect(pair.there, f"bidder-{number}", role="bidder") for number in range(6)]
    for bidder in bidders:
        await watch(bidder, lot_id)

    async def place_bids() -> None:
        for _ in range(5):
            for bidder in bidders:
                assert (await bid(bidder, lot_id, next(prices)))["success"]

    # A guest watches before the first bid, the others during the bids. They are connected by then: that takes long.
    guests = [await pair.connect(pair.here, None, transports=["websocket"]) for _ in range(8)]
    watchers = [((await watch(guests[0], lot_id))["price"], guests[0])]
    bidding = spawn(place_bids())
    await bidders[0].expect_event("lot:price")
    watchers += [((await watch(guest, lot_id))["price"], guest) for guest in guests[1:]]
    await bidding
    last = next(prices) - 1
    assert len({price for price, _ in watchers}) > 1
    for price, watcher in watchers:
        for expected in range(price + 1, last + 1):
            assert await watcher.expect_event("lot:price") == [expected]
        assert [args for name, args in watcher.take_events() if name == "lot:price"] == []


async def test_the_watchers_of_a_killed_process_have_left(tmp_path: Path, valkey: ValkeyServer) -> None:
    async with open_pair(FILE, "folder", tmp_path, valkey) as pair:
        lot_id = await open_lot(pair.here)
        guest = await pair.connect(pair.here, None)
        await watch(guest, lot_id)
        for user in ("ada", "bob"):
            await watch(await pair.connect(pair.there, user, role="bidder"), lot_id)
        await watch(await pair.connect(pair.there, None), lot_id)
        async with connect(pair.there.url, path="/auction/socket.io/", transports=["websocket"]) as lost:
            assert (await lost.call("lot:watch", lot_id))["success"]
            numbers: list[int] = []
            while numbers[-1:] != [5]:
                numbers += await guest.expect_event("lot:watchers")
            pair.there.process.kill()
            await lost.expect_disconnect()
        # One guest recovers at the other process: the same guest, who missed nothing and is still a watcher.
        ian = await pair.connect(pair.here, "ian", role="bidder")
        await watch(ian, lot_id)
        await place_bid(ian, lot_id, 130.5)
        again = connect(pair.here.url, path="/auction/socket.io/", auth=lost.recovery, transports=["websocket"])
        async with again as back:
            assert back.sid == lost.sid
            assert (await back.expect_event("lot:price")).args[0] == 130.5
            while numbers[-1] != 3:
                numbers += await guest.expect_event("lot:watchers")


def test_the_largest_snapshot_fits() -> None:
    event = load_system(str(FILE)).contract.events["lot:snapshot"]
    name, amount = "\U0001f600" * 128, 9_999_999_999_999.99
    bids = [{"bidder": name, "amount": amount, "at": 2**53 - 1}] * 100
    lot = {"lotId": name, "title": "\U0001f600" * 200, "price": amount, "leader": name, "open": True, "bids": bids}
    codec = event.make_codec()
    data = codec.encode_payload(codec.decode_payload(json.dumps(lot, ensure_ascii=False).encode()))
    assert event.max_bytes is not None and 0.8 * event.max_bytes < len(data) <= event.max_bytes
    with pytest.raises(InvalidDataError, match="bids: expected an array of at most 100 items"):
        codec.decode_payload(json.dumps({**lot, "bids": bids * 2}).encode())


def test_the_contract_declares_what_the_document_lists() -> None:
    contract = load_system(str(FILE)).contract
    listed = set(re.findall(r"^\| `([a-z:]+)` \|", (EXAMPLES / "auction.md").read_text(), re.M))
    commands = {command.name for namespace in contract.namespaces for command in namespace.commands}
    assert listed == commands | set(contract.events)


def test_the_limits_of_a_bid() -> None:
    (root,) = load_system(str(FILE)).contract.namespaces
    (bidding,) = [command for command in root.commands if command.name == "bid:place"]
    assert [bidding.limit.text, *(shared.text for shared in bidding.shared)] == [
        "5 a second",
        "50 a second in each room",
    ]
