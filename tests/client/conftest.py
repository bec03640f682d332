"""Fixtures of the client's tests: a server of another library, and every transport."""

from collections.abc import AsyncIterator

import pytest

from tests.client.peer import Peer, serve_peer

WAYS = [("polling",), ("websocket",), ("polling", "websocket")]


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with serve_peer() as peer:
        yield peer


@pytest.fixture(params=WAYS, ids="+".join)
def ways(request: pytest.FixtureRequest) -> tuple[str, ...]:
    ways: tuple[str, ...] = request.param
    return ways
