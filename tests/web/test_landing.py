"""What a browser gets at addresses where there is nothing, and that programs get a problem there."""

import re
from urllib.parse import urljoin

import httpx
import pytest
from msgspec.structs import replace

from oyez.service.app import Oyez
from oyez.settings import Settings
from tests.support.clock import PATIENCE
from tests.support.shops import serve, shop

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
PATHS = ("/", "/book/docs", "/books/", "/a/b%2Fc/d?e=/f/")


@pytest.mark.parametrize("kind", ["own port", "mounted in FastAPI"])
async def test_all_links_of_the_page_lead_somewhere(settings: Settings, kind: str) -> None:
    async with (
        serve(Oyez([shop("books"), shop("fruit")], settings), kind) as market,
        httpx.AsyncClient(timeout=PATIENCE) as http,
    ):
        base = f"{market.url}{market.prefix}"
        # The routes for operators belong to `oyez serve`.
        operators = {f"{base}/healthz", f"{base}/readyz"}
        systems = {f"{base}/books/docs", f"{base}/fruit/docs", f"{base}/fruit/contract.json"}
        for path in PATHS:
            answer = await http.get(f"{base}{path}", headers=BROWSER)
            assert answer.status_code == (200 if path == "/" else 404)
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert answer.headers["vary"] == "Accept"
            links = {urljoin(str(answer.url), link) for link in re.findall(r'href="([^"]+)"', answer.text)}
            assert systems | operators <= links
        for link in links - operators:
            assert (await http.get(link)).status_code == 200


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html;q=0, */*", ""])
async def test_programs_get_a_problem(http: httpx.AsyncClient, accept: str) -> None:
    for path in ("/", "/wrong"):
        answer = await http.get(path, headers={"accept": accept})
        assert answer.status_code == 404
        assert answer.json()["detail"] == f"There is nothing at {path}. Served here: books, fruit."
    posted = await http.post("/wrong", headers=BROWSER)
    assert posted.headers["content-type"] == "application/problem+json"


async def test_the_address_is_only_text(http: httpx.AsyncClient) -> None:
    answer = await http.get("/<img src=x onerror=alert(1)>/&quot;", headers=BROWSER)
    assert "<img" not in answer.text
    assert "&lt;img" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src" not in policy


async def test_documents_that_are_off_have_no_links(settings: Settings) -> None:
    async with serve(Oyez([shop("books")], replace(settings, docs=False))) as market:
        answer = await market.request("GET", "/", headers=BROWSER)
        assert "books" in answer.text
        assert "docs" not in answer.text
