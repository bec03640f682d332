"""The connections of one process to its back ends, kept open between requests.

Each connection has an HTTP client of its own, because the pool of httpx looks through all of its connections several
times for each request: with 64 of them, a request costs four times as much.
"""

import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx

from oyez.errors import NotRunningError

CONNECT_TIMEOUT = 2.0
"""Seconds for a TCP connection and TLS. After it, another attempt has better chances than more patience."""
KEEP_ALIVE = 4.0
"""Seconds for which an idle connection is kept: uvicorn, Node and Apache close it after five."""
_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE)


class _Idle(NamedTuple):
    """A connection that no request uses."""

    client: httpx.AsyncClient
    since: float
    """Monotonic seconds."""


class BackendConnections:
    """The connections to all back ends."""

    def __init__(self) -> None:
        self._running = False
        self._idle: dict[str, list[_Idle]] = {}
        """By address, the idle connections; the one that was used last is used next."""
        self._context: ssl.SSLContext | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Requests can be sent while inside."""
        self._running = True
        try:
            yield
        finally:
            self._running = False
            idle = [one for listed in self._idle.values() for one in listed]
            self._idle.clear()
            for one in idle:
                await one.client.aclose()

    @asynccontextmanager
    async def borrow(self, url: str) -> AsyncIterator[httpx.AsyncClient]:
        """A client for one request to this address. Raises NotRunningError."""
        if not self._running:
            raise NotRunningError("Oyez does not run, so no back end can be asked.")
        idle = self._idle.setdefault(url, [])
        client = idle.pop().client if idle else self._make_client()
        try:
            yield client
        finally:
            if self._running:
                idle.append(_Idle(client, time.monotonic()))
                await self._close_oldest(idle)
            else:
                await client.aclose()

    async def _close_oldest(self, idle: list[_Idle]) -> None:
        """Close a connection that has been idle for long: the other side has closed it too."""
        if idle[0].since < time.monotonic() - KEEP_ALIVE:
            await idle.pop(0).client.aclose()

    def _make_client(self) -> httpx.AsyncClient:
        if self._context is None:
            # Only when it is needed: reading the certificates takes 20 ms.
            self._context = ssl.create_default_context()
        return httpx.AsyncClient(
            # Without the environment: a proxy or .netrc there is meant for other programs.
            trust_env=False,
            verify=self._context,
            follow_redirects=False,
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT),
            limits=_LIMITS,
        )
