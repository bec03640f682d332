"""The admin page over HTTP: its headers, its files, and nothing without an admin. tests/web/test_admin.py uses it."""

import re
from pathlib import Path

from tests.support.operators import build
from tests.support.pharmacy import system
from tests.support.shops import serve


async def test_the_page_is_served_with_a_strict_policy(tmp_path: Path) -> None:
    async with serve(build(tmp_path, [system], port=0), "mounted in FastAPI") as market:
        moved = await market.request("GET", "/admin")
        assert (moved.status_code, moved.headers["location"]) == (307, "admin/")
        page = await market.request("GET", "/admin/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "require-trusted-types-for 'script'" in policy
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in page.headers
        script = re.search(r'src="(files/\w+/admin/main\.js)"', page.text)
        assert script is not None
        assert (await market.request("GET", f"/admin/{script[1]}")).status_code == 200
        again = await market.request("GET", "/admin/", headers={"if-none-match": page.headers["etag"]})
        assert again.status_code == 304


async def test_without_keys_there_is_no_page(tmp_path: Path) -> None:
    async with serve(build(tmp_path, [system], keys=None, port=0)) as market:
        assert [(await market.request("GET", path)).status_code for path in ("/admin", "/admin/")] == [404, 404]
