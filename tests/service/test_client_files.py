"""The official client for browsers, as the server gives it away."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from oyez.server.http.client_files import BUNDLES, CLIENT_FILES, FOLDER, VERSION
from oyez.service.app import Oyez
from oyez.settings import Settings
from oyez.web.vendored import IMPORTS
from tests.support.js_client import FOLDER as NPM
from tests.support.shops import KINDS, serve, shop
from tests.support.vendored import PACKAGES

ROOT = Path(__file__).parent.parent.parent
PACKAGE = NPM / "node_modules" / "socket.io-client"
LISTED, OTHER = "https://listed.example", "https://other.example"


def test_the_files_are_those_of_npm() -> None:
    assert json.loads((PACKAGE / "package.json").read_text())["version"] == VERSION
    for name in CLIENT_FILES:
        assert (FOLDER / name).read_bytes() == (PACKAGE / "dist" / name).read_bytes()
    assert {path.name for path in FOLDER.iterdir()} == {*CLIENT_FILES, "LICENSE"}
    assert (FOLDER / "LICENSE").read_text() == (PACKAGE / "LICENSE").read_text()


@pytest.mark.parametrize("kind", KINDS)
async def test_each_system_serves_them(settings: Settings, kind: str) -> None:
    async with serve(Oyez([shop("books"), shop("fruit")], settings), kind) as market:
        for system in ("books", "fruit"):
            for name in CLIENT_FILES:
                answer = await market.request("GET", f"/{system}/socket.io/{name}")
                assert answer.status_code == 200
                assert answer.content == (FOLDER / name).read_bytes()
                assert answer.headers["content-encoding"] == "gzip"
                assert answer.headers["content-type"] == (
                    f"application/{'json' if name.endswith('.map') else 'javascript'}; charset=utf-8"
                )
        assert (await market.request("GET", "/books/socket.io/socket.io.msgpack.min.js")).status_code == 404
        assert (await market.request("GET", "/socket.io/socket.io.js")).status_code == 404


async def test_a_browser_that_has_it_is_not_sent_it_again(settings: Settings) -> None:
    async with serve(Oyez([shop("books")], settings)) as market:
        path = "/socket.io/socket.io.min.js"
        first = await market.request("GET", path, headers={"accept-encoding": "identity"})
        assert first.content == (FOLDER / "socket.io.min.js").read_bytes()
        assert "content-encoding" not in first.headers
        assert first.headers["cache-control"] == "public, max-age=0"
        for tag in (first.headers["etag"], f"W/{first.headers['etag']}"):
            again = await market.request("GET", path, headers={"if-none-match": tag})
            assert (again.status_code, again.content) == (304, b"")
        older = await market.request("GET", path, headers={"if-none-match": '"4.0.0"'})
        assert (older.status_code, older.headers["etag"]) == (200, '"4.8.4"')
        head = await market.request("HEAD", path, headers={"accept-encoding": "identity"})
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) == len(first.content)
        assert (await market.request("POST", path)).status_code == 405


async def test_a_module_can_be_imported_by_a_listed_page(settings: Settings) -> None:
    oyez = Oyez([shop("books")], replace(settings, client_origin=LISTED, ws_path="/live/"))
    async with serve(oyez) as market:
        path = "/live/socket.io.esm.min.js"
        listed = await market.request("GET", path, headers={"origin": LISTED})
        assert listed.headers["access-control-allow-origin"] == LISTED
        assert listed.headers["vary"] == "Origin, Accept-Encoding"
        other = await market.request("GET", path, headers={"origin": OTHER})
        assert "access-control-allow-origin" not in other.headers


async def test_it_can_be_turned_off(settings: Settings) -> None:
    async with serve(Oyez([shop("books")], replace(settings, serve_client=False))) as market:
        for path in ("/socket.io/socket.io.js", "/books/socket.io/socket.io.js"):
            assert (await market.request("GET", path)).status_code == 404


def test_the_wheel_has_them(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        for name in BUNDLES:
            assert content.read(f"oyez/server/http/socket_io_client/{name}") == (FOLDER / name).read_bytes()
        names = content.namelist()
        assert {f"oyez/web/{path}" for path in IMPORTS.values()} <= set(names)
        # Oyez' own, and those of socket.io-client and of each vendored package.
        licences = [name for name in names if name.endswith("LICENSE") and "dist-info" in name]
        assert len(licences) == 2 + len(PACKAGES)
