"""Fixtures of the log's tests: a clock, and a store of each backend in turn."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from oyez.log.log import Log
from tests.log.backends import BACKENDS, Backend, Clock, OpenLog


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param](lambda: request.getfixturevalue("valkey"))


@pytest.fixture
async def open_log(backend: Backend, tmp_path: Path, clock: Clock) -> AsyncIterator[OpenLog]:
    """Opens further nodes of one store; all are closed at the end."""
    open_node = backend(tmp_path, clock)
    async with AsyncExitStack() as stack:

        async def open_and_close() -> Log:
            log = await open_node()
            stack.push_async_callback(log.close)
            return log

        yield open_and_close


@pytest.fixture
async def log(open_log: OpenLog) -> Log:
    return await open_log()
