"""Clients that send faster than their handlers work: they wait, and other clients are not affected."""

from oyez.server.namespaces.event_queue import MAX_QUEUED_EVENTS
from tests.support.application import Market
from tests.support.clock import Clock
from tests.support.serving import Running, find_polling, serve, turn_until
from tests.support.wire import WEBSOCKET, PollingWire, SocketWire, Wire


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
    await running.namespace.tasks.drain()
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
    await running.namespace.tasks.drain()
    assert "queued" not in running.market.names()
