"""Fixtures of the server's tests: servers of both kinds, somebody who must not suffer, the JavaScript client."""

from collections.abc import AsyncIterator

import pytest

from tests.support.js_client import JsDriver
from tests.support.serving import Certificates, Running, serve
from tests.support.wire import SocketWire


@pytest.fixture(scope="session")
async def js() -> AsyncIterator[JsDriver]:
    async with JsDriver.start() as driver:
        yield driver


@pytest.fixture(params=["picows", "asgi"])
def kind(request: pytest.FixtureRequest) -> str:
    """How WebSockets are carried: by Oyez' own port, or by the ASGI server it is mounted in."""
    kind: str = request.param
    return kind


@pytest.fixture
async def running(kind: str) -> AsyncIterator[Running]:
    """A server of each kind, with settings as they are by default."""
    async with serve(kind) as running:
        yield running


@pytest.fixture
async def own() -> AsyncIterator[Running]:
    """A server on a port of its own, with settings as they are by default."""
    async with serve() as running:
        yield running


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Running, SocketWire]]:
    """One such server for a module's tests, and an innocent client of it."""
    async with serve() as running, SocketWire.connect(running) as bystander:
        yield running, bystander


@pytest.fixture
async def crowd(shared: tuple[Running, SocketWire]) -> AsyncIterator[Running]:
    """The shared server. Whatever a test does to it: the innocent client is served, and nothing is left behind."""
    running, bystander = shared
    yield running
    await bystander.expect_echo()
    await running.settle(but_for=bystander.sid)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))
