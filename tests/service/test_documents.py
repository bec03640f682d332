"""The documents of contracts over HTTP."""

import asyncio
import json

import pytest
from msgspec.structs import replace

from oyez.documents.catalog import DOCUMENTS
from oyez.documents.description import describe
from oyez.service.app import Oyez
from oyez.service.documents import MAX_MADE, Documents
from oyez.settings import Settings
from tests.support.shops import declare, serve, shop

LISTED, OTHER = "https://listed.example", "https://other.example"


@pytest.fixture
def open_settings(settings: Settings) -> Settings:
    return replace(settings, docs=True, client_origin=LISTED)


async def test_each_system_serves_its_documents(open_settings: Settings) -> None:
    async with serve(Oyez([shop("books"), shop("fruit")], open_settings)) as market:
        for system in ("books", "fruit"):
            for name, document in DOCUMENTS.items():
                answer = await market.request("GET", f"/{system}/{name}")
                assert answer.status_code == 200
                assert answer.headers["content-type"] == f"{document.media_type}; charset=utf-8"
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.content
        described = await market.request("GET", "/fruit/contract.json")
        assert described.json() == json.loads(json.dumps(describe(declare("fruit").build())))


async def test_a_document_is_made_once_and_not_sent_again(open_settings: Settings) -> None:
    async with serve(Oyez([shop("books")], open_settings)) as market:
        path = "/books/contract.json"
        answers = await asyncio.gather(*(market.request("GET", path) for _ in range(5)))
        assert len({(answer.status_code, answer.headers["etag"], answer.content) for answer in answers}) == 1
        (tag, *_) = (answer.headers["etag"] for answer in answers)
        again = await market.request("GET", path, headers={"if-none-match": f'"other", {tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        plain = await market.request("GET", path, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == answers[0].content
        head = await market.request("HEAD", path, headers={"accept-encoding": "identity"})
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) == len(plain.content)
        assert (await market.request("POST", path)).status_code == 405


async def test_pages_that_may_connect_may_read_them(open_settings: Settings) -> None:
    async with serve(Oyez([shop("books")], open_settings)) as market:
        listed = await market.request("GET", "/books/contract.json", headers={"origin": LISTED})
        assert listed.headers["access-control-allow-origin"] == LISTED
        assert listed.headers["vary"] == "Origin, Accept-Encoding"
        other = await market.request("GET", "/books/contract.json", headers={"origin": OTHER})
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"jwt_secret": None}, True),
        ({}, False),
        ({"jwt_secret": None, "host": "0.0.0.0"}, False),
        ({"jwt_secret": None, "trusted_proxies": "10.0.0.1"}, False),
        ({"jwt_secret": None, "docs": False}, False),
        ({"docs": True, "host": "0.0.0.0"}, True),
    ],
)
def test_they_are_served_in_development_or_if_a_setting_says_so(changes: dict[str, object], shown: bool) -> None:
    settings = replace(Settings(jwt_secret="x" * 32), **changes)
    assert settings.serves_docs is shown


async def test_without_them_their_addresses_answer_404(settings: Settings) -> None:
    async with serve(Oyez([shop("books")], replace(settings, docs=False))) as market:
        for name in DOCUMENTS:
            assert (await market.request("GET", f"/books/{name}")).status_code == 404


async def test_the_asyncapi_document_has_the_address_by_which_it_was_asked_for(open_settings: Settings) -> None:
    async with serve(Oyez([shop("books")], open_settings)) as market:

        async def ask(**headers: str) -> tuple[str, str]:
            answer = await market.request("GET", "/books/asyncapi.json", headers=headers)
            server = answer.json()["servers"]["websocket"]
            return server["protocol"], server["host"]

        assert await ask(host="live.example:81") == ("ws", "live.example:81")
        assert await ask(host="live.example", **{"x-forwarded-proto": "https"}) == ("wss", "live.example")


async def test_addresses_that_are_invented_do_not_fill_the_memory() -> None:
    documents = Documents(declare("books").build())

    async def find(number: int) -> object:
        content = await documents.find("asyncapi.json", f"http://host-{number}.example")
        assert f"host-{number}.example" in content.data.decode()
        return content

    made = [await find(number) for number in range(2 * MAX_MADE)]
    assert await find(2 * MAX_MADE - 1) is made[-1]
    assert await find(0) is not made[0]
