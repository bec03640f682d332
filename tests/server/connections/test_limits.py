"""Limits on who may connect, and on heads and bodies of requests that are too long, too slow, or too many."""

import json
from collections.abc import AsyncIterator

import pytest

from tests.support.clock import Clock
from tests.support.js_client import JsConnectError, JsDriver
from tests.support.serving import Running, serve, turn_until
from tests.support.wire import POLLING, WEBSOCKET, PollingWire, SocketWire, Wire

# How many.


async def refused(running: Running) -> list[tuple[int, str]]:
    """The answers to a polling handshake and to an upgrade."""
    async with Wire.open(running) as polling, Wire.open(running) as websocket:
        first = await polling.request("GET", POLLING)
        second = await websocket.upgrade()
        body = second.body or await websocket.read_rest()
        return [(first.status, first.body.decode()), (second.status, body.decode())]


FULL = '{"code":6,"message":"Too many connections"}'


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
async def test_a_full_server_refuses_clients_until_one_disconnects(kind: str, limit: str) -> None:
    async with serve(kind, limits={limit: 2}) as running, SocketWire.connect(running) as kept:
        client = await PollingWire.connect(running)
        (polling, said), (websocket, told) = await refused(running)
        assert (polling, said, websocket) == (503, FULL, 503)
        assert "Too many connections" in told
        await kept.expect_echo()
        await client.expect_echo()
        await client.leave()
        await turn_until(lambda: len(running.server.registry.connections) == 1)
        async with SocketWire.connect(running) as wire:
            await wire.expect_echo()
        await running.settle(but_for=kept.sid)


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
async def test_an_upgrade_is_not_another_client(kind: str, limit: str, js: JsDriver) -> None:
    async with serve(kind, limits={limit: 1}) as running:
        client = await js.connect(running.url)
        assert await client.call("echo", 1) == 1
        with pytest.raises(JsConnectError) as polling:
            await js.connect(running.url, transports=["polling"])
        assert polling.value.status == 503
        with pytest.raises(JsConnectError):
            await js.connect(running.url, transports=["websocket"])
        await client.disconnect()
        await running.settle()
        assert not running.server.registry._addresses


async def test_refused_clients_leave_no_state(kind: str) -> None:
    async with serve(kind, limits={"max_connections": 3, "refused_timeout": 0.05}) as running:
        for _ in range(10):
            async with SocketWire.begin(running) as wire:
                wire.send_text('40{"refuse":true}')
                assert b"closed_today" in (await wire.read_frame()).payload
                await wire.expect_close(1000)
            await running.settle()
        assert not running.server.registry._addresses


async def test_ended_sessions_count_until_they_are_deleted() -> None:
    async with serve(clock=Clock(), limits={"max_connections": 1}) as running:
        client = await PollingWire.connect(running)
        running.market.socket(client.id).disconnect(close=True)
        assert (await refused(running))[0] == (503, FULL)
        running.pass_time(31.0)
        assert (await client.request("GET")).error == (400, 1)
        await (await PollingWire.connect(running)).expect_echo()


# Heads.


@pytest.fixture(scope="module")
async def hasty() -> AsyncIterator[Running]:
    """A server that waits a quarter of a second for a head and for a body."""
    async with serve(limits={"header_timeout": 0.25, "body_timeout": 0.25}) as running:
        yield running


async def test_a_websocket_and_a_poll_are_not_slow_requests(hasty: Running) -> None:
    client = await PollingWire.connect(hasty)
    async with SocketWire.connect(hasty) as wire, Wire.open(hasty) as poll, Wire.open(hasty) as silent:
        poll.send_request("GET", client.target)
        # The silent one came last, so the time of the others has passed when it is gone.
        assert await silent.read_rest() == b""
        await wire.expect_echo()
        await hasty.publish("hello", to=client.id)
        assert (await poll.read_answer()).body == b'42["hello"]'


@pytest.mark.parametrize(
    "header",
    [b"X: " + b"x" * 20_000 + b"\r\n", b"X: y\r\n" * 4_000, b"x" * 20_000 + b": y\r\n"],
    ids=["value", "many", "name"],
)
async def test_a_head_that_is_too_long_in_one_piece_is_answered_431(crowd_http: Wire, header: bytes) -> None:
    crowd_http.send(f"GET {POLLING}&sid=nobody HTTP/1.1\r\nHost: x\r\n".encode() + header + b"\r\n")
    answer = await crowd_http.read_answer()
    assert (answer.status, answer.headers["connection"]) == (431, "close")
    # As the documents of the HTTP APIs promise for every refusal.
    assert answer.headers["content-type"] == "application/problem+json"
    assert (json.loads(answer.body)["status"], json.loads(answer.body)["type"]) == (431, "about:blank")


async def test_a_long_head_below_the_limit_is_read(crowd: Running) -> None:
    async with SocketWire.connect(crowd, headers={"Cookie": "x" * 15_000}) as wire:
        await wire.expect_echo()


# Bodies.


async def test_a_body_that_does_not_end_is_answered_408_and_closes_the_session(hasty: Running) -> None:
    client = await PollingWire.connect(hasty)
    async with Wire.open(hasty) as wire:
        wire.send_request("POST", client.target, b'42["half', {"Content-Length": "1000"})
        assert (await wire.read_answer()).status == 408
    assert await hasty.market.expect_gone(client.id) == "transport error"


async def test_a_body_whose_client_goes_closes_the_session(crowd: Running, crowd_polling: PollingWire) -> None:
    async with Wire.open(crowd) as wire:
        wire.send_request("POST", crowd_polling.target, b'42["half', {"Content-Length": "1000"})
        await turn_until(lambda: any(each.post_open for each in crowd.polling))
        wire.abort()
    assert await crowd.market.expect_gone(crowd_polling.id) == "transport error"


async def test_garbage_in_a_chunked_body(crowd: Running, crowd_polling: PollingWire) -> None:
    async with Wire.open(crowd) as wire:
        wire.send_request("POST", crowd_polling.target, headers={"Transfer-Encoding": "chunked"})
        wire.send(b"zz\r\n")
        rest = await wire.read_rest()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 400")
    assert await crowd.market.expect_gone(crowd_polling.id) == "transport error"


# Requests in a row.


async def test_requests_that_do_not_wait_for_answers_are_answered_in_order(
    crowd: Running, crowd_polling: PollingWire
) -> None:
    async with Wire.open(crowd) as wire:
        for number in range(50):
            wire.send_request("POST", crowd_polling.target, b'42%d["echo",%d]' % (number, number))
        for _ in range(50):
            assert (await wire.read_answer()).body == b"ok"
    assert await crowd_polling.get() == "\x1e".join(f"43{number}[{number}]" for number in range(50))
    await crowd_polling.leave()


async def test_a_get_and_a_post_in_a_row(crowd: Running, crowd_polling: PollingWire) -> None:
    await crowd.publish("hello", to=crowd_polling.id)
    async with Wire.open(crowd) as wire:
        wire.send_request("GET", crowd_polling.target)
        wire.send_request("POST", crowd_polling.target, b"1")
        wire.send_request("GET", crowd_polling.target)
        assert [(await wire.read_answer()).body for _ in range(2)] == [b'42["hello"]', b"ok"]
        assert (await wire.read_answer()).error == (400, 1)


async def test_too_many_requests_in_a_row_wait_in_the_network(crowd_http: Wire) -> None:
    for _ in range(500):
        crowd_http.send_request("GET", f"{POLLING}&sid=nobody")
    for _ in range(500):
        assert (await crowd_http.read_answer()).error == (400, 1)
    assert (await crowd_http.upgrade(WEBSOCKET)).status == 101
