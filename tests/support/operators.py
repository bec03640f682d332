"""Operators in tests: a key, a server with an admin in the test's own loop, and requests of the admin API."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from oyez.ops.admin.service import Admin
from oyez.ops.admin.sign_in import hash_key
from oyez.ops.metrics import Metrics
from oyez.service.app import Oyez
from oyez.service.system import System
from oyez.settings import Settings
from tests.support.clock import PATIENCE
from tests.support.shops import Market, serve

KEY = "oyo_" + "k" * 43
KEYS = f"anna=sha256:{hash_key(KEY)}"


@dataclass
class Operator:
    """An operator who is signed in at the server at `url`."""

    url: str
    token: str

    async def request(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            return await client.request(method, f"{self.url}/admin/api{path}", json=body, headers=headers, **options)

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.request("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None) -> Any:
        answer = await self.request("POST", path, body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None


async def sign_in(url: str, key: str = KEY) -> Operator:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        answer = await client.post(f"{url}/admin/api/sign-in", json={"key": key})
    assert answer.status_code == 200, answer.text
    return Operator(url, answer.json()["token"])


def build(folder: Path, systems: Sequence[System], keys: str | None = KEYS, **settings: Any) -> Oyez:
    """An Oyez with an admin, as `oyez serve` makes it."""
    loaded = Settings(oyez_data=str(folder), admin_keys=keys, **settings)
    if keys is None:
        return Oyez(systems, loaded)
    metrics = Metrics()
    admin = Admin(loaded, metrics)
    return Oyez(systems, loaded, operate=admin.operate, observers=[metrics, *admin.observers])


@asynccontextmanager
async def operated(folder: Path, *systems: System, **settings: Any) -> AsyncIterator[tuple[Market, Operator]]:
    """A server with an admin, and an operator who is signed in."""
    async with serve(build(folder, systems, **settings)) as market:
        yield market, await sign_in(market.url)
