"""The files that pages load, over HTTP."""

import gzip

import httpx
from msgspec.structs import replace

from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.web.files import load_files
from tests.support.clock import PATIENCE
from tests.support.shops import serve, shop


async def test_a_browser_keeps_them_for_ever(http: httpx.AsyncClient) -> None:
    files = load_files()
    for path, file in files.by_path.items():
        answer = await http.get(f"/books/docs/files/{files.digest}/{path}")
        assert (answer.status_code, answer.content) == (200, file.content)
        assert answer.headers["content-type"] == file.content_type
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert {path.rpartition(".")[2] for path in files.by_path} == {"js", "mjs", "css", "svg"}


async def test_they_are_sent_in_the_form_that_a_client_accepts(http: httpx.AsyncClient) -> None:
    path = f"/books/docs/files/{load_files().digest}/main.js"
    compressed = await http.get(path, headers={"accept-encoding": "gzip"})
    assert compressed.headers["content-encoding"] == "gzip"
    plain = await http.get(path, headers={"accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in plain.headers
    assert plain.content == gzip.decompress(load_files().by_path["main.js"].compressed) == compressed.content
    tag = plain.headers["etag"]
    again = await http.get(path, headers={"if-none-match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await http.post(path)).status_code == 405


async def test_nothing_else_is_served(http: httpx.AsyncClient) -> None:
    digest = load_files().digest
    others = ["missing.js", "vendor/preact/LICENSE", "%2e%2e/templates/docs.html", "..%2ffiles.py", ""]
    for path in [*(f"{digest}/{name}" for name in others), f"{'0' * 16}/main.js"]:
        answer = await http.get(f"/books/docs/files/{path}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


async def test_without_documents_there_are_no_files(settings: Settings) -> None:
    async with (
        serve(Oyez([shop("books")], replace(settings, docs=False))) as market,
        httpx.AsyncClient(base_url=market.url, timeout=PATIENCE) as http,
    ):
        for path in ("docs", "docs/", "docs/token", f"docs/files/{load_files().digest}/main.js"):
            assert (await http.get(f"/books/{path}")).status_code == 404
