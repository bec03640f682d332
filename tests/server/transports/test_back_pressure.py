"""Clients that do not read, and clients that send faster than their handlers work: other clients are not affected."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from oyez.server.namespaces.event_queue import MAX_QUEUED_EVENTS
from oyez.server.transports.websocket import WebSocket
from tests.support.application import Market
from tests.support.clock import Clock
from tests.support.serving import Running, find_polling, serve, transport_of, turn_until
from tests.support.wire import PING, PONG, WEBSOCKET, PollingWire, SocketWire, Wire, encode_frame

# A client that does not read.


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


# Handlers that do not keep up.


def queue_of(running: Running, socket_id: str) -> int:
    return len(running.market.socket(socket_id)._queue or ())


async def test_a_client_waits_for_its_handlers(running: Running, wire: SocketWire) -> None:
    async with SocketWire.connect(running) as other:
        wire.send_text('42["hold"]')
        for number in range(5_000):
            wire.send_text(f'42{number}["echo",{number},"{"x" * 1_000}"]')
        await running.market.until(lambda: running.market.held == 1)
        await other.expect_echo()
        # No more than what had been read by then is kept: the network keeps the rest.
        assert queue_of(running, wire.id) < 200
        running.market.release()
        for number in range(5_000):
            await wire.expect_text(f'43{number}[{number},"{"x" * 1_000}"]')
        await wire.expect_echo()


async def test_one_namespace_does_not_open_the_door_for_another(kind: str) -> None:
    other = Market()
    async with serve(kind, namespaces={"/other": other}) as running, SocketWire.connect(running) as wire:
        other_id = await wire.enter(None, "/other")
        wire.send_text('42["hold"]')
        for prefix in ("", "/other,"):
            wire.send_text(f'42{prefix}["hold"]')
        for _ in range(MAX_QUEUED_EVENTS):
            wire.send_text('42["first"]')
            wire.send_text('42/other,["second"]')
        await turn_until(lambda: queue_of(running, wire.id) >= MAX_QUEUED_EVENTS)
        other.release()
        for _ in range(1_000):
            wire.send_text('42["flood","' + "x" * 1_000 + '"]')
        await turn_until(lambda: not other.socket(other_id)._queue)
        assert queue_of(running, wire.id) < 200
        running.market.release(2)
        await running.market.until(lambda: running.market.names().count("flood") == 1_000)
        await wire.expect_echo()


async def test_a_post_waits_for_the_handlers(running: Running, polling: PollingWire) -> None:
    await polling.post('42["hold"]' + '\x1e42["queued"]' * MAX_QUEUED_EVENTS)
    async with Wire.open(running) as wire:
        wire.send_request("POST", polling.target, b'42["behind"]')
        assert await polling.request("PUT")
        assert queue_of(running, polling.id) == MAX_QUEUED_EVENTS
        running.market.release()
        assert (await wire.read_answer()).body == b"ok"
    await running.market.expect("behind")


async def test_a_post_that_waits_when_its_session_ends(running: Running, polling: PollingWire) -> None:
    await polling.post('42["hold"]' + '\x1e42["queued"]' * MAX_QUEUED_EVENTS)
    async with Wire.open(running) as wire:
        wire.send_request("POST", polling.target, b'42["behind"]')
        await polling.request("PUT")
        running.market.socket(polling.id).disconnect(close=True)
        await wire.read_answer()
    running.market.release()
    await running.namespace.drain()
    assert "queued" not in running.market.names()
    assert "behind" not in running.market.names()


async def test_a_client_that_waits_goes_on_waiting_over_another_transport(
    running: Running, polling: PollingWire
) -> None:
    await polling.post('42["hold"]' + '\x1e42["queued"]' * MAX_QUEUED_EVENTS)
    async with SocketWire.open(running) as wire:
        await wire.upgrade(f"{WEBSOCKET}&sid={polling.sid}")
        wire.send_text("2probe")
        await wire.expect_text("3probe")
        wire.send_text("5")
        for _ in range(1_000):
            wire.send_text('42["flood","' + "x" * 1_000 + '"]')
        connection = running.server.registry.connections[polling.sid]
        await turn_until(lambda: find_polling(connection) is None)
        assert queue_of(running, polling.id) < 200
        running.market.release()
        await running.market.until(lambda: running.market.names().count("flood") == 1_000)
        await wire.expect_echo()


async def test_a_client_that_is_not_read_is_not_missed() -> None:
    async with serve(clock=Clock()) as running, SocketWire.connect(running) as wire:
        wire.send_text('42["hold"]')
        for _ in range(MAX_QUEUED_EVENTS):
            wire.send_text('42["queued"]')
        await running.market.until(lambda: running.market.held == 1)
        await turn_until(lambda: queue_of(running, wire.id) == MAX_QUEUED_EVENTS)
        for _ in range(10):
            running.pass_time(26.0)
        running.market.release()
        await wire.expect_text("2")
        wire.send_text("3")
        await wire.expect_echo()


async def test_a_full_queue_is_dropped_with_its_socket(running: Running, wire: SocketWire) -> None:
    wire.send_text('42["hold"]')
    for _ in range(MAX_QUEUED_EVENTS):
        wire.send_text('42["queued"]')
    socket = running.market.socket(wire.id)
    await running.market.until(lambda: running.market.held == 1)
    await turn_until(lambda: queue_of(running, wire.id) == MAX_QUEUED_EVENTS)
    socket.disconnect()
    await wire.expect_text("41")
    # It is read again, though the old handler has not come to its end.
    await wire.enter()
    await wire.expect_echo()
    running.market.release()
    await running.namespace.drain()
    assert "queued" not in running.market.names()
