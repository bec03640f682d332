"""Servers in the test's own loop: Oyez' own port (picows), and Oyez mounted in a FastAPI application under uvicorn."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import trustme
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from oyez.log.log import Entry, Log
from oyez.log.memory import MemoryLog
from oyez.server.cluster.node import Node
from oyez.server.connections.connection import Connection
from oyez.server.http.json_endpoint import JsonEndpoint
from oyez.server.http.port import HttpServer
from oyez.server.namespaces.application import Application
from oyez.server.namespaces.namespace import Namespace
from oyez.server.namespaces.socket import Socket
from oyez.server.server import Server
from oyez.server.transports.polling import Polling
from oyez.server.transports.transport import Transport
from oyez.settings import Limits, Settings
from tests.support.application import Market
from tests.support.clock import PATIENCE, Clock

PATH = "/socket.io/"
PLAIN_PATH = "/ws/"


class InLoop(uvicorn.Server):
    """uvicorn without signals, which reports when it has started and stops on request."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ready = asyncio.Event()
        self.told_to_stop = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.told_to_stop.wait()

    @property
    def port(self) -> int:
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port


class OwnPort(InLoop, HttpServer):
    """Oyez' own server."""


def find_polling(connection: Connection) -> Polling | None:
    """The transport of a connection that polls; None if it has upgraded."""
    return connection.transport if isinstance(connection.transport, Polling) else None


async def turn_until(happened: Callable[[], bool]) -> None:
    """Let the loop turn until something has happened that nothing reports."""
    async with asyncio.timeout(PATIENCE):
        while not happened():  # noqa: ASYNC110 - nothing says when
            await asyncio.sleep(0)


@dataclass
class Running:
    """A server that serves, and how to reach it."""

    server: Server
    http: InLoop
    log: Log
    market: Market
    applications: Mapping[str, Application]
    scheme: str = "http"
    stopping: asyncio.Task[None] | None = field(default=None)
    clock: Callable[[], float] = time.monotonic

    @property
    def port(self) -> int:
        return self.http.port

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"

    @property
    def namespace(self) -> Namespace:
        return self.server.namespaces["/"]

    async def publish(
        self, name: str, *args: Any, to: str | tuple[str, ...] = (), namespace: str = "/", **entry: Any
    ) -> None:
        """Append an event to the log (or broadcast it there, where it is volatile)."""
        rooms = (to,) if isinstance(to, str) else to
        published = Entry(namespace=namespace, rooms=rooms, data=msgspec.json.encode([name, *args]), **entry)
        if published.volatile:
            await self.log.broadcast(published)
        else:
            await self.log.append([published])

    @property
    def tunnels(self) -> int:
        """Number of requests that are forwarded through tunnels to other nodes."""
        assert isinstance(self.http, HttpServer)
        return self.http.forwarder.tunnels

    @property
    def polling(self) -> list[Polling]:
        """The transports of all open connections that poll."""
        found = map(find_polling, self.server.registry.connections.values())
        return [polling for polling in found if polling is not None]

    async def settle(self, but_for: str = "") -> None:
        """Returns when no other connection is left: what ends one reaches the server some turns of the loop later."""
        kept = {but_for} - {""}
        await turn_until(
            lambda: set(self.server.registry.connections) == kept and len(self.server.registry.websockets) == len(kept)
        )

    def pass_time(self, seconds: float) -> None:
        """Move the clock of the server, and run all that is due by then."""
        assert isinstance(self.clock, Clock)
        self.clock.now += seconds
        self.server.context.wheel.advance()

    def stop(self) -> "asyncio.Task[None]":
        """Ask it to stop, as a signal would."""
        self.http.told_to_stop.set()
        assert self.stopping is not None
        return self.stopping


def make_settings(limits: Mapping[str, Any], settings: Mapping[str, Any]) -> Settings:
    # Clients written by hand do not answer a CLOSE: the time they have for it passes at the end of many tests.
    kept = {"close_timeout": 0.3, **limits}
    return Settings(**{"port": 0, "shutdown_timeout": 5.0, **settings}, limits=Limits(**kept))


@asynccontextmanager
async def serve(
    kind: str = "picows",
    *,
    market: Market | None = None,
    namespaces: Mapping[str, Application] | None = None,
    log: Log | None = None,
    node: Node | None = None,
    clock: Callable[[], float] = time.monotonic,
    limits: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Running]:
    """A running server of `kind` picows or asgi; `settings` are those of Settings, `limits` those of Limits."""
    chosen = make_settings(limits or {}, settings)
    market = market or Market()
    log = log or MemoryLog()
    applications: dict[str, Application] = {"/": market, **(namespaces or {})}
    server = Server(applications, log, chosen, node=node, clock=clock)
    http = (serve_own_port if kind == "picows" else serve_mounted)(server, chosen)
    scheme = "https" if chosen.ssl_certfile else "http"
    running = Running(server, http, log, market, applications, scheme, clock=clock)
    running.stopping = asyncio.create_task(http.serve())
    try:
        async with asyncio.timeout(PATIENCE):
            await http.ready.wait()
        yield running
    finally:
        market.release(1_000)
        await running.stop()
        await log.close()


def serve_own_port(server: Server, settings: Settings) -> InLoop:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with server.running():
            yield

    app = Starlette(routes=[Mount("/socket.io", server)], lifespan=lifespan)
    return OwnPort(app, {PATH: server, PLAIN_PATH: JsonEndpoint(server)}.get, settings, server.drain, server.node)


def serve_mounted(server: Server, settings: Settings) -> InLoop:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with server.running():
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/socket.io", server)
    app.mount("/ws", JsonEndpoint(server))

    @app.get("/hello")
    def hello() -> str:
        return "world"

    return InLoop(
        uvicorn.Config(app, port=settings.port, ws="websockets-sansio", log_config=None, timeout_graceful_shutdown=5)
    )


class Certificates:
    """A certificate for localhost, and those who trust it."""

    def __init__(self, folder: Any) -> None:
        authority = trustme.CA()
        self.chain = str(folder / "chain.pem")
        self.key = str(folder / "key.pem")
        self.authority = str(folder / "authority.pem")
        issued = authority.issue_cert("localhost", "127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(self.chain)
        issued.private_key_pem.write_to_path(self.key)
        authority.cert_pem.write_to_path(self.authority)
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)


def transport_of(socket: Socket) -> Transport:
    """The transport that carries the packets of a socket."""
    return cast(Connection, socket.connection).transport
