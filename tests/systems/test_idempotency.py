"""No HTTP write of any system ignores an `Idempotency-Key`."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.routing import Route

from oyez.service.app import Oyez
from oyez.service.idempotency import WRITES
from oyez.settings import Settings
from oyez.systems.loader import list_systems, load_system
from tests.systems.bookings.market import booking_body, partner_body


class Backend:
    """All five systems, asked without a network."""

    def __init__(self, oyez: Oyez) -> None:
        self.oyez = oyez
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(oyez), base_url="http://test")

    async def send(self, system: str, method: str, path: str, body: object, *keys: str) -> httpx.Response:
        headers = [("authorization", f"Bearer {self.oyez.signer.sign_service(system, None)}")]
        headers += [("idempotency-key", key) for key in keys]
        return await self._http.request(method, f"/{system}{path}", json=body, headers=headers)


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    oyez = Oyez([load_system(name) for name in list_systems()], Settings(oyez_data=str(tmp_path), jwt_secret="s" * 32))
    async with oyez.running():
        yield Backend(oyez)


async def test_each_write_looks_at_the_key(backend: Backend) -> None:
    tried = 0
    for name, served in backend.oyez.systems.items():
        writes = [("PUT", f"/{name}/rooms/x/members/user:u"), ("DELETE", f"/{name}/rooms/x/members/user:u")]
        for route in served.own.routes:
            assert isinstance(route, Route)
            methods = sorted(WRITES & (route.methods or set()))
            writes += [(method, f"/api{re.sub(r'{[^}]*}', 'x', route.path)}") for method in methods]
        for method, path in writes:
            refused = await backend.send(name, method, path.removeprefix(f"/{name}"), {}, "one", "two")
            assert (refused.status_code, refused.json()["code"]) == (400, "malformed"), (name, method, path)
            tried += 1
    assert tried > 60


async def test_a_booking_that_is_posted_twice_is_one(backend: Backend) -> None:
    async def send(method: str, path: str, body: object, *keys: str) -> httpx.Response:
        return await backend.send("bookings", method, f"/api{path}", body, *keys)

    await send("PUT", "/customers/ada", {"name": "Ada", "phone": "+44 20 7946 0457"})
    await send("PUT", "/partners/bob", partner_body("bob"))
    first, second = [await send("POST", "/bookings", booking_body("ada", "bob"), "key-1") for _ in range(2)]
    assert (first.status_code, second.status_code, second.json()) == (201, 201, first.json())
    assert len((await send("GET", "/bookings", None)).json()["items"]) == 1
    other = await send("POST", "/bookings", booking_body("ada", None), "key-1")
    assert (other.status_code, other.json()["code"]) == (422, "id_reused")
    puts = [await send("PUT", "/customers/eve", {"name": "Eve", "phone": "+44 20 7946 0457"}, "key-2") for _ in "ab"]
    assert [put.status_code for put in puts] == [201, 201], "the repeat is answered as the first was"
