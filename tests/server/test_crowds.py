"""Crowds, and clients that send all they can: each gets only a small part of an iteration of the loop."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack

from oyez.concurrency.cooperative_queue import MAX_QUEUED_BYTES, OVERHEAD, WORK_PER_ITERATION, CooperativeQueue
from oyez.server.transports.transport import PACKETS_PER_ITERATION
from tests.support.clock import PATIENCE
from tests.support.serving import Running, serve
from tests.support.tasks import Spawn
from tests.support.wire import TEXT, PollingWire, SocketWire, Wire, encode_frame


async def most_in_a_turn(count: Callable[[], int], until: Callable[[], bool]) -> int:
    """How much `count` grew in a turn of the loop at most."""
    most, before = 0, count()
    async with asyncio.timeout(PATIENCE):
        while not until():
            await asyncio.sleep(0)
            now = count()
            most, before = max(most, now - before), now
    return most


async def test_a_crowd_of_connects_is_processed_a_few_at_a_time(own: Running) -> None:
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(SocketWire.open(own)) for _ in range(100)]
        await asyncio.sleep(0)
        for wire in crowd:
            wire.send_upgrade()
        opened = await most_in_a_turn(
            lambda: len(own.server.registry.connections), lambda: len(own.server.registry.connections) == 100
        )
        # Requests that wait for the gate of all input are handled together, as many as take TURN_SECONDS.
        assert opened <= 25
        for wire in crowd:
            wire.send_text("40")
        entered = await most_in_a_turn(lambda: len(own.market.sockets), lambda: len(own.market.sockets) == 100)
        assert entered <= 2 * WORK_PER_ITERATION
        for wire in crowd:
            assert (await wire.read_answer()).status == 101
            assert (await wire.read_frame()).payload.startswith(b"0{")
            assert (await wire.read_frame()).payload.startswith(b"40{")
            await wire.expect_echo()


async def test_a_crowd_of_disconnects_is_processed_a_few_at_a_time(own: Running) -> None:
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(SocketWire.connect(own)) for _ in range(100)]
        for wire in crowd:
            wire.writer.write_eof()
        gone = await most_in_a_turn(lambda: 100 - len(own.market.sockets), lambda: not own.market.sockets)
        assert gone <= 2 * WORK_PER_ITERATION
        for wire in crowd:
            assert await wire.reader.read() == b""
    assert not own.server.registry.connections
    assert not own.server.registry.websockets


async def test_polling_clients_are_accepted_one_after_the_other_too(own: Running) -> None:
    clients = await asyncio.gather(*(PollingWire.connect(own) for _ in range(30)))
    for client in clients:
        await client.expect_echo()


async def test_a_client_that_finds_a_full_queue_is_refused(own: Running) -> None:
    async with SocketWire.begin(own) as stranger:
        busy = True

        def fill(queue: CooperativeQueue) -> None:
            """Something that waits, as much as there may be, again and again."""
            if busy:
                queue.submit(lambda: fill(queue), MAX_QUEUED_BYTES // 8 - OVERHEAD)

        for queue in (own.server.context.connect_queue, own.http.port_state.connect_queue):  # type: ignore[attr-defined]
            for _ in range(8):
                fill(queue)
        async with Wire.open(own) as wire:
            answer = await wire.upgrade()
            assert (answer.status, json.loads(answer.body)["detail"]) == (503, "Too many connections")
        stranger.send_text("40")
        await stranger.expect_close(1013)
        busy = False
    await own.settle()
    async with SocketWire.connect(own) as wire:
        await wire.expect_echo()


async def test_a_client_that_goes_while_it_waits_to_come_in(own: Running) -> None:
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(SocketWire.open(own)) for _ in range(50)]
        for wire in crowd:
            wire.send_upgrade()
        for wire in crowd[::2]:
            wire.abort()
        for wire in crowd[1::2]:
            assert (await wire.read_answer()).status == 101
    await own.settle()


# Clients that send all they can.


async def test_an_iteration_reads_little_of_each_client(kind: str) -> None:
    events = 20_000
    async with serve(kind) as running, SocketWire.connect(running) as flooding, SocketWire.connect(running) as other:
        flooding.send(encode_frame(TEXT, b'42["a"]') * events)
        most = await most_in_a_turn(lambda: len(running.market.heard), lambda: len(running.market.heard) == events)
        # Picows reads the network twice where its buffer was smaller at first.
        assert most <= 1_000
        flooding.send(encode_frame(TEXT, b'42["a"]') * events)
        await other.expect_echo()


async def test_a_body_of_many_packets_is_not_handled_in_one_turn(running: Running, spawn: Spawn) -> None:
    events = 10_000
    client = await PollingWire.connect(running)
    posting = spawn(client.post("\x1e".join(['42["a"]'] * events)))
    most = await most_in_a_turn(lambda: len(running.market.heard), lambda: len(running.market.heard) == events)
    assert most <= PACKETS_PER_ITERATION
    await posting
    await client.expect_echo()


async def test_a_session_that_ends_within_a_body_of_many_packets(running: Running, polling: PollingWire) -> None:
    body = "\x1e".join([*['42["a"]'] * 3 * PACKETS_PER_ITERATION, "1", *['42["behind"]'] * PACKETS_PER_ITERATION])
    await polling.post(body)
    assert await running.market.expect_gone(polling.id) == "transport close"
    assert "behind" not in running.market.names()
