"""The HTTP APIs of all systems: each request needs a service key, each write takes an `Idempotency-Key`, lists."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.routing import Route

from oyez.service.app import Oyez
from oyez.service.idempotency import WRITES
from oyez.service.resources import Listing
from oyez.settings import Settings
from oyez.systems.fixrx import http as fixrx
from oyez.systems.listing import list_systems
from oyez.systems.loader import load_system
from oyez.systems.qscrap import http as qscrap
from oyez.systems.quotes import http as quotes
from oyez.systems.rez import http as rez
from tests.systems.bookings.market import booking_body, partner_body


class Backend:
    """All five systems, asked without a network."""

    def __init__(self, oyez: Oyez) -> None:
        self.oyez = oyez
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(oyez), base_url="http://test")

    async def send(
        self, system: str, method: str, path: str, body: object = None, *keys: str, bearer: str | None = None
    ) -> httpx.Response:
        token = self.oyez.signer.sign_service(system, None) if bearer is None else bearer
        headers = [("authorization", f"Bearer {token}")] if token else []
        headers += [("idempotency-key", key) for key in keys]
        return await self._http.request(method, f"/{system}{path}", json=body, headers=headers)


@pytest.fixture(scope="module")
async def backend(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Backend]:
    settings = Settings(oyez_data=str(tmp_path_factory.mktemp("data")), jwt_secret="s" * 32)
    oyez = Oyez([load_system(name) for name in list_systems()], settings)
    async with oyez.running():
        yield Backend(oyez)


BOOKINGS = {
    "/customers": "GET",
    "/customers/{id}": "GET PUT",
    "/partners": "GET",
    "/partners/{id}": "GET PUT",
    "/partners/{id}/earnings": "GET",
    "/bookings": "GET POST",
    "/bookings/{id}": "GET",
    "/bookings/{id}/partner": "PUT",
    "/messages": "GET POST",
    "/messages/{id}": "GET",
    "/kyc-submissions": "GET POST",
    "/kyc-submissions/{id}": "GET",
    "/kyc-submissions/{id}/review": "PUT",
    "/notifications": "GET POST",
    "/notifications/{id}": "GET",
    "/statistics": "GET",
}
"""The methods of each path of `bookings`, whose table is built with the services of a process."""
RESOURCES = {"fixrx": fixrx.RESOURCES, "qscrap": qscrap.RESOURCES, "quotes": quotes.RESOURCES, "rez": rez.RESOURCES}
REQUESTS = [(name, each.method, each.path) for name, resources in RESOURCES.items() for each in resources]
REQUESTS += [("bookings", method, path) for path, methods in BOOKINGS.items() for method in methods.split()]
LISTINGS = [
    (name, each.path)
    for name, resources in RESOURCES.items()
    for each in resources
    if isinstance(each, Listing) and "{" not in each.path
]
LISTINGS += [("bookings", path) for path in ("/customers", "/partners", "/bookings", "/messages", "/notifications")]


def fill(path: str) -> str:
    """A path of a resource with an id in each place."""
    return f"/api{re.sub(r'{[^}]*}', 'x', path)}"


def test_each_method_and_path_is_declared_once() -> None:
    assert len(set(REQUESTS)) == len(REQUESTS)


@pytest.mark.parametrize(("system", "method", "path"), REQUESTS)
async def test_a_request_without_a_service_key_of_the_system_is_refused(
    backend: Backend, system: str, method: str, path: str
) -> None:
    sign = backend.oyez.signer
    other = "quotes" if system != "quotes" else "rez"
    tokens = {
        "": "token_missing",
        "nonsense": "token_invalid",
        sign.sign_user("root", load_system(system).contract.roles[-1], {}, 60.0): "token_invalid",
        sign.sign_service(other, None): "token_invalid",
    }
    for bearer, code in tokens.items():
        response = await backend.send(system, method, fill(path), {}, bearer=bearer)
        assert response.headers["content-type"] == "application/problem+json"
        assert (response.status_code, response.json()["code"]) == (401, code)


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=201", "limit=many", "colour=red"])
@pytest.mark.parametrize(("system", "path"), LISTINGS)
async def test_a_list_with_a_wrong_query_is_refused(backend: Backend, system: str, path: str, query: str) -> None:
    response = await backend.send(system, "GET", f"{fill(path)}?{query}")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (422, "invalid_data")
    assert query.partition("=")[0] in {error["field"] for error in problem["errors"]}


async def test_each_write_looks_at_the_key(backend: Backend) -> None:
    tried = 0
    for name, served in backend.oyez.systems.items():
        writes = [("PUT", f"/{name}/rooms/x/members/user:u"), ("DELETE", f"/{name}/rooms/x/members/user:u")]
        for route in served.own.routes:
            assert isinstance(route, Route)
            methods = sorted(WRITES & (route.methods or set()))
            writes += [(method, fill(route.path)) for method in methods]
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
