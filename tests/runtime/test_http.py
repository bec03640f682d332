"""Routes of services beside the publish API."""

import json

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from oyez.contract import CamelPayload, Id, Money, Time
from oyez.errors import TOKEN_INVALID, RefusedError
from oyez.runtime.http import answer_json, bearer_token, read_json, service_route
from oyez.settings import Limits


class Sale(CamelPayload):
    """What a back end reports."""

    sale_id: Id
    amount: Money
    sold_at: Time


SALE = {"saleId": "s1", "amount": 9.5, "soldAt": "2026-01-31T12:00:00Z"}


async def answer(request: Request) -> Response:
    return answer_json({"sold": await read_json(request, Sale, Limits(max_publish_bytes=200))}, 201)


def authorize(request: Request) -> None:
    if bearer_token(request) != "good":
        raise RefusedError(TOKEN_INVALID)


async def post(body: object, key: str = "good") -> httpx.Response:
    app = Starlette(routes=[service_route("/sales", answer, authorize)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.post("/sales", json=body, headers={"authorization": f"Bearer {key}"})


async def test_a_read_object_can_be_answered() -> None:
    response = await post(SALE)
    assert (response.status_code, response.json()) == (201, {"sold": SALE})


async def test_other_forms_of_back_ends_are_accepted() -> None:
    """Forms in which Django REST framework and Prisma write ids, decimals and times."""
    response = await post({"saleId": 7, "amount": "130.00", "soldAt": "2026-01-31T13:00:00+01:00"})
    assert (response.status_code, response.json()) == (
        201,
        {"sold": {"saleId": "7", "amount": 130, "soldAt": "2026-01-31T12:00:00Z"}},
    )


async def test_half_an_emoji_is_replaced() -> None:
    body = json.dumps({**SALE, "saleId": "s\ud83d"}).encode()
    app = Starlette(routes=[service_route("/sales", answer, authorize)])
    headers = {"authorization": "Bearer good", "content-type": "application/json"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=headers) as client:
        response = await client.post("/sales", content=body)
    assert response.json() == {"sold": {**SALE, "saleId": "s\ufffd"}}


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        ({**SALE, "amount": -1}, "amount", "an amount: a number from 0 with at most two decimals"),
        ({**SALE, "sold": 1}, "sold", "is not a field of the request; known fields are saleId, amount, soldAt"),
        ([], "", "an object with the fields saleId, amount, soldAt"),
    ],
)
async def test_a_bad_field_is_named(body: object, field: str, expected: str) -> None:
    response = await post(body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_data")
    assert response.json()["errors"] == [{"field": field, "expected": expected}]


async def test_keys_and_sizes_are_checked() -> None:
    assert (await post(SALE, key="bad")).status_code == 401
    assert (await post({**SALE, "saleId": "x" * 300})).status_code == 413
