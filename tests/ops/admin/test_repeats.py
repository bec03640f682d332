"""Actions of operators that are sent again with their Idempotency-Key."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.operators import Operator, operated
from tests.support.pharmacy import system
from tests.support.shops import Market

SYSTEM = "/systems/pharmacy"
CALL = {"event": "called", "data": {"ticket": 7}, "to": "counter:1"}


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Market, Operator]]:
    async with operated(tmp_path_factory.mktemp("repeats"), system) as both:
        yield both


async def act(operator: Operator, path: str, body: Any, key: str, method: str = "POST") -> httpx.Response:
    headers = {"authorization": f"Bearer {operator.token}", "idempotency-key": key}
    async with httpx.AsyncClient(base_url=f"{operator.url}/admin/api") as client:
        return await client.request(method, path, json=body, headers=headers)


async def test_an_event_is_resent_once(served: tuple[Market, Operator]) -> None:
    market, operator = served
    async with market.connect("pharmacy", "ada") as ada:
        await ada.call("join_counter", "1")
        position = (await market.call("POST", "/pharmacy/events", CALL)).json()["position"]
        await ada.expect_event("called")
        body = {"position": position, "reason": "asked for"}
        first = await act(operator, f"{SYSTEM}/resend", body, "r-1")
        assert first.status_code == 200, first.text
        again = await act(operator, f"{SYSTEM}/resend", body, "r-1")
        assert (again.status_code, again.content) == (200, first.content)
        assert again.headers["idempotent-replayed"] == "true"
        await ada.expect_event("called")
        await ada.expect_nothing()
    records = (await operator.get("/audit", action="resend"))["records"]
    assert [one["by"] for one in records] == ["anna"]


async def test_the_key_is_for_one_request_of_an_operator(served: tuple[Market, Operator]) -> None:
    market, operator = served
    body = {"user": "bob", "seconds": 600}
    assert (await act(operator, f"{SYSTEM}/block", body, "b-1")).status_code == 200
    other = await act(operator, f"{SYSTEM}/block", {**body, "user": "eve"}, "b-1")
    assert (other.status_code, other.json()["code"]) == (422, "id_reused")
    stranger = Operator(operator.url, market.token("anna"))
    assert (await act(stranger, f"{SYSTEM}/block", body, "b-1")).status_code == 401


async def test_no_answer_with_a_service_key_is_kept(served: tuple[Market, Operator]) -> None:
    _, operator = served
    refused = await act(operator, "/keys", {"name": "shop", "systems": ["pharmacy"]}, "k-1")
    assert (refused.status_code, refused.json()["code"]) == (400, "malformed")
    assert (await operator.get("/keys"))["keys"] == []
