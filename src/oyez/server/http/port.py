"""The port: uvicorn with Oyez' HTTP protocol, TLS, and a shutdown (on SIGTERM) that closes the clients first."""

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import STARTUP_FAILURE

from oyez.concurrency.task_set import TaskSet
from oyez.errors import OyezError
from oyez.logger import get_logger
from oyez.protocol import engineio
from oyez.server.cluster.forwarder import Forwarder
from oyez.server.cluster.node import Node
from oyez.server.http.direct import FindResponder
from oyez.server.http.endpoint import Router
from oyez.server.http.guard import CLOSE, DEFENCES, ObservedSend
from oyez.server.http.peer_protocol import HandedOffProtocol, PeerProtocol
from oyez.server.http.port_reader import PieceReader
from oyez.server.http.port_state import PortState
from oyez.server.http.protocol import HttpProtocol
from oyez.server.transports.asgi import DRAINS
from oyez.settings import Settings

logger = get_logger("oyez.server")

TUNNELS_SECONDS = 0.5
"""Seconds that a stopping node waits for its tunnels: the nodes at their other ends may be stopping too."""
FILES_CHECK_TICKS = 10
"""uvicorn's ticks, a tenth of a second each, between two checks that a file can still be opened."""
FILES_WARNING_SECONDS = 60.0
"""Seconds between two warnings that no file can be opened."""

_STOPPING_HEADERS = [
    (b"content-type", b"text/plain"),
    (b"retry-after", b"%d" % engineio.RETRY_AFTER),
    *DEFENCES,
    CLOSE,
]


class HttpServer(uvicorn.Server):
    """Serves `app` and, by `router`, WebSockets.

    `find_responder` finds what answers a request without `app` (`direct.py`). `drain` is awaited when a signal asks to
    stop, before anything ends. Peers forward the requests of the sessions of `node` to it. `run` raises the OyezError
    for which `app` could not start.
    """

    def __init__(
        self,
        app: ASGIApp,
        router: Router,
        settings: Settings,
        drain: Callable[[], Awaitable[None]],
        node: Node | None = None,
        find_responder: FindResponder = lambda target: None,
    ) -> None:
        self._node = node or Node()
        self.forwarder = Forwarder(self._node, settings.limits.max_tunnels)
        self.port_state = PortState(settings.limits.max_idle_connections, self.forwarder, find_responder)
        self._start = _Start(app)
        super().__init__(
            uvicorn.Config(
                self._start,
                host=settings.host,
                port=settings.port,
                http=partial(HttpProtocol, router, settings.limits, self.port_state),  # type: ignore[arg-type]
                ws="none",
                loop="auto",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                # One address for polling and WebSocket alike: the peer's. Headers that name another can be forged.
                proxy_headers=False,
                ssl_certfile=settings.ssl_certfile,
                ssl_keyfile=settings.ssl_keyfile,
                backlog=4096,
            )
        )
        # uvicorn annotates it as whole seconds, but accepts fractions.
        self.config.timeout_keep_alive = settings.keep_alive  # type: ignore[assignment]
        self._drain = drain
        self._router = router
        self._limits = settings.limits
        self._drain_time = settings.drain_time
        self._shutdown_timeout = settings.shutdown_timeout
        self._next_files_warning = 0.0
        self._taking_over = TaskSet()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # As uvicorn does it, except for the time-outs of TLS, for which it has no setting: a silent client would stay
        # for a minute, and nothing would count it. The node listens before it announces itself.
        await self._node.peering.listen(self._node.id, self._build_peer_protocol, self._on_handoff)
        await self.lifespan.startup()
        if self._start.failure is not None:
            raise self._start.failure
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        config, loop = self.config, asyncio.get_running_loop()
        options: dict[str, Any] = {"backlog": config.backlog}
        if config.ssl is not None:
            options |= {
                "ssl": config.ssl,
                "ssl_handshake_timeout": self._limits.header_timeout,
                "ssl_shutdown_timeout": self._limits.close_timeout,
            }
        places = (
            [{"host": config.host, "port": config.port}] if sockets is None else [{"sock": each} for each in sockets]
        )
        self.servers = [await loop.create_server(self._build_protocol, **place, **options) for place in places]
        self.started = True

    def _build_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return PieceReader(protocol)

    def _build_peer_protocol(self) -> asyncio.Protocol:
        return self._build_other(PeerProtocol, self._node)

    def _on_handoff(self, connection: socket.socket, received: bytes) -> None:
        self._taking_over.spawn(self._take_over(connection, received))

    async def _take_over(self, connection: socket.socket, received: bytes) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            # Raised if the client has disconnected in the meantime.
            await loop.connect_accepted_socket(lambda: self._build_other(HandedOffProtocol, received), connection)

    def _build_other(self, kind: Callable[..., asyncio.Protocol], own: Any) -> asyncio.Protocol:
        return kind(
            own,
            self._router,
            self._limits,
            self.port_state,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )

    async def on_tick(self, counter: int) -> bool:
        if counter % FILES_CHECK_TICKS == 0:
            self._check_files()
        return await super().on_tick(counter)

    def _check_files(self) -> None:
        """Warn the operator if no file can be opened: the loop then refuses clients, and logs nothing."""
        now = asyncio.get_running_loop().time()
        if now < self._next_files_warning:
            return
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            self._next_files_warning = now + FILES_WARNING_SECONDS
            logger.error("no file can be opened, so new clients are turned away: raise the limit", reason=str(error))

    async def _end_tunnels(self) -> None:
        """Wait until the answers of other nodes that stop too have gone through the tunnels."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TUNNELS_SECONDS):
                while self.forwarder.tunnels:  # noqa: ASYNC110 - a second at most, and nothing else waits for it
                    await asyncio.sleep(0.02)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._drain_time + self._shutdown_timeout
        # New clients connect to other workers and nodes; what peers forward is for clients that are still here.
        for server in self.servers:
            server.close()
        await self._drain()
        await self._end_tunnels()
        self._node.peering.close()
        # uvicorn waits for requests, in the time that is left; like `keep_alive`, that may be a fraction of a second.
        # With no time at all it would log tasks that it has not waited for.
        left = max(0.1, min(self._shutdown_timeout, end - loop.time()))
        self.config.timeout_graceful_shutdown = left  # type: ignore[assignment]
        await super().shutdown(sockets)
        # uvicorn would raise the signal again: but a stop that was asked for and has been carried out is a success.
        self._captured_signals.clear()


class _Start:
    """`app`, and why it could not start: uvicorn would log a traceback, and drop the error.

    A second signal to stop ends the shutdown at once, which is no error either; nor is a request for which the shutdown
    no longer waits.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.failure: OyezError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._answer(scope, receive, send)
            return
        failed: Message | None = None

        async def hold_failure(message: Message) -> None:
            nonlocal failed
            if message["type"].endswith(".failed"):
                failed = message
            else:
                await send(message)

        scope = {**scope, "extensions": {**scope.get("extensions", {}), DRAINS: {}}}
        try:
            await self._app(scope, receive, hold_failure)
        except OyezError as error:
            self.failure = error
        except asyncio.CancelledError:
            pass
        except BaseException:
            if failed is not None:
                await send(failed)
            raise

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = ObservedSend(send)
        try:
            await self._app(scope, receive, answer)
        except asyncio.CancelledError:
            if not answer.begun:
                await send({"type": "http.response.start", "status": 503, "headers": _STOPPING_HEADERS})
                await send({"type": "http.response.body", "body": b"The server is stopping."})
