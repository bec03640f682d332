"""Clients that do not read: what waits for them is kept in order and is bounded, and other clients are not affected."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from oyez.server.transports.websocket import WebSocket
from tests.support.serving import Running, serve, transport_of
from tests.support.wire import PING, PONG, SocketWire, encode_frame


@pytest.fixture
async def narrow(kind: str) -> AsyncIterator[Running]:
    async with serve(kind, limits={"max_send_buffer": 100_000}) as running:
        yield running


async def fill(running: Running, wire: SocketWire) -> int:
    """Send until the client is gone for not reading; how many bytes that took."""
    sent = 0
    while wire.id not in dict(running.market.gone):
        await running.publish("filling", "x" * 50_000, to=wire.id)
        sent += 50_000
        await asyncio.sleep(0)
        assert sent < 20_000_000, "no bound"
    return sent


async def test_a_client_that_does_not_read_is_closed(narrow: Running) -> None:
    async with (
        SocketWire.connect(narrow, receive_buffer=4_096) as slow,
        SocketWire.connect(narrow, {"rooms": ["readers"]}) as reader,
    ):
        await fill(narrow, slow)
        assert await narrow.market.expect_gone(slow.id) == "slow consumer"
        await reader.expect_echo()
        await narrow.settle(but_for=reader.sid)


async def test_a_room_is_served_while_one_of_it_does_not_read(narrow: Running) -> None:
    async with (
        SocketWire.connect(narrow, {"rooms": ["all"]}, receive_buffer=4_096) as slow,
        SocketWire.connect(narrow, {"rooms": ["all"]}) as reader,
    ):
        number = 0
        while slow.id not in dict(narrow.market.gone):
            number += 1
            await narrow.publish("filling", number, "x" * 50_000, to="all")
            await reader.expect_event("filling", number, "x" * 50_000)
        await narrow.publish("after", to="all")
        await reader.expect_event("after")


async def test_volatile_events_are_dropped_for_a_client_that_does_not_read(narrow: Running) -> None:
    async with SocketWire.connect(narrow, receive_buffer=4_096) as slow:
        for number in range(400):
            await narrow.publish("volatile", number, "x" * 50_000, to=slow.id, volatile=True)
            await asyncio.sleep(0)
        await narrow.publish("last", to=slow.id)
        heard = []
        while b"last" not in (frame := await slow.read_frame()).payload:
            heard.append(frame)
        assert 0 < len(heard) < 400
        await slow.expect_echo()


async def test_volatile_events_reach_a_client_that_reads_also_in_bursts(running: Running, wire: SocketWire) -> None:
    for number in range(100):
        await running.publish("volatile", number, volatile=True)
    for number in range(100):
        await wire.expect_event("volatile", number)


async def test_a_client_that_reads_again_gets_everything_in_order(running: Running) -> None:
    async with SocketWire.connect(running, receive_buffer=4_096) as wire:
        for number in range(15):
            await running.publish("filling", number, "x" * 50_000, to=wire.id)
            await asyncio.sleep(0)
        for number in range(15):
            await wire.expect_event("filling", number, "x" * 50_000)
        await running.publish("after", to=wire.id)
        await wire.expect_event("after")
        await wire.expect_echo()


async def test_pings_of_a_client_that_does_not_read_are_not_answered(own: Running) -> None:
    async with SocketWire.connect(own, receive_buffer=4_096) as wire:
        transport = transport_of(own.market.socket(wire.id))
        assert isinstance(transport, WebSocket)
        network = transport._network
        assert network is not None
        while transport.write is not None:
            transport.write(encode_frame(PONG, b"x" * 60_000, mask=None))
        before = network.get_write_buffer_size()
        for _ in range(1_000):
            wire.send_frame(PING, b"x" * 125)
        wire.send_text('42["after the pings"]')
        await own.market.expect("after the pings")
        assert network.get_write_buffer_size() <= before
