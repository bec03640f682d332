"""What observers cost a command, without network: servers of one process, whose clients' connections lead nowhere.

Two processes with the same settings differ by several percent, because their memory is laid out differently. Servers of
one process, in turns of some milliseconds, differ by less than one. Used by `bench.observers`.
"""

import asyncio
import gc
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from bench.contract import contract, handlers
from bench.scenarios import COMMAND
from oyez.ops.metrics import Metrics
from oyez.ops.traces import OpenTelemetry, TraceIds
from oyez.server.connections.connection import Connection
from oyez.server.transports.outgoing import OutboundPacket
from oyez.server.transports.transport import Transport
from oyez.service.app import Oyez
from oyez.service.system import System, SystemServices
from oyez.settings import Settings
from oyez.testing.transport import MemoryWebSocket

CLIENTS = 100
COMMANDS_EACH = 4
"""Commands of each client in one turn: some milliseconds."""
SAMPLED = 0.01

Build = Callable[[Settings], Oyez]


class Nowhere:
    """A transport that encodes what it has to send, and drops it."""

    closing = False
    max_buffer = 1_000_000
    unsent = 0
    write = None

    def send(self, packet: OutboundPacket) -> None:
        assert packet.frames


def _build(settings: Settings) -> Oyez:
    return Oyez([_system()], settings)


def _build_with_metrics(settings: Settings) -> Oyez:
    return Oyez([_system()], settings, observers=[Metrics()])


def _build_with_tracing(settings: Settings) -> Oyez:
    return _trace(settings, SAMPLED)


def _build_with_idle_tracing(settings: Settings) -> Oyez:
    return _trace(settings, 0.0)


def _trace(settings: Settings, share: float) -> Oyez:
    tracing = OpenTelemetry(TracerProvider(sampler=ParentBased(TraceIdRatioBased(share)), id_generator=TraceIds()))
    return Oyez([_system()], settings, observers=[tracing], tracing=tracing)


def _system() -> System:
    return System(contract=contract, build=lambda services: SystemServices(handlers=handlers))


BUILDS: Mapping[str, Build] = {
    "no observer": _build,
    "no observer, again": _build,
    "metrics": _build_with_metrics,
    "tracing, nothing recorded": _build_with_idle_tracing,
    "tracing": _build_with_tracing,
}


async def measure(turns: int) -> Mapping[str, Sequence[float]]:
    """By server, the microseconds of processor time of a command, one for each turn."""
    async with AsyncExitStack() as stack:
        servers = {}
        for name, build in BUILDS.items():
            servers[name] = await stack.enter_async_context(_connected(build))
        gc.collect()
        gc.freeze()
        taken: dict[str, list[float]] = {name: [] for name in servers}
        order = list(servers)
        for turn in range(turns + 1):
            for name in order:
                spent = _work(servers[name])
                if turn:
                    taken[name].append(spent)
            # No server always follows the same other one.
            order.append(order.pop(0))
            await asyncio.sleep(0)
        return taken


@asynccontextmanager
async def _connected(build: Build) -> AsyncIterator[list[Connection]]:
    """The connections of a server with CLIENTS clients."""
    with tempfile.TemporaryDirectory(prefix="oyez-observed-") as folder:
        oyez = build(Settings(oyez_data=folder))
        async with oyez.running():
            server = oyez.systems[contract.name].server
            for number in range(CLIENTS):
                token = oyez.signer.sign_user(f"u-{number}", "user", {}, 3_600.0)
                socket = MemoryWebSocket(oyez, "/bench/socket.io/", headers={}, query={}, address="127.0.0.1")
                await socket.open()
                await socket.send_raw(f"40{json.dumps({'token': token})}")
            async with asyncio.timeout(10.0):
                while sum(server.count_sockets().values()) < CLIENTS:  # noqa: ASYNC110 - nothing reports it
                    await asyncio.sleep(0.01)
            connections = list(server.registry.connections.values())
            transports = [connection.transport for connection in connections]
            for connection in connections:
                connection.attach(cast(Transport, Nowhere()))
            yield connections
            for connection, transport in zip(connections, transports, strict=True):
                connection.attach(transport)


def _work(connections: Sequence[Connection]) -> float:
    began = time.process_time()
    for number in range(COMMANDS_EACH):
        text = f"42{number}{COMMAND}".encode()
        for connection in connections:
            connection.on_text(text)
    return (time.process_time() - began) / (COMMANDS_EACH * len(connections)) * 1e6
