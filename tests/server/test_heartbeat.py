"""Heartbeats: clients of every transport that answer pings, or do not."""

from collections.abc import AsyncIterator

import pytest

from tests.support.clock import PATIENCE, Clock
from tests.support.js_client import JsDriver
from tests.support.server_steps import open_requests
from tests.support.serving import Running, serve
from tests.support.wire import BINARY, PING, POLLING, WEBSOCKET, PollingWire, SocketWire, Wire

# In the time of the server.

INTERVAL, TIMEOUT = 25.0, 20.0
SLACK = 1.1
"""The wheel's resolution, twice."""
LATE = 1.0
"""The most by which the wheel is late."""


@pytest.fixture
async def running(kind: str) -> AsyncIterator[Running]:
    """A server of each kind whose time the test moves."""
    async with serve(kind, clock=Clock()) as running:
        yield running


async def test_pings_come_an_interval_after_the_last_pong(running: Running, wire: SocketWire) -> None:
    for _ in range(3):
        running.pass_time(INTERVAL - SLACK)
        await wire.expect_echo()
        running.pass_time(2 * SLACK)
        await wire.expect_text("2")
        # Slow, but in time.
        running.pass_time(TIMEOUT - SLACK)
        wire.send_text("3")
        await wire.expect_echo()


async def test_pings_come_an_interval_after_the_pong_also_where_more_time_is_given_for_one(kind: str) -> None:
    async with (
        serve(kind, clock=Clock(), ping_interval=5.0, ping_timeout=60.0) as running,
        SocketWire.connect(running) as wire,
    ):
        for _ in range(3):
            running.pass_time(5.0 + SLACK)
            wire.send_text('421["echo"]')
            await wire.expect_text("2")
            await wire.expect_text("431[]")
            wire.send_text("3")
            await wire.expect_echo()


async def test_a_pong_that_does_not_come_ends_the_connection(running: Running, wire: SocketWire) -> None:
    running.pass_time(INTERVAL + SLACK)
    await wire.expect_text("2")
    running.pass_time(TIMEOUT - SLACK)
    assert wire.sid in running.server.registry.connections
    running.pass_time(2 * SLACK)
    await wire.expect_close(1001)
    assert await running.market.expect_gone(wire.id) == "ping timeout"


async def test_any_other_packet_extends_the_time_once(running: Running, wire: SocketWire) -> None:
    running.pass_time(INTERVAL + SLACK)
    await wire.expect_text("2")
    await wire.expect_echo()
    running.pass_time(TIMEOUT + SLACK)
    await wire.expect_echo()
    running.pass_time(TIMEOUT - 2 * SLACK)
    await wire.expect_echo()
    running.pass_time(3 * SLACK)
    await wire.expect_close(1001)
    assert await running.market.expect_gone(wire.id) == "ping timeout"


async def test_a_late_pong_is_as_good_as_one_in_time(running: Running, wire: SocketWire) -> None:
    for _ in range(3):
        running.pass_time(INTERVAL + SLACK)
        await wire.expect_text("2")
        await wire.expect_echo()
        running.pass_time(TIMEOUT + SLACK)
        wire.send_text("3")
        await wire.expect_echo()


async def test_packets_before_the_ping_do_not_extend_the_timeout(running: Running, wire: SocketWire) -> None:
    await wire.expect_echo()
    running.pass_time(INTERVAL + SLACK)
    await wire.expect_text("2")
    running.pass_time(TIMEOUT + SLACK)
    await wire.expect_close(1001)


async def test_a_websocket_ping_is_no_pong(running: Running, wire: SocketWire) -> None:
    running.pass_time(INTERVAL + SLACK)
    await wire.expect_text("2")
    wire.send_frame(PING, b"alive")
    assert (await wire.read_frame()).payload == b"alive"
    running.pass_time(TIMEOUT + SLACK)
    await wire.expect_close(1001)


async def test_attachments_extend_the_time_too(running: Running, wire: SocketWire) -> None:
    wire.send_text('451-["binary",{"_placeholder":true,"num":0}]')
    await wire.expect_pong()
    running.pass_time(INTERVAL + SLACK)
    await wire.expect_text("2")
    wire.send_frame(BINARY, b"late")
    await running.market.expect("binary", b"late")
    running.pass_time(TIMEOUT + SLACK)
    await wire.expect_echo()


async def test_polling_clients_are_pinged_too(running: Running, polling: PollingWire) -> None:
    for _ in range(2):
        async with Wire.open(running) as wire:
            wire.send_request("GET", polling.target)
            await open_requests(running, polls=1)
            running.pass_time(INTERVAL + SLACK)
            assert (await wire.read_answer()).body == b"2"
        await polling.post("3")
        await polling.expect_echo()
    running.pass_time(INTERVAL + SLACK)
    assert await polling.get() == "2"
    running.pass_time(TIMEOUT + SLACK)
    assert await running.market.expect_gone(polling.id) == "ping timeout"
    assert (await polling.request("GET")).error == (400, 1)


async def test_a_ping_that_is_due_is_fetched_although_the_wheel_is_late(kind: str) -> None:
    clock = Clock()
    async with serve(kind, clock=clock) as running:
        client = await PollingWire.connect(running)
        for _ in range(2):
            clock.now += INTERVAL
            assert await client.get() == "2"
            await client.post("3")


async def test_a_polling_session_ends_at_its_deadline_although_the_wheel_is_late(kind: str) -> None:
    clock = Clock()
    async with serve(kind, clock=clock) as running:
        client = await PollingWire.connect(running)
        running.pass_time(INTERVAL + LATE)
        clock.now += TIMEOUT - LATE
        assert (await client.request("GET")).error == (400, 1)
        assert await running.market.expect_gone(client.id) == "ping timeout"


async def test_a_pong_after_the_deadline_is_refused_although_the_wheel_is_late() -> None:
    clock = Clock()
    async with serve(clock=clock) as running:
        client = await PollingWire.connect(running)
        clock.now += INTERVAL
        assert await client.get() == "2"
        clock.now += TIMEOUT
        assert (await client.request("POST", body=b"3")).error == (400, 1)
        assert await running.market.expect_gone(client.id) == "ping timeout"


@pytest.mark.parametrize(
    ("before_ping", "after_ping"),
    [(INTERVAL + LATE, TIMEOUT - LATE - 0.01), (INTERVAL + TIMEOUT + SLACK, TIMEOUT - 0.01)],
    ids=["a ping that is late", "a server that was suspended"],
)
async def test_a_polling_session_does_not_end_before_its_deadline(before_ping: float, after_ping: float) -> None:
    clock = Clock()
    async with serve(clock=clock) as running:
        client = await PollingWire.connect(running)
        running.pass_time(before_ping)
        clock.now += after_ping
        assert await client.get() == "2"
        await client.post("3")
        await client.expect_echo()


async def test_a_client_that_waits_in_a_poll_has_the_whole_time_from_the_ping_on() -> None:
    clock = Clock()
    async with serve(clock=clock) as running:
        client = await PollingWire.connect(running)
        async with Wire.open(running) as wire:
            wire.send_request("GET", client.target)
            await open_requests(running, polls=1)
            running.pass_time(INTERVAL + LATE)
            assert (await wire.read_answer()).body == b"2"
        clock.now += TIMEOUT - 0.01
        await client.post("3")
        await client.expect_echo()


async def test_a_client_that_fetched_a_packet_when_a_ping_was_due_has_the_whole_time_from_then_on() -> None:
    clock = Clock()
    async with serve(clock=clock) as running:
        client = await PollingWire.connect(running)
        async with Wire.open(running) as wire:
            wire.send_request("GET", client.target)
            await open_requests(running, polls=1)
            clock.now += INTERVAL + LATE / 2
            await running.publish("news", to=client.id)
            assert b"news" in (await wire.read_answer()).body
        running.pass_time(LATE / 2)
        clock.now += TIMEOUT - LATE / 2 - 0.01
        assert await client.get() == "2"
        await client.post("3")
        await client.expect_echo()


async def test_a_session_without_polls_times_out_and_is_deleted(running: Running, polling: PollingWire) -> None:
    running.pass_time(INTERVAL + SLACK)
    running.pass_time(TIMEOUT + SLACK)
    assert await running.market.expect_gone(polling.id) == "ping timeout"
    running.pass_time(31.0)
    assert (await polling.request("GET")).error == (400, 1)
    assert running.server.context.wheel._slots == {}
    assert not running.server.registry._addresses


async def test_an_upgrade_restarts_the_ping_interval(running: Running, polling: PollingWire) -> None:
    running.pass_time(INTERVAL + SLACK)
    assert await polling.get() == "2"
    async with SocketWire.open(running) as wire:
        await wire.upgrade(f"{WEBSOCKET}&sid={polling.sid}")
        wire.send_text("2probe")
        await wire.expect_text("3probe")
        wire.send_text("5")
        await wire.expect_echo()
        # The ping that polling has fetched is not waited for any more.
        running.pass_time(TIMEOUT + SLACK)
        await wire.expect_echo()
        running.pass_time(INTERVAL - TIMEOUT)
        await wire.expect_text("2")
        wire.send_text("3")
        await wire.expect_echo()


async def test_a_session_that_never_polls_does_not_stay(running: Running) -> None:
    async with Wire.open(running) as wire:
        assert (await wire.request("GET", POLLING)).status == 200
        running.pass_time(INTERVAL + SLACK)
        running.pass_time(TIMEOUT + SLACK)
        assert running.server.registry.connections == {}


# In real time.


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
async def test_the_javascript_client_is_kept_alive(kind: str, js: JsDriver, transports: list[str]) -> None:
    async with serve(kind, ping_interval=0.1, ping_timeout=PATIENCE) as running:
        client = await js.connect(running.url, transports=transports)
        for _ in range(3):
            await client.expect("ping")
        assert await client.call("echo", "still here") == "still here"
        await client.disconnect()
        await running.settle()


async def test_the_javascript_client_notices_that_pings_stop(js: JsDriver) -> None:
    async with serve(ping_interval=0.1, ping_timeout=1.5) as running:
        client = await js.connect(running.url, transports=["websocket"])
        await client.expect("ping")
        running.server._tasks[1].cancel()
        await client.expect("disconnect", reason="ping timeout")


async def test_silence_ends_a_connection_in_real_time(kind: str) -> None:
    async with serve(kind, ping_interval=0.1, ping_timeout=0.1) as running, SocketWire.connect(running) as wire:
        await wire.expect_text("2")
        await wire.expect_close(1001)
        assert await running.market.expect_gone(wire.id) == "ping timeout"
