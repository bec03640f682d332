"""Supplier records of `quotes`: who may write them, and what is refused. `test_records.py` has what they mean."""

from functools import partial
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.clock import PATIENCE
from tests.support.served import Served
from tests.systems import contracts

PATH = "/quotes/socket.io/"
example = partial(contracts.example, "quotes")
CREATED = "quote:request:created"


async def put_supplier(served: Served, user: str, supplier: str) -> httpx.Response:
    return await served.request("PUT", f"/quotes/api/suppliers/{user}", {"supplierId": supplier})


async def put(served: Served, path: str, content: bytes, **headers: str) -> httpx.Response:
    """A PUT with anything in it; with a service key and as JSON, unless `headers` differ."""
    headers = {"content-type": "application/json", **headers}
    return await served.request("PUT", f"/quotes/api/suppliers/{path}", content=content, headers=headers)


async def refused(served: Served, path: str, content: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    """The status and the problem of a PUT that is refused."""
    response = await put(served, path, content, **headers)
    assert response.headers["content-type"] == "application/problem+json", response.text
    return response.status_code, response.json()


async def delete(served: Served, path: str, **headers: str) -> httpx.Response:
    return await served.request("DELETE", f"/quotes/api/suppliers/{path}", headers=headers)


# Writing.


async def test_a_record_is_new_then_known_then_changed(served: Served) -> None:
    for supplier, status in [("sup-1", 201), ("sup-1", 200), ("sup-2", 201), ("sup-2", 200), ("sup-1", 201)]:
        response = await put_supplier(served, "person-1", supplier)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/json"
        assert response.json() == {"userId": "person-1", "supplierId": supplier}


async def test_a_supplier_belongs_to_one_user(served: Served) -> None:
    assert (await put_supplier(served, "owner", "sup-owned")).status_code == 201
    status, problem = await refused(served, "thief", b'{"supplierId": "sup-owned"}')
    assert (status, problem["code"]) == (409, "supplier_taken")
    assert problem["detail"] == "Supplier 'sup-owned' already belongs to another user."
    assert (await put_supplier(served, "owner", "sup-other")).status_code == 201
    assert (await put_supplier(served, "thief", "sup-owned")).status_code == 201


async def test_a_record_is_deleted_once(served: Served) -> None:
    await put_supplier(served, "leaver", "sup-left")
    response = await delete(served, "leaver")
    assert (response.status_code, response.json()) == (200, {"userId": "leaver", "supplierId": "sup-left"})
    again = await delete(served, "leaver")
    assert (again.status_code, again.json()["code"]) == (404, "no_supplier")
    assert (await put_supplier(served, "heir", "sup-left")).status_code == 201


async def test_without_a_service_key_nothing_is_deleted(served: Served) -> None:
    await put_supplier(served, "stayer", "sup-stays")
    assert (await delete(served, "stayer", authorization="Bearer nonsense")).status_code == 401
    assert (await put_supplier(served, "stayer", "sup-stays")).status_code == 200


@pytest.mark.parametrize("user", ["Łódź", "a b", "a@b.example", "a:b", "%", "?", "x" * 128])
async def test_an_id_may_be_any_printable_text(served: Served, user: str) -> None:
    response = await put(served, quote(user, safe=""), f'{{"supplierId": "of {user[:100]}"}}'.encode())
    assert response.status_code == 201
    assert response.json()["userId"] == user


@pytest.mark.parametrize(
    ("content", "field", "expected"),
    [
        (b"{}", "supplierId", "is required"),
        (b'{"supplierId": 7.5}', "supplierId", "a string of 1 to 128 characters"),
        (b'{"supplierId": null}', "supplierId", "a string of 1 to 128 characters"),
        (b'{"supplierId": ""}', "supplierId", "a string of 1 to 128 characters"),
        (b'{"supplierId": "%s"}' % (b"x" * 129), "supplierId", "a string of 1 to 128 characters"),
        (b'{"supplierId": "a\\u0000"}', "supplierId", "without control characters"),
        (b'{"supplierId": "s1", "userId": "u2"}', "userId", "is not a field"),
        (b"[]", "", ""),
    ],
)
async def test_a_body_that_does_not_fit(served: Served, content: bytes, field: str, expected: str) -> None:
    status, problem = await refused(served, "u1", content)
    assert (status, problem["code"]) == (422, "invalid_data")
    (error,) = problem["errors"]
    assert error["field"] == field
    assert expected in error["expected"]


@pytest.mark.parametrize("user", ["x" * 129, "a%09b", "%01", "%7F"])
async def test_a_user_that_cannot_be_is_named(served: Served, user: str) -> None:
    status, problem = await refused(served, user, b'{"supplierId": "s1"}')
    assert (status, problem["code"]) == (422, "invalid_data")
    assert problem["errors"][0]["field"] == "userId"


@pytest.mark.parametrize("user", ["%ff", "a%C3", "%ED%A0%80", "%C0%80", "a%00"])
async def test_a_user_that_is_no_text(served: Served, user: str) -> None:
    status, problem = await refused(served, user, b'{"supplierId": "s1"}')
    assert (status, problem["code"]) == (400, "malformed")
    assert problem["detail"].startswith("The address ")


async def test_the_replacement_character_itself_is_text(served: Served) -> None:
    assert (await put_supplier(served, "\ufffd", "sup-fffd")).status_code == 201


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"supplierId=s1"])
async def test_a_body_that_is_not_json(served: Served, content: bytes) -> None:
    status, problem = await refused(served, "u1", content)
    assert (status, problem["code"]) == (400, "malformed")
    assert problem["detail"].startswith("The body is not JSON")


async def test_a_body_of_another_kind_or_size(served: Served) -> None:
    status, problem = await refused(served, "u1", b"supplierId=s1", **{"content-type": "text/plain"})
    assert (status, problem["code"]) == (415, "unsupported_type")
    status, problem = await refused(served, "u1", b" " * 2_000_001)
    assert (status, problem["code"]) == (413, "too_large")


@pytest.mark.parametrize(("method", "path"), [("GET", "u1"), ("POST", "u1")])
async def test_records_are_put_and_deleted_and_nothing_else(served: Served, method: str, path: str) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        response = await client.request(method, f"{served.url}/quotes/api/suppliers/{path}")
    assert response.status_code == 405
    assert {*response.headers["allow"].split(", ")} == {"PUT", "DELETE"}
