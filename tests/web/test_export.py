"""`oyez docs html`: the page on another web server, with a console that connects to Oyez, or without one."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from msgspec.structs import replace

from oyez.cli.docs import html
from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.systems.loader import load_system
from tests.support.browser import Browser
from tests.support.shops import serve
from tests.support.vendored import PACKAGES


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, without a line for each request."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which another web server has it."""
    folder = tmp_path / "site"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_its_console_connects_to_the_server(settings: Settings, site: tuple[Path, str], browser: Browser) -> None:
    folder, origin = site
    oyez = Oyez([load_system("quotes")], replace(settings, client_origin=origin))
    async with serve(oyez) as market:
        assert html("quotes", output=folder, url=market.url) == 0
        async with browser.open(f"{origin}/index.html") as page:
            await page.wait_for("h1", "quotes")
            await page.click(".console-button")
            await page.fill("input[name=token]", market.token("ada"))
            await page.click(".console .primary", "Connect")
            await page.wait_for(".phase", "Connected")
            await page.click("#tab-publish")
            await page.wait_for(".empty", "Publishing works only")
            assert await page.list_errors() == []
        # Once more, for a page that connects to nothing.
        assert html("quotes", output=folder) == 0
        async with browser.open(f"{origin}/index.html") as page:
            await page.wait_for("h1", "quotes")
            assert await page.texts(".console-button") == []
            assert await page.list_errors() == []
            assert all(request.startswith(f"{origin}/") for request in await page.list_requests())


def test_licences_and_documents_are_beside_the_page(tmp_path: Path) -> None:
    html("quotes", output=tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert {"index.html", "contract.json", "asyncapi.json", "types.ts"} <= names
    assert {f"files/vendor/{package.name}/LICENSE" for package in PACKAGES if package.name != "uplot"} <= names
    # The admin page, and what only it loads, is not exported.
    assert not any("uplot" in name or "admin" in name for name in names)
    assert "files/vendor/socket.io-client.LICENSE" in names
    assert "Content-Security-Policy" in (tmp_path / "index.html").read_text()
