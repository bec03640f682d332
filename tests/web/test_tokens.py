"""Tokens that the console makes: in development, and for a page of this server on this machine only."""

from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from oyez.client import connect
from oyez.service.app import Oyez
from oyez.settings import Settings
from tests.support.shops import Market, serve, shop

WANTED = {"sub": "ada"}
PATH = "/books/docs/token"
SOLD = {"item": "i-7", "buyer": "ada"}


async def ask(market: Market, wanted: Any = WANTED, **headers: str) -> httpx.Response:
    """The answer to the request of a page of this server, with other `headers`; an empty one is left out."""
    sent = {"origin": market.url, "sec-fetch-site": "same-origin", **headers}
    chosen = {name.replace("_", "-"): value for name, value in sent.items() if value}
    return await market.request("POST", PATH, json=wanted, headers=chosen)


async def test_a_user_connects_and_a_back_end_publishes_with_them(market: Market) -> None:
    answer = await ask(market)
    assert answer.headers["cache-control"] == "no-store"
    key = (await ask(market, {"service": True})).json()["token"]
    async with connect(market.url, path="/books/socket.io/", auth=answer.json()) as client:
        assert (await market.publish("books", SOLD, key)).status_code == 200
        await client.expect_event("sold")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"x_forwarded_for": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"via": "1.1 proxy"},
        {"host": "evil.example", "origin": "http://evil.example"},
        {"host": "127.0.0.1.evil.example", "origin": "http://127.0.0.1.evil.example"},
    ],
)
async def test_no_other_page_gets_one(market: Market, headers: dict[str, str]) -> None:
    answer = await ask(market, **headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "oyez token" in answer.json()["detail"]


async def test_a_form_of_another_page_cannot_ask(market: Market) -> None:
    answer = await market.request(
        "POST", PATH, content=b'{"sub":"ada"}', headers={"content-type": "text/plain", "origin": market.url}
    )
    assert answer.status_code == 415
    assert (await market.request("GET", PATH)).status_code == 405


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": "ada", "role": "king"}, "role"),
        ({"sub": "ada", "claims": {"exp": "1"}}, "exp"),
        ({"sub": "ada", "lifetime": 9}, "lifetime"),
        ({"sub": 7}, "sub"),
    ],
)
async def test_what_cannot_be_signed_is_named(market: Market, wanted: dict[str, Any], field: str) -> None:
    answer = await ask(market, wanted)
    assert answer.status_code == 422
    assert field in str(answer.json()["errors"])


@pytest.mark.parametrize(
    "change",
    [
        {"jwt_secret": "s" * 40},
        {"trusted_proxies": "10.0.0.1"},
        {"host": "0.0.0.0"},
        {"docs": False},
        # Not started in a terminal: a service, which may be behind a proxy.
        {"console_tokens": None},
    ],
)
async def test_no_server_that_others_use_makes_one(settings: Settings, change: dict[str, Any]) -> None:
    settings = replace(settings, **{"docs": True, **change})
    async with serve(Oyez([shop("books")], settings)) as market:
        assert (await ask(market)).status_code == 404
        page = await market.request("GET", "/books/docs")
        assert "makesTokens&quot;:true" not in page.text
