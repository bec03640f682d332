"""Fixtures of the server's tests: servers of both kinds, connections to them, the JavaScript client."""

from collections.abc import AsyncIterator

import pytest

from tests.support.js_client import JsDriver
from tests.support.serving import Certificates, Running, serve
from tests.support.wire import PollingWire, SocketWire, Wire


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


@pytest.fixture
async def mounted() -> AsyncIterator[Running]:
    """A server that is mounted in an ASGI application."""
    async with serve("asgi") as running:
        yield running


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[tuple[Running, SocketWire]]:
    """A server for all tests of a module, and an uninvolved client of it, which answers no pings."""
    async with serve(ping_interval=3_600.0) as running, SocketWire.connect(running) as bystander:
        yield running, bystander


@pytest.fixture
async def crowd(shared: tuple[Running, SocketWire]) -> AsyncIterator[Running]:
    """The shared server. After each test the uninvolved client is still served, and no connection is left."""
    running, bystander = shared
    yield running
    await bystander.expect_echo()
    await running.settle(but_for=bystander.sid)


@pytest.fixture
async def wire(running: Running) -> AsyncIterator[SocketWire]:
    """A WebSocket that is connected to the default namespace of `running`."""
    async with SocketWire.connect(running) as wire:
        yield wire


@pytest.fixture
async def polling(running: Running) -> PollingWire:
    """A polling client that is connected to the default namespace of `running`."""
    return await PollingWire.connect(running)


@pytest.fixture
async def crowd_wire(crowd: Running) -> AsyncIterator[SocketWire]:
    async with SocketWire.connect(crowd) as wire:
        yield wire


@pytest.fixture
async def crowd_polling(crowd: Running) -> PollingWire:
    return await PollingWire.connect(crowd)


@pytest.fixture
async def crowd_http(crowd: Running) -> AsyncIterator[Wire]:
    """A TCP connection to `crowd`, for HTTP by hand."""
    async with Wire.open(crowd) as wire:
        yield wire


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))
