"""Clients that a namespace has refused: they are given time to go by themselves, then sent away for good."""

from collections.abc import AsyncIterator

import pytest

from tests.support.clock import Clock
from tests.support.js_client import JsDriver
from tests.support.serving import Running, serve, turn_until
from tests.support.wire import PollingWire, SocketWire

REFUSAL = '44{"message":"The market is closed today.","data":{"code":"closed_today","opens":"tomorrow"}}'
NO_NAMESPACE = '44/none,{"message":"Invalid namespace","data":{"code":"unknown_namespace"}}'
REFUSED = [('40{"refuse":true}', REFUSAL, "41"), ("40/none,", NO_NAMESPACE, "41/none,")]


@pytest.fixture
async def running(kind: str) -> AsyncIterator[Running]:
    """A server of each kind whose time the test moves."""
    async with serve(kind, clock=Clock()) as running:
        yield running


@pytest.mark.parametrize(("connect", "refusal", "farewell"), REFUSED)
async def test_a_refused_client_is_sent_away_after_two_seconds(
    running: Running, connect: str, refusal: str, farewell: str
) -> None:
    async with SocketWire.begin(running) as wire:
        wire.send_text(connect)
        await wire.expect_text(refusal)
        running.pass_time(1.0)
        await wire.expect_pong()
        running.pass_time(2.0)
        # The first is final for socket.io-client before 4.3, the second for python-socketio.
        await wire.expect_text(farewell)
        await wire.expect_text("1")
        await wire.expect_close(1000)
        await running.settle()


@pytest.mark.parametrize(("connect", "refusal", "farewell"), REFUSED)
async def test_a_refused_client_that_polls_is_sent_away_after_two_seconds(
    running: Running, connect: str, refusal: str, farewell: str
) -> None:
    client = await PollingWire.begin(running)
    await client.post(connect)
    # Alone: a close in the same payload would be a `disconnect` before the `connect_error`.
    assert await client.get() == refusal
    running.pass_time(3.0)
    assert [await client.get() for _ in range(2)] == [farewell, "1"]
    assert (await client.request("GET")).error == (400, 1)


async def test_a_refused_client_may_try_again(running: Running) -> None:
    async with SocketWire.begin(running) as wire:
        wire.send_text('40{"refuse":true}')
        await wire.expect_text(REFUSAL)
        running.pass_time(1.0)
        await wire.enter()
        running.pass_time(5.0)
        await wire.expect_echo()


async def test_a_client_is_not_disconnected_while_its_connect_is_decided(running: Running) -> None:
    async with SocketWire.begin(running) as wire:
        wire.send_text('40{"refuse":true}')
        await wire.expect_text(REFUSAL)
        wire.send_text('40{"hold":true}')
        await running.market.until(lambda: running.market.held == 1)
        running.pass_time(5.0)
        running.market.release()
        assert (await wire.read_frame()).payload.startswith(b"40{")
        running.pass_time(5.0)
        await wire.expect_echo()


async def test_a_client_that_is_in_another_namespace_stays(running: Running, wire: SocketWire) -> None:
    wire.send_text("40/none,")
    await wire.expect_text(NO_NAMESPACE)
    running.pass_time(5.0)
    await wire.expect_echo()


async def test_how_long_is_a_limit() -> None:
    limits = {"refused_timeout": 0.1}
    async with serve(limits=limits, clock=Clock()) as running, SocketWire.begin(running) as wire:
        wire.send_text('40{"refuse":true}')
        await wire.expect_text(REFUSAL)
        await wire.expect_pong()
        # Half of the time that a client has by default.
        running.pass_time(1.0)
        await wire.expect_text("41")
        await wire.expect_text("1")
        await wire.expect_close(1000)


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]])
async def test_javascript_receives_the_refusal_and_nothing_else(kind: str, js: JsDriver, transports: list[str]) -> None:
    async with serve(kind) as running:
        client = await js.begin(running.url, auth={"refuse": True}, transports=transports, reconnection=True)
        refused = await client.expect("connect_error")
        assert refused["data"] == {"code": "closed_today", "opens": "tomorrow"}
        # The client disconnects on its own, and does not reconnect.
        await turn_until(lambda: not running.server.registry.connections)
        assert [report["what"] for report in client.reports if report["what"] != "upgrade"] == []
