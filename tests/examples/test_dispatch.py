"""The example `dispatch` with official clients, as its event document says: on SQLite, on two workers, with Redis."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from tests.support.clock import PATIENCE
from tests.support.js_client import JsClient, JsConnectError
from tests.support.pairs import PLACES, SECRET, Pair, open_pair
from tests.support.served import Served
from tests.support.valkey import ValkeyServer

FILE = Path(__file__).parents[2] / "examples/dispatch.py"
PATH = "/dispatch/socket.io/"
PROMISED = 15.0 + PATIENCE
"""Seconds within which every departure is reported: 15, and what a busy machine needs."""
RIDER, DRIVER, OTHER, OPERATOR = 12, 31, 32, 1
PICKUP = [53.8, -1.55]


@pytest.fixture
async def pair(request: pytest.FixtureRequest, tmp_path: Path, valkey: ValkeyServer) -> AsyncIterator[Pair]:
    async with open_pair(FILE, request.param, tmp_path, valkey) as pair:
        yield pair


def sign(user: int, kind: str, fleet: int | None = None) -> str:
    """A token as the company's identity provider signs it: ids are numbers."""
    claims: dict[str, Any] = {"user_id": user, "type": kind, "exp": time.time() + 600}
    return jwt.encode(
        {"alg": "HS256"}, claims | ({"fleet": fleet} if fleet is not None else {}), OctKey.import_key(SECRET)
    )


async def connect(
    pair: Pair, server: Served, user: int, kind: str, fleet: int | None = None, **options: Any
) -> JsClient:
    return await pair.js.connect(server.url, path=PATH, auth={"token": sign(user, kind, fleet)}, **options)


async def connect_screen(pair: Pair, server: Served, fleet: int) -> JsClient:
    response = await server.request("POST", "/dispatch/api/keys", {"fleet": fleet})
    assert response.status_code == 201, response.text
    return await pair.js.connect(server.url, path=PATH, extraHeaders={"x-api-key": response.json()["key"]})


async def receive(client: JsClient, event: str) -> Any:
    """The one argument of the next event of that name. The position of a stored event follows it."""
    argument, *position = await client.expect_event(event)
    assert len(position) <= 1
    assert all(isinstance(text, str) for text in position)
    return argument


def take_time(argument: dict[str, Any], name: str = "at") -> dict[str, Any]:
    """The argument without a time, which must be now, in milliseconds."""
    moment = argument.pop(name)
    assert type(moment) is int
    assert abs(moment - time.time() * 1000) < 60_000
    return argument


async def request_ride(rider: JsClient, fleet: int = 7) -> int:
    error, reply = await rider.callback("ride:request", {"pickup": PICKUP, "fleet": fleet})
    assert error is None
    assert list(reply) == ["ride"]
    assert type(reply["ride"]) is int
    ride: int = reply["ride"]
    return ride


async def refuse(client: JsClient, command: str, *args: Any) -> str:
    """The code with which a command is refused."""
    (error,) = await client.callback(command, *args)
    assert sorted(error) == ["code", "message"]
    code: str = error["code"]
    return code


@pytest.mark.parametrize("pair", PLACES, indirect=True)
async def test_a_ride_from_its_request_to_its_end(pair: Pair) -> None:
    operator = await connect(pair, pair.here, OPERATOR, "operator", 7)
    screen = await connect_screen(pair, pair.there, 7)
    rider = await connect(pair, pair.here, RIDER, "rider")
    driver = await connect(pair, pair.there, DRIVER, "driver", 7)
    second = await connect(pair, pair.here, DRIVER, "driver", 7)
    other = await connect(pair, pair.there, OTHER, "driver", 8)

    ride = await request_ride(rider)
    for client in (driver, second, operator, screen):
        offered = take_time(await receive(client, "ride:offered"))
        assert offered == {"ride": ride, "fleet": 7, "pickup": PICKUP}
    assert await driver.callback("ride:accept", ride) == [None, {"rider": RIDER}]
    for client in (rider, driver, second, operator, screen):
        assigned = take_time(await receive(client, "ride:assigned"))
        assert assigned == {"ride": ride, "rider": RIDER, "driver": DRIVER, "fleet": 7}
    await other.expect_nothing()

    for client in (rider, driver):
        assert await client.callback("ride:join", ride) == [None]
        state = {"ride": ride, "status": "assigned", "driver": DRIVER, "lat": None, "lng": None, "ts": None}
        assert await receive(client, "ride:state") == state
    place = {"ride": ride, "lat": 53.81, "lng": -1.5, "heading": 90, "ts": 1_769_860_800_000}
    assert await driver.callback("driver:location", place) == [None]
    assert await rider.expect_event("driver:location") == [place]

    error, shared = await rider.callback("ride:share", ride)
    assert error is None
    assert list(shared) == ["share"]
    link: dict[str, Any] = {"path": PATH, "query": shared}
    friend = await pair.js.connect(pair.there.url, **link)
    assert await friend.callback("ride:join", ride) == [None]
    assert await receive(friend, "ride:state") == state | {"lat": 53.81, "lng": -1.5, "ts": place["ts"]}
    assert await friend.expect_event("driver:location") == [place]

    for args, note in ((["arrived"], None), (["started", "At the gate"], "At the gate"), (["ended"], None)):
        assert await driver.callback("ride:status", ride, *args) == [None]
        for client in (rider, driver, friend, operator, screen):
            status = take_time(await receive(client, "ride:status"))
            assert status == {"ride": ride, "status": args[0], "note": note}
    # The link has ended with the ride.
    assert await refuse(driver, "ride:status", ride, "arrived") == "ended"
    assert await refuse(rider, "ride:share", ride) == "ended"
    assert await refuse(friend, "ride:join", ride) == "forbidden"
    with pytest.raises(JsConnectError) as refused:
        await pair.js.connect(pair.here.url, **link)
    assert refused.value.data["code"] == "token_invalid"

    answer = {"to": screen.id, "text": "Call 4711"}
    await pair.here.publish("message", answer, system="dispatch")
    assert take_time(await receive(screen, "message")) == answer
    await second.disconnect()
    for client in (rider, operator, screen, friend, other):
        await client.expect_nothing()
    await driver.disconnect()
    for client in (operator, screen):
        assert take_time(await receive(client, "driver:gone"), "lastSeen") == {"driver": DRIVER}
        await client.expect_nothing()


@pytest.mark.parametrize("pair", ["folder"], indirect=True)
async def test_refusals_have_the_form_of_the_document(pair: Pair) -> None:
    rider = await connect(pair, pair.here, RIDER, "rider")
    driver = await connect(pair, pair.there, DRIVER, "driver", 7)
    other = await connect(pair, pair.there, OTHER, "driver", 8)
    third = await connect(pair, pair.here, 33, "driver", 7)
    ride = await request_ride(rider)
    assert await refuse(driver, "ride:request", {"pickup": PICKUP, "fleet": 7}) == "forbidden_role"
    assert await refuse(rider, "ride:request", {"pickup": [91, 0], "fleet": 7}) == "invalid_data"
    assert await refuse(rider, "ride:accept", ride) == "forbidden_role"
    assert await refuse(other, "ride:accept", ride) == "forbidden"
    assert await refuse(driver, "ride:accept", ride + 1) == "unknown_ride"
    assert await refuse(driver, "ride:accept", "7a") == "invalid_data"
    assert (await driver.callback("ride:accept", ride))[0] is None
    assert await refuse(third, "ride:accept", ride) == "taken"
    assert await refuse(third, "ride:join", ride) == "forbidden"
    # A driver reports from inside the ride, and only the driver does.
    assert await refuse(driver, "ride:status", ride, "arrived") == "forbidden"
    for client in (rider, driver):
        assert await client.callback("ride:join", ride) == [None]
    place = {"ride": ride, "lat": 1, "lng": 2, "heading": 0, "ts": 3}
    for client in (rider, third):
        assert await refuse(client, "ride:status", ride, "arrived") == "forbidden"
        assert await refuse(client, "driver:location", place) == "forbidden"
    assert await refuse(driver, "driver:location", place | {"heading": 360}) == "invalid_data"
    assert await refuse(driver, "ride:share", ride) == "forbidden"
    await third.emit("ride:accept", ride)
    assert await third.expect_event("error") == [{"code": "taken", "message": "Another driver has the ride."}]
    strangers: list[dict[str, Any]] = [{"query": {"share": "x"}}, {"extraHeaders": {"x-api-key": "x"}}, {}]
    for options in strangers:
        with pytest.raises(JsConnectError) as refused:
            await pair.js.connect(pair.here.url, path=PATH, **options)
        assert refused.value.data["code"] == ("token_invalid" if options else "token_missing")


@pytest.mark.parametrize("pair", ["folder"], indirect=True)
async def test_of_locations_over_the_limit_the_newest_counts(pair: Pair) -> None:
    rider = await connect(pair, pair.here, RIDER, "rider")
    driver = await connect(pair, pair.there, DRIVER, "driver", 7)
    ride = await request_ride(rider)
    assert (await driver.callback("ride:accept", ride))[0] is None
    for client in (rider, driver):
        assert await client.callback("ride:join", ride) == [None]
    place = {"ride": ride, "lat": 1, "lng": 2, "heading": 0}
    for ts in range(20):
        await driver.emit("driver:location", place | {"ts": ts})
    received: list[int] = []
    while not received or received[-1] < 19:
        received.append((await receive(rider, "driver:location"))["ts"])
    assert received == sorted(received)
    assert len(received) < 10


@pytest.mark.parametrize("pair", ["workers"], indirect=True)
async def test_a_cut_connection_receives_what_it_missed_once_and_in_order(pair: Pair) -> None:
    rider = await connect(pair, pair.here, RIDER, "rider", reconnection=True, reconnectionDelay=300)
    driver = await connect(pair, pair.there, DRIVER, "driver", 7)
    ride = await request_ride(rider)
    assert (await driver.callback("ride:accept", ride))[0] is None
    await receive(rider, "ride:assigned")
    for client in (rider, driver):
        assert await client.callback("ride:join", ride) == [None]
    await receive(rider, "ride:state")
    await rider.cut()
    for status in ("arrived", "started", "ended"):
        assert await driver.callback("ride:status", ride, status) == [None]
    assert (await rider.expect("connect"))["recovered"]
    assert [(await receive(rider, "ride:status"))["status"] for _ in range(3)] == ["arrived", "started", "ended"]
    await rider.expect_event("oyez:recovery")
    await rider.expect_nothing()


@pytest.mark.parametrize("pair", ["redis"], indirect=True)
async def test_a_driver_whose_process_is_killed_is_gone(pair: Pair) -> None:
    operator = await connect(pair, pair.here, OPERATOR, "operator")
    await connect(pair, pair.there, DRIVER, "driver", 7)
    twice = [await connect(pair, server, OTHER, "driver", 7) for server in (pair.here, pair.there)]
    present = await expect_present(pair.here, DRIVER, OTHER)
    assert all("lastSeen" in user for user in present)
    pair.there.process.kill()
    async with asyncio.timeout(PROMISED):
        while not any(event == "driver:gone" for event, _ in operator.events()):
            await operator.wait_for_report("driver:gone")
    assert take_time(await receive(operator, "driver:gone"), "lastSeen") == {"driver": DRIVER}
    await expect_present(pair.here, OTHER)
    await operator.expect_nothing()
    await twice[0].disconnect()
    assert take_time(await receive(operator, "driver:gone"), "lastSeen") == {"driver": OTHER}


async def expect_present(server: Served, *drivers: int) -> list[dict[str, Any]]:
    """The drivers of fleet 7, when they are these."""
    async with asyncio.timeout(PROMISED):
        while True:
            found: list[dict[str, Any]] = (await server.request("GET", "/dispatch/rooms/fleet:7/presence")).json()[
                "users"
            ]
            if sorted(user["id"] for user in found) == sorted(map(str, drivers)):
                return found
            await asyncio.sleep(0.05)
