"""The end of a connection: its table of states, and the ways that real connections take through it."""

import json

import pytest

from oyez.protocol import engineio
from oyez.server.connections.connection import Connection
from oyez.server.connections.ending import LINGER_SECONDS, TRANSITIONS, Input, State, name_reason
from tests.support.clock import Clock
from tests.support.serving import serve
from tests.support.wire import PollingWire, SocketWire

AT_ONCE = [State.ANNOUNCING, State.CLOSED, State.EVICTED]

Way = list[State]


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch) -> Way:
    """The states that connections have entered, in order."""
    entered: Way = []
    advance = Connection._advance

    def record(connection: Connection, change: Input) -> None:
        advance(connection, change)
        entered.append(connection._state)

    monkeypatch.setattr(Connection, "_advance", record)
    return entered


def test_there_is_one_way_and_no_way_back() -> None:
    order = list(State)
    ways = [(state, after) for state, changes in TRANSITIONS.items() for after in changes.values()]
    assert set(TRANSITIONS) == set(State)
    assert all(order.index(state) < order.index(after) for state, after in ways)
    assert {after for _, after in ways} == set(State) - {State.OPEN}
    # Last events are announced exactly once, and before anything is closed.
    assert [after for state, after in ways if state is State.OPEN] == [State.ANNOUNCING]
    assert [after for state, after in ways if state is State.ANNOUNCING] == [State.CLOSED]


async def test_a_client_that_goes(way: Way) -> None:
    async with serve() as running:
        async with SocketWire.connect(running) as wire:
            await wire.expect_echo()
        await running.market.expect_gone(wire.id)
        assert way == AT_ONCE


async def test_a_client_that_breaks_the_protocol_is_notified_before_it_is_closed(way: Way) -> None:
    async with serve() as running, SocketWire.connect(running) as wire:
        wire.send_text("4x")
        assert json.loads((await wire.read_frame()).payload[2:])[1]["code"] == "malformed"
        await wire.expect_close(1002)
        assert way == AT_ONCE


async def test_a_polling_client_fetches_what_is_left(way: Way) -> None:
    async with serve() as running:
        client = await PollingWire.connect(running)
        running.market.socket(client.id).send(b'["last"]')
        running.server.registry.connections[client.sid].close(engineio.SERVER_SHUTDOWN)
        assert way == [State.ANNOUNCING, State.CLOSED, State.LINGERING]
        assert b'42["last"]' in (await client.request("GET")).body
        assert way[3:] == [State.EVICTED]
        assert (await client.request("GET")).error == (400, 1)


async def test_a_polling_client_that_does_not_fetch_is_forgotten(way: Way) -> None:
    async with serve(clock=Clock()) as running:
        client = await PollingWire.connect(running)
        running.market.socket(client.id).send(b'["last"]')
        running.server.registry.connections[client.sid].close(engineio.SERVER_SHUTDOWN)
        running.pass_time(LINGER_SECONDS - 1)
        assert way[-1:] == [State.LINGERING]
        running.pass_time(2)
        assert way[-1:] == [State.EVICTED]


def test_the_application_learns_reasons_by_name() -> None:
    assert name_reason(engineio.TOKEN_EXPIRED) == "token_expired"
    assert name_reason(engineio.FORCED_SERVER_CLOSE) == "disconnected"
    assert name_reason(engineio.TRANSPORT_ERROR) == "transport_error"
