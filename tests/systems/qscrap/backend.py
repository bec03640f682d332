"""The back end of `qscrap` in its tests: it puts records over HTTP, lets time pass, and reads the events."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from oyez.concurrency.clock import Clock as SystemClock
from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.systems.qscrap import system
from tests.support.clock import Clock
from tests.support.ledger import Emitted, Ledger

START = "2026-01-12T08:00:00.000Z"


def to_seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


@dataclass
class Backend:
    oyez: Oyez
    http: httpx.AsyncClient
    log: Ledger
    clock: Clock
    _read: int = field(default=0)

    async def request(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return await self.http.request(method, f"/qscrap/api{path}", json=body, **options)

    async def put(self, path: str, **body: Any) -> tuple[int, Any]:
        """The status, and the record or problem."""
        response = await self.request("PUT", path, body)
        return response.status_code, response.json()

    async def post(self, path: str, **body: Any) -> tuple[int, Any]:
        response = await self.request("POST", path, body or None)
        return response.status_code, response.json()

    async def get(self, path: str, **query: Any) -> tuple[int, Any]:
        response = await self.request("GET", path, params=query)
        return response.status_code, response.json()

    async def emitted(self) -> list[Emitted]:
        """The events and control entries since the last call."""
        await self.oyez.systems["qscrap"].outbox.drained()
        start, self._read = self._read, len(self.log.stored)
        return self.log.emitted(start)

    async def wait_until(self, time: str) -> None:
        """Let the time come, and what is due then happen."""
        self.clock.now = to_seconds(time)
        await self.settle()

    async def settle(self) -> None:
        await self.oyez.systems["qscrap"].jobs.done()


@asynccontextmanager
async def open_backend(
    folder: Path, database_url: str, clock: Clock | None = None, log: Ledger | None = None
) -> AsyncIterator[Backend]:
    """A process that serves `qscrap`, without a port, on the database at `database_url`."""
    clock, log = clock or Clock(to_seconds(START)), log or Ledger()
    settings = Settings(oyez_data=str(folder / "data"), database_url=database_url)
    oyez = Oyez([system], settings, build_log=lambda name: log, time=SystemClock(clock))
    headers = {"authorization": f"Bearer {oyez.signer.sign_service('qscrap', None)}"}
    async with (
        oyez.running(),
        httpx.AsyncClient(transport=httpx.ASGITransport(oyez), base_url="http://oyez", headers=headers) as http,
    ):
        yield Backend(oyez, http, log, clock)
