"""The port: uvicorn with Oyez' HTTP protocol, TLS, and a shutdown that tells clients first."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from oyez.server.upgrade import HttpProtocol, Router
from oyez.settings import Settings

HTTP_REQUESTS = 1_000
"""Requests at a time besides those of polling clients, of which each has two."""


class HttpServer(uvicorn.Server):
    """Serves `app` and, by `router`, WebSockets.

    `drain` is awaited when a signal asks to stop, before anything ends.
    """

    def __init__(self, app: ASGIApp, router: Router, settings: Settings, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=partial(HttpProtocol, router, settings.limits),  # type: ignore[arg-type]
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
                limit_concurrency=2 * settings.limits.max_connections + HTTP_REQUESTS,
                backlog=4096,
            )
        )
        self._drain = drain
        self._shutdown_timeout = settings.shutdown_timeout

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._shutdown_timeout
        for server in self.servers:
            server.close()
        await self._drain()
        # uvicorn waits for requests, in what is left of the time. (Its annotation says whole seconds; it needs none.)
        # With no time at all it would complain of tasks it never looked for.
        self.config.timeout_graceful_shutdown = max(0.1, end - loop.time())  # type: ignore[assignment]
        await super().shutdown(sockets)
        # uvicorn would raise the signal again: but a stop that was asked for and has been carried out is a success.
        self._captured_signals.clear()
