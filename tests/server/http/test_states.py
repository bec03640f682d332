"""The states of an HTTP connection: the table, and the ways that real connections take through it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from oyez.server.cluster.node import Node
from oyez.server.http.protocol import HttpProtocol
from oyez.server.http.states import TRANSITIONS, Input, State
from tests.support.nodes import two_nodes
from tests.support.serving import Running, serve
from tests.support.wire import PollingWire, SocketWire, Wire

Way = list[State]
LOCAL_ONCE = [State.HEAD, State.LOCAL, State.HEAD]


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch) -> Way:
    """The states that connections have entered, in order."""
    entered: Way = []
    advance = HttpProtocol._advance

    def record(protocol: HttpProtocol, change: Input) -> None:
        advance(protocol, change)
        entered.append(protocol._state)

    monkeypatch.setattr(HttpProtocol, "_advance", record)
    return entered


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with serve() as running:
        yield running


def test_every_state_is_reached_from_a_new_connection() -> None:
    reached, found = {State.QUEUED}, [State.QUEUED]
    while found:
        new = set(TRANSITIONS[found.pop()].values()) - reached
        reached |= new
        found += new
    assert reached == set(State) == set(TRANSITIONS)


def test_a_request_of_another_node_and_a_websocket_are_the_last_of_a_connection() -> None:
    assert TRANSITIONS[State.TUNNELLED] == TRANSITIONS[State.UPGRADED] == {}
    assert State.HEAD not in TRANSITIONS[State.FORWARDING].values()


async def test_requests_that_are_answered_here(running: Running, way: Way) -> None:
    async with Wire.open(running) as wire:
        for _ in range(2):
            assert (await wire.request("GET", "/nowhere")).status == 404
    assert way == [*LOCAL_ONCE, State.LOCAL, State.HEAD]


async def test_a_request_that_is_refused(running: Running, way: Way) -> None:
    async with Wire.open(running) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\nno header\r\n\r\n")
        await wire.read_rest()
    assert way == [State.HEAD]


async def test_a_websocket(running: Running, way: Way) -> None:
    async with SocketWire.connect(running) as wire:
        await wire.expect_echo()
    assert way == [State.HEAD, State.UPGRADED]


async def test_a_request_that_goes_through_a_tunnel(way: Way) -> None:
    async with two_nodes(lambda secret: Node(secret, host="127.0.0.1")) as two:
        client = await PollingWire.connect(two.one)
        way.clear()
        async with Wire.open(two.other) as wire:
            assert (await wire.request("POST", client.target, b"3")).status == 200
    # The connection to the other node, and what that node answers over the tunnel.
    assert way == [State.HEAD, State.FORWARDING, State.TUNNELLED, *LOCAL_ONCE]


async def test_a_request_whose_connection_is_handed_off(way: Way, tmp_path: Path) -> None:
    async with two_nodes(lambda secret: Node(secret, folder=tmp_path / "nodes")) as two:
        client = await PollingWire.connect(two.one)
        way.clear()
        async with Wire.open(two.other) as wire:
            assert (await wire.request("POST", client.target, b"3")).status == 200
    assert way == [State.HEAD, State.FORWARDING, *LOCAL_ONCE]
