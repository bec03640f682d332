"""The server's life and its books: what it counts, forgets, and ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from oyez.log.memory import MemoryLog
from oyez.server.server import Server
from oyez.settings import Settings
from tests.support.application import Market
from tests.support.logged import capture_logs
from tests.support.serving import Running, make_settings, serve, turn_until
from tests.support.tasks import Spawn
from tests.support.wire import POLLING, TEXT, Frame, PollingWire, SocketWire, Wire


@pytest.fixture
def market() -> Market:
    return Market()


@pytest.fixture
async def idle(market: Market) -> AsyncIterator[Server]:
    """A server without a port."""
    async with Server({"/": market}, MemoryLog(), make_settings({}, {"shutdown_timeout": 0.1})).running() as server:
        yield server


async def test_session_ids_cannot_be_guessed_and_fit_a_url(idle: Server) -> None:
    ids = {idle.context.new_id() for _ in range(10_000)}
    assert len(ids) == 10_000
    assert {len(id) for id in ids} == {20}
    assert all(id.replace("-", "").replace("_", "").isalnum() for id in ids)


async def test_a_server_may_be_stopped_twice_or_without_having_begun(market: Market) -> None:
    server = Server({"/": market}, MemoryLog(), Settings())
    await server.stop()
    await server.start()
    await server.stop()
    await server.stop()


async def test_a_server_that_stops_waits_for_handlers(idle: Server, market: Market) -> None:
    ended = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.01)
        ended.set()

    idle.namespaces["/"].spawn(work())
    await idle.stop()
    assert ended.is_set()


async def test_a_server_that_stops_ends_handlers_that_do_not_end(idle: Server) -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    idle.namespaces["/"].spawn(work())
    with capture_logs() as logged:
        await idle.stop()
    await turn_until(cancelled.is_set)
    assert "stopping although clients or handlers have not finished" in [each["event"] for each in logged]


async def test_other_scopes_are_left_to_others(idle: Server) -> None:
    async def nothing(*_: object) -> dict[str, str]:
        raise AssertionError

    await idle({"type": "lifespan"}, nothing, nothing)  # type: ignore[arg-type]


async def test_nothing_is_left_of_clients_that_have_gone(running: Running) -> None:
    server = running.server
    for _ in range(3):
        async with SocketWire.connect(running, {"rooms": ["a"]}):
            pass
        client = await PollingWire.connect(running, {"rooms": ["a"]})
        async with Wire.open(running) as wire:
            wire.send_request("GET", client.target)
            await client.leave()
            await wire.read_answer()
        refused = await PollingWire.begin(running)
        await refused.post('40{"refuse":true}')
        await refused.get()
        await refused.leave()
    await running.settle()
    assert (
        server.registry.connections,
        server.registry._closed,
        server.registry._addresses,
        server.registry.websockets,
    ) == ({}, {}, {}, set())
    assert (running.namespace.sockets, running.namespace.rooms, len(running.namespace.tasks)) == ({}, {}, 0)
    assert not any(server.context.wheel._slots.values())
    assert running.market.sockets == []


async def test_clients_that_are_being_closed_count() -> None:
    async with serve(limits={"max_connections": 1, "close_timeout": 60.0}) as running:
        async with SocketWire.connect(running) as wire:
            wire.send_text("2")
            await running.market.expect_gone(wire.id)
            # It has not answered the CLOSE: its memory is still taken.
            assert (await PollingWire(running).request("GET", POLLING)).error == (503, 6)
            await wire.expect_close(1002)
        await turn_until(lambda: not running.server.registry.websockets)
        await PollingWire.connect(running)


async def test_a_refusal_for_lack_of_room_says_so(running: Running) -> None:
    await running.server.drain()
    answer = await PollingWire(running).request("GET", POLLING)
    assert answer.error == (503, 6)
    assert b"Too many connections" in answer.body


async def test_a_client_is_sent_away_when_its_commands_have_been_acknowledged(spawn: Spawn) -> None:
    async with serve(shutdown_timeout=10.0) as running:
        async with SocketWire.connect(running) as wire, SocketWire.connect(running) as idle:
            polling = await PollingWire.connect(running)
            for text in ('421["hold","one"]', '422["echo","two"]', '423["ask"]'):
                wire.send_text(text)
            await polling.post('421["hold","three"]')
            await running.market.until(lambda: running.market.held == 2)
            poll = spawn(polling.get())
            await turn_until(lambda: any(each.get_open for each in running.polling))
            stopping = running.stop()
            await idle.expect_close(1012)
            # What comes now is for another server.
            wire.send_text('429["echo","late"]')
            await running.market.until(lambda: True)
            running.market.release(2)
            assert [await wire.read_frame() for _ in range(3)] == [
                Frame(TEXT, payload, True, False) for payload in (b'431["one"]', b'432["two"]', b'420["question"]')
            ]
            wire.send_text('430["answer"]')
            await wire.expect_text('433["answer"]')
            await wire.expect_close(1012)
            assert await poll == '431["three"]'
            await stopping
        assert "late" not in str(running.market.heard)
