"""Addresses of the HTTP APIs that no database can look up: U+0000, and numbers that JSON clients cannot have sent."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from oyez.ops.admin.operations import OPERATIONS
from oyez.service.auth.tokens import PUBLISH, WEBHOOKS
from tests.support.clock import PATIENCE
from tests.support.operators import Operator, build, sign_in
from tests.support.parcels import system
from tests.support.postgres import PostgreSQL
from tests.support.shops import Market, serve

NUL = "a%00b"
LARGE = f"{2**63}"


@pytest.fixture(scope="module")
async def market(tmp_path_factory: pytest.TempPathFactory, postgresql: PostgreSQL) -> AsyncIterator[Market]:
    folder, url = tmp_path_factory.mktemp("addresses"), postgresql.make_database()
    async with serve(build(folder, [system], database_url=url)) as market:
        yield market


@pytest.fixture
async def operator(market: Market) -> Operator:
    return await sign_in(market.url)


async def ask(market: Market, operator: Operator, method: str, address: str) -> tuple[int, str]:
    """The status, and the code of the problem."""
    scope = WEBHOOKS if "/webhooks" in address else PUBLISH
    key = operator.token if address.startswith("/admin") else market.oyez.signer.sign_service("parcels", 60.0, scope)
    body: Any = {} if method in ("POST", "PUT", "PATCH") else None
    answer = await market.request(method, address, json=body, headers={"authorization": f"Bearer {key}"})
    return answer.status_code, answer.json()["code"]


async def list_addresses(market: Market) -> list[tuple[str, str]]:
    """The methods and paths of the APIs for operators and back ends."""
    found = [(one.method, f"/admin/api{one.path}".replace("{system}", "parcels")) for one in OPERATIONS]
    document = (await market.call("GET", "/parcels/openapi.json")).json()
    for path, item in document["paths"].items():
        found += [(method.upper(), path) for method in item if method in ("get", "post", "put", "patch", "delete")]
    return found


async def test_u0000_is_refused(market: Market, operator: Operator) -> None:
    for method, path in await list_addresses(market):
        asked = re.sub(r"\{\w+\}", NUL, path) if "{" in path else f"{path}?search={NUL}"
        assert await ask(market, operator, method, asked) == (400, "malformed"), (method, asked)


async def test_numbers_over_2_53_are_refused(market: Market, operator: Operator) -> None:
    for path in ("/admin/api/audit?before=", "/admin/api/systems/parcels/webhooks/r/dead?after="):
        assert await ask(market, operator, "GET", path + LARGE) == (422, "invalid_data")
    assert await ask(market, operator, "GET", f"/parcels/webhooks/r/dead?after={LARGE}") == (422, "invalid_data")


async def test_nothing_of_it_stays(market: Market, operator: Operator) -> None:
    """A path with U+0000 in the audit would keep all later records from being stored."""
    key = market.oyez.signer.sign_service("parcels", 60.0)
    for user in ("u%00", "u-1"):
        path = f"/parcels/users/{user}/disconnect"
        await market.request("POST", path, headers={"authorization": f"Bearer {key}"})
    async with asyncio.timeout(PATIENCE):
        while not (found := (await operator.get("/audit", search="/parcels/users/u"))["records"]):
            pass
    assert [one["target"] for one in found] == ["/parcels/users/u-1/disconnect"]
