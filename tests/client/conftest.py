"""Fixtures of the clients' tests: a server of another library, every transport, and a server to publish to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from oyez.client import Client, connect
from tests.client import parcels
from tests.client.faults import FaultyServer, serve_faults
from tests.client.peer import Peer, serve_peer
from tests.support.served import Served, serve

WAYS = [("polling",), ("websocket",), ("polling", "websocket")]


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with serve_peer() as peer:
        yield peer


@pytest.fixture(params=WAYS, ids="+".join)
def ways(request: pytest.FixtureRequest) -> tuple[str, ...]:
    ways: tuple[str, ...] = request.param
    return ways


@pytest.fixture(scope="package")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serve(tmp_path_factory.mktemp("parcels") / "data", str(Path(parcels.__file__))) as running:
        yield running


@pytest.fixture
async def faulty(served: Served) -> AsyncIterator[FaultyServer]:
    async with serve_faults(served.url) as server:
        yield server


@pytest.fixture
async def ada(served: Served) -> AsyncIterator[Client]:
    async with connect(served.url, path="/parcels/socket.io/", auth={"token": served.token("ada")}) as client:
        yield client
