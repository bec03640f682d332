"""What a hostile web page can do with a visitor's browser, tried on a real server that accepts a token in a cookie."""

import ast
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

import oyez
from tests.support.clock import PATIENCE
from tests.support.served import Served, serve
from tests.support.wire import KEY

EVIL = "https://evil.example"
COOKIE = "access_token"
UPGRADE = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": KEY,
}
BROWSER = {"accept": "text/html"}
LOCKED = "default-src 'none'; frame-ancestors 'none'"


@pytest.fixture(scope="module")
async def quotes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serve(tmp_path_factory.mktemp("web") / "data", "quotes", DOCS="true") as running:
        yield running


@pytest.fixture
async def http(quotes: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=quotes.url, timeout=PATIENCE) as client:
        yield client


# Cross-site WebSocket hijacking: a browser adds the visitor's cookie to every WebSocket that a page opens.


async def enter(http: httpx.AsyncClient, headers: dict[str, str]) -> str:
    """What a polling client with these headers is answered to its CONNECT."""
    path = "/quotes/socket.io/?EIO=4&transport=polling"
    opened = await http.get(path, headers=headers)
    if opened.status_code != 200:
        return f"{opened.status_code}"
    path += "&sid=" + re.findall(r'"sid":"([^"]+)"', opened.text)[0]
    await http.post(path, content="40", headers=headers)
    return (await http.get(path, headers=headers)).text


async def test_a_page_of_another_origin_cannot_use_the_visitors_cookie(quotes: Served, http: httpx.AsyncClient) -> None:
    cookie = {"cookie": f"{COOKIE}={quotes.token('ada', 'user')}"}
    # The cookie signs a visitor in, if the page is the server's own or the client is no browser.
    assert (await enter(http, {**cookie, "origin": quotes.url})).startswith('40{"sid"')
    assert (await enter(http, cookie)).startswith('40{"sid"')
    assert await enter(http, {**cookie, "origin": EVIL}) == "403"
    assert await enter(http, {**cookie, "origin": "null"}) == "403"
    for path in ("/quotes/socket.io/?EIO=4&transport=websocket", "/quotes/ws", "/socket.io/?EIO=4&transport=websocket"):
        for origin in (EVIL, "null", quotes.url.replace("127.0.0.1", "127.0.0.1.evil.example")):
            answer = await http.get(path, headers={**UPGRADE, **cookie, "origin": origin})
            assert answer.status_code in (400, 403)
            assert "sec-websocket-accept" not in answer.headers


# Cross-site request forgery.


async def test_no_http_api_takes_a_token_from_a_cookie(quotes: Served, http: httpx.AsyncClient) -> None:
    key = {"authorization": f"Bearer {quotes.service_key()}"}
    paths = (await http.get("/quotes/openapi.json", headers=key)).json()["paths"]
    operations = [
        (method, re.sub(r"{\w+}", "ada", path))
        for path, methods in paths.items()
        for method in methods
        if method in ("get", "put", "post", "patch", "delete")
    ]
    assert len(operations) > 10
    for token in (quotes.service_key(), quotes.token("ada", "admin")):
        headers = {"cookie": f"{COOKIE}={token}; token={token}", "origin": EVIL}
        for method, path in operations:
            answer = await http.request(method, path, headers=headers, content=b"{}")
            assert answer.status_code == 401, (method, path)
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_what_a_form_can_send_is_no_body(quotes: Served, http: httpx.AsyncClient) -> None:
    # A page can send these types to any origin without a preflight.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = await http.post(
            "/quotes/events",
            content=b'{"event": "x"}',
            headers={"authorization": f"Bearer {quotes.service_key()}", "content-type": kind},
        )
        assert answer.status_code == 415


# Answers.


async def test_every_answer_has_a_policy_and_sets_no_cookie(http: httpx.AsyncClient) -> None:
    page = await http.get("/quotes/docs", headers=BROWSER)
    assets = [f"/quotes/{name}" for name in re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text)]
    assert assets
    answers = {
        path: await http.get(path, headers=BROWSER)
        for path in (
            *("/", "/nowhere", "/quotes/docs", "/quotes/openapi.json", "/quotes/contract.json", "/quotes/types.ts"),
            *("/healthz", "/readyz", "/metrics", "/quotes/events", "/quotes/socket.io/", "/quotes/ws"),
            *("/quotes/socket.io/socket.io.js", "/quotes/socket.io/?EIO=4&transport=polling", *assets),
        )
    }
    for path, answer in answers.items():
        assert "set-cookie" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert answer.headers["referrer-policy"] == "no-referrer", path
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy, path
        assert not re.search(r"unsafe-|\*|https?:|data:", policy), path
        if not answer.headers["content-type"].startswith("text/html"):
            assert policy == LOCKED, path


# Comparisons.

SECRET_NAMES = re.compile(r"(secret|signature|proof|password|token|digest)s?$")
NO_SECRETS = {
    # Bodies of requests with an idempotency key, and passages of files and messages, compared with their own kind.
    ("runtime/idempotency.py", "value[:DIGEST_BYTES] != digest"),
    ("service/outbox/idempotent_steps.py", "digests[0] != self._digest"),
    ("service/redis_emitter/consumer.py", "message.digest == digest"),
    ("web/files.py", "digest == self.digest"),
    # Which of a user's own devices is typing.
    ("service/typing.py", "await self._log.get(_record(key)) == typist.token"),
}


def find_name(node: ast.expr) -> str:
    return (
        getattr(node, "id", "")
        or getattr(node, "attr", "")
        or (find_name(node.func) if isinstance(node, ast.Call) else "")
    )


def test_secrets_are_compared_in_constant_time() -> None:
    # `==` stops at the first byte that differs, so an answer's time would tell how many bytes are right.
    root = Path(oyez.__file__).parent
    found = {
        (str(path.relative_to(root)), ast.unparse(node))
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare)
        and isinstance(node.ops[0], ast.Eq | ast.NotEq)
        and any(SECRET_NAMES.search(find_name(side)) for side in (node.left, *node.comparators))
    }
    assert found == NO_SECRETS


# The page.


def test_the_tests_that_the_page_names_exist() -> None:
    root = Path(__file__).parents[1]
    page = (root / "docs" / "security.md").read_text()
    named = re.findall(r"`((?:tests|chaos)/[\w/]+\.py): (\w+)`", page)
    assert len(named) > 40
    for file, name in named:
        assert re.search(rf"^(?:async )?def {name}\(", (root / file).read_text(), re.MULTILINE), f"{file}: {name}"
    # Each threat has one.
    rows = [
        line for line in page.partition("## Threats")[2].splitlines() if line.startswith("| ") and "---" not in line
    ]
    assert all(".py: test_" in row for row in rows if not row.startswith("| threat |") and row.count("|") == 4)
