"""The back end of `qscrap` as its tests play it: it puts records over HTTP, lets time pass, and sees what is told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec

from oyez.log.log import Entry
from oyez.log.memory import MemoryLog
from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.systems.qscrap import system
from tests.support.clock import Clock

START = "2026-01-12T08:00:00.000Z"


def to_seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


class Emitted(NamedTuple):
    """An event, or a control entry, as the log has it."""

    event: str
    rooms: tuple[str, ...]
    data: dict[str, Any]


class KeepingLog(MemoryLog):
    """A log that shows what was ever appended."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Entry] = {}

    async def append(self, entries: Any, checkpoint: Any = None) -> list[str]:
        positions = await super().append(entries, checkpoint)
        # What has the key of an earlier entry has its position too, and is not stored again.
        for position, entry in zip(positions, entries, strict=True):
            self.kept.setdefault(position, entry)
        return positions


@dataclass
class Backend:
    oyez: Oyez
    http: httpx.AsyncClient
    log: KeepingLog
    clock: Clock
    heard: int = field(default=0)

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
        """The events since the last call."""
        await self.oyez.systems["qscrap"].outbox.drained()
        new, self.heard = list(self.log.kept.values())[self.heard :], len(self.log.kept)
        # A probe of the log has no namespace; there is one every two seconds.
        return [read(entry) for entry in new if entry.namespace]

    async def wait_until(self, time: str) -> None:
        """Let the time come, and what is due then happen."""
        self.clock.now = to_seconds(time)
        await self.settle()

    async def settle(self) -> None:
        await self.oyez.systems["qscrap"].jobs.done()


def read(entry: Entry) -> Emitted:
    data = msgspec.json.decode(entry.data)
    if entry.control:
        return Emitted(entry.control, entry.rooms, data)
    event, payload = data
    return Emitted(event, entry.rooms, payload)


@asynccontextmanager
async def open_backend(
    folder: Path, database_url: str, clock: Clock | None = None, log: KeepingLog | None = None
) -> AsyncIterator[Backend]:
    """A process that serves `qscrap`, without a port, on the database at `database_url`."""
    clock, log = clock or Clock(to_seconds(START)), log or KeepingLog()
    settings = Settings(oyez_data=str(folder / "data"), database_url=database_url)
    oyez = Oyez([system], settings, build_log=lambda name: log, clock=clock)
    headers = {"authorization": f"Bearer {oyez.signer.sign_service('qscrap', None)}"}
    async with (
        oyez.running(),
        httpx.AsyncClient(transport=httpx.ASGITransport(oyez), base_url="http://oyez", headers=headers) as http,
    ):
        yield Backend(oyez, http, log, clock)
