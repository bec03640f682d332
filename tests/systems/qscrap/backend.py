"""The back end of `qscrap` in its tests: it puts records over HTTP, lets time pass, and reads the events."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from oyez.testing import Harness, Published

START = "2026-01-12T08:00:00.000Z"


def to_seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


@dataclass
class Backend:
    oyez: Harness

    async def request(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return await self.oyez.request(method, f"/qscrap/api{path}", body, **options)

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

    async def emitted(self) -> list[Published]:
        """The events since the last call."""
        return await self.oyez.take_published()

    async def wait_until(self, time: str) -> None:
        """Let the time come, and what is due until then happen."""
        await self.oyez.advance(to_seconds(time) - self.oyez.now)
