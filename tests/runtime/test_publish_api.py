"""The publish API as producers use it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from oyez.concurrency import long_work
from oyez.errors import FORBIDDEN, KEYS_UNAVAILABLE, TOKEN_INVALID, LogUnavailableError, RefusedError
from oyez.log.log import Checkpoint, Entry
from oyez.log.memory import MemoryLog
from oyez.runtime import publish_api
from oyez.runtime.http import bearer_token
from oyez.runtime.publish_api import publish_route
from oyez.runtime.publisher import Publisher
from oyez.settings import Limits
from tests.support.market import contract
from tests.support.tasks import Spawn

LIMITS = Limits(max_event_bytes=200, max_publish_bytes=2000, max_events_per_publish=3, max_rooms_per_event=4)
KEYS = {"bad": TOKEN_INVALID, "user": FORBIDDEN, "unreachable": KEYS_UNAVAILABLE}


def authorize(request: Request) -> None:
    key = bearer_token(request)
    if key in KEYS:
        raise RefusedError(KEYS[key])


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


def open_client(log: MemoryLog, limits: Limits = LIMITS) -> httpx.AsyncClient:
    app = Starlette(routes=[publish_route("/market/events", Publisher(contract, log, limits), authorize)])
    headers = {"authorization": "Bearer good"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=headers)


@pytest.fixture
async def client(log: MemoryLog) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(log) as opened:
        yield opened


ROOMS = frozenset({"user_u1", "user_7"})
GOOD = {"event": "bid_rejected", "to": "user_u1", "data": {"bid_id": "b1"}}


async def post(client: httpx.AsyncClient, body: Any) -> httpx.Response:
    return await client.post("/market/events", json=body)


async def expect_problem(response: httpx.Response, status: int, code: str) -> Any:
    problem = response.json()
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code), problem
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]
    return problem.get("errors")


async def test_one_event(client: httpx.AsyncClient, log: MemoryLog) -> None:
    response = await post(client, GOOD)
    assert (response.status_code, response.json()) == (200, {"position": await log.position(), "rooms": ["user_u1"]})


async def test_several_rooms(client: httpx.AsyncClient, log: MemoryLog) -> None:
    before = await log.position()
    await post(client, {**GOOD, "to": ["user_u1", "garage_g1"]})
    [entry] = await log.read(before, "/", frozenset({"garage_g1"}), 10)
    assert entry.rooms == ("user_u1", "garage_g1")


async def test_rooms_may_be_omitted_if_they_follow_from_the_data(client: httpx.AsyncClient) -> None:
    data = {"owner": {"id": "u1"}, "amount": 9.99}
    for body in ({"event": "new_bid", "data": data}, {"event": "new_bid", "to": None, "data": data}):
        assert (await post(client, body)).status_code == 200


async def test_a_list(client: httpx.AsyncClient, log: MemoryLog) -> None:
    typing = {"event": "typing", "to": "user_u2", "data": {"userId": "u1", "typing": True}}
    response = await post(client, [GOOD, typing, GOOD])
    assert response.json() == {
        "positions": [f"{log.epoch}.1", None, f"{log.epoch}.2"],
        "rooms": [["user_u1"], ["user_u2"], ["user_u1"]],
    }
    assert (await post(client, [])).json() == {"positions": [], "rooms": []}
    assert (await post(client, [typing])).json() == {"positions": [None], "rooms": [["user_u2"]]}
    assert (await post(client, typing)).json() == {"position": None, "rooms": ["user_u2"]}


@pytest.mark.parametrize(
    ("body", "status", "code", "field", "expected"),
    [
        ({**GOOD, "event": "nope"}, 404, "unknown_event", "event", "There is no event 'nope'"),
        ({**GOOD, "data": {"bid_id": 1.5}}, 422, "invalid_data", "bid_id", "a string of 1 to 128 characters"),
        ({**GOOD, "data": []}, 422, "invalid_data", "data", "an object"),
        ({**GOOD, "to": "garage_g:\n"}, 422, "unknown_room", "to", "There is no room"),
        ({**GOOD, "to": "ticket_1"}, 422, "foreign_room", "to", "only to `garage_{garage_id}` or `user_{userId}`"),
        ({"event": "bid_rejected", "data": {"bid_id": "b1"}}, 422, "room_required", "to", "needs a room"),
        ({**GOOD, "to": []}, 422, "room_required", "to", "needs a room"),
        # Without the field the event would go to the derived room; null is not allowed.
        (
            {"event": "new_bid", "to": [], "data": {"owner": {"id": "u7"}, "amount": 1}},
            422,
            "room_required",
            "to",
            "new_bid needs a room to go to",
        ),
        ({**GOOD, "to": [f"user_u{n}" for n in range(5)]}, 422, "invalid_data", "to", "at most 4 rooms, not 5"),
        ({**GOOD, "to": [1]}, 422, "invalid_data", "to[0]", "a string"),
        ({**GOOD, "to": 1}, 422, "invalid_data", "to", "a string or an array or null"),
        ({**GOOD, "rooms": []}, 422, "invalid_data", "rooms", "is not a field of the request; known fields are"),
        ({"event": "bid_rejected", "to": "user_u1"}, 422, "invalid_data", "data", "is required"),
        ({"to": "user_u1", "data": {}}, 422, "invalid_data", "event", "is required"),
        (7, 422, "invalid_data", "data", "an object"),
        ({**GOOD, "data": {"bid_id": "b" * 300}}, 422, "invalid_data", "bid_id", "a string of 1 to 128 characters"),
        (
            {"event": "new_request", "data": {"request_id": "r", "parts": [{"name": "x" * 200, "price": 1}]}},
            413,
            "too_large",
            "data",
            "at most 200 are allowed",
        ),
    ],
)
async def test_a_bad_event(
    client: httpx.AsyncClient, log: MemoryLog, body: Any, status: int, code: str, field: str, expected: str
) -> None:
    before = await log.position()
    [error] = await expect_problem(await post(client, body), status, code)
    assert (error["field"], error["code"]) == (field, code)
    assert expected in error["expected"]
    assert await log.position() == before


async def test_every_error_of_a_list_is_reported(client: httpx.AsyncClient, log: MemoryLog) -> None:
    before = await log.position()
    response = await post(client, [GOOD, {**GOOD, "to": "x"}, {**GOOD, "event": "nope"}])
    errors = await expect_problem(response, 422, "unknown_room")
    assert [(error["index"], error["field"], error["code"]) for error in errors] == [
        (1, "to", "unknown_room"),
        (2, "event", "unknown_event"),
    ]
    errors = await expect_problem(await post(client, [GOOD, {**GOOD, "x": 1}, 7]), 422, "invalid_data")
    assert [(error["index"], error["field"]) for error in errors] == [(1, "x"), (2, "data")]
    # Those that cannot be read do not hide what is wrong with the others.
    response = await post(client, [{**GOOD, "event": "nope"}, 7, {**GOOD, "data": {}}])
    errors = await expect_problem(response, 404, "unknown_event")
    assert [(error["index"], error["field"]) for error in errors] == [(0, "event"), (1, "data"), (2, "bid_id")]
    assert await log.position() == before


async def test_every_bad_field_of_an_event_is_reported(client: httpx.AsyncClient, log: MemoryLog) -> None:
    before = await log.position()
    bad = {"event": "new_bid", "data": {"owner": {"id": 7.5}, "amount": "a lot", "colour": "red"}}
    errors = await expect_problem(await post(client, bad), 422, "invalid_data")
    assert [(error["field"], error["expected"].partition(";")[0]) for error in errors] == [
        ("owner.id", "a string of 1 to 128 characters, without control characters"),
        ("amount", "an amount: a number from 0 with at most two decimals"),
        ("colour", "is not a field of new_bid"),
    ]
    errors = await expect_problem(await post(client, [GOOD, bad, {**GOOD, "data": {}}]), 422, "invalid_data")
    assert [(error["index"], error["field"]) for error in errors] == [
        (1, "owner.id"),
        (1, "amount"),
        (1, "colour"),
        (2, "bid_id"),
    ]
    assert await log.position() == before


@pytest.mark.parametrize("body", [b"", b"{", b"[{]", b'{"event":"\xff"}', b"[" * 1000, b'[{"event":1}', b"nonsense"])
async def test_data_that_is_not_json(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/market/events", content=body, headers={"content-type": "application/json"})
    await expect_problem(response, 400, "malformed")


async def test_too_much(client: httpx.AsyncClient) -> None:
    await expect_problem(await post(client, [GOOD] * 4), 413, "too_large")
    await expect_problem(await post(client, {"x": "y" * 2000}), 413, "too_large")


@pytest.mark.parametrize("rest", [b"]", b"nonsense", b',"\xff"]'], ids=["whole", "malformed", "not-utf-8"])
async def test_nothing_is_read_after_the_last_item_that_is_allowed(client: httpx.AsyncClient, rest: bytes) -> None:
    """Reading a million items takes 160 ms, and looking for the one that is not JSON takes seconds."""
    body = b"[" + b",".join([b"{}"] * 4) + rest
    response = await client.post("/market/events", content=body, headers={"content-type": "application/json"})
    await expect_problem(response, 413, "too_large")


async def test_the_bad_item_of_a_list_with_very_many_elements_is_not_looked_for(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_api, "SEARCHED_ELEMENTS", 10)
    body = b"[[" + b",".join([b"[]"] * 20) + b"}]"
    response = await client.post("/market/events", content=body, headers={"content-type": "application/json"})
    await expect_problem(response, 400, "malformed")
    assert "byte" in response.json()["detail"] and "errors" not in response.json()


async def test_an_endless_body_is_not_read_to_its_end(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 500
            yield b" " * 500

    response = await client.post("/market/events", content=endless(), headers={"content-type": "application/json"})
    await expect_problem(response, 413, "too_large")
    assert sent <= 3000


async def test_a_body_that_does_not_arrive(log: MemoryLog) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    async with open_client(log, Limits(body_timeout=0.05)) as client:
        response = await client.post("/market/events", content=stuck(), headers={"content-type": "application/json"})
    await expect_problem(response, 408, "slow_body")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
async def test_other_content_types(client: httpx.AsyncClient, content_type: str) -> None:
    response = await client.post("/market/events", content=b"{}", headers={"content-type": content_type})
    await expect_problem(response, 415, "unsupported_type")


async def test_a_content_type_with_parameters(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    body = b'{"event":"bid_rejected","to":"user_u1","data":{"bid_id":"b1"}}'
    assert (await client.post("/market/events", content=body, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("authorization", "status", "code", "challenge"),
    [
        (None, 401, "token_missing", 'Bearer realm="oyez"'),
        ("Basic abc", 401, "token_missing", 'Bearer realm="oyez"'),
        ("Bearer ", 401, "token_missing", 'Bearer realm="oyez"'),
        ("Bearer bad", 401, "token_invalid", 'Bearer realm="oyez", error="invalid_token"'),
        ("Bearer user", 403, "forbidden", None),
    ],
)
async def test_without_a_service_key(
    client: httpx.AsyncClient, authorization: str | None, status: int, code: str, challenge: str | None
) -> None:
    del client.headers["authorization"]
    if authorization is not None:
        client.headers["authorization"] = authorization
    response = await post(client, GOOD)
    await expect_problem(response, status, code)
    assert response.headers.get("www-authenticate") == challenge


async def test_a_temporary_refusal_has_a_waiting_time(client: httpx.AsyncClient, log: MemoryLog) -> None:
    await log.close()
    response = await post(client, GOOD)
    await expect_problem(response, 503, "unavailable")
    assert response.headers["retry-after"] == "1"
    client.headers["authorization"] = "Bearer unreachable"
    response = await post(client, GOOD)
    await expect_problem(response, 503, "keys_unavailable")
    assert response.headers["retry-after"] == "1"


async def test_only_post_is_answered(client: httpx.AsyncClient) -> None:
    assert (await client.get("/market/events")).status_code == 405


# Idempotency keys.


async def post_with(client: httpx.AsyncClient, key: str, body: Any) -> httpx.Response:
    return await client.post("/market/events", json=body, headers={"idempotency-key": key})


TYPING = {"event": "typing", "to": "user_u2", "data": {"userId": "u1", "typing": True}}
NAMESPACES = 2
"""The namespaces with such rooms: the event is broadcast in each."""


class Listener(MemoryLog):
    """Records volatile entries, and can fail after it has stored."""

    def __init__(self) -> None:
        super().__init__()
        self.broadcasts = 0
        self.cut = False

    async def append(self, entries: Sequence[Entry], checkpoint: Checkpoint | None = None) -> list[str]:
        positions = await super().append(entries, checkpoint)
        if self.cut:
            raise LogUnavailableError("cut off before the answer")
        return positions

    async def broadcast(self, entry: Entry) -> None:
        self.broadcasts += 1


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def nodes(listener: Listener) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Producers on two nodes that share a log."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(2):
            app = Starlette(routes=[publish_route("/market/events", Publisher(contract, listener, LIMITS), authorize)])
            opening = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
            client = await stack.enter_async_context(opening)
            client.headers["authorization"] = "Bearer good"
            clients.append(client)
        yield clients


async def test_the_same_key_is_published_once(nodes: list[httpx.AsyncClient], listener: Listener) -> None:
    body = [GOOD, TYPING, GOOD]
    answers = [await post_with(client, "key-1", body) for client in nodes * 2]
    assert [answer.json()["positions"] for answer in answers] == [
        [f"{listener.epoch}.1", None, f"{listener.epoch}.2"]
    ] * 4
    assert (await listener.position(), listener.broadcasts) == (f"{listener.epoch}.2", NAMESPACES)
    assert (await post_with(nodes[0], "key-2", GOOD)).json()["position"] == f"{listener.epoch}.3"


async def test_the_same_key_at_the_same_time(nodes: list[httpx.AsyncClient], listener: Listener) -> None:
    answers = await asyncio.gather(*(post_with(client, "key", [GOOD, TYPING]) for client in nodes * 10))
    assert [answer.json()["positions"] for answer in answers] == [[f"{listener.epoch}.1", None]] * 20
    assert (await listener.position(), listener.broadcasts) == (f"{listener.epoch}.1", NAMESPACES)


async def test_keys_do_not_block_each_other(nodes: list[httpx.AsyncClient], listener: Listener) -> None:
    for key in ("key", "key:volatile", "volatile:key", "key:volatile:volatile"):
        assert (await post_with(nodes[0], key, TYPING)).json()["position"] is None
    assert listener.broadcasts == 4 * NAMESPACES


async def test_a_key_whose_answer_was_never_given(nodes: list[httpx.AsyncClient], listener: Listener) -> None:
    """The first attempt stores the events and is interrupted, so its producer does not know."""
    listener.cut = True
    await expect_problem(await post_with(nodes[0], "key", [GOOD, GOOD]), 503, "unavailable")
    listener.cut = False
    answer = await post_with(nodes[1], "key", [GOOD, GOOD])
    assert answer.json()["positions"] == [f"{listener.epoch}.1", f"{listener.epoch}.2"]
    assert await listener.position() == f"{listener.epoch}.2"


async def test_a_key_of_another_request(nodes: list[httpx.AsyncClient], listener: Listener) -> None:
    await post_with(nodes[0], "key", GOOD)
    other = {**GOOD, "to": "user_u2"}
    await expect_problem(await post_with(nodes[1], "key", other), 422, "id_reused")
    assert await listener.position() == f"{listener.epoch}.1"


async def test_a_refused_request_does_not_use_its_key(nodes: list[httpx.AsyncClient]) -> None:
    await expect_problem(await post_with(nodes[0], "key", {**GOOD, "event": "nope"}), 404, "unknown_event")
    assert (await post_with(nodes[0], "key", GOOD)).status_code == 200


@pytest.mark.parametrize("key", ["", "two words", "x" * 129])
async def test_values_that_are_not_keys(client: httpx.AsyncClient, key: str) -> None:
    await expect_problem(await post_with(client, key, GOOD), 400, "malformed")


async def test_two_keys(client: httpx.AsyncClient) -> None:
    headers = [("idempotency-key", "one"), ("idempotency-key", "two")]
    await expect_problem(await client.post("/market/events", json=GOOD, headers=headers), 400, "malformed")


async def test_half_an_emoji_is_replaced(client: httpx.AsyncClient, log: MemoryLog) -> None:
    """The output of JSON.stringify for a text that was cut inside an emoji."""
    body = b'{"event":"bid_rejected","to":"user_u1","data":{"bid_id":"\\\\u \\ud83d\\ude00 \\ud83d"}}'
    start = await log.position()
    for content in (body, b"[" + body + b"]"):
        response = await client.post("/market/events", content=content, headers={"content-type": "application/json"})
        assert response.status_code == 200, response.text
    entries = await log.read(start, "/", ROOMS, 10)
    assert [msgspec.json.decode(entry.data)[1]["bid_id"] for entry in entries] == ["\\u \U0001f600 \ufffd"] * 2


@pytest.mark.parametrize(
    ("items", "index"),
    [
        (b'%b,{"event":"bid_rejected","to":"user_u1","data":{"bid_id":"\xff"}}', 1),
        (b'{"event":"\xff","data":{}},%b', 0),
        (b"%b,%b,{'event': 1},%b", 2),
        (b"%b , %b %b", 2),
        (b"%b,", 1),
        (b'%b,{"event":"bid_rejected","data":' + b"[" * 1_200, 1),
    ],
)
async def test_the_bad_item_of_a_list_is_named(client: httpx.AsyncClient, items: bytes, index: int) -> None:
    content = b"[" + items.replace(b"%b", msgspec.json.encode(GOOD)) + b"]"
    response = await client.post("/market/events", content=content, headers={"content-type": "application/json"})
    assert response.json()["code"] in ("malformed", "invalid_data"), response.text
    assert [error["index"] for error in response.json()["errors"]] == [index]


async def test_rooms_and_sockets_can_be_excluded(client: httpx.AsyncClient, log: MemoryLog) -> None:
    start = await log.position()
    for excluded in ("user_u2", ["user_u2", "x" * 20]):
        assert (await post(client, {**GOOD, "except": excluded})).status_code == 200
    entries = await log.read(start, "/", ROOMS, 10)
    assert [entry.excluded for entry in entries] == [("user_u2",), ("user_u2", "x" * 20)]
    for wrong in ("nowhere", ["user_u2"] * 5, 7):
        errors = await expect_problem(await post(client, {**GOOD, "except": wrong}), 422, "invalid_data")
        assert errors[0]["field"] == "except"


async def test_other_forms_are_published_as_the_contract_says(client: httpx.AsyncClient, log: MemoryLog) -> None:
    """Numbers as ids and decimals as strings, as back ends send them."""
    start = await log.position()
    for data in ({"owner": {"id": 7}, "amount": "130.00"}, {"owner": {"id": "7"}, "amount": 130}):
        assert (await post(client, {"event": "new_bid", "data": data})).status_code == 200
    entries = await log.read(start, "/", ROOMS, 10)
    assert [entry.rooms for entry in entries] == [("user_7",)] * 2
    for entry in entries:
        payload = msgspec.json.decode(entry.data)[1]
        assert (payload["owner"]["id"], payload["amount"]) == ("7", 130)


@pytest.mark.parametrize("item", [GOOD, {**GOOD, "data": {"bid_id": 1.5}}, {"event": 5}])
async def test_other_requests_are_served_while_a_long_list_is_checked(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch, item: Any, spawn: Spawn
) -> None:
    monkeypatch.setattr(long_work, "PART_SECONDS", 0.0)
    app = Starlette(routes=[publish_route("/market/events", Publisher(contract, log, Limits()), authorize)])
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = spawn(count_turns())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        client.headers["authorization"] = "Bearer good"
        assert (await post(client, [item] * 1_000)).status_code in (200, 422)
    counting.cancel()
    assert turns > 1_000
